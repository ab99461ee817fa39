"""What payloads over UDP, ARP and ICMP leave behind: facts and names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quic_packets import client_hello, crypto, initial
from udp_batches import Sent, batch, words

from analysis import layers
from analysis.columns import ICMP, Batch, empty_packets, empty_taps
from analysis.facts import LIMIT, Facts
from analysis.protocols import kerberos
from analysis.protocols.datagrams import DatagramNaming
from analysis.protocols.link_facts import LinkFacts, entropies
from analysis.protocols.names import Names


def facts_of(*sent: Sent) -> Facts:
    """The facts of a few datagrams."""
    facts = Facts()
    DatagramNaming(facts).update(batch(*sent))
    return facts


def test_a_dns_answer_leaves_a_row_and_a_name() -> None:
    """The name that was asked, for every address of the answer, whatever aliases stand between."""
    answer = (
        bytes.fromhex("000781800001000200000000") + b"\x03www\x04test\0\0\1\0\1"
        + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\6\3cdn\xc0\x10" + b"\xc0\x26\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
    )  # fmt: skip
    facts = facts_of(Sent(answer, "10.0.0.53", 53, "10.0.0.1", 5000))
    (row,) = facts.dns
    assert (row.protocol, row.response, row.id, row.name, row.rcode) == ("dns", True, 7, "www.test", 0)
    assert row.size_bytes == len(answer)
    assert [(name.address, name.name, name.source) for name in facts.name] == [("1.2.3.4", "www.test", "dns")]


def option(kind: int, body: bytes) -> bytes:
    """A DHCP option."""
    return bytes([kind, len(body)]) + body


def dhcp(message: int, *options: bytes, offered: bytes = bytes(4)) -> bytes:
    """A DHCP message of the client 02:00:00:00:00:07."""
    fixed = b"\1\1\6\0" + bytes(12) + offered + bytes(8) + bytes.fromhex("020000000007") + bytes(10 + 192)
    return fixed + b"\x63\x82\x53\x63" + option(53, bytes([message])) + b"".join(options) + b"\xff"


def test_an_acknowledged_lease_gives_the_clients_name_to_its_address() -> None:
    """The request names the client, the acknowledgement the address (RFC 2131 3.1)."""
    request = dhcp(3, option(12, b"laptop"), option(50, b"\x0a\0\0\7"))
    ack = dhcp(
        5,
        option(54, b"\x0a\0\0\1"),
        option(3, b"\x0a\0\0\1"),
        option(6, b"\x0a\0\0\1\x08\x08\x08\x08"),
        offered=b"\x0a\0\0\7",
    )
    facts = facts_of(
        Sent(request, "0.0.0.0", 68, "255.255.255.255", 67), Sent(ack, "10.0.0.1", 67, "255.255.255.255", 68)
    )
    assert [row.message for row in facts.dhcp] == [3, 5]
    assert facts.dhcp[1].server == facts.dhcp[1].router == "10.0.0.1"
    assert facts.dhcp[1].dns == ("10.0.0.1", "8.8.8.8")
    assert facts.dhcp[0].client_mac == "02:00:00:00:00:07"
    assert [(name.address, name.name) for name in facts.name] == [("10.0.0.7", "laptop")]


def test_a_dhcpv6_reply_is_read() -> None:
    """Client by its DUID, address from the association, server by its address (RFC 8415 21)."""
    address = bytes.fromhex("20010db8000000000000000000000007")
    lease = b"\0\5\0\x18" + address + bytes(8)
    association = b"\0\3" + (12 + len(lease)).to_bytes(2, "big") + bytes(12) + lease
    client = b"\0\1\0\x0a\0\3\0\1\2\0\0\0\0\7"
    facts = facts_of(Sent(b"\7abc" + client + association, "fe80::1", 547, "fe80::7", 546))
    (row,) = facts.dhcp
    assert (row.version, row.message, row.client_mac) == (6, 7, "02:00:00:00:00:07")
    assert (row.server, row.offered) == ("fe80::1", "2001:db8::7")


def test_a_quic_hello_leaves_one_row_with_what_the_server_chose() -> None:
    """Name, protocol and fingerprint from the client, version and cipher from the server, one row a connection."""
    answer = bytes.fromhex("02000056") + b"\x03\x03" + bytes(32) + b"\0\x13\x02\0\0\x2e" + bytes(46)
    hello = initial(crypto(0, client_hello()))
    facts = facts_of(
        Sent(hello, destination_port=443),
        Sent(initial(crypto(0, answer), server=True), "10.0.0.2", 443, "10.0.0.1", 40000),
        Sent(hello, destination_port=443),
    )
    (row,) = facts.tls
    assert (row.quic, row.sni, row.cipher, row.number) == (True, "example.org", 0x1302, 1)
    assert row.ja4.startswith("q") and len(row.ja3) == 32
    assert [(name.address, name.name, name.source) for name in facts.name] == [("10.0.0.2", "example.org", "tls")]


def test_secrets_are_masked_and_repeats_are_one_row() -> None:
    """A community polled often is one exposure."""
    poll = bytes.fromhex("302602010104067075626c6963a019020101020100020100300e300c06082b060102010101000500")
    facts = facts_of(*[Sent(poll, destination_port=161)] * 3)
    (row,) = facts.login
    assert (row.protocol, row.user, row.secret_masked, row.cleartext) == ("snmp", "", "***", True)
    assert "public" not in repr(facts)


def test_different_secrets_have_different_masks() -> None:
    """Guessed communities are told apart, equal ones are not, and none is kept."""
    poll = bytes.fromhex("302602010104067075626c6963a019020101020100020100300e300c06082b060102010101000500")
    other = poll.replace(b"public", b"secret")
    facts = facts_of(*(Sent(one, destination_port=161) for one in (poll, other, poll, other)))
    assert [row.secret_masked for row in facts.login] == ["***", "***2"]
    assert "secret'" not in repr(facts) and "public" not in repr(facts)


def test_a_radius_user_is_named_without_a_secret() -> None:
    """Access-Request with User-Name (RFC 2865 5.1)."""
    facts = facts_of(Sent(b"\1\1\0\x1b" + bytes(16) + b"\1\7alice", destination_port=1812))
    assert [(row.user, row.secret_masked, row.cleartext) for row in facts.login] == [("alice", "", False)]


def tagged(number: int, body: bytes) -> bytes:
    """A context-tagged element of ASN.1."""
    return bytes([0xA0 | number, len(body)]) + body


def integer(value: int) -> bytes:
    """A small INTEGER."""
    return bytes([2, 1, value])


def string(text: bytes) -> bytes:
    """A GeneralString."""
    return bytes([0x1B, len(text)]) + text


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of short content."""
    body = b"".join(parts)
    return bytes([0x30, len(body)]) + body


def principal(*parts: bytes) -> bytes:
    """A PrincipalName."""
    return sequence(tagged(0, integer(1)), tagged(1, sequence(*map(string, parts))))


def as_request() -> bytes:
    """An AS-REQ of alice for the ticket-granting service, RC4 first."""
    body = sequence(
        tagged(1, principal(b"alice")), tagged(2, string(b"LAB")), tagged(3, principal(b"krbtgt", b"LAB")),
        tagged(8, sequence(integer(23), integer(18))),
    )  # fmt: skip
    message = sequence(tagged(1, integer(5)), tagged(2, integer(10)), tagged(4, body))
    return bytes([0x6A, len(message)]) + message


def test_a_kerberos_request_says_who_and_with_which_ciphers() -> None:
    """RFC 4120 5.4.1."""
    (row,) = facts_of(Sent(as_request(), destination_port=88)).kerberos
    assert (row.message, row.client, row.realm, row.service, row.etypes) == (10, "alice", "LAB", "krbtgt/LAB", (23, 18))


@given(st.binary(max_size=100), st.integers(0, 60), st.binary(max_size=4))
def test_no_kerberos_bytes_raise(noise: bytes, at: int, patch: bytes) -> None:
    """Random and mutated messages."""
    good = as_request()
    for data in (noise, b"\x6a\x50" + noise, good[:at] + patch + good[at + len(patch) :]):
        message = kerberos.parse(data)
        assert message is None or message.type in kerberos.TYPES


def quoted(payload: bytes, port: int, length: int = -1) -> bytes:
    """IPv4 and UDP headers as an ICMP error quotes them, with the beginning of the payload."""
    size = 8 + (len(payload) if length < 0 else length)
    ip = b"\x45\0" + (20 + size).to_bytes(2, "big") + bytes(4) + b"\x40\x11\0\0" + b"\x0a\0\0\1\x0a\0\0\2"
    return ip + (5000).to_bytes(2, "big") + port.to_bytes(2, "big") + size.to_bytes(2, "big") + b"\0\0" + payload


def icmp(kind: int, code: int, body: bytes, *, protocol: int = 1) -> Batch:
    """A batch of one ICMP message."""
    packets, taps = empty_packets(1), empty_taps(1)
    data = bytes([kind, code]) + bytes(6) + body
    packets.number[0], packets.cap_len[0], packets.ip_protocol[0] = 1, len(data), protocol
    packets.start[0] = packets.transport_start[0] = 0
    packets.payload_start[0], packets.payload_len[0], packets.payload_cap[0] = 8, len(body), len(body)
    packets.icmp_type[0], packets.icmp_code[0] = kind, code
    packets.layers[0, :3] = (layers.ETH, layers.IP, layers.ICMP if protocol == 1 else layers.ICMPV6)
    packets.n_layers[0] = 3
    packets.transport_tap[0] = packets.ip_tap[0] = 0
    taps.kind[0] = ICMP
    taps.src_hi[0], taps.src_lo[0] = words("fe80::1")
    return Batch(np.frombuffer(data, np.uint8), packets, taps)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (quoted(b"\0\1\1\0\0\1" + bytes(6) + b"\1a\0\0\1\0\1", 53), ["dns"]),
        (quoted(b"\0\1\1\0", 53, 40), ["dns"]),  # a broken quote is named, never marked as malformed
        (quoted(b"hello", 5001), ["data"]),
        (quoted(b"", 53), []),
        (quoted(b"x", 53)[:20], []),
        (b"\x45" + bytes(40), []),
        (b"", []),
    ],
)
def test_the_datagram_quoted_by_an_icmp_error_is_named(body: bytes, expected: list[str]) -> None:
    """Named as a layer of the frame, without leaving facts."""
    made, facts = icmp(3, 3, body), Facts()
    DatagramNaming(facts).update(made)
    found = [layers.NAMES[layer] for layer in made.packets.layers[0, 3 : made.packets.n_layers[0]]]
    assert found == expected
    assert not facts.dns


def test_an_echo_with_data_is_measured() -> None:
    """Digest, size, entropy and the beginning of what a ping carries."""
    facts = Facts()
    LinkFacts(facts, Names(facts)).update(icmp(8, 0, bytes(range(256)) * 2))
    (row,) = facts.echo
    assert (row.request, row.size_bytes, row.entropy, row.sample) == (True, 512, 8.0, bytes(range(64)))


def test_a_router_advertisement_is_read() -> None:
    """Lifetime, link address and prefix (RFC 4861 4.2, 4.6), preference (RFC 4191 2.1)."""
    prefix = b"\3\4\x40\xc0" + bytes(12) + bytes.fromhex("20010db8000000000000000000000000")
    body = bytes(8) + b"\1\1\2\0\0\0\0\1" + prefix
    made = icmp(134, 0, body, protocol=58)
    data = made.data.copy()
    data[5:8] = (0x18, 7, 8)  # preference low, 1800 s
    facts = Facts()
    LinkFacts(facts, Names(facts)).update(made._replace(data=data))
    (row,) = facts.router_advert
    assert (row.source, row.source_mac, row.lifetime_s) == ("fe80::1", "02:00:00:00:00:01", 1800)
    assert row.prefixes == ("2001:db8::/64",) and (row.preference, row.eth_src) == (-1, "")


def arp(*bodies: bytes) -> Batch:
    """A batch of Ethernet frames with ARP packets."""
    packets, data = empty_packets(len(bodies)), b""
    for row, body in enumerate(bodies):
        frame = bytes.fromhex("ffffffffffff0200000000010806") + body
        packets.number[row], packets.start[row], packets.cap_len[row] = row + 1, len(data), len(frame)
        packets.link_type[row] = 1
        packets.layers[row, :2], packets.layer_bytes[row, :2] = (layers.ETH, layers.ARP), (32, 28)
        packets.n_layers[row] = 2
        data += frame
    return Batch(np.frombuffer(data, np.uint8), packets, empty_taps(0))


REPLY = bytes.fromhex("0001080006040002" + "020000000001" + "0a000001" + "020000000007" + "0a000007")


def test_an_arp_reply_is_read() -> None:
    """Both addresses of both sides, beside the addresses of the frame."""
    facts = Facts()
    LinkFacts(facts, Names(facts)).update(arp(REPLY, REPLY[:20], b"\0\6" + REPLY[2:5] + b"\2" + REPLY[6:]))
    (row,) = facts.arp
    assert (row.operation, row.sender, row.target) == (2, "10.0.0.1", "10.0.0.7")
    assert (row.sender_mac, row.eth_src, row.eth_dst) == ("02:00:00:00:00:01", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff")


def test_a_flood_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is counted as dropped."""
    monkeypatch.setattr("analysis.protocols.link_facts.LIMIT", 3)
    facts: Any = Facts()
    link = LinkFacts(facts, Names(facts))
    link.update(arp(*[REPLY] * 5))
    link.update(arp(REPLY))
    assert len(facts.arp) == 3 and facts.dropped["arp"] == 3 and LIMIT > 3


def test_entropies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits per byte of each span, also where they are counted in many portions."""
    cases = [
        (b"", 0.0),
        (b"aaaa", 0.0),
        (b"abab", 1.0),
        (bytes(range(256)), 8.0),
        (bytes(range(128)) * 9, 7.0),
        (b"", 0.0),
    ]
    data = np.frombuffer(b"".join(text for text, _ in cases), np.uint8)
    size = np.array([len(text) for text, _ in cases], np.int32)
    start = np.cumsum(size) - size
    for at_once in (1 << 18, 1024, 256):
        monkeypatch.setattr("analysis.protocols.link_facts._AT_ONCE", at_once)
        assert entropies(data, start, size).tolist() == [bits for _, bits in cases]


def test_names_are_kept_once_and_without_their_dot() -> None:
    """The first source wins; empty names are none."""
    facts = Facts()
    names = Names(facts)
    for name in ("a.test.", "a.test", "", "."):
        names.add("1.2.3.4", name, "dns", 1)
    assert [row.name for row in facts.name] == ["a.test"]


@given(st.binary(max_size=80), st.sampled_from([(3, 1), (11, 1), (8, 1), (0, 1), (134, 58), (1, 58), (128, 58)]))
def test_no_icmp_bytes_raise(body: bytes, kind: tuple[int, int]) -> None:
    """Errors, echoes and advertisements of random bytes."""
    facts = Facts()
    made = icmp(kind[0], 0, body, protocol=kind[1])
    DatagramNaming(facts).update(made)
    assert made.packets.n_layers[0] >= 3


@pytest.mark.parametrize(
    ("sent", "shape", "detail"),
    [
        (Sent(b"\x04" + b"\1" * 375, destination_port=1434), "sql-resolution-overflow", "instance name of 375 bytes"),
        (Sent(b"\x17\0\3\x2a" + bytes(44), destination_port=123), "ntp-monlist", "request"),
        (Sent(b"\xd7\0\3\x2a" + bytes(440), "10.0.0.2", 123, "10.0.0.1", 5000), "ntp-monlist", "answer"),
        (Sent(b"\0\1boot.cfg\0octet\0", destination_port=69), "tftp-transfer", "read boot.cfg"),
        (Sent(b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", destination_port=5060), "sip-scanner", "friendly-scanner"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packets", [1, 200])
def test_shapes_of_attacks_are_facts_once_a_flow(sent: Sent, shape: str, detail: str, packets: int) -> None:
    """Also in a flood, which is named at once where it can be."""
    assert [(row.shape, row.detail) for row in facts_of(*[sent] * packets).payload] == [(shape, detail)]


@pytest.mark.parametrize(
    "sent",
    [
        Sent(b"\x04MSSQLSERVER", destination_port=1434),
        Sent(b"\x02", destination_port=1434),
        Sent(b"\x1b" + bytes(47), destination_port=123),
        Sent(b"\0\3\0\1abc", destination_port=69),
        Sent(b"OPTIONS sip:a SIP/2.0\r\n\r\n", destination_port=5060),
    ],
)
def test_ordinary_payloads_have_no_shape(sent: Sent) -> None:
    """What the same ports carry every day."""
    assert facts_of(sent).payload == []
