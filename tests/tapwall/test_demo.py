"""`tapwall demo`: the lab without Docker, in network namespaces; and how far it goes without those."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tapwall import demo
from tapwall.lab.people import read_deliveries
from tapwall.lab.story import read_story

STRETCH = 3.0  # patience on a machine that has more to do


def run(folder: Path, *words: str, **more: Any) -> subprocess.Popen[str]:
    """Start `tapwall demo`, its output in one pipe."""
    command = [sys.executable, "-m", "tapwall", "demo", "--folder", str(folder), "--port", "0", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def page_of(process: subprocess.Popen[str]) -> str:
    """The page's address, from the first line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"the page: (http://127\.0\.0\.1:\d+)", line)
    assert found, line
    return found[1]


def ours(folder: Path) -> list[str]:
    """Processes of a demo in that folder that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def all_ended(folder: Path) -> bool:
    """Have all processes of the demo in that folder ended, at the latest in a moment?"""
    until = time.monotonic() + 5 * STRETCH
    while ours(folder) and time.monotonic() < until:
        time.sleep(0.2)
    return ours(folder) == []


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    """Nothing is cleared away in a folder that holds somebody's files: one line, exit 2."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    process = run(tmp_path)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "not empty" in out.strip().splitlines()[-1]
    assert (tmp_path / "data" / "thesis.txt").read_text() == "years of work"


def test_a_folder_of_an_earlier_demo_is_made_new(tmp_path: Path) -> None:
    """What the last demo left goes, the folders are there."""
    demo.prepare(tmp_path / "lab")
    (tmp_path / "lab" / "captures" / "old.pcapng").write_bytes(b"x")
    demo.prepare(tmp_path / "lab")

    assert not (tmp_path / "lab" / "captures" / "old.pcapng").exists()
    assert (tmp_path / "lab" / "report" / "people").is_dir()


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the namespaces need and is not installed stands in the reason."""
    monkeypatch.setattr("tapwall.demo.shutil.which", lambda name: None if name == "nsenter" else name)

    assert demo.refused() == "nsenter not found"


def test_without_namespaces_people_chat_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Plain processes on loopback: clear text and TLS, deliveries counted; intruder, capture and wall are said to lack."""
    monkeypatch.setattr(demo, "refused", lambda: "no such thing here")

    def all_heard(seconds: float) -> None:
        until = time.monotonic() + 20 * STRETCH
        while time.monotonic() < until:
            if {row["from"] for row in read_deliveries(tmp_path / "lab" / "report" / "people")} >= {"alice", "bob"}:
                return
            real_sleep(0.3)

    real_sleep = time.sleep
    monkeypatch.setattr("tapwall.demo.time.sleep", lambda s: all_heard(s) if s > 1 else real_sleep(s))
    assert demo.play(demo.Plan(tmp_path / "lab", seconds=30), port=0) == 0

    said = [event["what"] for event in read_story(tmp_path / "lab" / "report")]
    assert "no such thing here" in said[0]
    assert "not shown" in said[1] and all(word in said[1] for word in ("intruder", "capture", "wall"))
    assert int(said[-1].split()[0]) > 0
    assert ours(tmp_path) == []
    assert "listening on 127.0.0.1:" in (tmp_path / "lab" / "chat-tls.log").read_text()
    assert "the page: http://127.0.0.1:" in capfd.readouterr().out


def needs_namespaces() -> None:
    """Skip where the kernel gives none."""
    reason = demo.refused()
    if reason is not None:
        pytest.skip(f"no network namespaces: {reason}")
    if shutil.which("iptables-save") is None and shutil.which("iptables-save", path="/usr/sbin") is None:
        pytest.skip("no iptables")


@pytest.mark.root
@pytest.mark.slow
def test_a_demo_that_is_stopped_leaves_no_process(tmp_path: Path) -> None:
    """SIGTERM in the middle of the story ends every process in every namespace."""
    needs_namespaces()
    process = run(tmp_path / "lab", "--quiet")
    page_of(process)
    until = time.monotonic() + 40 * STRETCH
    while not (tmp_path / "lab" / "report" / "report.html").exists() and time.monotonic() < until:
        time.sleep(0.5)
    assert (tmp_path / "lab" / "report" / "report.html").exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20 * STRETCH)

    assert all_ended(tmp_path)
    assert process.returncode == 130


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_story_in_namespaces(tmp_path: Path) -> None:
    """As in Docker: the intruder is named, alone; proved rules stand; he gets nothing; people are heard as before."""
    needs_namespaces()
    folder = tmp_path / "lab"
    environment = {**os.environ, "COLUMNS": "200"}
    process = run(folder, "--seconds", "500", "--hold", "45", env=environment)
    address = page_of(process)
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "intruder  goes away" in line:
                break
        time.sleep(6)
        with urllib.request.urlopen(address + "/state.json", timeout=20) as answer:
            state = json.loads(answer.read())
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20 * STRETCH)
    text = "".join(lines)

    told = state["seen"]["findings"]
    serious = {finding["accountable"] for finding in told if finding["severity"] in ("medium", "high", "critical")}
    his = {finding["detector"] for finding in told if finding["accountable"] == demo.HOSTS["intruder"]}
    assert serious == {demo.HOSTS["intruder"]}, text
    assert {"port-scan", "brute-force", "flood", "beacon"} <= his, text
    proof = state["proofs"][0]
    assert proof["equal"] == proof["rules"] >= 3
    assert proof["different"] == proof["not_comparable"] == 0
    assert "the rules stand" in text
    second = [one for one in state["tallies"] if one["round"] == 2]
    assert len(second) == 4
    assert all(one["answered"] == one["refused"] == 0 for one in second)
    assert sum(row["packets"] for row in state["counters"]["rules"] if row["action"] == "DROP") > 500
    assert {(row["who"], row["carried"]) for row in state["talk"]["rows"]} >= {("alice", "clear text"), ("dora", "TLS")}
    people = state["people"]
    assert people["after"]["count"] > 50
    assert people["after"]["median_ms"] <= 2 * max(people[span]["median_ms"] for span in ("before", "during"))
    assert all_ended(folder)
