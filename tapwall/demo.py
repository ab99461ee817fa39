"""`tapwall demo`: the lab's story without Docker, in network namespaces of one unprivileged user namespace.

In: a folder for captures and report, how long to stay. Out: the same services as docker-compose.yml starts, each host
a network namespace on a bridge of its own that nothing else can reach; story lines on stdout, the page on loopback.
Needs Linux with user namespaces (or root), `ip`, `unshare` and `nsenter`. Where those are refused people chat on
loopback without intruder and wall, and the first line says why.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOSTS = {
    "server": "10.77.0.2",
    "alice": "10.77.0.3",
    "bob": "10.77.0.4",
    "carol": "10.77.0.5",
    "intruder": "10.77.0.66",
}
PEOPLE = ("alice", "bob", "carol")
SCRIPTS = Path(__file__).parent / "lab" / "scripts"
STORY_S = 200  # two rounds of the intruder, the hold of the wall, a last look of the analyst


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
        return ["nsenter", "-t", str(self.holders[host]), "-n", "--"]

    def start(self, host: str, *words: str, quiet: bool = False) -> None:
        """Run a command of ours on `host`; `quiet` sends its stdout to a log in the folder."""
        out = (self.folder / f"{host}-{words[0]}.log").open("wb") if quiet else None
        try:
            self.running.append(subprocess.Popen([*self._on(host), *tapwall(*words)], stdout=out, stderr=out))
        finally:
            if out is not None:
                out.close()

    def close(self) -> None:
        """End what runs, gently first."""
        for process in reversed(self.running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 5
        for process in self.running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_namespace(pid: int) -> None:
    """Until `unshare` has really left our network namespace."""
    own = os.readlink("/proc/self/ns/net")
    for _ in range(500):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/net") != own:
                return
        time.sleep(0.01)
    raise TimeoutError("a network namespace did not appear within 5 s")


def inside(folder: Path, seconds: float, intruder: bool) -> None:
    """The whole story, in the namespace we are in now."""
    captures, report, state = folder / "captures", folder / "report", folder / "data"
    for path in (captures, report / "people", state):
        path.mkdir(parents=True, exist_ok=True)
    stage = Stage(folder)
    server = HOSTS["server"]
    try:
        stage.build()
        config = str(SCRIPTS / "chat.toml")
        stage.start("server", "chat", "serve", "--config", config, "--port", "1234", "--data", str(state), quiet=True)
        stage.start("server", "capture", "-i", "eth0", "-w", str(captures / "lab.pcapng"), quiet=True)
        for name in PEOPLE:
            log = str(report / "people" / f"{name}.jsonl")
            words = ("chat", "bot", str(SCRIPTS / f"{name}.toml"), "--host", server, "--no-tls", "--log", log)
            stage.start(name, *words, "--downloads", str(report / "people" / name), quiet=True)
        permit = [word for name in PEOPLE for word in ("--permit", HOSTS[name])]
        places = ("--captures", str(captures), "--report", str(report))
        stage.start("server", "lab", "analyst", *places, "--protect", server, *permit)
        if intruder:
            stage.start("server", "lab", "drop", quiet=True)
            stage.start("server", "lab", "wall", *places, "--hold", "60")
            stage.start(
                "intruder", "lab", "intruder", server, "--after", "15", "--pause", "20", "--report", str(report)
            )
        time.sleep(seconds)
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


def play(folder: Path, seconds: float, port: int, intruder: bool = True) -> int:
    """The story from outside: the page here, the rest in namespaces. Returns the exit code."""
    (folder / "report").mkdir(parents=True, exist_ok=True)
    why = refused()
    with page(folder, port) as address:
        print(f"the page: {address}   the report: {folder / 'report' / 'report.html'}", flush=True)
        if why is not None:
            print(
                f"no network namespaces here ({why}): people chat on loopback, without intruder, capture and wall",
                flush=True,
            )
            return _loopback(folder, seconds)
        words = [*tapwall("demo", "--inside", "--folder", str(folder), "--seconds", str(seconds))]
        words += [] if intruder else ["--quiet"]
        process = subprocess.Popen(["unshare", *_user(), "-n", *words])
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            raise


def _loopback(folder: Path, seconds: float) -> int:
    """People and server as plain processes."""
    people, state = folder / "report" / "people", folder / "data"
    people.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(
        tapwall("chat", "serve", "--port", "0", "--data", str(state)), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = server.stdout.readline().rsplit(":", 1)[-1].strip()
    running: list[subprocess.Popen[str]] = [server]
    try:
        for name in PEOPLE:
            words = (
                "chat",
                "bot",
                str(SCRIPTS / f"{name}.toml"),
                "--port",
                port,
                "--log",
                str(people / f"{name}.jsonl"),
            )
            running.append(subprocess.Popen(tapwall(*words, "--downloads", str(people / name)), text=True))
        time.sleep(seconds)
        return 0
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(10)
