# SPDX-License-Identifier: MIT
"""
What a stranger on the underlay may send to a router's port, sorted by the reason for which it must
be refused. A case is (name, datagrams, reason).
"""

import ipaddress
import random
import struct

import roce

KNOWN = {*range(0x15), 0x16, 0x17, *range(0x20, 0x2c), 0x64, 0x65, 0x81}
SEND_ONLY, SEND_FIRST, SEND_MIDDLE, SEND_LAST = 0x04, 0x00, 0x01, 0x02
WRITE_ONLY, WRITE_FIRST, WRITE_MIDDLE, WRITE_LAST = 0x0a, 0x06, 0x07, 0x08
READ, ACK, ATOMIC_ACK, FETCH_ADD = 0x0c, 0x11, 0x12, 0x14
UC, UD_SEND = 0x20, 0x64
MTU = 1024
QKEY = 0x1234
# Bytes of the extended headers, by what an opcode says in the tables of IBTA vol. 1, 9.2 and 9.3.
_IMM, _RETH, _AETH, _ATOMIC, _ATOMIC_ACK, _IETH, _DETH, _CNP = 4, 16, 4, 28, 8, 4, 8, 16
EXTENDED = {0x03: _IMM, 0x05: _IMM, 0x06: _RETH, 0x09: _IMM, 0x0a: _RETH, 0x0b: _RETH + _IMM,
            0x0c: _RETH, 0x0d: _AETH, 0x0f: _AETH, 0x10: _AETH, 0x11: _AETH,
            0x12: _AETH + _ATOMIC_ACK, 0x13: _ATOMIC, 0x14: _ATOMIC, 0x16: _IETH, 0x17: _IETH,
            0x23: _IMM, 0x25: _IMM, 0x26: _RETH, 0x29: _IMM, 0x2a: _RETH, 0x2b: _RETH + _IMM,
            0x64: _DETH, 0x65: _DETH + _IMM, 0x81: _CNP}


class Target:
    """What the stranger knows, which is all: addresses, VNI, QPNs, PSNs, keys of a link."""

    def __init__(self, vni, source, destination, memory, links):
        self.vni, self.source, self.destination = vni, source, destination
        self.address, self.rkey, self.length = memory
        self.links = links

    def link(self, kind):
        return next(link for link in self.links if link["kind"] == kind)

    def inner(self, payload, source=None, destination=None, *, udp=None, **more):
        """A whole packet around BTH and payload; what is given differs from the right one."""
        return roce.packet(source or self.source, destination or self.destination,
                           roce.udp(payload, **(udp or {})), **more)

    def wrap(self, inner, **more):
        return roce.vxlan(more.pop("vni", self.vni), inner, **more)

    def datagram(self, payload, *args, **more):
        return self.wrap(self.inner(payload, *args, **more))

    def send(self, link, offset=0, data=b"stranger", opcode=SEND_ONLY, **more):
        """BTH and payload of a SEND to a link, at an offset from the PSN that it waits for."""
        extra = roce.deth(QKEY, link["peer"]) if link["kind"] == "ud" else b""
        if link["kind"] != "rc" and opcode == SEND_ONLY:
            opcode = UD_SEND if link["kind"] == "ud" else UC + SEND_ONLY
        pad = -len(data) % 4
        return roce.bth(opcode, link["qpn"], link["psn"] + offset, pad=pad, **more) + extra \
            + data + bytes(pad)

    def write(self, link, address=None, rkey=None, length=None, data=bytes(64), offset=0):
        opcode = WRITE_ONLY + (UC if link["kind"] == "uc" else 0)
        return roce.bth(opcode, link["qpn"], link["psn"] + offset) + roce.reth(
            self.address if address is None else address, self.rkey if rkey is None else rkey,
            len(data) if length is None else length) + data


def _remade(inner, at, value):
    """The packet with other bytes there, and an iCRC that fits."""
    made = inner[:at] + value + inner[at + len(value):-4]
    return made + roce.icrc(made)


def encapsulation(t):
    whole = t.datagram(t.send(t.link("rc")))
    yield "no VXLAN header, or one alone", [whole[:n] for n in range(42)]
    yield "the inner packet cut at each length", [whole[:n] for n in range(42, len(whole))]
    inner = whole[roce.ENCAP:]
    yield "no VNI flag", [t.wrap(inner, flags=flags) for flags in (0, 1, 0x80, 0xf7)]
    yield "other Ethernet types", [
        t.wrap(inner, ethertype=kind)
        for kind in (0, 46, 0x0806, 0x8100, 0x88a8, 0x8847, 0x8915, 0x86dd, 0xffff)]
    yield "IP of another version", [t.wrap(bytes([first]) + inner[1:], ethertype=roce.IPV4)
                                    for first in (0x05, 0x15, 0x55, 0x60, 0x65, 0xf5)]
    yield "an IP length that cannot be", [t.wrap(inner[:2] + struct.pack("!H", n) + inner[4:])
                                          for n in (*range(20), len(inner) + 1, 0xffff)]


def headers(t):
    payload = t.send(t.link("rc"))
    yield "IP options", [t.datagram(payload, options=b"\x01" * n) for n in range(4, 44, 4)]
    yield "an IP header that is too short", [
        t.wrap(bytes([0x40 | n]) + t.inner(payload)[1:]) for n in range(5)]
    yield "inner fragments", [t.datagram(payload, fragment=f)
                              for f in (0x2000, 0x2001, 1, 0x1fff, 0x6000, 0x4001)]
    yield "not UDP", [t.datagram(payload, protocol=p) for p in (0, 1, 2, 6, 47, 132, 255)]
    yield "other UDP ports", [t.datagram(payload, udp={"dport": p})
                              for p in (0, 1, 4790, 4792, 4789, 47910, 65535)]
    right = len(payload) + 12
    yield "wrong UDP lengths", [t.datagram(payload, udp={"length": n})
                                for n in (0, 7, 8, right - 4, right - 1, right + 1, 65535)]
    yield "an IP length that is too small", [t.datagram(payload, total=n)
                                             for n in range(20, 20 + right)]
    yield "no room for a BTH", [t.datagram(payload[:n]) for n in range(roce.BTH)]
    six = {"source": "fd32::3", "destination": "fd32::1"}
    yield "IPv6 with an extension header", [t.datagram(payload, protocol=p, **six)
                                            for p in (0, 43, 44, 50, 51, 58, 59, 60)]
    yield "IPv6 with a wrong length", [t.datagram(payload, total=n, **six) for n in range(right)]


def checksum(t):
    inner = t.inner(t.send(t.link("rc")))
    # All that it covers but IP length, addresses' family, protocol and UDP's own fields, which are
    # looked at before; byte 32 is masked.
    places = [4, 5, *range(12, 22), *range(28, 32), *range(33, len(inner))]
    yield "one bit that is wrong", [
        t.wrap(inner[:n] + bytes([inner[n] ^ 1 << n % 8]) + inner[n + 1:]) for n in places]
    yield "another iCRC", [t.wrap(inner[:-4] + crc)
                           for crc in (bytes(4), b"\xff" * 4, inner[:-5:-1])]


def transport(t):
    link = t.link("rc")
    yield "other BTH versions", [t.datagram(t.send(link, version=v)) for v in range(1, 16)]
    yield "opcodes that are none", [
        t.datagram(roce.bth(code, link["qpn"], link["psn"]) + bytes(64))
        for code in range(256) if code not in KNOWN]
    short = []
    for code, size in EXTENDED.items():
        head = roce.bth(code, link["qpn"], link["psn"])
        # The iCRC must be where it is; a length that is no multiple of 4 is one of its own.
        short += [t.datagram(head + bytes(n)) for n in range(size)]
    yield "extended headers cut at each length", short
    yield "more pad than payload", [
        t.datagram(roce.bth(SEND_ONLY, link["qpn"], link["psn"], pad=pad) + bytes(have))
        for pad in (1, 2, 3) for have in range(0, pad)]
    yield "a payload where there is none", [
        t.datagram(roce.bth(code, link["qpn"], link["psn"]) + bytes(EXTENDED[code] + 4))
        for code in (READ, ACK, ATOMIC_ACK, FETCH_ADD)]
    yield "a payload that is longer than any path MTU", [
        t.datagram(t.send(link, data=bytes(n))) for n in (4100, 9000, 65000)]


def no_qp(t, taken):
    dice = random.Random(1)
    numbers = {0, 1, 2, 0xffffff, 0x800000, *(dice.randrange(1 << 24) for _ in range(200))}
    for link in t.links:
        numbers |= {link["qpn"] ^ 1 << bit for bit in range(24)}
    yield "QPN sweep", [t.datagram(roce.bth(SEND_ONLY, qpn, 0) + b"stranger")
                        for qpn in sorted(numbers - taken)]


def tenant(t):
    vnis = (0, 1, t.vni - 1, t.vni + 1, t.vni ^ 0x800000, 0xffffff)
    for kind in ("rc", "uc", "ud"):
        yield f"{kind}, other VNIs", [
            t.wrap(t.inner(t.send(t.link(kind))), vni=vni) for vni in vnis]


def address(t):
    other = str(ipaddress.ip_address(t.destination) + 1)
    nobody = ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.2.3"]
    nobody6 = ["::1", "::", "ff02::1", "::ffff:" + t.source]
    for kind in ("rc", "uc"):
        payload = t.send(t.link(kind))
        yield f"{kind}, other sources", [t.datagram(payload, source=s) for s in
                                         ("10.32.0.99", "192.168.1.1", other, t.destination,
                                          *nobody)]
        yield f"{kind}, mapped addresses in IPv6", [
            t.datagram(payload, "::ffff:" + t.source, "::ffff:" + t.destination)]
    for kind in ("rc", "uc", "ud"):
        payload = t.send(t.link(kind))
        yield f"{kind}, other destinations", [t.datagram(payload, destination=d) for d in
                                              (other, "10.32.0.99", t.source, *nobody)]
        # UD is for all who know its Q_Key.
        if kind != "ud":
            yield f"{kind}, PSN sweep from elsewhere", [
                t.datagram(t.send(t.link(kind), offset), source="10.32.0.99")
                for offset in range(-200, 200)]
    payload = t.send(t.link("ud"))
    yield "ud, sources that nobody has", [t.datagram(payload, source=s) for s in nobody]
    yield "ud, sources that nobody has, IPv6", [
        t.datagram(payload, s, "fd32::1") for s in nobody6]


def unfit(t):
    """From the right source to the right QP, which cannot take it: its counter rx_bad."""
    for kind, base in (("rc", 0x00), ("uc", 0x20), ("ud", 0x60)):
        link = t.link(kind)
        codes = sorted(code for code in KNOWN if code & 0xe0 != base and code != 0x81
                       and not (kind == "rc" and code in (0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12)))
        yield f"{kind}, opcodes of others", [
            t.datagram(roce.bth(code, link["qpn"], link["psn"]) + bytes(EXTENDED.get(code, 0)))
            for code in codes]
        yield f"{kind}, other partitions", [t.datagram(t.send(link, pkey=pkey))
                                            for pkey in (0, 1, 0x7ffe, 0x8000, 0x8001, 0xfffe)]
    link = t.link("ud")
    send = t.send(link)[:roce.BTH]
    yield "ud, other Q_Keys", [t.datagram(send + roce.deth(key, link["peer"]) + bytes(8))
                               for key in (0, 1, QKEY ^ 1, 0x80010000, 0xffffffff)]
    yield "ud, longer than the path MTU", [t.datagram(t.send(link, data=bytes(n)))
                                           for n in (MTU + 4, 1400, 4096)]
    link = t.link("uc")
    yield "uc, longer than the path MTU", [t.datagram(t.send(link, data=bytes(MTU + 4)))]
    yield "uc, a middle and an end without a beginning", [
        t.datagram(t.send(link, data=bytes(MTU), opcode=UC + code))
        for code in (SEND_MIDDLE, SEND_LAST, WRITE_MIDDLE, WRITE_LAST)]
    yield "uc, WRITE without right", [
        t.datagram(t.write(link, rkey=t.rkey ^ 0x100)),
        t.datagram(t.write(link, address=t.address - 64)),
        t.datagram(t.write(link, address=t.address + t.length - 63)),
        t.datagram(t.write(link, address=(1 << 64) - 32)),
        t.datagram(t.write(link, length=63)), t.datagram(t.write(link, length=0xffffffff))]


def sequence(t):
    """PSN sweep from the right source, but for the one that would be right."""
    link = t.link("rc")
    far = [1 << n for n in range(6, 23)]
    yield "rc, PSNs to come", [t.datagram(t.send(link, n)) for n in (*range(1, 60), *far)], \
        "ahead_of_sequence"
    yield "rc, PSNs that are over", [
        t.datagram(t.send(link, -n)) for n in (*range(1, 60), *far, 1 << 23)], "duplicates"
    answers = [roce.bth(code, link["qpn"], link["psn"] + n) + roce.aeth(syndrome, 1)
               + bytes(EXTENDED[code] - 4) for n in (-1, 0, 1, 1 << 20) for code in
               (0x0d, 0x0f, 0x10, ACK, ATOMIC_ACK) for syndrome in (0x1f, 0x20, 0x60, 0x62, 0xff)]
    yield "rc, answers to nothing", [t.datagram(answer) for answer in answers], "duplicates"


def deadly(t):
    """
    One packet each that plain RoCE permits to a stranger who knows everything: the request is
    refused, which ends the QP. Nothing is read or written.
    """
    high = (1 << 64) - 32
    requests = {
        "WRITE, another rkey": lambda l: t.write(l, rkey=t.rkey ^ 0x100),
        "WRITE, before the memory": lambda l: t.write(l, address=t.address - 1),
        "WRITE, behind the memory": lambda l: t.write(l, address=t.address + t.length - 63),
        "WRITE, around the end of all": lambda l: t.write(l, address=high),
        "WRITE, longer than it says": lambda l: t.write(l, length=63),
        "WRITE, 4 GiB": lambda l: t.write(l, length=0xffffffff),
        "READ, another rkey": lambda l: roce.bth(READ, l["qpn"], l["psn"])
                              + roce.reth(t.address, t.rkey ^ 0x100, 64),
        "READ, more than there is": lambda l: roce.bth(READ, l["qpn"], l["psn"])
                                    + roce.reth(t.address, t.rkey, t.length + 1),
        "atomic, unaligned": lambda l: roce.bth(FETCH_ADD, l["qpn"], l["psn"])
                             + roce.atomic_eth(t.address + 4, t.rkey, 1, 0),
        "SEND, longer than the path MTU": lambda l: t.send(l, data=bytes(MTU + 4)),
        "SEND, an end without a beginning": lambda l: t.send(l, opcode=SEND_LAST),
    }
    links = [link for link in t.links if link["kind"] == "rc"]
    for (name, request), link in zip(requests.items(), links[1:]):
        yield name, link, t.datagram(request(link))


def garbage(t, count, seed):
    """Random bytes, and valid packets from elsewhere with random bytes in them."""
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        if dice.random() < 0.3:
            made.append(dice.randbytes(dice.randrange(1400)))
            continue
        # Also what gets the right source by chance is too late.
        link = dice.choice([link for link in t.links if link["kind"] == "rc"])
        data = bytearray(t.datagram(t.send(link, -5), source="10.32.0.99"))
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        # Mostly right where it is checked first, so that more of it is looked at.
        inner = bytes(data[roce.ENCAP:-4])
        made.append(bytes(data[:-4]) + (roce.icrc(inner) if dice.random() < 0.7 else bytes(4)))
    return made
