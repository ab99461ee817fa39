"""The packet list as a command: filters, limits, a new file with the matching packets, one packet in full."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from capture_files import Packet, enhanced, interface, option, pcap, pcapng, section
from click.testing import CliRunner, Result
from made_frames import ACK, SYN, tcp, udp

from analysis import kernel
from analysis.capture import open_captures
from analysis.cli import cli
from analysis.selected import Selected

A, B = ("10.0.0.1", 40000), ("10.0.0.2", 9999)
FRAMES = [
    tcp(1, A, B, SYN, seq=1),
    udp(2, A, B, 20),
    tcp(3, B, A, SYN | ACK, seq=9, ack=2),
    udp(4, B, A, 40),
    tcp(5, A, B, ACK, seq=2, ack=10, length=7),
]
PACKETS = [Packet(1_700_000_000_000_000_000 + frame.time_ns, frame.data) for frame in FRAMES]


def run(*arguments: object) -> Result:
    """The command, interpreted."""
    kernel.choose(0)
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Five packets."""
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(PACKETS, magic=0xA1B23C4D))
    return path


def numbers(result: Result) -> list[int]:
    """The first column of the printed lines."""
    assert result.exit_code == 0, result.output
    return [int(line.split("\t")[0]) for line in result.stdout.splitlines()[1:]]


def test_the_last_argument_is_the_filter(capture: Path) -> None:
    """Where it is no file; several captures may stand before it."""
    assert numbers(run("packets", capture, "udp", "--tsv")) == [2, 4]
    assert numbers(run("packets", capture, capture, "udp", "--tsv")) == [3, 4, 7, 8]
    assert numbers(run("packets", capture)) == [1, 2, 3, 4, 5]


def test_a_limit_counts_what_is_shown(capture: Path) -> None:
    """Not what was read."""
    assert numbers(run("packets", capture, "tcp", "--limit", 2)) == [1, 3]
    assert numbers(run("packets", capture, "--limit", 0)) == []
    found = json.loads(run("packets", capture, "tcp", "--json", "--fields", "number", "--limit", 2).stdout)
    assert found == {"packets": [{"number": 1}, {"number": 3}]}


def test_written_packets_are_those_of_the_source(capture: Path, tmp_path: Path) -> None:
    """Bytes, both lengths and nanoseconds survive; the list of the new file is that of the filter."""
    out = tmp_path / "out.pcapng"
    result = run("packets", capture, "udp", "-w", out)

    assert (result.exit_code, result.stdout) == (0, "")
    assert f"2 packets written to {out}" in result.stderr
    fields = ("--fields", "time_epoch,frame_len,cap_len,path,source,destination_port")
    assert run("packets", out, *fields).stdout == run("packets", capture, "udp", *fields).stdout
    with open_captures([str(out)]) as opened:
        (records,) = opened.chunks()
        stored = [bytes(records.data[at : at + size]) for at, size in zip(records.start, records.cap_len)]
    assert stored == [FRAMES[1].data, FRAMES[3].data]
    assert not list(tmp_path.glob("*.part"))


def test_interfaces_and_link_types_stay_apart(tmp_path: Path) -> None:
    """A packet keeps the link type and the name of where it was captured; cut packets keep their length on the wire."""
    path, out = tmp_path / "two.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(
        section()
        + interface(1, 0, option(2, b"lan") + option(9, b"\x09"))
        + interface(101, 0, option(2, b"tun") + option(9, b"\x09"))
        + enhanced(7, FRAMES[1].data, wire=999)
        + enhanced(8, FRAMES[3].data[14:], number=1)
    )
    assert run("packets", path, "-w", out).exit_code == 0
    with open_captures([str(out)]) as opened:
        (records,) = opened.chunks()
        named = [opened.interfaces[at].name for at in records.interface]

    assert (named, records.link_type.tolist()) == (["lan", "tun"], [1, 101])
    assert (records.frame_len.tolist(), records.time_ns.tolist()) == ([999, len(FRAMES[3].data) - 14], [7, 8])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("CAPTURE", "tcp.nix"), "expected a protocol or one of the fields"),
        (("CAPTURE", "tcp", "-w", "CAPTURE"), "expected another file for -w"),
        (("CAPTURE", "tcp", "-w", "/no/such/folder/x.pcapng"), "cannot be written"),
        (("missing.pcap", "tcp"), "missing.pcap"),
        (("CAPTURE", "CAPTURE", "--detail", "1"), "one capture file"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(capture: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2; nothing half-written stays behind."""
    before = capture.read_bytes()
    result = run("packets", *(str(capture) if word == "CAPTURE" else word for word in arguments))

    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert capture.read_bytes() == before
    assert sorted(path.name for path in capture.parent.iterdir()) == ["in.pcap"]


def test_the_analysis_of_selected_packets_is_that_of_a_capture_of_them(capture: Path, tmp_path: Path) -> None:
    """`analyze --filter` and `packets -w` with the same filter agree in every table."""
    out = tmp_path / "out.pcapng"
    run("packets", capture, "tcp", "-w", out)
    parts = ("--only", "hierarchy,conversations,endpoints,io,tcp_analysis,packet_lengths")
    wanted, found = (json.loads(run("analyze", *arguments, "--json", *parts).stdout) for arguments in ((out,), (capture, "--filter", "tcp")))  # fmt: skip
    for analysis in (wanted, found):
        del analysis["timing"]

    assert found == wanted
    assert found["hierarchy"][0]["packets"] == 3


def test_selected_packets_keep_their_numbers(capture: Path) -> None:
    """Whatever the chunks are."""
    from analysis.display_filter import DisplayFilter

    kernel.choose(0)
    for size in (1, 2, 10):
        with open_captures([str(capture)], chunk_packets=size) as opened:
            chunks = Selected(opened, DisplayFilter("udp")).chunks()

            assert [number for records in chunks for number in records.number.tolist()] == [2, 4]


@pytest.mark.tshark
@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark on the PATH")
def test_one_packet_in_full_is_tsharks(tmp_path: Path) -> None:
    """A heading per layer, a line per field, control characters of the payload made visible."""
    path = tmp_path / "in.pcapng"
    nasty = b"\x1b[31mred\x07"
    frame = udp(2, A, ("10.0.0.2", 7), len(nasty))
    path.write_bytes(pcapng([PACKETS[0], Packet(5, frame.data[: -len(nasty)] + nasty)]))
    shown = run("packets", path, "--detail", 2)

    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")][:3] == ["ETH", "IP", "UDP"]
    assert "    Destination Port: 7" in lines
    assert all(line.isprintable() for line in lines)
    missing = run("packets", path, "--detail", 3)
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "got no frame 3" in missing.stderr
