# SPDX-License-Identifier: MIT
"""
The scripts tests/lab/test_* and tests/wire/test_*. Each gets the build directory and prints `ok
NAME`, `not ok NAME - why` or `skip NAME - why`; what it prints before a `not ok` explains it. Its
exit status is 0 when and only when none failed. Comment lines at its top set it up:

    # timeout: SECONDS          of the short form; the long one has four times as much
    # builds: release asan      where it runs; without it: release
    # beside: others            it mostly waits, and runs while one that computes does
    # beside: nothing           it compares rates, and has the machine for itself
"""

import os
import re

from . import procs
from .suites import why

KINDS = ("lab", "wire")
_TIMEOUT = 300
_RESULT = re.compile(r"(ok|not ok|skip) (.+?)(?: - (.*))?$")
_HEADER = re.compile(r"^# (timeout|builds|beside): (.*)$", re.MULTILINE)


def _header(path):
    with open(path, encoding="utf-8") as file:
        return dict(_HEADER.findall(file.read(2000)))


def _results(report, prefix, output):
    """Reports the lines of a script; returns (results, failures, the lines since the last)."""
    count, failures, between = 0, 0, []
    for line in output.splitlines():
        found = _RESULT.match(line)
        if not found:
            between.append(line)
            continue
        verdict, name, reason = found.groups()
        count += 1
        if verdict == "ok":
            report.ok(f"{prefix}: {name}")
        elif verdict == "skip":
            report.skip(f"{prefix}: {name}", reason or "no reason given")
        else:
            failures += 1
            report.fail(f"{prefix}: {name}", reason or "no reason given", "\n".join(between))
        between = []
    return count, failures, between


def _run_one(report, prefix, argv, timeout, env):
    """Its lines come when it has ended, so that those of two scripts do not mix."""
    status, output, seconds = procs.run(argv, timeout, env)
    with report.together():
        count, failures, rest = _results(report, prefix, output)
        report.step(f"{prefix} took {seconds:.1f} s")
        report.took(prefix, seconds)
        if status is None or status < 0 or (status != 0) != (failures > 0):
            report.fail(prefix, why(status, timeout) + f" after {count} results, {failures} of "
                        "them failures", "\n".join(rest))
        elif count == 0:
            report.fail(prefix, "it has reported no result", "\n".join(rest))


def _wanted(report, label, source, build, long):
    """For each script: what it may run beside, and the arguments of _run_one."""
    env = {**os.environ, "FF_TEST_LONG": "1" if long else "",
           "FF_TEST_ASAN": "1" if label == "asan" else ""}
    for kind in KINDS:
        folder = os.path.join(source, "tests", kind)
        for script in sorted(os.listdir(folder)):
            path = os.path.join(folder, script)
            prefix = f"{label}/{kind}/{script}"
            if not script.startswith("test_") or not os.access(path, os.X_OK) \
                    or not report.wants(prefix):
                continue
            header = _header(path)
            if label in header.get("builds", "release").split():
                timeout = int(header.get("timeout", _TIMEOUT)) * (4 if long else 1)
                yield header.get("beside", ""), (report, prefix, [path, build], timeout, env)


def run(report, label, source, build, long, quiet):
    """
    All scripts that a build is for: in one thread those that mostly wait, in this one those that
    compute; then, when nothing is left that quiet() waits for, those that bear nothing beside them.
    """
    scripts = list(_wanted(report, label, source, build, long))
    with procs.pool(report, 1) as pool:
        waiting = [pool.submit(_run_one, *args) for beside, args in scripts if beside == "others"]
        for beside, args in scripts:
            if beside not in ("others", "nothing"):
                _run_one(*args)
        for future in waiting:
            future.result()
    alone = [args for beside, args in scripts if beside == "nothing"]
    if alone:
        quiet()
    for args in alone:
        _run_one(*args)
