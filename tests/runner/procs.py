# SPDX-License-Identifier: MIT
"""Running programs with a time limit, and ending all that they leave behind."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import tempfile
import time

_GRACE = 5.0
_POLL = 0.01


def run(argv, timeout, env=None, cwd=None):
    """
    Returns (status, output, seconds). Status is negative for a signal and None when the time was
    over. The program leads a session, which ends with it.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
            _end_session(process)
        except BaseException:
            _end_session(process)
            raise
        output.seek(0)
        text = output.read().decode(errors="replace")
    return status, text, time.monotonic() - started


def _end_session(process):
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            return


def descendants(root):
    """Process ids below root."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found, rest = [], [root]
    while rest:
        below = children.get(rest.pop(), [])
        found += below
        rest += below
    return found


def end_descendants():
    """
    Kills and reaps all that is left below this process, which is their subreaper. Returns the
    names of those that were still alive.
    """
    names = []
    while left := descendants(os.getpid()):
        for pid in left:
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                    text = stat.read()
                if text.rpartition(")")[2].split()[0] not in "ZX":
                    names.append(text[text.index("(") + 1:text.rindex(")")])
                    os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(_POLL)  # another thread may have reaped it, and have started the next
        except ChildProcessError:
            break
    return names


@contextlib.contextmanager
def pool(report, jobs):
    """
    Threads that run programs. After an interruption no further one starts, those that run are
    killed, and what becomes of them is not reported.
    """
    threads = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        yield threads
    except BaseException:
        report.interrupted = True
        threads.shutdown(wait=False, cancel_futures=True)
        end_descendants()
        raise
    finally:
        threads.shutdown()
