"""chat.posting: what is held, and when it is let go, between a SEND and the flush; a server of stand-ins, no loop."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chat import config, wire
from chat.connection import BUSY, PAUSE, UNACKED
from chat.effects import Post, Shown
from chat.history import Stored
from chat.posting import TICK_BYTES, Posting


@dataclass
class Conn:
    """A connection that notes why it is held."""

    held: int = 0
    unacked: int = 0
    gone: bool = False

    def hold(self, reason: int) -> None:
        self.held |= reason

    def let(self, reason: int) -> None:
        self.held &= ~reason


@dataclass
class Stage:
    """A server as Posting sees it. `jobs`: what waits for the loop, `batches`: what the store was given."""

    durable: bool = True
    limits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = config.load(None, {"history.durable": self.durable, "server.data": str(Path("unused"))})
        self.jobs: list[Callable[[], None]] = []
        self.batches: list[list[Post]] = []
        self.sent: list[tuple[int, wire.Body]] = []
        self.shown: list[int] = []
        self.conn = Conn()
        fanout = SimpleNamespace(send=lambda conn, frame: self.sent.append((1, frame)), post=lambda number, frame, seq: self.shown.append(seq), waiting_bytes=0)  # fmt: skip
        self.server: Any = SimpleNamespace(
            config=replace(given, limits=replace(given.limits, **self.limits)), loop=SimpleNamespace(call_soon=self.jobs.append),
            store=SimpleNamespace(submit=lambda posts, ts, done: self.batches.append(posts)), conns={1: self.conn}, pausing=False, fanout=fanout,
            hub=SimpleNamespace(committed=lambda post, seq, ts, again: Shown(post.conn, wire.Ack(post.id, post.room, seq, ts), 1, wire.Msg(post.room, seq, ts, post.sender))),
            counters=SimpleNamespace(messages=0), reply=lambda effect: self.sent.append((effect.conn, effect.body)),
        )  # fmt: skip
        self.posting = Posting(self.server)

    def say(self, *ids: str) -> None:
        for one in ids:
            self.posting.post(Post(1, "lobby", "ann", one, "x"))

    def run(self) -> None:
        jobs, self.jobs[:] = list(self.jobs), []
        for job in jobs:
            job()

    def commit(self) -> None:
        """The store answers all it has."""
        for posts in self.batches:
            self.posting._stored([Stored(post, seq, 1) for seq, post in enumerate(posts, 1)])
        self.batches.clear()


def test_a_tick_is_one_batch_and_nothing_is_shown_before_the_answer() -> None:
    """Three messages of a tick go to the store together; ACK and MSG come when it has answered."""
    stage = Stage()
    stage.say("a", "b", "c")
    stage.run()
    assert [len(batch) for batch in stage.batches] == [3] and (stage.sent, stage.shown) == ([], [])
    stage.commit()

    assert len(stage.sent) == 3 and stage.shown == [1, 2, 3]
    assert (stage.posting.unstored, stage.conn.unacked) == (0, 0)


def test_without_a_disk_the_same_way_leads_through_memory() -> None:
    """Within the tick, in order."""
    stage = Stage(durable=False)
    stage.say("a", "b")
    assert stage.shown == []
    stage.run()

    assert stage.shown == [1, 2] and stage.batches == []


def test_who_has_too_much_under_way_is_not_read_until_half_of_it_is_acknowledged() -> None:
    """`unacked` messages stop the reading; below half of them it goes on."""
    stage = Stage(limits={"unacked": 4})
    stage.say("a", "b", "c")
    assert not stage.conn.held
    stage.say("d")
    assert stage.conn.held == UNACKED
    stage.run()
    stage.commit()

    assert not stage.conn.held


def test_a_disk_that_is_behind_is_said() -> None:
    """Beyond `unstored` a SEND is refused with the time to come back, and takes no place."""
    stage = Stage(limits={"unstored": 2})
    stage.say("a", "b", "c")

    ((conn, body),) = stage.sent
    assert isinstance(body, wire.Error)
    assert (conn, body.code, body.ref, body.retry_ms) == (1, "flood", "c", 1000)
    assert stage.posting.unstored == 2


@pytest.mark.parametrize("pausing", [True, False])
def test_while_a_flush_is_paused_its_senders_are_not_read(pausing: bool) -> None:
    """What they send meanwhile is read in one piece afterwards; on a quiet server nobody is held."""
    stage = Stage()
    stage.server.pausing = pausing
    stage.say("a")
    assert stage.conn.held == (PAUSE if pausing else 0)
    stage.posting.flushed()

    assert not stage.conn.held


def test_more_than_a_flush_should_hold_stops_its_senders() -> None:
    """Beyond TICK_BYTES until the flush."""
    stage = Stage()
    stage.say("a")
    stage.run()
    stage.server.fanout.waiting_bytes = TICK_BYTES + 1
    stage.commit()
    assert stage.conn.held == BUSY
    stage.posting.flushed()

    assert not stage.conn.held


def test_a_refusal_of_the_store_goes_to_the_sender_alone() -> None:
    """ERROR with the id; nothing is shown."""
    stage = Stage()
    stage.say("a")
    stage.run()
    (posts,) = stage.batches
    stage.posting._stored([Stored(posts[0], 0, 1, code="store", text="no")])

    assert stage.sent == [(1, wire.Error("store", "no", ref="a"))] and stage.shown == []
