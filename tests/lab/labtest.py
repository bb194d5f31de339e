# SPDX-License-Identifier: MIT
"""
What the lab's test scripts share: a lab of their own, commands in its containers, results in the
lines that tests/run reads.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(SOURCE, "usertools"))
from fflib import pair, sysns  # noqa: E402  pylint: disable=wrong-import-position
from telemetry import Telemetry  # noqa: E402  pylint: disable=wrong-import-position

FF_LAB = os.path.join(SOURCE, "usertools", "ff-lab")
FFCTL = os.path.join(SOURCE, "usertools", "ffctl")
BUILD = os.path.realpath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(SOURCE, "build")
ASAN = os.environ.get("FF_TEST_ASAN") == "1"
LONG = os.environ.get("FF_TEST_LONG") == "1"
# Programs run under the shim, before which a sanitizer would have to be loaded: they have none.
PLAIN = os.path.join(os.path.dirname(BUILD), "build") if ASAN else BUILD
PROGS = os.path.join(PLAIN, "tests", "progs")
# A limit for a thing that takes well under a second: only a hang reaches it.
TIMEOUT = 120 if ASAN else 60
_POLL = 0.01
# -S: what the tool needs is beside it; a search for more is half of its start.
_TOOL = [sys.executable, "-S", FF_LAB]


class Failed(Exception):
    """What was expected and what came instead."""


class Skipped(Exception):
    """Why this cannot be tested here."""


def expect(condition, text):
    if not condition:
        raise Failed(text)


def expect_equal(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: {got!r}, expected {wanted!r}")


def wait_until(condition, what, timeout=TIMEOUT):
    """For conditions of the kernel and of other processes that nobody announces."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not after {timeout} s")
        time.sleep(_POLL)
    return value


class Script:
    """Runs named functions and prints their results; end() gives the exit status."""

    def __init__(self):
        self._failed = 0
        self._count = 0

    def run(self, name, function, *args):
        started = time.monotonic()
        try:
            function(*args)
        except Skipped as reason:
            print(f"skip {name} - {reason}", flush=True)
        except (Failed, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            first, *rest = (str(error) or type(error).__name__).splitlines()
            for line in rest:
                print("  " + line)
            print(f"not ok {name} - {first}", flush=True)
            self._failed += 1
        else:
            print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
        self._count += 1

    def end(self):
        return 1 if self._failed or not self._count else 0


class LabUnderTest:
    """A lab of the build under test."""

    def __init__(self, hosts=1, containers=2, options=(), router=True):
        base = os.path.basename(sys.argv[0]).removeprefix("test_")[:8]
        self.name = f"t{os.getpid()}-{base}-{len(_labs)}"
        self._up = ["up", "--quiet", "--hosts", str(hosts), "--containers", str(containers)]
        if not router:
            self._up += ["--no-router"]
        elif ASAN:
            self._up += ["--asan", "--build", BUILD, "--shim",
                         os.path.join(os.path.dirname(BUILD), "build", "shim",
                                      "libfreeflow.so")]
        else:
            self._up += ["--build", BUILD]
        self._up += options
        self._children = []

    def __enter__(self):
        done = self.tool(*self._up)
        if done.returncode != 0:
            raise Failed(f"ff-lab up: status {done.returncode}\n{done.stdout}")
        _labs.append(self)
        return self

    def __exit__(self, kind, value, trace):
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
        done = self.tool("down")
        _labs.remove(self)
        if done.returncode != 0 and kind is None:
            raise Failed(f"ff-lab down: status {done.returncode}\n{done.stdout}")

    def tool(self, verb, *args, timeout=180):
        """One ff-lab command; stdout and stderr together."""
        return subprocess.run([*_TOOL, verb, "--name", self.name, *args], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, check=False)

    def status(self):
        return json.loads(self.tool("status", "--json").stdout)

    def container(self, name):
        return next(c for c in self.status()["containers"] if c["name"] == name)

    def argv(self, where, argv, plain=False, options=()):
        plain_option = ["--plain"] if plain else []
        return [*_TOOL, "exec", "--name", self.name, *plain_option, *options, where, "--", *argv]

    def exec(self, where, argv, plain=False, options=(), timeout=TIMEOUT, **kwargs):
        """Runs a command in a container: CompletedProcess, stdout and stderr together."""
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stderr", subprocess.STDOUT)
        return subprocess.run(self.argv(where, argv, plain, options), text=True,
                              stdout=subprocess.PIPE, timeout=timeout, check=False, **kwargs)

    def must(self, where, argv, **kwargs):
        """Like exec; Failed unless it leaves with 0. Returns its output."""
        done = self.exec(where, argv, **kwargs)
        if done.returncode != 0:
            raise Failed(f"{' '.join(argv)} in {where}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def start(self, where, argv, plain=False, **kwargs):
        """Starts a command in a container; it ends with the lab at the latest."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.STDOUT)
        child = subprocess.Popen(self.argv(where, argv, plain), text=True, **kwargs)
        self._children.append(child)
        return child

    def _pid(self, where):
        if not hasattr(self, "_pids"):
            self._pids = {c["name"]: c["pid"] for c in self.status()["containers"]}
        return self._pids[where]

    def pair(self, server_argv, client_argv, port, ends=("c1", "c2"), plain=False,
             timeout=TIMEOUT, wait_server=True):
        """
        A server in the first container, then, when it listens, a client in the second. Both must
        leave with 0 (the server only with wait_server; else it is ended); returns both outputs.
        """
        try:
            return pair.run(self.argv(ends[0], server_argv, plain),
                            self.argv(ends[1], client_argv, plain), self._pid(ends[0]), port,
                            timeout, wait_server=wait_server)
        except pair.PairError as error:
            raise Failed(str(error)) from None

    def ip(self, where, *args):
        """ip(8) in the container's network namespace, with the powers of the host."""
        path = self.container(where)["netns"]
        subprocess.run(["nsenter", f"--net={path}", "ip", *args], check=True, timeout=TIMEOUT)

    def _run_dir(self, host):
        if not hasattr(self, "_run_dirs"):
            self._run_dirs = [h["router"]["run_dir"] for h in self.status()["hosts"]]
        return self._run_dirs[host]

    def ffctl(self, *args, host=0):
        """The output of ffctl for a host's router."""
        done = subprocess.run([FFCTL, "--run-dir", self._run_dir(host), *args], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT,
                              check=False)
        if done.returncode != 0:
            raise Failed(f"ffctl {' '.join(args)}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def show(self, what, host=0):
        """As `ffctl show WHAT --json`, as a list of objects; it costs no process."""
        with contextlib.closing(Telemetry(self._run_dir(host))) as telemetry:
            return telemetry.show(what)


_labs = []


def need(*tools):
    """Skipped when one of the programs is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise Skipped(f"{', '.join(missing)}: not installed")


def _end(_number, _frame):
    sys.exit(1)


def script_main(body):
    """
    body(script) runs the tests. A lab that cannot be made or removed is a failure of its own.
    SIGTERM unwinds, so that labs go down.
    """
    signal.signal(signal.SIGTERM, _end)
    script = Script()
    script.run("lab", lambda: body(script))
    sys.exit(script.end())
