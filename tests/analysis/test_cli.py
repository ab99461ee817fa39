"""The commands of the analysis: results on stdout, one-line errors, exit codes, files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from capture_files import Packet, pcap
from click.testing import CliRunner, Result
from made_frames import ACK, SYN, Made, tcp, udp

from analysis.cli import LEVELS, PARTS, cli
from analysis.packets import DEFAULT_FIELDS, FIELDS

QUIET = Path(__file__).parents[2] / "captures" / "office-quiet.pcap"

A, B, MS = ("10.0.0.1", 40000), ("10.0.0.2", 80), 1_000_000
FRAMES = [
    tcp(0, A, B, SYN, seq=100),
    tcp(1_000 * MS, A, B, SYN, seq=100),
    udp(2_000 * MS, A, ("10.0.0.2", 9)),
    tcp(2_500 * MS, B, A, SYN | ACK, seq=500, ack=101),
]


@pytest.fixture
def capture(tmp_path: Path) -> str:
    """A capture file of four frames."""
    return write(tmp_path / "c.pcap", FRAMES)


def write(path: Path, frames: list[Made]) -> str:
    """The frames as a pcap file."""
    path.write_bytes(pcap([Packet(frame.time_ns, frame.data) for frame in frames]))
    return str(path)


def run(*arguments: str) -> Result:
    """One command; an exception other than an exit fails the test."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_analyze_json(capture: str) -> None:
    """--json prints one object and nothing else."""
    result = run("analyze", capture, "--json")
    found: dict[str, Any] = json.loads(result.stdout)

    assert result.exit_code == 0
    assert found["capture"]["packets"] == 4
    assert {*PARTS} <= {*found}


def test_analyze_for_a_person(capture: str) -> None:
    """Without flags a summary is printed; piped, it is plain lines."""
    assert run("analyze", capture).stdout.startswith("verdict\t")


def test_analyze_only_and_interval(capture: str) -> None:
    """--only and --interval reach the analysis."""
    found = json.loads(run("analyze", capture, "--json", "--only", "io,capture", "--interval", "0.5").stdout)

    assert {*found} == {"io", "capture", "timing"}
    assert found["io"]["packets"] == [1, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", "MISSING"),
        ("analyze", "TEXT"),
        ("analyze", "CAPTURE", "--only", "nothing"),
        ("analyze", "CAPTURE", "--interval", "0"),
        ("analyze", "CAPTURE", "-o", "TEXT/below"),
        ("packets", "CAPTURE", "--fields", "number,colour"),
        ("packets", "TEXT"),
        ("verify", "CAPTURE", "--oracle", "MISSING"),
        ("analyze",),
        ("capture", "-i", "no-such-interface-0", "--seconds", "1"),
    ],
)
def test_what_a_user_can_put_right_exits_with_2(tmp_path: Path, capture: str, arguments: tuple[str, ...]) -> None:
    """Bad input and usage: exit code 2, a reason on stderr, no traceback, nothing on stdout."""
    text = tmp_path / "TEXT"
    text.write_text("no capture")
    places = {"MISSING": str(tmp_path / "missing"), "TEXT": str(text), "CAPTURE": capture}
    result = run(*(places.get(part, part.replace("TEXT/", f"{text}/")) for part in arguments))

    assert result.exit_code == 2
    assert result.stderr and "Traceback" not in result.stderr


def test_debug_shows_the_error_itself(tmp_path: Path) -> None:
    """--debug lets the exception through."""
    result = CliRunner().invoke(cli, ["analyze", str(tmp_path / "missing"), "--debug"])

    assert result.exception is not None and not isinstance(result.exception, SystemExit)


def test_control_characters_of_a_name_are_shown(tmp_path: Path) -> None:
    """An error never sends escape sequences to the terminal."""
    result = run("analyze", str(tmp_path / "x\x1b[31m"))

    assert "\x1b" not in result.stderr and "\\x1b" in result.stderr


def test_packets_tsv(capture: str) -> None:
    """--tsv has the default columns, one line a packet."""
    lines = [line.split("\t") for line in run("packets", capture, "--tsv").stdout.splitlines()]

    assert lines[0] == list(DEFAULT_FIELDS)
    assert lines[1] == ["1", "0.000000000", "54", "54", "eth/ip/tcp", "0", ""]
    assert lines[2][-1] == "retransmission"
    assert lines[3][4].startswith("eth/ip/udp")


def test_packets_every_field(capture: str) -> None:
    """Every field can be asked for, as JSON with null for what is absent."""
    found = json.loads(run("packets", capture, "--json", "--fields", ",".join(FIELDS), "--limit", "3").stdout)[
        "packets"
    ]

    assert [row["number"] for row in found] == [1, 2, 3]
    assert (found[0]["source"], found[0]["source_port"], found[0]["ttl"]) == ("10.0.0.1", 40000, 64)
    assert (found[2]["tcp_stream"], found[2]["udp_stream"]) == (None, 0)


def test_verify_against_a_stored_oracle(tmp_path: Path, capture: str) -> None:
    """An oracle that agrees exits with 0; one that differs with 1, and the difference is printed."""
    folder = tmp_path / "oracle"
    folder.mkdir()
    (folder / "meta.json").write_text('{"tshark": "stored"}')
    text = run("packets", capture, "--tsv").stdout
    store(folder, text)
    assert run("verify", capture, "--oracle", str(folder)).exit_code == 0

    store(folder, text.replace("retransmission", "out_of_order").replace("\t54\t54", "\t99\t54"))
    result = run("verify", capture, "--oracle", str(folder), "--json")
    found = json.loads(result.stdout)

    assert result.exit_code == 1
    assert (found["frames"], found["paths_equal"], found["tcp_flags_equal"]) == (4, 4, 2)
    assert found["tables"]["io"]["equal"] is False
    assert {"tcp flags"} <= {row["what"] for row in found["differences"]}


def store(folder: Path, tsv: str) -> None:
    """Frames of a stored oracle."""
    import gzip

    (folder / "frames.tsv.gz").write_bytes(gzip.compress(tsv.encode()))


@pytest.mark.tshark
def test_verify_against_tshark(capture: str) -> None:
    """The real tshark says the same of a capture made here."""
    import shutil

    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    result = run("verify", capture)

    assert result.exit_code == 0, result.stdout
    assert "paths_equal\t4 of 4 frames" in result.stdout


def test_output_folder(tmp_path: Path, capture: str) -> None:
    """-o writes the page, the findings, and each table twice; no temporary file stays."""
    folder = tmp_path / "out"
    result = run("analyze", capture, "-o", str(folder))
    names = {path.name for path in folder.iterdir()}

    assert result.exit_code == 0
    assert {"report.html", "findings.json", "io.csv", "io.parquet", "conversations_tcp.csv"} <= names
    assert not [name for name in names if name.startswith(".")]


def test_fail_on(capture: str) -> None:
    """--fail-on info exits with 1 exactly when there is a finding."""
    found = json.loads(run("analyze", capture, "--json").stdout)["findings"]

    assert run("analyze", capture, "--fail-on", LEVELS[0]).exit_code == (1 if found else 0)


def test_help_is_quick_and_complete() -> None:
    """Every command has help with an example, and asking for it imports neither numpy nor rich."""
    for name, command in cli.commands.items():
        assert command.help and "Example:" in command.help, name
    code = (
        "import sys; from click.testing import CliRunner; from analysis.cli import cli;"
        "CliRunner().invoke(cli, ['analyze', '--help']);"
        "print(sorted({'numpy', 'numba', 'pandas', 'rich', 'scapy', 'matplotlib'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_small_capture_imports_no_more_than_it_needs() -> None:
    """A summary of a small capture needs neither compiler nor masked arrays, thread pools or settings files."""
    code = (
        "import sys; from analysis.cli import cli\n"
        f"cli(['analyze', {str(QUIET)!r}], standalone_mode=False)\n"
        "unused = {'numba', 'pandas', 'rich', 'numpy.ma', 'concurrent.futures', 'tomllib', 'tempfile'}\n"
        "sys.stderr.write(str(sorted(unused & {*sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stderr == "[]"
