# SPDX-License-Identifier: MIT
"""The virtual machine of fflib/vm.py, on the lab's underlay; its failures are those of a test."""

import os
import subprocess

from labtest import PLAIN, PROGS, Failed, Skipped
from fflib import lab as ff_lab
from fflib import vm

MAC = vm.MAC
WIRE_PEER = os.path.join(PROGS, "wire_peer")


def image():
    """Paths of kernel and initrd; Skipped where they cannot be made."""
    try:
        return vm.image(os.path.join(PLAIN, "wire-vm"), {"/usr/bin/wire_peer": WIRE_PEER})
    except vm.VmMissing as error:
        raise Skipped(str(error)) from None
    except vm.VmError as error:
        raise Failed(str(error)) from None


class Vm(vm.Machine):
    """
    Its eth0 has address on the underlay of lab. In the lab's namespace of the underlay, so that it
    ends with the lab at the latest.
    """

    def __init__(self, lab, address, mtu=1500):
        self._underlay = os.path.join(ff_lab.base_dir(), lab.name, "ns", "underlay")
        self._address, self._mtu = address, mtu
        self._booted = False
        super().__init__(*image(), self._underlay)

    def __enter__(self):
        self._ip(f"tuntap add dev {vm.TAP} mode tap",
                 f"link set {vm.TAP} mtu {self._mtu} master br0 up")
        super().__enter__()
        self._booted = True
        try:
            self.must(f"ip link set eth0 mtu {self._mtu} up && "
                      f"ip address add {self._address}/24 dev eth0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        super().__exit__()
        self._ip(f"link del {vm.TAP}")

    def _ip(self, *lines):
        subprocess.run(["nsenter", f"--net={self._underlay}", "ip", "-batch", "-"], text=True,
                       input="\n".join(lines) + "\n", check=True)

    def fail(self, text):
        """Skipped where QEMU gets nowhere; what the kernel does, once it is there, is ours."""
        if not self._booted and "Linux version" not in self.log(100000):
            raise Skipped("the virtual machine does not start: " + " ".join(text.split())[:200])
        raise Failed(text)
