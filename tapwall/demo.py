"""`tapwall demo`: the lab's story without Docker, in network namespaces of one unprivileged user namespace.

In: a folder for captures and report, how long to stay. Out: the same services as docker-compose.yml starts, each host
a network namespace on a bridge of its own that nothing else can reach; story lines on stdout, the page on loopback.
Needs Linux with user namespaces (or root), `ip`, `unshare` and `nsenter`. Where those are refused people chat on
loopback, and the first lines say what is missing for the rest and why.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOSTS = {
    "server": "10.77.0.2",
    "alice": "10.77.0.3",
    "bob": "10.77.0.4",
    "carol": "10.77.0.5",
    "dora": "10.77.0.6",
    "intruder": "10.77.0.66",
}
PEOPLE = {"alice": 1234, "bob": 1234, "carol": 1234, "dora": 1235}  # and the port that each speaks to
CHATS = {"clear": (1234, "chat.toml"), "tls": (1235, "tls.toml")}
SCRIPTS = Path(__file__).parent / "lab" / "scripts"
OURS = ".tapwall-demo"  # marks a folder that a demo made, and may clear
READY_S = 60.0  # patience with what starts, on a machine that has more to do


@dataclass(frozen=True, slots=True)
class Plan:
    """Where, how long, how long the first rules are watched, with or without intruder."""

    folder: Path
    seconds: float
    hold_s: float = 60.0
    intruder: bool = True


class NotOurs(OSError):
    """The folder holds something that no demo made: it is not cleared."""


def refused() -> str | None:
    """Why namespaces cannot be had here; None where they can."""
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not found"
    words = ["unshare", *_user(), "-n", "ip", "link", "add", "tw0", "type", "veth", "peer", "name", "tw1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["unshare failed"])[-1]


def _user() -> list[str]:
    return [] if os.getuid() == 0 else ["-U", "-r"]


def tapwall(*words: str) -> list[str]:
    """The product's own command."""
    return [sys.executable, "-m", "tapwall", *words]


def prepare(folder: Path) -> None:
    """Make the folder, or clear away what an earlier demo left. Raises NotOurs, OSError."""
    from tapwall.lab.opening import clear

    if folder.is_dir() and any(folder.iterdir()) and not (folder / OURS).exists():
        raise NotOurs(None, "not empty, and no demo's: expected a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    clear([folder])
    (folder / OURS).touch()
    for name in ("captures", "report/people", "data/clear", "data/tls"):
        (folder / name).mkdir(parents=True)


@dataclass(slots=True)
class Stage:
    """The hosts and what runs on them. `close` ends every process; the namespaces go with them."""

    folder: Path
    holders: dict[str, int] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def build(self) -> None:
        """Make bridge and hosts. Raises CalledProcessError where the kernel refuses."""
        for words in ("link set lo up", "link add tw-lab type bridge", "link set tw-lab up"):
            subprocess.run(["ip", *words.split()], check=True)
        for name, address in HOSTS.items():
            holder = subprocess.Popen(["unshare", "-n", "sleep", "100000"])
            self.running.append(holder)
            self.holders[name] = holder.pid
            _wait_for_namespace(holder.pid)
            port = f"tw-{name}"[:15]
            self._ip(f"link add {port} type veth peer name eth0 netns {holder.pid}")
            self._ip(f"link set {port} master tw-lab up")
            for words in ("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"):
                subprocess.run([*self._on(name), "ip", *words.split()], check=True)

    def _ip(self, words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True)

    def _on(self, host: str) -> list[str]:
        """Words in front of a command that is to run on `host`; plain processes need none."""
        return ["nsenter", "-t", str(self.holders[host]), "-n", "--"] if host in self.holders else []

    def start(self, host: str, *words: str, quiet: str = "") -> Path:
        """Run a command of ours on `host`; `quiet` names the log in the folder to which its output goes."""
        log = self.folder / f"{quiet or host}.log"
        out = log.open("wb") if quiet else None
        environment = {**os.environ, "XDG_CONFIG_HOME": str(self.folder / "data")}  # pins of the demo's own servers
        try:
            process = subprocess.Popen([*self._on(host), *tapwall(*words)], stdout=out, stderr=out, env=environment)
            self.running.append(process)
        finally:
            if out is not None:
                out.close()
        return log

    def open_chats(self, ports: dict[str, int], extra: tuple[str, ...] = ()) -> dict[str, int]:
        """Start both chat servers; returns when they listen, with their ports. Raises OSError if one does not."""
        logs = {}
        for name, port in ports.items():
            words = ("--config", str(SCRIPTS / CHATS[name][1]), "--port", str(port))
            data = str(self.folder / "data" / name)
            logs[name] = self.start("server", "chat", "serve", *words, "--data", data, *extra, quiet=f"chat-{name}")
        return {name: _listening(log) for name, log in logs.items()}

    def invite(self, name: str, host: str, port: int) -> None:
        """Have a person come."""
        people = self.folder / "report" / "people"
        words = [str(SCRIPTS / f"{name}.toml"), "--host", host, "--port", str(port)]
        words += ["--tls", "--trust-new"] if PEOPLE[name] == CHATS["tls"][0] else ["--no-tls"]
        words += ["--log", str(people / f"{name}.jsonl"), "--downloads", str(people / name)]
        self.start(name, "chat", "bot", *words, quiet=name)

    def close(self) -> None:
        """End what runs, gently first."""
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        for process in self.running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listening(log: Path) -> int:
    """The port of a chat server, once its log says that it listens. Raises TimeoutError with the log's last line."""

    def lines() -> list[str]:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()

    def said() -> str:
        return next((line for line in lines() if line.startswith("listening on ")), "")

    _until(lambda: bool(said()), f"the chat did not listen, see {log}")
    return int(said().rsplit(":", 1)[-1])


def _wait_for_namespace(pid: int) -> None:
    """Until `unshare` has really left our network namespace."""
    own = os.readlink("/proc/self/ns/net")

    def left() -> bool:
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{pid}/ns/net") != own
        return False

    _until(left, "a network namespace did not appear")


def _until(true: Callable[[], bool], complaint: str) -> None:
    """Wait until something is so. Raises TimeoutError after READY_S."""
    until = time.monotonic() + READY_S
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(None, f"{complaint} within {READY_S:g} s")
        time.sleep(0.05)


def inside(plan: Plan) -> None:
    """The whole story, in the namespace we are in now; the folder is prepared."""
    stage = Stage(plan.folder)
    server, report = HOSTS["server"], str(plan.folder / "report")
    places = ("--captures", str(plan.folder / "captures"), "--report", report)
    try:
        stage.build()
        stage.open_chats({name: port for name, (port, _) in CHATS.items()})
        ready = plan.folder / "data" / "sniffing"
        stage.start("server", "lab", "sniffer", *places, "--ready", str(ready))
        _until(ready.exists, "the capture did not begin")
        for name, port in PEOPLE.items():
            stage.invite(name, server, port)
        permit = [word for name in PEOPLE for word in ("--permit", f"{name}={HOSTS[name]}")]
        stage.start("server", "lab", "analyst", *places, "--server", server, *permit)
        if plan.intruder:
            stage.start("server", "lab", "drop", "--report", report)
            state = ("--state", str(plan.folder / "wall"))
            stage.start("server", "lab", "wall", *places, "--hold", f"{plan.hold_s:g}", *state)
            stage.start("intruder", "lab", "intruder", server, "--report", report)
        time.sleep(plan.seconds)
    finally:
        stage.close()


@contextlib.contextmanager
def page(folder: Path, port: int) -> Iterator[str]:
    """The live page on loopback; yields its address."""
    from tapwall.lab.web import make_server

    server = make_server(folder / "report", "127.0.0.1", port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def play(plan: Plan, port: int) -> int:
    """The story from outside: the page here, the rest in namespaces. Returns the exit code. Raises OSError."""
    prepare(plan.folder)
    why = refused()
    with page(plan.folder, port) as address:
        print(f"the page: {address}   the report: {plan.folder / 'report' / 'report.html'}", flush=True)
        if why is not None:
            return _loopback(plan, why)
        words = ["demo", "--inside", "--folder", str(plan.folder), "--seconds", f"{plan.seconds:g}"]
        words += ["--hold", f"{plan.hold_s:g}", *([] if plan.intruder else ["--quiet"])]
        process = subprocess.Popen(["unshare", *_user(), "-n", *tapwall(*words)])
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            raise
    print(f"the demo is over; what it left: {plan.folder}", flush=True)
    return code


def _loopback(plan: Plan, why: str) -> int:
    """People and servers as plain processes: as far as it goes without namespaces. Says what does not go."""
    from tapwall.lab.people import read_deliveries, spans
    from tapwall.lab.story import Story

    story = Story(plan.folder / "report", "demo")
    story.tell(f"no network namespaces here ({why}): people chat on loopback, in clear text and under TLS")
    story.tell("not shown without them: the intruder (he stays off this machine's own network), the capture, the wall")
    story.tell("what would help: root, or `sysctl kernel.unprivileged_userns_clone=1`, or docker compose up")
    stage = Stage(plan.folder)
    try:
        ports = stage.open_chats(dict.fromkeys(CHATS, 0), ("--host", "127.0.0.1"))
        for name, port in PEOPLE.items():
            stage.invite(name, "127.0.0.1", ports["tls" if port == CHATS["tls"][0] else "clear"])
        time.sleep(plan.seconds)
        heard = spans(read_deliveries(plan.folder / "report" / "people"), None, None)["before"]
        story.tell(f"{heard['count']} messages were delivered, median delay {heard['median_ms']} ms")
        return 0
    finally:
        stage.close()
