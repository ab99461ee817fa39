"""Facts of the link and of ICMP: ARP packets, router advertisements, echo requests with data.

In: decoded batches. Out: `Arp`, `RouterAdvert` and `Echo` rows (RFC 826, RFC 4861 4.2, RFC 792). Selected by columns,
read row by row; a flood is bounded by the limits of `Facts` and by reading no more than the first rows of a kind.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from analysis import layers
from analysis.columns import Array, Batch, address_text
from analysis.facts import LIMIT, Arp, Echo, Facts, RouterAdvert
from analysis.protocols.dns import ipv6_text
from analysis.protocols.names import Names

ARP_BYTES = 28  # Ethernet and IPv4 addresses
ECHO_SAMPLE = 64
ECHO_READ = 4096  # bytes of an echo whose digest and entropy are taken; a ping carries 56
_ROUTER_ADVERT, _ECHO_REQUEST6, _ECHO_REPLY6, _ECHO_REQUEST, _ECHO_REPLY = 134, 128, 129, 8, 0


class LinkFacts:
    """Feed it batches in file order."""

    def __init__(self, facts: Facts, names: Names) -> None:
        self._facts = facts
        self._names = names

    def update(self, batch: Batch) -> None:
        """Collect the facts of one batch."""
        packets = batch.packets
        last = packets.layers[np.arange(len(packets.number)), np.maximum(packets.n_layers.astype(np.int64) - 1, 0)]
        self._arp(batch, np.flatnonzero(last == layers.ARP))
        kind = packets.icmp_type
        if (kind >= 0).any():
            six = packets.ip_protocol == 58
            request = np.where(six, _ECHO_REQUEST6, _ECHO_REQUEST)
            reply = np.where(six, _ECHO_REPLY6, _ECHO_REPLY)
            echo = ((kind == request) | (kind == reply)) & (packets.payload_len > 0)
            self._echo(batch, np.flatnonzero(echo))
            self._adverts(batch, np.flatnonzero(six & (kind == _ROUTER_ADVERT)))

    def _room(self, kind: str, rows: Array) -> list[int]:
        """The rows that still fit; the others are counted as dropped."""
        have = len(getattr(self._facts, kind))
        fit: list[int] = rows[: max(0, LIMIT - have)].tolist()
        if len(rows) > len(fit):
            self._facts.dropped[kind] += len(rows) - len(fit)
        return fit

    def _arp(self, batch: Batch, rows: Array) -> None:
        packets, data = batch.packets, batch.data
        rows = np.array(self._room("arp", rows), np.int64)
        if not len(rows):
            return
        start = packets.start[rows]
        body = start + before_last_layer(batch, rows)
        fits = body + ARP_BYTES <= start + packets.cap_len[rows]
        rows, start, body = rows[fits], start[fits], body[fits]
        bodies = data[body[:, None] + np.arange(ARP_BYTES)].tobytes()
        ethernet = ((packets.link_type[rows] == 1) & (packets.cap_len[rows] >= 14)).tolist()
        heads = data[np.minimum(start[:, None] + np.arange(12), len(data) - 1)].tobytes()
        numbers, times = packets.number[rows].tolist(), packets.time_ns[rows].tolist()
        append = self._facts.arp.append
        for index, number in enumerate(numbers):
            arp = bodies[index * ARP_BYTES : (index + 1) * ARP_BYTES]
            if arp[4] != 6 or arp[5] != 4:
                continue
            head = heads[index * 12 : index * 12 + 12] if ethernet[index] else b""
            append(
                Arp(
                    number,
                    times[index],
                    arp[6] << 8 | arp[7],
                    arp[8:14].hex(":"),
                    f"{arp[14]}.{arp[15]}.{arp[16]}.{arp[17]}",
                    arp[18:24].hex(":"),
                    f"{arp[24]}.{arp[25]}.{arp[26]}.{arp[27]}",
                    head[6:12].hex(":"),
                    head[0:6].hex(":"),
                )
            )

    def _echo(self, batch: Batch, rows: Array) -> None:
        packets = batch.packets
        for row in self._room("echo", rows):
            start = int(packets.transport_start[row])
            body = int(packets.payload_start[row])
            if start < 0 or body < 0:
                continue
            data = bytes(batch.data[body : body + min(int(packets.payload_cap[row]), ECHO_READ)])
            sequence = bytes(batch.data[start + 6 : start + 8])
            self._facts.echo.append(
                Echo(
                    int(packets.number[row]),
                    int(packets.time_ns[row]),
                    int(packets.flow[row]),
                    int(packets.icmp_type[row]) in (_ECHO_REQUEST, _ECHO_REQUEST6),
                    int.from_bytes(sequence, "big"),
                    int(packets.payload_len[row]),
                    zlib.crc32(data),
                    round(entropy(data), 3),
                    data[:ECHO_SAMPLE],
                )
            )

    def _adverts(self, batch: Batch, rows: Array) -> None:
        packets, taps = batch.packets, batch.taps
        for row in self._room("router_advert", rows):
            start = int(packets.transport_start[row])
            if start < 0:
                continue
            end = min(int(packets.start[row]) + int(packets.cap_len[row]), start + 1500)
            advert = bytes(batch.data[start:end])
            if len(advert) < 16:
                continue
            mac, prefixes = _advert_options(advert)
            tap = int(packets.ip_tap[row])
            source = address_text(6, int(taps.src_hi[tap]), int(taps.src_lo[tap])) if tap >= 0 else ""
            self._facts.router_advert.append(
                RouterAdvert(
                    int(packets.number[row]),
                    int(packets.time_ns[row]),
                    source,
                    mac,
                    int.from_bytes(advert[6:8], "big"),
                    prefixes,
                )
            )


_ETHERNET_HEADER = 14


def before_last_layer(batch: Batch, rows: Array) -> Array:
    """int64[n]: header bytes before the last layer. An Ethernet layer's own bytes count padding; its header is 14."""
    packets = batch.packets
    sizes = packets.layer_bytes[rows].astype(np.int64)
    sizes[packets.layers[rows] == layers.ETH] = _ETHERNET_HEADER
    behind = np.arange(sizes.shape[1]) >= packets.n_layers[rows].astype(np.int64)[:, None] - 1
    sizes[behind] = 0
    return np.asarray(sizes.sum(axis=1))


def _advert_options(advert: bytes) -> tuple[str, tuple[str, ...]]:
    """(source link-layer address, prefixes) of a router advertisement's options (RFC 4861 4.6)."""
    mac, at = "", 16
    prefixes: list[str] = []
    while at + 8 <= len(advert) and len(prefixes) < 32:
        kind, size = advert[at], advert[at + 1] * 8
        if size == 0 or at + size > len(advert):
            break
        if kind == 1:
            mac = advert[at + 2 : at + 8].hex(":")
        elif kind == 3 and size >= 32:
            prefixes.append(f"{ipv6_text(advert[at + 16 : at + 32])}/{advert[at + 2]}")
        at += size
    return mac, tuple(prefixes)


def entropy(data: bytes) -> float:
    """Shannon entropy in bits per byte; 0 for no bytes."""
    if not data:
        return 0.0
    counts = np.bincount(np.frombuffer(data, np.uint8))
    shares = counts[counts > 0] / len(data)
    return max(0.0, float(-(shares * np.log2(shares)).sum())) if len(shares) > 1 else math.fabs(0.0)
