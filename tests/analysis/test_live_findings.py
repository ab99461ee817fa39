"""Findings of a capture that still runs: told once, again ten times larger or worse, and at the end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from traffic import ACK, RST, SYN, Wire

from analysis import live_findings
from analysis.live_findings import LiveFindings, News, line, main

LONG = 3600.0  # seconds between judgements: only the last one, at the end, takes place


def row(packets: int, severity: str = "medium", subject: str = "a>b", **more: Any) -> dict[str, Any]:
    """A finding as the judging process prints it."""
    return {"detector": "sweep", "subject": subject, "severity": severity, "packets": packets, **more}


@pytest.mark.parametrize(
    ("judgements", "told"),
    [
        ([[row(5)], [row(5)], [row(9)]], [1, 0, 0]),
        ([[row(5)], [row(12)], [row(99)], [row(100)]], [1, 1, 0, 1]),
        ([[row(500)], [row(20)], [row(600)], [row(1000)]], [1, 0, 0, 1]),
        ([[row(5)], [row(5, "high")], [row(5)], [row(5, "high")]], [1, 1, 0, 0]),
        ([[row(5), row(5, subject="a>c")], [row(7), row(70, subject="a>c")]], [2, 1]),
        ([[], [row(1)], []], [0, 1, 0]),
    ],
    ids=["once", "powers-of-ten", "shrinks-and-grows", "worse", "subjects", "nothing"],
)
def test_what_is_worth_telling(judgements: list[list[dict[str, Any]]], told: list[int]) -> None:
    """How many findings of each judgement are told."""
    news = News()
    assert [len(news.of(rows)) for rows in judgements] == told


def test_what_is_too_mild_is_not_told_until_it_is_worse() -> None:
    """Below the least severity nothing is told, nor remembered."""
    news = News("medium")
    assert [len(news.of([row(5, word)])) for word in ("low", "medium", "medium")] == [0, 1, 0]


def scan(path: Path, ports: int) -> str:
    """A capture of a scan of some ports, all closed."""
    wire = Wire("live")
    for port in range(1, ports + 1):
        wire.tcp("10.0.0.66", 50_000, "10.0.0.5", port, SYN, seq=1)
        wire.tcp("10.0.0.5", port, "10.0.0.66", 50_000, RST | ACK, ack=2)
        wire.wait(0.1)
    return wire.write(path)


def judged(*paths: str, every_s: float = LONG) -> tuple[list[dict[str, Any]], str]:
    """What is told of files by the end, and the trouble."""
    told: list[dict[str, Any]] = []
    with LiveFindings(told.append, every_s, "medium") as judge:
        for path in paths:
            judge.begun(path)
    return told, judge.trouble


def test_files_are_judged_together_at_the_end(tmp_path: Path) -> None:
    """Two files of ten ports each: neither holds a scan, both together do."""
    whole = scan(tmp_path / "whole.pcap", 20)
    octets = Path(whole).read_bytes()
    middle = 24 + (len(octets) - 24) // 2  # packets are of one size
    paths = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    for path, part in zip(paths, (octets[24:middle], octets[middle:]), strict=True):
        path.write_bytes(octets[:24] + part)
    assert judged(str(paths[0])) == ([], "")
    told, trouble = judged(*map(str, paths))
    assert [(one["detector"], one["packets"]) for one in told] == [("port-scan", 40)] and trouble == ""


def test_a_file_that_is_gone_or_none_is_no_crash(tmp_path: Path) -> None:
    """Rotation has deleted it; what is no capture is one line of trouble."""
    path = tmp_path / "a.pcap"
    path.write_bytes(b"no capture at all, whatever its name may say")
    assert judged(str(tmp_path / "gone.pcap")) == ([], "")
    told, trouble = judged(str(path))
    assert told == [] and "a.pcap" in trouble and "\n" not in trouble


def test_only_the_latest_files_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one file the scan in the first is forgotten."""
    monkeypatch.setattr(live_findings, "LATEST", 1)
    first, second = scan(tmp_path / "a.pcap", 20), scan(tmp_path / "b.pcap", 2)
    assert judged(first, second) == ([], "")


def test_the_other_process_prints_a_finding_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON with the subject that tells claims apart."""
    assert main([scan(tmp_path / "a.pcap", 20)]) == 0
    (printed,) = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert (printed["detector"], printed["subject"]) == ("port-scan", "TCP 10.0.0.66>10.0.0.5")


def test_a_line_for_people_is_harmless() -> None:
    """Control characters of a peer do not reach the terminal; a finding without time has none."""
    text = line(row(3, title="bad\x1b[31mname", last_time=None))
    assert text.startswith("--:--:--   medium") and "\x1b" not in text and "(3 packets)" in text


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dumpcap") is None or os.geteuid() != 0, reason="needs root and dumpcap")
def test_the_command_tells_of_a_scan_while_it_captures(tmp_path: Path) -> None:
    """Twenty-five closed ports on the loopback interface: one claim, and the summary behind it."""
    command = [sys.executable, "-m", "analysis", "capture", "-i", "lo", "-w", str(tmp_path / "a.pcapng"), "--bpf", "tcp and host 127.0.0.66"]  # fmt: skip
    command += ["--seconds", "5", "--findings", "--every", "1", "--severity", "medium", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        wait = threading.Event()
        while not (tmp_path / "a.pcapng").exists() and child.poll() is None:
            wait.wait(0.05)
        wait.wait(1)
        for port in range(2001, 2026):
            with socket.socket() as one:
                one.connect_ex(("127.0.0.66", port))
        out, _ = child.communicate(timeout=60)
    *told, summary = [json.loads(one) for one in out.splitlines()]
    assert child.returncode == 0 and summary["packets"] >= 50
    assert {one["detector"] for one in told} == {"port-scan"} and told[-1]["numbers"]["ports_without_service"] >= 20
