# SPDX-License-Identifier: MIT
"""
http_client.py HOST PORT COUNT BYTES: posts COUNT times BYTES of its own over one connection; each
answer must be what was posted. http_client.py HOST PORT get PATH SHA256: one GET. Prints the bytes
both ways.
"""

import hashlib
import http.client
import random
import sys


def answer(connection, method, path, body=None):
    connection.request(method, path, body)
    response = connection.getresponse()
    got = response.read()
    if response.status != 200:
        sys.exit(f"status {response.status}")
    return got


def main(host, port, what, *args):
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    if what == "get":
        got = answer(connection, "GET", args[0])
        if hashlib.sha256(got).hexdigest() != args[1]:
            sys.exit(f"other bytes, {len(got)} of them")
        print(len(got))
        return
    source = random.Random(1)
    for number in range(int(what)):
        sent = source.randbytes(int(args[0]))
        if answer(connection, "POST", "/", sent) != sent:
            sys.exit(f"other bytes in answer {number}")
    print(2 * int(what) * int(args[0]))


main(*sys.argv[1:])
