"""The history checker finds every kind of broken promise, and a server that keeps them passes while it is killed."""

import asyncio
from dataclasses import replace

import pytest

from chat.events import Message
from chat.trial.check import CheckPlan, Seen, Sent, compare, run_check, summary

HISTORY = [Message("check", seq, float(seq), "w0", f"w0 {seq}", f"w0 {seq}", id=f"i{seq}") for seq in range(1, 6)]


def right() -> tuple[list[Message], list[Seen], dict[str, Sent]]:
    """A run in which everything is as promised."""
    views = [Seen("r0", 0, list(HISTORY)), Seen("r1", 2, list(HISTORY[2:]))]
    return list(HISTORY), views, {"w0": Sent({one.raw: one.seq for one in HISTORY})}


def test_a_clean_run_has_no_violation() -> None:
    """Everybody saw everything from where they began."""
    assert compare(*right()) == []


def test_an_unacknowledged_message_may_be_there_once_or_not() -> None:
    """What was sent without an answer is allowed in history, but not twice."""
    history, seen, sent = right()
    del sent["w0"].acked["w0 5"]
    sent["w0"].open |= {"w0 5", "w0 6"}

    assert compare(history, seen, sent) == []


def broken(name: str) -> tuple[list[Message], list[Seen], dict[str, Sent]]:
    """A run with one broken promise."""
    history, seen, sent = right()
    if name == "lost":
        sent["w0"].acked["w0 9"] = 6
    elif name == "twice":
        history.append(replace(HISTORY[0], seq=6))
        for view in seen:
            view.messages.append(history[-1])
    elif name == "hole":
        del history[2]
    elif name == "another number":
        sent["w0"].acked["w0 1"] = 2
    elif name == "out of order":
        sent["w0"].acked = {"w0 2": 2, "w0 1": 1} | {f"w0 {n}": n for n in (3, 4, 5)}
    elif name == "nobody sent it":
        history[4] = replace(HISTORY[4], raw="forged")
        for view in seen:
            view.messages[-1] = history[4]
        del sent["w0"].acked["w0 5"]
    elif name == "seen twice":
        seen[0].messages.insert(3, HISTORY[1])
    elif name == "not seen":
        del seen[1].messages[1]
    elif name == "seen differently":
        seen[0].messages[0] = replace(HISTORY[0], raw="else")
    elif name == "gap":
        seen[0].gaps.append((2, 3))
    return history, seen, sent


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lost", "no place"), ("twice", "2 times"), ("hole", "not 1..4"), ("another number", "acknowledged as 2"),
        ("out of order", "out of order"), ("nobody sent it", "nobody sent"), ("seen twice", "1 twice"), ("not seen", "1 missing"),
        ("seen differently", "another message 1"), ("gap", "2..3 are gone"),
    ],
)  # fmt: skip
def test_every_broken_promise_is_found(name: str, said: str) -> None:
    """One thing wrong, and the checker says what."""
    assert any(said in violation for violation in compare(*broken(name)))


@pytest.mark.slow
def test_a_server_keeps_its_promises_while_it_is_killed() -> None:
    """Three kills with cut lines, a stalling reader and files in both directions: no violation."""
    report = asyncio.run(run_check(CheckPlan(rounds=3, writers=2, readers=2, file_bytes=1 << 20)))

    assert report["ok"], summary(report)
    assert report["kills"] == 3 and report["acknowledged"] > 20 and report["files"] > 0
