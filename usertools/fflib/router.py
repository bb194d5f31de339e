# SPDX-License-Identifier: MIT
"""One freeflowd per host of the lab: configuration, start, containers, end."""

import contextlib
import glob
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import net, sysns
from .errors import LabError

_READY_WAIT = 120.0  # a sanitized build on a loaded machine
_STOP_WAIT = 30.0
_SUN_PATH = 107
# Kinds of lab's ports: all but udp are what freeflowd calls ethdev.
PORTS = ("udp", "ethdev", "memif")
_SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|WARNING: ThreadSanitizer")
_SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
# The shell outlives the router, to tell how it ended; $0 is the base of its files.
_WATCH = ('trap "" HUP INT; "$@" & echo $! >"$0.pid.new"; mv "$0.pid.new" "$0.pid"; '
          'wait $!; echo $? >"$0.exit"')


class Binaries:
    """freeflowd and libfreeflow.so of a build directory or of an installation."""

    def __init__(self, build, shim, source):
        """build: directory or None for what is found; shim: path or None; source: checkout."""
        default = os.path.join(source, "build") if source else None
        if build is None and default and os.path.isdir(default):
            build = default
        if build:
            build = os.path.realpath(build)
            self.freeflowd = os.path.join(build, "dataplane", "freeflowd")
            self.shim = shim or os.path.join(build, "shim", "libfreeflow.so")
        else:
            self.freeflowd = shutil.which("freeflowd", path=os.pathsep.join(
                [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]))
            found = glob.glob("/usr/local/lib/**/libfreeflow.so", recursive=True) \
                + glob.glob("/usr/lib/**/libfreeflow.so", recursive=True)
            self.shim = shim or (found[0] if found else None)
        for path, name in ((self.freeflowd, "freeflowd"), (self.shim, "libfreeflow.so")):
            if not path or not os.path.exists(path):
                raise LabError(f"{path or name} is not there: meson setup build && "
                               "ninja -C build, or --build DIR")
        self.shim = os.path.realpath(self.shim)
        # Containers of a lab may run the checkout's test programs.
        self.visible = [path for path in (source, build) if path]


def config_make(host, instance, shim, options):
    """
    The router's configuration. options: {"dotted.key": value} over the lab's own choice;
    "host2:dotted.key" is for that host alone.
    """
    config = {
        "name": instance,
        "run_dir": os.path.join(host["dir"], "run"),
        "shim": shim,
        "workers": {"idle": "interrupt" if os.cpu_count() < 4 else "poll"},
    }
    for key, value in options.items():
        where, _, key = key.rpartition(":")
        if where not in ("", host["name"]):
            continue
        *parents, last = key.split(".")
        place = config
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return config


def wire_options(kind, encap, host):
    """What config_make wants for a port of that kind to other hosts."""
    options = {"wire.udp_port": net.WIRE_PORT}
    if kind == "udp":
        return options
    options |= {"wire.port": "ethdev", "wire.device": "net_af_packet0,iface=eth0",
                "wire.encap": encap}
    if kind == "memif":
        role = "server" if host["index"] == 1 else "client"
        path = os.path.join(os.path.dirname(host["dir"]), "memif.sock")
        options |= {"wire.device": f"net_memif0,role={role},socket={path},socket-abstract=no",
                    "wire.address": host["address"]}
    return options


def _spawn(host, argv, env, save):
    """freeflowd under a watching shell, in the host's network namespace, in its own session."""
    base = os.path.join(host["dir"], "freeflowd")
    go_r, go_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go_w)
            if os.read(go_r, 1) != b"g":
                os._exit(1)
            os.setsid()
            log = os.open(base + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open("/dev/null", os.O_RDONLY)
            for fd, target in ((null, 0), (log, 1), (log, 2)):
                os.dup2(fd, target)
            sysns.setns_path(host["netns"], sysns.CLONE_NEWNET)
            os.execve("/bin/sh", ["sh", "-c", _WATCH, base] + argv, env)
        except BaseException as error:  # pylint: disable=broad-except
            os.write(2, f"{error}\n".encode())
        os._exit(127)
    os.close(go_r)
    host["router"] = {"watch": pid, "start": sysns.start_time(pid), "base": base}
    save()
    os.write(go_w, b"g")
    os.close(go_w)
    return pid


def start(host, instance, binaries, options, save):
    """Starts the host's router and returns when it says that it is ready."""
    config = config_make(host, instance, binaries.shim, options)
    longest = os.path.join(config["run_dir"], "containers", "c1048576", "router.sock")
    if len(longest) > _SUN_PATH:
        raise LabError(f"{longest} is too long for a socket: a shorter --name or FF_LAB_DIR")
    path = os.path.join(host["dir"], "freeflowd.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    launch(host, binaries.freeflowd, path, config["run_dir"], save)


def launch(host, freeflowd, path, run_dir, save):
    """Starts freeflowd with the configuration at path, also where an earlier one has ended."""
    for suffix in (".pid", ".exit"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(host["dir"], "freeflowd" + suffix))
    notify_path = os.path.join(host["dir"], "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(notify_path)
        env = {**os.environ, **_SANITIZER_ENV, "NOTIFY_SOCKET": notify_path}
        watch = _spawn(host, [freeflowd, "--config", path], env, save)
        ended = os.pidfd_open(watch)
        try:
            _await_ready(host, notify, ended)
        finally:
            os.close(ended)
            os.unlink(notify_path)
    host["router"].update(run_dir=run_dir, config=path)
    save()


def _await_ready(host, notify, ended):
    deadline = time.monotonic() + _READY_WAIT
    while (left := deadline - time.monotonic()) > 0:
        readable = select.select([notify, ended], [], [], left)[0]
        if notify in readable and b"READY=1" in notify.recv(4096).split(b"\n"):
            return
        if ended in readable:
            raise LabError(f"freeflowd of {host['name']} did not start:\n{log_tail(host)}")
    raise LabError(f"freeflowd of {host['name']} is not ready after {_READY_WAIT:.0f} s:\n"
                   + log_tail(host))


def log_tail(host, lines=40):
    """The last lines of its log, indented."""
    try:
        with open(host["router"]["base"] + ".log", encoding="utf-8", errors="replace") as file:
            return "".join("  " + line for line in file.readlines()[-lines:]).rstrip()
    except OSError:
        return "  (no log)"


def _read_number(host, suffix):
    try:
        with open(host["router"]["base"] + suffix, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def pid_of(host):
    """The running freeflowd's process id, or None."""
    watch = host["router"] or {}
    if not watch or sysns.start_time(watch["watch"]) != watch["start"]:
        return None
    return None if _read_number(host, ".exit") is not None else _read_number(host, ".pid")


def _ffctl(host, *args):
    """ffctl lies beside fflib in the checkout, and in the PATH when both are installed."""
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "ffctl")
    tool = beside if os.path.exists(beside) else shutil.which("ffctl")
    if tool is None:
        raise LabError("ffctl is not there")
    done = subprocess.run([tool, "--run-dir", host["router"]["run_dir"], *args], text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError(f"router of {host['name']}: {done.stderr.strip()}")
    return done.stdout


def counters(host, name):
    """A container's, by name."""
    return json.loads(_ffctl(host, "show", "stats", "--container", name, "--json"))[0]["counters"]


def accepts(freeflowd, config):
    """Does that freeflowd know all that such a configuration says?"""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(config, file)
        file.flush()
        return subprocess.run([freeflowd, "--check-config", "--config", file.name],
                              capture_output=True, check=False).returncode == 0


def container_add(host, name, netns, tenant=None):
    """Registers a container; the directory that it must see as its /freeflow."""
    of_tenant = ["--tenant", tenant] if tenant else []
    _ffctl(host, "container", "add", "--netns", netns, *of_tenant, name)
    return os.path.join(host["router"]["run_dir"], "containers", name)


def container_del(host, name):
    _ffctl(host, "container", "del", name)


def wait_end(pidfd, seconds):
    """True when the process has ended within that time."""
    return bool(select.select([pidfd], [], [], seconds)[0])


def end(host, sig):
    """Ends the router by a signal and waits for it; its exit status, as a shell says it."""
    pid = pid_of(host)
    if pid is None:
        raise LabError(f"freeflowd of {host['name']} is not running")
    watch = os.pidfd_open(host["router"]["watch"])
    try:
        os.kill(pid, sig)
        if not wait_end(watch, _STOP_WAIT):
            raise LabError(f"freeflowd of {host['name']} does not end within {_STOP_WAIT:.0f} s")
    finally:
        os.close(watch)
    return _read_number(host, ".exit")


def stop(host):
    """Ends the router; the lines of what was wrong with it. Kills it when it does not leave."""
    if not host["router"]:
        return []
    faults = []
    pid = pid_of(host)
    name = f"freeflowd of {host['name']}"
    if pid is None:
        faults.append(f"{name} had ended before, with status {_read_number(host, '.exit')}")
    else:
        faults += _terminate(host, pid, name)
    return faults + _log_faults(host, name, faults)


def _terminate(host, pid, name):
    try:
        watch = os.pidfd_open(host["router"]["watch"])
    except ProcessLookupError:
        return []
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not wait_end(watch, _STOP_WAIT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return [f"{name} did not leave within {_STOP_WAIT:.0f} s of SIGTERM"]
    finally:
        os.close(watch)
    status = _read_number(host, ".exit")
    return [] if status == 0 else [f"{name} left with status {status}"]


def _log_faults(host, name, faults):
    try:
        with open(host["router"]["base"] + ".log", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return []
    found = _SANITIZER.search(text)
    if found:
        return [f"{name}, its sanitizer:\n{text[max(0, found.start() - 200):][:20000]}"]
    return [f"{name}, the end of its log:\n{log_tail(host)}"] if faults else []
