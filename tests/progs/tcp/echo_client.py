# SPDX-License-Identifier: MIT
"""
echo_client.py HOST PORT CONNECTIONS BYTES [PIECE]: sends BYTES on each of so many connections to a
server that sends back what it gets, in pieces of random sizes up to PIECE, while it reads what
comes back; all of it must come, byte for byte, and then an end. Prints the bytes both ways.
"""

import random
import selectors
import socket
import sys

AHEAD = 256 * 1024  # bytes that are under way at most: the server need not keep more


class Connection:
    """One of them."""

    def __init__(self, address, number, total, piece):
        self.socket = socket.create_connection(address, 60)
        self.socket.setblocking(False)
        self.random = random.Random(number)
        self.total, self.piece = total, piece
        self.sent = self.received = 0
        self.expected = bytearray()  # what is under way
        self.unsent = b""

    def wants(self):
        more = self.sent < self.total and len(self.expected) < AHEAD
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if more or self.unsent else 0)

    def write(self):
        if not self.unsent:
            size = min(self.random.randint(1, self.piece), self.total - self.sent)
            self.unsent = self.random.randbytes(size)
        n = self.socket.send(self.unsent)
        self.expected += self.unsent[:n]
        self.unsent = self.unsent[n:]
        self.sent += n
        if self.sent == self.total:
            self.socket.shutdown(socket.SHUT_WR)

    def read(self):
        """False: it is done."""
        data = self.socket.recv(1 << 18)
        if not data:
            if self.received != self.total:
                sys.exit(f"an end after {self.received} of {self.total} bytes")
            return False
        if self.expected[:len(data)] != data:
            sys.exit(f"other bytes after {self.received}")
        del self.expected[:len(data)]
        self.received += len(data)
        return True


def main(host, port, connections, total, piece=65536):
    selector = selectors.DefaultSelector()
    for number in range(int(connections)):
        connection = Connection((host, int(port)), number, int(total), int(piece))
        selector.register(connection.socket, connection.wants(), connection)
    while selector.get_map():
        events = selector.select(60)
        if not events:
            sys.exit("nothing comes for a minute")
        for key, event in events:
            connection = key.data
            if event & selectors.EVENT_WRITE:
                connection.write()
            if event & selectors.EVENT_READ and not connection.read():
                selector.unregister(connection.socket)
                connection.socket.close()
                continue
            if connection.wants() != key.events:
                selector.modify(connection.socket, connection.wants(), connection)
    print(2 * int(connections) * int(total))


main(*sys.argv[1:])
