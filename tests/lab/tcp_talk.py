#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
One TCP connection in a container, as lines on stdin say; each is answered by one line.
  bytes N     N bytes each way at once, checked
  turns N     N short messages there and back, checked
  names       the connection's names, as the program sees them
  attack A P  tries to reach host A, port P, with the descriptor, past the shim
At the end of stdin: the end of the connection, each way.
Usage: tcp_talk.py server|client ADDRESS PORT
"""

import ctypes
import errno
import hashlib
import platform
import socket
import struct
import sys
import threading

BLOCK = 65536
TURN = 100
_SYS_CONNECT, _SYS_BIND, _SYS_LISTEN, _SYS_SENDTO = 42, 49, 50, 44  # x86_64
_SYS_GETSOCKOPT = 55
_SO_DOMAIN = 39
_MSG_FASTOPEN = 0x20000000


class Wrong(Exception):
    """What is not as it should be."""


def block(who, number):
    return hashlib.shake_128(f"{who} {number}".encode()).digest(BLOCK)


def receive(sock, length):
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise Wrong(f"the end, {length - len(data)} bytes too early")
        data += piece
    return data


def names_for(libc, fd, address, port):
    """That address and any, of the family that the socket is of behind all hooks."""
    domain, size = ctypes.c_int(), ctypes.c_int(4)
    libc.syscall(_SYS_GETSOCKOPT, fd, socket.SOL_SOCKET, _SO_DOMAIN, ctypes.byref(domain),
                 ctypes.byref(size))
    if domain.value == socket.AF_INET:
        return (struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) +
                socket.inet_aton(address) + bytes(8),
                struct.pack("=H", socket.AF_INET) + bytes(14))
    return (struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + bytes(10) +
            b"\xff\xff" + socket.inet_aton(address) + bytes(4),
            struct.pack("=H", socket.AF_INET6) + bytes(26))


class Talk:
    def __init__(self, sock, server):
        self.sock = sock
        self.server = server
        self.sent = self.received = 0

    def _send(self, count):
        for _ in range(count):
            self.sock.sendall(block(self.server, self.sent))
            self.sent += 1

    def bytes(self, length):
        count = int(length) // BLOCK
        sender = threading.Thread(target=self._send, args=(count,))
        sender.start()
        for _ in range(count):
            if receive(self.sock, BLOCK) != block(not self.server, self.received):
                raise Wrong(f"block {self.received} is another")
            self.received += 1
        sender.join()
        return "ok"

    def turns(self, count):
        for i in range(int(count)):
            message = struct.pack("<I", i) * (TURN // 4)
            if not self.server:
                self.sock.sendall(message)
            if receive(self.sock, TURN) != message:
                raise Wrong(f"turn {i} is another")
            if self.server:
                self.sock.sendall(message)
        return "ok"

    def names(self):
        return f"{self.sock.getsockname()[:2]} {self.sock.getpeername()[:2]}"

    def attack(self, address, port):
        """Everything is refused: what was not is named."""
        if platform.machine() != "x86_64":
            return "other system calls here"
        libc = ctypes.CDLL(None, use_errno=True)
        fd = self.sock.fileno()
        stranger, anywhere = names_for(libc, fd, address, int(port))
        size = len(stranger)
        libc.syscall(_SYS_CONNECT, fd, bytes(size), size)
        tries = {"connect": (_SYS_CONNECT, fd, stranger, size),
                 "bind": (_SYS_BIND, fd, anywhere, size),
                 "sendto": (_SYS_SENDTO, fd, b"x", 1, _MSG_FASTOPEN, stranger, size)}
        for name, args in tries.items():
            ctypes.set_errno(0)
            if libc.syscall(*args) >= 0 or ctypes.get_errno() != errno.EPERM:
                return f"{name}: {errno.errorcode.get(ctypes.get_errno(), 'done')}"
        return "refused"

    def end(self):
        self.sock.shutdown(socket.SHUT_WR)
        if self.sock.recv(1):
            raise Wrong("more bytes than were sent")


def connection(role, address, port):
    if role == "client":
        return socket.create_connection((address, int(port)))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, int(port)), family=family) as listener:
        return listener.accept()[0]


def main():
    role, address, port = sys.argv[1:]
    talk = Talk(connection(role, address, port), role == "server")
    for line in sys.stdin:
        word, *args = line.split()
        print(getattr(talk, word)(*args), flush=True)
    talk.end()
    print("end", flush=True)


main()
