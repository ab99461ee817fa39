"""Scripted people: what a script may say, and that it is played."""

import asyncio
import hashlib
import io
import json
from pathlib import Path

import pytest
from live_chat import live_server, until

from chat import events
from chat.bot import Bot, BotError, Script, delay_s, read_script, timed_id
from chat.client import Client
from chat.events import Message

GOOD = """
user = "alice"
rooms = ["lobby", "den"]
repeat = 2
[[step]]
say = "hello {n}"
times = 3
every = 0.1
[[step]]
expect = "hi"
from = "bob"
within = 5
[[step]]
read_slowly = 1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "script.toml"
    path.write_text(text)
    return path


def test_a_script_is_read(tmp_path: Path) -> None:
    """User, rooms, repetition and steps as they stand."""
    script = read_script(written(tmp_path, GOOD))

    assert (script.user, script.rooms, script.repeat, len(script.steps)) == ("alice", ("lobby", "den"), 2, 3)
    assert script.steps[0] == {"say": "hello {n}", "times": 3, "every": 0.1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected user"),
        ('user = 5', "expected user"),
        ('user = "a"\nroms = []', "roms"),
        ('user = "a"\nrooms = [1]', "rooms"),
        ('user = "a"\n[[step]]\nshout = "x"', "step 1: got \\['shout'\\]"),
        ('user = "a"\n[[step]]\nsay = "x"\nwait = 1', "step 1"),
        ('user = "a"\n[[step]]\nsay = 5', "say: got 5"),
        ('user = "a"\n[[step]]\nwait = true', "wait: got True"),
        ('user = "a"\n[[step]]\nsay = "x"\nwithin = 1', "say takes"),
        ('user = "a"\n[[step]]\nsay = "x"\ntimes = "many"', "times"),
        ("user = ", "script.toml"),
    ],
)  # fmt: skip
def test_a_wrong_script_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """The error names the file, the step and what was expected; nothing is ignored."""
    with pytest.raises(BotError, match=said):
        read_script(written(tmp_path, text))


def test_a_missing_script_is_said(tmp_path: Path) -> None:
    """The name of the file is in the message."""
    with pytest.raises(BotError, match=r"nowhere\.toml"):
        read_script(tmp_path / "nowhere.toml")


def test_delays_come_from_the_id_or_the_store() -> None:
    """A bot's id tells when a message was sent; others are counted from when they were stored; never below zero."""
    sent = Message("lobby", 1, 100.0, "b", "x", "x", id=f"t{int(99.5e6):x}-abc")

    assert delay_s(sent, 100.25) == 0.75
    assert delay_s(Message("lobby", 1, 100.0, "b", "x", "x", id="tomorrow-x"), 100.25) == 0.25
    assert delay_s(Message("lobby", 1, 100.0, "b", "x", "x"), 99.0) == 0.0
    assert timed_id() != timed_id()


def test_two_bots_play_a_scene(tmp_path: Path) -> None:
    """One talks, sends a file and loses the line; the other waits, fetches, reads slowly and logs every delivery."""
    (tmp_path / "cat.png").write_bytes(b"not a cat" * 1000)
    talking = Script(
        "alice",
        ("lobby",),
        (
            {"say": "hello {n}", "times": 2, "every": 0.05},
            {"send": "cat.png"},
            {"drop": True},
            {"say": "back again"},
            {"expect": "thanks"},
        ),
    )
    listening = Script(
        "bob",
        ("lobby",),
        (
            {"expect": "hello 2", "from": "alice"},
            {"get": "cat.png"},
            {"read_slowly": 0.1},
            {"expect": "back"},
            {"say": "thanks"},
            {"join": "den"},
            {"part": "den"},
            {"wait": 0},
        ),
    )
    printed, log = io.StringIO(), io.StringIO()

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("alice", address, ["lobby"], new_id=timed_id) as alice,
            Client("bob", address, ["lobby"], new_id=timed_id) as bob,
        ):
            await asyncio.gather(
                Bot(alice, talking, tmp_path, tmp_path / "a", printed).run(),
                Bot(bob, listening, tmp_path, tmp_path / "b", printed, log).run(),
            )

    asyncio.run(asyncio.wait_for(scene(), 280))
    rows = [json.loads(line) for line in log.getvalue().splitlines()]

    assert hashlib.sha256((tmp_path / "b" / "cat.png").read_bytes()).hexdigest() in printed.getvalue()
    assert [row["from"] for row in rows] == ["alice"] * 4  # two hellos, the file, "back again"
    assert all(0 <= row["delay_s"] < 30 and row["time"] > 1e9 for row in rows)
    assert "alice loses the line" in printed.getvalue() and "bob heard: back" in printed.getvalue()


def test_what_does_not_happen_ends_the_script(tmp_path: Path) -> None:
    """An expectation that is not met within its time is an error that names it."""

    async def scene() -> None:
        async with live_server(tmp_path / "d") as address, Client("bob", address, ["lobby"]) as bob:
            script = Script("bob", ("lobby",), ({"expect": "godot", "within": 0.1},))
            with pytest.raises(BotError, match="godot"):
                await Bot(bob, script, tmp_path, tmp_path, io.StringIO()).run()

    asyncio.run(asyncio.wait_for(scene(), 280))


def test_a_bot_that_stays_goes_on_listening(tmp_path: Path) -> None:
    """After its last step it still logs what comes, until it is stopped."""
    log = io.StringIO()

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):
            playing = asyncio.create_task(
                Bot(bob, Script("bob", ("lobby",), (), stay=True), tmp_path, tmp_path, io.StringIO(), log).run()
            )
            await ann.send("lobby", "late")
            await until(ann, events.Message)
            while not log.getvalue():
                await asyncio.sleep(0.01)
            assert not playing.done()
            playing.cancel()

    asyncio.run(asyncio.wait_for(scene(), 280))
