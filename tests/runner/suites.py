# SPDX-License-Identifier: MIT
"""The kinds of tests: rules, CUnit programs, scripts in the lab and against others, fuzzing."""

import concurrent.futures
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
_LAB_TIMEOUT = 300
_RESULT = re.compile(r"(ok|not ok|skip) (.+?)(?: - (.*))?$")
_HEADER = re.compile(r"^# (timeout|builds): (.*)$", re.MULTILINE)


def why(status, timeout):
    """An exit status in words."""
    if status is None:
        return f"not done after {timeout} s"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def run_one(report, name, argv, timeout, env=None, cwd=None):
    """A program that is one test."""
    status, output, seconds = procs.run(argv, timeout, env, cwd)
    if status == 0:
        report.ok(name, seconds)
    elif status == 77:
        report.skip(name, output.strip().rpartition("\n")[2] or "the program says so")
    else:
        report.fail(name, why(status, timeout), output)


def rules(report, source):
    if report.wants("rules/check_rules"):
        run_one(report, "rules/check_rules", [os.path.join(source, "tests", "check_rules")], 60)


def units(report, label, build, jobs):
    """The CUnit programs of a build, jobs at a time."""
    done = subprocess.run(["meson", "introspect", "--tests", build], text=True,
                          capture_output=True, check=True)
    tests = []
    for test in json.loads(done.stdout):
        name = f"{label}/unit/{test['name']}"
        if report.wants(name):
            env = {**os.environ, **SANITIZER_ENV, **test["env"]}
            timeout = max(test["timeout"], _UNIT_TIMEOUT)
            tests.append((test["is_parallel"], (name, test["cmd"], timeout, env,
                                                test["workdir"] or build)))
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(run_one, report, *args) for parallel, args in tests if parallel]
        for future in futures:
            future.result()
    except BaseException:
        report.interrupted = True
        pool.shutdown(wait=False, cancel_futures=True)
        procs.end_descendants()
        raise
    finally:
        pool.shutdown()
    for parallel, args in tests:
        if not parallel:
            run_one(report, *args)


def _script_header(path):
    with open(path, encoding="utf-8") as file:
        return dict(_HEADER.findall(file.read(2000)))


def _script_results(report, prefix, output):
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


def scripts(report, label, source, kind, build, long):
    """
    tests/lab/test_* or tests/wire/test_*, by kind: each gets the build directory and prints `ok NAME`, `not ok NAME - why` or
    `skip NAME - why`; what it prints before a `not ok` explains it. Its exit status is 0 when and
    only when none failed. Comment lines at its top set it up: `# timeout: SECONDS`, `# builds:
    release asan`.
    """
    folder = os.path.join(source, "tests", kind)
    for script in sorted(os.listdir(folder)):
        path = os.path.join(folder, script)
        prefix = f"{label}/{kind}/{script}"
        if not script.startswith("test_") or not os.access(path, os.X_OK) \
                or not report.wants(prefix):
            continue
        header = _script_header(path)
        if label not in header.get("builds", "release").split():
            continue
        timeout = int(header.get("timeout", _LAB_TIMEOUT)) * (4 if long else 1)
        env = {**os.environ, "FF_TEST_LONG": "1" if long else "",
               "FF_TEST_ASAN": "1" if label == "asan" else ""}
        status, output, seconds = procs.run([path, build], timeout, env)
        count, failures, rest = _script_results(report, prefix, output)
        report.step(f"{prefix} took {seconds:.1f} s")
        if status is None or status < 0 or (status != 0) != (failures > 0):
            report.fail(prefix, why(status, timeout) + f" after {count} results, {failures} of "
                        "them failures", "\n".join(rest))
        elif count == 0:
            report.fail(prefix, "it has reported no result", "\n".join(rest))


def fuzz_targets(build):
    """Name and path of each libFuzzer program of a configured build directory."""
    done = subprocess.run(["meson", "introspect", "--targets", build], text=True,
                          capture_output=True, check=True)
    return [(target["name"], target["filename"][0]) for target in json.loads(done.stdout)
            if target["type"] == "executable" and "/tests/fuzz/" in target["filename"][0]]


def fuzz(report, source, build, seconds):
    """Each libFuzzer target for that long; the input that makes one fail is kept."""
    for target, path in fuzz_targets(build):
        name = f"fuzz/{target}"
        if not report.wants(name):
            continue
        work = tempfile.mkdtemp(prefix="ff-fuzz-")
        corpus = [work]
        seeds = os.path.join(source, "tests", "fuzz", "corpus", target)
        if os.path.isdir(seeds):
            corpus.append(seeds)
        argv = [path, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096",
                "-print_final_stats=1", f"-artifact_prefix={work}/crash-", *corpus]
        status, output, took = procs.run(argv, seconds + 120, {**os.environ, **SANITIZER_ENV})
        runs = re.search(r"stat::number_of_executed_units: (\d+)", output)
        if status == 0 and runs and int(runs[1]) > 0:
            report.ok(f"{name} ({runs[1]} runs)", took)
            shutil.rmtree(work)
        else:
            report.fail(name, f"{why(status, seconds + 120)}; inputs are in {work}",
                        output[-20000:])
