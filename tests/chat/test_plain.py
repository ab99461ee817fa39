"""The line client: lines in, lines out; JSON for programs; nothing of a peer acts on the terminal."""

import asyncio
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from live_chat import live_server

from chat.client import Client
from chat.plain import WAITING_LINES, run_lines
from chat.slash import Desk


def talk(folder: Path, lines: str, as_json: bool) -> str:
    """What a session prints that types these lines, after somebody else said something nasty."""

    async def scene() -> str:
        out = io.StringIO()
        async with (
            live_server(folder) as address,
            Client("bob", address, ["lobby"]) as bob,
            Client("ann", address, ["lobby"]) as ann,
        ):
            await bob.send("lobby", "evil \x1b[2J\x9b2J \u202e")
            await run_lines(Desk(ann, "lobby", folder / "in"), io.StringIO(lines), out, as_json)
        return out.getvalue()

    return asyncio.run(asyncio.wait_for(scene(), 280))


def test_people_read_lines(tmp_path: Path) -> None:
    """Messages, answers and errors are lines; the end of the input ends the session when all is said."""
    printed = talk(tmp_path, "hello\n/history\n/nonsense\n\nlast words\n", as_json=False)

    assert "lobby 2  <ann> hello" in printed
    assert "! /nonsense: no such command" in printed
    assert "\x1b" not in printed and "\x9b" not in printed and "\u202e" not in printed
    assert "‹ESC›[2J" in printed


def test_programs_read_json(tmp_path: Path) -> None:
    """Every line is one JSON object; what was said, the acknowledgement and the error have their documented keys."""
    lines = 'hello\n{"command": "say", "text": "again", "room": "lobby"}\n{"command": "nonsense"}\n/history 5\n'
    printed = talk(tmp_path, lines, as_json=True)
    rows: list[dict[str, Any]] = [json.loads(line) for line in printed.splitlines()]
    by_event = {row["event"]: row for row in rows}

    assert [row["seq"] for row in rows if row["event"] == "sent"] == [2, 3]
    assert {"room", "seq", "from", "text", "time"} <= by_event["history"]["messages"][0].keys()
    assert by_event["error"]["line"] == '{"command": "nonsense"}'
    assert by_event["joined"]["room"] == "lobby" and by_event["connected"]["user"] == "ann"
    assert "\x1b" not in printed and "\\u001b" not in printed


def test_quit_ends_the_session(tmp_path: Path) -> None:
    """After /quit nothing more is done."""
    assert "never said" not in talk(tmp_path, "/quit\nnever said\n", as_json=False)


def test_input_after_the_end_is_left_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines than are read ahead wait when the session ends: their reader ends as well, and raises nothing."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    talk(tmp_path, "/quit\n" + "never said\n" * 3 * WAITING_LINES, as_json=False)
    for thread in threading.enumerate():
        if thread.name == "lines":
            thread.join(60)
            assert not thread.is_alive()

    assert raised == []
