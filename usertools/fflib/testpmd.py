# SPDX-License-Identifier: MIT
"""DPDK's own packet generator on a device of a host: what a port can carry, whoever drives it."""

import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from .errors import LabError

_TIMEOUT = 60
_RX = re.compile(r"Rx-pps:\s+(\d+)")


def _argv(netns, core, devargs, mode, more):
    """core: of the thread that polls; the other ones sleep."""
    path = shutil.which("dpdk-testpmd")
    if path is None:
        raise LabError("dpdk-testpmd is not there: apt-get install dpdk-dev")
    # Normal pages: it takes none from what is measured.
    return ["nsenter", f"--net={netns}", path, f"--lcores=0@{core},1@{core}", "--no-huge",
            "-m", "128", "--no-shconf", "--no-telemetry", "--no-pci",
            f"--vdev={devargs}", "--", f"--forward-mode={mode}", "--nb-cores=1", "--auto-start",
            "--stats-period=1", "--total-num-mbufs=8192", "--no-lsc-interrupt", *more]


def _mac(netns, interface):
    done = subprocess.run(["nsenter", f"--net={netns}", "ip", "-j", "link", "show", interface],
                          text=True, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)[0]["address"]


def packets(sender, receiver, interface, length, seconds=5):
    """
    Packets per second that arrive by af_packet, median. sender, receiver: paths of network
    namespaces that both have the interface; length: of the frames, without their CRC.
    """
    devargs, mac = f"net_af_packet0,iface={interface}", _mac(receiver, interface)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryFile("w+") as said:
        def start(netns, core, mode, more, output):
            return subprocess.Popen(_argv(netns, core, devargs, mode, more), stdout=output,
                                    stderr=output, stdin=subprocess.DEVNULL)

        processes = [start(receiver, cores[1 % len(cores)], "rxonly", [], said)]
        try:
            processes.append(start(sender, cores[0], "txonly",
                                   [f"--txpkts={length}", f"--eth-peer=0,{mac}"],
                                   subprocess.DEVNULL))
            deadline = time.monotonic() + _TIMEOUT
            while True:
                time.sleep(0.5)
                said.seek(0)
                text = said.read()
                rates = [int(rate) for rate in _RX.findall(text)]
                # Neither the beginning nor the second in which it is asked.
                counted = [rate for rate in rates if rate][2:]
                if len(counted) >= seconds:
                    return statistics.median(counted[:seconds])
                if time.monotonic() > deadline or any(p.poll() is not None for p in processes):
                    raise LabError(f"dpdk-testpmd on {devargs}: no packets\n{text[-2000:]}")
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
