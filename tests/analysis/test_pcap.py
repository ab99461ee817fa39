"""pcap reading: every variant gives the same rows, damage ends the file and is named."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from capture_files import Packet, pcap

from analysis.columns import BAD_TIME
from analysis.errors import CaptureError
from analysis.pcap import PcapReader

# Times in whole microseconds, so that every variant can hold them.
PACKETS = [
    Packet(0, b""),
    Packet(1_000_000_000_000_001_000, b"a"),
    Packet(4_294_967_295_999_999_000, b"bc" * 40, 1500),
    Packet(1_000, bytes(range(256)), 256),
]


def rows(octets: bytes, limit: int = 1000) -> list[tuple[int, bytes, int]]:
    """What the reader makes of a file: (time, bytes, length on the wire) a packet."""
    reader = PcapReader(octets[:28], "x.pcap")
    records = reader.read(np.frombuffer(octets, np.uint8), len(octets), limit)
    columns = zip(records.time_ns, records.start, records.cap_len, records.frame_len)
    return [(int(t), octets[int(s) : int(s) + int(c)], int(f)) for t, s, c, f in columns]


EXPECTED = [(p.time_ns, p.data, len(p.data) if p.wire is None else p.wire) for p in PACKETS]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34, 0x1C0001AC, 0x1C0001AB])
def test_every_variant_gives_the_same_rows(order: str, magic: int) -> None:
    """Byte order, resolution, longer record and file headers change nothing of what is read."""
    assert rows(pcap(PACKETS, order=order, magic=magic)) == EXPECTED


def test_old_versions_exchange_the_two_lengths() -> None:
    """Before version 2.3 the length on the wire comes first."""
    assert rows(pcap(PACKETS, version=(2, 2))) == EXPECTED


def test_upper_bits_of_the_link_type_are_the_fcs() -> None:
    """Bit 26 says that bits 28-31 hold the FCS length in 16-bit words; the link type is the lower half."""
    reader = PcapReader(pcap([], link=0x24000001)[:28], "x.pcap")
    assert (reader.interfaces[0].link_type, reader.interfaces[0].fcs_bytes) == (1, 4)


def test_a_length_beyond_the_limit_ends_the_file() -> None:
    """262,144 bytes is the most that Wireshark takes; what stands before is kept."""
    octets = pcap(PACKETS[:2]) + struct.pack("<IIII", 1, 0, 262_145, 262_145) + bytes(300_000)
    reader = PcapReader(octets[:28], "x.pcap")
    records = reader.read(np.frombuffer(octets, np.uint8), len(octets), 1000)
    assert (len(records.start), reader.damage) == (2, "bad_length")


def test_a_fraction_beyond_one_second_is_a_bad_time() -> None:
    """The packet stays; its time is kept as Wireshark has it and marked."""
    octets = pcap([]) + struct.pack("<IIII", 10, 1_000_000, 0, 0)
    reader = PcapReader(octets[:28], "x.pcap")
    records = reader.read(np.frombuffer(octets, np.uint8), len(octets), 10)
    assert records.fault.tolist() == [BAD_TIME]
    assert records.time_ns.tolist() == [11 * 10**9]


def test_a_cut_file_header_is_an_error() -> None:
    """There is no capture without its header."""
    with pytest.raises(CaptureError, match=r"x\.pcap: pcap header is cut: got 23 bytes, expected at least 24"):
        PcapReader(pcap([])[:23], "x.pcap")


def test_reading_goes_on_where_the_rows_were_full() -> None:
    """A limit of one row gives one row a call, in order."""
    octets = pcap(PACKETS)
    reader = PcapReader(octets[:28], "x.pcap")
    data = np.frombuffer(octets, np.uint8)
    lengths = [reader.read(data, len(octets), 1).cap_len.tolist() for _ in range(5)]
    assert lengths == [[0], [1], [80], [256], []]
