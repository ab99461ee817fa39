"""The lab's parts that need no container: the story, what people noticed, the page, an intruder that stays inside."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapwall.lab.intruder import NotTheLab, Plan, arp_frames, beacon, lab_address, play, scan, unused_neighbour
from tapwall.lab.people import Deliveries, read_deliveries, spans, summarise
from tapwall.lab.run import tapwall
from tapwall.lab.story import Story, marks, read_story
from tapwall.lab.talk import talk
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
        b'{"time": NaN, "what": "no time"}\n{"time": 1e300, "what": "no year"}\n{"time": 3, "what": "x", "mark": 7}\n'
        b'{"time": true, "what": "x"}\n{"time": 4, "what": "x", "facts": [1]}\n' + b"[" * 99_999 + b"\n"
    )

    assert [event["what"] for event in read_story(tmp_path)] == ["first", "second"]


def test_a_line_stays_whole_however_long_the_words(tmp_path: Path) -> None:
    """Words of four bytes a letter and numbers without end still make one line that can be read back."""
    Story(tmp_path, "analyst").tell("\U0001f600" * 500, facts={"phase": "x" * 3000})
    Story(tmp_path, "analyst").tell("next")

    assert [event["what"] for event in read_story(tmp_path)] == ["\U0001f600" * 100, "next"]
    assert max(map(len, (tmp_path / "story.jsonl").read_bytes().splitlines())) <= 2000


def test_full_disk_does_not_stop_the_teller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the story file cannot be written the line still reaches stdout."""
    Story(tmp_path / "missing", "sniffer").tell("captures")

    assert "captures" in capsys.readouterr().out


def test_delays_are_split_at_the_moments() -> None:
    """The three spans are counted apart; 100 delays of 1..100 ms have median 51 and p99 100 (nearest rank)."""
    rows = [{"time": n, "delay_s": (n + 1) / 1000} for n in range(100)]

    assert summarise([r["delay_s"] for r in rows]) == Deliveries(100, 51.0, 100.0)
    split = spans(rows, 30, 60)
    assert [split[span]["count"] for span in ("before", "during", "after")] == [30, 30, 40]
    assert spans(rows, None, None)["after"] == {"count": 0, "median_ms": None, "p99_ms": None}
    assert spans(rows, 30, None)["during"]["count"] == 70
    assert spans(rows, None, 60)["before"]["count"] == 60


def test_deliveries_are_read_from_every_person(tmp_path: Path) -> None:
    """Logs of several people are read; other lines are left out."""
    (tmp_path / "alice.jsonl").write_text('{"time": 1, "delay_s": 0.002}\nnonsense\n' + "[" * 99_999 + "\n")
    (tmp_path / "bob.jsonl").write_text(
        '{"time": 2, "delay_s": 0.003}\n{"time": "x", "delay_s": 1}\n{"time": NaN, "delay_s": 1}\n{"time": 1, "delay_s": true}\n'
    )
    (tmp_path / "carol.jsonl").mkdir()

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


def test_rounds_that_are_over_are_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intruder who was killed goes on with the round he was at; after the last he is silent."""
    rounds = []

    async def misbehave(*words: object) -> None:
        rounds.append(words[-1])

    monkeypatch.setattr("tapwall.lab.intruder.misbehave", misbehave)
    plan = Plan(after_s=0, pause_s=0, patience_s=0, rounds=2)
    story = Story(tmp_path, "intruder")
    story.tell("round 1 of 2 begins", mark="intruder begins")
    story.tell("round 1 of 2 is over")
    play(story, "127.0.0.1", 1, "lo", plan)
    play(story, "127.0.0.1", 1, "lo", plan)

    assert rounds == [2]
    said = [event["what"] for event in read_story(tmp_path)][1:]
    assert said == ["round 1 of 2 is over", "round 2 of 2 begins", "round 2 of 2 is over", "goes away"]
    assert len(marks(read_story(tmp_path), 0)) == 1


def test_the_intruder_comes_back_when_the_rules_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between rounds he waits for the wall: two seconds later it stands, and he does not use up his patience."""

    async def misbehave(*words: object) -> None:
        return None

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            Story(tmp_path, "wall").tell("up", mark="rules stand")

    waited: list[float] = []
    monkeypatch.setattr("tapwall.lab.intruder.misbehave", misbehave)
    monkeypatch.setattr("tapwall.lab.intruder.time.sleep", sleep)
    play(Story(tmp_path, "intruder"), "127.0.0.1", 1, "lo", Plan(after_s=15, pause_s=10, patience_s=1000))

    assert waited == [15, 10, 1]
    assert [event["mark"] for event in read_story(tmp_path) if event["mark"]] == ["intruder begins", "rules stand"]


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


def test_page_keeps_foreign_words_from_running(page: tuple[str, Path]) -> None:
    """Pictures and files may run nothing; pages of ours run their own lines and talk to this server alone."""
    url, folder = page
    (folder / "io_graph.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with urllib.request.urlopen(url + "/io_graph.svg", timeout=5) as picture:
        policy = picture.headers["Content-Security-Policy"]
    with urllib.request.urlopen(url + "/", timeout=5) as ours:
        text, html_policy = ours.read().decode(), ours.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "connect-src 'self'" in html_policy
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "document.write" not in text


HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=1</script>'


@pytest.mark.chromium
@pytest.mark.slow
def test_hostile_names_are_shown_not_run(page: tuple[str, Path], tmp_path: Path) -> None:
    """Markup in the story, in findings, rules and names appears on the page letter by letter."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium")
    url, folder = page
    Story(folder, HOSTILE).tell(HOSTILE, look=HOSTILE, mark=HOSTILE)
    facts = {"phase": HOSTILE, "round": HOSTILE, "answered": 0, "refused": 0, "silent": 0}
    Story(folder, "intruder").tell("x", facts=facts)
    finding = {"id": HOSTILE, "severity": HOSTILE, "accountable": HOSTILE, "title": HOSTILE, "packets": 1, "now": True}
    (folder / "seen.json").write_text(json.dumps({"findings": [finding], "rules": []}))
    row = {"rule": HOSTILE, "action": HOSTILE, "packets": 1, "bytes": 1}
    (folder / "counters.json").write_text(json.dumps({"rules": [row]}))
    talker = dict.fromkeys(("who", "address", "carried"), HOSTILE) | dict.fromkeys(
        ("connections", "packets_sent", "bytes_sent", "bytes_received"), 1
    )
    layers = {"tapwall": {"packets": 1}, "tls": {"packets": HOSTILE}}
    (folder / "talk.json").write_text(json.dumps({"rows": [talker], "layers": layers, "warning": None}))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=6000", "--dump-dom"]
    done = subprocess.run([browser, *flags, url], check=True, capture_output=True, text=True, timeout=120)

    assert done.stdout.count("&lt;img src=x onerror=") >= 9
    assert "<img src=" not in done.stdout
    assert "<title>tapwall lab</title>" in done.stdout


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


INTRUDER = "10.77.0.66"


@pytest.mark.parametrize(
    ("name", "his", "most"),
    [
        ("lab-quiet", set(), {"clear text": 3, "TLS": 1}),
        ("lab-intruder", {"port-scan", "brute-force", "flood", "beacon"}, {"clear text": 4, "TLS": 1}),
    ],
)
def test_our_own_captures_of_the_lab(name: str, his: set[str], most: dict[str, int]) -> None:
    """Whoever opens them finds the people in clear text and under TLS, and the intruder's four deeds and nobody else's."""
    capture = Path(__file__).parents[2] / "captures" / f"{name}.pcap.gz"
    data = tapwall("analyze", str(capture), "--json").data
    assert data is not None
    serious = [finding for finding in data["findings"] if finding["severity"] in ("medium", "high", "critical")]
    rows = talk(data, "10.77.0.2", {})["rows"]

    assert {finding["accountable"]["address"] for finding in serious} == ({INTRUDER} if his else set())
    named = {one["detector"] for one in data["findings"] if (one["accountable"] or {}).get("address") == INTRUDER}
    assert his <= named
    assert {carried: sum(row["carried"] == carried for row in rows) for carried in most} == most
    assert "lab-chat" in {finding["detector"] for finding in data["findings"]}
