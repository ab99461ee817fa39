"""The Wireshark dissector names every frame, however it was cut into segments, and says what is wrong with a bad one."""

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from chat import wire

SCRIPT = Path(wire.__file__).parent / "dissector" / "tw.lua"

pytestmark = [
    pytest.mark.tshark,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

HELLO = wire.encode(wire.Hello([1], agent="test"))
SEND = wire.encode(wire.Send("lobby", "id-1", "hello"))
MSG = wire.encode(wire.Msg("lobby", 7, 1_700_000_000_000, "alice", "hello"), channel=3)
DATA = wire.encode(wire.Data("ab" * 16, 65536, 0xDEADBEEF, b"x" * 3000))


def capture(path: Path, segments: Sequence[bytes], port: int = 1234) -> Path:
    """A capture of one TCP connection to `port` whose client sent these segments."""
    sequence, packets = 1000, []
    for segment in segments:
        header = TCP(sport=40000, dport=port, seq=sequence, ack=1, flags="PA")
        packets.append(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / header / segment)
        sequence += len(segment)
    wrpcap(str(path), packets)
    return path


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """One list a packet: the values of the fields, several values of one field joined by commas."""
    command = ["tshark", "-X", f"lua_script:{SCRIPT}", "-r", str(path), "-T", "fields"]
    done = subprocess.run(
        [*command, *(word for field in fields for word in ("-e", field))], capture_output=True, text=True, timeout=280
    )
    assert "Lua Error" not in done.stdout + done.stderr and done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def values(rows: list[list[str]], column: int) -> list[str]:
    """All values of one field in the order of the packets."""
    return [value for row in rows for value in row[column].split(",") if value]


def hexes(*types: int) -> list[str]:
    return [f"0x{kind:02x}" for kind in types]


def test_the_names_are_those_of_the_codec() -> None:
    """Every frame type of the codec stands in the dissector under the same name, and no other."""
    found = {int(code, 16): name for code, name in re.findall(r'\[(0x\w\w)\] = "(\w+)"', SCRIPT.read_text())}

    assert found == {kind.value: kind.name for kind in wire.Type}


CUTS = {
    "one frame a segment": [HELLO, SEND, MSG],
    "all in one segment": [HELLO + SEND + MSG],
    "a frame over three segments": [HELLO + SEND[:5], SEND[5:20], SEND[20:] + MSG],
    "cut inside the magic": [HELLO + SEND[:1], SEND[1:] + MSG],
    "byte at a time": [bytes([byte]) for byte in HELLO + SEND + MSG],
}


@pytest.mark.parametrize("segments", CUTS.values(), ids=CUTS.keys())
def test_frames_are_found_however_they_are_cut(segments: list[bytes], tmp_path: Path) -> None:
    """The same three frames come out of any segmentation, with their room, sender and body."""
    rows = tshark(capture(tmp_path / "c.pcap", segments), "tapwall.type", "tapwall.room", "tapwall.sender", "json.key")

    assert values(rows, 0) == hexes(0x01, 0x20, 0x22)
    assert values(rows, 1) == ["lobby", "lobby"]
    assert values(rows, 2) == ["alice"]
    assert {"agent", "id", "seq"} <= set(values(rows, 3))


def test_the_packet_list_says_what_is_in_a_packet(tmp_path: Path) -> None:
    """Protocol and Info columns name the frames with room and sender."""
    rows = tshark(capture(tmp_path / "c.pcap", [HELLO + SEND, MSG]), "_ws.col.Protocol", "_ws.col.Info")

    assert rows == [["TAPWALL", "HELLO; SEND lobby"], ["TAPWALL", "MSG lobby alice"]]


def test_the_header_and_the_data_frame_have_fields(tmp_path: Path) -> None:
    """Version, channel and length can be filtered on; a chunk shows file, offset and checksum."""
    rows = tshark(
        capture(tmp_path / "c.pcap", [MSG, DATA[:1400], DATA[1400:2800], DATA[2800:]]),
        "tapwall.version", "tapwall.channel", "tapwall.length", "tapwall.data.file_id", "tapwall.data.offset", "tapwall.data.crc32c",
    )  # fmt: skip

    assert values(rows, 0) == ["1", "1"]
    assert values(rows, 1) == ["3", "0"]
    assert values(rows, 2) == [str(len(MSG) - 12), str(28 + 3000)]
    assert values(rows, 3) == ["ab" * 16]
    assert values(rows, 4) == ["65536"]
    assert values(rows, 5) == ["0xdeadbeef"]


def test_another_port_is_known_by_content(tmp_path: Path) -> None:
    """The protocol is found on any port; another protocol that begins alike is not taken."""
    assert values(tshark(capture(tmp_path / "c.pcap", [HELLO, SEND], port=4711), "tapwall.type"), 0) == hexes(
        0x01, 0x20
    )
    assert values(tshark(capture(tmp_path / "d.pcap", [b"TWO words, and more"], port=4711), "tapwall.type"), 0) == []


FAULTS = {
    "rubbish behind a frame": ([HELLO + b"rubbish"], "tapwall.bad_magic", [0x01]),
    "length beyond the cap": ([HELLO + struct.pack("!2sBBHHI", b"TW", 1, 0x20, 0, 0, 0xFFFFFFFF) + b"x", SEND], "tapwall.oversize", [0x01, 0x20]),
    "unknown type": ([struct.pack("!2sBBHHI", b"TW", 1, 0x7F, 1, 0, 2) + b"{}" + SEND], "tapwall.unknown_type", [0x7F, 0x20]),
    "unknown version": ([struct.pack("!2sBBHHI", b"TW", 9, 0x06, 0, 0, 2) + b"{}"], "tapwall.bad_version", [0x06]),
    "unknown flags": ([struct.pack("!2sBBHHI", b"TW", 1, 0x06, 0x80, 0, 2) + b"{}"], "tapwall.bad_flags", [0x06]),
    "DATA without its head": ([struct.pack("!2sBBHHI", b"TW", 1, 0x32, 0, 0, 3) + b"abc"], "tapwall.short_data", [0x32]),
    "a password in clear text": ([wire.encode(wire.Auth("password", "alice", "pw"))], "tapwall.clear_secret", [0x03]),
}  # fmt: skip


@pytest.mark.parametrize(("segments", "expert", "types"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_said_and_hold_nothing_up(
    segments: list[bytes], expert: str, types: list[int], tmp_path: Path
) -> None:
    """A fault has its expert item, the frames round it are still named, and nothing waits for bytes that never come."""
    rows = tshark(capture(tmp_path / "c.pcap", segments), "tapwall.type", expert)

    assert values(rows, 0) == hexes(*types)
    assert len(values(rows, 1)) == 1


def test_a_guest_login_is_no_secret(tmp_path: Path) -> None:
    """A login with a name alone gives nothing away, so it is no warning."""
    rows = tshark(capture(tmp_path / "c.pcap", [wire.encode(wire.Auth("guest", "alice"))]), "tapwall.clear_secret")

    assert values(rows, 0) == []
