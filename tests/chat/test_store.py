"""chat.store: what is there after a restart, failing commits, opening, backup, kill -9."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from store_desk import Desk, fates, post

from chat import history, wire
from chat.effects import Post
from chat.errors import StoreError
from chat.store import filesystem


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Messages and their numbers, rooms, roles, bans, mutes, invitations."""
    desk = Desk(tmp_path)
    desk.write(post("a"), post("b", room="two"), post("c"))
    for what, args in [
        ("put_room", ("two", "topic", True, False, 7, 100)), ("put_role", ("two", "ann", "owner")), ("invite", ("two", "bob")),
        ("put_ban", ("two", "eve", 5.0, "ann", "why")), ("put_ban", ("", "mal", 0.0, "op", "")), ("put_mute", ("two", "cid", 9.0)),
    ]:  # fmt: skip
        desk.wait(desk.store.save(what, args))
    desk.store.stop()

    again = Desk(tmp_path)

    rooms = {room.name: room for room in again.state.rooms}
    two = rooms["two"]
    assert (rooms["lobby"].seq, two.seq) == (2, 1)
    assert (two.topic, two.private, two.history_days, two.history_messages) == ("topic", True, 7, 100)
    assert (two.roles, two.invited, two.mutes) == ({"ann": "owner"}, {"bob"}, {"cid": 9.0})
    assert ([b.target for b in two.bans], [b.target for b in again.state.bans]) == (["eve"], ["mal"])
    assert fates(again.write(post("d"), post("a"))) == [(3, False, ""), (1, True, "")]
    again.store.stop()


def test_retention_keeps_counting_where_it_was(tmp_path: Path) -> None:
    """By count and by days; a room emptied by retention does not give its numbers out again; the index forgets too."""
    desk = Desk(tmp_path)
    desk.write(*[post(f"a{i}", f"word{i}") for i in range(10)], ts=1000)
    assert desk.search("word3") == [("lobby", 4)]
    assert desk.wait(desk.store.keep_from("lobby", 0, 4, 1e6)) == 7
    assert desk.wait(desk.store.keep_from("lobby", 1, 0, 90_000.0)) == 11
    desk.wait(desk.store.save("expire", ("lobby", 7)))
    assert desk.page()[0] == [7, 8, 9, 10]
    assert desk.search("word3") == []
    desk.wait(desk.store.save("expire", ("lobby", 11)))
    desk.store.stop()

    again = Desk(tmp_path)

    assert fates(again.write(post("z"))) == [(11, False, "")]
    assert again.state.rooms[0].oldest == 11
    again.store.stop()


def test_a_removed_room_leaves_nothing(tmp_path: Path) -> None:
    """Rows, words and numbers: a room of the same name begins at 1."""
    desk = Desk(tmp_path)
    desk.write(post("a", "secret", room="club"))
    desk.search("secret", club=0)
    desk.wait(desk.store.save("remove_room", ("club",)))

    assert fates(desk.write(post("b", "new", room="club"))) == [(1, False, "")]
    assert desk.search("secret", club=0) == []
    desk.store.stop()


def test_a_commit_that_fails_is_told_and_shows_nothing(tmp_path: Path) -> None:
    """The disk refuses: code store for every message of it, and the numbers are given out again."""
    desk = Desk(tmp_path)
    desk.write(post("a"))
    desk.store._db.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_INSERT else sqlite3.SQLITE_OK
    )
    failed = desk.write(post("b"), post("c"))
    desk.store._db.set_authorizer(None)

    assert fates(failed) == [(0, False, "store"), (0, False, "store")]
    assert fates(desk.write(post("b"))) == [(2, False, "")]
    desk.store.stop()


def file_seqs(desk: Desk) -> list[int]:
    return [row[0] for row in desk.wait(desk.store.call(lambda db: db.execute("SELECT seq FROM files").fetchall()))]


def test_a_file_can_be_fetched_as_soon_as_its_message_is_there(tmp_path: Path) -> None:
    """One commit for both: a server killed right behind it has not lost the file of a message that everybody saw. A
    commit that fails shows neither."""
    desk = Desk(tmp_path)
    ref = wire.FileRef("f" * 32, "a.bin", 1, "0" * 64)
    desk.store.save("put_file", (ref.file_id, ref.sha256, ref.name, 1, "", "ann", "lobby", 0, 0.0))
    desk.write(post("a"))
    assert file_seqs(desk) == [0]
    (sent,) = desk.write(Post(0, "lobby", "ann", "", "", ref))

    assert (sent.seq, file_seqs(desk)) == (2, [2])
    desk.store.stop()


def test_a_deleted_message_takes_its_file_along(tmp_path: Path) -> None:
    """Whoever noted the file's id cannot fetch it any more; an edit of another message changes nothing."""
    desk = Desk(tmp_path)
    ref = wire.FileRef("f" * 32, "a.bin", 1, "0" * 64)
    desk.store.save("put_file", (ref.file_id, ref.sha256, ref.name, 1, "", "ann", "lobby", 0, 0.0))
    desk.write(post("a"), Post(0, "lobby", "ann", "", "", ref))
    desk.write(post("b", "x", edits=1))
    assert file_seqs(desk) == [2]
    desk.write(post("c", deletes=2))

    assert file_seqs(desk) == [0]
    desk.store.stop()


def test_a_job_that_fails_alone_is_undone_alone(tmp_path: Path) -> None:
    """A mistake in one change does not take the messages of the same commit with it."""
    desk = Desk(tmp_path)

    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO invited VALUES ('lobby', 'x')")
        raise ValueError("no")

    future = desk.store.call(half)
    desk.write(post("a"))
    with pytest.raises(ValueError, match="no"):
        desk.wait(future)

    assert desk.wait(desk.store.call(lambda db: db.execute("SELECT count(*) FROM invited").fetchone()[0])) == 0
    desk.store.stop()


def test_a_search_is_interrupted_in_time(tmp_path: Path) -> None:
    """A query of no use to anybody does not hold the reader for ever."""
    desk = Desk(tmp_path)
    desk.write(*[post(f"a{i}", "word " * 50) for i in range(400)])
    future = desk.store.search(history.parse_query("word"), {"lobby": 0}, 50, 1 << 20, seconds=-1.0)

    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        desk.wait(future)
    assert desk.search("word", limit=1) == [("lobby", 400)]
    desk.store.stop()


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    """Two would give out the same numbers."""
    desk = Desk(tmp_path)
    with pytest.raises(StoreError, match="another server"):
        Desk(tmp_path)
    desk.store.stop()


@pytest.mark.parametrize(
    "content",
    [b"this is no database, but it is long enough to be looked at" * 20, b"SQLite format 3\0" + b"\xff" * 500],
)
def test_what_is_no_database_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    """StoreError in one line."""
    (tmp_path / "chat.sqlite").write_bytes(content)

    with pytest.raises(StoreError, match=r"chat\.sqlite"):
        Desk(tmp_path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a later version is not touched."""
    Desk(tmp_path).store.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "chat.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match="99"):
        Desk(tmp_path)


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's locks and its log do not work there."""
    assert filesystem(Path("/proc/self")) == "proc"
    monkeypatch.setattr("chat.store.filesystem", lambda folder: "nfs4")

    with pytest.raises(StoreError, match="nfs4"):
        Desk(tmp_path)


WRITER = """
import queue, sys
from pathlib import Path
from chat.effects import Post
from chat.store import Store
answers = queue.SimpleQueue()
store = Store(Path(sys.argv[1]), answers.put)
state = store.start()
start = sum(room.seq for room in state.rooms)
def done(stored):
    for each in stored:
        print(each.post.id, each.seq, flush=True)
n = start
while True:
    store.submit([Post(1, "lobby", "ann", f"m{n + i}", f"text {n + i}") for i in range(7)], 1000, done)
    n += 7
    answers.get()()
"""


@pytest.mark.slow
def test_kill_9_loses_no_acknowledged_message(tmp_path: Path) -> None:
    """20 rounds: a process writes as fast as it can and is killed; whatever it acknowledged is there, once, in order."""
    acked: dict[str, int] = {}
    for round_ in range(20):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20 + 17 * round_)]
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        for line in lines:
            if len(words := line.split()) == 2 and words[1].isdecimal():
                acked[words[0]] = int(words[1])

    with contextlib.closing(sqlite3.connect(tmp_path / "chat.sqlite")) as db:
        rows = dict(db.execute("SELECT cid, id & 0xffffffffff FROM messages"))
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(acked) > 200
    assert {cid: rows.get(cid) for cid in acked} == acked
    assert sorted(rows.values()) == list(range(1, len(rows) + 1))
