"""IP reassembly: any order, over chunks, with overlaps; transport appears once, in the frame that closes the last gap."""

from __future__ import annotations

import struct
from itertools import permutations

import pytest
from header_bytes import decode, eth, ip4, ip6, records, shown, tapped, udp

from analysis.columns import FRAGMENT_INCOMPLETE, FRAGMENT_OVERLAP
from analysis.decode import defrag
from analysis.decode.frames import Decoder

DATAGRAM = udp(bytes(range(48)))  # 56 bytes: fragments of 24, 24 and 8


def v4(first: int, last: int, id: int = 7) -> bytes:
    """DATAGRAM[first:last] as an IPv4 fragment in Ethernet."""
    return eth(ip4(DATAGRAM[first:last], 17, place=first // 8 | (0x2000 if last < len(DATAGRAM) else 0), id=id))


def v6(first: int, last: int) -> bytes:
    """DATAGRAM[first:last] as an IPv6 fragment in Ethernet."""
    header = struct.pack(">BBHI", 17, 0, first | (last < len(DATAGRAM)), 99)
    return eth(ip6(header + DATAGRAM[first:last], 44), 0x86DD)


WHOLE = {v4: "eth:14 ip:20 udp:8", v6: "eth:14 ipv6:48 udp:8"}


@pytest.mark.parametrize("order", list(permutations([(0, 24), (24, 48), (48, 56)])))
@pytest.mark.parametrize("fragment", [v4, v6], ids=["ipv4", "ipv6"])
def test_the_last_gap_closed_brings_the_datagram(fragment: type, order: list[tuple[int, int]]) -> None:
    """Earlier fragments end in `data`; the completing one, whichever it is, carries UDP with ports and the whole payload."""
    batch = decode(*[fragment(*piece) for piece in order])
    p = batch.packets

    assert [shown(batch, i).split()[-1].split(":")[0] for i in range(3)] == ["data", "data", "udp"]
    assert shown(batch, 2) == WHOLE[fragment]
    assert list(p.fragment) == [1, 1, 2]
    start = int(p.payload_start[2])
    assert bytes(batch.data[start : start + int(p.payload_len[2])]) == bytes(range(48))
    assert tapped(batch, 2)[-1].endswith("1025 > 2001:db8::2 53" if fragment is v6 else "1025 > 198.51.100.2 53")
    assert int(p.transport_start[2]) >= int(p.start[2]) + int(p.cap_len[2])  # behind the chunk's packets


def test_fragments_may_come_in_different_chunks() -> None:
    """Unfinished datagrams are all that a decoder carries on."""
    decoder = Decoder()
    first = decoder.update(records([v4(0, 24)]))
    second = decoder.update(records([v4(24, 56)]))

    assert (shown(first), shown(second)) == ("eth:14 ip:20 data:24", "eth:14 ip:20 udp:8")
    assert len(first.data) == len(v4(0, 24))


def test_a_first_fragment_that_the_capture_cut_is_dissected_alone() -> None:
    """It cannot be reassembled, but its ports can be read; later fragments are `data`."""
    batch = decode(v4(0, 24)[:-4], v4(24, 56), wire=[len(v4(0, 24)), len(v4(24, 56))])

    assert [shown(batch, i) for i in range(2)] == ["eth:14 ip:20 udp:8", "eth:14 ip:20 data:32"]


def test_overlaps_are_a_fault_and_the_earlier_begin_wins() -> None:
    """A repeated fragment adds nothing; one that covers bytes twice is named."""
    evil = eth(ip4(b"\xff" * 32, 17, place=16 // 8 | 0x2000))
    batch = decode(v4(0, 24), evil, v4(24, 48), v4(48, 56))
    p = batch.packets

    assert [bool(f & FRAGMENT_OVERLAP) for f in p.fault] == [False, True, True, False]
    start = int(p.payload_start[3])
    assert bytes(batch.data[start : start + 48]) == bytes(range(16)) + b"\xff" * 24 + bytes(range(40, 48))


def test_the_oldest_unfinished_datagram_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a fault says that a datagram was given up; newer ones are still completed."""
    monkeypatch.setattr(defrag, "MAX_DATAGRAMS", 2)
    batch = decode(v4(0, 24, 1), v4(0, 24, 2), v4(0, 24, 3), v4(24, 56, 3), v4(24, 56, 1))

    assert [bool(f & FRAGMENT_INCOMPLETE) for f in batch.packets.fault] == [False, False, True, False, False]
    assert [shown(batch, i).split()[-1].split(":")[0] for i in range(5)] == ["data", "data", "data", "udp", "data"]


def test_bytes_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of lone fragments holds no more than the limit."""
    monkeypatch.setattr(defrag, "MAX_BYTES", 1000)
    decoder = Decoder()
    decoder.update(records([eth(ip4(bytes(400), 17, place=0x2000, id=id)) for id in range(50)]))

    assert decoder.fragments.unfinished <= 4
    assert decoder.fragments.given_up >= 46


def test_the_ping_of_death_is_no_datagram() -> None:
    """A fragment that ends behind 65,535 bytes is refused, so that a lying offset costs no memory."""
    batch = decode(eth(ip4(bytes(64), 17, place=8191)))

    assert shown(batch) == "eth:14 ip:20 data:64"
    assert batch.packets.fault[0] & FRAGMENT_OVERLAP


def test_chunks_with_datagrams_do_not_disturb_each_other() -> None:
    """The buffers are used again only when nobody looks at them: batches that are kept stay as they were."""
    decoder = Decoder()
    batches = [decoder.update(records([v4(0, 24), v4(24, 56)])) for _ in range(6)]

    for batch in batches:
        start = int(batch.packets.payload_start[1])
        assert bytes(batch.data[start : start + 48]) == bytes(range(48))
