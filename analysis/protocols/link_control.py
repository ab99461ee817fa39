"""Facts of the protocols that rule a link: spanning tree, trunking, discovery, Wi-Fi management, HSRP, IPv6 neighbours.

In: decoded and named batches. Out: `LinkControl` and `Neighbour` rows, and a `Payload` fact for router advertisements
with an impossible option. Rows are selected by columns, read one by one, bounded by MOST of a protocol. It says what
was there, never what it means. IEEE 802.1Q 14, IEEE 802.11 9.3.3, RFC 2281, RFC 4861 4.4, RFC 8106 5.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis import layers
from analysis.columns import Array, Batch, address_text
from analysis.facts import Facts, LinkControl, Neighbour, Payload
from analysis.protocols.link_facts import before_last_layer, last_layers

MOST = 20_000  # rows of one protocol
READ = 64  # bytes of a frame's body that are looked at
ROUTER_ADVERT, NEIGHBOUR_ADVERT = 134, 136
DNS_OPTION = 25  # RFC 8106 5.1: its length is odd; an even one overflows CVE-2020-16898
WLAN_WORDS = {0x80: "beacon", 0xA0: "disassociation", 0xC0: "deauthentication"}
HSRP_WORDS = {0: "hello", 1: "coup", 2: "resign"}
HSRP_ACTIVE = 16

Words = tuple[str, str]  # `word` and `about` of a fact


class LinkControls:
    """One object per analysis; `update` takes every batch in order."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._left: dict[str, int] = {}

    def update(self, batch: Batch) -> None:
        """Look at the frames of one batch."""
        packets = batch.packets
        last = last_layers(packets)
        rows = np.flatnonzero(_HAS_BODY[last])
        last = last[rows]
        self._bodies(batch, rows[last == layers.STP], layers.STP)
        self._changes(batch)
        for layer in (layers.CDP, layers.DTP, layers.VTP, layers.HSRP):
            self._bodies(batch, rows[last == layer], layer)
        self._wireless(batch)
        rows = np.flatnonzero(packets.icmp_type >= ROUTER_ADVERT)
        rows = rows[packets.ip_protocol[rows] == 58]
        self._neighbours(batch, rows[packets.icmp_type[rows] == NEIGHBOUR_ADVERT])
        self._adverts(batch, rows[packets.icmp_type[rows] == ROUTER_ADVERT])

    def _room(self, protocol: str, rows: Array) -> list[int]:
        """The rows that still fit."""
        left = self._left.setdefault(protocol, MOST)
        fit: list[int] = rows[:left].tolist()
        self._left[protocol] = left - len(fit)
        return fit

    def _bodies(self, batch: Batch, rows: Array, layer: int) -> None:
        """Facts of frames that end in `layer`: what the first bytes of it say, and the sender's MAC."""
        if not len(rows):
            return
        packets, name, read = batch.packets, layers.NAMES[layer], _BODIES[layer]
        rows = np.array(self._room(name, rows), np.int64)
        buffer = memoryview(batch.data)  # type: ignore[arg-type]  # an array is a buffer
        start = packets.start[rows]
        columns = zip(
            packets.number[rows].tolist(),
            packets.time_ns[rows].tolist(),
            (packets.link_type[rows] == 1).tolist(),
            start.tolist(),
            (start + before_last_layer(batch, rows)).tolist(),
            (start + packets.cap_len[rows]).tolist(),
        )
        for number, time_ns, ethernet, begin, body, end in columns:
            words = read(bytes(buffer[body : min(end, body + READ)]))
            if words is not None:
                source = bytes(buffer[begin + 6 : begin + 12]).hex(":") if ethernet else ""
                self._facts.add("link_control", LinkControl(number, time_ns, name, source, *words))

    def _add(self, number: int, time_ns: int, protocol: str, source: str, word: str, about: str) -> None:
        self._facts.add("link_control", LinkControl(number, time_ns, protocol, source, word, about))

    def _changes(self, batch: Batch) -> None:
        """Topology change notifications: four bytes behind LLC 42 42 03, too short to count as STP above."""
        packets, data = batch.packets, batch.data
        rows = np.flatnonzero(packets.layers[:, 1] == layers.LLC)
        rows = rows[(packets.link_type[rows] == 1) & (packets.cap_len[rows] >= 21)]
        if len(rows):
            at = packets.start[rows]
            rows = rows[
                (data[at + 13] == 7) & (data[at + 14] == 0x42) & (data[at + 15] == 0x42) & (data[at + 20] == 0x80)
            ]
        for row in self._room("stp", rows):
            start = int(packets.start[row])
            source = bytes(data[start + 6 : start + 12]).hex(":")
            self._add(int(packets.number[row]), int(packets.time_ns[row]), "stp", source, "change", "")

    def _wireless(self, batch: Batch) -> None:
        """Management frames that end or announce an association."""
        packets, data = batch.packets, batch.data
        columns = packets.layers.shape[1]
        rows, place = np.divmod(np.flatnonzero(packets.layers.reshape(-1) == layers.WLAN), columns)
        first = np.ones(len(rows), bool)
        first[1:] = rows[1:] != rows[:-1]
        first &= place < packets.n_layers[rows]
        rows, place = rows[first], place[first]
        if not len(rows):
            return
        sizes = packets.layer_bytes[rows].astype(np.int64)
        sizes[np.arange(columns)[None, :] >= place[:, None]] = 0
        at = packets.start[rows] + sizes.sum(axis=1)
        fits = at + 24 <= packets.start[rows] + packets.cap_len[rows]
        rows, at = rows[fits], at[fits]
        wanted = np.isin(data[at], list(WLAN_WORDS))
        for row, start in zip(self._room("wlan", rows[wanted]), at[wanted].tolist()):
            head = bytes(data[start : start + 24])
            word, source, network = WLAN_WORDS[head[0]], head[10:16].hex(":"), head[16:22].hex(":")
            self._add(int(packets.number[row]), int(packets.time_ns[row]), "wlan", source, word, network)

    def _neighbours(self, batch: Batch, rows: Array) -> None:
        packets, taps = batch.packets, batch.taps
        for row in self._room("neighbour", rows):
            body = _icmp(batch, row)
            if len(body) < 24:
                continue
            tap = int(packets.ip_tap[row])
            source = address_text(6, int(taps.src_hi[tap]), int(taps.src_lo[tap])) if tap >= 0 else ""
            high, low = (int.from_bytes(body[i : i + 8], "big", signed=True) for i in (8, 16))
            mac = body[26:32].hex(":") if len(body) >= 32 and body[24] == 2 else ""
            fact = Neighbour(
                int(packets.number[row]),
                int(packets.time_ns[row]),
                source,
                address_text(6, high, low),
                mac,
                bool(body[4] & 0x20),
                bool(body[4] & 0x40),
            )
            self._facts.add("neighbour", fact)

    def _adverts(self, batch: Batch, rows: Array) -> None:
        """Router advertisements whose DNS option has an even length (CVE-2020-16898, Bad Neighbor)."""
        packets = batch.packets
        for row in self._room("advert", rows):
            body = _icmp(batch, row)
            at = 16
            while at + 2 <= len(body) and body[at + 1]:
                if body[at] == DNS_OPTION and body[at + 1] % 2 == 0 and packets.flow[row] >= 0:
                    from_a = int(packets.direction[row]) == 0
                    number, time_ns, flow = int(packets.number[row]), int(packets.time_ns[row]), int(packets.flow[row])
                    detail = f"a name server option of {body[at + 1]} units, an odd number expected"
                    self._facts.add("payload", Payload(number, time_ns, flow, "bad-neighbour", detail, from_a))
                    break
                at += 8 * body[at + 1]


def _spanning_tree(body: bytes) -> Words | None:
    """Protocol 0, version, type, flags, the root's identifier (IEEE 802.1D 9.3.1); changes are told by `_changes`."""
    if len(body) < 13 or body[:2] != b"\0\0" or body[3] == 0x80:
        return None
    return f"{body[5] << 8 | body[6]:05d} {body[7:13].hex(':')}", "change" if body[4] & 1 else ""


def _name_only(body: bytes) -> Words | None:
    return "", ""


def _standby(body: bytes) -> Words | None:
    """HSRP version 1 (RFC 2281 5): version, operation, state …, priority, group, virtual address."""
    if len(body) < 20 or body[0] or body[1] not in HSRP_WORDS:
        return None
    word = HSRP_WORDS[body[1]] + (" active" if body[2] == HSRP_ACTIVE else "")
    return word, ".".join(str(octet) for octet in body[16:20])


_BODIES: dict[int, Callable[[bytes], Words | None]] = {
    layers.STP: _spanning_tree,
    layers.CDP: _name_only,
    layers.DTP: _name_only,
    layers.VTP: _name_only,
    layers.HSRP: _standby,
}
_HAS_BODY = np.zeros(len(layers.NAMES), bool)  # by layer: frames that end in it are read
_HAS_BODY[list(_BODIES)] = True


def _icmp(batch: Batch, row: int) -> bytes:
    """The ICMPv6 message of a packet."""
    packets = batch.packets
    start = int(packets.transport_start[row])
    end = int(packets.start[row]) + int(packets.cap_len[row])
    return bytes(batch.data[start : min(end, start + 512)]) if start >= 0 else b""
