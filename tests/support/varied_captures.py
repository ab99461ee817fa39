"""Captures of many shapes, made from the samples of protocol_samples: carriers, TCP that goes wrong, cuts, fragments.

Nothing here knows what tapwall would say: a test holds the captures against tshark. Every maker is deterministic.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from capture_files import Packet, enhanced, interface, option, pcap, section
from protocol_samples import DATAGRAMS, STREAMS

MS = 1_000_000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
START_NS = 1_700_000_000 * 10**9


class Segment(NamedTuple):
    """One TCP segment. `direction` 0 is the client's."""

    time_ns: int
    direction: int
    seq: int
    ack: int
    flags: int
    data: bytes = b""
    window: int = 8192
    options: bytes = b""


class Ends(NamedTuple):
    """The two ends of a conversation."""

    client: tuple[str, int]
    server: tuple[str, int]


# ---------------------------------------------------------------------------------------------------------------- TCP

MSS_AND_SCALE = bytes((2, 4, 5, 0xB4, 1, 3, 3, 7))


class Connection:
    """Says segments in order; every method appends to `segments`."""

    def __init__(self, begin_ns: int, isn: tuple[int, int] = (1000, 5000), step_ns: int = 5 * MS) -> None:
        self.now = begin_ns
        self.step_ns = step_ns
        self.seq = list(isn)
        self.segments: list[Segment] = []

    def put(self, direction: int, flags: int, data: bytes = b"", **changes: int | bytes) -> Segment:
        """The next segment of a side, where `changes` do not say otherwise."""
        seq, ack = self.seq[direction], self.seq[1 - direction]
        made = Segment(self.now, direction, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF if flags & ACK else 0, flags, data)
        made = made._replace(**changes)  # type: ignore[arg-type]
        self.segments.append(made)
        self.now += self.step_ns
        self.seq[direction] = made.seq + len(data) + (1 if flags & (SYN | FIN) else 0)
        return made

    def repeat(self, segment: Segment, after_ns: int = 0) -> None:
        """The same segment once more."""
        self.now += after_ns
        self.segments.append(segment._replace(time_ns=self.now))
        self.now += self.step_ns

    def handshake(self, options: bytes = MSS_AND_SCALE) -> None:
        """SYN, SYN+ACK, ACK."""
        self.put(0, SYN, options=options)
        self.put(1, SYN | ACK, options=options)
        self.put(0, ACK)

    def close(self) -> None:
        """FIN from both sides."""
        self.put(0, FIN | ACK)
        self.put(1, FIN | ACK)
        self.put(0, ACK)


def exchange(begin_ns: int, messages: tuple[tuple[int, bytes, str], ...], isn: tuple[int, int] = (1000, 5000)) -> list[Segment]:  # fmt: skip
    """Handshake, each message with its acknowledgement, close."""
    talk = Connection(begin_ns, isn)
    talk.handshake()
    for direction, data, _ in messages:
        talk.put(direction, PSH | ACK, data)
        talk.put(1 - direction, ACK)
    talk.close()
    return talk.segments


def header(segment: Segment, ends: Ends) -> bytes:
    """A TCP segment's bytes."""
    source, destination = (ends.client, ends.server) if segment.direction == 0 else (ends.server, ends.client)
    options = segment.options + bytes(-len(segment.options) % 4)
    offset = (20 + len(options)) // 4 << 4
    numbers = (source[1], destination[1], segment.seq & 0xFFFFFFFF, segment.ack & 0xFFFFFFFF)
    return struct.pack(">HHIIBBHHH", *numbers, offset, segment.flags, segment.window, 0, 0) + options + segment.data


# ----------------------------------------------------------------------------------------------------- what goes wrong

Wrong = Callable[[random.Random, list[Segment]], list[Segment]]


def lost(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """Some segments were not captured."""
    return [segment for segment in segments if chance.random() > 0.15]


def again(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """Some segments come twice, soon or late."""
    made = []
    for segment in segments:
        made.append(segment)
        if chance.random() < 0.2:
            made.append(segment._replace(time_ns=segment.time_ns + chance.choice((MS // 2, 4 * MS, 400 * MS))))
    return sorted(made, key=lambda segment: segment.time_ns)


def swapped(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """Neighbours in the wrong order."""
    made = list(segments)
    for at in range(3, len(made) - 1):
        if chance.random() < 0.2:
            first, second = made[at], made[at + 1]
            made[at], made[at + 1] = second._replace(time_ns=first.time_ns), first._replace(time_ns=second.time_ns)
    return made


def in_pieces(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """Payloads cut into two segments."""
    made = []
    for segment in segments:
        size = len(segment.data)
        if size > 12 and chance.random() < 0.7:
            cut = chance.randrange(size // 2, size)
            made.append(segment._replace(data=segment.data[:cut], flags=ACK))
            made.append(segment._replace(time_ns=segment.time_ns + MS, seq=segment.seq + cut, data=segment.data[cut:]))
        else:
            made.append(segment)
    return made


def midstream(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """The capture began after the handshake."""
    return segments[3:]


def one_way(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """Only the client's segments were captured."""
    return [segment for segment in segments if segment.direction == 0]


def as_it_was(chance: random.Random, segments: list[Segment]) -> list[Segment]:
    """Nothing goes wrong."""
    return segments


def odd_moments(begin_ns: int) -> Iterator[tuple[str, list[Segment]]]:
    """TCP's corner cases, one connection each."""
    talk = Connection(begin_ns)
    talk.handshake()
    for _ in range(3):
        talk.put(0, ACK, b"x" * 100)
    talk.put(1, ACK, window=0)
    probe = talk.put(0, ACK, b"p")
    talk.put(1, ACK, window=0, ack=probe.seq)
    talk.seq[0] = probe.seq
    talk.put(1, ACK, window=500, ack=probe.seq)
    talk.put(0, ACK, b"p" * 10)
    talk.close()
    yield "zero window, probe, update", talk.segments

    talk = Connection(begin_ns)
    talk.handshake()
    talk.put(0, PSH | ACK, b"x" * 50)
    talk.put(1, ACK)
    for _ in range(2):
        alive = talk.seq[0] - 1
        talk.put(0, ACK, b"", seq=alive)
        talk.seq[0] = alive + 1
        talk.put(1, ACK)
    alive = talk.seq[0] - 1
    talk.put(0, ACK, b"\0", seq=alive)
    talk.put(1, ACK)
    talk.close()
    yield "keep-alives with and without a byte", talk.segments

    talk = Connection(begin_ns, (0xFFFFFF80, 0xFFFFFFF0))
    talk.handshake()
    for _ in range(4):
        talk.put(0, PSH | ACK, b"w" * 60)
        talk.put(1, PSH | ACK, b"v" * 20)
    talk.close()
    yield "numbers wrap", talk.segments

    talk = Connection(begin_ns)
    talk.handshake()
    first = talk.put(0, ACK, b"a" * 100)
    missing = talk.put(0, ACK, b"b" * 100)
    talk.segments.remove(missing)
    for _ in range(3):
        talk.put(0, ACK, b"c" * 100)
        talk.segments.append(talk.segments[-1]._replace(direction=1, seq=talk.seq[1], ack=missing.seq, data=b""))
        talk.now += MS
    talk.repeat(missing)
    talk.put(1, ACK)
    talk.repeat(first, 200 * MS)
    talk.close()
    yield "fast retransmission after duplicate acknowledgements, then a spurious one", talk.segments

    talk = Connection(begin_ns)
    talk.handshake()
    talk.put(0, PSH | ACK, b"one" * 9)
    talk.put(1, RST | ACK)
    talk.seq = [70_000, 90_000]
    talk.handshake()
    talk.put(0, PSH | ACK, b"two" * 9)
    talk.put(1, ACK)
    talk.close()
    yield "ports used again", talk.segments

    talk = Connection(begin_ns)
    for _ in range(3):
        talk.put(0, SYN, options=MSS_AND_SCALE)
        talk.seq[0] -= 1
        talk.now += 1000 * MS
    yield "nobody answers", talk.segments

    talk = Connection(begin_ns)
    talk.put(0, SYN, options=MSS_AND_SCALE)
    talk.put(1, SYN | ACK)
    talk.put(0, ACK)
    talk.put(1, ACK, window=200)
    talk.put(0, ACK, b"f" * 200)
    talk.put(1, ACK, window=0)
    talk.put(1, ACK, window=4000)
    talk.put(0, ACK, b"g" * 4000)
    yield "window full without scaling", talk.segments

    talk = Connection(begin_ns)
    talk.put(0, ACK, b"m" * 100)
    talk.put(1, ACK, ack=talk.seq[0] + 500)
    talk.put(0, ACK, b"n" * 100, seq=talk.seq[0] + 1000)
    talk.put(1, ACK, ack=talk.seq[0])
    yield "unseen before, acknowledged unseen, lost", talk.segments

    talk = Connection(begin_ns)
    talk.put(0, SYN, b"early", options=MSS_AND_SCALE)
    talk.put(1, SYN | ACK)
    talk.put(0, ACK)
    talk.put(0, FIN | PSH | ACK, b"bye")
    talk.put(1, ACK)
    talk.put(1, RST)
    yield "data in SYN and FIN", talk.segments


# ------------------------------------------------------------------------------------------------------------ carriers


def ipv4(payload: bytes, protocol: int, source: str, destination: str, number: int = 0, fragment: int = 0) -> bytes:
    """An IPv4 packet; `fragment` is the field of flags and offset."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def ipv6(payload: bytes, protocol: int, source: str, destination: str) -> bytes:
    """An IPv6 packet between addresses that hold the IPv4 ones."""
    ends = b"".join(b"\x20\x01\x0d\xb8" + bytes(8) + ip_address(end).packed for end in (source, destination))
    return struct.pack(">IHBB", 0x60000000, len(payload), protocol, 64) + ends + payload


MACS = bytes.fromhex("020000000002020000000001")


def _outer(payload: bytes, protocol: int) -> bytes:
    return MACS + b"\x08\x00" + ipv4(payload, protocol, "198.51.100.1", "198.51.100.2")


def _udp(payload: bytes, port: int) -> bytes:
    return struct.pack(">HHHH", 50_000, port, 8 + len(payload), 0) + payload


def _ethertype(packet: bytes) -> bytes:
    return b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"


# name -> (LINKTYPE_, an IP packet's frame)
CARRIERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, lambda ip: MACS + _ethertype(ip) + ip),
    "vlan": (1, lambda ip: MACS + b"\x81\x00\x00\x05" + _ethertype(ip) + ip),
    "two tags": (1, lambda ip: MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06" + _ethertype(ip) + ip),
    "mpls": (1, lambda ip: MACS + b"\x88\x47\x00\x01\x00\x40\x00\x02\x01\x40" + ip),
    "pppoe": (1, lambda ip: MACS + b"\x88\x64\x11\x00\x00\x01" + struct.pack(">H", len(ip) + 2)
              + (b"\x00\x21" if ip[0] >> 4 == 4 else b"\x00\x57") + ip),
    "snap": (1, lambda ip: MACS + struct.pack(">H", len(ip) + 8) + b"\xaa\xaa\x03\x00\x00\x00" + _ethertype(ip) + ip),
    "service chain": (1, lambda ip: MACS + b"\x89\x4f\x0f\xc6\x01" + (b"\x01" if ip[0] >> 4 == 4 else b"\x02")
                      + b"\x00\x00\x05\xff" + bytes(16) + ip),
    "cooked": (113, lambda ip: b"\x00\x00\x00\x01\x00\x06" + MACS[:6] + b"\x00\x00" + _ethertype(ip) + ip),
    "cooked 2": (276, lambda ip: _ethertype(ip) + bytes(6) + b"\x00\x01\x00\x06" + MACS[:6] + bytes(2) + ip),
    "raw": (101, lambda ip: ip),
    "loopback": (0, lambda ip: (b"\x02" if ip[0] >> 4 == 4 else b"\x1e") + bytes(3) + ip),
    "ppp": (9, lambda ip: b"\xff\x03" + (b"\x00\x21" if ip[0] >> 4 == 4 else b"\x00\x57") + ip),
    "gre": (1, lambda ip: _outer(b"\x00\x00" + _ethertype(ip) + ip, 47)),
    "ip in ip": (1, lambda ip: _outer(ip, 4 if ip[0] >> 4 == 4 else 41)),
    "vxlan": (1, lambda ip: _outer(_udp(b"\x08\x00\x00\x00\x00\x00\x07\x00" + MACS + _ethertype(ip) + ip, 4789), 17)),
    "vxlan with next protocol": (1, lambda ip: _outer(_udp(b"\x0c\x00\x00" + (b"\x01" if ip[0] >> 4 == 4 else b"\x02")
                                                           + b"\x00\x00\x07\x00" + ip, 4790), 17)),
    "geneve": (1, lambda ip: _outer(_udp(b"\x00\x00" + _ethertype(ip) + b"\x00\x00\x07\x00" + ip, 6081), 17)),
    "gtp": (1, lambda ip: _outer(_udp(b"\x30\xff" + struct.pack(">HI", len(ip), 7) + ip, 2152), 17)),
    "tzsp": (1, lambda ip: _outer(_udp(b"\x01\x00\x00\x01\x01" + MACS + _ethertype(ip) + ip, 37008), 17)),
    "etherip": (1, lambda ip: _outer(b"\x30\x00" + MACS + _ethertype(ip) + ip, 97)),
    "authenticated": (1, lambda ip: _outer(b"\x04\x04\x00\x00" + bytes(20) + ip, 51) if ip[0] >> 4 == 4
                      else MACS + b"\x86\xdd" + ip),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ captures


class Capture(NamedTuple):
    """A capture file's name and bytes."""

    name: str
    data: bytes


def _conversations(wrong: Wrong, chance: random.Random) -> list[tuple[Ends, list[Segment]]]:
    made = []
    for at, row in enumerate(STREAMS):
        ends = Ends((f"10.1.{at // 200}.{at % 200 + 1}", 41_500 + at), ("10.2.0.1", row.port))
        segments = exchange(START_NS + at * 1000 * MS, row.messages, (1000 + 77 * at, 0xFFFFFF00))
        made.append((ends, wrong(chance, segments)))
    return made


def _packets(conversations: list[tuple[Ends, list[Segment]]], six: bool, frame: Callable[[bytes], bytes]) -> list[Packet]:  # fmt: skip
    wrap = ipv6 if six else ipv4
    timed = []
    for ends, segments in conversations:
        for segment in segments:
            source, destination = (ends.client, ends.server) if segment.direction == 0 else (ends.server, ends.client)
            timed.append(Packet(segment.time_ns, frame(wrap(header(segment, ends), 6, source[0], destination[0]))))
    return timed


def _datagrams(six: bool, frame: Callable[[bytes], bytes]) -> list[Packet]:
    wrap = ipv6 if six else ipv4
    return [
        Packet(
            START_NS + at * 7 * MS,
            frame(
                wrap(
                    struct.pack(">HHHH", 45_000 + at, row.port, 8 + len(row.data), 0) + row.data,
                    17, "10.3.0.1", "10.3.0.2",
                )
            ),
        )
        for at, row in enumerate(DATAGRAMS)
    ]  # fmt: skip


def by_carrier() -> Iterator[Capture]:
    """All samples in every carrier, IPv4 and IPv6 in turn."""
    for at, (name, (link, frame)) in enumerate(CARRIERS.items()):
        six = bool(at % 2)
        chance = random.Random(at)
        packets = _packets(_conversations(as_it_was, chance)[at % 3 :: 3], six, frame) + _datagrams(six, frame)
        yield Capture(f"{name} {'IPv6' if six else 'IPv4'}", pcap(packets, link=link))


def by_trouble() -> Iterator[Capture]:
    """All samples with what goes wrong in captures, several seeds each."""
    frame = CARRIERS["ethernet"][1]
    for wrong in (as_it_was, lost, again, swapped, in_pieces, midstream, one_way):
        for seed in range(1 if wrong in (as_it_was, midstream, one_way) else 3):
            chance = random.Random(seed)
            conversations = _conversations(wrong, chance)
            yield Capture(f"{wrong.__name__} {seed}", pcap(_packets(conversations, False, frame)))


def corner_cases() -> Iterator[Capture]:
    """TCP's corner cases, over IPv4 and IPv6."""
    for six in (False, True):
        conversations = [
            (Ends((f"10.4.0.{at + 1}", 41_000 + at), ("10.5.0.1", 9_999)), segments)
            for at, (_, segments) in enumerate(odd_moments(START_NS))
        ]
        yield Capture(f"corner cases {'IPv6' if six else 'IPv4'}", pcap(_packets(conversations, six, CARRIERS["ethernet"][1])))  # fmt: skip


def cut_short() -> Iterator[Capture]:
    """A snapshot length that keeps the headers, or a little more."""
    frame = CARRIERS["ethernet"][1]
    whole = _packets(_conversations(as_it_was, random.Random(0)), False, frame) + _datagrams(False, frame)
    for size in (54, 60, 68):
        packets = [Packet(time_ns, data[:size], len(data)) for time_ns, data, _ in whole]
        yield Capture(f"{size} bytes of each", pcap(packets))


def in_fragments() -> Iterator[Capture]:
    """Datagrams in IPv4 fragments, in order and not."""
    frame = CARRIERS["ethernet"][1]
    packets = []
    for at, row in enumerate(row for row in DATAGRAMS if len(row.data) > 24):
        datagram = struct.pack(">HHHH", 45_000 + at, row.port, 8 + len(row.data), 0) + row.data
        pieces = [datagram[i : i + 16] for i in range(0, len(datagram), 16)]
        made = [
            frame(ipv4(piece, 17, "10.6.0.1", "10.6.0.2", 700 + at, i * 2 | (0x2000 if i + 1 < len(pieces) else 0)))
            for i, piece in enumerate(pieces)
        ]
        for i, data in enumerate(made if at % 2 else reversed(made)):
            packets.append(Packet(START_NS + (at * 100 + i) * MS, data))
    yield Capture("fragments", pcap(packets))


def several_interfaces() -> Iterator[Capture]:
    """A pcapng file of three interfaces with clocks and link types of their own."""
    conversations = _conversations(as_it_was, random.Random(3))[::4]
    out = section() + interface(1, 0, option(9, b"\x06")) + interface(113, 0, option(9, b"\x09")) + interface(101)
    links = (CARRIERS["ethernet"][1], CARRIERS["cooked"][1], CARRIERS["raw"][1])
    units = (1000, 1, 1000)
    timed = []
    for at, conversation in enumerate(conversations):
        number = at % 3
        for packet in _packets([conversation], False, links[number]):
            timed.append((packet.time_ns, number, packet.data))
    for time_ns, number, data in sorted(timed, key=lambda row: row[0]):
        out += enhanced(time_ns // units[number], data, number=number)
    yield Capture("several interfaces", out)


def everything() -> Iterator[Capture]:
    """All of the above."""
    for make in (by_carrier, by_trouble, corner_cases, cut_short, in_fragments, several_interfaces):
        yield from make()


def write(capture: Capture, folder: Path) -> Path:
    """The capture as a file."""
    ending = "pcapng" if capture.data.startswith(b"\x0a\x0d\x0d\x0a") else "pcap"
    path = folder / f"{capture.name.replace(' ', '-')}.{ending}"
    path.write_bytes(capture.data)
    return path
