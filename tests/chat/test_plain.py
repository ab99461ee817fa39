"""The line client: lines in, lines out; JSON for programs; nothing of a peer acts on the terminal."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from live_chat import live_server

from chat import events
from chat.client import Client
from chat.events import File, Message, Person
from chat.plain import event_line, run_lines
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

    return asyncio.run(asyncio.wait_for(scene(), 30))


def test_people_read_lines(tmp_path: Path) -> None:
    """Messages, answers and errors are lines; the end of the input ends the session when all is said."""
    printed = talk(tmp_path, "hello\n/history\n/nonsense\n\nlast words\n", as_json=False)

    assert "lobby 2  <ann> hello" in printed
    assert "! /nonsense: no such command" in printed
    assert "\x1b" not in printed and "\x9b" not in printed and "\u202e" not in printed
    assert "␛[2J" in printed


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


FILE = File("ab" * 16, "cat.png", 2048, "0" * 64, "image/png", "cat.png")
LINES = {
    "message": (Message("lobby", 3, 0.0, "bob", "hi", "hi"), "lobby <bob> hi"),
    "file": (Message("lobby", 3, 0.0, "bob", "", "", file=FILE), "lobby bob sent cat.png (2.0 KiB)"),
    "edit": (Message("lobby", 4, 0.0, "bob", "hi!", "hi!", edits=3), "lobby <bob> hi! (edit of 3)"),
    "deletion": (Message("lobby", 5, 0.0, "bob", "", "", deletes=3), "lobby bob took message 3 back"),
    "joined": (events.Joined("den", 0, "owner", "plans", 1, False, False), "* you are in den with 1 person: plans"),
    "joined again": (events.Joined("den", 0, "owner", "plans", 1, False, False, True), ""),
    "left": (events.Left("den", "kicked", "enough"), "* you left den (kicked: enough)"),
    "members": (events.Members("den", 2, (Person("ann", "owner"), Person("bob"))), "* den: ann(owner) bob"),
    "many members": (events.Members("den", 900, ()), "* den: 900 people"),
    "presence": (
        events.Presence("den", 2, (Person("bob"), Person("me")), (), ("carl",)),
        "* bob came into den\n* carl left den",
    ),
    "offer": (events.FileOffered("den", "bob", FILE), "* bob is sending cat.png (2.0 KiB) to den; /get"),
    "gap": (events.Gap("den", 3, 9, "retention"), "* den: messages 3 to 9 are gone (retention)"),
    "topic": (events.Notice("topic", "plans", "den", "bob", ""), "* bob set the topic of den: plans"),
    "role": (events.Notice("role", "moderator", "den", "bob", "ann"), "* bob made ann moderator in den"),
    "ban": (events.Notice("ban", "spam", "den", "bob", "eve"), "* eve was banned in den by bob: spam"),
    "notice": (events.Notice("server", "disk is full", "", "", ""), "* disk is full"),
    "failure": (events.Failure("flood", "too fast"), "! flood: too fast"),
    "connected": (events.Connected("me", "tapwall", True, True), "* connected again to tapwall as me"),
    "lost": (events.Disconnected("gone", 1.25), "* connection lost: gone, trying again in 1.2 s"),
    "lost for good": (events.Disconnected("banned", None), "* connection lost: banned"),
}


@pytest.mark.parametrize(("event", "expected"), LINES.values(), ids=LINES.keys())
def test_every_event_has_a_line_and_json(event: events.Event, expected: str) -> None:
    """Each event reads as one line (or none), and as JSON objects that name themselves."""
    assert event_line(event, "me").endswith(expected)
    assert all(json.loads(json.dumps(row))["event"] for row in events.as_json(event))
