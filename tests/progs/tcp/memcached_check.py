# SPDX-License-Identifier: MIT
"""
memcached_check.py HOST PORT: some connections at once, each with values of many sizes, which come
back as they were, one by one and several together. Prints the bytes both ways.
"""

import random
import socket
import sys
import threading

CONNECTIONS, ROUNDS, AT_ONCE, VALUE_MAX = 8, 15, 6, 200_000


class Fault(Exception):
    """What came instead."""


def line_expect(file, wanted):
    line = file.readline()
    if line != wanted:
        raise Fault(f"{line!r} instead of {wanted!r}")


def value_expect(file, key, value):
    line_expect(file, b"VALUE %s 0 %d\r\n" % (key, len(value)))
    if file.read(len(value) + 2) != value + b"\r\n":
        raise Fault(f"{key} has another value")


def rounds(address, number):
    """Returns the bytes both ways."""
    connection = socket.create_connection(address)
    file, source, moved = connection.makefile("rb"), random.Random(number), 0
    for _ in range(ROUNDS):
        values = {b"key-%d-%d" % (number, n): source.randbytes(source.randint(1, VALUE_MAX))
                  for n in range(AT_ONCE)}
        for key, value in values.items():
            connection.sendall(b"set %s 0 0 %d\r\n" % (key, len(value)) + value + b"\r\n")
        for _ in values:
            line_expect(file, b"STORED\r\n")
        connection.sendall(b"get " + b" ".join(values) + b"\r\n")
        for key, value in values.items():
            value_expect(file, key, value)
        line_expect(file, b"END\r\n")
        moved += 2 * sum(map(len, values.values()))
    connection.close()
    return moved


def main(host, port):
    results, faults = [], []

    def run(number):
        try:
            results.append(rounds((host, int(port)), number))
        except (Fault, OSError) as error:
            faults.append(f"connection {number}: {error}")
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if faults or len(results) != CONNECTIONS:
        sys.exit("\n".join(faults) or "a connection waits for ever")
    print(sum(results))


main(*sys.argv[1:])
