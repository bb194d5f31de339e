# SPDX-License-Identifier: MIT
"""
Protocols as models, which spin searches for every order of steps: tests/model/*.pml. A model that
has been broken on purpose must be found out, or it proves nothing.
"""

import os
import re
import tempfile

from . import procs

_WAYS = ("blocking", "level", "edge")
_TIMEOUT = 600
_DEPTH = "-m2000000"
_BREAK = re.compile(r"^#define (\w+) +(\d+) /\*", re.MULTILINE)


def _search(model, defines, live):
    """(0, text) when all states were searched and none is wrong; (1, text): one is wrong; or -1."""
    with tempfile.TemporaryDirectory(prefix="ff-model-") as work:
        text = ""
        for argv in (["spin", *(f"-D{define}" for define in defines), "-a", model],
                     ["gcc", "-O1", "-w", "-DNP" if live else "-DSAFETY", "-o", "pan", "pan.c"],
                     ["./pan", _DEPTH, "-w22", *(["-l", "-f"] if live else [])]):
            status, output, _ = procs.run(argv, _TIMEOUT, cwd=work)
            text += f"$ {' '.join(argv)}\n{output}"
            if status != 0:
                return -1, text
        errors = re.search(r"errors: (\d+)$", output, re.MULTILINE)
        if not errors or "max search depth too small" in output:
            return -1, text
        if errors[1] == "0":
            return 0, text
        # What led there.
        text += procs.run(["spin", *(f"-D{define}" for define in defines), "-t", "-p", "-g", "-l",
                           "-k", os.path.basename(model) + ".trail", model], _TIMEOUT, cwd=work)[1]
        return 1, text


def _check(report, name, model, defines, live=False, wrong=False):
    if report.wants(name):
        found, text = _search(model, defines, live)
        if found == (1 if wrong else 0):
            report.ok(name)
        else:
            report.fail(name, ("nothing is found wrong", "a state is wrong",
                               "the search has failed")[found], text)


def exchange(report, source, long):
    """How both sides come to the same end; long: all that can be broken."""
    model = os.path.join(source, "tests", "model", "exchange.pml")
    _check(report, "model/exchange", model, ())
    if long:
        with open(model, encoding="utf-8") as file:
            breaks = _BREAK.findall(file.read())
        for what, number in breaks:
            if what != "NONE":
                _check(report, f"model/exchange: {what} is found", model, (f"BREAK={number}",),
                       wrong=True)


def fifo(report, source, long):
    """Each way to wait on both sides; long: all pairs, two sizes, and all that can be broken."""
    model = os.path.join(source, "tests", "model", "fifo.pml")
    for size in (2, 3) if long else (2,):
        for writer in _WAYS:
            for reader in _WAYS if long else (writer,):
                ways = (f"SIZE={size}", f"WRITER={writer}", f"READER={reader}")
                for live in (False, True) if long else (writer == "level",):
                    _check(report, f"model/fifo{'-live' if live else ''}: {' '.join(ways)}", model,
                           ways, live)
    if long:
        with open(model, encoding="utf-8") as file:
            breaks = _BREAK.findall(file.read())
        for what, number in breaks:
            if what not in ("SIZE", "FILL"):
                _check(report, f"model/fifo: {what} is found", model,
                       ("WRITER=edge", "READER=edge", f"BREAK={number}"), wrong=True)
        _check(report, "model/fifo: FILL=2 is found", model,
               ("WRITER=level", "READER=level", "FILL=2"), wrong=True)
