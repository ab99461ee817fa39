"""The lab as a newcomer runs it: `docker compose up`, watched from outside until the intruder has gone away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STORY_S = 360  # the whole run after the image is built
SCRIPTS = ROOT / "tapwall" / "lab" / "scripts"
SERIOUS = ("medium", "high", "critical")

pytestmark = [pytest.mark.docker, pytest.mark.acceptance]


def have_engine() -> bool:
    """Does a Docker Engine with compose answer?"""
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        and (subprocess.run(["docker", "info"], capture_output=True).returncode == 0)
    )


@dataclass(frozen=True, slots=True)
class Lab:
    """A running project."""

    project: str
    environment: dict[str, str]

    def compose(self, *words: str, check: bool = True) -> str:
        """Run `docker compose WORDS`; its stdout."""
        command = ["docker", "compose", "-p", self.project, *words]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def url(self) -> str:
        """Where the page is."""
        return "http://" + self.compose("port", "web", "8080").strip()

    def get(self, path: str) -> bytes:
        """A file of the page."""
        with urllib.request.urlopen(self.url() + path, timeout=10) as answer:
            return bytes(answer.read())

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        return dict(json.loads(self.get("/state.json")))

    def wait(self, what: str, within_s: float) -> dict[str, Any]:
        """The state in which an event of the story contains `what`; fails with the story after `within_s`."""
        until = time.monotonic() + within_s
        while True:
            state = self.state()
            if any(what in f"{event['who']} {event['what']}" for event in state["story"]):
                return state
            story = "\n".join(f"{event['who']}: {event['what']}" for event in state["story"])
            assert time.monotonic() < until, f"no {what!r} within {within_s} s:\n{story}"
            time.sleep(2)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The project, built and up; `down -v` afterwards, and nothing of it may stay."""
    if not have_engine():
        pytest.skip("no Docker Engine with compose answers")
    project = f"tapwalltest{os.getpid()}"
    environment = {**os.environ, "TAPWALL_CHAT_PORT": "0", "TAPWALL_WEB_PORT": "0", "TAPWALL_IMAGE": "tapwall-lab-test"}
    lab = Lab(project, environment)
    lab.compose("build", "--quiet")
    try:
        lab.compose("up", "-d", "--wait", "web", "server")
        lab.compose("up", "-d")
        yield lab
    finally:
        logs = lab.compose("logs", "--no-color", check=False)
        kept = os.environ.get("TAPWALL_ARTEFACTS")
        if kept:
            Path(kept, "lab.log").write_text(logs, encoding="utf-8")
        lab.compose("--profile", "*", "down", "-v", "--remove-orphans", check=False)
    for kind in ("container", "network", "volume"):
        left = subprocess.run(
            ["docker", kind, "ls", "-q", "--filter", f"label=com.docker.compose.project={project}"],
            capture_output=True,
            text=True,
        )
        assert left.stdout == "", kind


@pytest.fixture(scope="module")
def story(lab: Lab) -> dict[str, Any]:
    """The state of the page after the whole story, and a last look of the analyst."""
    lab.wait("the rules stand", STORY_S)
    lab.wait("intruder goes away", STORY_S)
    time.sleep(12)
    return lab.state()


def intruder_address(lab: Lab) -> str:
    """The intruder's address in the lab's network."""
    (container,) = lab.compose("ps", "-aq", "intruder").split()
    inspected = json.loads(
        subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True).stdout
    )[0]
    events = subprocess.run(
        ["docker", "network", "inspect", f"{lab.project}_lab"], capture_output=True, text=True, check=True
    ).stdout
    network = inspected["NetworkSettings"]["Networks"][f"{lab.project}_lab"]
    return str(
        network["IPAddress"]
        or json.loads(events)[0].get("Containers", {}).get(container, {}).get("IPv4Address", "").split("/")[0]
    )


@pytest.fixture(scope="module")
def intruder(lab: Lab) -> str:
    """Its address, read while it runs."""
    return intruder_address(lab)


def findings(lab: Lab) -> list[dict[str, Any]]:
    """The findings of the analyst's captures, by the product's own command."""
    text = lab.compose("exec", "-T", "analyst", "sh", "-c", "tapwall analyze /captures/*.pcapng --json --only findings")
    return list(json.loads(text)["findings"])


def test_story_is_whole(lab: Lab, intruder: str, story: dict[str, Any]) -> None:
    """Findings name the intruder for scan, guessing, flood and beacon, and nobody else at medium or above."""
    serious = [finding for finding in findings(lab) if finding["severity"] in SERIOUS]

    accused = {finding["accountable"]["address"] for finding in serious if finding["accountable"]}
    detectors = {finding["detector"].replace("_", "-") for finding in serious}
    assert accused == {intruder}
    assert {"port-scan", "brute-force", "flood", "beacon"} <= detectors


def test_rules_were_proved_before_they_stood(story: dict[str, Any]) -> None:
    """The wall says that every rule counted equal in a kernel, then that the rules stand."""
    wall = [event["what"] for event in story["story"] if event["who"] == "wall"]
    proved = next(i for i, what in enumerate(wall) if what.startswith("proved:"))
    stand = next(i for i, what in enumerate(wall) if what.startswith("the rules stand"))

    assert proved < stand
    equal, rules = wall[proved].split()[1], wall[proved].split()[3]
    assert equal == rules


def test_intruder_gets_nothing_afterwards(story: dict[str, Any]) -> None:
    """After the rules stand a whole round of the intruder is answered by nobody, and the kernel counted its packets."""
    said = [event["what"] for event in story["story"] if event["who"] == "intruder"]
    second = said[next(i for i, what in enumerate(said) if what.startswith("round 2")) :]
    tallies = [what for what in second if " answered, " in what]
    dropped = sum(row["packets"] for row in story["counters"]["rules"] if row["action"] == "DROP")

    assert len(tallies) == 4
    assert [what for what in tallies if " 0 answered, 0 refused" not in f" {what.split(': ', 1)[1]}"] == []
    assert dropped > 100


def test_people_notice_nothing(story: dict[str, Any]) -> None:
    """Messages go on arriving after the rules, and not later than twice the delay of before (plus 5 ms of noise)."""
    before, after = story["people"]["before"], story["people"]["after"]

    assert before["count"] > 50
    assert after["count"] > 50
    assert after["median_ms"] <= 2 * before["median_ms"] + 5


def test_files_arrive_whole(lab: Lab, story: dict[str, Any], tmp_path: Path) -> None:
    """The picture that Alice sent lies at Bob's with the same bytes."""
    lab.compose("cp", "bob:/report/people/bob/picture.png", str(tmp_path / "got.png"))

    want = hashlib.sha256((SCRIPTS / "picture.png").read_bytes()).hexdigest()
    assert hashlib.sha256((tmp_path / "got.png").read_bytes()).hexdigest() == want


def test_nothing_restarted_and_nobody_is_root_without_need(lab: Lab, story: dict[str, Any]) -> None:
    """No container restarted; only intruder (raw socket) and wall (netfilter) run as root."""
    roots = set()
    for container in lab.compose("ps", "-aq").split():
        seen = json.loads(
            subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True).stdout
        )[0]
        service = seen["Config"]["Labels"]["com.docker.compose.service"]
        assert seen["RestartCount"] == 0, service
        assert seen["HostConfig"]["CapDrop"] == ["ALL"], service
        if seen["Config"]["User"] in ("", "root", "0"):
            roots.add(service)

    assert roots <= {"intruder", "wall"}


def test_page_shows_the_story(lab: Lab, story: dict[str, Any], tmp_path: Path) -> None:
    """Headless Chromium draws the page; report and graph with the marked moment are there."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium")
    report = lab.get("/report.html").decode()
    assert "rules stand" in report
    shot = Path(os.environ.get("TAPWALL_ARTEFACTS", tmp_path)) / "lab.png"
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    subprocess.run(
        [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,2400", "--virtual-time-budget=8000", f"--screenshot={shot}", lab.url()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip

    assert shot.stat().st_size > 20_000


def test_killed_services_come_back(lab: Lab, story: dict[str, Any]) -> None:
    """Analyst, sniffer and web are killed; each comes back, and the sniffer's file of before is readable."""
    for service in ("sniffer", "analyst", "web"):
        lab.compose("exec", "-T", "--user", "root", service, "sh", "-c", "kill -9 -1", check=False)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        running = set(lab.compose("ps", "--services", "--status", "running").split())
        if {"sniffer", "analyst", "web"} <= running:
            break
        time.sleep(1)
    assert {"sniffer", "analyst", "web", "server", "alice", "bob", "carol"} <= running
    text = lab.compose("exec", "-T", "analyst", "sh", "-c", "tapwall analyze /captures/*.pcapng --json --only capture")
    assert json.loads(text)["capture"]["packets"] > 500
