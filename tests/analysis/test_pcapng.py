"""pcapng reading: blocks, clocks, sections, and what a file says beside its packets."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest
from capture_files import Packet, block, enhanced, interface, obsolete, option, pcapng, section, simple

from analysis.columns import BAD_INTERFACE, BAD_TIME, NO_TIME, Records
from analysis.errors import CaptureError
from analysis.origin import CUSTOM_LINK, JOURNAL_LINK, NO_INTERFACE, BlockName, Comment, Section
from analysis.pcapng import Clock, PcapngReader, to_ns


def read(octets: bytes) -> tuple[PcapngReader, Records]:
    """The whole file at once."""
    reader = PcapngReader(octets[:28], "x.pcapng")
    return reader, reader.read(np.frombuffer(octets, np.uint8), len(octets), 1000)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [enhanced, obsolete])
def test_packet_blocks_of_either_byte_order(order: str, kind) -> None:  # type: ignore[no-untyped-def]
    """Enhanced and obsolete packet blocks say the same."""
    octets = section(order=order) + interface(113, 0, b"", order) + kind(5_000_001, b"hello", order=order)
    reader, records = read(octets)
    assert records.time_ns.tolist() == [5_000_001_000]
    assert (records.cap_len.tolist(), records.frame_len.tolist(), records.link_type.tolist()) == ([5], [5], [113])
    start = int(records.start[0])
    assert octets[start : start + 5] == b"hello"
    assert reader.damage == ""


def test_a_simple_packet_is_cut_at_the_snapshot_length_and_has_no_time() -> None:
    """Its own length field is the length on the wire."""
    _, records = read(section() + interface(1, 64) + simple(bytes(64), 100))
    assert (records.cap_len.tolist(), records.frame_len.tolist()) == ([64], [100])
    assert records.time_ns.tolist() == [NO_TIME]


def test_sections_have_their_own_byte_order_and_interfaces() -> None:
    """Interface 0 of the second section is the file's interface 1."""
    octets = section() + interface(1) + enhanced(1, b"a")
    octets += section(order=">") + interface(101, order=">") + enhanced(2, b"b", order=">")
    _, records = read(octets)
    assert records.interface.tolist() == [0, 1]
    assert records.link_type.tolist() == [1, 101]


def test_interface_options_statistics_names_and_comments() -> None:
    """What the blocks between packets say is kept; unknown and secret blocks are skipped."""
    host = struct.pack("<HH", 1, 15) + socket.inet_aton("10.0.0.1") + b"web\x00www.org"[:11] + b"\x00"
    octets = section(
        option(1, b"whole") + option(2, b"cpu") + option(3, b"Linux") + option(4, b"prog") + option(0, b"")
    )
    octets += interface(1, 96, option(2, b"eth7") + option(3, b"uplink") + option(11, b"\x00tcp") + option(13, b"\x04"))
    octets += block(4, host + bytes(4)) + block(10, b"secrets.") + block(0x0BADF00D, b"?")
    octets += enhanced(1, b"abc", options=option(2, bytes(4)) + option(1, b"look here") + option(0, b""))
    octets += block(5, struct.pack("<III", 0, 0, 0) + option(4, struct.pack("<Q", 9)) + option(5, struct.pack("<Q", 3)))
    reader, records = read(octets)
    eth = reader.interfaces[0]
    assert (eth.name, eth.description, eth.filter, eth.snaplen, eth.fcs_bytes) == ("eth7", "uplink", "tcp", 96, 4)
    assert (eth.received, eth.drops) == (9, 3)
    assert reader.sections == [Section("cpu", "Linux", "prog")]
    assert reader.comments == [Comment(0, "whole")]
    assert reader.row_comments == [(0, "look here")]
    assert reader.names == [BlockName("10.0.0.1", "web"), BlockName("10.0.0.1", "www.org")]
    assert len(records.start) == 1


def test_custom_blocks_and_journal_entries_are_frames_without_a_link() -> None:
    """Wireshark lists them; the enterprise number of a custom block does not count."""
    _, records = read(
        section() + block(0xBAD, bytes(4) + b"data") + block(0x40000BAD, bytes(4)) + block(9, b"MESSAGE=")
    )
    assert records.link_type.tolist() == [CUSTOM_LINK, CUSTOM_LINK, JOURNAL_LINK]
    assert records.frame_len.tolist() == [4, 0, 8]
    assert records.time_ns.tolist() == [NO_TIME] * 3


def test_a_journal_entry_has_its_own_time_and_no_padding() -> None:
    """The time is a field of the text, in microseconds; trailing zeros are padding."""
    _, records = read(section() + block(9, b"__CURSOR=x\n__REALTIME_TIMESTAMP=1700000000123456\nMESSAGE=a\n"))
    assert records.time_ns.tolist() == [1_700_000_000_123_456_000]
    assert records.frame_len.tolist() == [59]


def test_large_blocks_that_are_no_packets_are_skipped() -> None:
    """17 MB of something unknown; a packet of that size would be damage."""
    _, records = read(section() + interface() + block(77, bytes(17 << 20)) + enhanced(1, b"a"))
    assert len(records.start) == 1
    reader, records = read(section() + interface() + enhanced(1, bytes(262_145)) + enhanced(1, b"a"))
    assert (len(records.start), reader.damage) == (0, "bad_length")


def test_a_packet_of_an_unknown_interface_is_kept_and_marked() -> None:
    """Reading goes on behind it."""
    _, records = read(section() + interface() + enhanced(1, b"a", number=7) + enhanced(1, b"b"))
    assert records.fault.tolist() == [BAD_INTERFACE, 0]
    assert records.link_type.tolist() == [NO_INTERFACE, 1]


@pytest.mark.parametrize(
    "damage",
    [
        struct.pack("<II", 6, 11) + bytes(40),  # shorter than any block
        struct.pack("<II", 6, 0xFFFFFFFF) + bytes(40),  # longer than the limit
        enhanced(1, b"abcd")[:-4] + struct.pack("<I", 40),  # the two lengths differ
        block(6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"1234"),  # more captured than the block holds
        block(6, bytes(16)),  # no room for the fields
    ],
)
def test_a_block_that_cannot_be_ends_the_file(damage: bytes) -> None:
    """What stands before is kept."""
    reader, records = read(section() + interface() + enhanced(1, b"a") + damage + enhanced(2, b"b"))
    assert (len(records.start), reader.damage) == (1, "bad_length")


def test_an_unknown_version_and_a_bad_magic() -> None:
    """Version 2 of a section is nobody's; without byte-order magic it is no pcapng."""
    octets = bytearray(section())
    octets[12] = 2
    assert read(bytes(octets))[0].damage == "bad_version"
    with pytest.raises(CaptureError, match="got byte-order magic 00000000, expected 1a2b3c4d"):
        PcapngReader(octets[:8] + bytes(20), "x.pcapng")


CLOCKS = [
    ("milliseconds", Clock(10, 3), 1_500, 1_500_000_000, False),
    ("seconds", Clock(10, 0), 7, 7_000_000_000, False),
    ("nanoseconds", Clock(10, 9), 2**63 - 1, 2**63 - 1, False),
    ("picoseconds are cut", Clock(10, 12), 1_999, 1, False),
    ("a power of two", Clock(2, 10), 1_536, 1_500_000_000, False),
    ("2 ** -32, half a second", Clock(2, 32), 3 << 31, 1_500_000_000, False),
    ("2 ** -60, half a second", Clock(2, 60), 1 << 59, 500_000_000, False),
    ("an offset", Clock(10, 6, 1_000), 1, 1_000_000_001_000, False),
    ("before 1970", Clock(10, 6, -10), 1, 0, True),
    ("after 2262", Clock(10, 6), 2**64 - 1, 2**63 - 1, True),
    ("after 2262 by its offset", Clock(10, 6, 2**40), 1, 2**63 - 1, True),
    ("after 2262 in halves of seconds", Clock(2, 1), 2**64 - 1, 2**63 - 1, True),
    ("a unit too small to count", Clock(10, 127), 2**64 - 1, 1, True),
]


@pytest.mark.parametrize(("clock", "ticks", "ns", "bad"), [c[1:] for c in CLOCKS], ids=[c[0] for c in CLOCKS])
def test_clocks(clock: Clock, ticks: int, ns: int, bad: bool) -> None:
    """if_tsresol and if_tsoffset; times outside 1970-2262 stay at the edge and are marked."""
    time_ns, wrong = to_ns(np.array([ticks], np.uint64).view(np.int64), clock)
    assert (time_ns.tolist(), wrong.tolist()) == ([ns], [bad])


def test_the_clock_of_each_interface() -> None:
    """Two interfaces with different resolutions in one chunk."""
    octets = section() + interface(options=option(9, b"\x03")) + interface(options=option(9, b"\x8a"))
    octets += enhanced(1_000, b"", number=0) + enhanced(1_024, b"", number=1) + enhanced(2**63, b"", number=0)
    _, records = read(octets)
    assert records.time_ns.tolist() == [10**9, 10**9, 2**63 - 1]
    assert records.fault.tolist() == [0, 0, BAD_TIME]


def test_resolutions_agree() -> None:
    """The same packets in milliseconds, nanoseconds, 2 ** -30 and either byte order: the same rows."""
    packets = [Packet(k * 125_000_000, bytes([k]) * k) for k in range(9)]  # eighths of a second fit them all
    times = [read(pcapng(packets, order=o, resolution=r))[1].time_ns.tolist() for o in "<>" for r in (3, 9, 0x80 | 30)]
    assert all(t == [p.time_ns for p in packets] for t in times)
