# SPDX-License-Identifier: MIT
"""send_file.py HOST PORT FILE: what is in the file, over one connection, by sendfile(2)."""

import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as connection:
    with open(sys.argv[3], "rb") as sent:
        connection.sendfile(sent)
    connection.shutdown(socket.SHUT_WR)
    if connection.recv(1):
        sys.exit("something comes back")
