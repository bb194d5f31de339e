# SPDX-License-Identifier: MIT
"""Rules that tools know: clang-format on all C files; cppcheck, clang-tidy on what is installed."""

import os
import subprocess
import zlib

from . import suites

# What is installed; tests and tools of the lab are compiled without warnings, and that is enough.
_ROOMS = ("include", "dataplane", "shim", "memif-bridge")
_TIMEOUT = 1800  # behind all else that runs
_TURNS = 10
_CPPCHECK = [
    "cppcheck", "--quiet", "--error-exitcode=1", "--inline-suppr", "--std=c11",
    "--enable=warning,performance,portability", "--library=posix", "--template=gcc",
    "-D__linux__", "-D__x86_64__", "-D__GNUC__=12",
    # libbpf's way to set options: a structure.
    "-DLIBBPF_OPTS(type,name,...)=struct type name={.sz=sizeof(struct type),__VA_ARGS__}",
    # Its macros are loops, which cppcheck would not see.
    "--include=/usr/include/x86_64-linux-gnu/sys/queue.h",
    # glibc's readdir() is safe where threads do not share the stream, and readdir_r() deprecated.
    "--suppress=readdirCalled",
    # The library's description of mmap() refuses the descriptor -1 of MAP_ANONYMOUS.
    "--suppress=invalidFunctionArg",
]


def _files(source, *patterns):
    """Those that git knows and that are there."""
    done = subprocess.run(["git", "-C", source, "ls-files", *patterns], text=True,
                          capture_output=True, check=True)
    return [path for path in done.stdout.split() if os.path.isfile(os.path.join(source, path))]


def layout(report, source):
    """clang-format decides the layout of C files."""
    files = _files(source, "*.c", "*.h")
    if files and report.wants("rules/clang-format"):
        suites.run_one(report, "rules/clang-format",
                       ["clang-format-14", "--dry-run", "--Werror", *files], 120, cwd=source)


def cppcheck(report, source, prefix):
    """What it finds wrong, slow or not portable in what is installed."""
    if report.wants("rules/cppcheck"):
        suites.run_one(report, "rules/cppcheck",
                       [*prefix, *_CPPCHECK, *(f"-I{room}" for room in _ROOMS), *_ROOMS], _TIMEOUT,
                       cwd=source)


def _in_turn(source, files):
    """
    clang-tidy takes seconds for a file: those that the last commit and the working tree have
    changed, and a tenth of the others, another one for each commit.
    """
    def git(*args):
        return subprocess.run(["git", "-C", source, *args], text=True, capture_output=True,
                              check=False).stdout
    changed = git("diff", "--name-only", "HEAD~1") or git("diff", "--name-only", "HEAD")
    commit = git("rev-parse", "HEAD")
    return [path for path in files
            if path in changed.split() or zlib.crc32((commit + path).encode()) % _TURNS == 0]


def clang_tidy(report, source, prefix, build, long):
    """What .clang-tidy asks for, with the options that build was compiled with; long: all files."""
    files = _files(source, *(f"{room}/*.c" for room in _ROOMS))
    files = files if long else _in_turn(source, files)
    if files and report.wants("rules/clang-tidy"):
        suites.run_one(report, "rules/clang-tidy",
                       [*prefix, "clang-tidy-14", "-p", build, "--quiet", *files], _TIMEOUT,
                       cwd=source)
