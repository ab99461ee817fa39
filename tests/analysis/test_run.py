"""The analysis end to end: JSON form, parts, names, merged files, compiled and interpreted kernels."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from capture_files import Packet, pcap, pcapng
from made_frames import ACK, FIN, PSH, SYN, Made, tcp, udp

from analysis import run
from analysis.errors import AnalysisError
from analysis.json_out import early_parts, late_parts, write_json
from analysis.run import PARTS, Settings, analyse

A, B, MS = ("10.0.0.1", 40000), ("10.0.0.2", 80), 1_000_000
ROOT = Path(__file__).parents[2]
START = 1_700_000_000 * 10**9


def exchange(n: int = 40) -> list[Made]:
    """Some TCP connections and datagrams, with a repeat in each connection."""
    frames = []
    for i in range(n):
        client = (f"10.0.0.{3 + i % 5}", 40000 + i)
        at = START + i * 130 * MS
        frames += [
            tcp(at, client, B, SYN, seq=100),
            tcp(at + 10 * MS, B, client, SYN | ACK, seq=500, ack=101),
            tcp(at + 20 * MS, client, B, PSH | ACK, seq=101, ack=501, length=30),
            tcp(at + 400 * MS, client, B, PSH | ACK, seq=101, ack=501, length=30),
            tcp(at + 410 * MS, B, client, FIN | ACK, seq=501, ack=131),
            udp(at + 420 * MS, client, ("10.0.0.2", 9999), i),
        ]
    return sorted(frames, key=lambda frame: frame.time_ns)


def write(path: Path, frames: list[Made], form: Any = pcapng) -> str:
    """The frames as a capture file."""
    path.write_bytes(form([Packet(frame.time_ns, frame.data) for frame in frames]))
    return str(path)


def shown(*paths: str, **options: Any) -> dict[str, Any]:
    """The JSON form without what changes from run to run."""
    found = json.loads(json.dumps(analyse(paths, **options).to_json(), allow_nan=False))
    for key in ("timing",):
        del found[key]
    del found["capture"]["files"]
    return found


def test_json_has_every_part(tmp_path: Path) -> None:
    """The keys of the contract are there, and numbers add up."""
    found = analyse([write(tmp_path / "a.pcapng", exchange())]).to_json()

    assert {*found} == {*PARTS, "not_assessable", "timing"}
    assert found["capture"]["packets"] == 240
    assert found["capture"]["files"][0]["format"] == "pcapng"
    assert [row["packets"] for row in found["hierarchy"][:3]] == [240, 240, 240]
    assert sum(found["io"]["packets"]) == 240
    assert found["tcp_analysis"]["retransmission"] == 40
    assert {*found["conversations"]} == {*found["endpoints"]} == {"eth", "ip", "ipv6", "tcp", "udp"}
    assert found["timing"]["jit"] in (True, False)


def test_only_leaves_out_other_parts(tmp_path: Path) -> None:
    """With `only`, nothing else is made but the timing."""
    found = analyse([write(tmp_path / "a.pcapng", exchange(3))], only=["io"]).to_json()

    assert {*found} == {"io", "timing"}


def test_without_judging_no_detector_is_asked(tmp_path: Path) -> None:
    """Tables stay as they are; there are neither findings nor reasons why a detector could not judge."""
    path = write(tmp_path / "a.pcapng", exchange(3))
    found, judged = analyse([path], judge=False), analyse([path])

    assert (found.findings, found.not_assessable) == ((), ())
    assert judged.not_assessable
    assert found.hierarchy.to_json() == judged.hierarchy.to_json()


@pytest.mark.parametrize("interval_s", [0.1, 1.0, 2.5])
def test_interval(tmp_path: Path, interval_s: float) -> None:
    """Any interval keeps the sums; the series per second stays beside it."""
    analysis = analyse([write(tmp_path / "a.pcapng", exchange())], settings=Settings(interval_s=interval_s))

    assert analysis.io.interval_s == interval_s
    assert analysis.seconds.interval_s == 1.0
    assert analysis.io.packets.sum() == analysis.seconds.packets.sum() == 240


def test_formats_and_clocks_agree(tmp_path: Path) -> None:
    """pcap in either byte order and pcapng with ns or µs clocks give the same tables."""
    frames = exchange()
    forms = {
        "ng": pcapng,
        "us": lambda p: pcapng(p, resolution=6),
        "big": lambda p: pcap(p, order=">"),
        "ns": lambda p: pcap(p, magic=0xA1B23C4D),
    }
    tables = []
    for name, form in forms.items():
        found = shown(write(tmp_path / name, frames, form))
        tables.append({key: found[key] for key in PARTS if key != "capture"})

    assert all(table == tables[0] for table in tables[1:])


def test_split_files_equal_the_whole(tmp_path: Path) -> None:
    """One capture and its parts, merged by time, give the same tables."""
    frames = exchange()
    whole = shown(write(tmp_path / "whole.pcap", frames, pcap))
    parts = [write(tmp_path / f"{i}.pcap", frames[i::3], pcap) for i in range(3)]
    merged = shown(*parts)

    for part in PARTS[1:]:
        assert whole[part] == merged[part], part


def test_file_order_of_an_unsorted_capture_is_kept(tmp_path: Path) -> None:
    """Re-sorting changes neither packets, bytes, endpoints nor lengths."""
    frames = exchange()
    unsorted = frames[100:] + frames[:100]
    one, two = (shown(write(tmp_path / f"{i}.pcap", some, pcap)) for i, some in enumerate((frames, unsorted)))

    assert (one["capture"]["time_ordered"], two["capture"]["time_ordered"]) == (True, False)
    assert one["capture"]["duration_s"] == two["capture"]["duration_s"]
    for kind, rows in one["endpoints"].items():
        assert sorted(map(str, rows)) == sorted(map(str, two["endpoints"][kind]))
    counts = [[row["packets"] for row in found["packet_lengths"]] for found in (one, two)]
    assert counts[0] == counts[1]


def test_a_shorter_snapshot_keeps_the_tables(tmp_path: Path) -> None:
    """Frames cut behind their headers: conversations, endpoints, I/O, lengths and TCP flags stay as they were."""
    frames = exchange()
    whole = shown(write(tmp_path / "whole.pcap", frames, pcap))
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap([Packet(frame.time_ns, frame.data[:54], len(frame.data)) for frame in frames]))
    cut = shown(str(path))

    for part in ("conversations", "endpoints", "io", "packet_lengths", "tcp_analysis"):
        assert whole[part] == cut[part], part


def test_renamed_addresses_rename_rows(tmp_path: Path) -> None:
    """Other addresses change names of rows, never a number or a flag."""
    renamed = [frame._replace(data=frame.data.replace(b"\x0a\x00\x00", b"\xac\x10\x07")) for frame in exchange()]
    one = shown(write(tmp_path / "a.pcap", exchange(), pcap))
    two = shown(write(tmp_path / "b.pcap", renamed, pcap))

    assert json.dumps(one["conversations"]).replace("10.0.0.", "172.16.7.") == json.dumps(two["conversations"])
    for part in ("hierarchy", "io", "tcp_analysis", "packet_lengths"):
        assert one[part] == two[part], part


@pytest.mark.parametrize("content", [b"", pcap([]), pcapng([])], ids=["no bytes", "pcap header", "pcapng header"])
def test_empty_captures(tmp_path: Path, content: bytes) -> None:
    """Nothing in a file: zeros and blanks, no number that is none."""
    path = tmp_path / "empty"
    path.write_bytes(content)
    found = shown(str(path))

    assert (found["capture"]["packets"], found["capture"]["duration_s"]) == (0, None)
    assert found["io"]["packets"] == []


def test_every_cut_of_a_capture_is_analysed(tmp_path: Path) -> None:
    """A file cut at any byte of its last records: what is complete is counted, the fault is named."""
    content = pcap([Packet(frame.time_ns, frame.data) for frame in exchange(1)])
    path = tmp_path / "cut.pcap"
    for size in range(len(content) - 150, len(content), 7):
        path.write_bytes(content[:size])
        found = shown(str(path))
        assert found["capture"]["packets"] < 6 or found["capture"]["faults"].get("cut_record")


def test_errors_are_one_line(tmp_path: Path) -> None:
    """What is no capture raises the package's error, with what was got and expected."""
    path = tmp_path / "text"
    path.write_text("hello")
    with pytest.raises(AnalysisError, match="expected pcap or pcapng") as caught:
        analyse([str(path)])

    assert "\n" not in str(caught.value)


def test_json_from_columns_means_the_same(tmp_path: Path) -> None:
    """The fast writer of large tables gives the JSON of `to_json`, names included."""
    analysis = analyse([write(tmp_path / "a.pcapng", exchange())])
    by_id = analysis.conversations.names
    assert isinstance(by_id, dict)
    by_id.update({0: ["mac of \u202e\x1b"], analysis.texts.index("10.0.0.2"): ["web", 'q"uote']})
    out = io.BytesIO()
    write_json(analysis, out)

    assert json.loads(b"".join([*early_parts(analysis), *late_parts(analysis)])) == json.loads(
        json.dumps(analysis.to_json())
    )
    assert json.loads(out.getvalue()) == json.loads(json.dumps(analysis.to_json()))


@pytest.mark.slow
def test_compiled_and_interpreted_kernels_agree(tmp_path: Path) -> None:
    """Two processes, with kernels compiled and as plain Python: the same JSON but for the timing."""
    path = write(tmp_path / "a.pcapng", exchange(300))
    code = "import json, sys; from analysis.run import analyse; print(json.dumps(analyse(sys.argv[1:]).to_json()))"
    found = []
    for setting in ("on", "off"):
        environment = {**os.environ, "TAPWALL_JIT": setting, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, env=environment
        )
        found.append(json.loads(done.stdout))
        assert found[-1].pop("timing")["jit"] is (setting == "on")

    assert found[0] == found[1]


def test_what_is_done_meanwhile_is_done_before_the_end() -> None:
    """In a thread; its error is raised when that is done which it was done beside."""
    seen: list[object] = []
    with run._beside(seen.append, "tables"):  # type: ignore[arg-type]
        pass
    assert seen == ["tables"]

    def fail(_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), run._beside(fail, "tables"):  # type: ignore[arg-type]
        seen.append("done")
    assert seen == ["tables", "done"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_detectors_say_the_same_in_two_processes(tmp_path: Path) -> None:
    """Findings come back whole and in their order, whoever was asked where."""
    scan = [tcp(START + i * MS, ("10.0.0.9", 50000), ("10.0.0.2", 1 + i), SYN, seq=1) for i in range(300)]
    analysis = analyse([write(tmp_path / "a", scan)])
    panel, seen = run._panel(Settings()), []  # type: ignore[var-annotated]
    findings, not_assessable = run._judged(panel, analysis, seen.append, True)

    assert [finding.to_json("a") for finding in findings] == [one.to_json("a") for one in analysis.findings]
    assert not_assessable == analysis.not_assessable
    assert findings and not_assessable and seen == [analysis]


def test_settings_that_cannot_be_are_told_before_anything_is_written(tmp_path: Path) -> None:
    """Tables are written while detectors are asked, so what would stop those is looked at first."""
    bad = tmp_path / "bad.toml"
    bad.write_text("[no-such-detector]\nx = 1\n")
    written: list[object] = []
    with pytest.raises(AnalysisError, match="no-such-detector"):
        analyse(
            [write(tmp_path / "a", exchange())],
            settings=Settings(extra={"thresholds_file": str(bad)}),
            meanwhile=written.append,
        )

    assert written == []
