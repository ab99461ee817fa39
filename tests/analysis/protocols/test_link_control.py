"""Facts of the link's own protocols and of headers, from frames that are right, cut and random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from payloads import router_advert
from traffic import Wire, ip4, ip6, mac_bytes

from analysis.facts import Facts
from analysis.run import analyse


def facts_of(wire: Wire, folder: Path) -> Facts:
    """What a capture of the scene leaves."""
    return analyse([wire.write(folder / "a.pcap")]).facts


def bpdu(kind: int = 0, flags: int = 0, priority: int = 4096) -> bytes:
    """A bridge message behind LLC."""
    root = priority.to_bytes(2, "big") + mac_bytes("02:00:00:00:00:07")
    rest = bytes((flags,)) + root + bytes(4) + root + b"\x80\x01\0\0\x14\0\x02\0\x0f\0" if kind == 0 else b""
    return b"\x42\x42\x03\0\0\0" + bytes((kind,)) + rest


def test_spanning_tree_tells_root_and_changes(tmp_path: Path) -> None:
    """Root as priority and MAC; a change by flag or by its own message."""
    wire = Wire()
    for body in (bpdu(), bpdu(flags=1), bpdu(0x80)):
        wire.frame(body.ljust(46, b"\0"), len(body), "02:00:00:00:00:01", "01:80:c2:00:00:00")
    rows = facts_of(wire, tmp_path).link_control
    assert [(row.protocol, row.word, row.about) for row in sorted(rows, key=lambda row: row.number)] == [
        ("stp", "04096 02:00:00:00:00:07", ""), ("stp", "04096 02:00:00:00:00:07", "change"), ("stp", "change", ""),
    ]  # fmt: skip
    assert {row.source for row in rows} == {"02:00:00:00:00:01"}


def test_neighbour_advertisements(tmp_path: Path) -> None:
    """Target, MAC of the option, flags."""
    import socket

    target = socket.inet_pton(socket.AF_INET6, "fe80::1")
    wire = Wire()
    wire.icmp("fe80::2", "fe80::9", 136, 0, b"\x60\0\0\0" + target + b"\x02\x01" + mac_bytes("02:00:00:00:00:66"))
    (row,) = facts_of(wire, tmp_path).neighbour
    assert row[2:] == ("fe80::2", "fe80::1", "02:00:00:00:00:66", True, True)


@pytest.mark.parametrize(("units", "told"), [(4, True), (3, False), (0, False)])
def test_only_an_even_name_server_option_is_told(units: int, told: bool, tmp_path: Path) -> None:
    """RFC 8106 5.1: the length is odd; a length of 0 ends the reading."""
    wire = Wire()
    option = bytes((25, units)) + bytes(8 * 4 - 2)
    wire.icmp("fe80::66", "ff02::1", 134, 0, router_advert("02:00:00:00:00:66", extra=option))
    shapes = [row.shape for row in facts_of(wire, tmp_path).payload]
    assert shapes == (["bad-neighbour"] if told else [])


def test_tunnels_are_counted_a_pair(tmp_path: Path) -> None:
    """GRE, IPv6 in IPv4 and Teredo: packets and bytes of the outer conversation, one fact each."""
    wire = Wire()
    inner4, inner6 = ip4("192.168.1.1", "192.168.1.2", 17, bytes(8)), ip6("2001:db8::1", "2001:db8::2", 17, bytes(8))
    for _ in range(3):
        wire.ip("10.0.0.1", "10.0.0.2", 47, b"\0\0\x08\0" + inner4)
        wire.ip("10.0.0.2", "10.0.0.1", 47, b"\0\0\x08\0" + inner4)
        wire.ip("10.0.0.1", "10.0.0.3", 41, inner6)
        wire.udp("10.0.0.1", 3544, "10.0.0.4", 3544, inner6)
    rows = sorted(row.detail for row in facts_of(wire, tmp_path).payload if row.shape == "tunnel")
    assert rows == ["GRE 6 396", "IPv6-in-IPv4 3 246", "Teredo 3 270"]


@pytest.mark.parametrize("link", [1, 105, 127, 101])
def test_random_frames_raise_nothing(link: int, tmp_path: Path) -> None:
    """Frames that begin right and go on at random, cut anywhere."""
    dice = random.Random(link)
    wire = Wire(link=link)
    heads = [
        mac_bytes("01:80:c2:00:00:00") + bytes(6) + b"\0\x26\x42\x42\x03", bytes(12) + b"\x86\xdd" + ip6("fe80::1", "ff02::1", 58, b"\x88\0"),
        b"\xc0\0\x3a\1" + bytes(20), bytes(12) + b"\x08\0" + ip4("10.0.0.1", "10.0.0.2", 47, b"\0\0\x08\0"), b"",
        bytes(12) + b"\x08\0" + ip4("10.0.0.1", "224.0.0.2", 17, b"\x07\xc1\x07\xc1\0\x1c\0\0\0\1\x10"), ip6("fe80::1", "ff02::1", 58, b"\x86\0"),
    ]  # fmt: skip
    for _ in range(600):
        data = dice.choice(heads) + dice.randbytes(dice.randrange(90))
        wire.put(data[: dice.randrange(1, len(data) + 1)] if data else b"\0")
    analysis = analyse([wire.write(tmp_path / "a.pcap")])
    assert analysis.capture["packets"] == 600
