"""Whatever a connection duplicates, drops or delays, the caller gets each message once and in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import cursor
from chat.cursor import Cursor, Lost
from chat.wire import Msg


def msg(seq: int) -> Msg:
    return Msg("lobby", seq, 1_700_000_000_000 + seq, "alice", f"text {seq}")


def seqs(out: list[Msg] | list[Msg | Lost]) -> list[int | tuple[int, int]]:
    """Sequence numbers, and (first, last) for what is lost."""
    return [one.seq if isinstance(one, Msg) else (one.first, one.last) for one in out]


def test_messages_in_order_pass_through() -> None:
    """The normal case hands over each message as it comes."""
    room = Cursor(5)

    assert [seqs(room.live(msg(seq))) for seq in (6, 7, 8)] == [[6], [7], [8]]
    assert not room.behind


def test_duplicates_are_dropped() -> None:
    """A message that was handed over, or is older than the beginning, is not handed over again."""
    room = Cursor(5)
    room.live(msg(6))

    assert [seqs(room.live(msg(seq))) for seq in (6, 5, 1)] == [[], [], []]


def test_a_hole_waits_for_what_is_missing() -> None:
    """Later messages are kept until the missing one comes, live or from history."""
    room = Cursor(0)

    assert seqs(room.live(msg(2))) == [] and seqs(room.live(msg(3))) == [] and room.behind
    assert seqs(room.live(msg(1))) == [1, 2, 3]
    assert seqs(room.live(msg(6))) == []
    assert seqs(room.page([msg(4), msg(5)], False, 6)) == [4, 5, 6]
    assert not room.behind


def test_what_history_lacks_is_said_once() -> None:
    """Messages past retention are announced as lost, and the rest goes on."""
    room = Cursor(0)
    room.note(10)

    assert seqs(room.page([msg(4), msg(5), msg(7)], False, 10)) == [(1, 3), 4, 5, (6, 6), 7, (8, 10)]
    assert not room.behind


def test_a_message_on_its_way_is_not_lost() -> None:
    """What became known after the page was asked for is not missing from it."""
    room = Cursor(0)
    room.note(2)
    asked = room.known
    room.note(3)

    assert seqs(room.page([msg(1), msg(2)], False, asked)) == [1, 2]
    assert room.behind
    assert seqs(room.live(msg(3))) == [3]


def test_an_unfinished_page_loses_nothing() -> None:
    """With more to come, what is not in the page is asked for again."""
    room = Cursor(0)
    room.note(9)

    assert seqs(room.page([msg(1), msg(2)], True, 9)) == [1, 2]
    assert room.behind and room.last == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the cap messages behind a hole are forgotten, remembered as existing, and fetched again."""
    monkeypatch.setattr(cursor, "HELD", 2)
    room = Cursor(0)
    for seq in (2, 3, 4, 5):
        room.live(msg(seq))

    assert seqs(room.live(msg(1))) == [1, 2, 3]
    assert room.behind and room.known == 5
    assert seqs(room.page([msg(4), msg(5)], False, 5)) == [4, 5]


def test_a_restored_server_begins_again() -> None:
    """After a restore from a backup lower numbers come again; they are new messages."""
    room = Cursor(90)
    room.restart(40)

    assert seqs(room.live(msg(41))) == [41]


@given(st.permutations(list(range(1, 13))), st.lists(st.integers(1, 12)), st.sets(st.integers(0, 11)))
def test_any_order_with_duplicates_comes_out_once_and_in_order(
    order: list[int], again: list[int], ask_at: set[int]
) -> None:
    """For every arrival order, with repeats and with history asked at any time, the output is 1..12."""
    room, out, seen = Cursor(0), [], set[int]()
    for step, seq in enumerate([*order, *again]):
        seen.add(seq)
        out += room.live(msg(seq))
        if step in ask_at:
            known = room.known
            out += room.page([msg(n) for n in range(room.last + 1, known + 1)], False, known)

    assert [one.seq for one in out if isinstance(one, Msg)] == list(range(1, 13))
    assert all(isinstance(one, Msg) for one in out)
