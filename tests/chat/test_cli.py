"""The commands: help and example for each, results on stdout, one line and exit code 2 for errors, quick to start."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chat.cli import cli

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server as a user starts it; it says where it listens."""
    command = [sys.executable, "-m", "chat", "serve", "--port", "0", "--data", str(tmp_path_factory.mktemp("data"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:")
        yield int(line.rpartition(":")[2])
        server.terminate()


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One command in a process of its own, as a script would run it."""
    return subprocess.run(
        [sys.executable, "-m", "chat", *words], input=stdin, capture_output=True, text=True, cwd=ROOT, timeout=280
    )


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_and_an_example(name: str) -> None:
    """A first sentence that stands alone, an example, and a help text for each option."""
    command = cli.commands[name]
    assert command.help and "Example:" in command.help and command.get_short_help_str(100)
    assert all(option.help for option in command.params if isinstance(option, click.Option)), name
    assert CliRunner().invoke(cli, [name, "-h"]).exit_code == 0


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    """The group's help imports neither the full-screen library nor the codec's, nor asyncio, which takes as long as all else."""
    heavy = ("textual", "rich", "msgspec", "numpy", "PIL", "asyncio")
    code = f"import sys, chat.cli; sys.exit(any(name in sys.modules for name in {heavy}))"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_lines_and_json_over_a_pipe(port: int) -> None:
    """`join --plain` says what stdin says; `join --json` sees it in history; stdout holds nothing but JSON."""
    said = run("join", "--user", "ann", "--port", str(port), "--plain", stdin="hello from a pipe\n")
    seen = run("join", "--user", "bob", "--port", str(port), "--json", stdin='{"command": "history"}\n')

    assert said.returncode == 0 and "<ann> hello from a pipe" in said.stdout
    rows = [json.loads(line) for line in seen.stdout.splitlines()]
    history = next(row for row in rows if row["event"] == "history")
    assert "hello from a pipe" in [message["text"] for message in history["messages"]]


def test_send_text_and_file(port: int, tmp_path: Path) -> None:
    """Each is acknowledged by a line of JSON."""
    (tmp_path / "a.txt").write_text("file")
    done = run("send", "--user", "carl", "--port", str(port), "--file", str(tmp_path / "a.txt"), "text too")
    rows = [json.loads(line) for line in done.stdout.splitlines()]

    assert [row["event"] for row in rows] == ["sent", "file_sent"] and rows[1]["size"] == 4


def test_a_bot_plays(port: int, tmp_path: Path) -> None:
    """The script's user joins and speaks; its deliveries are logged."""
    (tmp_path / "s.toml").write_text('user = "robo"\n[[step]]\nsay = "beep"\n[[step]]\nexpect = "beep"\n')
    done = run("bot", str(tmp_path / "s.toml"), "--port", str(port), "--log", str(tmp_path / "log.jsonl"))

    assert done.returncode == 0, done.stderr
    assert "robo says: beep" in done.stdout and (tmp_path / "log.jsonl").exists()


def test_administration(port: int) -> None:
    """Rows for people and for programs; a refusal is exit code 2."""
    rooms = run("admin", "rooms", "--user", "dan", "--port", str(port), "--json")
    refused = run("admin", "kick", "--user", "dan", "--port", str(port), "--room", "lobby", "--target", "nobody")

    assert any(row["room"] == "lobby" for row in json.loads(rooms.stdout)["rows"])
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("join", "--plain", "--port", "1"),
        ("send", "--port", "1", "x"),
        ("bot", "nowhere.toml"),
        ("serve", "--config", "nowhere.toml"),
        ("serve", "--host", "0.0.0.0", "--port", "0", "--config", "nowhere.toml"),
        ("config", "nowhere.toml"),
        ("backup", "--data", "nowhere", "nowhere-else"),
        ("load", "--port", "1", "--clients", "2", "--senders", "1"),
        ("load", "--clients", "2", "--senders", "3"),
        ("send",),
    ],
)
def test_errors_are_one_line_and_exit_code_2(words: tuple[str, ...], tmp_path: Path) -> None:
    """No traceback; the last line says what is wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "chat", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LOGNAME": "me"},
        stdin=subprocess.DEVNULL,
        timeout=280,
    )

    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "Error: " in done.stderr.splitlines()[-1]


def test_errors_name_what_they_are_about(port: int, tmp_path: Path) -> None:
    """The address that is taken, the file that is not there, in the system's words; with --debug the traceback."""
    taken = run("serve", "--port", str(port), "--data", str(tmp_path / "a"))
    missing = run("config", "nowhere.toml")
    not_a_folder = run("serve", "--port", "0", "--data", str(ROOT / "README.md"))
    in_full = run("config", "nowhere.toml", "--debug")

    assert taken.stderr == f"Error: 127.0.0.1:{port}: Address already in use\n"
    assert missing.stderr == "Error: nowhere.toml: No such file or directory\n"
    assert not_a_folder.stderr == f"Error: {ROOT / 'README.md'}: File exists\n"
    assert in_full.returncode != 0 and "Traceback" in in_full.stderr


def test_who_reads_no_more_is_left_in_peace(port: int) -> None:
    """`| head -1`: no error when the reader of the output goes."""
    command = [sys.executable, "-m", "chat", "join", "--user", "hed", "--port", str(port), "--plain"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as joined:
        assert joined.stdin and joined.stdout and joined.stderr
        assert joined.stdout.readline().startswith("* connected")
        joined.stdout.close()
        joined.stdin.write("one\ntwo\nthree\n")
        joined.stdin.close()
        assert (joined.stderr.read(), joined.wait(280)) == ("", 0)


def test_a_server_serves_though_nobody_reads_where(tmp_path: Path) -> None:
    """Its standard output is closed before it is ready: it listens, and ends at SIGTERM as ever."""
    command = [sys.executable, "-m", "chat", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    config = tmp_path / "chat.toml"
    config.write_text("[metrics]\nport = 0\n")
    with subprocess.Popen(
        [*command, "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        assert server.stdout and server.stderr
        server.stdout.close()
        assert server.stderr.readline().startswith("metrics on port ")
        server.terminate()
        assert '"stopped"' in server.stderr.read()


def test_config_prints_what_it_reads(tmp_path: Path) -> None:
    """The printed configuration is a valid one, and checking it prints the same."""
    printed = run("config").stdout
    (tmp_path / "chat.toml").write_text(printed)

    assert run("config", str(tmp_path / "chat.toml")).stdout == printed
    assert "[server]" in printed


def test_certificate_account_backup_and_restore(tmp_path: Path) -> None:
    """An operator's first steps, with a data folder of one's own."""
    data, copy, new = tmp_path / "data", tmp_path / "copy", tmp_path / "new"
    first, second = run("cert", "--data", str(data), "--name", "chat.example"), run("cert", "--data", str(data))
    made = run("account", "--data", str(data), "--operator", "--secret-file", "-", "anna", stdin="a long password\n")

    assert first.stdout == second.stdout and len(first.stdout.strip()) == 95  # 32 pairs and 31 colons
    assert made.returncode == 0, made.stderr
    assert "has a certificate" in run("cert", "--data", str(data), "--name", "other.example").stderr
    assert run("account", "--data", str(data), "--secret-file", "-", "anna", stdin="a long password\n").returncode == 2
    assert run("backup", "--data", str(data), str(copy)).returncode == 0
    assert run("restore", "--data", str(new), str(copy)).returncode == 0
    assert (new / "chat.sqlite").exists()


def test_the_dissector_is_printed_as_it_is() -> None:
    """Byte for byte the file that is tested."""
    assert run("dissector").stdout == (ROOT / "chat" / "dissector" / "tw.lua").read_text()


def test_load_against_a_server(port: int) -> None:
    """The report is one JSON object, with the server's process found by its port."""
    done = run(
        "load", "--port", str(port), "--clients", "5", "--senders", "1", "--rate", "10", "--seconds", "1", "--json"
    )
    report = json.loads(done.stdout)

    assert report["missing"] == 0 and report["server"]["cpu_s"] >= 0
