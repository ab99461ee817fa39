"""The lab's opening, sniffer, analyst, names and borrowed network, each with what stands around it replaced."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tapwall.lab.analyst import Analyst, seen
from tapwall.lab.cli import lab
from tapwall.lab.names import Book, address
from tapwall.lab.network import Borrowed, beside
from tapwall.lab.run import Answer
from tapwall.lab.sniffer import Sniffer
from tapwall.lab.story import Story, read_story
from tapwall.lab.talk import talk


def opening(tmp_path: Path, port: int) -> str:
    """Run `tapwall lab opening` on three folders that hold something; its output."""
    words = ["opening", "--server", "127.0.0.1", "--port", str(port)]
    for name in ("captures", "report", "data"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "old").write_text("x")
        (tmp_path / name / "old").write_text("x")
        words += [f"--{name}", str(tmp_path / name)]
    result = CliRunner().invoke(lab, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_lesson_begins_with_empty_folders(tmp_path: Path) -> None:
    """What the last one left is cleared away, and that is told."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        opening(tmp_path, unused.getsockname()[1])

    assert list(tmp_path.rglob("old")) == []
    assert "cleared away" in read_story(tmp_path / "report")[0]["what"]


def test_a_lab_that_is_on_keeps_the_stage(tmp_path: Path) -> None:
    """While the chat answers nothing is cleared away: somebody sits down with the others."""
    with socket.create_server(("127.0.0.1", 0)) as chat:
        output = opening(tmp_path, chat.getsockname()[1])

    assert len(list(tmp_path.rglob("old"))) == 6
    assert "on already" in output


def test_names_become_addresses_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that comes back elsewhere is found there; one that does not answer keeps the address it had."""
    where = {"bob": "10.0.0.5"}

    def gethostbyname(name: str) -> str:
        if name not in where:
            raise OSError(name)
        return where[name]

    monkeypatch.setattr("tapwall.lab.names.socket.gethostbyname", gethostbyname)
    book = Book(("bob", "10.0.0.9", "10.1.2.3/8", "nobody", "ann=10.0.0.7"))
    assert book.look_up() == {"bob": "10.0.0.5", "10.0.0.9": "10.0.0.9", "10.1.2.3/8": "10.0.0.0/8", "ann": "10.0.0.7"}
    where["bob"] = "10.0.0.6"
    assert book.look_up()["bob"] == "10.0.0.6"
    del where["bob"]
    assert book.look_up()["bob"] == "10.0.0.6"


def test_an_odd_name_has_no_address() -> None:
    """Labels that no resolver takes are no crash."""
    assert address("a" * 300) is None
    assert address("..") is None


def test_a_network_is_lost_once_it_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface that never was is not lost; one that vanishes is."""
    there = [(1, "lo")]
    monkeypatch.setattr("tapwall.lab.network.socket.if_nameindex", lambda: there)
    borrowed = Borrowed("eth0")
    assert not borrowed.lost()
    there.append((2, "eth0"))
    assert not borrowed.lost()
    there.pop()
    assert borrowed.lost()


def test_a_command_ends_with_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lab beside` hands on the exit code, and ends the command when the network is gone."""
    story = Story(tmp_path, "tls")
    assert beside([sys.executable, "-c", "raise SystemExit(3)"], Borrowed("lo"), story) == 3

    monkeypatch.setattr("tapwall.lab.network.GRACE_S", 0)
    monkeypatch.setattr(Borrowed, "lost", lambda self: True)
    with pytest.raises(SystemExit) as ended:
        beside([sys.executable, "-c", "import time; time.sleep(60)"], Borrowed("lo"), story)
    assert ended.value.code == 1
    assert "network is gone" in read_story(tmp_path)[0]["what"]


Usage = namedtuple("Usage", "free")


def test_a_full_disk_is_told_once_and_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No capture begins on a full disk; when there is room again, one does."""
    free = [0, 0, 0, 10**9]
    captured: list[float | None] = []

    def capture(sniffer: Sniffer, seconds: float | None) -> str:
        captured.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(free.pop(0)))
    monkeypatch.setattr("tapwall.lab.sniffer.AGAIN_S", 0)
    monkeypatch.setattr(Sniffer, "capture", capture)
    ready = tmp_path / "ready"
    with pytest.raises(KeyboardInterrupt):
        Sniffer(tmp_path, Story(tmp_path, "sniffer"), borrowed=Borrowed("lo"), ready=ready).watch(None)

    assert captured == [None]
    assert ["disk of the captures is full" in event["what"] for event in read_story(tmp_path)] == [True]
    assert ready.exists()


def test_a_disk_that_fills_up_ends_the_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the command runs the disk is watched: dumpcap alone would go on into its buffer for a long time."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0))
    monkeypatch.setattr(Sniffer, "command", lambda sniffer, seconds: ["sleep", "60"])
    began = time.monotonic()

    assert Sniffer(tmp_path, Story(tmp_path, "sniffer")).capture(None) == ""
    assert time.monotonic() - began < 30


def test_a_capture_that_cannot_begin_is_told_with_its_reason(tmp_path: Path) -> None:
    """The last line of the command's complaint is the reason."""
    sniffer = Sniffer(tmp_path, Story(tmp_path, "sniffer"), borrowed=Borrowed("nosuch0"))

    assert "no such interface" in sniffer.capture(5)


def test_files_of_earlier_lives_are_counted_in(tmp_path: Path) -> None:
    """The oldest go, so that with the one to come no more than `keep` stand."""
    for number in range(5):
        (tmp_path / f"lab_{number}.pcapng").write_bytes(b"x")
    sniffer = Sniffer(tmp_path, Story(tmp_path, "sniffer"), keep=3)
    sniffer.prune()

    assert len(list(tmp_path.glob("*.pcapng"))) == 2


def conversation(a: str, a_port: int, b: str, b_port: int, sent: int, got: int) -> dict[str, Any]:
    """A row as outputs.md lays it down, 10 bytes a packet."""
    row: dict[str, Any] = {"a": a, "a_port": a_port, "b": b, "b_port": b_port}
    return row | {"packets_ab": sent, "bytes_ab": 10 * sent, "packets_ba": got, "bytes_ba": 10 * got}


def test_who_sent_how_much() -> None:
    """Connections to the chat's two ports count by person, also where the capture began in the middle."""
    data = {
        "conversations": {
            "tcp": [
                conversation("10.0.0.3", 40000, "10.0.0.2", 1234, 5, 7),
                conversation("10.0.0.2", 1234, "10.0.0.3", 40001, 2, 1),
                conversation("10.0.0.6", 40000, "10.0.0.2", 1235, 9, 1),
                conversation("10.0.0.3", 40002, "10.0.0.2", 4444, 99, 99),
                conversation("10.0.0.3", 40003, "10.0.0.9", 1234, 99, 99),
            ]
        },
        "hierarchy": [
            {"path": "eth/ip/tcp/tapwall", "packets": 3, "bytes": 30},
            {"path": "eth/ipv6/tcp/tapwall", "packets": 1, "bytes": 10},
            {"path": "eth/ip/tcp/tls", "packets": 2, "bytes": 20},
        ],
        "findings": [{"detector": "lab-chat", "title": "clear", "explanation": "everybody reads"}],
    }
    told = talk(data, "10.0.0.2", {"10.0.0.3": "alice"})

    assert [(row["who"], row["carried"], row["connections"], row["bytes_sent"]) for row in told["rows"]] == [
        ("10.0.0.6", "TLS", 1, 90),
        ("alice", "clear text", 2, 60),
    ]
    assert told["rows"][1]["bytes_received"] == 90
    assert told["layers"] == {"tapwall": {"packets": 4, "bytes": 40}, "tls": {"packets": 2, "bytes": 20}}
    assert told["warning"] == {"title": "clear", "explanation": "everybody reads"}


def finding(number: int, severity: str = "medium") -> dict[str, Any]:
    """A finding as outputs.md lays it down, as far as the lab reads it."""
    return {
        "id": f"scan-{number}",
        "detector": "port-scan",
        "severity": severity,
        "title": f"scan {number}",
        "accountable": {"address": f"10.0.0.{number}", "side": "source"},
        "hosts": [],
    }


def analysis(*findings: dict[str, Any], drops: int = 0) -> dict[str, Any]:
    """An analysis with nothing but findings."""
    capture = {"packets": 5, "first_time": "1.0", "interfaces": [{"drops": drops}, {"drops": None}]}
    return {"capture": capture, "findings": list(findings), "conversations": {}, "hierarchy": []}


def test_a_finding_of_an_earlier_look_stays_on_the_list() -> None:
    """What the wall has silenced is marked, not forgotten; what is seen again is current."""
    first = seen(analysis(finding(1), finding(2)), None, [])
    second = seen(analysis(finding(2), drops=3), None, first["findings"])

    assert [(one["id"], one["now"]) for one in second["findings"]] == [("scan-1", False), ("scan-2", True)]
    assert second["findings"][0]["accountable"] == "10.0.0.1"
    assert second["drops"] == 3
    unfinished = analysis() | {"capture": {"packets": 5, "first_time": "1.0", "interfaces": [{"drops": None}]}}
    assert seen(unfinished, None, [])["drops"] is None


@pytest.fixture
def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Analyst, list[Answer], list[tuple[str, ...]]]:
    """An analyst with a capture, the answers it will get, and the commands it runs; nothing is drawn."""
    answers: list[Answer] = []
    ran: list[tuple[str, ...]] = []

    def command(*words: str) -> Answer:
        ran.append(words)
        return answers.pop(0)

    monkeypatch.setattr("tapwall.lab.analyst.tapwall", command)
    monkeypatch.setattr("analysis.report.write_report", lambda *words: None)
    monkeypatch.setattr("analysis.verdict.verdict", lambda data: ["fine"])
    (tmp_path / "lab.pcapng").write_bytes(bytes(500))
    (tmp_path / "new.pcapng").write_bytes(bytes(5))
    analyst = Analyst(tmp_path, tmp_path, Story(tmp_path, "analyst"), "10.0.0.2", ("10.0.0.3",))
    return analyst, answers, ran


def test_the_analyst_tells_once_and_makes_rules_of_what_is_serious(
    looked: tuple[Analyst, list[Answer], list[tuple[str, ...]]], tmp_path: Path
) -> None:
    """A finding is told once, also by an analyst who was killed and came back; rules permit the people."""
    analyst, answers, ran = looked
    rules = {"policy": {"rules": [{"id": "tw-1", "action": "DROP", "hits": 7, "collateral": []}]}, "proof": None}
    answers += [Answer(0, analysis(finding(1), drops=2), ""), Answer(0, rules, "")]
    assert analyst.look()
    assert not analyst.look()  # nothing grew
    said = [event["what"] for event in read_story(tmp_path)]
    assert said == ["medium: scan 1", "the sniffer could not keep up: 2 packets are missing from the captures"]
    assert ran[0][:2] == ("analyze", str(tmp_path / "lab.pcapng"))
    assert "new.pcapng" not in str(ran)
    assert ran[1][ran[1].index("--permit") + 1] == "10.0.0.3"
    assert "--protect" not in ran[1]  # a limit could not be proved
    assert json.loads((tmp_path / "seen.json").read_text())["rules"][0]["hits"] == 7

    again = Analyst(tmp_path, tmp_path, Story(tmp_path, "analyst"), "10.0.0.2", ("10.0.0.3",))
    answers += [Answer(0, analysis(finding(1)), ""), Answer(0, rules, "")]
    assert again.look()
    assert len(read_story(tmp_path)) == 2


def test_what_is_not_serious_makes_no_rules(looked: tuple[Analyst, list[Answer], list[tuple[str, ...]]]) -> None:
    """Below medium nobody is blocked."""
    analyst, answers, ran = looked
    answers.append(Answer(0, analysis(finding(1, "low")), ""))

    assert analyst.look()
    assert [words[0] for words in ran] == ["analyze"]


def test_a_capture_that_cannot_be_read_yet_is_tried_again(
    looked: tuple[Analyst, list[Answer], list[tuple[str, ...]]], tmp_path: Path
) -> None:
    """The complaint is told, and the next look happens though nothing grew."""
    analyst, answers, _ = looked
    answers += [Answer(2, None, "cut"), Answer(0, analysis(), "")]

    assert not analyst.look()
    assert analyst.look()
    assert read_story(tmp_path)[0]["what"] == "cannot read the captures yet: cut"


def test_a_service_takes_its_command_with_it(tmp_path: Path) -> None:
    """An analyst who is ended in the middle of a look leaves no `tapwall analyze` behind."""
    script = (
        "import subprocess\n"
        "from tapwall.lab import cli\n"
        "cli._end_with_children()\n"
        f"subprocess.run(['sh', '-c', 'sleep 0.5; echo $$ > {tmp_path}/pid; exec sleep 60'], capture_output=True)\n"
    )
    service = subprocess.Popen([sys.executable, "-c", script])
    until = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
    service.terminate()

    assert service.wait(30) == 0
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
