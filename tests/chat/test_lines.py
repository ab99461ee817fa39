"""Every event reads as a line, in words that need no manual."""

import json

import pytest

from chat import events
from chat.events import File, Message, Person
from chat.lines import event_line, size_text

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
    "direct": (events.Presence("@bob+me", 2, (Person("bob"),), (), ()), "* bob came into @bob"),
    "oneself": (Message("@me+me", 3, 0.0, "me", "note", "note"), "@me <me> note"),
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


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")],
)
def test_sizes(size: int, text: str) -> None:
    """Sizes in binary units."""
    assert size_text(size) == text
