# SPDX-License-Identifier: MIT
"""
The lab's network. A bridge in a namespace of the lab's own is the underlay, 192.168.1.0/24; each
host is a namespace on it, with a bridge and a VXLAN device that floods to the other hosts and
learns; each container is a namespace on its host's bridge.
"""

import ipaddress
import os
import subprocess

from . import offload, sysns
from .errors import LabError

UNDERLAY = ipaddress.ip_network("192.168.1.0/24")
UNDERLAY6 = ipaddress.ip_network("fd33::/64")  # not on ff-wire
OVERLAY = ipaddress.ip_network("10.32.0.0/12")
OVERLAY6 = ipaddress.ip_network("fd32::/64")
VNI = 1
VXLAN_PORT = 4789
WIRE_PORT = 47910  # the routers' own
UNDERLAY_MTU = 1500
VXLAN_OVERHEAD = 50
_FLAT_ROUTERS = ("169.254.1.1", "fe80::1")  # of every container, where its host routes
MAX_HOSTS = UNDERLAY.num_addresses - 2


def host_address(index):
    """Of the index-th host, from 1."""
    return str(UNDERLAY[index])


def host_addresses(index):
    """Of the index-th host, but on ff-wire: IPv4, IPv6 if the kernel has that."""
    return [str(UNDERLAY[index]), str(UNDERLAY6[index])][:2 if _has_v6() else 1]


def flat_addresses(index):
    """Of the index-th container there."""
    return container_addresses(index)[:2 if _has_v6() else 1]


def _has_v6():
    return os.path.exists("/proc/sys/net/ipv6")


def container_addresses(index):
    """Of the index-th container, from 1: IPv4, IPv6."""
    return [str(OVERLAY[index]), str(OVERLAY6[index])]


def in_netns(path, function, *args):
    """Runs function(*args) in a process of its own in the namespace, and raises its error here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sysns.setns_path(path, sysns.CLONE_NEWNET)
            function(*args)
            status = 0
        except BaseException as error:  # pylint: disable=broad-except
            os.write(writer, str(error).encode())
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    if os.waitpid(pid, 0)[1] != 0:
        raise LabError(text or "a helper process died")


def _ip_batch(lines):
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError("ip: " + " ".join(done.stderr.split()))


def _sysctl(values):
    for key, value in values.items():
        path = "/proc/sys/net/" + key
        if os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.write(value)


def _configure(sysctls, lines):
    _sysctl(sysctls)
    _ip_batch(lines)


def netns_make(path):
    """A network namespace held by a bind mount on path."""
    def make():
        sysns.unshare(sysns.CLONE_NEWNET)
        sysns.mount("/proc/self/ns/net", path, None, sysns.MS_BIND)
        _ip_batch(["link set lo up"])
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o444))
    try:
        in_netns("/proc/self/ns/net", make)
    except LabError as error:
        raise LabError("cannot make a network namespace (CAP_SYS_ADMIN and CONFIG_NET_NS are "
                       f"needed): {error}") from error


def netns_drop(path):
    """Lets go of it: gone when no process is left in it. Safe for a half-made one."""
    while True:
        try:
            sysns.umount(path)
        except OSError:
            break
    if os.path.lexists(path):
        os.unlink(path)


def netns_inode(path):
    """Identifies the namespace in /proc/PID/ns/net, or None for a file that holds none."""
    try:
        held = os.stat(path)
        own = os.stat("/proc/self/ns/net")
    except OSError:
        return None
    return held.st_ino if held.st_dev == own.st_dev else None


def underlay_configure(path, bridge):
    """bridge: of the kernel, for hosts that are not joined by ff-wire."""
    in_netns(path, _configure, {"ipv6/conf/default/disable_ipv6": "1"},
             ["link add br0 type bridge", "link set br0 up"] if bridge else [])


def host_configure(path, underlay_path, index, count, bridge, mtu, frames=False):
    """
    eth0 on the underlay, a bridge, and vxlan0 that floods to the count - 1 other hosts. Without
    the underlay's bridge, ff-wire joins the hosts: it impairs single frames, so the kernel must
    cut what it sends by eth0 into such; so it must with frames, for DPDK's af_packet, which gets
    no more than the beginning of a batch that a real wire would not carry. Nor does eth0 speak IPv6
    on ff-wire: what it says by itself, at times of its own, would take dice.
    """
    address = host_address(index)
    in_netns(underlay_path, _ip_batch,
             [f"link add host{index} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {path}",
              f"link set host{index} {'master br0 ' if bridge else ''}up"])
    if not bridge:
        in_netns(path, _sysctl, {"ipv6/conf/eth0/disable_ipv6": "1"})
    if not bridge or frames:
        in_netns(path, offload.segmentation_off, "eth0")
    address6 = [f"address add {UNDERLAY6[index]}/{UNDERLAY6.prefixlen} dev eth0 nodad"] \
        if bridge and _has_v6() else []
    in_netns(path, _configure, {"ipv6/conf/default/disable_ipv6": "1"}, [
        f"address add {address}/{UNDERLAY.prefixlen} dev eth0",
        *address6,
        "link set eth0 up",
        f"link add vxlan0 mtu {mtu - VXLAN_OVERHEAD} type vxlan id {VNI} local {address} dev eth0 "
        f"dstport {VXLAN_PORT}",
        f"link add br0 mtu {mtu - VXLAN_OVERHEAD} type bridge mcast_snooping 0",
        "link set vxlan0 master br0",
        "link set vxlan0 up",
        "link set br0 up"])
    others = [host_address(other) for other in range(1, count + 1) if other != index]
    if others:
        in_netns(path, _fdb_append, others)


def _fdb_append(addresses):
    batch = "".join(f"fdb append 00:00:00:00:00:00 dev vxlan0 dst {a} self\n" for a in addresses)
    done = subprocess.run(["bridge", "-batch", "-"], input=batch, text=True, capture_output=True,
                          check=False)
    if done.returncode != 0:
        raise LabError("bridge: " + " ".join(done.stderr.split()))


def flat_host_configure(path, underlay_path, index, mtu, routes):
    """
    eth0 on the underlay alone: the host routes, as host-gw overlays do. routes: (container's
    address, host's address) of the containers of other hosts. Duplicate detection would only delay
    the start.
    """
    in_netns(underlay_path, _ip_batch,
             [f"link add host{index} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {path}",
              f"link set host{index} master br0 up"])
    in_netns(path, offload.segmentation_off, "eth0")
    sysctls = {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1",
               "ipv6/conf/default/accept_dad": "0", "ipv6/conf/eth0/accept_dad": "0"}
    in_netns(path, _configure, sysctls,
             [f"address add {address}/{network.prefixlen} dev eth0"
              for address, network in zip(host_addresses(index), (UNDERLAY, UNDERLAY6))]
             + ["link set eth0 up"]
             + [f"route add {address} via {host}" for address, host in routes])


def flat_container_configure(path, host_path, name, index, mtu):
    """eth0 to the host, which routes."""
    ways = list(zip(flat_addresses(index), _FLAT_ROUTERS))
    in_netns(host_path, _configure, {}, [
        f"link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {path}",
        *(f"address add {router} dev {name}" for _, router in ways),
        f"link set {name} up",
        *(f"route add {address} dev {name}" for address, _ in ways)])
    in_netns(path, _configure, {"ipv6/conf/eth0/accept_dad": "0"}, [
        *(f"address add {address} dev eth0" for address, _ in ways),
        "link set eth0 up",
        *(f"route add {router} dev eth0" for _, router in ways),
        *(f"route add default via {router} dev eth0" for _, router in ways)])


def container_configure(path, host_path, name, index, mtu):
    """eth0 on the overlay with its addresses; duplicate detection would only delay the start."""
    address, address6 = container_addresses(index)
    in_netns(host_path, _ip_batch,
             [f"link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {path}",
              f"link set {name} master br0 up"])
    sysctls = {"ipv6/conf/default/accept_dad": "0", "ipv6/conf/eth0/accept_dad": "0"}
    lines = [f"address add {address}/{OVERLAY.prefixlen} dev eth0"]
    if _has_v6():
        lines.append(f"address add {address6}/{OVERLAY6.prefixlen} dev eth0 nodad")
    in_netns(path, _configure, sysctls, lines + ["link set eth0 up"])
