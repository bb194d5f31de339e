# SPDX-License-Identifier: MIT
"""The impaired wire between a lab's hosts: ff-wire's life, and what is asked of it."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess

from . import router, sysns
from .errors import LabError

SPEC_HELP = """\
SPEC is KEY=VALUE,... and changes these keys alone; "none" in it takes all back but the seed.
"hostN." before a key: for that host alone.

  of the frames that a host sends
    loss, dup, corrupt     percent of them, such as 0.1; chosen by the seed
    reorder                percent held until 1 to 3 others, or 5 ms, have gone by
    repair                 on: a corrupted UDP datagram keeps a valid outer checksum; off: it is
                           corrupted anywhere, and mostly does not get past the kernel (on)
    delay, jitter          each takes from delay to delay + jitter, in order: 10ms, 500us, 2s
    mtu                    longer ones are dropped, without a word; 0: none is (0)
    seed                   starts chance anew: the n-th IP frame from then on meets the same fate
                           whenever the seed is the same (1)
  of those that it is sent
    rate                   a bottleneck: 100mbit; 0: none (0)
    limit                  bytes that may wait for it (256k)
    ecn                    ECT is marked CE with more bytes than that waiting; 0: never (0)
  of both
    link                   down: its cable is dead, the carrier stays; up

What is not IP, such as ARP, is never lost, duplicated, reordered or corrupted by chance."""

_START_WAIT = 30.0
_ASK_WAIT = 10.0
_ANSWER_MAX = 1 << 20
_DEFAULTS = {"repair": "on", "limit": 262144, "link": "up", "seed": None}
_UNITS = {"loss": "%", "dup": "%", "reorder": "%", "corrupt": "%", "delay": "ms", "jitter": "ms",
          "rate": "bit"}


class Impair:
    """What up --impair wants: a SPEC, and the ff-wire that carries it out."""

    def __init__(self, spec, build, source):
        """build: directory or None for what is found; source: checkout or None."""
        if not build and source:
            build = os.path.join(source, "build")
        places = [os.path.join(build, "usertools", "wire")] if build else []
        places += ["/usr/local/libexec/freeflow", "/usr/libexec/freeflow"]
        self.tool = shutil.which("ff-wire", path=os.pathsep.join(places))
        if self.tool is None:
            raise LabError("ff-wire is not there: meson setup build && ninja -C build, "
                           "or --build DIR")
        self.tool = os.path.realpath(self.tool)
        self.spec = spec


def check(impair, names):
    """LabError, with status 2, unless impair.spec is one for hosts of those names."""
    done = subprocess.run([impair.tool, "--check", "--impair", impair.spec, *names], text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().removeprefix("ff-wire: ")
        raise LabError(f"--impair: {reason or 'ff-wire failed'}", 2)


def start(folder, state, impair, save):
    """Starts ff-wire between the hosts' ends in the underlay; returns when frames go through."""
    place = os.path.join(folder, "wire.sock")
    log_path = os.path.join(folder, "wire.log")
    argv = [impair.tool, "--impair", impair.spec, "--control", place,
            *(host["name"] for host in state["hosts"])]
    go_r, go_w = os.pipe()
    ready_r, ready_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go_w)
            if os.read(go_r, 1) != b"g":
                os._exit(1)
            os.setsid()
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open("/dev/null", os.O_RDONLY)
            for fd, target in ((null, 0), (ready_w, 1), (log, 2)):
                os.dup2(fd, target)
            sysns.setns_path(state["underlay"], sysns.CLONE_NEWNET)
            os.execv(argv[0], argv)
        except BaseException as error:  # pylint: disable=broad-except
            os.write(2, f"{error}\n".encode())
        os._exit(127)
    os.close(go_r)
    os.close(ready_w)
    state["wire"] = {"pid": pid, "start": sysns.start_time(pid), "socket": place, "log": log_path}
    save()
    os.write(go_w, b"g")
    os.close(go_w)
    with os.fdopen(ready_r, "rb") as ready:
        if not select.select([ready], [], [], _START_WAIT)[0] or ready.readline() != b"ready\n":
            raise LabError(f"ff-wire did not start:\n{_log(state)}")


def pid_of(state):
    """The running ff-wire's process id, or None."""
    wire = state.get("wire")
    return wire["pid"] if wire and sysns.start_time(wire["pid"]) == wire["start"] else None


def _log(state):
    try:
        with open(state["wire"]["log"], encoding="utf-8", errors="replace") as file:
            return "".join("  " + line for line in file.readlines()[-40:]).rstrip()
    except OSError:
        return "  (no log)"


def stop(state):
    """Ends it, which has nothing to undo; the lines of what was wrong with it."""
    if not state.get("wire"):
        return []
    pid = pid_of(state)
    if pid is None:
        return [f"ff-wire had ended before, the end of its log:\n{_log(state)}"]
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            if not router.wait_end(fd, _ASK_WAIT):
                return [f"ff-wire ({pid}) does not end"]
        finally:
            os.close(fd)
    return []


def ask(state, request):
    """Its answer to "show" or "set SPEC" (usertools/wire/control.h)."""
    if not state.get("wire"):
        raise LabError(f"lab {state['name']} has no wire of its own: up --impair SPEC")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(_ASK_WAIT)
            sock.connect(state["wire"]["socket"])
            sock.send(request.encode())
            answer = json.loads(sock.recv(_ANSWER_MAX))
    except (OSError, ValueError) as error:
        if pid_of(state) is None:
            raise LabError(f"ff-wire has died:\n{_log(state)}") from None
        raise LabError(f"ff-wire: {error}") from None
    if "error" in answer:
        raise LabError(answer["error"], 2)
    return answer


def _settings(settings):
    """What differs from an unimpaired wire, and the seed, as a SPEC."""
    return ",".join(f"{key}={value}{_UNITS.get(key, '')}" for key, value in settings.items()
                    if value != _DEFAULTS.get(key, 0))


def describe(shown):
    """The lines of text for one "show"."""
    lines = []
    for port in shown["ports"]:
        counts = [" ".join(f"{name} {number}" for name, number in port[way].items() if number)
                  for way in ("from", "to")]
        lines += [f"{port['name']}: {_settings(port['settings'])}",
                  f"  from it: {counts[0] or 'nothing'}", f"  to it:   {counts[1] or 'nothing'}"]
        if port["waiting"]:
            lines.append(f"  waiting: {port['waiting']}")
    return lines


def status(state):
    """The lines of ff-lab status, none without such a wire."""
    if not state.get("wire"):
        return []
    pid = pid_of(state)
    if pid is None:
        return ["wire     ff-wire has DIED"]
    lines = [f"wire     ff-wire {pid}"]
    with contextlib.suppress(LabError):
        lines += [f"  {port['name']:6} {_settings(port['settings'])}"
                  for port in ask(state, "show")["ports"]]
    return lines
