"""Facts of the link and of ICMP: ARP packets, router advertisements, echo requests with data.

In: decoded batches. Out: `Arp`, `RouterAdvert` and `Echo` rows (RFC 826, RFC 4861 4.2, RFC 792). Selected by columns,
read row by row; a flood is bounded by the limits of `Facts` and by reading no more than the first rows of a kind.
"""

from __future__ import annotations

import zlib

import numpy as np

from analysis import layers
from analysis.columns import Array, Batch, Packets, address_text
from analysis.facts import LIMIT, Arp, Echo, Facts, RouterAdvert
from analysis.protocols.dns import ipv6_text
from analysis.protocols.names import Names

ARP_BYTES = 28  # Ethernet and IPv4 addresses
ECHO_SAMPLE = 64
ECHO_READ = 4096  # bytes of an echo whose digest and entropy are taken; a ping carries 56
_PREFERENCES = (0, 1, 0, -1)  # RFC 4191 2.2: medium, high, reserved (as medium), low
_ROUTER_ADVERT, _ECHO_REQUEST6, _ECHO_REPLY6, _ECHO_REQUEST, _ECHO_REPLY = 134, 128, 129, 8, 0


class LinkFacts:
    """Feed it batches in file order."""

    def __init__(self, facts: Facts, names: Names) -> None:
        self._facts = facts
        self._names = names

    def update(self, batch: Batch) -> None:
        """Collect the facts of one batch."""
        packets = batch.packets
        self._arp(batch, np.flatnonzero(last_layers(packets) == layers.ARP))
        rows = np.flatnonzero(packets.icmp_type >= 0)
        if len(rows):
            kind, six = packets.icmp_type[rows], packets.ip_protocol[rows] == 58
            request = np.where(six, _ECHO_REQUEST6, _ECHO_REQUEST)
            reply = np.where(six, _ECHO_REPLY6, _ECHO_REPLY)
            echo = ((kind == request) | (kind == reply)) & (packets.payload_len[rows] > 0)
            self._echo(batch, rows[echo])
            self._adverts(batch, rows[six & (kind == _ROUTER_ADVERT)])

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
        wanted = (data[body + 4] == 6) & (data[body + 5] == 4)
        rows, start, body = rows[wanted], start[wanted], body[wanted]
        arps = data[body[:, None] + np.arange(ARP_BYTES)].tobytes()
        heads = data[np.minimum(start[:, None] + np.arange(12), len(data) - 1)]
        # One text of all bytes: a MAC is a slice of it, two digits and a colon a byte.
        macs, frame_macs = f"{arps.hex(':')}:", f"{heads.tobytes().hex(':')}:"
        columns = zip(
            range(0, ARP_BYTES * len(rows), ARP_BYTES),
            range(0, 36 * len(rows), 36),
            packets.number[rows].tolist(),
            packets.time_ns[rows].tolist(),
            ((packets.link_type[rows] == 1) & (packets.cap_len[rows] >= 14)).tolist(),
        )
        append = self._facts.arp.append
        for at, head, number, time_ns, ethernet in columns:
            mac = 3 * at
            a, b, c, d = arps[at + 14 : at + 18]
            e, f, g, h = arps[at + 24 : at + 28]
            append(
                Arp(
                    number,
                    time_ns,
                    arps[at + 6] << 8 | arps[at + 7],
                    macs[mac + 24 : mac + 41],
                    f"{a}.{b}.{c}.{d}",
                    macs[mac + 54 : mac + 71],
                    f"{e}.{f}.{g}.{h}",
                    frame_macs[head + 18 : head + 35] if ethernet else "",
                    frame_macs[head : head + 17] if ethernet else "",
                )
            )

    def _echo(self, batch: Batch, rows: Array) -> None:
        packets = batch.packets
        rows = np.array(self._room("echo", rows), np.int64)
        rows = rows[(packets.transport_start[rows] >= 0) & (packets.payload_start[rows] >= 0)]
        if not len(rows):
            return
        buffer = memoryview(batch.data)  # type: ignore[arg-type]  # an array is a buffer
        start, body = packets.transport_start[rows], packets.payload_start[rows]
        size = np.clip(np.minimum(packets.payload_cap[rows], ECHO_READ), 0, len(batch.data) - body)
        kind = packets.icmp_type[rows]
        columns = zip(
            packets.number[rows].tolist(),
            packets.time_ns[rows].tolist(),
            packets.flow[rows].tolist(),
            ((kind == _ECHO_REQUEST) | (kind == _ECHO_REQUEST6)).tolist(),
            start.tolist(),
            body.tolist(),
            size.tolist(),
            packets.payload_len[rows].tolist(),
            entropies(batch.data, body, size).tolist(),
        )
        append = self._facts.echo.append
        for number, time_ns, flow, request, header, at, captured, length, bits in columns:
            data = bytes(buffer[at : at + captured])
            sequence = int.from_bytes(buffer[header + 6 : header + 8], "big")
            digest, sample = zlib.crc32(data), data[:ECHO_SAMPLE]
            append(Echo(number, time_ns, flow, request, sequence, length, digest, round(bits, 3), sample))

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
            frame = int(packets.start[row])
            ethernet = packets.link_type[row] == 1 and packets.cap_len[row] >= _ETHERNET_HEADER
            self._facts.router_advert.append(
                RouterAdvert(
                    int(packets.number[row]),
                    int(packets.time_ns[row]),
                    int(packets.flow[row]),
                    source,
                    mac,
                    bytes(batch.data[frame + 6 : frame + 12]).hex(":") if ethernet else "",
                    _PREFERENCES[advert[5] >> 3 & 3],
                    int.from_bytes(advert[6:8], "big"),
                    prefixes,
                )
            )


_ETHERNET_HEADER = 14


def last_layers(packets: Packets) -> Array:
    """uint16[n]: the last layer of each packet."""
    columns = packets.layers.shape[1]
    at = np.arange(0, len(packets.number) * columns, columns)
    at += np.maximum(packets.n_layers, 1)
    at -= 1
    return np.asarray(packets.layers.reshape(-1).take(at))


def before_last_layer(batch: Batch, rows: Array) -> Array:
    """int64[n]: header bytes before the last layer. An Ethernet layer's own bytes count padding; its header is 14."""
    packets = batch.packets
    count = packets.n_layers[rows].astype(np.int64)
    deepest = int(count.max(initial=0))
    sizes = packets.layer_bytes[rows, :deepest]
    sizes[packets.layers[rows, :deepest] == layers.ETH] = _ETHERNET_HEADER
    sizes[np.arange(deepest) >= count[:, None] - 1] = 0
    return np.asarray(sizes.sum(axis=1, dtype=np.int64))


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


_AT_ONCE = 1 << 18  # bytes counted at once, so that the tables below stay small


def entropies(data: Array, start: Array, size: Array) -> Array:
    """float64[n]: Shannon entropy in bits per byte of data[start : start + size]; 0 where there is no byte."""
    found = np.zeros(len(start))
    ends = np.cumsum(size, dtype=np.int64)
    at = 0
    while at < len(start):
        before = int(ends[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, before + _AT_ONCE)))
        stop = min(stop, at + _AT_ONCE // 256)
        sizes = size[at:stop].astype(np.int64)
        span = np.repeat(np.arange(stop - at), sizes)
        inside = np.arange(len(span)) - np.repeat(ends[at:stop] - before - sizes, sizes)
        octets = data[np.repeat(start[at:stop], sizes) + inside]
        counts = np.bincount(span << 8 | octets, minlength=(stop - at) << 8)
        cells = np.flatnonzero(counts)  # by span and byte value
        shares = counts[cells] / sizes[cells >> 8]
        found[at:stop] = -np.bincount(cells >> 8, shares * np.log2(shares), stop - at)
        at = stop
    return np.maximum(found, 0)  # not -0.0
