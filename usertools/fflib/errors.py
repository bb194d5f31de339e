# SPDX-License-Identifier: MIT
"""Errors that a user can act on: one line, no traceback."""

import signal
import sys


class LabError(Exception):
    """What is wrong, in words for the one who typed the command."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def run_main(tool, main):
    """
    Runs main(argv) -> exit status, and turns the expected errors into one line each. SIGTERM and
    SIGHUP unwind, so that what is half done is undone.
    """
    def leave(number, _frame):
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, leave)
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
