# SPDX-License-Identifier: MIT
"""
Results: one line for a pass, all of the output for a failure; at the end what took longest, and the
totals.
"""

import fnmatch
import sys
import threading
import time

_LONGEST = 10


class Report:
    """Collects results from any thread."""

    def __init__(self, only=None):
        self._only = only
        self._lock = threading.RLock()
        self._start = time.monotonic()
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self._took = []
        self.interrupted = False  # what threads still report then is the clean-up's doing

    def wants(self, name):
        """False when --only leaves name out."""
        return self._only is None or fnmatch.fnmatch(name, f"*{self._only}*")

    def together(self):
        """What the holder reports stands together."""
        return self._lock

    def step(self, text):
        """Progress."""
        with self._lock:
            print(f"[{time.monotonic() - self._start:6.1f} s] {text}", flush=True)

    def ok(self, name, seconds=None):
        with self._lock:
            if self.interrupted:
                return
            self.passed += 1
            print(f"ok {name}" + (f" ({seconds:.1f} s)" if seconds is not None else ""),
                  flush=True)

    def skip(self, name, why):
        with self._lock:
            self.skipped += 1
            print(f"skip {name} - {why}", flush=True)

    def fail(self, name, why, output=""):
        with self._lock:
            if self.interrupted:
                return
            self.failed += 1
            self.failures.append(name)
            print(f"not ok {name} - {why}")
            for line in output.rstrip().splitlines():
                print(f"    {line}")
            sys.stdout.flush()

    def took(self, name, seconds):
        """A program or script has ended, whatever its results: totals() shows the longest."""
        with self._lock:
            self._took.append((seconds, name))

    def totals(self):
        """What took longest, what has failed, and, as the last line of the run, the numbers."""
        for seconds, name in sorted(self._took, reverse=True)[:_LONGEST]:
            print(f"longest: {seconds:6.1f} s {name}")
        for name in self.failures:
            print(f"failed: {name}")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
