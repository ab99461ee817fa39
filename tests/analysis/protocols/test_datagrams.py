"""What stands above UDP, asked as the flow stage asks it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quic_packets import client_hello, crypto, initial
from udp_batches import Sent, above_udp, batch, path

from analysis import layers
from analysis.columns import MAX_LAYERS
from analysis.facts import Facts
from analysis.protocols import datagrams
from analysis.protocols.datagram import Context, Datagram
from analysis.protocols.datagram_bulk import AT_ONCE
from analysis.protocols.datagram_rules import HEURISTICS, PORTS
from analysis.protocols.datagrams import DatagramNaming

DNS_QUERY = bytes.fromhex("1a2b01000001000000000000") + b"\x03www\x07example\x03com\0\0\x01\0\x01"
WG_INITIATION = b"\1\0\0\0" + bytes(144)
STUN = bytes.fromhex("000100002112a442") + bytes(12)
DTLS = b"\x17\xfe\xfd" + bytes(8) + b"\0\2ab"
ISAKMP = bytes(16) + b"\x21\x20\x22\x08" + bytes(4) + (60).to_bytes(4, "big") + b"\0\0\0\x20" + bytes(28)
SIP = b"OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\r\n"
SMB_BROWSE = (
    b"\xffSMB\x25" + bytes(27) + b"\x11" + bytes(22) + b"\x04\0" + (86).to_bytes(2, "little") + bytes(8)
    + b"\x15\0" + b"\\MAILSLOT\\BROWSE\0" + b"\x0c\0ab"
)  # fmt: skip
NBDGM = b"\x11\x02" + bytes(12) + (b"\x20" + b"CA" * 16 + b"\0") * 2

# name, port, payload, path, and where the sizes matter: bytes of each layer
CASES: list[tuple[str, int, bytes, str, list[int] | None]] = [
    ("dns", 53, DNS_QUERY, "dns", [33]),
    ("dns cut short by its sender", 53, DNS_QUERY[:8], "dns/_ws.malformed", [8, 0]),
    ("mdns", 5353, DNS_QUERY, "mdns", None),
    ("llmnr", 5355, DNS_QUERY, "llmnr", None),
    ("nbns", 137, DNS_QUERY, "nbns", None),
    ("host announcement", 138, NBDGM + SMB_BROWSE, "nbdgm/smb/mailslot/browser", [82, len(SMB_BROWSE), 25, 4]),
    ("bootp without cookie", 67, bytes(300), "dhcp", [300]),
    ("bootp without its vendor area", 67, bytes(240), "dhcp/_ws.malformed", None),
    ("dhcp on the port of boot servers", 4011, bytes(236) + b"\x63\x82\x53\x63\x35\1\1\xff", "dhcp", None),
    ("gtp version 2", 2123, b"\x48\x20\0\x08" + bytes(8), "gtpv2", None),
    ("ptp", 319, b"\x0b\2\0\x40" + bytes(60), "ptp", None),
    ("ipmi", 623, b"\6\0\xff\7" + bytes(9) + b"\4abcd", "rmcp/ipmi_session/ipmb", [4, 10, 4]),
    ("asf", 623, b"\6\0\xff\6\0\0\x11\xbe\x80\0\0\0", "rmcp/asf", [4, 8]),
    ("rx", 7001, bytes(20) + b"\1" + bytes(7) + b"call", "rx/afs", [28, 4]),
    ("session announcement", 9875, b"\x20\0\0\1\x0a\0\0\1application/sdp\0v=0\r\n", "sap/sdp", [24, 5]),
    ("iax voice", 4569, b"\0\1\0\2voice", "iax2/data", [4, 5]),
    ("capwap with dtls", 5246, b"\1\0\0\0" + bytes(20), "capwap/dtls", None),
    ("babel of another version", 6696, b"\x2a\3\0\0", "", None),
    ("edonkey", 4672, b"\xe3\x96" + bytes(8), "edonkey", None),
    ("mgcp with a session description", 2427, b"200 1 OK\r\n\r\nv=0\r\n", "mgcp/sdp", [12, 5]),
    ("dhcp of a few bytes", 67, bytes(40), "dhcp/_ws.malformed", None),
    ("dhcpv6", 547, b"\x01abc\0\1\0\2xy", "dhcpv6", None),
    ("ntp", 123, b"\x1b" + bytes(47), "ntp", [48]),
    ("ntp control message", 123, b"\x16\x02" + bytes(10), "ntp", None),
    ("ntp of one byte", 123, b"\x1b", "ntp/_ws.malformed", None),
    ("snmp", 161, bytes.fromhex("302602010104067075626c6963a019020101020100020100300e300c06082b060102010101000500"), "snmp", None),
    ("snmp that is none", 161, b"hello there", "data", None),
    ("snmp longer than its datagram", 161, bytes.fromhex("3026020101040670756261"), "data", None),
    ("snmp whose inside does not fit", 161, bytes.fromhex("3009020101040670756261"), "snmp/_ws.malformed", None),
    ("syslog", 514, b"<13>hello", "syslog", None),
    ("tftp request", 69, b"\0\1a.txt\0octet\0", "tftp", None),
    ("tftp data", 69, b"\0\3\0\1abc", "tftp/data", [4, 3]),
    ("radius", 1812, b"\1\1\0\x1b" + bytes(16) + b"\1\7alice", "radius", [27]),
    ("radius code that does not exist", 1812, b"\xee\1\0\x14" + bytes(16), "data", None),
    ("radius longer than its datagram", 1812, b"\1\1\2\0" + bytes(16), "radius/_ws.malformed", None),
    ("kerberos error", 88, bytes.fromhex("7e0830060201050201 1e".replace(" ", "")), "kerberos", None),
    ("ssdp", 1900, b"M-SEARCH * HTTP/1.1\r\n\r\n", "ssdp", None),
    ("something else on the port of ssdp", 1900, b"hello", "", None),
    ("isakmp", 500, ISAKMP, "isakmp", [60]),
    ("isakmp whose length is none", 500, bytes(40), "data", None),
    ("isakmp behind nat", 4500, bytes(4) + ISAKMP, "udpencap/isakmp", [4, 60]),
    ("esp", 4500, b"\1\2\3\4" + bytes(60), "udpencap/esp", [0, 64]),
    ("nat keep-alive", 4500, b"\xff", "udpencap", [1]),
    ("isakmp with a payload that does not fit", 500, ISAKMP[:28] + b"\0\0\0\x40" + bytes(28), "isakmp/_ws.malformed", None),
    ("isakmp, two payloads", 4500, bytes(4) + ISAKMP[:28] + b"\x22\0\0\x10" + bytes(12) + b"\0\0\0\x10" + bytes(12), "udpencap/isakmp", None),
    ("coap with json", 5683, b"\x60\x45\0\1\xc1\x32\xff{}", "coap/json", [9, 2]),
    ("coap of an empty message", 5683, b"\x60\0\0\1", "coap", None),
    ("dns on a port of nobody", 40001, DNS_QUERY, "dns", None),
    ("mpeg transport stream", 40001, (b"\x47" + bytes(187)) * 7, "mp2t", [7 * 188]),
    ("raknet", 40001, b"\5" + bytes.fromhex("00ffff00fefefefefdfdfdfd12345678") + bytes(40), "raknet", None),
    ("srt", 40001, b"\x80" + bytes(18) + b"\5" + bytes(40), "srt", None),
    ("art-net", 40001, b"Art-Net\0\0\x50", "artnet", None),
    ("bfd", 3784, b"\x20\xc0\3\x18" + bytes(20), "bfd", [24]),
    ("rip", 520, b"\2\2\0\0" + bytes(20), "rip", [24]),
    ("rip with half an entry", 520, b"\2\2\0\0" + bytes(30), "rip/_ws.malformed", None),
    ("rip with a digest", 520, b"\2\2\0\0\xff\xff\0\3" + bytes(60), "rip", [68]),
    ("cluster of check point", 8116, b"\x1a\x90\0\1" + bytes(8), "cpha", None),
    ("kerberos 4", 750, b"\4\2" + bytes(8), "krb4", None),
    ("kerberos 4 that is none", 750, b"\5\2" + bytes(8), "data", None),
    ("knx with a frame", 3671, b"\6\x10\4\x20\0\x15\4\1\0\0" + bytes(11), "kip/cemi", [21, 11]),
    ("knx without", 3671, b"\6\x10\2\1\0\x0e" + bytes(8), "kip", [14]),
    ("local service discovery elsewhere", 6771, b"BT-SEARCH * HTTP/1.1\r\n", "data", None),
    ("sip", 5060, SIP, "sip", [len(SIP)]),
    ("sip on another port", 40001, SIP, "sip", None),
    ("stun", 40001, STUN, "stun", [20]),
    ("stun of no whole words", 40001, b"\0\1\0\2" + STUN[4:] + b"ab", "stun", [22]),
    ("rtcp, two parts", 40001, b"\x80\xc9\0\1abcd\x81\xca\0\1efgh", "rtcp", [16]),
    ("rtcp whose reports do not fit", 40001, b"\x9f\xc9\0\1abcd", "rtcp/_ws.malformed", None),
    ("wireguard", 40001, WG_INITIATION, "wg", [148]),
    ("wireguard of another length", 40001, WG_INITIATION + b"x", "data", None),
    ("dtls", 40001, DTLS, "dtls", None),
    ("dht", 40001, b"d1:ad2:id20:" + bytes(20) + b"e1:q4:ping1:y1:qe", "bt-dht", None),
    ("wake on lan", 9, b"\xff" * 6 + b"\2\0\0\0\0\1" * 16, "wol", [102]),
    ("bacnet", 47808, b"\x81\x0b\0\x0c\x01\x20\xff\xff\0\xff\x10\x08", "bvlc/bacnet/bacapp", [4, 6, 2]),
    ("portmap dump", 111, b"abcd" + bytes(4) + b"\0\0\0\2\0\1\x86\xa0\0\0\0\2\0\0\0\4" + bytes(16), "rpc/portmap", [40, 0]),
    ("messenger spam", 1026, b"\4\0\x28\0\x10\0\0\0" + bytes(16) + bytes.fromhex("f8917b5a00ffd011a9b200c04fb6e6fc") + bytes(20)
     + b"\1\0\0\0" + bytes(10) + b"\4\0" + bytes(4) + b"spam", "dcerpc/messenger", [84, 4]),
    ("openvpn data", 1194, b"\x48\1\2\3abcd", "openvpn", None),
    ("google quic", 40001, b"\x0d" + bytes(8) + b"Q039\1", "gquic", None),
    ("ssdp", 1900, b"NOTIFY * HTTP/1.1\r\n\r\n", "ssdp", None),
    ("ssdp's port with something else", 1900, b"NOTIFIED", "", None),
    ("memcached", 11211, b"\0\1\0\0\0\1\0\0stats\r\n", "memcache", None),
    ("nothing known", 40001, b"zzzz", "data", [4]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("port", "payload", "expected", "sizes"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_one_datagram_is_named(port: int, payload: bytes, expected: str, sizes: list[int] | None) -> None:
    """A single datagram from a client's port: ports, checks, heuristics, data."""
    made = batch(Sent(payload, destination_port=port))
    DatagramNaming(Facts()).update(made)
    assert path(made) == expected
    if sizes is not None:
        assert [size for _, size, _ in above_udp(made)] == sizes


def test_local_service_discovery_goes_to_its_group() -> None:
    """239.192.152.143 port 6771, or that port over IPv6."""
    for source, group in (("10.0.0.1", "239.192.152.143"), ("fe80::1", "ff15::efc0:988f")):
        made = batch(Sent(b"BT-SEARCH * HTTP/1.1\r\n", source=source, destination=group, destination_port=6771))
        DatagramNaming(Facts()).update(made)
        assert path(made) == "lsd"


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_flood_is_named_as_a_single_datagram_is(case: tuple[str, int, bytes, str, list[int] | None]) -> None:
    """One packet a flow, many flows, and many packets of one flow: neither way may change a name."""
    _, port, payload, expected, _ = case
    flows = [Sent(payload, source_port=30000 + row, destination_port=port) for row in range(datagrams.BULK_FROM_ROWS)]
    made = batch(*flows, *[Sent(payload, destination_port=port)] * 20)
    DatagramNaming(Facts()).update(made)
    single = batch(Sent(payload, destination_port=port))
    DatagramNaming(Facts()).update(single)
    for row in range(len(made.packets.number)):
        assert above_udp(made, row) == above_udp(single), row
    assert path(made) == expected


def test_the_compound_parts_of_rtcp_are_pdus() -> None:
    """Two parts, two PDUs of one layer."""
    made = batch(Sent(b"\x80\xc9\0\1abcd\x81\xca\0\1efgh"))
    DatagramNaming(Facts()).update(made)
    assert above_udp(made) == [("rtcp", 16, 2)]


def test_an_empty_datagram_ends_at_udp() -> None:
    """Nothing stands above it."""
    made = batch(Sent(b"", destination_port=53))
    DatagramNaming(Facts()).update(made)
    assert made.packets.n_layers[0] == 3


def test_a_cut_datagram_is_short_not_malformed() -> None:
    """The capture stored less than the headers say."""
    made = batch(
        Sent(DNS_QUERY[:20], destination_port=53, length=33),
        Sent(b"", destination_port=53, length=33),
        Sent(b"zz", length=33),
        Sent(b"zzzzzz", length=33),
        Sent(WG_INITIATION[:50], length=148),
        Sent(NBDGM + SMB_BROWSE[:60], destination_port=138, length=300),
        *[Sent(b"\x20\xc0\3\x18" + bytes(20), destination_port=3784, length=30)] * 3,
        *[Sent(b"\x80\0" + bytes(20), source_port=7, destination_port=9, length=172)] * 70,
    )
    DatagramNaming(Facts()).update(made)
    expected = ["dns/_ws.short", "_ws.short", "_ws.short", "data", "wg/_ws.short", "nbdgm/smb/_ws.short"]
    expected += ["bfd/_ws.short"] * 3 + ["echo/_ws.short"] * 70
    assert [path(made, row) for row in range(len(expected))] == expected


def test_a_tftp_server_answers_from_a_port_of_its_own() -> None:
    """The request makes the client's endpoint known; other payloads of the server stay data."""
    made = batch(
        Sent(b"\0\1a\0octet\0", source_port=5000, destination_port=69),
        Sent(b"\0\3\0\1abc", "10.0.0.2", 31337, "10.0.0.1", 5000),
        Sent(b"\0\4\0\1", "10.0.0.1", 5000, "10.0.0.2", 31337),
        Sent(b"\0\3\0\1abc", "10.0.0.2", 31337, "10.0.0.1", 5001),
    )
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(4)] == ["tftp", "tftp/data", "tftp", "data"]


def test_announced_media_is_rtp_and_other_media_is_data() -> None:
    """A session description claims an endpoint for RTP, the next port for RTCP; telephone events are a layer of theirs."""
    body = b"v=0\r\nc=IN IP4 10.0.0.9\r\nm=audio 6000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    voice, event = b"\x80\x00" + bytes(170), b"\x80\x65" + bytes(14)
    made = batch(
        Sent(b"INVITE sip:a@b SIP/2.0\r\n\r\n" + body, destination_port=5060),
        Sent(voice, "10.0.0.1", 7000, "10.0.0.9", 6000),
        Sent(voice, "10.0.0.9", 6000, "10.0.0.1", 7000),
        Sent(event, "10.0.0.1", 7000, "10.0.0.9", 6000),
        Sent(b"\x80\xc9\0\1abcd", "10.0.0.1", 7001, "10.0.0.9", 6001),
        Sent(voice, "10.0.0.1", 7000, "10.0.0.8", 6000),
    )
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(6)] == ["sip", "rtp", "rtp", "rtp/rtpevent", "rtcp", "data"]


def test_announced_fax_is_t38() -> None:
    """Media over UDPTL is fax; it has no control channel on the next port."""
    body = b"v=0\r\nc=IN IP4 10.0.0.9\r\nm=image 6000 udptl t38\r\n"
    made = batch(
        Sent(b"INVITE sip:a@b SIP/2.0\r\n\r\n" + body, destination_port=5060),
        Sent(b"\0\1abc", "10.0.0.1", 7000, "10.0.0.9", 6000),
        Sent(b"zzzz", "10.0.0.1", 7000, "10.0.0.9", 6001),
    )
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(3)] == ["sip", "t38", "data"]


def test_media_announced_over_another_transport_is_claimed() -> None:
    """SIP and RTSP over TCP hand their descriptions in."""
    naming = DatagramNaming(Facts())
    naming.announce_media(b"v=0\nc=IN IP6 2001:db8::9\nm=audio 6000 RTP/AVP 96\na=rtpmap:96 AMR/8000\n")
    made = batch(Sent(b"\x80\x60" + bytes(30), "2001:db8::1", 7000, "2001:db8::9", 6000))
    naming.update(made)
    assert above_udp(made) == [("rtp", 32, 1), ("amr", 20, 1)]


def test_openvpns_control_channel_shows_its_tls() -> None:
    """A message in pieces of 100 bytes is named where it is complete; its ClientHello is a fact."""
    hello = b"\x16\3\1" + len(client_hello(b"v" * 60)).to_bytes(2, "big") + client_hello(b"v" * 60)
    control = b"\x20" + bytes(8) + b"\0"
    pieces = [control + number.to_bytes(4, "big") + hello[100 * number : 100 * number + 100] for number in range(2)]
    facts = Facts()
    made = batch(*(Sent(piece, destination_port=1194) for piece in pieces))
    DatagramNaming(facts).update(made)
    assert [path(made, row) for row in range(2)] == ["openvpn", "openvpn/tls"]
    assert above_udp(made, 1)[1] == ("tls", len(hello), 1)
    assert [(row.sni, row.quic) for row in facts.tls] == [("v" * 60, False)]


def test_a_quic_flow_keeps_its_short_headers() -> None:
    """A long header begins the conversation; without one, the same bytes are data."""
    long = b"\xc0\0\0\0\1\x08abcdefgh\x00\x00\x14" + bytes(20)
    short = b"\x5a" + bytes(40)
    made = batch(
        Sent(long, destination_port=443),
        Sent(short, "10.0.0.2", 443, "10.0.0.1", 40000),
        Sent(short, destination_port=443, source_port=1),
    )
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(3)] == ["quic", "quic", "data"]


def test_a_quic_connection_is_known_after_it_moved() -> None:
    """A short header to a connection id that its owner chose, from another port."""
    owner = b"\xc0\0\0\0\1\0\x08ABCDEFGH\x00\x14" + bytes(20)
    made = batch(
        Sent(owner, "10.0.0.2", 443, "10.0.0.1", 40000),
        Sent(b"\x41ABCDEFGH" + bytes(30), source_port=50000, destination_port=443),
        Sent(b"\x41ABCDEFGX" + bytes(30), source_port=50001, destination_port=443),
    )
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(3)] == ["quic", "quic", "data"]


def test_what_a_heuristic_accepted_is_asked_first() -> None:
    """The same bytes fit WireGuard and DCE/RPC: the one that was seen last wins, as in Wireshark."""
    both = b"\4\0\0\0\x10\0\0\0" + bytes(80)
    rpc = b"\4\2" + both[2:]
    made = batch(Sent(both, source_port=51111), Sent(rpc, source_port=52222), Sent(both, source_port=53333))
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(3)] == ["wg", "dcerpc", "dcerpc"]


def test_the_lower_port_is_asked_first() -> None:
    """A client of DNS on the port of SIP: what the lower port takes, the higher one never sees."""
    made = batch(
        Sent(DNS_QUERY, source_port=5060, destination_port=53), Sent(SIP, source_port=161, destination_port=5060)
    )
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in range(2)] == ["dns", "sip"]


def test_a_flow_nobody_knew_is_read_again_where_it_begins_to_make_sense() -> None:
    """Media in the clear nobody announced, and RTCP that the heuristics know between it, far behind the first packets."""
    media, report = Sent(b"\x90\x78" + bytes(100)), Sent(b"\x80\xc9\0\1abcd")
    made = batch(*[media] * 50, report, media)
    DatagramNaming(Facts()).update(made)
    assert [path(made, row) for row in (0, 49, 50, 51)] == ["data", "data", "rtcp", "data"]


def test_state_lasts_from_batch_to_batch() -> None:
    """Chunks of one packet give the same names as one chunk."""
    sent = [Sent(WG_INITIATION), Sent(b"\4\0\0\0" + bytes(28)), Sent(b"\4\0\0\0" + bytes(44)), Sent(b"zz")]
    whole = batch(*sent)
    DatagramNaming(Facts()).update(whole)
    naming, flows = DatagramNaming(Facts()), {}  # type: ignore[var-annotated]
    for row, one in enumerate(sent):
        single = batch(one, first_number=row + 1, flows=flows)
        naming.update(single)
        assert above_udp(single) == above_udp(whole, row)


def test_full_layer_matrices_are_marked_not_overrun() -> None:
    """A frame of 24 layers takes no more."""
    made = batch(Sent(DNS_QUERY, destination_port=53))
    made.packets.n_layers[0] = MAX_LAYERS
    made.packets.layers[0, MAX_LAYERS - 1] = layers.UDP
    DatagramNaming(Facts()).update(made)
    assert made.packets.n_layers[0] == MAX_LAYERS and made.packets.fault[0]


PORT = st.sampled_from([*PORTS, 40001, 443])


@settings(max_examples=300)
@given(st.lists(st.tuples(PORT, st.binary(max_size=120), st.integers(0, 60)), min_size=1, max_size=8))
def test_no_payload_raises(sent: list[tuple[int, bytes, int]]) -> None:
    """Random payloads on every port of the table: a name, sizes that are no more than were captured."""
    made = batch(*(Sent(payload, destination_port=port, length=len(payload) + more) for port, payload, more in sent))
    DatagramNaming(Facts()).update(made)
    assert (made.packets.layer_bytes >= 0).all()


@settings(max_examples=300)
@given(st.sampled_from(CASES), st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=4)), max_size=4))
def test_no_mutated_payload_raises(
    case: tuple[str, int, bytes, str, list[int] | None], patches: list[tuple[int, bytes]]
) -> None:
    """Good payloads with bytes replaced, cut and repeated."""
    payload = case[2]
    for at, patch in patches:
        payload = payload[:at] + patch + payload[at + len(patch) :]
    made = batch(
        Sent(payload, destination_port=case[1]), Sent(payload + payload, "10.0.0.2", case[1], "10.0.0.1", 40000)
    )
    DatagramNaming(Facts()).update(made)
    assert np.all(made.packets.n_layers >= 3)


UNKNOWN = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.binary(max_size=6).map(lambda some: b"\0\0ab\x21\x12\xa4\x42"[: 8 - len(some)] + some + bytes(12)),
    st.binary(max_size=4).map(lambda some: b"\x80\0\0\0" + some + bytes(20)),
    st.sampled_from(list(b"\x1c\x0b\x80\x40\x09Xd1")).flatmap(
        lambda first: st.binary(min_size=11, max_size=40).map(lambda rest: bytes([first]) + rest)
    ),
    st.binary(max_size=9).map(lambda text: b"XY " + text + b" SIP/2.0"),
    st.binary(min_size=4, max_size=4).map(
        lambda word: b"\x60" + word[:3] + b"\0\0\0\0\0\0\0\2\0\1\x86\xa0" + bytes(24)
    ),
    st.binary(min_size=2, max_size=2).map(lambda word: b"\x60" + word[:1] + b"\1\0\0\1" + bytes(6) + b"\1a\0\0\1\0\1"),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(UNKNOWN, st.integers(0, 3)), min_size=1, max_size=4))
def test_what_is_refused_at_once_is_what_the_rules_refuse(sent: list[tuple[bytes, int]]) -> None:
    """Payloads of ports that nobody owns, many and one by one: the same names, the same flows go quiet."""
    repeated = [Sent(data, source_port=50_000 + flow) for data, flow in sent * datagrams.BULK_FROM_ROWS]
    made, flows = batch(*repeated), {}  # type: ignore[var-annotated]
    DatagramNaming(Facts()).update(made)
    naming = DatagramNaming(Facts())
    for row, one in enumerate(repeated):
        single = batch(one, first_number=row + 1, flows=flows)
        naming.update(single)
        assert above_udp(single) == above_udp(made, row), (row, one)


def test_media_is_data_until_it_is_announced() -> None:
    """Among many datagrams that nobody takes: those before the announcement stay data, those behind it are RTP."""
    body = b"v=0\r\nc=IN IP4 10.0.0.9\r\nm=audio 6000 RTP/AVP 8\r\n"
    unknown = [Sent(b"zzzzzzzzzzzz", source_port=20_000 + row) for row in range(datagrams.BULK_FROM_ROWS)]
    media = Sent(b"\x80\x08" + b"\x55" * 20, "10.0.0.1", 7000, "10.0.0.9", 6000)
    call = Sent(b"INVITE sip:a@b SIP/2.0\r\n\r\n" + body, destination_port=5060)
    made = batch(*unknown, media, call, media, *unknown, media)
    DatagramNaming(Facts()).update(made)
    named = [path(made, row) for row in range(2 * len(unknown) + 4)]
    assert named == ["data"] * len(unknown) + ["data", "sip", "rtp"] + ["data"] * len(unknown) + ["rtp"]


def test_each_heuristic_is_asked_about_what_it_takes() -> None:
    """The first bytes beside a heuristic hold those of every sample that it accepts."""
    nowhere = datagrams._QuotedHosts((0, 0), (0, 0), 4)
    for rule, firsts in HEURISTICS:
        for _, port, payload, _, _ in CASES:
            one = Datagram(payload, len(payload), 40_000, port, 1, 0, -1, True, nowhere, 0, quoted=True)
            if payload and rule(one, Context(Facts())) is not None:
                assert payload[0] in firsts, rule


@pytest.mark.parametrize("port", np.flatnonzero(AT_ONCE).tolist())
def test_a_flood_of_any_size_is_named_as_single_datagrams_are(port: int) -> None:
    """Ports that are named at once: payloads around the sizes at which their dissectors end early, whole and cut."""
    payloads = [bytes([0x30]) * size for size in (1, 2, 3, 4, 7, 8, 9, 11, 12, 19, 20, 24, 47, 48, 60)]
    sent = [Sent(data, "10.0.0.1", 30_000, "10.0.0.2", port, len(data) + more) for data in payloads for more in (0, 5)]
    sent = [one._replace(source_port=30_000 + row) for row, one in enumerate(sent * 3)]
    made = batch(*sent)
    DatagramNaming(Facts()).update(made)
    for row, one in enumerate(sent[: 2 * len(payloads)]):
        single = batch(one)
        DatagramNaming(Facts()).update(single)
        assert above_udp(made, row) == above_udp(single), one


def test_what_is_kept_of_handshakes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of first packets keeps a few states; a handshake that was read keeps none."""
    monkeypatch.setattr("analysis.protocols.datagram.MAX_STATES", 8)
    hello = initial(crypto(0, client_hello(b"example.org")) + bytes(40))
    answer = b"\x02\0\0\x56\x03\x03" + bytes(32) + b"\0\x13\x02\0" + bytes(48)
    facts = Facts()
    naming, flows = DatagramNaming(facts), {}  # type: ignore[var-annotated]
    naming.update(
        batch(*(Sent(hello, source_port=port, destination_port=443) for port in range(50_000, 50_100)), flows=flows)
    )
    state = naming._context.state
    assert 4 <= len(state) <= 8 and len(facts.tls) == 100
    reply = Sent(initial(crypto(0, answer), server=True), "10.0.0.2", 443, "10.0.0.1", 50_099)
    kept = len(state)
    naming.update(batch(Sent(hello, source_port=50_099, destination_port=443), reply, reply, flows=flows))
    assert len(state) == kept - 1 and facts.tls[-1].cipher == 0x1302 and len(facts.tls) == 100
