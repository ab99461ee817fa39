"""What a packet filter sees of each packet, and what never reaches it."""

from __future__ import annotations

import firewall_packets as fp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.headers import CUT, NONE, SHORT, WHOLE, read

A, B = "10.0.0.1", "192.0.2.5"
SEGMENT = fp.tcp(A, 1024, B, 80, fp.SYN)
LOST = {
    "bad checksum": (SEGMENT[:10] + b"\xde\xad" + SEGMENT[12:], "bad_checksum"),
    "header of four bytes": (b"\x41" + SEGMENT[1:], "bad_ip_header"),
    "length beyond the frame": (fp.ipv4(A, B, 17, bytes(8))[:24], "truncated"),
    "version 7": (b"\x75" + SEGMENT[1:], "bad_ip_header"),
    "ten bytes": (SEGMENT[:10], "truncated"),
    "from ::1": (fp.udp("::1", 1, "2001:db8::1", 2), "impossible_address"),
    "from a group": (fp.udp("ff02::1", 1, "2001:db8::1", 2), "impossible_address"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_reaches_no_rule(name: str) -> None:
    """The kernel throws these away before any hook: they are counted, by reason."""
    packet, reason = LOST[name]
    headers, lost = read(fp.batch([packet]))

    assert len(headers.row) == 0
    assert lost[reason] == 1 and sum(lost.values()) == 1


def test_a_checksum_left_to_the_card_is_right() -> None:
    """Captures of a sender show zero."""
    headers, _ = read(fp.batch([SEGMENT[:10] + b"\0\0" + SEGMENT[12:]]))

    assert headers.sport.tolist() == [1024]


@pytest.mark.parametrize(
    ("packet", "transport", "ports"),
    [
        (SEGMENT, WHOLE, (1024, 80)),
        (fp.ip(A, B, 6, SEGMENT[20:32]), SHORT, (1024, 80)),
        (fp.ip(A, B, 17, b"\x04\x00\x00"), SHORT, (1024, -1)),
        (fp.ip(A, B, 47, bytes(8)), NONE, (-1, -1)),
        (fp.ipv4(A, B, 17, bytes(24), offset=3), NONE, (-1, -1)),
    ],
)
def test_transport_header(packet: bytes, transport: int, ports: tuple[int, int]) -> None:
    """Whole, ended by the datagram, absent."""
    headers, _ = read(fp.batch([packet]))

    assert headers.transport.tolist() == [transport]
    assert (int(headers.sport[0]), int(headers.dport[0])) == ports


def test_cut_by_the_capture_is_not_ended_by_the_datagram() -> None:
    """A snap length that cuts the header leaves doubt; nothing is read behind it."""
    batch = fp.batch([SEGMENT[:24]])
    batch.packets.frame_len[:] = len(SEGMENT)
    headers, _ = read(batch)

    assert headers.transport.tolist() == [CUT]


def test_extension_headers_are_walked() -> None:
    """Hop-by-hop, routing and fragment headers stand before the transport; a chain without end is cut."""
    hop, frag = bytes((44, 0, 0, 0, 0, 0, 0, 0)), bytes((17, 0, 0, 1, 0, 0, 0, 9))
    packet = fp.ipv6("2001:db8::1", "2001:db8::2", 0, hop + frag + bytes((4, 0, 0, 53, 0, 8, 0, 0)))
    endless = fp.ipv6("2001:db8::1", "2001:db8::2", 0, bytes((0, 0, 0, 0, 0, 0, 0, 0)) * 40)
    headers, _ = read(fp.batch([packet, endless]))

    assert headers.proto.tolist() == [17, -1]
    assert headers.fragment.tolist() == [1, 0]
    assert headers.dport.tolist() == [53, -1]


def test_fragments_share_the_flow_of_their_datagram() -> None:
    """The analysis counts a datagram where it was put together; a firewall meets every piece of it."""
    pieces = [
        fp.ipv4(A, B, 17, bytes(24), more=True, ident=7),
        fp.ipv4(A, B, 17, bytes(24), more=True, ident=8),
        fp.ipv4(A, B, 17, bytes(8), offset=3, ident=7),
    ]
    headers, _ = read(fp.batch(pieces, flows=[-1, -1, 5]))

    assert headers.flow.tolist() == [5, -1, 5]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=90) | fp.packets(), max_size=20), st.integers(0, 2**32))
def test_any_bytes_are_read_or_counted(packets: list[bytes], seed: int) -> None:
    """No byte string raises or is lost: every packet is a row or has a reason; nothing is read outside its packet."""
    batch = fp.batch(packets)
    headers, lost = read(batch)
    noise = np.random.default_rng(seed).integers(0, 256, 64, np.uint8)
    longer = batch._replace(data=np.concatenate([batch.data, noise]))
    again, _ = read(longer)

    assert len(headers.row) + sum(lost.values()) == len(packets)
    assert all(np.array_equal(a, b) for a, b in zip(headers, again))
