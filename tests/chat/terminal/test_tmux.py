"""Two people at real terminals (tmux): talk, a picture, a file, and a server that is killed and comes back in the middle."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent.parent
PATIENCE_S = 200.0

pytestmark = [
    pytest.mark.tmux,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Terminals:
    """A tmux server of our own; each person is a session of 100 x 30 cells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = f"tapwall-test-{os.getpid()}"

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.socket, "-f", "/dev/null", *words], capture_output=True, text=True, timeout=200
        )
        return done.stdout

    def open(self, user: str, port: int) -> None:
        """Somebody starts the full-screen client."""
        command = shlex.join(
            [
                sys.executable,
                "-m",
                "chat",
                "join",
                "--user",
                user,
                "--port",
                str(port),
                "--downloads",
                str(self.folder / user),
            ]
        )
        self.tmux(
            "new-session",
            "-d",
            "-s",
            user,
            "-x",
            "100",
            "-y",
            "30",
            f"cd {shlex.quote(str(ROOT))} && {command}; echo left with $?; sleep 30",
        )

    def type(self, user: str, *keys: str) -> None:
        self.tmux("send-keys", "-t", user, *keys)

    def screen(self, user: str, colours: bool = False) -> str:
        return self.tmux("capture-pane", "-p", "-t", user, *(["-e"] if colours else []))

    def sees(self, user: str, text: str) -> str:
        """Wait for a text on somebody's screen."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            shown = self.screen(user)
            if text in shown:
                return shown
            time.sleep(0.1)
        raise AssertionError(f"{user} does not see {text!r}:\n{self.screen(user)}")


class Server:
    """A server as a user starts it."""

    def __init__(self, data: Path) -> None:
        self.data, self.port = data, 0
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        command = [sys.executable, "-m", "chat", "serve", "--port", str(self.port), "--data", str(self.data)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(200)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """Terminals that are closed again."""
    opened = Terminals(tmp_path)
    try:
        yield opened
    finally:
        opened.tmux("kill-server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    running = Server(tmp_path / "data")
    running.start()
    try:
        yield running
    finally:
        running.end(signal.SIGTERM)


def test_two_people_chat_through_a_restart(terminals: Terminals, server: Server, tmp_path: Path) -> None:
    """Words, a picture and a file arrive; the restart is shown and loses nothing; hostile text is only text; both can leave."""
    Image.new("RGB", (80, 60), (10, 120, 240)).save(tmp_path / "blue.png")
    (tmp_path / "notes.txt").write_text("notes " * 1000)
    for user in ("alice", "bob"):
        terminals.open(user, server.port)
        terminals.sees(user, f"{user} on tapwall")

    terminals.type("alice", "-l", "hi bob [bold]x[/bold]")
    terminals.type("alice", "Enter")
    terminals.sees("bob", "hi bob [bold]x[/bold]")
    terminals.type("bob", f"/send {tmp_path}/bl", "Tab", "Enter")
    terminals.sees("alice", "▣ blue.png")
    terminals.type("alice", "F6")
    terminals.sees("alice", "saved")
    terminals.sees("alice", "▀▀▀▀▀▀▀▀")
    assert (tmp_path / "alice" / "blue.png").read_bytes() == (tmp_path / "blue.png").read_bytes()

    server.end(signal.SIGKILL)
    terminals.sees("alice", "again in")
    terminals.type("alice", "typed in the dark", "Enter")
    server.start()
    terminals.sees("bob", "typed in the dark")
    terminals.sees("alice", "alice on tapwall")

    terminals.type("alice", f"/send {tmp_path}/notes.txt", "Enter")
    terminals.sees("bob", "▣ notes.txt")
    terminals.type("bob", "/get", "Enter")
    terminals.sees("bob", "saved")
    assert (tmp_path / "bob" / "notes.txt").read_text() == "notes " * 1000

    for user in ("alice", "bob"):
        terminals.type(user, "C-q")
        terminals.sees(user, "left with 0")


def test_ctrl_z_and_a_signal_give_the_terminal_back(terminals: Terminals, server: Server) -> None:
    """Ctrl+Z shows the shell, fg the chat with what was said meanwhile; SIGTERM leaves the screen as it was."""
    terminals.tmux(
        "new-session", "-d", "-s", "ann", "-x", "100", "-y", "30", "env PS1='shell> ' bash --norc --noprofile"
    )
    chat = f"{shlex.quote(sys.executable)} -m chat join --user ann --port {server.port}"
    terminals.type("ann", f"cd {shlex.quote(str(ROOT))} && clear && {chat}; echo left with $?", "Enter")
    terminals.sees("ann", "ann on tapwall")

    terminals.type("ann", "C-z")
    assert "ann on tapwall" not in terminals.sees("ann", "Stopped")
    subprocess.run(
        [sys.executable, "-m", "chat", "send", "--user", "bob", "--port", str(server.port), "said meanwhile"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    terminals.type("ann", "fg", "Enter")
    terminals.sees("ann", "said meanwhile")
    terminals.sees("ann", "f1 help")

    pid = terminals.tmux("display-message", "-p", "-t", "ann", "#{pane_pid}").strip()
    child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    os.kill(int(child), signal.SIGTERM)
    assert "ann on tapwall" not in terminals.sees("ann", "shell>")
    assert terminals.tmux("display-message", "-p", "-t", "ann", "#{alternate_on} #{mouse_any_flag}").strip() == "0 0"


def test_escape_sequences_of_a_peer_do_nothing(terminals: Terminals, server: Server) -> None:
    """A message that would clear the screen and rename the window is shown instead, and the title stays."""
    terminals.open("alice", server.port)
    terminals.sees("alice", "alice on tapwall")
    before = terminals.tmux("display-message", "-p", "-t", "alice", "#{pane_title}")
    evil = "see: \x1b]0;owned\x07\x1b[2J\x1b]52;c;eA==\x07 end"
    subprocess.run(
        [sys.executable, "-m", "chat", "send", "--user", "eve", "--port", str(server.port), evil],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shown = terminals.sees("alice", "‹BEL› end")

    assert "‹ESC›]0;owned‹BEL›‹ESC›[2J‹ESC›]52" in shown.replace("\n", "") and "alice on tapwall" in shown
    assert terminals.tmux("display-message", "-p", "-t", "alice", "#{pane_title}") == before
