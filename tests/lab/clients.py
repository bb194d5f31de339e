# SPDX-License-Identifier: MIT
"""Programs that stay in a lab's containers for a while: service_client, and pingpongs."""

import itertools
import os
import subprocess

from labtest import PROGS, TIMEOUT, expect, expect_equal, wait_until
from fflib import pair

CLIENT = os.path.join(PROGS, "service_client")
ports = itertools.count(19500)


def client(lab, where, *args):
    child = lab.start(where, [CLIENT, *args], stdin=subprocess.PIPE)
    return child, child.stdout.readline().strip()


def traffic(lab, where, *args):
    """A client that has been through its first round."""
    child, line = client(lab, where, *(args or ["loop"]))
    expect_equal(line, "ready", f"first line of the client in {where}")
    return child


def goes_on(child):
    """More rounds than it has now."""
    def rounds():
        child.stdin.write("\n")
        child.stdin.flush()
        line = child.stdout.readline().strip()
        expect(line.isdigit(), f"the client says {line!r}")
        return int(line)
    now = rounds()
    wait_until(lambda: rounds() > now, "more rounds")


def finish(child):
    """Its other lines."""
    lines = child.communicate(timeout=TIMEOUT)[0].splitlines()
    expect_equal(child.returncode, 0, f"the client says {lines}; its status")
    return lines


def pingpong(lab, kind="rc", ends=("c1", "c2"), options=(), iterations=200):
    port = next(ports)
    argv = [f"ibv_{kind}_pingpong", "-g", "0", "-c", "-n", str(iterations), "-p", str(port),
            *options]
    lab.pair(argv, argv + [lab.container(ends[0])["addresses"][0]], port, ends)


def counters(lab, where):
    return next(c for c in lab.show("containers") if c["id"] == where)["counters"]


def start_when_listening(lab, where, argv, other, port):
    """The client of a server that does not end by itself."""
    pid = lab.container(other)["pid"]
    wait_until(lambda: pair.listens(pid, port), f"a server on port {port} in {other}")
    return lab.start(where, argv)
