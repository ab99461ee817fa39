"""What a capture file says about itself: interfaces, sections, comments, names; and limits common to both formats.

In: nothing. Out: the nouns that the readers (pcap, pcapng) fill and the capture collects. It must not know how a file
is read.
"""

from __future__ import annotations

from analysis.named_tuples import NamedTuple
from analysis.records import MutableRecord

# Largest packet that Wireshark's reader accepts; a larger length means that the file is damaged there. A few link types
# carry more (D-Bus messages, USBPcap transfers, EBHSCR records).
MAX_PACKET_BYTES = 262_144
LARGE_PACKETS = {231: 128 << 20, 249: 128 << 20, 279: 32 << 20}

# Pseudo-headers in front of each packet that Wireshark takes as metadata, not as packet bytes: LINKTYPE_ -> size.
# The packet starts behind them; neither length counts them. Bytes data[start - size : start] still hold them.
PSEUDO_HEADERS = {
    123: 4,  # SunATM
    139: 4,  # MTP2 with pseudo-header
    144: 16,  # Linux IrDA
    177: 16,  # Linux LAPD
    196: 5,  # SITA
    201: 4,  # Bluetooth HCI H4 with direction
    204: 1,  # PPP with direction
    209: 5,  # Linux I2C
    245: 2,  # NFC LLCP
    254: 4,  # Bluetooth Linux monitor
}

# Rows that are no packet: pcapng blocks that Wireshark lists as frames have the negated block type as link type.
NO_INTERFACE = -1  # link type of a packet whose interface no block described
JOURNAL_LINK = -9  # systemd journal entry
CUSTOM_LINK = -0xBAD  # custom block


class Interface(MutableRecord):
    """One interface of a capture. `drops` and `received` are None where the file does not say."""

    name: str = ""
    description: str = ""
    link_type: int = NO_INTERFACE
    snaplen: int = 0  # bytes, 0 = no limit
    drops: int | None = None
    received: int | None = None
    time_digits: int = 6  # digits behind the point of a second that a time stamp of this interface has
    hardware: str = ""
    os: str = ""
    filter: str = ""
    fcs_bytes: int | None = None  # frame check sequence at the end of each packet, where the file says so


class Section(NamedTuple):
    """What wrote the capture (pcapng section header; empty for pcap)."""

    hardware: str = ""
    os: str = ""
    application: str = ""


class Comment(NamedTuple):
    """A comment of the file: `number` is the frame it belongs to, 0 for a section or interface."""

    number: int
    text: str


class BlockName(NamedTuple):
    """A name resolution record: address in canonical text, and a name for it."""

    address: str
    name: str


def largest_packet(link_type: int) -> int:
    """Most bytes that a packet of this link type may have."""
    return LARGE_PACKETS.get(link_type, MAX_PACKET_BYTES)
