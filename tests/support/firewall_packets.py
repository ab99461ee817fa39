"""IP packets made by hand, as bytes and as batches, for tests of the firewall; no decoder is involved.

`batch` puts raw IP packets into the columns that the firewall reads; `policies` and `packets` are hypothesis strategies
over a small world of addresses and ports, so that rules and packets meet.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from analysis.columns import Batch, empty_packets, empty_taps
from analysis.findings import Accountable, Finding, Severity
from firewall.errors import RuleError
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.survey import Survey, Surveyor

SECOND = 1_000_000_000
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    src: str,
    dst: str,
    proto: int,
    payload: bytes = b"",
    *,
    ttl: int = 64,
    offset: int = 0,
    more: bool = False,
    ident: int = 1,
) -> bytes:
    """An IPv4 packet with a right header checksum; `offset` in units of 8 bytes."""
    word = offset | (0x2000 if more else 0)
    sides = ipaddress.IPv4Address(src).packed + ipaddress.IPv4Address(dst).packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident, word, ttl, proto, 0) + sides
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def ipv6(src: str, dst: str, proto: int, payload: bytes = b"", *, hop: int = 64) -> bytes:
    """An IPv6 packet without extension headers."""
    sides = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), proto, hop) + sides + payload


def ip(src: str, dst: str, proto: int, payload: bytes = b"") -> bytes:
    """A packet of the family of its addresses."""
    return ipv6(src, dst, proto, payload) if ":" in src else ipv4(src, dst, proto, payload)


def tcp(src: str, sport: int, dst: str, dport: int, flags: int = SYN, size: int = 0) -> bytes:
    """A TCP segment."""
    return ip(src, dst, 6, struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1000, 0, 0) + bytes(size))


def udp(src: str, sport: int, dst: str, dport: int, size: int = 4) -> bytes:
    """A UDP datagram."""
    return ip(src, dst, 17, struct.pack(">HHHH", sport, dport, 8 + size, 0) + bytes(size))


def icmp(src: str, dst: str, kind: int, code: int = 0, ident: int = 7, body: bytes = b"") -> bytes:
    """An ICMP or ICMPv6 message."""
    return ip(src, dst, 58 if ":" in src else 1, struct.pack(">BBHHH", kind, code, 0, ident, 1) + body)


def batch(
    packets: Sequence[bytes], *, times: Sequence[int] | None = None, flows: Sequence[int] | None = None, first: int = 1
) -> Batch:
    """Raw IP packets as a batch; times in ns (else a millisecond apart)."""
    n = len(packets)
    columns = empty_packets(n)
    sizes = np.array([len(p) for p in packets], np.int64)
    columns.start[:] = np.cumsum(sizes) - sizes
    columns.ip_start[:] = columns.start
    columns.cap_len[:] = sizes
    columns.frame_len[:] = sizes
    columns.number[:] = np.arange(first, first + n)
    columns.time_ns[:] = times if times is not None else np.arange(n) * (SECOND // 1000)
    columns.link_type[:] = 101
    if flows is not None:
        columns.flow[:] = flows
    return Batch(np.frombuffer(b"".join(packets), np.uint8), columns, empty_taps(0))


# A small world

HOSTS4 = ("10.0.0.1", "10.0.0.2", "10.0.0.129", "10.0.1.7", "192.0.2.5", "198.51.100.77")
HOSTS6 = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::9", "2001:db8:ffff::5")
NETS4 = (*HOSTS4, "10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/23", "192.0.2.0/24", "10.0.0.1-10.0.0.3", "0.0.0.0/1")
NETS6 = (*HOSTS6, "2001:db8::/64", "2001:db8::/32", "2001:db8::1-2001:db8::7", "8000::/1")
PORTS = (22, 53, 80, 443, 1024, 8080, 65535)
PORT_TEXTS = (
    "22",
    "53",
    "80,443",
    "1-1023",
    "1024-65535",
    "22,80,443,8000-9000",
    "0-65535",
    ",".join(map(str, range(1, 60, 2))),
)


@lru_cache(maxsize=4096)
def addresses(*texts: str) -> AddrSet:
    """A set, parsed once: the small world has few."""
    return AddrSet.parse(*texts)


@st.composite
def matches(draw: st.DrawFn, states: bool = False) -> Match:
    """A valid match."""
    nets = draw(st.sampled_from((NETS4, NETS6, NETS4 + NETS6)))
    sides = st.none() | st.lists(st.sampled_from(nets), min_size=1, max_size=12).map(lambda t: addresses(*t))
    proto = draw(st.sampled_from((None, 6, 17, 1, 58, 47, 132)))
    values: dict[str, object] = {"src": draw(sides), "dst": draw(sides), "proto": proto}
    negate = {name for name in ("src", "dst") if values[name] is not None and draw(st.integers(0, 4)) == 0}
    if proto in (6, 17, 132):
        ports = st.none() | st.sampled_from(PORT_TEXTS).map(PortSet.parse)
        values |= {"sport": draw(ports), "dport": draw(ports)}
        negate |= {n for n in ("sport", "dport") if values[n] is not None and values[n] != PortSet.parse("0-65535") and draw(st.integers(0, 4)) == 0}  # fmt: skip
    if proto == 6:
        values["tcp_flags"] = draw(st.sampled_from((None, (0x17, 2), (18, 18), (63, 0), (4, 4))))
    if proto in (1, 58):
        values["icmp"] = draw(st.sampled_from((None, PortSet(((2048, 2303),)), PortSet(((768, 772), (32768, 33279))))))
    if states:
        values["states"] = draw(st.none() | st.sets(st.sampled_from(("NEW", "ESTABLISHED", "INVALID", "RELATED")), min_size=1).map(frozenset))  # fmt: skip
    try:
        return Match(**values, negate=frozenset(negate))  # type: ignore[arg-type]
    except RuleError:
        return Match(proto=proto)


@st.composite
def policies(draw: st.DrawFn, states: bool = False, most: int = 8) -> Policy:
    """A valid policy."""
    vantage = draw(st.sampled_from((Vantage.HOST, Vantage.ROUTER, Vantage.SPAN)))
    rules = {}
    for _ in range(draw(st.integers(1, most))):
        action = draw(st.sampled_from(Action))
        direction = draw(st.sampled_from(Direction))
        rule = Rule(
            action, draw(matches(states)), direction, draw(st.sampled_from((None, 3600))), draw(st.text(max_size=40))
        )
        rules[rule.id] = rule
    default = draw(st.sampled_from((Action.PERMIT, Action.DROP)))
    return Policy(
        tuple(rules.values()), default, vantage, AddrSet.parse("10.0.0.1", "2001:db8::1"), created=2_000_000_000
    )


@st.composite
def packets(draw: st.DrawFn, fragments: bool = True) -> bytes:
    """One packet of the small world, whole, cut short inside its header, or a fragment."""
    hosts = draw(st.sampled_from((HOSTS4, HOSTS4, HOSTS6)))
    src, dst = draw(st.sampled_from(hosts)), draw(st.sampled_from(hosts))
    kind = draw(st.sampled_from(("tcp", "tcp", "udp", "udp", "icmp", "other", "short", "fragment")))
    sport, dport = draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))
    if kind == "tcp":
        return tcp(
            src,
            sport,
            dst,
            dport,
            draw(st.sampled_from((SYN, SYN | ACK, ACK, FIN | ACK, RST, 0, 63))),
            draw(st.integers(0, 30)),
        )
    if kind == "udp":
        return udp(src, sport, dst, dport, draw(st.integers(0, 30)))
    if kind == "icmp":
        return icmp(src, dst, draw(st.sampled_from((0, 3, 8, 11, 128, 129, 135))), draw(st.integers(0, 5)))
    if kind == "short":
        return ip(src, dst, draw(st.sampled_from((6, 17, 1, 58, 132))), bytes(draw(st.integers(0, 13))))
    if kind == "fragment" and fragments and hosts is HOSTS4:
        body = draw(st.binary(min_size=24, max_size=48))
        return ipv4(
            src,
            dst,
            draw(st.sampled_from((6, 17, 1))),
            body,
            offset=draw(st.sampled_from((0, 3, 100))),
            more=draw(st.booleans()),
        )
    return ip(src, dst, draw(st.sampled_from((47, 50, 89, 4))), bytes(8))


# Captures and findings for the whole path


def pcap(packets: Sequence[bytes], *, times: Sequence[int] | None = None) -> bytes:
    """A classic capture of raw IP packets (LINKTYPE_RAW), a millisecond apart unless `times` (ns) say otherwise."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 101)]
    for at, packet in enumerate(packets):
        now = times[at] if times is not None else at * (SECOND // 1000)
        out.append(struct.pack("<IIII", now // SECOND + 1_700_000_000, now % SECOND, len(packet), len(packet)) + packet)
    return b"".join(out)


def talk(client: str, port: int, server: str, service: int, *, data: int = 2) -> list[bytes]:
    """A TCP conversation: handshake, `data` segments each way, FINs. 7 + 2 * data packets."""
    there, back = (client, port, server, service), (server, service, client, port)
    out = [tcp(*there, SYN), tcp(*back, SYN | ACK), tcp(*there, ACK)]
    for _ in range(data):
        out += [tcp(*there, PSH | ACK, 20), tcp(*back, PSH | ACK, 40)]
    return [*out, tcp(*there, FIN | ACK), tcp(*back, ACK), tcp(*back, FIN | ACK), tcp(*there, ACK)]


def finding(subject: str, address: str | None, side: str = "source", **values: Any) -> Finding:
    """A finding of severity high about one accountable address; `values` replace fields."""
    fields: dict[str, Any] = {
        "detector": "test", "subject": subject, "title": f"{subject} did something", "severity": Severity.HIGH, "confidence": 0.9,
        "accountable": Accountable(address, side) if address else None, "hosts": (), "first_time": 1.0, "last_time": 2.0,
        "packets": 1, "bytes": 60, "frames": (1,), "frame_count": 1, "numbers": {}, "explanation": "", "benign_explanation": "",
        "filter": "frame.number == 1", "advice": "", "flows": (0,),
    }  # fmt: skip
    return Finding(**(fields | values))


def surveyed(packets: Sequence[bytes], bad: dict[str, Sequence[int]]) -> Survey:
    """The survey of packets of which `bad` (finding id -> positions) belong to findings; others have no flow."""
    names = list(bad)
    flows = [-1] * len(packets)
    for number, name in enumerate(names):
        for at in bad[name]:
            flows[at] = number
    surveyor = Surveyor({name: np.array([number], np.int64) for number, name in enumerate(names)})
    surveyor.update(batch(packets, flows=flows))
    return surveyor.finish()
