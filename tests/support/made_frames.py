"""Frames made by hand for tests of flows, TCP analysis and statistics: Ethernet, IPv4, then TCP, UDP or ICMP.

Checksums are left 0 (Wireshark does not judge them either). `batches` runs frames through the real decoder.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from analysis.columns import Batch, Records

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Made(NamedTuple):
    """One frame and what it says, so that a slow twin need not decode it."""

    data: bytes
    time_ns: int
    source: str = ""
    destination: str = ""
    source_port: int = 0
    destination_port: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = -1  # of TCP; -1: not TCP
    window: int = 0
    length: int = 0
    scale: int = -1


def ethernet(payload: bytes, ethertype: int = 0x0800, source: int = 1, destination: int = 2) -> bytes:
    """An Ethernet frame between two locally administered MACs."""
    return struct.pack(">HIHIH", 0x0200, destination, 0x0200, source, ethertype) + payload


def ipv4(payload: bytes, source: str, destination: str, protocol: int, ttl: int = 64) -> bytes:
    """An IPv4 packet without options."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, ttl, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(destination) + payload


def tcp(
    time_ns: int,
    source: tuple[str, int],
    destination: tuple[str, int],
    flags: int,
    *,
    seq: int = 0,
    ack: int = 0,
    window: int = 1000,
    length: int = 0,
    scale: int = -1,
) -> Made:
    """A TCP segment of `length` bytes in an Ethernet frame."""
    options = bytes((3, 3, scale, 0)) if scale >= 0 else b""
    offset = (5 + len(options) // 4) << 4
    numbers = (source[1], destination[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF)
    head = struct.pack(">HHIIBBHHH", *numbers, offset, flags, window, 0, 0) + options
    data = ethernet(ipv4(head + b"x" * length, source[0], destination[0], 6))
    return Made(data, time_ns, *_ends(source, destination), *numbers[2:], flags, window, length, scale)


def udp(time_ns: int, source: tuple[str, int], destination: tuple[str, int], length: int = 10) -> Made:
    """A UDP datagram in an Ethernet frame."""
    head = struct.pack(">HHHH", source[1], destination[1], 8 + length, 0)
    data = ethernet(ipv4(head + b"\xff" * length, source[0], destination[0], 17))
    return Made(data, time_ns, *_ends(source, destination))


def icmp(time_ns: int, source: str, destination: str, kind: int, code: int, body: bytes) -> Made:
    """An ICMP message; `body` begins with the four bytes behind the checksum."""
    message = struct.pack(">BBH", kind, code, 0) + body
    return Made(ethernet(ipv4(message, source, destination, 1)), time_ns, source, destination)


def _ends(source: tuple[str, int], destination: tuple[str, int]) -> tuple[str, str, int, int]:
    return source[0], destination[0], source[1], destination[1]


def records(frames: Sequence[Made], first_number: int = 1) -> Records:
    """The frames as a reader would yield them."""
    sizes = np.array([len(frame.data) for frame in frames], dtype=np.int64)
    n = len(frames)
    return Records(
        data=np.frombuffer(b"".join(frame.data for frame in frames), dtype=np.uint8),
        start=np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64) if n else np.empty(0, np.int64),
        cap_len=sizes.astype(np.int32),
        frame_len=sizes,
        time_ns=np.array([frame.time_ns for frame in frames], dtype=np.int64),
        interface=np.zeros(n, np.int32),
        link_type=np.ones(n, np.int32),
        fault=np.zeros(n, np.int32),
        number=np.arange(first_number, first_number + n, dtype=np.int64),
    )


def batches(frames: Sequence[Made], chunk: int = 10_000) -> Iterator[Batch]:
    """The frames decoded, `chunk` at a time."""
    from analysis.decode.frames import Decoder

    decoder = Decoder()
    for first in range(0, len(frames), chunk):
        yield decoder.update(records(frames[first : first + chunk], first + 1))
