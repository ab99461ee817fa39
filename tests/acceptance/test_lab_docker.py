"""The lab as a newcomer runs it: `docker compose up`, watched from outside until the intruder has gone away.

The tests follow one run, top to bottom: the story, what it left, then services are killed, the captures' disk fills up,
and a second project runs beside the first. Every wait has a condition and a bound; seconds are generous, because the
machine may have other work. What CI keeps (screenshot, log, state) goes to TAPWALL_ARTEFACTS, else to report/lab.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
STORY_S = 360  # the whole run after the image is built
PATIENCE_S = 120  # for anything else
IMAGE = "tapwall-lab-test"
IMAGE_BYTES = 900_000_000
REBUILD_S = 60
SCRIPTS = ROOT / "tapwall" / "lab" / "scripts"
SERIOUS = ("medium", "high", "critical")
CAPTURES_MB = 64  # the captures' own disk, so that it can be filled

T = TypeVar("T")
pytestmark = [pytest.mark.docker, pytest.mark.acceptance, pytest.mark.timeout(1500)]


def docker(*words: str, check: bool = True) -> str:
    """Run `docker WORDS`; its stdout."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=600)
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def have_engine() -> bool:
    """Does a Docker Engine with compose answer?"""
    return shutil.which("docker") is not None and all(
        subprocess.run(["docker", *words], capture_output=True).returncode == 0
        for words in (["compose", "version"], ["info"])
    )


def artefacts() -> Path:
    """Where CI finds what a person wants to look at."""
    folder = Path(os.environ.get("TAPWALL_ARTEFACTS") or ROOT / "report" / "lab")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def until(found: Callable[[], T], what: str, within_s: float = PATIENCE_S, every_s: float = 1.0) -> T:
    """What `found` returns once it is true; fails with `what` after `within_s`. Errors of a moment are waited out."""
    end = time.monotonic() + within_s
    while True:
        trouble: object = ""
        try:
            value = found()
            if value:
                return value
        except (OSError, ValueError, AssertionError) as error:
            trouble = error
        assert time.monotonic() < end, f"{what}: not within {within_s} s {trouble}"
        time.sleep(every_s)


@dataclass(frozen=True, slots=True)
class Lab:
    """A running project."""

    project: str
    files: tuple[Path, ...] = ()

    def compose(self, *words: str, check: bool = True) -> str:
        """Run `docker compose WORDS`; its stdout."""
        environment = {**os.environ, "TAPWALL_CHAT_PORT": "0", "TAPWALL_WEB_PORT": "0", "TAPWALL_IMAGE": IMAGE}
        chosen = [word for path in (ROOT / "docker-compose.yml", *self.files) for word in ("-f", str(path))]
        command = ["docker", "compose", "--project-directory", str(ROOT), *chosen, "-p", self.project, *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
        assert not check or done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def get(self, path: str) -> bytes:
        """A file of the page."""
        url = "http://" + self.compose("port", "web", "8080").strip()
        with urllib.request.urlopen(url + path, timeout=20) as answer:
            return bytes(answer.read())

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        return dict(json.loads(self.get("/state.json")))

    def said(self, who: str) -> list[str]:
        """What one of the story's tellers told."""
        return [event["what"] for event in self.state()["story"] if event["who"] == who]

    def wait(self, who: str, what: str, within_s: float = PATIENCE_S) -> None:
        """Until `who` has told `what`; fails with the story."""
        try:
            until(lambda: any(what in line for line in self.said(who)), f"{who}: {what}", within_s)
        except AssertionError as error:
            story = "\n".join(f"{event['who']}: {event['what']}" for event in self.state()["story"])
            raise AssertionError(f"{error}\n{story}") from None

    def inspect(self, service: str) -> dict[str, Any]:
        """Its container as the engine sees it."""
        (container,) = self.compose("ps", "-aq", service).split()
        return dict(json.loads(docker("inspect", container))[0])

    def address(self, service: str) -> str:
        """Its address in the lab's network."""
        return str(self.inspect(service)["NetworkSettings"]["Networks"][f"{self.project}_lab"]["IPAddress"])

    def run(self, service: str, command: str, user: str = "1234") -> str:
        """A shell command in a service's container."""
        return self.compose("exec", "-T", "--user", user, service, "sh", "-c", command)

    def deliveries(self) -> list[dict[str, Any]]:
        """Every message that reached somebody: {to, from, time, delay_s}."""
        text = self.run("analyst", "cd /report/people && tail -n +1 -v *.jsonl")
        rows, to = [], ""
        for line in text.splitlines():
            if line.startswith("==> "):
                to = line[4:].split(".")[0]
            elif line.startswith("{"):
                rows.append({"to": to, **json.loads(line)})
        return rows

    def leaves_nothing(self) -> None:
        """`down -v`, and no container, network or volume of the project is left."""
        self.compose("down", "-v")
        for kind in ("container", "network", "volume"):
            words = [kind, "ls", *(["-a"] if kind == "container" else []), "-q"]
            assert docker(*words, "--filter", f"label=com.docker.compose.project={self.project}") == "", kind


@contextlib.contextmanager
def project(name: str, *files: Path) -> Iterator[Lab]:
    """A project of that name, not started; its log is kept, and nothing of it may stay."""
    lab = Lab(f"tapwalltest{os.getpid()}{name}", files)
    try:
        yield lab
    finally:
        log = lab.compose("logs", "--no-color", "--timestamps", check=False)
        (artefacts() / f"lab{name}.log").write_text(log, encoding="utf-8")
        lab.leaves_nothing()


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built from the files as they are."""
    if not have_engine():
        pytest.skip("no Docker Engine with compose answers")
    Lab("tapwalltestbuild").compose("build", "--quiet")
    return IMAGE


@pytest.fixture(scope="module")
def lab(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The project, up, as `docker compose up` starts it; the captures' volume is a small disk of its own."""
    disk = {"type": "tmpfs", "device": "tmpfs", "o": f"size={CAPTURES_MB}m,uid=1234,gid=1234"}
    override = tmp_path_factory.mktemp("lab") / "disk.json"
    override.write_text(json.dumps({"volumes": {"captures": {"driver_opts": disk}}}))
    with project("", override) as lab:
        lab.compose("up", "-d")
        yield lab


@pytest.fixture(scope="module")
def story(lab: Lab) -> dict[str, Any]:
    """The state of the page after the whole story, and after a last look of the analyst at what was captured."""
    began = time.monotonic()
    lab.wait("intruder", "goes away", STORY_S)
    gone = time.time()
    until(lambda: lab.inspect("analyst")["State"]["Running"] and report_time(lab) > gone, "a last report")
    state = lab.state() | {"took_s": time.monotonic() - began}
    (artefacts() / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    return state


def report_time(lab: Lab) -> float:
    """When the analyst last wrote its findings."""
    return float(lab.run("analyst", "stat -c %Y /report/seen.json"))


@pytest.fixture(scope="module")
def analysed(lab: Lab, story: dict[str, Any]) -> dict[str, Any]:
    """All captures, by the product's own command."""
    return dict(json.loads(lab.run("analyst", "tapwall analyze /captures/*.pcapng --json")))


# ------------------------------------------------------------------------------------------------------- the story


def test_the_whole_run_is_short(story: dict[str, Any]) -> None:
    """From `up` to the last report, two rounds of the intruder included."""
    assert story["took_s"] < STORY_S


def test_findings_name_the_intruder_and_nobody_else(lab: Lab, story: dict[str, Any], analysed: dict[str, Any]) -> None:
    """Scan, guesses, flood and beacon name him; at medium or above stands nobody else, at any time of the story."""
    intruder = lab.address("intruder")
    told = story["seen"]["findings"]
    his = {finding["detector"] for finding in told if finding["accountable"] == intruder}
    serious = [finding for finding in told if finding["severity"] in SERIOUS]
    at_the_end = [finding for finding in analysed["findings"] if finding["severity"] in SERIOUS]

    assert {"port-scan", "brute-force", "flood", "beacon"} <= his
    assert {finding["accountable"] for finding in serious} == {intruder}
    assert {finding["accountable"]["address"] for finding in at_the_end} == {intruder}
    assert {"port-scan", "brute-force", "flood"} <= {finding["detector"] for finding in at_the_end}


def test_the_capture_holds_chat_and_attack(lab: Lab, analysed: dict[str, Any]) -> None:
    """Our own protocol in clear, the same under TLS, connections of the intruder; nothing was missed or malformed."""
    layers = {row["path"].rsplit("/", 1)[-1]: row["packets"] for row in analysed["hierarchy"]}
    intruder = lab.address("intruder")
    his = [row for row in analysed["conversations"]["tcp"] if intruder in (row["a"], row["b"])]

    assert layers["tapwall"] > 500
    assert layers["tls"] > 50
    assert len(his) > 900  # 2 rounds of 120 ports, 24 guesses, 400 connections
    assert analysed["capture"]["faults"] == {}
    assert sum(one["drops"] or 0 for one in analysed["capture"]["interfaces"]) == 0


def test_rules_were_proved_before_they_stood(story: dict[str, Any]) -> None:
    """The wall says that every rule counted equal in a kernel, then that the rules stand."""
    wall = [event for event in story["story"] if event["who"] == "wall"]
    stand = next(i for i, event in enumerate(wall) if event["mark"] == "rules stand")
    proof = wall[stand - 1]["facts"]

    assert proof["available"]
    assert proof["equal"] == proof["rules"] >= 3
    assert proof["different"] == proof["not_comparable"] == 0
    assert proof["packets"] > 2000


def test_the_intruder_gets_nothing_afterwards(story: dict[str, Any]) -> None:
    """Before the rules he is answered; after them a whole round is answered by nobody, and the kernel counted it."""
    rounds = {turn: [one for one in story["tallies"] if one["round"] == turn] for turn in (1, 2)}
    dropped = sum(row["packets"] for row in story["counters"]["rules"] if row["action"] == "DROP")
    tries = sum(one["silent"] for one in rounds[2])

    assert (
        [one["phase"] for one in rounds[1]]
        == [one["phase"] for one in rounds[2]]
        == [
            "scan",
            "guesses",
            "flood",
            "beacon",
        ]
    )
    assert all(one["answered"] > 0 and one["silent"] == 0 for one in rounds[1])
    assert all(one["answered"] == one["refused"] == 0 and one["silent"] > 0 for one in rounds[2])
    assert dropped >= tries > 500


def test_people_notice_nothing(lab: Lab, story: dict[str, Any]) -> None:
    """After the rules everybody hears everybody, at most twice as late as before them."""
    rows, stood = lab.deliveries(), story["rules_since"]
    before = [row["delay_s"] for row in rows if row["time"] < stood]
    after = [row for row in rows if row["time"] >= stood]

    assert len(before) > 50
    assert len(after) > 50
    talkers = {(row["from"], row["to"]) for row in after}
    assert {(a, b) for a in ("alice", "bob", "carol") for b in ("alice", "bob", "carol") if a != b} <= talkers
    assert statistics.median(row["delay_s"] for row in after) <= 2 * statistics.median(before)


def test_no_message_is_lost(lab: Lab, story: dict[str, Any]) -> None:
    """Of the messages of the others everybody has an unbroken sequence, though one line broke and one reads slowly."""
    rows = [row for row in lab.deliveries() if row["to"] in ("alice", "bob", "carol")]
    first = {to: min(row["seq"] for row in rows if row["to"] == to) for to in ("alice", "bob", "carol")}
    begin, end = max(first.values()), max(row["seq"] for row in rows) - 20  # the last are on their way
    spoken = {row["seq"]: row["from"] for row in rows}
    for to in first:
        heard = {row["seq"] for row in rows if row["to"] == to}
        expected = {seq for seq, who in spoken.items() if begin <= seq <= end and who != to}
        assert expected <= heard, to
    assert end - begin > 50


@pytest.mark.parametrize(
    ("person", "name"), [("bob", "picture.png"), ("alice", "minutes.txt"), ("dora", "picture.png")]
)
def test_files_arrive_whole(lab: Lab, story: dict[str, Any], person: str, name: str) -> None:
    """What Alice, Carol and Dora sent lies at the receivers with the same bytes, in every round also after the rules."""
    stem, suffix = name.split(".")
    text = lab.run(
        "analyst", f"cd /report/people/{person} && sha256sum {stem}*.{suffix} && stat -c %Y {stem}*.{suffix}"
    )
    hashes = {line.split()[0] for line in text.splitlines() if " " in line}
    times = [float(line) for line in text.splitlines() if " " not in line]

    assert hashes == {hashlib.sha256((SCRIPTS / name).read_bytes()).hexdigest()}
    assert max(times) > story["rules_since"] > min(times)


def test_nothing_restarted_leaked_or_is_root_without_need(lab: Lab, story: dict[str, Any]) -> None:
    """No container restarted; only the wall (netfilter) is root; capabilities are named; disks are read-only; what the
    flood opened is closed again."""
    roots, memory, files = set(), {}, {}
    for container in lab.compose("ps", "-aq").split():
        seen = json.loads(docker("inspect", container))[0]
        service = seen["Config"]["Labels"]["com.docker.compose.service"]
        assert seen["RestartCount"] == 0, service
        assert seen["HostConfig"]["CapDrop"] == ["ALL"], service
        assert seen["HostConfig"]["ReadonlyRootfs"], service
        assert not seen["HostConfig"]["Privileged"], service
        for bindings in (seen["HostConfig"]["PortBindings"] or {}).values():
            assert [one["HostIp"] for one in bindings] == ["127.0.0.1"], service
        if service == "opening":
            assert seen["State"]["ExitCode"] == 0
            continue
        for line in docker("top", container, "-eo", "pid,uid,rss,args").splitlines()[1:]:
            pid, uid, rss, _ = line.split(None, 3)
            memory[service] = memory.get(service, 0) + int(rss)
            with contextlib.suppress(OSError):  # a command of the analyst may have ended meanwhile
                files[service] = files.get(service, 0) + len(os.listdir(f"/proc/{pid}/fd"))
            if uid == "0":
                roots.add(service)

    assert roots == {"wall"}
    assert {service: kib for service, kib in memory.items() if kib > 700_000} == {}
    assert {service: number for service, number in files.items() if number > 100} == {}
    assert files["server"] > 0


def test_the_page_shows_it(lab: Lab, story: dict[str, Any], tmp_path: Path) -> None:
    """Headless Chromium draws the page: marked moments, findings, rules with proof and counters, who sent how much."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium")
    report, graph = lab.get("/report.html").decode(), lab.get("/io_graph.svg").decode()
    url = "http://" + lab.compose("port", "web", "8080").strip()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--window-size=1100,3400", "--virtual-time-budget=8000"]
    shot = artefacts() / "lab.png"
    subprocess.run([browser, *flags, f"--screenshot={shot}", url], check=True, capture_output=True, timeout=180)
    drawn = subprocess.run(
        [browser, *flags, "--dump-dom", url], check=True, capture_output=True, text=True, timeout=180
    )
    page = drawn.stdout

    assert shot.stat().st_size > 50_000
    for mark in ("intruder begins", "rules stand"):
        assert mark in report and mark in graph, mark
    for words in ("guessed passwords", "tried 236 TCP ports", "connections a second", "port 4444 every", "Proof: ",
                  "in clear text", "TLS", ">alice<", ">dora<", ">DROP<", "no answer at all"):  # fmt: skip
        assert words in page, words
    dropped = sum(row["packets"] for row in story["counters"]["rules"] if row["action"] == "DROP")
    assert f'id="dropped">{dropped}<' in page


def test_somebody_sits_down_with_the_others(lab: Lab, story: dict[str, Any]) -> None:
    """From another terminal and from the host; nothing of the running lab is cleared away for it."""
    lab.compose("run", "--rm", "-T", "chat", "send", "--user", "eve", "hello from a container")
    port = lab.compose("port", "server", "1234").strip().rsplit(":", 1)[1]
    words = ["chat", "send", "--port", port, "--no-tls", "--user", "frank", "hello from the host"]
    python = ROOT / ".venv" / "bin" / "python"
    subprocess.run(
        [str(python if python.exists() else "python3"), "-m", "tapwall", *words], check=True, cwd=ROOT, timeout=60
    )

    until(lambda: {"eve", "frank"} <= {row["from"] for row in lab.deliveries() if row["to"] == "alice"}, "heard")
    assert lab.said("opening") == ["the lab opens"]


# ------------------------------------------------------------------------------------------------ what goes wrong


def kill(lab: Lab, service: str) -> None:
    """kill -9 of everything in a service's container, from the host; waits until it is up again."""
    before = lab.inspect(service)
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    until(lambda: lab.inspect(service)["RestartCount"] > before["RestartCount"], f"{service} restarted")
    until(lambda: lab.inspect(service)["State"]["Running"], f"{service} runs")


def newest(lab: Lab) -> tuple[str, int]:
    """The capture that was written to last, and its size."""
    name, size = lab.run("analyst", "cd /captures && stat -c '%Y %n %s' *.pcapng | sort -n | tail -1").split()[1:]
    return name, int(size)


def grows(lab: Lab) -> bool:
    """Is a capture being written?"""
    before = newest(lab)
    time.sleep(3)
    return newest(lab) != before


def hears(lab: Lab, person: str, since: float) -> bool:
    """Has something reached a person?"""
    return any(row["to"] == person and row["time"] > since for row in lab.deliveries())


@pytest.mark.parametrize("person", ["alice", "bob", "carol"])
def test_a_person_who_was_killed_comes_back(lab: Lab, story: dict[str, Any], person: str) -> None:
    """The script begins again; the others are heard."""
    kill(lab, person)
    since = time.time()
    until(lambda: hears(lab, person, since), f"{person} hears")


def test_tls_comes_back(lab: Lab, story: dict[str, Any]) -> None:
    """The server with TLS, then Dora: she is let in again."""
    kill(lab, "tls")
    kill(lab, "dora")
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    until(lambda: "dora says: " in lab.compose("logs", "--since", since, "dora"), "dora speaks")


def test_a_killed_sniffer_leaves_a_readable_file(lab: Lab, story: dict[str, Any]) -> None:
    """kill -9 in the middle of a capture: what is on the disk can be read to its end; the next capture goes on."""
    name, _ = newest(lab)
    kill(lab, "sniffer")
    capture = json.loads(lab.run("analyst", f"tapwall analyze /captures/{name} --json --only capture"))["capture"]

    assert capture["packets"] > 500
    assert {fault for fault in capture["faults"] if fault != "cut"} <= {"file_cut", "truncated"}
    until(lambda: newest(lab)[0] != name and grows(lab), "a new capture")


def test_analyst_web_and_drop_come_back(lab: Lab, story: dict[str, Any]) -> None:
    """The report is written again, the page answers, the drop listens; the story goes on where it was."""
    for service in ("analyst", "web", "drop"):
        kill(lab, service)
    since = time.time()
    until(lambda: report_time(lab) > since, "a report")
    until(lambda: lab.get("/healthz") == b"ok\n", "the page")
    until(lambda: connects(lab, 4444), "the drop")
    told = [line for line in lab.said("analyst") if line.startswith("medium: ")]
    assert len(told) == len({line.split(" (")[0] for line in told}), "findings are told once"


def connects(lab: Lab, port: int) -> bool:
    """Does something listen in the server's network?"""
    try:
        lab.run("server", f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2)\"")
    except AssertionError:
        return False
    return True


def test_a_killed_wall_goes_on_counting(lab: Lab, story: dict[str, Any]) -> None:
    """The rules stood all the while; what was counted before is still counted."""
    dropped = [row["packets"] for row in lab.state()["counters"]["rules"] if row["action"] == "DROP"]
    kill(lab, "wall")
    since = time.time()
    until(lambda: lab.state()["counters"]["time"] > since, "counters")

    again = [row["packets"] for row in lab.state()["counters"]["rules"] if row["action"] == "DROP"]
    assert sum(again) >= sum(dropped) > 500


def test_an_intruder_who_was_killed_does_not_begin_again(lab: Lab, story: dict[str, Any]) -> None:
    """Both rounds are over: he comes back under his address, and is silent."""
    address, said = lab.address("intruder"), lab.said("intruder")
    kill(lab, "intruder")
    until(lambda: "lab intruder" in docker("top", lab.inspect("intruder")["Id"]), "he is back")

    assert lab.address("intruder") == address
    assert lab.said("intruder") == said


def test_a_killed_server_takes_nobody_with_it(lab: Lab, story: dict[str, Any]) -> None:
    """The chat is up again, people reconnect, and who stands in its network follows: capture, drop, TLS and the rules."""
    kill(lab, "server")
    since = time.time()
    for person in ("alice", "bob", "carol"):
        until(lambda person=person: hears(lab, person, since), f"{person} hears")  # type: ignore[misc]
    for service in ("sniffer", "wall", "drop", "tls"):
        until(lambda service=service: lab.inspect(service)["RestartCount"] > 0, service)  # type: ignore[misc]
        until(lambda service=service: lab.inspect(service)["State"]["Running"], service)  # type: ignore[misc]
    until(lambda: "-j DROP" in lab.run("wall", "iptables-save", user="root"), "the rules stand again")
    until(lambda: grows(lab), "a capture")
    until(lambda: connects(lab, 4444) and connects(lab, 1235), "drop and TLS")


def test_a_full_disk_of_the_captures_is_told_and_breaks_nothing(lab: Lab, story: dict[str, Any]) -> None:
    """The sniffer says so and waits; chat, page and analyst go on; with room again it captures again."""
    restarts = {service: lab.inspect(service)["RestartCount"] for service in ("sniffer", "analyst", "server", "wall")}
    lab.run("sniffer", "cat /dev/zero > /captures/filler 2>/dev/null || true")
    lab.wait("sniffer", "the disk of the captures is full")
    since = time.time()
    until(lambda: hears(lab, "alice", since), "alice hears")
    assert lab.get("/healthz") == b"ok\n"
    text = lab.run("analyst", "tapwall analyze /captures/*.pcapng --json --only capture")
    assert json.loads(text)["capture"]["packets"] > 500

    lab.run("sniffer", "rm /captures/filler")
    until(lambda: grows(lab), "a capture")
    assert {service: lab.inspect(service)["RestartCount"] for service in restarts} == restarts


def test_a_second_project_beside_the_first_and_twice_in_a_row(lab: Lab, story: dict[str, Any]) -> None:
    """Own network, volumes and ports; stopped and started again it tells a new story; the first goes on undisturbed."""
    with project("b") as other:
        starts = []
        for _ in range(2):
            other.compose("--profile", "quiet", "up", "-d")
            until(lambda: {row["to"] for row in other.deliveries()} >= {"alice", "bob", "carol"}, "everybody hears")
            other.wait("analyst", "Lab chat in clear text")
            (opened,) = [event for event in other.state()["story"] if event["who"] == "opening"]
            starts.append(opened)
            services = set(other.compose("ps", "--services").split())
            assert {"server", "web"} <= services and not {"intruder", "wall", "drop"} & services
            other.compose("--profile", "quiet", "stop")
        since = time.time()
        until(lambda: hears(lab, "alice", since), "alice hears")

    assert starts[0]["what"] == "the lab opens"
    assert "what the last lesson left is cleared away" in starts[1]["what"]
    assert starts[1]["time"] > starts[0]["time"]


# ------------------------------------------------------------------------------------------------------- the image


def test_the_image_is_small(image: str) -> None:
    """Everything in one image."""
    assert int(docker("image", "inspect", "-f", "{{.Size}}", image)) < IMAGE_BYTES


@pytest.mark.parametrize(
    "changed", ["tapwall/lab/story.py", "analysis/verdict.py", "analysis/tcp.py", "pyproject.toml"]
)
def test_a_change_of_the_code_is_built_soon(image: str, tmp_path: Path, changed: str) -> None:
    """Libraries are not installed again, and kernels that did not change are not compiled again (tcp.py has some)."""
    for name in ("analysis", "chat", "firewall", "tapwall", "captures", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    with (tmp_path / changed).open("a") as file:
        file.write(f"\n# changed at {time.time()}\n")
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    tag = f"{IMAGE}-changed"
    began = time.monotonic()
    subprocess.run(
        ["docker", "build", "-q", "-t", tag, str(tmp_path)],
        check=True,
        capture_output=True,
        env=environment,
        timeout=600,
    )
    took = time.monotonic() - began
    docker("image", "rm", tag)

    assert took < REBUILD_S
