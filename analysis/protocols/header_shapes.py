"""Headers that no sender needs: overlapping or endless fragments, source routing, packets from a host to itself; tunnels.

In: decoded batches. Out: `Payload` facts with the shapes `fragment-overlap`, `fragment-too-long` (ping of death),
`routing-header-0`, `land` and `urgent-netbios` (WinNuke), at most so many of each; and `tunnel`, one a pair of hosts and
kind, whose flow is the outer IP conversation and whose detail is `kind packets bytes`; and `ip-protocol`, one a protocol
without ports that a host sent to another, whose detail is its number, where they are PROTOCOLS_LEAST or more. Everything is judged in columns;
Python sees only the packets found. It says what was there, never why.
"""

from __future__ import annotations

import ipaddress

import numpy as np

from analysis import layers
from analysis.columns import ETH, FRAGMENT_OVERLAP, UDP, Array, Batch
from analysis.facts import Facts, Payload

MOST = 2_000  # facts of one shape
SHAPES = ("icmp-redirect", "fragment-overlap", "fragment-too-long", "routing-header-0", "land", "urgent-netbios")
PROTOCOLS_LEAST = 5  # protocols without ports between two hosts; routers and tunnels at work use two or three
PROTOCOLS_KEPT = 20_000  # pairs of hosts and protocol that are remembered
IPV6_HEADER, ROUTING, FRAGMENT = 40, 43, 44  # RFC 8200 3, 4.4, 4.5
LONGEST = 65_535  # bytes of an IPv4 packet (RFC 791 3.1)
TUNNELS = ("GRE", "IPv6-in-IPv4", "IP-in-IP", "IPv6-in-IPv6", "Teredo", "VXLAN", "Geneve", "GTP")
CARRIERS = {layers.BY_NAME[name]: 4 + i for i, name in enumerate(("teredo", "vxlan", "geneve", "gtp"))}  # over UDP
REDIRECT, REDIRECT_V6 = 5, 137  # RFC 792, RFC 4861 4.5
SYN, URG = 2, 32
URGENT_PORTS = (113, 135, 137, 138, 139)  # NetBIOS and its neighbours: nothing there is ever urgent


class HeaderShapes:
    """One object per analysis; `update` takes every batch in order."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._left = dict.fromkeys(SHAPES, MOST)
        self._tunnels: dict[tuple[int, int], list[int]] = {}  # (flow, kind) -> number, time, packets, bytes
        self._protocols: dict[tuple[int, bool], dict[int, tuple[int, int]]] = {}  # (flow, from a) -> protocol -> packet
        self._protocols_left = PROTOCOLS_KEPT

    def update(self, batch: Batch) -> None:
        """Look at the headers of one batch."""
        packets = batch.packets
        self._add(batch, np.flatnonzero(packets.fault & FRAGMENT_OVERLAP != 0), "fragment-overlap", "fragments overlap")
        self._add(batch, source_routed(batch), "routing-header-0", "IPv6 routing header of type 0")
        self._add(batch, to_itself(batch), "land", "source and destination are the same address and port")
        self._add(batch, too_long(batch), "fragment-too-long", "a fragment ends behind 65,535 bytes")
        self._add(batch, urgent(batch), "urgent-netbios", "urgent data on a NetBIOS port")
        for protocol, kind in ((1, REDIRECT), (58, REDIRECT_V6)):
            redirect = np.flatnonzero((packets.icmp_type == kind) & (packets.ip_protocol == protocol))
            for row in redirect[: self._left["icmp-redirect"]].tolist():
                self._add(batch, np.array([row]), "icmp-redirect", redirected(batch, row))
        self._count_tunnels(batch)
        self._note_protocols(batch)

    def finish(self) -> None:
        """Report the tunnels with what they carried, and pairs of hosts with many protocols."""
        for (flow, from_a), seen in self._protocols.items():
            if len(seen) >= PROTOCOLS_LEAST:
                for protocol, (number, time_ns) in seen.items():
                    self._facts.add("payload", Payload(number, time_ns, flow, "ip-protocol", str(protocol), from_a))
        self._protocols.clear()
        for (flow, kind), (number, time_ns, packets, size) in self._tunnels.items():
            detail = f"{TUNNELS[kind]} {packets} {size}"
            self._facts.add("payload", Payload(number, time_ns, flow, "tunnel", detail, True))
        self._tunnels.clear()

    def _count_tunnels(self, batch: Batch) -> None:
        """GRE, and IP directly inside IP: per outer IP conversation; tunnels over UDP: per outer UDP conversation."""
        packets, taps = batch.packets, batch.taps
        first = np.clip(packets.first_tap, 0, max(len(taps.kind) - 1, 0)).astype(np.int64)
        framed = taps.kind[first] == ETH if len(taps.kind) else np.zeros(len(first), bool)
        deeper = packets.ip_tap - packets.first_tap - framed >= 1  # the innermost IP layer is not the first
        rows = np.flatnonzero(deeper | (packets.ip_protocol == 47))
        rows = rows[(packets.ip_start[rows] >= 0) & (packets.first_tap[rows] >= 0)]
        if not len(rows):
            return
        stack = packets.layers[rows]
        gre = (stack == layers.GRE).any(axis=1)
        kind = np.where(gre, 0, np.where(_ip_in_ip(stack).any(axis=1), 1, -1))
        for layer, number in CARRIERS.items():
            kind[(stack == layer).any(axis=1)] = number
        rows, kind, stack = rows[kind >= 0], kind[kind >= 0], stack[kind >= 0]
        if not len(rows):
            return
        tap = packets.first_tap[rows].astype(np.int64)
        tap += taps.kind[tap] == ETH
        udp = kind >= 4
        tap[udp] += 1  # the transport above the outer IP
        tap = np.minimum(tap, len(taps.kind) - 1)
        fits = (taps.packet[tap] == rows) & ((kind < 4) | (taps.kind[tap] == UDP))
        rows, kind, stack, tap = rows[fits], kind[fits], stack[fits], tap[fits]
        plain = (kind == 1).nonzero()[0]
        place = _ip_in_ip(stack[plain]).argmax(axis=1)
        six = stack[plain, place + 1] == layers.IPV6
        kind[plain] = np.where((stack[plain, place] == layers.IP) & six, 1, np.where(six, 3, 2))
        for row, flow, one in zip(rows.tolist(), taps.flow[tap].tolist(), kind.tolist()):
            known = self._tunnels.get((flow, one))
            if known is None:
                if flow < 0 or len(self._tunnels) >= MOST:
                    continue
                number, time_ns = int(packets.number[row]), int(packets.time_ns[row])
                known = self._tunnels[flow, one] = [number, time_ns, 0, 0]
            known[2] += 1
            known[3] += int(packets.frame_len[row])

    def _note_protocols(self, batch: Batch) -> None:
        """The first packet of each protocol without ports, by IP conversation and direction."""
        packets = batch.packets
        bare = (packets.transport_tap < 0) & (packets.ip_protocol >= 0) & (packets.fragment == 0) & (packets.flow >= 0)
        rows = np.flatnonzero(bare)
        if not len(rows) or self._protocols_left <= 0:
            return
        key = (packets.flow[rows].astype(np.int64) * 2 + packets.direction[rows]) * 256 + packets.ip_protocol[rows]
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        for code, row in zip(ordered[new].tolist(), rows[order][new].tolist()):
            seen = self._protocols.setdefault((code >> 9, code >> 8 & 1 == 0), {})
            if code & 255 not in seen and self._protocols_left > 0:
                seen[code & 255] = int(packets.number[row]), int(packets.time_ns[row])
                self._protocols_left -= 1

    def _add(self, batch: Batch, rows: Array, shape: str, detail: str) -> None:
        packets = batch.packets
        for row in rows[: self._left[shape]].tolist():
            if packets.flow[row] < 0:
                continue
            self._left[shape] -= 1
            number, time_ns, flow = int(packets.number[row]), int(packets.time_ns[row]), int(packets.flow[row])
            fact = Payload(number, time_ns, flow, shape, detail, int(packets.direction[row]) == 0)
            self._facts.add("payload", fact)


def _ip_in_ip(stack: Array) -> Array:
    """bool[n, MAX_LAYERS - 1]: where in the layers an IP header stands directly above another one."""
    is_ip = (stack == layers.IP) | (stack == layers.IPV6)
    return np.asarray(is_ip[:, :-1] & is_ip[:, 1:])


def redirected(batch: Batch, row: int) -> str:
    """What a redirect says: for which destination, and over whom; the router alone where the capture holds no more."""
    packets = batch.packets
    start, end = int(packets.transport_start[row]), int(packets.start[row]) + int(packets.cap_len[row])
    four = int(packets.icmp_type[row]) == REDIRECT
    via, to, size = (4, 24, 4) if four else (8, 24, 16)  # IPv4: the destination stands in the packet that is quoted
    data = bytes(batch.data[start : min(end, start + 40)]) if start >= 0 else b""
    if len(data) < to + size:
        return "an ICMP redirect"
    router, destination = (ipaddress.ip_address(data[at : at + size]) for at in (via, to))
    return f"{destination} over {router}"


def source_routed(batch: Batch) -> Array:
    """Rows with an IPv6 routing header of type 0 (deprecated by RFC 5095), directly or in a first fragment."""
    packets, data = batch.packets, batch.data
    rows = batch.taps.packet[batch.taps.ip_family == 6]  # in packet order, an IP layer and its transport or more
    rows = rows[np.diff(rows, prepend=-1) > 0]
    rows = rows[packets.ip_start[rows] >= 0]
    rows = rows[packets.ip_start[rows] + IPV6_HEADER + 12 <= packets.start[rows] + packets.cap_len[rows]]
    at = packets.ip_start[rows]
    six = data[at] >> 4 == 6
    rows, at = rows[six], at[six]
    following = data[at + 6]
    plain = (following == ROUTING) & (data[at + IPV6_HEADER + 2] == 0)
    first = (data[at + IPV6_HEADER + 2] == 0) & (data[at + IPV6_HEADER + 3] & 0xF8 == 0)
    inner = (following == FRAGMENT) & first & (data[at + IPV6_HEADER] == ROUTING)
    inner &= data[at + IPV6_HEADER + 10] == 0
    return np.asarray(rows[plain | inner])


def to_itself(batch: Batch) -> Array:
    """Rows of TCP or UDP whose source equals their destination, ports too; loopback is left out (RFC 9288 knows none)."""
    packets, taps = batch.packets, batch.taps
    rows = np.flatnonzero((packets.transport_tap >= 0) & (packets.tcp_flags & SYN != 0) & (packets.tcp_flags >= 0))
    tap = packets.transport_tap[rows]
    same = taps.src_port[tap] == taps.dst_port[tap]
    rows, tap = rows[same], tap[same]
    same = (taps.src_lo[tap] == taps.dst_lo[tap]) & (taps.src_hi[tap] == taps.dst_hi[tap])
    loopback = (taps.src_hi[tap] == 0) & ((taps.src_lo[tap] >> 24 == 127) | (taps.src_lo[tap] == 1))
    return np.asarray(rows[same & ~loopback])


def too_long(batch: Batch) -> Array:
    """Rows of IPv4 fragments that end behind the longest packet there can be (ping of death, CVE-1999-0128)."""
    packets, data = batch.packets, batch.data
    rows = np.flatnonzero((packets.fragment != 0) & (packets.ip_start >= 0))
    rows = rows[packets.ip_start[rows] + 20 <= packets.start[rows] + packets.cap_len[rows]]
    if not len(rows):
        return rows
    at = packets.ip_start[rows]
    rows, at = rows[data[at] >> 4 == 4], at[data[at] >> 4 == 4]
    offset = ((data[at + 6].astype(np.int64) & 0x1F) << 8 | data[at + 7]) * 8
    size = (data[at + 2].astype(np.int64) << 8 | data[at + 3]) - (data[at].astype(np.int64) & 15) * 4
    return np.asarray(rows[offset + size + 20 > LONGEST])


def urgent(batch: Batch) -> Array:
    """Rows of TCP with the URG flag alone of its kind and data to a NetBIOS port (WinNuke, CVE-1999-0153)."""
    packets, taps = batch.packets, batch.taps
    flags = packets.tcp_flags
    rows = np.flatnonzero((flags & URG != 0) & (flags >= 0))
    rows = rows[(flags[rows] & SYN == 0) & (packets.payload_len[rows] > 0)]
    rows = rows[packets.transport_tap[rows] >= 0]
    return np.asarray(rows[np.isin(taps.dst_port[packets.transport_tap[rows]], URGENT_PORTS)])
