# SPDX-License-Identifier: MIT
"""The kinds of tests that are programs: rules, CUnit programs, fuzzing. Scripts: scripts.py."""

import json
import os
import re
import shutil
import subprocess
import tempfile

from . import procs

SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}
_UNIT_TIMEOUT = 300


def why(status, timeout):
    """An exit status in words."""
    if status is None:
        return f"not done after {timeout} s"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def run_one(report, name, argv, timeout, env=None, cwd=None):
    """A program that is one test."""
    status, output, seconds = procs.run(argv, timeout, env, cwd)
    report.took(name, seconds)
    if status == 0:
        report.ok(name, seconds)
    elif status == 77:
        report.skip(name, output.strip().rpartition("\n")[2] or "the program says so")
    else:
        report.fail(name, why(status, timeout), output)


def rules(report, source):
    if report.wants("rules/check_rules"):
        run_one(report, "rules/check_rules", [os.path.join(source, "tests", "check_rules")], 60)


def units(report, label, build, jobs, without=()):
    """
    The CUnit programs of a build, jobs at a time, but for those whose names begin with one of
    without; those that may take longest, as their timeouts tell, first.
    """
    done = subprocess.run(["meson", "introspect", "--tests", build], text=True,
                          capture_output=True, check=True)
    tests = []
    for test in json.loads(done.stdout):
        name = f"{label}/unit/{test['name']}"
        if report.wants(name) and not test["name"].startswith(tuple(without)):
            env = {**os.environ, **SANITIZER_ENV, **test["env"]}
            timeout = max(test["timeout"], _UNIT_TIMEOUT)
            tests.append((test["timeout"], test["is_parallel"],
                          (name, test["cmd"], timeout, env, test["workdir"] or build)))
    tests.sort(key=lambda test: -test[0])
    with procs.pool(report, jobs) as pool:
        futures = [pool.submit(run_one, report, *args) for _, parallel, args in tests if parallel]
        for future in futures:
            future.result()
    for _, parallel, args in tests:
        if not parallel:
            run_one(report, *args)


def fuzz_targets(build):
    """Name and path of each libFuzzer program of a configured build directory."""
    done = subprocess.run(["meson", "introspect", "--targets", build], text=True,
                          capture_output=True, check=True)
    return [(target["name"], target["filename"][0]) for target in json.loads(done.stdout)
            if target["type"] == "executable" and "/tests/fuzz/" in target["filename"][0]]


def _fuzz_one(report, source, target, path, seconds):
    name = f"fuzz/{target}"
    work = tempfile.mkdtemp(prefix="ff-fuzz-")
    corpus = [work]
    seeds = os.path.join(source, "tests", "fuzz", "corpus", target)
    if os.path.isdir(seeds):
        corpus.append(seeds)
    argv = [path, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096",
            "-print_final_stats=1", f"-artifact_prefix={work}/crash-", *corpus]
    status, output, took = procs.run(argv, seconds + 120, {**os.environ, **SANITIZER_ENV})
    runs = re.search(r"stat::number_of_executed_units: (\d+)", output)
    report.took(name, took)
    if status == 0 and runs and int(runs[1]) > 0:
        report.ok(f"{name} ({runs[1]} runs)", took)
        shutil.rmtree(work)
    else:
        report.fail(name, f"{why(status, seconds + 120)}; inputs are in {work}", output[-20000:])


def fuzz(report, source, build, seconds, jobs):
    """Each libFuzzer target for that long, jobs at a time; the input that fails one is kept."""
    with procs.pool(report, jobs) as pool:
        futures = [pool.submit(_fuzz_one, report, source, target, path, seconds)
                   for target, path in fuzz_targets(build) if report.wants(f"fuzz/{target}")]
        for future in futures:
            future.result()
