"""Counts, mentions and people of a room, as the full-screen client keeps them."""

import pytest

from chat.events import Members, Message, Person, Presence
from chat.terminal.state import RoomState, mentions


def said(text: str, sender: str = "bob", seq: int = 1, room: str = "lobby", edits: int = 0) -> Message:
    return Message(room, seq, 0.0, sender, text, text, edits=edits)


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("ann: look", True), ("hi Ann!", True), ("@ann", True), ("(ann)", True), ("annoying", False), ("joann", False),
        ("ann-marie", False), ("", False),
    ],
)  # fmt: skip
def test_a_name_as_a_word_is_a_mention(text: str, called: bool) -> None:
    """In any case and with punctuation round it, but not inside another word."""
    assert mentions(text, "ann") is called


def test_unread_and_mentions_are_counted_while_looking_elsewhere() -> None:
    """Others' messages count, own ones and edits do not; looking at the room clears the counts."""
    room = RoomState("lobby")
    calls = [
        room.received(one, "ann", looking=False)
        for one in (said("hi"), said("ann!", seq=2), said("me", "ann", 3), said("x", seq=4, edits=1))
    ]

    assert calls == [False, True, False, False]
    assert (room.unread, room.mentions, room.read_seq) == (2, 1, 0)
    room.looked_at(4)
    assert (room.unread, room.mentions, room.read_seq) == (0, 0, 4)


def test_what_is_looked_at_is_read() -> None:
    """A message that comes while its room is on the screen calls nobody."""
    room = RoomState("lobby")

    assert not room.received(said("ann!", seq=7), "ann", looking=True)
    assert (room.unread, room.read_seq) == (0, 7)


def test_a_direct_message_always_calls() -> None:
    """Whatever it says; and the room is titled by the other's name."""
    room = RoomState("@ann+bob")

    assert room.received(said("hm", room=room.name), "ann", looking=False)
    assert (room.title("ann"), room.title("bob"), RoomState("den").title("ann")) == ("@bob", "@ann", "den")


def test_people_come_change_and_go() -> None:
    """The list follows presence, ranks first."""
    room = RoomState("den")
    room.listed(Members("den", 3, (Person("zoe", "owner"), Person("bob"), Person("ann"))))
    news = room.changed(
        Presence("den", 3, (Person("carl"), Person("zoe", "owner")), (Person("bob", "moderator"),), ("ann",))
    )

    assert [(one.name, one.role) for one in room.sorted_people()] == [
        ("zoe", "owner"),
        ("bob", "moderator"),
        ("carl", "member"),
    ]
    assert room.count == 3
    assert [one.name for one in news.joined] == ["carl"]  # zoe was there already
