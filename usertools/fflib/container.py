# SPDX-License-Identifier: MIT
"""A lab container: its root file system, its init process, and running commands in it."""

import errno
import os
import pwd
import signal
import socket

from . import sysns
from .sysns import start_time
from .errors import LabError

MOUNT = "/freeflow"
SHIM = MOUNT + "/lib/libfreeflow.so"
# Not copied from the machine's root: replaced by the container's own, or none of its business.
_OWN = {"proc", "sys", "dev", "run", "tmp", "lost+found", MOUNT.strip("/")}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# What container runtimes leave to root by default (capability numbers, linux/capability.h).
_CAPS = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
EXEC_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


def _bind(source, target, attrs=sysns.MOUNT_ATTR_RDONLY):
    tree = sysns.tree_clone(source)
    sysns.tree_set(tree, attrs)
    sysns.tree_attach(tree, target)


def _tmpfs(target, mode, size=None):
    os.makedirs(target, exist_ok=True)
    data = f"mode={mode:o}" + (f",size={size}" if size else "")
    sysns.mount("tmpfs", target, "tmpfs", sysns.MS_NOSUID | sysns.MS_NODEV, data)


def _copy_root(root):
    for entry in os.scandir("/"):
        target = f"{root}/{entry.name}"
        if entry.name in _OWN:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            os.mkdir(target)
            _bind(entry.path, target)


def _make_dev(root):
    dev = f"{root}/dev"
    os.mkdir(dev)
    sysns.mount("tmpfs", dev, "tmpfs", sysns.MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        _bind(f"/dev/{name}", f"{dev}/{name}", 0)
    os.mkdir(f"{dev}/pts")
    sysns.mount("devpts", f"{dev}/pts", "devpts", sysns.MS_NOSUID | sysns.MS_NOEXEC,
                "newinstance,ptmxmode=0666,mode=0620")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"),
                         ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"{dev}/{name}")
    _tmpfs(f"{dev}/shm", 0o1777)


def _make_kernel_views(root):
    flags = sysns.MS_NOSUID | sysns.MS_NODEV | sysns.MS_NOEXEC
    os.mkdir(f"{root}/proc")
    sysns.mount("proc", f"{root}/proc", "proc", flags)
    for name in ("sys", "irq", "bus", "fs", "sysrq-trigger"):
        if os.path.exists(f"{root}/proc/{name}"):
            _bind(f"{root}/proc/{name}", f"{root}/proc/{name}")
    os.mkdir(f"{root}/sys")
    # A sysfs of this network namespace's devices.
    sysns.mount("sysfs", f"{root}/sys", "sysfs", flags | sysns.MS_RDONLY)


def _attach(tree, target, is_dir):
    if is_dir:
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    sysns.tree_attach(tree, target)


def make_root(workdir, freeflow_dir, hosts_file, visible):
    """
    Builds the container's root over workdir and moves into it: the machine's file systems
    read-only; own /tmp, /var/tmp, /run, /dev, /proc, /sys; freeflow_dir (None: no router) as
    MOUNT. The paths of visible are shown, read-only, also where an own directory would hide them.
    """
    sysns.mount(None, "/", None, sysns.MS_REC | sysns.MS_PRIVATE)
    trees = {path: (sysns.tree_clone(path), os.path.isdir(path)) for path in visible}
    sysns.mount("tmpfs", workdir, "tmpfs", sysns.MS_NOSUID | sysns.MS_NODEV, "mode=755")
    _copy_root(workdir)
    _make_dev(workdir)
    _make_kernel_views(workdir)
    for path, mode in (("tmp", 0o1777), ("run", 0o755), ("var/tmp", 0o1777)):
        _tmpfs(f"{workdir}/{path}", mode)
    if hosts_file and os.path.exists(f"{workdir}/etc/hosts"):
        _bind(hosts_file, f"{workdir}/etc/hosts")
    if freeflow_dir:
        os.mkdir(workdir + MOUNT)
        _bind(freeflow_dir, workdir + MOUNT, sysns.MOUNT_ATTR_RDONLY | sysns.MOUNT_ATTR_NOSUID
              | sysns.MOUNT_ATTR_NODEV)
    for path, (tree, is_dir) in trees.items():
        if os.path.exists(workdir + path):
            os.close(tree)
            continue
        sysns.tree_set(tree, sysns.MOUNT_ATTR_RDONLY)
        _attach(tree, workdir + path, is_dir)
    sysns.pivot_into(workdir)
    sysns.mount(None, "/", None, sysns.MS_REMOUNT | sysns.MS_BIND | sysns.MS_RDONLY)


def _init_process(name, go, report, build_root):
    """Process 1 of the container. Reaps by ignoring SIGCHLD, which an exec keeps."""
    try:
        if os.read(go, 1) != b"g":
            os._exit(1)
        socket.sethostname(name)
        build_root()
        sysns.limit_capabilities(_CAPS)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.execvp("sleep", ["sleep", "infinity"])
    except BaseException as error:  # pylint: disable=broad-except
        os.write(report, f"{error}".encode())
    os._exit(1)


def spawn(name, netns, build_root, started):
    """
    Makes the container's namespaces and its init; started(pid) is called before the init does
    anything, so that whoever records pids never misses one. Raises LabError with the reason.
    """
    go_r, go_w = os.pipe()
    report_r, report_w = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            os.close(go_w)
            os.setsid()
            sysns.setns_path(netns, sysns.CLONE_NEWNET)
            sysns.unshare(sysns.CLONE_NEWNS | sysns.CLONE_NEWPID | sysns.CLONE_NEWIPC
                          | sysns.CLONE_NEWUTS)
            pid = os.fork()
            if pid == 0:
                _init_process(name, go_r, report_w, build_root)
            os.write(report_w, f"{pid}\n".encode())
            os._exit(0)
        except BaseException as error:  # pylint: disable=broad-except
            os.write(report_w, f"0\n{error}".encode())
        os._exit(1)
    os.close(go_r)
    os.close(report_w)
    os.waitpid(middle, 0)
    # The init writes nothing before it is told to go: this is the middle's message, whole.
    first, _, text = os.read(report_r, 4096).decode().partition("\n")
    if first not in ("", "0"):
        started(int(first))
        os.write(go_w, b"g")
        while chunk := os.read(report_r, 4096):
            text += chunk.decode()
    os.close(go_w)
    os.close(report_r)
    if text or first in ("", "0"):
        raise LabError(f"container {name}: {text or 'its first process died'}")
    return int(first)


def _resolve_user(user):
    uid, _, gid = user.partition(":")
    try:
        entry = pwd.getpwuid(int(uid)) if uid.isdigit() else pwd.getpwnam(uid)
        return entry.pw_uid, int(gid) if gid else entry.pw_gid
    except (KeyError, ValueError):
        if uid.isdigit() and (not gid or gid.isdigit()):
            return int(uid), int(gid or uid)
    raise LabError(f"--user {user}: neither a number nor a known name", EXEC_FAILED)


def _exec(argv, env, cwd, ids):
    """In the forked child. Does not return."""
    try:
        sysns.limit_capabilities(_CAPS)
        if ids:
            os.setgroups([])
            os.setresgid(ids[1], ids[1], ids[1])
            os.setresuid(ids[0], ids[0], ids[0])
        sysns.set_parent_death_signal(signal.SIGKILL)
        try:
            os.chdir(cwd)
        except OSError:
            os.chdir("/")
        for sig in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(sig, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(2, f"ff-lab: {argv[0]}: {error.strerror}\n".encode())
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        os._exit(NOT_FOUND if missing else NOT_EXECUTABLE)
    except BaseException as error:  # pylint: disable=broad-except
        os.write(2, f"ff-lab: {error}\n".encode())
    os._exit(EXEC_FAILED)


def _end_as(status):
    """Leaves as the command did: with its exit code, or by its signal."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    sig = os.WTERMSIG(status)
    try:
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sig not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(sig, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [sig])
        os.kill(os.getpid(), sig)
    except (OSError, ValueError):
        pass
    os._exit(128 + sig)


def _follow(child):
    """Passes signals to the child, job control to the caller's shell, and the child's end on."""
    while True:
        info = signal.sigwaitinfo(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
        if info.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(child, signal.SIGCONT)
            elif pid:
                _end_as(status)
        # The terminal's own signals (si_code > 0) reach the child without us: same group.
        elif info.si_code <= 0 and info.si_signo != signal.SIGCONT:
            try:
                os.kill(child, info.si_signo)
            except ProcessLookupError:
                pass


def run(pid, netns, argv, env, user=None):
    """
    Runs argv in the namespaces of process pid (None: only in the network namespace netns), and
    ends this process the way argv ended.
    """
    cwd = os.getcwd()
    try:
        if pid is not None:
            target = os.pidfd_open(pid)
            sysns.setns(target, sysns.CLONE_NEWNS | sysns.CLONE_NEWNET | sysns.CLONE_NEWIPC
                        | sysns.CLONE_NEWUTS | sysns.CLONE_NEWPID)
            os.close(target)
        else:
            sysns.setns_path(netns, sysns.CLONE_NEWNET)
    except OSError as error:
        raise LabError(f"cannot enter the namespaces: {error.strerror}", EXEC_FAILED) from error
    ids = _resolve_user(user) if user else None
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        _exec(argv, env, cwd, ids)
    _follow(child)
