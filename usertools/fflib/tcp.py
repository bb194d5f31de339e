# SPDX-License-Identifier: MIT
"""
TCP programs between two containers by each stage of a stream, and beside them by the plain overlay,
the hosts' own network, loopback: what is measured, by which ways, and what it should come to.
"""

import contextlib
import os
import re
import sys
import tempfile

from . import bench, router
from .errors import LabError

# What FREEFLOW_TCP may say, worst first, with what the router is told for it.
LOCAL_STAGES = {"unix": "local", "fifo": "local"}
REMOTE_STAGES = {"host": "host"}
OVERLAY, VETH, LOOPBACK = "plain overlay", "between the hosts", "loopback"
SHIM = "shim, on the overlay"
FLOOR = "floor: FIFO, GB/s"
PROGRAMS = ("iperf3", "sockperf", "redis-server", "redis-benchmark", "nginx", "wrk")
FILE_SIZE = 1024
_CONNECTIONS = 32
_SECONDS = 2
_ATTEMPTS = 4
_REDIS_REQUESTS = 100000
_NGINX = """
daemon off;
pid pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	server {{
		listen {address}:{port};
		root .;
	}}
}}
"""


def redis(run, test):
    """10^3 requests per second of 50 clients, each of which waits for its answer."""
    port = run.next_port()
    output = run.tcp(["redis-server", "--bind", run.address, "--port", str(port), "--save", "",
                      "--protected-mode", "no", "--dir", "/tmp"],
                     ["redis-benchmark", "-h", run.address, "-p", str(port), "-t", test, "-n",
                      str(_REDIS_REQUESTS), "--csv"], port, wait_server=False)
    found = re.search(rf'^"{test}","([\d.]+)"', output, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise LabError(f"redis-benchmark: no result in\n{output}")
    return float(found[1]) / 1e3


def wrk(run, keep):
    """10^3 requests per second for a small file. keep: not each by a connection of its own."""
    port = run.next_port()
    files = {"small": "x" * FILE_SIZE,
             "nginx.conf": _NGINX.format(address=run.address, port=port)}
    with run.server_files(files) as path:
        output = run.tcp(["nginx", "-p", path + "/", "-e", "stderr", "-c", "nginx.conf"],
                         ["wrk", "-t", "1", "-c", str(_CONNECTIONS), "-d", f"{_SECONDS}s",
                          *([] if keep else ["-H", "Connection: close"]),
                          f"http://{run.address}:{port}/small"], port, wait_server=False)
    found = re.search(r"Requests/sec:\s*([\d.]+)", output)
    if not found or "Non-2xx" in output or "Socket errors" in output:
        raise LabError(f"wrk: no result, or with errors, in\n{output}")
    return float(found[1]) / 1e3


class Measure:
    """A number of one way; lasts: its connections are busy for so long that they are exchanged."""

    def __init__(self, unit, function, bound, lasts=True):
        """bound: what a stage makes of the plain overlay's, of times at most, else at least."""
        self.unit, self.function, self.bound, self.lasts = unit, function, bound, lasts
        self.at_least = unit != "us"


MEASURES = {
    "iperf3, 1 stream": Measure("GB/s", lambda run: run.iperf3(), 3),
    "iperf3, 8 streams": Measure("GB/s", lambda run: run.iperf3(streams=8), 3),
    "sockperf, both spin": Measure("us", lambda run: run.sockperf("tcp", True), 0.25),
    "sockperf, both sleep": Measure("us", lambda run: run.sockperf("tcp"), 0.7),
    "redis-benchmark get": Measure("k/s", lambda run: redis(run, "get"), 1.5),
    "redis-benchmark set": Measure("k/s", lambda run: redis(run, "set"), 1.5),
    "wrk, keep-alive": Measure("k/s", lambda run: wrk(run, True), 1.3),
    "wrk, a connection each": Measure("k/s", lambda run: wrk(run, False), 0.95, lasts=False),
}


@contextlib.contextmanager
def stages_offered(stages, binaries):
    """
    Those that this router knows, and the configuration under "tcp" for the last of them; the
    routers' common secret is there while it lasts.
    """
    offered, config = [], {}
    with tempfile.NamedTemporaryFile("wb") as secret:
        secret.write(os.urandom(32))
        secret.flush()
        for stage, streams in stages.items():
            wanted = {"streams": streams}
            if streams == "host":
                wanted["secret_file"] = secret.name
            if router.accepts(binaries.freeflowd, {"tcp": wanted}):
                offered.append(stage)
                config = wanted
            else:
                print(f"stage {stage} is not there: the router knows no tcp.streams \"{streams}\"",
                      file=sys.stderr)
        yield offered, {f"tcp.{key}": value for key, value in config.items()}


def _by_stage(stage, exchanges):
    """
    A way; exchanges: connections are to reach the stage. A shim gives up on a router that has no
    time for it, as on a loaded machine: then once more.
    """
    def go(run, measure):
        for _ in range(_ATTEMPTS):
            before = run.exchanged(stage)
            with run.by_stage(stage):
                value = measure.function(run)
            if not (exchanges and measure.lasts) or run.exchanged(stage) != before:
                return value
            print(f"stage {stage}: no connection has reached it", file=sys.stderr)
        raise LabError(f"stage {stage} is not reached")
    return go


def _by(context):
    """A way without the shim."""
    def go(run, measure):
        with context(run):
            return measure.function(run)
    return go


def local_ways(stages):
    return {OVERLAY: _by(bench.Bench.on_overlay),
            **{stage: _by_stage(stage, True) for stage in stages},
            VETH: _by(bench.Bench.between_hosts), LOOPBACK: _by(bench.Bench.on_loopback)}


def remote_ways(stages):
    return {OVERLAY: _by(bench.Bench.on_overlay),
            **{stage: _by_stage(stage, True) for stage in stages},
            SHIM: _by_stage(list(LOCAL_STAGES)[-1], False),
            VETH: _by(bench.Bench.between_hosts)}


def measure_all(run, samples, ways, what=""):
    """All ways of one measure come after each other, so that they meet the same machine."""
    for name, measure in MEASURES.items():
        for way, go in ways.items():
            try:
                value = go(run, measure)
            except LabError as error:
                raise LabError(f"{what}{name}: {way}: {error}") from None
            samples.add(f"{what}{name}: {way}, {measure.unit}", value)


def _ratio(samples, name, way, other, what=""):
    unit = MEASURES[name].unit
    return samples.median(f"{what}{name}: {way}, {unit}") \
        / samples.median(f"{what}{name}: {other}, {unit}")


def local_ratios(samples, stages):
    """(what, value, bound, True when it is a lower one); only the last stage has bounds."""
    for stage in stages:
        bound = stage == stages[-1]
        for name, measure in MEASURES.items():
            yield (f"{name}: {stage} / {OVERLAY}", _ratio(samples, name, stage, OVERLAY),
                   measure.bound if bound else None, measure.at_least)
        for name in list(MEASURES)[:2]:
            yield (f"{name}: {stage} / FIFO floor",
                   samples.median(f"{name}: {stage}, GB/s") / samples.median(FLOOR),
                   0.6 if bound else None, True)
        for other in (VETH, LOOPBACK):
            for name, measure in MEASURES.items():
                yield (f"{name}: {stage} / {other}", _ratio(samples, name, stage, other), None,
                       measure.at_least)


def remote_ratios(samples, stages, whats):
    """The same; what the shim does to connections that stay where they are is shown, too."""
    for what in whats:
        for name, measure in MEASURES.items():
            for stage in stages:
                yield (f"{what}{name}: {stage} / {VETH}",
                       _ratio(samples, name, stage, VETH, what),
                       (0.97 if measure.at_least else 1.03) if measure.lasts else None,
                       measure.at_least)
            for way in (*stages, SHIM):
                yield (f"{what}{name}: {way} / {OVERLAY}",
                       _ratio(samples, name, way, OVERLAY, what), None, measure.at_least)


def floors(tool, samples):
    samples.add(FLOOR, bench.floor(tool, "fifo")["fifo_gbytes"])
    samples.add("floor: cache line, core to core, us", bench.floor(tool, "line")["line_us"])
    samples.add("floor: wake-up, us", bench.floor(tool, "wake")["wake_us"])
