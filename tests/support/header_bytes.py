"""Headers made by hand, byte by byte, and what the decoder makes of a few frames: for the tests of analysis.decode."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address

import numpy as np

from analysis import layers
from analysis.columns import KINDS, Batch, Records, address_text
from analysis.decode.frames import Decoder

A4, B4 = "192.0.2.1", "198.51.100.2"
A6, B6 = "2001:db8::1", "2001:db8::2"


def eth(payload: bytes, kind: int = 0x0800) -> bytes:
    """Ethernet from 02:00:00:00:00:01 to 02:00:00:00:00:02."""
    return bytes.fromhex("020000000002 020000000001") + kind.to_bytes(2, "big") + payload


def dot3(payload: bytes) -> bytes:
    """Ethernet with a length in place of the type."""
    return eth(payload, len(payload))


def ip4(payload: bytes, protocol: int, *, place: int = 0, options: bytes = b"", id: int = 7, ttl: int = 64) -> bytes:
    """IPv4 from A4 to B4 with a right checksum; `place` is the word of flags and fragment offset."""
    size = 20 + len(options)
    head = bytearray(struct.pack(">BBHHHBBH", 0x40 | size // 4, 0, size + len(payload), id, place, ttl, protocol, 0))
    head += ip_address(A4).packed + ip_address(B4).packed + options
    total = sum(struct.unpack(f">{size // 2}H", bytes(head)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (0xFFFF - total).to_bytes(2, "big")
    return bytes(head) + payload


def ip6(payload: bytes, following: int, hops: int = 64) -> bytes:
    """IPv6 from A6 to B6."""
    head = struct.pack(">IHBB", 0x60000000, len(payload), following, hops)
    return head + ip_address(A6).packed + ip_address(B6).packed + payload


def tcp(
    payload: bytes = b"", options: bytes = b"", flags: int = 0x18, source: int = 1025, destination: int = 80
) -> bytes:
    """A TCP segment: sequence 1000, acknowledgement 2000, window 512."""
    size = 20 + len(options)
    return (
        struct.pack(">HHIIBBHHH", source, destination, 1000, 2000, size // 4 << 4, flags, 512, 0, 0) + options + payload
    )


def udp(payload: bytes = b"", source: int = 1025, destination: int = 53) -> bytes:
    """A UDP datagram."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def records(frames: Sequence[bytes], link: int | Sequence[int] = 1, wire: Sequence[int] | None = None) -> Records:
    """Frames as a reader hands them on; `wire` are their lengths on the wire where the capture cut them."""
    sizes = np.array([len(f) for f in frames], dtype=np.int32)
    n = len(frames)
    return Records(
        data=np.frombuffer(b"".join(frames), dtype=np.uint8),
        start=np.concatenate(([0], np.cumsum(sizes[:-1], dtype=np.int64))).astype(np.int64)[:n],
        cap_len=sizes,
        frame_len=np.array(wire if wire is not None else sizes, dtype=np.int64),
        time_ns=np.arange(n, dtype=np.int64),
        interface=np.zeros(n, dtype=np.int32),
        link_type=np.full(n, link, dtype=np.int32) if isinstance(link, int) else np.array(link, dtype=np.int32),
        fault=np.zeros(n, dtype=np.int32),
        number=np.arange(1, n + 1, dtype=np.int64),
    )


def decode(*frames: bytes, link: int = 1, wire: Sequence[int] | None = None) -> Batch:
    """What one decoder makes of the frames as one chunk."""
    return Decoder().update(records(frames, link, wire))


def shown(batch: Batch, i: int = 0) -> str:
    """Layers of packet i with their own bytes, `eth:14 ip:20`; direct repeats as `mpls:8x2`."""
    p = batch.packets
    out = []
    for k in range(p.n_layers[i]):
        times = int(p.layer_pdus[i, k])
        out.append(f"{layers.NAMES[p.layers[i, k]]}:{p.layer_bytes[i, k]}" + (f"x{times}" if times > 1 else ""))
    return " ".join(out)


def tapped(batch: Batch, i: int = 0) -> list[str]:
    """Taps of packet i: `udp 192.0.2.1 1025 > 198.51.100.2 53`."""
    t, first = batch.taps, int(batch.packets.first_tap[i])
    out = []
    for k in range(first, first + int(batch.packets.n_taps[i])):
        family = int(t.ip_family[k])
        source = address_text(family, int(t.src_hi[k]), int(t.src_lo[k]))
        destination = address_text(family, int(t.dst_hi[k]), int(t.dst_lo[k]))
        out.append(f"{KINDS[t.kind[k]]} {source} {t.src_port[k]} > {destination} {t.dst_port[k]}")
    return out
