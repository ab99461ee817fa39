"""chat.fanout: one write a member a flush, exact replay and gaps; against a slow obvious twin."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.fanout import Fanout, pause_s


class Member:
    """Collects what is written; full while `room` bytes are used up."""

    def __init__(self, fanout: Fanout, numbers: list[int], room: int = 1 << 30) -> None:
        self.fanout, self.numbers, self.space = fanout, numbers, room
        self.lags: dict[int, int] | None = None
        self.data = b""
        self.writes = 0
        self.buffered = 0
        self.gaps: list[tuple[int, int, int]] = []

    def write(self, data: bytes) -> None:
        self.data += data
        self.writes += 1
        self.buffered += len(data)
        if self.buffered > self.space and self.lags is None:
            self.fanout.pause(self, self.numbers)

    def read(self) -> None:
        self.buffered = 0
        lags, self.lags = self.lags, None
        for number, after in (lags or {}).items():
            missing = self.fanout.attach(self, number, after)
            if missing:
                self.gaps.append((number, *missing))
                self.fanout.send(self, f"<{number}:gap {missing[0]}-{missing[1]}>".encode())
                assert self.fanout.attach(self, number, missing[1]) is None


def frame(number: int, seq: int) -> bytes:
    return f"<{number}:{seq}>".encode()


def test_a_tick_is_one_write_a_member() -> None:
    """Many messages, several rooms, private answers: one write each."""
    scheduled: list[int] = []
    fanout = Fanout(lambda: scheduled.append(1), 1 << 20)
    members = [Member(fanout, [1, 2]) for _ in range(3)]
    for number in (1, 2):
        fanout.open(number, str(number), 0)
        for member in members:
            fanout.attach(member, number, 0)
    for seq in range(1, 6):
        fanout.post(1, frame(1, seq), seq)
    fanout.post(2, frame(2, 1), 1)
    fanout.send(members[0], b"<private>")

    fanout.flush()

    assert [member.writes for member in members] == [1, 1, 1]
    assert members[0].data == b"<private>" + b"".join(frame(1, i) for i in range(1, 6)) + frame(2, 1)
    assert scheduled == [1]
    assert (fanout.deliveries, fanout.writes) == (18, 3)


@pytest.mark.parametrize(
    ("took", "since", "wait"),
    [(0.0, 0.0, 0.0), (0.0003, 0.0, 0.0), (0.002, 0.0, 0.002), (0.002, 0.001, 0.001), (0.002, 0.0018, 0.0), (0.002, 5.0, 0.0), (3.0, 0.0, 0.02)],
)  # fmt: skip
def test_flushing_gets_half_of_the_time_of_a_busy_server(took: float, since: float, wait: float) -> None:
    """No pause when quiet, as long as the last flush when busy, never so long that a person would notice."""
    assert pause_s(100.0, took, 100.0 + since) == pytest.approx(wait, abs=1e-9)


def test_who_joins_within_a_tick_gets_nothing_twice() -> None:
    """The frames before it are flushed first; what is replayed is exactly what it lacks."""
    fanout = Fanout(lambda: None, 1 << 20)
    fanout.open(1, "1", 0)
    old, new = Member(fanout, [1]), Member(fanout, [1])
    fanout.attach(old, 1, 0)
    fanout.post(1, frame(1, 1), 1)
    fanout.post(1, frame(1, 2), 2)

    fanout.attach(new, 1, 1)
    fanout.post(1, frame(1, 3), 3)
    fanout.flush()

    assert old.data == b"<1:1><1:2><1:3>"
    assert new.data == b"<1:2><1:3>"


def test_a_number_given_to_another_room_carries_nothing_over() -> None:
    """Ring and members are the room's, not the number's."""
    fanout = Fanout(lambda: None, 1 << 20)
    fanout.open(1, "old", 0)
    member = Member(fanout, [1])
    fanout.attach(member, 1, 0)
    fanout.post(1, b"<secret>", 1)
    fanout.close(1)
    fanout.open(1, "new", 0)
    other = Member(fanout, [1])

    fanout.attach(other, 1, 0)
    fanout.post(1, b"<x>", 1)
    fanout.flush()

    assert (member.data, other.data) == (b"<secret>", b"<x>")


def test_a_gone_member_is_not_written_to() -> None:
    """Not by a flush under way, not by its private frames."""
    fanout = Fanout(lambda: None, 1 << 20)
    fanout.open(1, "1", 0)
    member = Member(fanout, [1])
    fanout.attach(member, 1, 0)
    fanout.post(1, frame(1, 1), 1)
    fanout.send(member, b"<p>")

    fanout.forget(member, [1])
    fanout.flush()

    assert member.data == b""


@given(st.integers(0, 2**32), st.integers(20, 400), st.integers(10, 300))
def test_every_member_has_each_seq_once_in_order_or_in_a_gap(seed: int, ring: int, space: int) -> None:
    """Random posts, joins, leaves, slow reading over three rooms: what came and what was told missing is everything."""
    rng = random.Random(seed)
    fanout = Fanout(lambda: None, ring)
    seqs = {1: 0, 2: 0, 3: 0}
    for number in seqs:
        fanout.open(number, str(number), 0)
    members = [Member(fanout, [], space if rng.random() < 0.6 else 1 << 30) for _ in range(4)]
    begun: dict[tuple[Member, int], int] = {}
    for _ in range(150):
        act, member, number = rng.random(), rng.choice(members), rng.randint(1, 3)
        if act < 0.5:
            seqs[number] += 1
            fanout.post(number, frame(number, seqs[number]), seqs[number])
        elif act < 0.7:
            fanout.flush()
        elif act < 0.85:
            member.read()
        elif (member, number) not in begun:
            begun[member, number] = seqs[number]
            member.numbers.append(number)
            assert fanout.attach(member, number, seqs[number]) is None
    for member in members * 3:
        member.space = 1 << 30
        fanout.flush()
        member.read()
    fanout.flush()

    for (member, number), first in begun.items():
        got: list[int] = []
        for text in member.data.decode().split("<")[1:]:
            room, _, what = text[:-1].partition(":")
            if int(room) == number and what.startswith("gap "):
                low, high = map(int, what[4:].split("-"))
                got += range(low, high + 1)
            elif int(room) == number:
                got.append(int(what))
        assert got == list(range(first + 1, seqs[number] + 1))
