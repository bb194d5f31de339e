# SPDX-License-Identifier: MIT
"""
A virtual machine with Debian's kernel and the rdma_rxe of Linux. Emulated: where tests run there is
not always a KVM, nor one that runs a stock kernel.
"""

import contextlib
import hashlib
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time

from .errors import LabError

MAC = "02:00:00:00:01:00"
TAP = "vm0"
_QEMU = "qemu-system-x86_64"
_KERNEL = "linux-image-amd64"
_PROGRAMS = ["ip", "bridge", "rdma", "tc", "ibv_devinfo",
             *(f"ibv_{kind}_pingpong" for kind in ("rc", "uc", "ud", "srq")),
             *(f"ib_{verb}_{what}" for verb in ("send", "write", "read", "atomic")
               for what in ("lat", "bw"))]
_PROVIDER = ["/etc/libibverbs.d/rxe.driver",
             "/usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav34.so"]
# In this order, each after what it depends on. rdma_rxe asks the crypto layer for crc32 by name.
_MODULES = ["virtio_pci", "virtio_console", "virtio_net", "crc32_generic", "vxlan", "rdma_rxe",
            "veth", "ifb", "sch_netem", "sch_ingress", "cls_matchall", "act_mirred"]
_BOOT_WAIT = 180
# Else it takes the HPET, and each look at the time is an exit to the emulator's main loop.
_CLOCK = "tsc=reliable clocksource=tsc"
# Reads a command a line, and answers with its status, the length of its output, and that.
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /applets
export PATH=/usr/bin:/applets
# busybox prefers its own to those in the PATH.
ip() { /usr/bin/ip "$@"; }
tc() { /usr/bin/tc "$@"; }
ulimit -l unlimited
for module in $(cat /modules/order); do insmod /modules/$module; done
ip link set lo up
port=
while ! [ -e "$port" ]; do port=$(echo /dev/vport*p1); done
exec 3<>$port
echo ready >&3
while IFS= read -r line <&3; do
	eval "$line" </dev/null >/tmp/out 2>&1 3<&-
	{ echo "$? $(wc -c </tmp/out)"; cat /tmp/out; } >&3
done
poweroff -f
"""


class VmError(LabError):
    """The machine does not do what it is told."""


class VmMissing(VmError):
    """Something that it is made of cannot be had here."""


def _output(argv):
    """None when it fails, or is not there."""
    with contextlib.suppress(FileNotFoundError):
        done = subprocess.run(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=300, check=False)
        if done.returncode == 0:
            return done.stdout
    return None


# The image


def _path(program):
    found = shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if found is None:
        raise VmMissing(f"{program}: not installed")
    return found


def _libraries(files):
    found = set()
    for line in (_output(["ldd", *files]) or "").splitlines():
        match = re.search(r"(/\S+) \(0x", line)
        if match:
            found.add(match[1])
    return found


def _user_files(more):
    """{path in the image: path here} of all but the kernel's; more: others of these."""
    files = {"/usr/bin/" + program: _path(program) for program in _PROGRAMS}
    for path in _PROVIDER:
        if not os.path.exists(path):
            raise VmMissing(f"{path}: not installed")
        files[path] = path
    files.update(more)
    binaries = [path for path in files.values() if not path.endswith(".driver")]
    files.update({path: path for path in _libraries(binaries)})
    files["/bin/busybox"] = _path("busybox")
    return files


def _kernel_package():
    """Name and file name of the package, as apt knows them."""
    package = re.search(r"Depends: (linux-image-\d\S+)",
                        _output(["apt-cache", "depends", _KERNEL]) or "")
    uri = package and re.search(
        r"^'\S+' (\S+\.deb) ",
        _output(["apt-get", "download", "--print-uris", package[1]]) or "")
    if not uri:
        raise VmMissing(f"apt does not know where {_KERNEL} is")
    return package[1], uri[1]


def _kernel_read(deb):
    """The kernel, and {name: bytes} of the modules that might be needed."""
    wanted = re.compile(r"/kernel/(lib|crypto|net/(core|ipv4|ipv6|sched)|drivers/(virtio|char|"
                        r"infiniband/(core|sw/rxe)|net(/vxlan)?))/[^/]+\.ko$")
    kernel, modules = None, {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as dpkg, \
            tarfile.open(fileobj=dpkg.stdout, mode="r|") as tar:
        for member in tar:
            if "/boot/vmlinuz" in member.name:
                kernel = tar.extractfile(member).read()
            elif wanted.search(member.name):
                name = os.path.basename(member.name)[:-3].replace("-", "_")
                modules[name] = tar.extractfile(member).read()
    if kernel is None:
        raise VmError(f"{deb}: no kernel in it")
    return kernel, modules


def _modules_order(modules):
    """Names of those that are loaded, each behind what it depends on."""
    order = []

    def add(name):
        if name in order:
            return
        if name not in modules:
            raise VmError(f"the kernel's package has no module {name}")
        depends = re.search(rb"\0depends=([^\0]*)\0", modules[name])
        for other in depends[1].decode().split(",") if depends else []:
            if other:
                add(other.replace("-", "_"))
        order.append(name)

    for name in _MODULES:
        add(name)
    return order


class _Cpio:
    """An archive for the kernel: Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self, file):
        self._file = file
        self._count = 0
        self._directories = {""}

    def _entry(self, name, mode, data=b""):
        self._count += 1
        raw = name.encode() + b"\0"
        fields = [self._count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        for part in (head, data):
            self._file.write(part + bytes(-len(part) % 4))

    def directory(self, path):
        path = path.strip("/")
        if path not in self._directories:
            self.directory(os.path.dirname(path))
            self._directories.add(path)
            self._entry(path, 0o40755)

    def file(self, path, data):
        self.directory(os.path.dirname(path))
        self._entry(path.strip("/"), 0o100755, data)

    def end(self):
        self._entry("TRAILER!!!", 0)


def _initrd_write(path, modules, user_files):
    order = _modules_order(modules)
    with open(path, "wb") as file:
        cpio = _Cpio(file)
        for directory in ("/proc", "/sys", "/dev", "/tmp", "/applets"):
            cpio.directory(directory)
        cpio.file("/init", _INIT.encode())
        for name in order:
            cpio.file(f"/modules/{name}.ko", modules[name])
        cpio.file("/modules/order", "".join(f"{name}.ko\n" for name in order).encode())
        for inside, here in sorted(user_files.items()):
            with open(here, "rb") as source:
                cpio.file(inside, source.read())
        cpio.end()


def _download(package, directory):
    done = subprocess.run(["apt-get", "-qq", "download", package], cwd=directory, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600, check=False)
    if done.returncode != 0:
        raise VmMissing(f"{package} cannot be downloaded: {' '.join(done.stdout.split())[:200]}")


def image(base, more=()):
    """
    Paths of the kernel and its initrd, which lie in the directory base: made anew when what is in
    them has changed. more: {path inside: path here} of further files; the libraries that programs
    among them need come along. VmMissing where something cannot be had.
    """
    _path(_QEMU)
    package, deb = _kernel_package()
    files = _user_files(dict(more))
    key = hashlib.sha256(repr((deb, _INIT, _MODULES, sorted(
        (inside, here, os.stat(here).st_mtime_ns) for inside, here in files.items()))).encode())
    made = os.path.join(base, key.hexdigest()[:16])
    if not os.path.exists(made):
        shutil.rmtree(base, ignore_errors=True)
        os.makedirs(base)
        with tempfile.TemporaryDirectory(dir=base) as work:
            _download(package, work)
            kernel, modules = _kernel_read(os.path.join(work, deb))
            os.unlink(os.path.join(work, deb))
            with open(os.path.join(work, "vmlinuz"), "wb") as file:
                file.write(kernel)
            _initrd_write(os.path.join(work, "initrd"), modules, files)
            os.rename(work, made)
            os.mkdir(work)  # for TemporaryDirectory to remove
    return os.path.join(made, "vmlinuz"), os.path.join(made, "initrd")


# The machine


class Machine:
    """
    Runs as a context. With netns, the path of a network namespace, there is a tap called TAP in it,
    which the caller makes before, and the machine's eth0 is its other end.
    """

    def __init__(self, kernel, initrd, netns=None, memory=512):
        """memory: megabytes."""
        self._image = kernel, initrd
        self._netns, self._memory = netns, memory
        self._qemu = self._channel = self._log = None
        self._jobs = 0

    def __enter__(self):
        try:
            self._start()
            self._until(b"ready\n", time.monotonic() + _BOOT_WAIT, "boot")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
        for file in (self._channel, self._log):
            if file:
                file.close()

    def fail(self, text):
        """Raises what its users expect."""
        raise VmError(text)

    def _start(self):
        self._channel, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile("w+b")  # pylint: disable=consider-using-with
        kernel, initrd = self._image
        # Frames as they are on the wire.
        net = ["-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no,vnet_hdr=off",
               "-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="] if self._netns else []
        argv = [*(["nsenter", f"--net={self._netns}"] if self._netns else []),
                _QEMU, "-nodefaults", "-nographic",
                "-no-reboot", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
                "-smp", "2", "-m", str(self._memory), "-kernel", kernel, "-initrd", initrd,
                "-append", f"console=ttyS0 panic=-1 loglevel=6 {_CLOCK}",
                "-serial", "stdio", *net,
                "-chardev", f"socket,id=commands,fd={theirs.fileno()}",
                "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=commands,name=commands"]
        with theirs:
            self._qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._log,
                                          stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()])

    def log(self, lines=30):
        """The end of what the kernel and QEMU have said."""
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        return "\n".join(text.replace("\r", "").splitlines()[-lines:])

    def _receive(self, size, deadline, what):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._channel], [], [], left)[0]:
            self.fail(f"{what}: the virtual machine does not answer\n{self.log()}")
        data = self._channel.recv(size)
        if not data:
            self.fail(f"{what}: the virtual machine has ended\n{self.log()}")
        return data

    def _until(self, end, deadline, what):
        data = b""
        while not data.endswith(end):
            data += self._receive(1, deadline, what)
        return data

    def run(self, line, timeout=60):
        """One line for its shell: status and output, stdout and stderr together."""
        deadline = time.monotonic() + timeout
        self._channel.sendall(line.encode() + b"\n")
        status, length = map(int, self._until(b"\n", deadline, line).split())
        data = b""
        while len(data) < length:
            data += self._receive(length - len(data), deadline, line)
        return status, data.decode(errors="replace")

    def must(self, line, timeout=60):
        """Like run; a failure unless it leaves with 0. Returns its output."""
        status, output = self.run(line, timeout)
        if status != 0:
            self.fail(f"{line} in the virtual machine: status {status}\n{output}")
        return output

    def command(self, argv, timeout):
        """argv as a line that ends by itself, before our patience does."""
        return shlex.join(["timeout", str(timeout), *map(str, argv)])

    def start(self, argv, port, timeout=60):
        """Starts a server there, and returns when it listens on port. For finish()."""
        self._jobs += 1
        out = f"/tmp/{self._jobs}"
        pid = int(self.must(f"{self.command(argv, timeout)} >{out} 2>&1 & echo $!"))
        self.must(f"while ! grep -q ':{port:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do "
                  f"kill -0 {pid} || break; done", timeout)
        return pid, out

    def finish(self, job, timeout=60):
        """Status and output of what start() has started."""
        pid, out = job
        return self.run(f"wait {pid}; (s=$?; cat {out}; exit $s)", timeout + 10)
