# SPDX-License-Identifier: MIT
"""What an interface does for the kernel (the ioctls of linux/ethtool.h): segmentation."""

import ctypes
import fcntl
import re
import socket
import struct

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _SFEATURES = 0x1b, 0x37, 0x3b
_SS_FEATURES = 4
_STRING = 32
# Not tx-generic-segmentation: that is the kernel's own way, and the one that is left.
_SEGMENTATION = re.compile(rb"tx-(?!generic-).*segmentation$|tx-gso-list$")
_BATCHES = re.compile(rb"tx-.*segmentation$|tx-gso-list$|rx-gro$")


def _ioctl(sock, interface, head, room=0):
    """One command of the ethtool ioctl; head: its structure up to what it fills in."""
    data = ctypes.create_string_buffer(head, len(head) + room)
    request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(data))
    fcntl.ioctl(sock, _SIOCETHTOOL, request)
    return data.raw


def _feature_names(sock, interface):
    answer = _ioctl(sock, interface, struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _SS_FEATURES), 4)
    count = struct.unpack_from("=I", answer, 16)[0]
    answer = _ioctl(sock, interface, struct.pack("=III", _GSTRINGS, _SS_FEATURES, count),
                    count * _STRING)
    return [answer[at:at + _STRING].split(b"\0")[0]
            for at in range(12, 12 + count * _STRING, _STRING)]


def segmentation_off(interface):
    """
    The kernel hands the interface single frames from now on. Checksums are left to it as before:
    without that, kernels before 6.11 refuse UDP_SEGMENT.
    """
    _set(interface, _SEGMENTATION, False)


def batches(interface, on):
    """What `ethtool -K INTERFACE tso gso gro on|off` sets: frames in batches, or one by one."""
    _set(interface, _BATCHES, on)


def _set(interface, which, on):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        names = _feature_names(sock, interface)
        words = [0] * ((len(names) + 31) // 32)
        for index, name in enumerate(names):
            if which.match(name):
                words[index // 32] |= 1 << index % 32
        # Of each word: which bits are meant, and what they become.
        _ioctl(sock, interface, struct.pack("=II", _SFEATURES, len(words))
               + b"".join(struct.pack("=II", word, word if on else 0) for word in words))
