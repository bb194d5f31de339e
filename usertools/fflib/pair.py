# SPDX-License-Identifier: MIT
"""A server in one container and a client in another, as benchmarks and tests run them."""

import contextlib
import subprocess
import tempfile
import time

_POLL = 0.002
# State column of /proc/PID/net/tcp and udp.
_STATES = {"tcp": "0A", "udp": "07"}


class PairError(Exception):
    """Who failed, and what both have said."""


def listens(pid, port, protocol="tcp"):
    """True when a socket waits on port in the network namespace of pid."""
    for table in (protocol, protocol + "6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}",
                                                encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == _STATES[protocol] and fields[1].endswith(f":{port:04X}"):
                    return True
    return False


def _end(process):
    if process.poll() is None:
        process.kill()
    process.wait()


def _await_listening(server, server_argv, ready, port, timeout):
    """The kernel announces no listen(): looks every few milliseconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if server.poll() is not None:
            raise PairError(f"{' '.join(server_argv)}: left with {server.returncode} before "
                            "there was a client")
        if time.monotonic() > deadline:
            raise PairError(f"{' '.join(server_argv)}: does not listen on port {port}")
        time.sleep(_POLL)


def run(server_argv, client_argv, pid, port, timeout=60, wait_server=True,
        protocol="tcp"):
    """
    Starts the server, then, when it listens on port in the namespace of process pid, the client.
    Both must leave with 0; returns what each has printed. Without wait_server the server is one
    that does not end by itself, and is ended.
    """
    with tempfile.TemporaryFile("w+") as output:
        def said():
            output.seek(0)
            return output.read()

        server = subprocess.Popen(server_argv, text=True, stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=subprocess.STDOUT)
        try:
            _await_listening(server, server_argv, lambda: listens(pid, port, protocol), port,
                             timeout)
            client = subprocess.run(client_argv, text=True, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    timeout=timeout, check=False)
            if not wait_server or client.returncode != 0:
                server.terminate()
            server.wait(timeout)
        except subprocess.TimeoutExpired as error:
            heard = error.stdout or b""
            heard = heard if isinstance(heard, str) else heard.decode(errors="replace")
            raise PairError(f"{' '.join(error.cmd)}: no end after {timeout} s\nclient:\n{heard}\n"
                            f"server:\n{said()}") from None
        except PairError as error:
            raise PairError(f"{error}\n{said()}") from None
        finally:
            _end(server)
        if client.returncode != 0 or (wait_server and server.returncode != 0):
            raise PairError(f"{' '.join(client_argv)}: client left with {client.returncode}, "
                            f"server with {server.returncode}\nclient:\n{client.stdout}\n"
                            f"server:\n{said()}")
        return said(), client.stdout
