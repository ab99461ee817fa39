"""chat.history: writing, paging, searching, the same in SQLite and in memory."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_desk import Desk, fates, post

from chat import history, wire
from chat.effects import Post
from chat.errors import Refusal

DAY_MS = 24 * 3600 * 1000


@pytest.fixture(params=["sqlite", "memory"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "data" if request.param == "sqlite" else None)
    yield made
    if made.memory is None:
        made.store.stop()


def test_each_room_counts_for_itself_without_holes(desk: Desk) -> None:
    """Batches of any size, rooms mixed."""
    many = desk.write(*[post(f"a{i}", room=("lobby", "two")[i % 2]) for i in range(150)])

    assert [each.seq for each in many if each.post.room == "lobby"] == list(range(1, 76))
    assert [each.seq for each in many if each.post.room == "two"] == list(range(1, 76))


def test_a_repeated_id_is_the_same_message(desk: Desk) -> None:
    """In the same batch, in a later one, beside new ones; another sender's same id is another message."""
    assert fates(desk.write(post("a"), post("a"), post("b"))) == [(1, False, ""), (1, True, ""), (2, False, "")]
    assert fates(desk.write(post("c"), post("b"), post("a"))) == [(3, False, ""), (2, True, ""), (1, True, "")]
    assert fates(desk.write(post("a", sender="bob"))) == [(4, False, "")]
    assert desk.page()[0] == [1, 2, 3, 4]


def test_after_a_day_an_id_may_be_used_again(tmp_path: Path) -> None:
    """The promise is 24 hours."""
    desk = Desk(tmp_path)
    desk.write(post("a"), ts=1000)

    assert fates(desk.write(post("a"), ts=1000 + DAY_MS)) == [(2, False, "")]
    desk.store.stop()


PAGES = [
    ({}, ([6, 7, 8, 9, 10], True)),
    ({"before": 6}, ([1, 2, 3, 4, 5], False)),
    ({"before": 4}, ([1, 2, 3], False)),
    ({"before": 1}, ([], False)),
    ({"after": 0}, ([1, 2, 3, 4, 5], True)),
    ({"after": 7}, ([8, 9, 10], False)),
    ({"after": 99}, ([], False)),
    ({"after": 2**53 - 1}, ([], False)),
    ({"before": 2**53 - 1}, ([6, 7, 8, 9, 10], True)),
]


@pytest.mark.parametrize(("ask", "expected"), PAGES)
def test_pages(desk: Desk, ask: dict[str, int], expected: tuple[list[int], bool]) -> None:
    """Before, after, the latest; oldest first; whether there is more."""
    desk.write(*[post(f"a{i}") for i in range(10)])

    assert desk.page(limit=5, **ask) == expected


def test_pages_are_cut_by_bytes_and_by_the_floor(desk: Desk) -> None:
    """A page fits into a frame; a guest sees nothing below its floor."""
    desk.write(*[post(f"a{i}", "x" * 1000) for i in range(10)])

    assert desk.page(size=5000, after=0) == ([1, 2], True)
    assert desk.page(floor=7) == ([8, 9, 10], False)
    assert desk.page(floor=7, after=2) == ([8, 9, 10], False)
    assert desk.page(room="nowhere") == ([], False)


def test_edits_and_deletions(desk: Desk) -> None:
    """The target wears them; they are messages themselves; deletion takes all texts; only one's own, or by force."""
    desk.write(post("a", "one"), post("b", "two"))
    changed = desk.write(
        post("c", "uno", edits=1),
        post("d", "dos", sender="bob", edits=2),
        post("e", " ", edits=9),
        post("f", " ", edits=3),
        post("c", "uno", edits=1),
    )
    assert fates(changed) == [
        (3, False, ""),
        (0, False, "forbidden"),
        (0, False, "no-message"),
        (0, False, "no-message"),
        (3, True, ""),
    ]

    deleted = desk.write(Post(1, "lobby", "bob", "g", "", deletes=1, force=True), post("h", "x", edits=1))

    assert fates(deleted) == [(4, False, ""), (0, False, "no-message")]
    assert [(m.seq, m.text, m.edited, m.deleted, m.edits, m.deletes) for m in desk.messages()] == [
        (1, "", True, True, 0, 0),
        (2, "two", False, False, 0, 0),
        (3, "", False, True, 1, 0),
        (4, "", False, False, 0, 1),
    ]
    assert desk.search("uno") == []


def test_search(desk: Desk) -> None:
    """Words, from:, in:, since:, rooms and floors; the latest, oldest first; no query language leaks through."""
    desk.write(post("a", "Hello big world"), post("b", 'say "hello" OR (NOT)', sender="bob"), post("c", "bye"))
    desk.write(post("d", "hello there", room="two"), ts=1_800_000_000_000)

    assert desk.search("hello") == [("lobby", 1), ("lobby", 2)]
    assert desk.search("HELLO world") == [("lobby", 1)]
    assert desk.search("hello from:bob") == [("lobby", 2)]
    assert desk.search('"OR" (NOT)') == [("lobby", 2)]
    assert desk.search("from:ann") == [("lobby", 1), ("lobby", 3)]
    assert desk.search("hello since:2026-01-01", lobby=0, two=0) == [("two", 1)]
    assert desk.search("hello", lobby=1) == [("lobby", 2)]
    assert desk.search("hello", limit=1, lobby=0, two=0) == [("two", 1)]
    desk.write(post("e", "hallo", edits=1))
    assert desk.search("hello", lobby=0) == [("lobby", 2)]
    assert desk.search("hallo world") == []


@pytest.mark.parametrize("text", ["", "since:yesterday", " ".join("abcdefghijklm"), "in:lobby"])
def test_a_bad_query_is_refused(text: str) -> None:
    """Nothing to look for, no date, too many words."""
    with pytest.raises(Refusal) as no:
        history.parse_query(text)
    assert no.value.code == "bad-query"


def test_export_is_a_line_of_json() -> None:
    """One message a line, whatever it holds."""
    line = history.as_json_line(wire.Msg("lobby", 1, 2, "ann", "a\nb\x1b"))

    assert "\n" not in line and json.loads(line)["text"] == "a\nb\x1b"
