# SPDX-License-Identifier: MIT
"""
redis_check.py HOST PORT [COMMAND...]: values of many sizes, sent and asked for several at a time,
come back as they were; and what is published reaches each subscriber whole and in order. Between
the two the server is told COMMAND. Prints the bytes both ways.
"""

import random
import socket
import sys
import threading

VALUES, AT_ONCE, VALUE_MAX = 120, 8, 400_000
SUBSCRIBERS, MESSAGES, MESSAGE_MAX = 3, 2000, 1500


class Redis:
    """A connection, and the answers on it."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words)
                            + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def answer(self):
        line = self.file.readline()
        kind, text = line[:1], line[1:-2]
        if kind == b"$":
            return None if text == b"-1" else self.file.read(int(text) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(text))]
        if kind == b":":
            return int(text)
        if kind != b"+":
            sys.exit(f"the server says {line!r}")
        return text


def values(redis):
    """Returns the bytes both ways."""
    source, moved = random.Random(2), 0
    for first in range(0, VALUES, AT_ONCE):
        sent = [source.randbytes(source.randint(0, VALUE_MAX)) for _ in range(AT_ONCE)]
        for number, value in enumerate(sent):
            redis.send("SET", f"key{first + number}", value)
        for _ in sent:
            redis.answer()
        # All at once: the server answers while it is still asked.
        for number in range(AT_ONCE):
            redis.send("GET", f"key{first + number}")
        for number, value in enumerate(sent):
            if redis.answer() != value:
                sys.exit(f"key{first + number} has another value")
            moved += 2 * len(value)
    return moved


def message(number):
    return random.Random(number).randbytes(number % MESSAGE_MAX)


def subscriber(redis, faults):
    for number in range(MESSAGES):
        got = redis.answer()
        if got != [b"message", b"news", message(number)]:
            faults.append(f"message {number} is {len(got[2])} bytes of something else")
            return


def published(address):
    faults, threads = [], []
    for _ in range(SUBSCRIBERS):
        redis = Redis(address)
        redis.send("SUBSCRIBE", "news")
        redis.answer()
        threads.append(threading.Thread(target=subscriber, args=(redis, faults), daemon=True))
        threads[-1].start()
    publisher = Redis(address)
    for number in range(MESSAGES):
        publisher.send("PUBLISH", "news", message(number))
        if publisher.answer() != SUBSCRIBERS:
            sys.exit(f"not all hear message {number}")
    for thread in threads:
        thread.join(60)
        if thread.is_alive():
            sys.exit("a subscriber waits for ever")
    if faults:
        sys.exit("\n".join(faults))


def main(host, port, *command):
    address = (host, int(port))
    redis = Redis(address)
    moved = values(redis)
    if command:
        redis.send(*command)
        redis.answer()
    published(address)
    print(moved + values(redis))


main(*sys.argv[1:])
