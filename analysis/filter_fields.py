"""The fields of display filters: their values for the packets of a batch, as (row, value) pairs.

In: a `View` of a batch that has passed all stages. Out: `FIELDS`, Wireshark's filter names with kind, reader and
meaning. A field may have several values in a packet (both addresses, tunnels, what an ICMP error quotes) or none.
Parsing and comparing are display_filter's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from analysis import layers
from analysis.columns import ETH, IP, IPV6, NO_TIME, TCP, TCP_FLAGS, UDP, Array, Batch, Flows
from analysis.facts import Facts
from analysis.named_tuples import NamedTuple


class Seen(Protocol):
    """What a filter asks of the stages: the tables of conversations so far."""

    def flows(self) -> Flows:
        """All conversations."""


class Values(NamedTuple):
    """Values of a field: value[i] belongs to packet row[i]; rows may repeat, or be missing."""

    row: Array
    value: Any  # an array of numbers, a pair of arrays of address words, or a list of bytes or texts


@dataclass(frozen=True, slots=True)
class View:
    """A batch and what the stages know of it. `start_ns` is the time of frame 1."""

    batch: Batch
    seen: Seen
    facts: Facts
    start_ns: int
    quoted: tuple[Quote, ...]

    @property
    def size(self) -> int:
        """Packets of the batch."""
        return len(self.batch.packets.number)


class Quote(NamedTuple):
    """What an ICMP error quotes: addresses as words, ports of TCP or UDP."""

    row: int
    kind: int  # IP or IPV6
    source: tuple[int, int]
    destination: tuple[int, int]
    transport: int  # TCP, UDP or -1
    ports: tuple[int, int]


def quotes_of(batch: Batch) -> tuple[Quote, ...]:
    """The packets that ICMP errors of a batch quote, as far as their headers are there (RFC 792, RFC 4443 3)."""
    packets = batch.packets
    kind = packets.icmp_type
    asked = np.flatnonzero((kind >= 1) & (kind <= 12) & (packets.transport_start >= 0))
    found = []
    for row in asked.tolist():
        six = int(packets.ip_protocol[row]) == 58
        if int(kind[row]) not in ((1, 2, 3, 4) if six else (3, 4, 5, 11, 12)):
            continue
        begin = int(packets.transport_start[row]) + 8
        end = int(packets.start[row]) + int(packets.cap_len[row])
        if int(packets.fragment[row]) == 2:
            end = int(packets.payload_start[row]) + int(packets.payload_cap[row])
        quote = _quote(row, six, bytes(batch.data[begin : max(begin, min(end, begin + 128))]))
        if quote is not None:
            found.append(quote)
    return tuple(found)


def _quote(row: int, six: bool, data: bytes) -> Quote | None:
    if six:
        if len(data) < 40 or data[0] >> 4 != 6:
            return None
        words = [int.from_bytes(data[at : at + 8], "big", signed=True) for at in range(8, 40, 8)]
        source, destination, protocol, at = (words[0], words[1]), (words[2], words[3]), data[6], 40
    else:
        if len(data) < 20 or data[0] >> 4 != 4:
            return None
        source = (0, int.from_bytes(data[12:16], "big"))
        destination = (0, int.from_bytes(data[16:20], "big"))
        protocol, at = data[9], (data[0] & 15) * 4
        if data[6] & 0x1F or data[7]:
            protocol = -1  # a later fragment has no ports
    transport = {6: TCP, 17: UDP}.get(protocol, -1)
    if transport < 0 or len(data) < at + 4:
        return Quote(row, IPV6 if six else IP, source, destination, -1, (0, 0))
    ports = (int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big"))
    return Quote(row, IPV6 if six else IP, source, destination, transport, ports)


Read = Callable[[View], Values]


class Field(NamedTuple):
    """One row of FIELDS. `kind`: number, time (s), ether, ipv4, ipv6, text or bytes."""

    kind: str
    read: Read
    meaning: str


def _column(name: str, absent: int | None = None) -> Read:
    """A column of Packets."""

    def read(view: View) -> Values:
        values = getattr(view.batch.packets, name)
        rows = np.arange(len(values)) if absent is None else np.flatnonzero(values != absent)
        return Values(rows, values[rows])

    return read


def _of_tcp(name: str) -> Read:
    """A column of Packets that TCP segments have."""

    def read(view: View) -> Values:
        rows = np.flatnonzero(view.batch.packets.tcp_flags >= 0)
        return Values(rows, getattr(view.batch.packets, name)[rows])

    return read


def _flag(bit: int) -> Read:
    def read(view: View) -> Values:
        rows = np.flatnonzero(view.batch.packets.tcp_flags >= 0)
        return Values(rows, (view.batch.packets.tcp_flags[rows] & bit) // bit)

    return read


def _analysis(bits: int) -> Read:
    """There where one of the bits of `analysis` is set."""

    def read(view: View) -> Values:
        rows = np.flatnonzero(view.batch.packets.analysis & bits)
        return Values(rows, np.ones(len(rows), dtype=np.int64))

    return read


def _addresses(kind: int, sides: tuple[str, ...]) -> Read:
    """Addresses of the layers of a kind, tunnels and quoted headers included."""

    def read(view: View) -> Values:
        taps = view.batch.taps
        at = np.flatnonzero(taps.kind == kind)
        rows, high, low = [], [], []
        for side in sides:
            rows.append(taps.packet[at])
            high.append(getattr(taps, f"{side}_hi")[at])
            low.append(getattr(taps, f"{side}_lo")[at])
        quoted = [quote for quote in view.quoted if quote.kind == kind]
        for side in sides:
            ends = [quote.source if side == "src" else quote.destination for quote in quoted]
            rows.append(np.array([quote.row for quote in quoted], dtype=np.int64))
            high.append(np.array([end[0] for end in ends], dtype=np.int64))
            low.append(np.array([end[1] for end in ends], dtype=np.int64))
        return Values(np.concatenate(rows), (np.concatenate(high), np.concatenate(low)))

    return read


def _ports(kind: int, sides: tuple[str, ...]) -> Read:
    def read(view: View) -> Values:
        taps = view.batch.taps
        at = np.flatnonzero(taps.kind == kind)
        rows = [taps.packet[at] for _ in sides]
        values = [getattr(taps, f"{side}_port")[at].astype(np.int64) for side in sides]
        quoted = [quote for quote in view.quoted if quote.transport == kind]
        for side in sides:
            rows.append(np.array([quote.row for quote in quoted], dtype=np.int64))
            values.append(np.array([quote.ports[side == "dst"] for quote in quoted], dtype=np.int64))
        return Values(np.concatenate(rows), np.concatenate(values))

    return read


def _stream(kind: int) -> Read:
    def read(view: View) -> Values:
        taps = view.batch.taps
        at = np.flatnonzero((taps.kind == kind) & (taps.flow >= 0))
        return Values(taps.packet[at], view.seen.flows().stream[taps.flow[at]])

    return read


def _icmp(name: str, protocol: int) -> Read:
    def read(view: View) -> Values:
        packets = view.batch.packets
        rows = np.flatnonzero((packets.icmp_type >= 0) & (packets.ip_protocol == protocol))
        return Values(rows, getattr(packets, name)[rows])

    return read


def _relative(view: View) -> Values:
    times = view.batch.packets.time_ns
    rows = np.flatnonzero(times != NO_TIME)
    return Values(rows, times[rows] - view.start_ns)


def _epoch(view: View) -> Values:
    times = view.batch.packets.time_ns
    rows = np.flatnonzero(times != NO_TIME)
    return Values(rows, times[rows])


def _of_version(column: str, kind: int) -> Read:
    """A column that the innermost IP layer of a version has."""

    def read(view: View) -> Values:
        packets, taps = view.batch.packets, view.batch.taps
        has = np.flatnonzero(packets.ip_tap >= 0)
        rows = has[taps.kind[packets.ip_tap[has]] == kind] if len(has) else has
        return Values(rows, getattr(packets, column)[rows])

    return read


def _datagram_length(view: View) -> Values:
    packets, taps = view.batch.packets, view.batch.taps
    has = np.flatnonzero(packets.transport_tap >= 0)
    rows = has[taps.kind[packets.transport_tap[has]] == UDP] if len(has) else has
    return Values(rows, packets.payload_len[rows].astype(np.int64) + 8)


def _protocols(view: View) -> Values:
    packets = view.batch.packets
    known: dict[bytes, str] = {}
    found = []
    for row in range(view.size):
        key = packets.layers[row, : packets.n_layers[row]].tobytes()
        text = known.get(key)
        if text is None:
            text = known[key] = ":".join(layers.NAMES[i] for i in np.frombuffer(key, packets.layers.dtype).tolist())
        found.append(text)
    return Values(np.arange(view.size), found)


def _frame_bytes(view: View) -> Values:
    packets = view.batch.packets
    buffer = memoryview(view.batch.data)  # type: ignore[arg-type]  # an array is a buffer
    starts, sizes = packets.start.tolist(), packets.cap_len.tolist()
    return Values(np.arange(view.size), [bytes(buffer[at : at + size]) for at, size in zip(starts, sizes)])


def _payload(kind: int) -> Read:
    """Bytes above the innermost transport layer of a kind."""

    def read(view: View) -> Values:
        packets, taps = view.batch.packets, view.batch.taps
        has = np.flatnonzero((packets.transport_tap >= 0) & (packets.payload_cap > 0))
        rows = has[taps.kind[packets.transport_tap[has]] == kind] if len(has) else has
        buffer = memoryview(view.batch.data)  # type: ignore[arg-type]
        starts, sizes = packets.payload_start[rows].tolist(), packets.payload_cap[rows].tolist()
        return Values(rows, [bytes(buffer[at : at + size]) for at, size in zip(starts, sizes)])

    return read


def _fact(kind: str, value: Callable[[Any], Any]) -> Read:
    """A value of the facts that belong to packets of this batch; facts are appended in the order of batches."""

    def read(view: View) -> Values:
        numbers = view.batch.packets.number
        first, last = (int(numbers[0]), int(numbers[-1])) if len(numbers) else (0, -1)
        rows, values = [], []
        for fact in reversed(getattr(view.facts, kind)):
            if fact.number < first:
                break
            if fact.number <= last and (found := value(fact)) not in (None, ""):
                rows.append(fact.number - first)
                values.append(found)
        return Values(np.array(rows, dtype=np.int64), values if isinstance(next(iter(values), ""), str) else np.array(values, dtype=np.int64))  # fmt: skip

    return read


BOTH, SOURCE, DESTINATION = ("src", "dst"), ("src",), ("dst",)
FIELDS: dict[str, Field] = {
    "frame.number": Field("number", _column("number"), "number of the frame, from 1"),
    "frame.len": Field("number", _column("frame_len"), "bytes on the wire"),
    "frame.cap_len": Field("number", _column("cap_len"), "bytes stored"),
    "frame.time_epoch": Field("time", _epoch, "Unix time in seconds"),
    "frame.time_relative": Field("time", _relative, "seconds since frame 1"),
    "frame.interface_id": Field("number", _column("interface"), "interface, from 0"),
    "frame.protocols": Field("text", _protocols, "the layers, joined with colons (without Wireshark's ethertype)"),
    "frame": Field("bytes", _frame_bytes, "the stored bytes of the frame, for contains and matches"),
    "eth.addr": Field("ether", _addresses(ETH, BOTH), "either MAC address"),
    "eth.src": Field("ether", _addresses(ETH, SOURCE), "source MAC address"),
    "eth.dst": Field("ether", _addresses(ETH, DESTINATION), "destination MAC address"),
    "ip.addr": Field("ipv4", _addresses(IP, BOTH), "either IPv4 address; a network as 10.0.0.0/8"),
    "ip.src": Field("ipv4", _addresses(IP, SOURCE), "source address"),
    "ip.dst": Field("ipv4", _addresses(IP, DESTINATION), "destination address"),
    "ip.proto": Field("number", _of_version("ip_protocol", IP), "protocol above the innermost IPv4 header"),
    "ip.ttl": Field("number", _of_version("ttl", IP), "time to live of the innermost IPv4 header"),
    "ipv6.addr": Field("ipv6", _addresses(IPV6, BOTH), "either IPv6 address; a network as 2001:db8::/32"),
    "ipv6.src": Field("ipv6", _addresses(IPV6, SOURCE), "source address"),
    "ipv6.dst": Field("ipv6", _addresses(IPV6, DESTINATION), "destination address"),
    "ipv6.hlim": Field("number", _of_version("ttl", IPV6), "hop limit of the innermost IPv6 header"),
    "tcp.port": Field("number", _ports(TCP, BOTH), "either port"),
    "tcp.srcport": Field("number", _ports(TCP, SOURCE), "source port"),
    "tcp.dstport": Field("number", _ports(TCP, DESTINATION), "destination port"),
    "tcp.stream": Field("number", _stream(TCP), "stream number, from 0"),
    "tcp.len": Field("number", _of_tcp("payload_len"), "payload bytes"),
    "tcp.seq_raw": Field("number", _of_tcp("tcp_seq"), "sequence number as sent"),
    "tcp.ack_raw": Field("number", _of_tcp("tcp_ack"), "acknowledgement number as sent"),
    "tcp.window_size_value": Field("number", _of_tcp("tcp_window"), "window field, unscaled"),
    "tcp.flags": Field("number", _of_tcp("tcp_flags"), "all flags as a number"),
    "tcp.flags.fin": Field("number", _flag(1), "FIN"),
    "tcp.flags.syn": Field("number", _flag(2), "SYN"),
    "tcp.flags.reset": Field("number", _flag(4), "RST"),
    "tcp.flags.push": Field("number", _flag(8), "PSH"),
    "tcp.flags.ack": Field("number", _flag(16), "ACK"),
    "tcp.flags.urg": Field("number", _flag(32), "URG"),
    "tcp.payload": Field("bytes", _payload(TCP), "payload bytes, for contains and matches"),
    "tcp.analysis.flags": Field("number", _analysis((1 << len(TCP_FLAGS)) - 1), "any TCP analysis flag"),
    **{
        f"tcp.analysis.{name}": Field("number", _analysis(1 << bit), "the TCP analysis flag of that name")
        for bit, name in enumerate(TCP_FLAGS)
    },
    "udp.port": Field("number", _ports(UDP, BOTH), "either port"),
    "udp.srcport": Field("number", _ports(UDP, SOURCE), "source port"),
    "udp.dstport": Field("number", _ports(UDP, DESTINATION), "destination port"),
    "udp.stream": Field("number", _stream(UDP), "stream number, from 0"),
    "udp.length": Field("number", _datagram_length, "length with the header"),
    "udp.payload": Field("bytes", _payload(UDP), "payload bytes, for contains and matches"),
    "icmp.type": Field("number", _icmp("icmp_type", 1), "type of ICMP"),
    "icmp.code": Field("number", _icmp("icmp_code", 1), "code of ICMP"),
    "icmpv6.type": Field("number", _icmp("icmp_type", 58), "type of ICMPv6"),
    "icmpv6.code": Field("number", _icmp("icmp_code", 58), "code of ICMPv6"),
    "dns.qry.name": Field("text", _fact("dns", lambda row: row.name), "name that a DNS message asks for"),
    "dns.flags.response": Field("number", _fact("dns", lambda row: int(row.response)), "1 in answers"),
    "dns.flags.rcode": Field("number", _fact("dns", lambda row: row.rcode if row.response else None), "code of answers"),
    "http.host": Field("text", _fact("http", lambda row: row.host), "host that a request names"),
    "http.request.method": Field("text", _fact("http", lambda row: row.method), "method of a request"),
    "http.request.uri": Field("text", _fact("http", lambda row: row.uri), "target of a request"),
    "http.user_agent": Field("text", _fact("http", lambda row: row.user_agent), "user agent of a request"),
    "http.response.code": Field("number", _fact("http", lambda row: row.status or None), "status of a response"),
    "http.content_type": Field("text", _fact("http", lambda row: row.content_type), "media type of a message"),
}  # fmt: skip
