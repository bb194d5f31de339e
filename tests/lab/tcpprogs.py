# SPDX-License-Identifier: MIT
"""
Programs over TCP between containers, with the shim at both ends, at one, at none, and between
hosts; and the proof of which way the bytes took: what the shims told the router, and what the
containers' interfaces carried.
"""

import contextlib
import itertools
import os
import re
import subprocess
import sys
import tempfile

from labtest import PROGS, SOURCE, TIMEOUT, Failed, LabUnderTest, expect, need, wait_until
from fflib import pair

SCRIPTS = os.path.join(SOURCE, "tests", "progs", "tcp")
TRIES = 5
WAYS = {"unix": "tcp_paired", "fifo": "tcp_fifo"}
# How the server runs; then where, how and by which way its clients do. None: without the shim.
CASES = (("unix", (("c2", "unix", "unix"),)),
         ("fifo", (("c2", "fifo", "fifo"), ("c2", None, "kernel"), ("c3", "fifo", "kernel"))),
         (None, (("c2", "fifo", "kernel"), ("c2", None, "kernel"))))
_SERVER = "c1"
_ports = itertools.count(26000)


class Place:
    """A container, and how programs run in it."""

    def __init__(self, lab, where, mode):
        self.lab, self.where, self.mode = lab, where, mode

    def argv(self, argv):
        return argv if self.mode is None else ["env", f"FREEFLOW_TCP={self.mode}", *argv]

    def must(self, argv, **kwargs):
        """Runs it to its end; Failed unless that is good. Returns its output."""
        return self.lab.must(self.where, self.argv(argv), plain=self.mode is None, **kwargs)

    def start(self, argv, **kwargs):
        return self.lab.start(self.where, self.argv(argv), plain=self.mode is None, **kwargs)

    def python(self, script, *args):
        """The command of a script of tests/progs/tcp."""
        return [sys.executable, os.path.join(SCRIPTS, script), *map(str, args)]


def program(name):
    """Of tests/progs, compiled."""
    return os.path.join(PROGS, name)


def file_write(place, path, text):
    """In the container's own file system; for all of its users."""
    place.must(["sh", "-c", 'umask 022; mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1"', "sh",
                path, text])


class ProgramsLab(LabUnderTest):
    """Two hosts with two containers each, whose routers offer streams."""

    def __init__(self, options=()):
        super().__init__(hosts=2, containers=2, options=("--set", "tcp.streams=local", *options))

    def __enter__(self):
        super().__enter__()
        self.containers = {c["name"]: c for c in self.status()["containers"]}
        return self

    def address(self, where=_SERVER, ipv6=False):
        return self.containers[where]["addresses"][1 if ipv6 else 0]

    def listening(self, where, port):
        """Returns when somebody does."""
        pid = self.containers[where]["pid"]
        wait_until(lambda: pair.listens(pid, port), f"a listener on {port} in {where}")

    def told(self, where):
        """What has become of the container's streams, as shims have said: {way: number}."""
        host = int(self.containers[where]["host"].removeprefix("host")) - 1
        counters = next(c for c in self.show("containers", host=host) if c["id"] == where)
        return {way: counters["counters"].get(name, 0) for way, name in WAYS.items()}

    def carried(self, where):
        """Bytes that the container's interface has carried, both ways."""
        with open(f"/proc/{self.containers[where]['pid']}/net/dev", encoding="ascii") as file:
            fields = re.search(r"eth0:(.*)", file.read())[1].split()
        return int(fields[0]) + int(fields[8])

    @contextlib.contextmanager
    def serve(self, place, argv, port, timeout=TIMEOUT, **kwargs):
        """A server from when it listens to the end of the block; what it has said when it fails."""
        pid = self.containers[place.where]["pid"]
        with tempfile.TemporaryFile("w+") as output:
            child = place.start(argv, stdout=output, **kwargs)
            try:
                wait_until(lambda: pair.listens(pid, port) or child.poll() is not None,
                           f"a server on {port}", timeout)
                expect(child.poll() is None, "the server has left")
                yield child
                expect(child.poll() is None, "the server has died")
            except (Failed, subprocess.TimeoutExpired) as error:
                output.seek(0)
                raise Failed(f"{error}\nserver:\n{output.read()[-3000:]}") from None
            finally:
                ended = _end(child)
            expect(ended, "the server does not end when it is told to")


def _end(child):
    """False: it took more than that."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(TIMEOUT)
        return True
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return False


def _round(lab, where, client, use):
    """Calls use(): what it has moved, what the interface has carried, what shims have told."""
    before, carried = {w: lab.told(w) for w in where}, lab.carried(client)
    moved = use() or 0
    carried = lab.carried(client) - carried

    def told():
        after = {w: lab.told(w) for w in where}
        return {w: {way: after[w][way] - before[w][way] for way in WAYS} for w in where}
    return moved, carried, told


def _arrived(way, told):
    """Has each end said so? The word comes behind the exchange."""
    with contextlib.suppress(Failed):
        wait_until(lambda: all(end[way] for end in told().values()), way, 2)
    return all(end[way] for end in told().values())


def proven(lab, client, way, use, bulk=False):
    """
    Calls use(), which returns how many bytes it has moved, and fails unless they went by way:
    "unix", "fifo" or "kernel". bulk: most of them, else some. When shims meet is a matter of luck
    on a busy machine: they get some tries.
    """
    for _ in range(1 if way == "kernel" else TRIES):
        moved, carried, told = _round(lab, (_SERVER, client), client, use)
        for end, ways in told().items():
            expect(not any(n for other, n in ways.items() if other != way),
                   f"{end}: {ways}, expected {way} alone")
        if way == "kernel":
            expect(carried >= moved, f"{moved} bytes moved, {carried} by the interface")
            return
        if _arrived(way, told) and (not bulk or carried < moved // 2):
            return
    raise Failed(f"not by {way}: {told()}; {moved} bytes moved, {carried} by the interface")


def _server_case(lab, mode, clients, serve, use, stays, bulk):
    with serve(Place(lab, _SERVER, mode)) as port:
        for where, client_mode, way in clients:
            client = Place(lab, where, client_mode)
            way = "kernel" if stays else way
            try:
                proven(lab, where, way, lambda c=client, w=way: use(c, port, w), bulk)
            except (Failed, subprocess.TimeoutExpired) as error:
                raise Failed(f"client in {where} {mode_name(client_mode)}: {error}") from None


def mode_name(mode):
    return f"with the shim, {mode}" if mode else "without the shim"


def matrix(script, lab, name, serve, use, tools=(), stays=False, bulk=False):
    """
    A program in all CASES. serve(place): a context, the port; use(place, port, way): the client,
    which returns how many bytes it has moved or None. stays: its connections do so with the
    kernel, since they go through a fork or an exec, or the shim sees nothing of them. bulk: as
    proven().
    """
    def case(mode, clients):
        need(*tools)
        _server_case(lab, mode, clients, serve, use, stays, bulk)
    for mode, clients in CASES:
        script.run(f"{name}: server {mode_name(mode)}", case, mode, clients)


def next_port():
    return next(_ports)
