# SPDX-License-Identifier: MIT
"""The machine: packages, builds, hugepages. What it changes, apart from packages, it can undo."""

import contextlib
import os
import shutil
import subprocess

from .errors import LabError

BUILD_PACKAGES = ["gcc", "libc6-dev", "meson", "ninja-build", "pkg-config", "libdpdk-dev",
                  "libjansson-dev", "libcap-dev", "libmnl-dev", "libbpf-dev", "libssl-dev",
                  "libisal-dev", "zlib1g-dev", "libibverbs-dev", "librdmacm-dev"]
LAB_PACKAGES = ["iproute2", "ibverbs-utils", "ibverbs-providers", "rdmacm-utils", "perftest",
                "sockperf", "iperf3"]
# What `ffbench tcp-...` runs beside the lab's.
BENCH_PACKAGES = ["sockperf", "iperf3", "redis-server", "redis-tools", "nginx", "wrk"]
TEST_PACKAGES = ["libcunit1-dev", "clang-14", "libclang-rt-14-dev", "clang-format-14",
                 "clang-tidy-14", "cppcheck", "universal-ctags", "runc", "dpdk", "dpdk-dev",
                 "libasan8", "libubsan1", "libtsan2", "gdb", "strace", "procps", "git",
                 "binutils", "tshark", "qemu-system-x86", "busybox-static",
                 "spin", "nginx", "wrk", "redis-server", "redis-tools", "memcached", "postgresql",
                 "openssh-client", "openssh-server", "nodejs", "default-jdk-headless"]
# Of those: what they would start, now and whenever the machine does.
_SERVICES = {"nginx": "nginx", "redis-server": "redis-server", "memcached": "memcached",
             "postgresql": "postgresql", "openssh-server": "ssh"}
_POLICY = "/usr/sbin/policy-rc.d"  # asked by Debian's packages before they start a service
_HUGE = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


def packages_missing(names):
    """Those that dpkg does not know as installed."""
    if shutil.which("dpkg-query") is None:
        raise LabError("dpkg is not there: Debian 12 is the reference platform; elsewhere install "
                       "the counterparts of: " + " ".join(names))
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *names],
                          text=True, capture_output=True, check=False)
    installed = {line.split()[1] for line in done.stdout.splitlines()
                 if line.startswith("installed ")}
    return [name for name in names if name not in installed]


@contextlib.contextmanager
def _services_down(names):
    """While packages are installed: we want the programs, not servers that run."""
    made = None
    with contextlib.suppress(FileExistsError):
        made = os.open(_POLICY, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755)
    try:
        if made is not None:
            os.write(made, b"#!/bin/sh\nexit 101\n")
            os.close(made)
        yield
    finally:
        if made is not None:
            os.unlink(_POLICY)
    for service in sorted(_SERVICES[name] for name in names if name in _SERVICES):
        subprocess.run(["update-rc.d", service, "disable"], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def packages_install(names):
    """Installs what is missing; returns those. Touches nothing when nothing is."""
    missing = packages_missing(names)
    if missing:
        with _services_down(missing):
            _install(missing)
    return missing


def _install(missing):
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["apt-get", "-qq", "update"],
                 ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *missing]):
        done = subprocess.run(argv, env=env, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv)}:\n{done.stdout[-4000:]}")


def build(source, directory, options=(), env=None, targets=(), keep_options=False, prefix=()):
    """
    Configures directory and brings it up to date; keep_options: one that is there stays as it is
    configured; prefix: before each command, such as nice. Returns the text of a failed step, or ""
    when all is built.
    """
    steps = []
    if not os.path.exists(os.path.join(directory, "build.ninja")):
        if os.path.isdir(directory):
            shutil.rmtree(directory)
        steps.append(["meson", "setup", directory, source, *options])
    elif options and not keep_options:
        steps.append(["meson", "configure", directory, *options])
    steps.append(["ninja", "-C", directory, *targets])
    for argv in steps:
        done = subprocess.run([*prefix, *argv], env={**os.environ, **(env or {})}, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            return f"$ {' '.join(argv)}\n{done.stdout}"
    return ""


class Hugepages:
    """Raises the number of free 2 MB pages, and puts the old number back."""

    def __init__(self):
        self._old = None

    def prepare(self, megabytes):
        """Returns "" or why there are none."""
        want = (megabytes + 1) // 2
        try:
            with open(_HUGE, encoding="ascii") as file:
                old = int(file.read())
            with open("/proc/meminfo", encoding="ascii") as file:
                free = next(int(l.split()[1]) for l in file if l.startswith("HugePages_Free"))
            if free >= want:
                return ""
            self._old = old
            return self._write(old + want - free)
        except (OSError, StopIteration) as error:
            return f"the kernel has no hugepages to give: {error}"

    def _write(self, number):
        with open(_HUGE, "w", encoding="ascii") as file:
            file.write(str(number))
        with open(_HUGE, encoding="ascii") as file:
            got = int(file.read())
        return "" if got >= number else f"only {got} of {number} hugepages: memory is fragmented"

    def restore(self):
        if self._old is not None:
            self._write(self._old)
            self._old = None
