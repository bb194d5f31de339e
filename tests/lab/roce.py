# SPDX-License-Identifier: MIT
"""
RoCEv2 in VXLAN as bytes, written from the specifications (IBTA vol. 1 ch. 9, annexes 16 and 17; RFC
7348) and not from the router's own code, which it judges.
"""

import ipaddress
import os
import socket
import struct
import zlib

from fflib import sysns  # labtest has made it known

UDP_PORT = 4791
ENCAP = 22  # VXLAN and Ethernet
BTH = 12
IPV4, IPV6 = 0x0800, 0x86dd
_MAC = bytes.fromhex("020000000002" "020000000001")


def icrc(packet):
    """Of an IP packet without its iCRC: the four bytes that belong behind it. Annex 17."""
    data = bytearray(packet)
    if data[0] >> 4 == 4:
        udp = (data[0] & 15) * 4
        data[1] = data[8] = data[10] = data[11] = 0xff
    else:
        udp = 40
        data[0] |= 15
        data[1:4] = b"\xff\xff\xff"
        data[7] = 0xff
    for at in (udp + 6, udp + 7, udp + 12):
        if at < len(data):
            data[at] = 0xff
    return struct.pack("<I", zlib.crc32(b"\xff" * 8 + data))


def bth(opcode, qpn, psn, *, pad=0, pkey=0xffff, version=0, ack_req=False, solicited=False):
    return struct.pack("!BBHII", opcode, solicited << 7 | 1 << 6 | pad << 4 | version, pkey, qpn,
                       ack_req << 31 | psn & 0xffffff)


def reth(address, rkey, length):
    return struct.pack("!QII", address, rkey, length)


def atomic_eth(address, rkey, swap_add, compare):
    return struct.pack("!QIQQ", address, rkey, swap_add, compare)


def deth(qkey, source_qpn):
    return struct.pack("!II", qkey, source_qpn)


def aeth(syndrome, msn):
    return struct.pack("!I", syndrome << 24 | msn)


def udp(payload, *, dport=UDP_PORT, length=None):
    """With room for the iCRC in its length."""
    return struct.pack("!HHHH", 0xc000, dport, len(payload) + 12 if length is None else length,
                       0) + payload


def _ip4(source, destination, payload, *, protocol=17, fragment=0x4000, options=b"", tos=0,
         total=None):
    size = 20 + len(options)
    total = size + len(payload) + 4 if total is None else total
    return struct.pack("!BBHHHBBH4s4s", 0x40 | size // 4, tos, total, 0, fragment, 64, protocol, 0,
                       source.packed, destination.packed) + options + payload


def _ip6(source, destination, payload, *, protocol=17, tos=0, total=None):
    total = len(payload) + 4 if total is None else total
    return struct.pack("!IHBB16s16s", 6 << 28 | tos << 20, total, protocol, 64, source.packed,
                       destination.packed) + payload


def packet(source, destination, payload, **more):
    """An IP packet around UDP, with its iCRC; more: what is unusual in its header."""
    source, destination = map(ipaddress.ip_address, (source, destination))
    made = (_ip4 if source.version == 4 else _ip6)(source, destination, payload, **more)
    return made + icrc(made)


def vxlan(vni, inner, *, flags=8, ethertype=None):
    """A datagram's payload."""
    if ethertype is None:
        ethertype = IPV6 if inner and inner[0] >> 4 == 6 else IPV4
    return struct.pack("!BxxxI", flags, vni << 8) + _MAC + struct.pack("!H", ethertype) + inner


def socket_in(netns, *args):
    """A socket of the network namespace at that path."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # It stays in the namespace in which it was made.
        sysns.setns_path(netns, sysns.CLONE_NEWNET)
        return socket.socket(*args)
    finally:
        sysns.setns(home)
        os.close(home)


def pcap_write(path, frames):
    """Ethernet frames as a capture file."""
    with open(path, "wb") as file:
        file.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
        for frame in frames:
            file.write(struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame)


def inner_of(frame):
    """The inner IP packet of an IPv4 frame with VXLAN, without Ethernet's padding."""
    at = 14 + (frame[14] & 15) * 4 + 8 + ENCAP
    first = frame[at]
    size = struct.unpack_from("!H", frame, at + 2)[0] if first >> 4 == 4 \
        else 40 + struct.unpack_from("!H", frame, at + 4)[0]
    return frame[at:at + size]


def bth_of(inner):
    """From the BTH to the end of the payload."""
    return inner[(20 if inner[0] >> 4 == 4 else 40) + 8:-4]
