"""The lab's parts that need no container: the story, what people noticed, the page, an intruder that stays inside."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapwall.lab.intruder import NotTheLab, arp_frames, beacon, lab_address, scan, unused_neighbour
from tapwall.lab.people import before_and_after, read_deliveries, summarise
from tapwall.lab.run import tapwall
from tapwall.lab.story import Story, marks, read_story
from tapwall.lab.wall import blocks, counters, rules_only
from tapwall.lab.web import make_server


def test_story_is_told_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line goes to stdout and to the file; marks become moments of the graphs."""
    Story(tmp_path, "wall").tell("rules stand", look="rules/rules.v4", mark="rules")

    (event,) = read_story(tmp_path)
    assert (event["who"], event["what"], event["look"]) == ("wall", "rules stand", "rules/rules.v4")
    assert marks([event], event["time"] - 5) == [(5.0, "rules")]
    assert "wall  rules stand  (rules/rules.v4)" in capsys.readouterr().out


def test_hostile_words_do_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An escape sequence in an event is shown, not executed, and stays on its line."""
    Story(tmp_path, "alice").tell("hi\x1b[2J\nfake line")

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("\n") == 1


def test_broken_lines_of_the_story_are_left_out(tmp_path: Path) -> None:
    """What is no event (cut, other JSON) does not stop the page."""
    (tmp_path / "story.jsonl").write_bytes(
        b'{"time": 2, "who": "b", "what": "second"}\n[]\n{"time"\n\xff\n{"time": 1, "what": "first"}\n'
    )

    assert [event["what"] for event in read_story(tmp_path)] == ["first", "second"]


def test_full_disk_does_not_stop_the_teller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the story file cannot be written the line still reaches stdout."""
    Story(tmp_path / "missing", "sniffer").tell("captures")

    assert "captures" in capsys.readouterr().out


def test_delays_are_split_at_the_moment() -> None:
    """Before and after are counted apart; 100 delays of 1..100 ms have median 51 and p99 100 (nearest rank)."""
    rows = [{"time": n, "delay_s": (n + 1) / 1000} for n in range(100)]

    assert (summarise([r["delay_s"] for r in rows]).median_ms, summarise([r["delay_s"] for r in rows]).p99_ms) == (
        51.0,
        100.0,
    )
    split = before_and_after(rows, 60)
    assert (split["before"]["count"], split["after"]["count"]) == (60, 40)
    assert before_and_after(rows, None)["after"] == {"count": 0, "median_ms": None, "p99_ms": None}


def test_deliveries_are_read_from_every_person(tmp_path: Path) -> None:
    """Logs of several people are read; other lines are left out."""
    (tmp_path / "alice.jsonl").write_text('{"time": 1, "delay_s": 0.002}\nnonsense\n')
    (tmp_path / "bob.jsonl").write_text('{"time": 2, "delay_s": 0.003}\n{"time": "x", "delay_s": 1}\n')

    assert [row["time"] for row in read_deliveries(tmp_path)] == [1, 2]


@pytest.mark.parametrize("target", ["8.8.8.8", "1.1.1.1", "0.0.0.0", "224.0.0.1"])
def test_intruder_refuses_targets_outside_the_lab(target: str) -> None:
    """Only private and loopback addresses are attacked."""
    with pytest.raises(NotTheLab):
        lab_address(target)


def test_intruder_scans_and_calls_home_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of loopback is refused port by port and ends; a beacon without listener counts refusals."""
    monkeypatch.setattr("tapwall.lab.intruder.SCAN_PAUSE_S", 0)
    monkeypatch.setattr("tapwall.lab.intruder.SCAN_PORTS", 10)
    monkeypatch.setattr("tapwall.lab.intruder.BEACON_S", 0.01)

    async def both() -> tuple[int, int]:
        tally, _ = await scan("127.0.0.1", random.Random(1))
        calls = await beacon("127.0.0.1", 0.05, random.Random(1))
        return tally.answered + tally.refused + tally.silent, calls.answered + calls.refused + calls.silent

    tried, called = asyncio.run(both())
    assert tried == 10
    assert called >= 1


def test_arp_frame_is_an_ethernet_reply() -> None:
    """42 bytes: Ethernet with type 0x0806, then RFC 826's fields with operation 2."""
    frame = arp_frames(b"\x02" * 6, "10.0.0.250", b"\x04" * 6, "10.0.0.2")

    assert (len(frame), frame[12:14], frame[20:22]) == (42, b"\x08\x06", b"\x00\x02")
    assert unused_neighbour("10.0.0.2") == "10.0.0.250"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A running page over an empty report folder, and the folder."""
    server = make_server(tmp_path, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", tmp_path
    server.shutdown()
    server.server_close()


def get(url: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_page_serves_report_and_state(page: tuple[str, Path]) -> None:
    """The page, its state and the files of the folder are served."""
    url, folder = page
    (folder / "report.html").write_text("the report")
    Story(folder, "wall").tell("up", mark="rules")

    assert get(url + "/")[0] == 200
    assert get(url + "/report.html") == (200, b"the report")
    state = json.loads(get(url + "/state.json")[1])
    assert (state["report"], state["story"][0]["what"]) == (True, "up")


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/rules/../../x",
        "/.hidden.json",
        "/people/alice.jsonl",
        "/nothing",
    ],
)
def test_page_serves_nothing_else(page: tuple[str, Path], path: str) -> None:
    """No path leads out of the folder, to hidden files or to what people wrote."""
    url, folder = page
    (folder / ".hidden.json").write_text("{}")

    assert get(url + path)[0] == 404


def test_what_is_said_reaches_the_command() -> None:
    """A command run for the lab reads what it is told on stdin, and its last complaint comes back."""
    answer = tapwall("packets", "-", "--tsv", say="no capture at all")

    assert answer.code == 2
    assert "expected" in answer.complaint
    assert answer.data is None


SAVED = """*filter
:TAPWALL-IN - [0:0]
[1008:59724] -A INPUT -j TAPWALL-IN
[850:51000] -A TAPWALL-IN -s 10.0.0.4/32 -m comment --comment "tw-a0 10.0.0.4 tried 107 TCP ports" -j DROP
[6:416] -A TAPWALL-IN -s 10.0.0.6/32 -m comment --comment "tw-55 permitted" -j RETURN
[7:7] -A OTHER -s 10.0.0.6/32 -m comment --comment "not ours" -j DROP
"""


def test_counters_are_read_from_our_own_chains_only() -> None:
    """Rules of TAPWALL chains become rows; hooks and other people's chains do not."""
    assert counters(SAVED) == [
        {"rule": "tw-a0 10.0.0.4 tried 107 TCP ports", "action": "DROP", "packets": 850, "bytes": 51000},
        {"rule": "tw-55 permitted", "action": "PERMIT", "packets": 6, "bytes": 416},
    ]


POLICY = '[[rule]]\nid = "tw-1"\naction = "DROP"\ndirection = "in"\nsource = ["10.0.0.4"]\n'


def test_the_same_rules_made_again_are_no_news() -> None:
    """Evidence and time of making do not count; another address does; a policy that only permits blocks nothing."""
    again = POLICY.replace("[[rule]]", "created = 7\n[[rule]]") + '[[rule.evidence]]\nfinding = "f"\n'

    assert rules_only(again) == rules_only(POLICY)
    assert rules_only(POLICY.replace("10.0.0.4", "10.0.0.5")) != rules_only(POLICY)
    assert not blocks(POLICY.replace("DROP", "PERMIT"))
    assert not blocks("not toml [")
