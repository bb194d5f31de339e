# SPDX-License-Identifier: MIT
"""
The kernel's rdma_rxe and freeflowd on one pair of veth, in a virtual machine: the same perftest, on
the one and on the other, by turns.

rxe knows no network namespaces before Linux 7: for it both ends of the pair lie side by side, and
packets still go over it, as the route is looked up for the outgoing device. For freeflowd each end
lies in the namespace of a host of its own, in which there is nothing else.
"""

import glob
import json
import os
import re
import tempfile

from . import vm
from .errors import LabError

_ENDS = {"va": "10.0.0.1", "vb": "10.0.0.2"}
_CONTAINERS = ("10.32.0.1", "10.32.0.2")
_PORT = 47910
_VNI = 4096
_MEMORY = 1536
_TIMEOUT = 120
_ROW = re.compile(r"^\s*\d+\s+\d+((?:\s+[\d.]+){2,7})\s*$", re.MULTILINE)
_SHIM, _ROUTER = "/usr/lib/libfreeflow.so", "/usr/bin/freeflowd"


def _files(binaries, floors):
    """What freeflowd needs there; of DPDK's drivers, only the one for its pools."""
    drivers = glob.glob("/usr/lib/*/dpdk/pmds-*/librte_mempool_ring.so")
    if not drivers:
        raise vm.VmMissing("librte_mempool_ring.so: not installed")
    return {_ROUTER: binaries.freeflowd, _SHIM: binaries.shim, drivers[0]: drivers[0],
            "/usr/bin/ff-floors": floors}


def _config(index):
    other = 1 - index
    return {
        "name": f"h{index}", "run_dir": f"/run/ff{index}", "shim": _SHIM,
        "workers": {"idle": "interrupt"},
        "wire": {"udp_port": _PORT, "vni": _VNI, "address": list(_ENDS.values())[index]},
        "overlay": {"providers": ["static"], "static": [
            {"prefix": _CONTAINERS[other], "host": list(_ENDS.values())[other]}]},
        "containers": [{"id": f"c{index}", "addresses": [_CONTAINERS[index]]}],
    }


class Contest:
    """Runs as a context. mtu: of the pair; floors: path of ff-floors."""

    def __init__(self, binaries, mtu, floors):
        self._binaries, self._mtu, self._floors = binaries, mtu, floors
        self._port = 20000
        self._base = self._machine = None

    def __enter__(self):
        self._base = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        try:
            image = vm.image(os.path.join(self._base.name, "vm"),
                             _files(self._binaries, self._floors))
            self._machine = vm.Machine(*image, memory=_MEMORY).__enter__()
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._machine:
            self._machine.__exit__()
        self._base.cleanup()

    def _prepare(self):
        # EAL takes no drivers from below a directory that anybody may write.
        must = self._machine.must
        must("chmod 755 / && mkdir -p /run /dev/shm && mount -t tmpfs tmpfs /run && "
             "mount -t tmpfs tmpfs /dev/shm && mkdir /run/netns && ip netns add h0 && "
             "ip netns add h1 && ip -n h0 link set lo up && ip -n h1 link set lo up && "
             f"ip link add va mtu {self._mtu} type veth peer name vb mtu {self._mtu}")
        must("for f in /proc/sys/net/ipv4/conf/*/accept_local; do echo 1 >$f; done; "
             "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done")
        self._to_hosts()
        for index in (0, 1):
            must(f"echo '{json.dumps(_config(index))}' >/run/h{index}.json")
            must(f"ip netns exec h{index} {_ROUTER} --config /run/h{index}.json "
                 f">/run/log{index} 2>&1 &")
        for index in (0, 1):
            said = must(f"for i in $(seq 300); do grep -q 'is ready' /run/log{index} && break; "
                        f"sleep 0.2; done; cat /run/log{index}", 90)
            if "is ready" not in said:
                raise LabError(f"freeflowd in the machine does not start:\n{said}")
        self._to_side_by_side()

    def _link_up(self, where):
        for (end, address), into in zip(_ENDS.items(), where):
            self._machine.must(f"ip {into} address add {address}/24 dev {end} && "
                               f"ip {into} link set {end} up")

    def _to_hosts(self):
        self._machine.must("ip link set va netns h0 && ip link set vb netns h1")
        self._link_up(("-n h0", "-n h1"))

    def _to_side_by_side(self):
        self._machine.must("ip -n h0 link set va netns 1 && ip -n h1 link set vb netns 1")
        self._link_up(("", ""))
        for end, other in (("va", "vb"), ("vb", "va")):
            self._machine.must(
                f"ip neigh replace {_ENDS[other]} dev {end} nud permanent "
                f"lladdr $(cat /sys/class/net/{other}/address) && "
                f"echo 1 >/proc/sys/net/ipv4/conf/{end}/accept_local && "
                f"echo 0 >/proc/sys/net/ipv4/conf/{end}/rp_filter")

    def rxe(self, tool, options):
        """perftest's columns after the number of iterations, by the kernel."""
        for index, end in enumerate(_ENDS):
            self._machine.must(f"rdma link add rxe{index} type rxe netdev {end}")
        try:
            gids = "/sys/class/infiniband/rxe{}/ports/1/gids"
            index = [self._machine.must(
                f"cd {gids.format(n)}; grep -l ':ffff:0a00:000{n + 1}' *; cd /").split()[0]
                for n in (0, 1)]
            return self._perftest(tool, options,
                                  [["-d", f"rxe{n}", "-x", index[n]] for n in (0, 1)], ([], []))
        finally:
            for index in (0, 1):
                self._machine.must(f"rdma link del rxe{index}")

    def freeflow(self, tool, options):
        """The same, by freeflowd: the pair is the hosts' as long."""
        self._to_hosts()
        try:
            env = [["env", f"LD_PRELOAD={_SHIM}", f"FREEFLOW_DIR=/run/ff{n}/containers/c{n}"]
                   for n in (0, 1)]
            return self._perftest(tool, options, ([], []), env)
        finally:
            self._to_side_by_side()

    def wake(self):
        """What it takes there to wake a process, and to be answered through memory, in us."""
        return json.loads(self._machine.must("ff-floors wake", _TIMEOUT))["wake_us"]

    def _perftest(self, tool, options, devices, env):
        # It measures how fast the CPU's counter runs, and gives up where that seems to vary.
        for _ in range(5):
            rows = self._perftest_once(tool, options, devices, env)
            values = [float(value) for value in rows[-1].split()] if rows else [0.0]
            if all(values[:2]):
                return values
        raise LabError(f"{tool} in the machine: no figures in five runs")

    def _perftest_once(self, tool, options, devices, env):
        self._port += 1
        argv = [tool, "-F", "-p", self._port, *options]
        sent = self._sent()
        job = self._machine.start([*env[1], *argv, *devices[1]], self._port, _TIMEOUT)
        status, output = self._machine.run(self._machine.command(
            [*env[0], *argv, *devices[0], "127.0.0.1"], _TIMEOUT), _TIMEOUT + 30)
        server, said = self._machine.finish(job, _TIMEOUT)
        if status or server:
            raise LabError(f"{tool} in the machine: {status}, {server}\n{output}\n{said}")
        if self._sent() == sent:
            raise LabError(f"{tool} in the machine: nothing went over the pair")
        return _ROW.findall(output)

    def _sent(self):
        """Bytes out of va, wherever it is."""
        return self._machine.must("(cat /sys/class/net/va/statistics/tx_bytes || ip netns exec h0 "
                                  "awk '/va:/ {print $10}' /proc/net/dev) 2>/dev/null")
