# SPDX-License-Identifier: MIT
"""A router's records, asked for without a program in between: for who asks often."""

import json
import os
import socket

_PAGE = 200


class Telemetry:
    """One connection to the router of a host."""

    def __init__(self, run_dir):
        with open(os.path.join(run_dir, "info.json"), encoding="utf-8") as file:
            path = json.load(file)["telemetry"]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(30)
        self._socket.connect(path)
        self._socket.recv(65536)

    def close(self):
        """Returns when the router has closed its end too: its fds are counted by some tests."""
        with self._socket:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.recv(65536)

    def show(self, what):
        """As `ffctl show WHAT --json`."""
        records, start, command = [], 0, "/freeflow/" + what
        while start is not None:
            self._socket.send(f"{command},{start},{_PAGE},".encode())
            page = json.loads(self._socket.recv(65536))[command]
            records += [page["items"][key] for key in sorted(page["items"], key=int)]
            start = page.get("next")
        return records
