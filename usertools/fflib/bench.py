# SPDX-License-Identifier: MIT
"""
Measurements in a lab: perftest through the routers; TCP programs, by default on the plain overlay;
the machine's floors. Each function measures once and returns a number.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

from . import pair, router
from .errors import LabError

_ROW = re.compile(r"^\s*\d+\s+\d+((?:\s+[\d.]+){2,7})\s*$", re.MULTILINE)
_TIMEOUT = 180
# What a bandwidth run moves at most, in bytes and in messages.
_BW_MESSAGES = 400000
LOCAL_BYTES, WIRE_BYTES = 8 << 30, 512 << 20  # in a host, between hosts
_LAT_ITERATIONS = 10000
_CQ_ENTRIES = 16384
_SOCKPERF_RUNS = 4
SERVER, CLIENT = "c1", "c2"
# Of a container: connections that have reached a stage (FREEFLOW_TCP).
_COUNTERS = {"unix": "tcp_paired", "fifo": "tcp_fifo", "host": "tcp_host"}


class Bench:
    """Measures between two containers of a lab that is up."""

    def __init__(self, lab, ff_lab, ends=(SERVER, CLIENT), most=LOCAL_BYTES, index=0):
        """
        lab: a loaded lab.Lab; ff_lab: the tool that runs commands in its containers; ends: those
        of server and client; most: bytes of a bandwidth run; index: of those that run at a time.
        """
        self._most = most
        self._lab = lab
        self._ff_lab = ff_lab
        self._ports = itertools.cycle(range(18600 + 1000 * index, 19600 + 1000 * index))
        server = lab.find_container(ends[0])
        self._ends, self._pid, self.address = ends, server["pid"], server["addresses"][0]
        self._stage = None

    @contextlib.contextmanager
    def _changed(self, **values):
        saved = {name: getattr(self, name) for name in values}
        self.__dict__.update(values)
        try:
            yield self
        finally:
            self.__dict__.update(saved)

    def on_overlay(self):
        """As it is anyway."""
        return self._changed()

    def between_hosts(self):
        """While it lasts, TCP programs run between the first two hosts themselves."""
        host = self._lab.find_host("host1")
        return self._changed(_ends=("host1", "host2"), address=host["address"],
                             _pid=host["router"]["watch"])

    def on_loopback(self):
        """While it lasts, TCP programs run on the first host itself."""
        return self._changed(_ends=("host1", "host1"), address="127.0.0.1",
                             _pid=self._lab.find_host("host1")["router"]["watch"])

    def by_stage(self, stage):
        """While it lasts, TCP programs run under the shim, which may go as far as that stage."""
        return self._changed(_stage=stage)

    def exchanged(self, stage):
        """How many connections of the server have reached the stage."""
        server = self._lab.find_container(self._ends[0])
        return router.counters(self._lab.find_host(server["host"]), server["name"]).get(
            _COUNTERS[stage], 0)

    def argv(self, where, argv, plain=False):
        return [self._ff_lab, "exec", "--name", self._lab.name, *(["--plain"] if plain else []),
                where, "--", *argv]

    def _pair(self, server, client, port, plain, **options):
        try:
            return pair.run(self.argv(self._ends[0], server, plain),
                            self.argv(self._ends[1], client, plain),
                            self._pid, port, _TIMEOUT, **options)[1]
        except pair.PairError as error:
            raise LabError(str(error)) from None

    def tcp(self, server, client, port, **options):
        """What the client prints; options: of pair.run."""
        stage = ["env", f"FREEFLOW_TCP={self._stage}"] if self._stage else []
        return self._pair([*stage, *server], [*stage, *client], port, not self._stage, **options)

    def next_port(self):
        return next(self._ports)

    @contextlib.contextmanager
    def server_files(self, files):
        """A directory of the server's with files {name: text}, as the server sees it."""
        with tempfile.TemporaryDirectory(prefix="ffbench-",
                                         dir=f"/proc/{self._pid}/root/tmp") as path:
            os.chmod(path, 0o755)
            for name, text in files.items():
                with open(os.path.join(path, name), "w", encoding="ascii") as file:
                    file.write(text)
            yield os.path.join("/tmp", os.path.basename(path))

    def _perftest(self, tool, options):
        """The columns after the number of iterations."""
        port = next(self._ports)
        argv = [tool, "-F", "-p", str(port), *options]
        output = self._pair(argv, argv + [self.address], port, False)
        rows = _ROW.findall(output)
        if not rows:
            raise LabError(f"{' '.join(argv)}: no result in\n{output}")
        return [float(value) for value in rows[-1].split()]

    def latency(self, operation, size=2):
        """One way, typical, in microseconds."""
        return self._perftest(f"ib_{operation}_lat",
                              ["-s", str(size), "-n", str(_LAT_ITERATIONS)])[2]

    def _bandwidth(self, operation, size, qps):
        # perftest makes one CQ for all, and one for all receives: no device has one without end. It
        # signals every 100th request, or every depth-th, and counts wrongly when the last one is
        # not among them.
        depth = max(4, min(128, _CQ_ENTRIES // qps))
        every = min(100, depth)
        count = max(10, min(_BW_MESSAGES, self._most // size) // qps // every) * every
        options = ["-s", str(size), "-n", str(count), "-q", str(qps), "-t", str(depth),
                   "--report_gbits"]
        if operation == "send" and qps > 1:
            options += ["-r", str(depth)]
        return self._perftest(f"ib_{operation}_bw", options)

    def bandwidth(self, operation, size, qps=1):
        """Average, in 10^9 bytes per second."""
        return self._bandwidth(operation, size, qps)[1] / 8

    def bandwidth_for(self, operation, size, seconds):
        """The same for that long, of which perftest leaves out the first and last two."""
        return self._perftest(f"ib_{operation}_bw", ["-s", str(size), "-D", str(seconds),
                                                     "--report_gbits"])[1] / 8

    def rate(self, operation, size, qps=1):
        """Messages, in millions per second."""
        return self._bandwidth(operation, size, qps)[2]

    def sockperf(self, protocol, spinning=False):
        """
        One way, average, in microseconds; 14 bytes are its least. spinning: both ends ask again
        and again, each on a CPU of its own.
        """
        # On a loaded machine an end may not get the CPU in all of the half second that counts.
        for _ in range(_SOCKPERF_RUNS):
            output = self._sockperf_once(protocol, spinning)
            found = re.search(r"Latency is ([\d.]+) usec", output) \
                or re.search(r"avg-latency=([\d.]+)", output)
            if found:
                return float(found[1])
        raise LabError(f"sockperf: no result in\n{output}")

    def _sockperf_once(self, protocol, spinning):
        port = next(self._ports)
        where = ["-i", self.address, "-p", str(port)] + (["--tcp"] if protocol == "tcp" else []) \
            + (["--nonblocked"] if spinning else [])
        cpus = sorted(os.sched_getaffinity(0))
        pins = [["taskset", "-c", str(cpu)] if spinning else [] for cpu in (cpus[0], cpus[-1])]
        return self.tcp([*pins[0], "sockperf", "server", *where],
                        [*pins[1], "sockperf", "ping-pong", *where, "-m", "14", "-t", "1"], port,
                        wait_server=False, protocol=protocol)

    def iperf3(self, frame=None, streams=1):
        """In 10^9 bytes per second. frame: bytes of its IP packets."""
        port = str(next(self._ports))
        # The MSS, of which 12 bytes are TCP's time stamps.
        length = ["-M", str(frame - 40)] if frame else []
        output = self.tcp(["iperf3", "-s", "-1", "-p", port],
                          ["iperf3", "-c", self.address, "-p", port, "-t", "2", "-J",
                           "-P", str(streams), *length], int(port))
        return json.loads(output)["end"]["sum_received"]["bits_per_second"] / 8e9

    @contextlib.contextmanager
    def idle(self, tool, containers, qps, peer=None):
        """
        While it lasts, each of the containers has a process that holds idle QPs: connected to
        themselves, or to peer, an address.
        """
        held = []
        try:
            for name in containers:
                argv = [tool, str(qps), *([peer] if peer else [])]
                held.append(subprocess.Popen(self.argv(name, argv), text=True,
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for name, process in zip(containers, held):
                if process.stdout.readline() != "ready\n":
                    raise LabError(f"{os.path.basename(tool)} in {name} failed")
            yield
        finally:
            for process in held:
                process.stdin.close()
            for process in held:
                process.wait()
                process.stdout.close()


def helper(name, source):
    """A program of usertools/bench: built, or installed."""
    places = [os.path.join(source, "build", "usertools", "bench")] if source else []
    places += ["/usr/local/libexec/freeflow", "/usr/libexec/freeflow"]
    path = shutil.which(name, path=os.pathsep.join(places))
    if path is None:
        raise LabError(f"{name} is not there: meson setup build && ninja -C build")
    return path


def memory(pid):
    """What a process has of its own, in KB: neither files nor what it shares."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))


def floor(tool, *args):
    """One of ff-floors' objects."""
    done = subprocess.run([tool, *args], text=True, capture_output=True, timeout=_TIMEOUT,
                          check=False)
    if done.returncode != 0:
        raise LabError(f"{done.stderr.strip() or 'ff-floors failed'}")
    return json.loads(done.stdout)


class Samples:
    """Values by name, in the order in which they were first seen."""

    def __init__(self):
        self._values = {}

    def add(self, name, value):
        self._values.setdefault(name, []).append(value)

    def __contains__(self, name):
        return name in self._values

    def median(self, name):
        return statistics.median(self._values[name])

    def as_dict(self):
        return {name: {"median": statistics.median(values), "min": min(values),
                       "max": max(values), "samples": values}
                for name, values in self._values.items()}


def table_print(head, rows, left=1):
    """The first columns are aligned to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        cells = [text.ljust(width) if column < left else text.rjust(width)
                 for column, (text, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
