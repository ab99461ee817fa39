"""Builders of capture files for tests: pcap and pcapng bytes from packets, any byte order and clock.

A second, separate account of both formats: nothing of the readers is used here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple


class Packet(NamedTuple):
    """One packet to write: `wire` is its length on the wire where it was cut."""

    time_ns: int
    data: bytes
    wire: int | None = None


def pcap(
    packets: Iterable[Packet],
    *,
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    link: int = 1,
    version: tuple[int, int] = (2, 4),
) -> bytes:
    """A pcap file; `magic` decides about nanoseconds and the longer records of the modified format."""
    unit = 1 if magic == 0xA1B23C4D else 1000
    out = bytearray(struct.pack(order + "IHHiIII", magic, *version, 0, 0, 65535, link))
    if magic in (0x1C0001AC, 0x1C0001AB):
        out += bytes(4)
    for time_ns, data, wire in packets:
        lengths = [len(data), len(data) if wire is None else wire]
        if version < (2, 3):
            lengths.reverse()
        out += struct.pack(order + "IIII", time_ns // 10**9, time_ns % 10**9 // unit, *lengths)
        out += bytes(8) if magic == 0xA1B2CD34 else b""
        out += data
    return bytes(out)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """One pcapng option, padded to 32 bits."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """One pcapng block around a body, padded to 32 bits."""
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(options: bytes = b"", order: str = "<") -> bytes:
    """A section header block."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def interface(link: int = 1, snaplen: int = 0, options: bytes = b"", order: str = "<") -> bytes:
    """An interface description block."""
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def enhanced(
    ticks: int, data: bytes, *, wire: int | None = None, number: int = 0, options: bytes = b"", order: str = "<"
) -> bytes:
    """An enhanced packet block."""
    wire = len(data) if wire is None else wire
    body = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire)
    return block(6, body + data + bytes(-len(data) % 4) + options, order)


def simple(data: bytes, wire: int | None = None, order: str = "<") -> bytes:
    """A simple packet block."""
    return block(3, struct.pack(order + "I", len(data) if wire is None else wire) + data, order)


def obsolete(ticks: int, data: bytes, number: int = 0, order: str = "<") -> bytes:
    """A packet block of the first drafts (type 2)."""
    body = struct.pack(order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, body + data, order)


def pcapng(packets: Iterable[Packet], *, order: str = "<", resolution: int = 9, link: int = 1) -> bytes:
    """A pcapng file of one section and interface; `resolution` as in if_tsresol (10 ** -n, or 2 ** -n with 0x80)."""
    units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    out = section(order=order) + interface(link, 0, option(9, bytes([resolution]), order), order)
    for time_ns, data, wire in packets:
        out += enhanced(time_ns * units // 10**9, data, wire=wire, order=order)
    return out
