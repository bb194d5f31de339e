# SPDX-License-Identifier: MIT
"""wire_peer (tests/progs/wire) on both sides of a lab: what it says, and what it is told."""

import itertools
import os
import select
import subprocess
import time

from labtest import PROGS, TIMEOUT, Failed, expect, wait_until
from fflib import pair

_PROGRAM = os.path.join(PROGS, "wire_peer")
_ports = itertools.count(23000)


class Side:
    """One of the two processes."""

    def __init__(self, lab, where, argv):
        self.where = where
        self.child = lab.start(where, [_PROGRAM, *argv], stdin=subprocess.PIPE)
        self._rest = b""
        self._fd = self.child.stdout.fileno()

    def line(self, timeout=TIMEOUT):
        """Its next line; "" at its end."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            if not select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"wire_peer in {self.where} says nothing for {timeout} s")
            data = os.read(self._fd, 65536)
            if not data:
                return ""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def until(self, last):
        """All lines before the line last."""
        lines = []
        while (line := self.line()) != last:
            expect(line and not line.startswith("failed"), f"wire_peer in {self.where}: "
                   f"{lines + [line]}, status {self.child.poll()}")
            lines.append(line)
        return lines

    def tell(self, text):
        self.child.stdin.write(text + "\n")
        self.child.stdin.flush()

    def ask(self, text):
        self.tell(text)
        return self.line()

    def end(self):
        """Its last line, which leaves with 0."""
        last = self.line()
        self.child.stdin.close()
        expect(self.child.wait(TIMEOUT) == 0, f"wire_peer in {self.where} says {last!r} and leaves "
               f"with {self.child.returncode}")
        return last


class Peers:
    """A server in the first container, a client in the second."""

    def __init__(self, lab, mode, ends=("c1", "c2"), options=(), address=0):
        port = str(next(_ports))
        server, container = ends[0], lab.container(ends[0])
        self.server = Side(lab, server, [*options, "-p", port, mode])
        wait_until(lambda: pair.listens(container["pid"], int(port)), f"wire_peer in {server}")
        self.client = Side(lab, ends[1], [*options, "-p", port, mode,
                                          container["addresses"][address]])
        self.sides = (self.server, self.client)

    def ready(self):
        """Lists of what they have said before."""
        return [side.until("ready") for side in self.sides]

    def more(self, messages):
        """mode load: until each has got that many more."""
        wanted = [int(side.ask("")) + messages for side in self.sides]
        for side, number in zip(self.sides, wanted):
            wait_until(lambda s=side, n=number: int(s.ask("")) >= n, "more messages")

    def stop(self):
        """mode load: both end without an error."""
        for side in self.sides:
            side.tell("stop")
        for side in self.sides:
            last = side.end()
            expect(last.startswith("done "), f"wire_peer in {side.where}: {last!r}")
