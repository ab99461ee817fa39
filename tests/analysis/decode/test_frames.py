"""Decoding, header by header: frames made by hand on the left, layers with their own bytes on the right."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from header_bytes import decode, dot3, eth, ip4, ip6, records, shown, tapped, tcp, udp

from analysis.columns import (
    BAD_CHECKSUM,
    BAD_IP_HEADER,
    BAD_TRANSPORT_HEADER,
    MAX_LAYERS,
    TOO_MANY_LAYERS,
    TRUNCATED,
    UNKNOWN_LINK_TYPE,
)
from analysis.decode.frames import Decoder

ARP = bytes.fromhex("0001 0800 06 04 0001 020000000001 c0000201 000000000000 c6336402")
SNAP = bytes.fromhex("aaaa03")
GRE_KEY = struct.pack(">HHI", 0x2000, 0x0800, 42)
GTP_LONG = struct.pack(">BBHIHBB", 0x36, 255, 32, 9, 1, 0, 0x85) + bytes.fromhex(
    "01 000900"
)  # with one extension header
RADIOTAP = bytes.fromhex("0000 0900 02000000 10")  # flags: checksum at the end
QOS_DATA = bytes.fromhex("8801 0000") + bytes(18) + bytes(2) + bytes(2)
WEP_DATA = bytes.fromhex("0841 0000") + bytes(20) + bytes.fromhex("01020300") + b"secret" + bytes(4)
BEACON = bytes.fromhex("8000 0000") + bytes(20) + bytes(12)
HOP_BY_HOP = bytes.fromhex("3a00 0502 0000 0100")
ISIS_HELLO = b"\x83" + bytes(3) + b"\x0f" * 2 + bytes(2) + bytes(4)
CAPWAP_WLAN = bytes.fromhex("00 200320 00000000 04 00000000 000000")  # an 802.11 frame follows
SCTP_DATA = (
    struct.pack(">HHII", 5000, 3868, 1, 0) + struct.pack(">BBHIHHI", 0, 3, 20, 1, 0, 0, 46) + b"\x01\x00\x00\x14"
)


def ipx(socket: int, payload: bytes, kind: int = 5, source: int = 0x4010) -> bytes:
    """An IPX packet of type 5 (SPX)."""
    head = struct.pack(">HHBB10xH10xH", 0xFFFF, 30 + len(payload), 0, kind, socket, source)
    return head + payload


# link type, frame, layers with bytes
STACKS = [
    (1, eth(ip4(tcp(b"hello"), 6)), "eth:14 ip:20 tcp:20"),
    (1, eth(ip4(tcp(options=bytes(12)), 6)), "eth:14 ip:20 tcp:32"),
    (1, eth(ip4(udp(b"hi"), 17)) + bytes(6), "eth:20 ip:20 udp:8"),  # padding counts to Ethernet
    (1, eth(ip4(b"\x08\0\0\0\0\1\0\1ping", 1)), "eth:14 ip:20 icmp:12"),
    (1, eth(ip4(b"\x16" + bytes(7), 2, options=b"\x94\4\0\0")), "eth:14 ip:24 igmp:8"),
    (1, eth(ip4(b"what", 200)), "eth:14 ip:20 data:4"),
    (1, eth(ip4(b"", 6)), "eth:14 ip:20"),
    (1, eth(ip4(bytes(24), 89)), "eth:14 ip:20 ospf:24"),
    (1, eth(ip4(bytes(16), 50)), "eth:14 ip:20 esp:16"),
    (1, eth(ip4(b"\x06\4" + bytes(22) + tcp(), 51)), "eth:14 ip:20 ah:24 tcp:20"),
    (1, eth(ip4(struct.pack(">HHHH", 1, 2, 8, 0), 136)), "eth:14 ip:20 udplite:8"),
    (1, eth(ip4(struct.pack(">HHBBHBBHI", 1, 2, 4, 0, 0, 0, 0, 0, 0), 33)), "eth:14 ip:20 dccp:16"),
    (1, eth(ip4(SCTP_DATA, 132)), "eth:14 ip:20 sctp:28 diameter:4"),
    (1, eth(ip4(SCTP_DATA[:12] + b"\3\0\0\4", 132)), "eth:14 ip:20 sctp:16"),
    (1, eth(ip6(udp(b"x"), 17), 0x86DD), "eth:14 ipv6:40 udp:8"),
    (1, eth(ip6(HOP_BY_HOP + b"\x8f" + bytes(7), 0), 0x86DD), "eth:14 ipv6:48 icmpv6:8"),
    (1, eth(ip6(b"", 59), 0x86DD), "eth:14 ipv6:40"),
    (1, eth(ip6(b"", 59) + b"more", 0x86DD), "eth:18 ipv6:40"),  # a length of 0 is nothing ...
    (1, eth(ip6(b"", 58) + b"\x8f" + bytes(7), 0x86DD), "eth:22 ipv6:40 icmpv6:0 _ws.malformed:0"),
    (101, ip6(b"", 0) + b"\x11\0\xc2\x04" + (70_008).to_bytes(4, "big") + udp() + bytes(69_992),
     "raw:70048 ipv6:48 udp:8"),  # ... but in a jumbogram (RFC 2675)
    (101, ip6(b"", 0) + b"\x11\0\xc2\x04" + (24).to_bytes(4, "big") + udp(bytes(8)), "raw:64 ipv6:40 _ws.malformed:0"),
    (1, eth(ARP, 0x0806) + bytes(18), "eth:32 arp:28"),
    (1, eth(b"\0\5" + (0x0800).to_bytes(2, "big") + ip4(udp(), 17), 0x8100), "eth:14 vlan:4 ip:20 udp:8"),
    (1, eth(b"\0\5\x81\0\0\6\x08\0" + ip4(udp(), 17), 0x88A8), "eth:14 ieee8021ad:4 vlan:4 ip:20 udp:8"),
    (1, eth(b"\0\1\0\xff\0\2\1\xff" + ip4(udp(), 17), 0x8847), "eth:14 mpls:8x2 ip:20 udp:8"),
    (1, eth(b"\x11\0\0\1\0\x1e\0\x21" + ip4(udp(), 17), 0x8864), "eth:14 pppoes:6 ppp:2 ip:20 udp:8"),
    (1, eth(b"\x02\7\4\2\0\0\0\0\1" + b"\0\0", 0x88CC), "eth:17 lldp:11"),  # Wireshark's trailer begins a byte early
    (1, eth(b"rest of it", 0x1234), "eth:14 data:10"),
    (1, eth(b"\0\0\1\0\x2a\0" + bytes(20), 0x9000), "eth:14 loop:26 data:20"),
    (1, eth(b"\1" + bytes(109), 0x8809), "eth:14 slow:1 lacp:109"),
    (1, dot3(b"\x42\x42\3" + bytes(35)) + bytes(8), "eth:22 llc:3 stp:35"),
    (1, dot3(SNAP + b"\0\0\x0c\x20\0" + b"\2\xb4\0\0"), "eth:14 llc:8 cdp:4"),
    (1, dot3(SNAP + b"\0\0\0\x08\0" + ip4(udp(), 17)), "eth:14 llc:8 ip:20 udp:8"),
    (1, dot3(b"\xfe\xfe\3\x83" + bytes(3) + b"\x0f" * 2 + bytes(3) + b"abc"), "eth:14 llc:3 isis:12 isis.hello:4"),
    (1, eth(ip4(ip4(tcp(), 6), 4)), "eth:14 ip:40x2 tcp:20"),
    (1, eth(ip4(ip6(tcp(), 6), 41)), "eth:14 ip:20 ipv6:40 tcp:20"),
    (1, eth(ip4(GRE_KEY + ip4(udp(), 17), 47)), "eth:14 ip:20 gre:8 ip:20 udp:8"),
    (1, eth(ip4(b"\0\0\x88\xbe" + eth(ip4(udp(), 17)), 47)), "eth:14 ip:20 gre:4 erspan:0 eth:14 ip:20 udp:8"),
    (1, eth(ip4(b"\x10\0\x88\xbe" + bytes(12) + eth(ARP, 0x0806), 47)), "eth:14 ip:20 gre:8 erspan:8 eth:14 arp:28"),
    (1, eth(ip4(udp(bytes(8) + eth(ARP, 0x0806), destination=4789), 17)), "eth:14 ip:20 udp:8 vxlan:8 eth:14 arp:28"),
    (1, eth(ip4(udp(b"\1\0\x65\x58" + bytes(8) + eth(ARP, 0x0806), destination=6081), 17)),
     "eth:14 ip:20 udp:8 geneve:12 eth:14 arp:28"),
    (1, eth(ip4(udp(GTP_LONG + ip4(udp(), 17), destination=2152), 17)), "eth:14 ip:20 udp:8 gtp:16 ip:20 udp:8"),
    (1, eth(ip4(udp(b"\x30\1\0\0\0\0\0\0", destination=2152), 17)), "eth:14 ip:20 udp:8 gtp:8"),
    (1, eth(ip4(udp(ip6(b"", 59), destination=3544), 17)), "eth:14 ip:20 udp:8 teredo:0 ipv6:40"),
    (1, eth(ip4(udp(b"\0\2\0\1\0\1" + b"\xff\3\0\x21" + ip4(udp(), 17), destination=1701), 17)),
     "eth:14 ip:20 udp:8 l2tp:6 ppp:4 ip:20 udp:8"),
    (0, b"\2\0\0\0" + ip4(udp(), 17), "null:4 ip:20 udp:8"),
    (108, b"\0\0\0\x1e" + ip6(udp(), 17), "null:4 ipv6:40 udp:8"),
    (9, b"\xff\3\0\x21" + ip4(udp(), 17), "ppp:4 ip:20 udp:8"),
    (101, ip4(udp(), 17), "raw:28 ip:20 udp:8"),
    (228, ip4(udp(), 17), "ip:20 udp:8"),
    (229, ip6(udp(), 17), "ipv6:40 udp:8"),
    (113, bytes(14) + b"\x08\0" + ip4(udp(), 17), "sll:16 ip:20 udp:8"),
    (276, b"\x86\xdd" + bytes(18) + ip6(udp(), 17), "sll:20 ipv6:40 udp:8"),
    (104, b"\x0f\0\x08\0" + ip4(udp(), 17), "chdlc:4 ip:20 udp:8"),
    (107, b"\x18\x41\3\xcc" + ip4(udp(), 17), "fr:4 ip:20 udp:8"),
    (105, BEACON, "wlan:24 wlan.mgt:12"),
    (105, WEP_DATA, "wlan:24 data:6"),
    (105, b"\x94\x00" + bytes(26), "wlan:16"),  # block acknowledgement: what is acknowledged is not counted
    (105, b"\xd4\x00" + bytes(8), "wlan:10"),
    (105, QOS_DATA + SNAP + b"\0\0\0\x08\0" + ip4(udp(), 17), "wlan:26 llc:8 ip:20 udp:8"),
    (127, RADIOTAP + BEACON + b"fcs!", "radiotap:9 wlan_radio:0 wlan:24 wlan.mgt:12"),
    (1, eth(b"\5\4\0\4" + bytes(42), 0xC021), "eth:14 lcp:46"),  # Windows captures PPP as Ethernet
    (1, eth(b"\xc0\x21\5\4\0\4" + bytes(40), 0x880B), "eth:14 data:46"),  # PPP's own type is GRE's alone
    (195, b"\2\0\7" + b"cs", "wpan:3"),
    (137, b"MGC\0" + bytes(4) + ip4(udp(), 17), "ip:20 udp:8"),
    (135, b"MGC\x80\0\2ab" + bytes(8) + SNAP + b"\0\0\0\x08\0" + ip4(udp(), 17), "llc:8 ip:20 udp:8"),
    (137, b"MGC00000", "_ws.malformed:0"),  # the header wants more
    # IEEE 802.15.4-2015: no sequence number, one network id, elements that end without content
    (230, b"\x41\xeb\xcd\xab\xff\xff" + bytes(8) + b"\x80\x3fabc", "wpan:19 data:3"),
    (230, b"\x41\xeb\xcd\xab\xff\xff" + bytes(8) + b"\x20\x3fabc", "wpan:19 _ws.malformed:0"),
    (227, b"\1\2\0\0\3\0\0\0abc", "can:11 autosar-nm:3"),
    (227, b"\x80\0\1\0\3\0\0\0abc", "can:11 data:3"),
    (239, b"\2\0\0\0" + struct.pack("<HH", 32, 9) + ip4(udp(), 17), "nflog:36 ip:20 udp:8"),
    (258, struct.pack("<III", 12, 1, 1) + eth(ARP, 0x0806), "pktap:12 eth:14 arp:28"),
    (999, b"abc", "data:3"),
    (9, b"\x0f\0\x08\0" + ip4(udp(), 17), "chdlc:4 ip:20 udp:8"),  # the same link type for both serial framings
    (104, b"\x8f\0\xfe\xfe" + b"\3" + ISIS_HELLO, "chdlc:4 isis:12 isis.hello:4"),
    (104, b"\x8f\0\xfe\xfe" + ISIS_HELLO, "chdlc:4 isis:12 isis.hello:4"),
    (107, b"\x18\x41\3" + ISIS_HELLO, "fr:3 isis:12 isis.hello:4"),
    (107, b"\0\x0c\5\x22\0" + ISIS_HELLO, "fr:5 isis:12 isis.hello:4"),  # an address of three bytes, a control of two
    (107, b"\0\x0c\7\x22\0" + ISIS_HELLO, "fr:17 data:14"),  # circuit 0 signals
    (107, b"\x18\x41\xfe\xfe" + ISIS_HELLO, "fr:4 isis:12 isis.hello:4"),
    (107, b"\x18\x41\3\xcf\0\x21" + ip4(udp(), 17), "fr:4 ppp:2 ip:20 udp:8"),
    (7, b"\1\2\xdd\0\0\1" + b"abc", "arcnet:6 ddp:3"),
    (6, b"\x10\x40" + bytes(12) + SNAP + b"\0\0\0\x08\0" + ip4(udp(), 17), "tr:14 llc:8 ip:20 udp:8"),
    (6, b"\x10\x40" + bytes(6) + b"\x80" + bytes(5) + b"\4" + bytes(3) + SNAP + b"\0\0\0\x08\0" + ip4(udp(), 17),
     "tr:18 llc:8 ip:20 udp:8"),  # source routed
    (226, b"\1\2\0\0" + bytes(20) + ip4(udp(), 17), "ipnet:24 ip:20 udp:8"),
    (231, b"l\1\1\1", "dbus:4"),
    (104, b"\x8f\0\x80\x35" + bytes(18), "chdlc:4 slarp:14"),
    (1, eth(b"\1\0\0\6\1\1\0\6\1a", 0x888E) + bytes(36), "eth:50 eapol:10 eap:6"),
    (1, eth(b"\0\2\0\x2c" + bytes(40), 0x88F7) + bytes(2), "eth:16 ptp:44"),
    (1, eth(b"\0\0\0\0\0\1\x08\6" + ARP + bytes(16), 0x88E5), "eth:14 macsec:8 arp:28"),
    (1, dot3(b"\0\1\xaf\x81\1\0") + bytes(40), "eth:54 llc:3 basicxid:3"),
    (1, bytes.fromhex("01000c000000 020000000001 0049 aaaa03 00000c 0003 0000 0000") + eth(ARP, 0x0806) + bytes(19),
     "isl:26 eth:33 arp:28"),
    (1, bytes.fromhex("020abd000000 020abc000000 8903 4020") + eth(ARP, 0x0806), "cfp:16 eth:14 arp:28"),
    (1, eth(bytes.fromhex("0001 0010 0102030405060708 0806") + ARP, 0xD28B), "eth:14 avsp:42 arp:28"),
    (1, eth(bytes.fromhex("0001 0020 010203040506 0806") + ARP, 0xD28B), "eth:14 avsp:40 arp:28"),
    (1, eth(b"\2\0\7" + b"cs", 0x809A), "eth:14 wpan:3"),
    (1, eth(ip4(b"\x20\0\0\0abcd", 103)), "eth:14 ip:20 pim:8"),
    (1, eth(ip4(b"\x21\0\0\0\0\0\0\0" + ip4(udp(), 17), 103)), "eth:14 ip:20 pim:36 ip:20 udp:8"),  # a register
    (1, eth(ip4(b"\x21\0\0\0\0\0\0\0" + bytes(20), 103)), "eth:14 ip:20 pim:28"),
    (1, eth(ip4(b"\x14\4" + bytes(10), 2)), "eth:14 ip:20 pim:12"),  # version 1, as a type of IGMP
    (1, eth(ip4(b"\x13\1" + bytes(10), 2)), "eth:14 ip:20 dvmrp:12"),
    (1, eth(ip4(b"\xff\0" + bytes(6), 2)), "eth:14 ip:20 rgmp:8"),
    (1, eth(ip4(b"\x20", 103)), "eth:14 ip:20 pim:1 _ws.malformed:0"),
    (1, eth(ip6(b"\x3b\4" + bytes(22), 51), 0x86DD), "eth:14 ipv6:64"),  # there it is an extension header
    (1, eth(ip6(b"\x11\4" + bytes(22) + udp(), 51), 0x86DD), "eth:14 ipv6:64 udp:8"),
    (1, eth(ip6(b"\x3b\0" + bytes(6), 62), 0x86DD), "eth:14 ipv6:40 mipv6:8"),
    (1, eth(ip4(struct.pack(">HHBBHBBHI", 1, 2, 4, 0, 0, 0, 0, 0, 0) + b"abc", 33)), "eth:14 ip:20 dccp:19 data:3"),
    (1, eth(ipx(0x0453, b"\0\2rip"), 0x8137), "eth:14 ipx:30 ipxrip:5"),
    (1, dot3(ipx(0x0453, b"\0\2rip")), "eth:14 ipx:30 ipxrip:5"),  # Novell's raw 802.3
    (1, eth(ipx(0x4011, b"what?"), 0x8137), "eth:14 ipx:30 spx:5"),
    (1, eth(ipx(0x4011, b"what?", 4), 0x8137), "eth:14 ipx:30 data:5"),
    (1, eth(ipx(0x0455, b"\0\x0b" + bytes(32) + b"\xffSMB", 4), 0x8137), "eth:14 ipx:30 nbipx:34 smb:4"),
    (1, eth(ipx(0x0455, bytes(33) + b"\1" + bytes(16), 4), 0x8137), "eth:14 ipx:30 nbipx:50"),
    (1, eth(ipx(0x0551, bytes(32) + b"\xfc" + bytes(35) + b"\xffSMB", source=0x0550), 0x8137),
     "eth:14 ipx:30 nmpi:68 smb:4"),
    (1, eth(ipx(0x0550, b"\xffSMB"), 0x8137), "eth:14 ipx:30 smb:4"),
    (1, eth(ip4(udp(CAPWAP_WLAN + BEACON[1::-1] + BEACON[2:], destination=5247), 17)),
     "eth:14 ip:20 udp:8 capwap.data:52 wlan:24 wlan.mgt:12"),  # frame control the other way round
    (1, eth(ip4(udp(b"\0\x10\0\0\0\0\0\0" + eth(ARP, 0x0806), destination=5247), 17)),
     "eth:14 ip:20 udp:8 capwap.data:50 eth:14 arp:28"),
    (1, eth(ip4(udp(b"\0\x10\0\x80\0\1\0\0abc", destination=5247), 17)), "eth:14 ip:20 udp:8 capwap.data:11"),
]  # fmt: skip


@pytest.mark.parametrize(("link", "frame", "expected"), STACKS, ids=[f"{s[0]}-{s[2]}" for s in STACKS])
def test_layers_and_their_own_bytes(link: int, frame: bytes, expected: str) -> None:
    """Each header is a layer with its own bytes, as Wireshark's Protocol Hierarchy counts them."""
    assert shown(decode(frame, link=link)) == expected


CUT = [
    (eth(ip4(tcp(), 6)), 13, "_ws.short:0"),
    (eth(ip4(tcp(), 6)), 14, "eth:14 _ws.short:0"),
    (eth(ip4(tcp(), 6)), 33, "eth:14 ip:19 _ws.short:0"),
    (eth(ip4(tcp(), 6)), 37, "eth:14 ip:20 _ws.short:0"),
    (eth(ip4(tcp(), 6)), 40, "eth:14 ip:20 tcp:6 _ws.short:0"),
    (eth(ip4(tcp(options=bytes(12)), 6)), 60, "eth:14 ip:20 tcp:26 _ws.short:0"),
    (eth(ip4(udp(bytes(50)), 17)), 50, "eth:14 ip:20 udp:8"),
    (eth(ip6(udp(), 17), 0x86DD), 30, "eth:14 ipv6:16 _ws.short:0"),
    (eth(ARP, 0x0806), 20, "eth:14 arp:6 _ws.short:0"),
    (eth(bytes(100), 0x1234), 20, "eth:14 data:6"),
]


@pytest.mark.parametrize(("frame", "kept", "expected"), CUT, ids=[f"{c[2]}" for c in CUT])
def test_a_cut_frame_ends_in_a_short_frame(frame: bytes, kept: int, expected: str) -> None:
    """A header that the capture cut is shown with what is there (if its dissector got to it), then `_ws.short`."""
    batch = decode(frame[:kept], wire=[len(frame)])

    assert shown(batch) == expected
    assert bool(batch.packets.fault[0] & TRUNCATED) == ("_ws.short" in expected)


def test_a_frame_that_was_short_on_the_wire_is_malformed() -> None:
    """The same bytes without a longer original are the sender's fault."""
    batch = decode(eth(ip4(tcp(), 6))[:40])

    assert shown(batch) == "eth:14 ip:20 tcp:6 _ws.malformed:0"
    assert batch.packets.fault[0] & BAD_TRANSPORT_HEADER


def test_columns_of_a_tcp_segment() -> None:
    """Every field of the innermost IP and TCP header lands in its column; the payload is what the lengths say."""
    options = bytes.fromhex("020405b4 0402 080a0000000100000002 01 030307 00") + bytes(3)
    frame = eth(ip4(tcp(b"hello", options, flags=0x12), 6, ttl=57)) + bytes(3)
    p = decode(frame).packets

    expected = {
        "number": 1, "time_ns": 0, "start": 0, "cap_len": len(frame), "frame_len": len(frame), "interface": 0,
        "link_type": 1, "fault": 0, "n_layers": 3, "n_taps": 3, "first_tap": 0, "ip_start": 14, "ip_tap": 1,
        "transport_tap": 2, "ip_protocol": 6, "ttl": 57, "fragment": 0, "transport_start": 34,
        "payload_start": 34 + 20 + 24, "payload_len": 5, "payload_cap": 5, "tcp_seq": 1000, "tcp_ack": 2000,
        "tcp_flags": 0x12, "tcp_window": 512, "tcp_scale": 7, "tcp_options": 2 + 4 + 8, "icmp_type": -1,
        "icmp_code": -1, "flow": -1, "direction": 0, "analysis": 0,
    }  # fmt: skip
    assert {name: int(getattr(p, name)[0]) for name in expected} == expected


def test_taps_of_a_tunnel() -> None:
    """Every addressed layer is tapped, outermost first; ip_start is the outer header, ip_tap and ttl the inner one."""
    inner = eth(ip6(tcp(source=9, destination=443), 6, hops=3), 0x86DD)
    batch = decode(eth(ARP, 0x0806), eth(ip4(udp(bytes(8) + inner, destination=4789), 17)))
    mac = "eth 02:00:00:00:00:01 0 > 02:00:00:00:00:02 0"
    p = batch.packets

    assert tapped(batch, 0) == [mac]
    assert tapped(batch, 1) == [
        mac,
        "ip 192.0.2.1 0 > 198.51.100.2 0",
        "udp 192.0.2.1 1025 > 198.51.100.2 4789",
        mac,
        "ipv6 2001:db8::1 0 > 2001:db8::2 0",
        "tcp 2001:db8::1 9 > 2001:db8::2 443",
    ]
    assert (p.first_tap[1], p.ip_tap[1], p.transport_tap[1], p.ttl[1]) == (1, 5, 6, 3)
    assert p.ip_start[1] == p.start[1] + 14


def test_what_a_tunnel_carries_hides_the_outer_transport() -> None:
    """An inner OSPF packet has no transport: no tap, ports or payload of the outer UDP header remain."""
    p = decode(eth(ip4(udp(GTP_LONG + ip4(bytes(24), 89), destination=2152), 17))).packets

    assert (p.ip_protocol[0], p.transport_tap[0], p.payload_start[0], p.payload_len[0]) == (89, -1, -1, 0)


ICMP_TAPS = [
    (1, b"\x08\0\0\0\0\7\0\1", "icmp 192.0.2.1 7 > 198.51.100.2 8"),
    (1, b"\0\0\0\0\0\7\0\1", "icmp 192.0.2.1 7 > 198.51.100.2 8"),
    (1, b"\x0e\0\0\0\0\7\0\1", "icmp 192.0.2.1 7 > 198.51.100.2 13"),
    (1, b"\3\3\0\0\0\0\0\0" + ip4(udp(), 17), "icmp 192.0.2.1 0 > 198.51.100.2 0"),
]


@pytest.mark.parametrize(("protocol", "message", "expected"), ICMP_TAPS)
def test_an_icmp_tap_pairs_request_and_reply(protocol: int, message: bytes, expected: str) -> None:
    """Identifier as source port, type of the request as destination port; what an error quotes is neither tapped nor a layer."""
    batch = decode(eth(ip4(message, protocol)))

    assert tapped(batch)[2:] == [expected]
    assert shown(batch) == f"eth:14 ip:20 icmp:{len(message)}"
    assert (batch.packets.icmp_type[0], batch.packets.icmp_code[0]) == (message[0], message[1])


def test_a_source_route_names_the_real_destination() -> None:
    """RFC 791 3.1: while the route is unfinished, its last address is where the packet goes."""
    route = bytes([131, 7, 4]) + bytes([203, 0, 113, 9]) + b"\0"

    assert tapped(decode(eth(ip4(udp(), 17, options=route))))[1] == "ip 192.0.2.1 0 > 203.0.113.9 0"


FAULTS = [
    (eth(b"\x44" + ip4(udp(), 17)[1:]), BAD_IP_HEADER, "eth:14 ip:16"),
    (eth(b"\x35" + ip4(udp(), 17)[1:]), BAD_IP_HEADER, "eth:14 ip:20"),
    (eth(b"\x45\0\0\x13" + ip4(udp(), 17)[4:]), BAD_IP_HEADER, "eth:14 ip:20"),
    (eth(ip4(udp(), 17, ttl=9)).replace(b"\x09\x11", b"\x08\x11"), BAD_CHECKSUM, "eth:14 ip:20 udp:8"),
    (eth(ip4(tcp()[:12] + b"\x40" + tcp()[13:], 6)), BAD_TRANSPORT_HEADER, "eth:14 ip:20 tcp:20"),
    (eth(ip4(b"\0\1\0\2\0\7\0\0abc", 17)), BAD_TRANSPORT_HEADER, "eth:14 ip:20 udp:8"),
]


@pytest.mark.parametrize(("frame", "fault", "expected"), FAULTS, ids=[f"{f[1]}-{f[2]}" for f in FAULTS])
def test_a_header_that_cannot_be_is_a_fault(frame: bytes, fault: int, expected: str) -> None:
    """The packet keeps its row; the bit says what was wrong, and the walk ends where Wireshark's does."""
    batch = decode(frame)

    assert batch.packets.fault[0] == fault
    assert shown(batch) == expected


def test_an_unknown_link_type_is_said() -> None:
    """Nobody dissects LINKTYPE 999: `data`, and the fault that names it."""
    assert decode(b"abc", link=999).packets.fault[0] == UNKNOWN_LINK_TYPE


def test_segmentation_offload_writes_no_length() -> None:
    """A total length of 0 means: to the end of the frame."""
    packet = ip4(tcp(b"x" * 3000), 6)
    batch = decode(eth(packet[:2] + b"\0\0" + packet[4:]))

    assert (shown(batch), batch.packets.payload_len[0]) == ("eth:14 ip:20 tcp:20", 3000)


def test_layers_beyond_the_matrix_are_a_fault() -> None:
    """Alternating tags fill the matrix; the walk ends, the first 24 layers stay."""
    tags = b"".join(b"\0\1" + kind.to_bytes(2, "big") for kind in (0x88A8, 0x8100) * 40)
    p = decode(eth(tags + bytes(4), 0x8100)).packets

    assert p.n_layers[0] == MAX_LAYERS
    assert p.fault[0] & TOO_MANY_LAYERS


def test_chunks_may_be_empty_and_buffers_read_only() -> None:
    """No packets, no rows; the reader's bytes are looked at, never written."""
    decoder = Decoder()
    batch = decoder.update(records([]))

    assert (len(batch.packets.number), len(batch.taps.kind)) == (0, 0)
    assert not batch.data.flags.writeable


def test_room_for_taps_grows() -> None:
    """Thousands of tunnels in one chunk need more taps than four a packet; none is lost."""
    frame = eth(
        ip4(udp(bytes(8) + eth(ip4(udp(bytes(8) + eth(ip4(udp(), 17)), destination=4789), 17)), destination=4789), 17)
    )
    batch = decode(*[frame] * 50)

    assert len(batch.taps.kind) == 9 * 50
    assert np.array_equal(batch.packets.first_tap, np.arange(50) * 9)
    assert shown(batch, 49) == shown(batch, 0)


@pytest.mark.parametrize("pads", [2, 3, 100])
def test_packets_that_wait_for_python_change_nothing(pads: int) -> None:
    """However many wait at once for a layer that is none of the kernel's: the same columns, taps in packet order."""
    whole = udp(bytes(48))
    fragments = [
        eth(ip4(whole[at : at + 16], 17, place=at // 8 | (0x2000 if at < 40 else 0))) for at in (0, 16, 32, 48)
    ]
    inner = eth(ip6(udp(), 17), 0x86DD)
    erspan = eth(ip4(b"\x10\0\x88\xbe\0\0\0\1" + b"\x10\1\0\0\0\0\0\0" + inner, 47))
    frames = [eth(ip4(udp(), 17)), fragments[0], eth(bytes(46), 0x9000), fragments[2], eth(ARP, 0x0806), erspan]
    frames += [fragments[1], eth(ip4(tcp(), 6)), fragments[3], dot3(bytes(40)), erspan, eth(ip4(udp(), 17))]
    one = Decoder(pads=1).update(records(frames))
    many = Decoder(pads=pads).update(records(frames))

    assert len(set(one.taps.packet.tolist())) == len(frames)
    assert shown(one, 8) == "eth:14 ip:20 udp:8"
    for kind in ("packets", "taps"):
        for name, expected, found in zip(
            getattr(one, kind)._fields, getattr(one, kind), getattr(many, kind), strict=True
        ):
            assert np.array_equal(expected, found), name


def test_a_tunnels_port_chosen_by_a_client_is_no_tunnel() -> None:
    """The lower port decides: what answers from port 53 is DNS, whatever ephemeral port asked."""
    for port in (4789, 6081, 37008):
        answer = eth(ip4(udp(bytes(40), source=53, destination=port), 17))
        tunnel = eth(ip4(udp(b"\1" * 40, source=50_000, destination=port), 17))

        assert shown(decode(answer)) == "eth:14 ip:20 udp:8"
        assert shown(decode(tunnel)) != "eth:14 ip:20 udp:8"


def test_a_chunk_keeps_its_own_bytes() -> None:
    """Of a window that holds more than the chunk, only the chunk's bytes go on, and its packets are the same."""
    frames = [eth(ip4(udp(bytes(n)), 17)) for n in range(4)]
    whole = records(frames)
    some = whole._replace(**{name: getattr(whole, name)[1:3] for name in whole._fields if name != "data"})
    batch = Decoder().update(some)
    spans = zip(batch.packets.start, batch.packets.cap_len)

    assert [batch.data[at : at + n].tobytes() for at, n in spans] == frames[1:3]
    assert len(batch.data) == len(frames[1]) + len(frames[2])


def test_packets_without_bytes() -> None:
    """A chunk of which nothing was captured has its rows all the same."""
    whole = records([eth(ip4(udp(), 17))])
    batch = Decoder().update(whole._replace(cap_len=whole.cap_len * 0))

    assert len(batch.packets.number) == 1
