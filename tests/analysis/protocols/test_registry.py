"""The table of protocols, and every dissector against hostile bytes: whatever comes, layers or a fault come out."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from protocol_samples import STREAMS
from tcp_talk import CLIENT, SERVER, Talk, batch_of, paths

from analysis import layers
from analysis.protocols import registry
from analysis.protocols.naming import Naming

PORTS = sorted(registry.BY_PORT)
ONE_PORT_EACH = [min(row.ports) for row in registry.TABLE if row.ports]

# Real openings, from the protocols' documents: hypothesis cuts, joins and damages them.
SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x7e\x00\x05hello\x82\xff" + bytes(8),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04\x08\x00\x00\x00\x00\x00abcd",
    b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00\x00\x00",
    b"\x80\x2e\x01\x00\x02" + bytes(43),
    b"\x00\x00\x00\x54\xffSMB\x72" + bytes(80),
    b"\x00\x00\x00\x6a\xffSMB\x25" + bytes(27) + b"\x10" + b"\x02" * 32 + b"\x20\x00\\PIPE\\" + bytes(34),
    b"\x00\x00\x00\x60\xfeSMB\x40\x00" + bytes(6) + b"\x09\x00" + bytes(10) + b"\x48\x00\x00\x00" + bytes(64),
    b"\x05\x00\x0b\x03\x10\x00\x00\x00\x48\x00\x00\x00\x01\x00\x00\x00" + b"\xb8\x10\xb8\x10\x00\x00\x00\x00\xff\x00\x00\x00" + bytes(44),
    b"\x05\x00\x00\x83\x10\x00\x00\x00\x30\x00\x18\x00" + bytes(36),
    b"\x03\x00\x00\x0b\x06\xe0\x00\x00\x00\x00\x00\x03\x00\x00\x0c\x02\xf0\x80\x7f\x65\x82\x01\x00",
    b"\x03\x00\x00\x10\x08\x02\x00\x01\x05\x7e\x00\x05\x05\x20\x80\x06",
    b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x60\x84\x00\x00\x00\x07\x02\x01\x03\x04\x00\x80\x00",
    b"\x00\x00\x00\x20\x6a\x1e\x30\x1c\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a" + bytes(18),
    b"\x10\x1c\x00\x04MQTT\x05\xc2\x00\x3c\x03\x21\x00\x14\x00\x00\x00\x04user\x00\x04pass",
    b"AMQP\x00\x00\x09\x01\x01\x00\x00\x00\x00\x00\x10\x00\x0a\x00\x0b\x00\x00\x00\x00\x05PLAIN" + bytes(8),
    b"*3\r\n$4\r\nAUTH\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"\x2b\x00\x00\x01\x05\xa6\x0f\x00" + bytes(28) + b"root\x00\x00",
    b"\x00\x00\x00\x15\x00\x03\x00\x00user\x00root\x00\x00R\x00\x00\x00\x08\x00\x00\x00\x03p\x00\x00\x00\x06a\x00",
    b"\x80\x00\x00\x28\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa0" + bytes(24),
    b"SSH-2.0-a\r\n\x00\x00\x00\x0c\x0a\x15" + bytes(10),
    b"220 a\r\nAUTH PLAIN AGEAYg==\r\nDATA\r\n354 go\r\nSubject: a\r\n\r\n.\r\n",
    b"227 (1,2,3,4,5,6)\r\nPORT 1,2,3,4,255,255\r\nPASS x\r\n",
    b"\x05\x64\x1a\xc4\x02\x00\x03\x00\x40\xf2\xc0\xc0\x03\x0c\x01\x28\x01\x00\x01\x00\x03\x01\x64\x00\x00\x00\xef\x7d\x64\x00\x00\x00\x00\x00\x5b",
    b"\x6f\x00\x14\x00" + bytes(26) + b"\x02\x00\x00\x00\x00\x00\xb2\x00\x04\x00\x01\x02\x20\x01",
    b"INVITE sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nab",
    b"<stream><starttls/><auth mechanism='PLAIN'>AGEAYg==</auth>",
    b"TW\x01\x06\x00\x00\x00\x00\x00\x00\x00\x02{}",
    b"\x13BitTorrent protocol" + bytes(48) + b"\x00\x00\x00\x01\x02",
]  # fmt: skip
SEEDS += [row.messages[0][1] for row in STREAMS]


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[int, bytes, int, int]]:
    """Segments (direction, payload, bytes not captured, analysis bits): real openings, damaged, and random bytes."""
    segments = []
    for _ in range(draw(st.integers(1, 5))):
        data = bytearray(draw(st.sampled_from(SEEDS)) if draw(st.booleans()) else draw(st.binary(max_size=90)))
        for _ in range(draw(st.integers(0, 3))):
            if data:
                data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF, 0x30)))
        if data and draw(st.booleans()):
            data = data[: draw(st.integers(1, len(data)))]
        if data:
            cut = draw(st.sampled_from((0, 0, 0, 1, len(data))))
            bits = draw(st.sampled_from((0, 0, 0, 1, 5, 8, 1 << 12)))
            segments.append((draw(st.sampled_from((CLIENT, SERVER))), bytes(data), cut, bits))
    return segments


@given(st.sampled_from([*ONE_PORT_EACH, 50_001]), conversations())
@example(2404, [(0, b"\x00\x01\x00\x00!\x12\xa4Babcdefghijkl", 1, 0)])  # an APCI frame that ends before its six bytes
@settings(max_examples=1000, deadline=None)
def test_no_dissector_raises_on_hostile_bytes(port: int, segments: list[tuple[int, bytes, int, int]]) -> None:
    """Every layer is known and no layer is longer than what was ever sent."""
    talk = Talk(port)
    sent = 0
    for direction, data, cut, bits in segments:
        sent += len(data)
        for layer, size in talk.sized(direction, data, cut=min(cut, len(data)), analysis=bits):
            assert 0 < layer < len(layers.NAMES)
            assert 0 <= size <= max(4 * sent, 64) or layer in (layers.DATA_TEXT_LINES, layers.XML, layers.JSON)


@given(st.lists(st.tuples(st.sampled_from(PORTS), conversations()), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_the_stage_survives_them_all_at_once(many: list[tuple[int, list[tuple[int, bytes, int, int]]]]) -> None:
    """Several flows in one batch, through the fast lanes."""
    rows = []
    for flow, (_, segments) in enumerate(many):
        following = [1, 1 << 31]
        for direction, data, _, bits in segments * 3:
            rows.append((flow, direction, following[direction], data, bits))
            following[direction] = (following[direction] + len(data)) & 0xFFFFFFFF
    batch, ends = batch_of(rows, [port for port, _ in many])
    naming = Naming()
    naming.update(batch, ends)
    naming.finish()
    assert len(paths(batch)) == len(rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_prefilter_lets_every_heuristic_speak(seed: bytes) -> None:
    """What a heuristic takes on an unknown port begins with two bytes that the fast lane stops at."""
    talk = Talk(50_001)
    taken = talk.client(seed)
    if taken not in ("data", "") or talk.stream.dissector is not None:
        assert registry.telling()[seed[0] << 8 | seed[1]], taken
        assert registry.TELLING[seed[0]], taken


def test_a_request_line_is_recognised_by_its_end() -> None:
    """Whatever the first bytes are: they are not in the prefilter of first bytes."""
    talk = Talk(50_001)
    talk.client(b"\xe0 / HTTP/1.1\r\n\r\n")
    assert talk.stream.dissector is registry.BY_PORT[80]


def test_ports_are_asked_from_the_server_up() -> None:
    """Server port first, then the lower one; a port is asked once; unknown ports ask nobody."""
    http, tls = registry.BY_PORT[80], registry.BY_PORT[443]
    assert registry.by_ports(443, 443, 80) == (tls, http)
    assert registry.by_ports(0, 443, 80) == (http, tls)
    assert registry.by_ports(80, 50_000, 80) == (http,)
    assert registry.by_ports(0, 50_000, 50_001) == ()


def test_no_port_has_two_rows() -> None:
    """A port that stands in two rows would be decided by the order of lines."""
    ports = [port for row in registry.TABLE for port in row.ports]
    assert len(ports) == len(set(ports))
