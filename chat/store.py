"""SQLite: everything that must outlive the process. One writer thread with group commit, one reader thread.

Jobs come from the event loop in order and are answered there: what is queued when the writer is free becomes one
transaction with one fsync (WAL, synchronous=FULL), and is answered after the commit. A job that fails alone is undone
alone; a commit that fails is told to everybody in it, and nothing of it was shown. Messages' SQL is in chat/history.py.
"""

import fcntl
import hashlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from chat import history, wire
from chat.effects import Post
from chat.errors import StoreError
from chat.rooms import Ban, Room

T = TypeVar("T")

VERSION: Final = 1  # of the schema
GROUP: Final = 512  # messages of a commit at most: bounds the time until the first of them is answered
IDLE_INDEX_S: Final = 0.5  # without work for so long, the writer brings the word index up to date
INDEX_EVERY: Final = 20_000  # messages after which it does so even when it is busy
NETWORK_FILESYSTEMS: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"}

SCHEMA: Final = (
    history.MESSAGES_SCHEMA
    + """
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic TEXT NOT NULL DEFAULT '', private INTEGER NOT NULL DEFAULT 0,
    read_only INTEGER NOT NULL DEFAULT 0, history_days INTEGER NOT NULL DEFAULT 0, history_messages INTEGER NOT NULL DEFAULT 0,
    oldest INTEGER NOT NULL DEFAULT 1, indexed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE roles (room TEXT, name TEXT, role TEXT NOT NULL, PRIMARY KEY (room, name)) WITHOUT ROWID;
CREATE TABLE invited (room TEXT, name TEXT, PRIMARY KEY (room, name)) WITHOUT ROWID;
CREATE TABLE bans (room TEXT, target TEXT, until REAL, by TEXT, text TEXT, PRIMARY KEY (room, target)) WITHOUT ROWID;
CREATE TABLE mutes (room TEXT, name TEXT, until REAL, PRIMARY KEY (room, name)) WITHOUT ROWID;
CREATE TABLE accounts (
    name TEXT PRIMARY KEY, secret TEXT NOT NULL, token TEXT UNIQUE, operator INTEGER NOT NULL DEFAULT 0,
    suspended INTEGER NOT NULL DEFAULT 0, made REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (token TEXT PRIMARY KEY, name TEXT NOT NULL, guest INTEGER NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE invites (token TEXT PRIMARY KEY, uses INTEGER NOT NULL, until REAL NOT NULL, by TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, mime TEXT NOT NULL,
    owner TEXT NOT NULL, room TEXT NOT NULL, seq INTEGER NOT NULL, made REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX files_owner ON files (owner, sha256);
CREATE INDEX files_sha256 ON files (sha256);
CREATE TABLE audit (id INTEGER PRIMARY KEY, ts REAL NOT NULL, actor TEXT, action TEXT, room TEXT, target TEXT, text TEXT);
"""
)
# from version -> what brings it to the next; a released schema is never changed, it is migrated
MIGRATIONS: Final[dict[int, str]] = {}


@dataclass(slots=True)
class State:
    """What the server starts from."""

    rooms: list[Room] = field(default_factory=list)
    bans: list[Ban] = field(default_factory=list)
    accounts: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Posts:
    """Messages to write; `done` is called on the loop with their fates, after the commit."""

    posts: list[Post]
    ts: int
    done: Callable[[list[history.Stored]], None]


@dataclass(slots=True)
class Call:
    """A function to run in the writer's transaction; its result or exception goes into the future after the commit."""

    act: Callable[[sqlite3.Connection], Any]
    future: "Future[Any]"


class Store:
    """The database of a data folder. `answer` hands a callback to the event loop (call_soon_threadsafe)."""

    def __init__(self, folder: Path, answer: Callable[[Callable[[], None]], object]) -> None:
        self.path = folder / "chat.sqlite"
        self._answer = answer
        self._jobs: queue.SimpleQueue[Posts | Call | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._rooms: dict[str, int] = {}
        self._unindexed = 0
        self.commits = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(folder)
        try:
            self._db = _open(self.path)
        except StoreError:
            self._lock.close()
            raise
        self._writer = history.MessageWriter(self._db, self._rooms, {})
        self._reader_db = _connect(self.path)
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("store-writer", self._write), ("store-reader", self._read))
        ]

    def start(self) -> State:
        """Read the state and start the threads."""
        state = self._load()
        for thread in self._threads:
            thread.start()
        return state

    def stop(self) -> None:
        """Finish what is queued, fold the log into the database, close."""
        self._jobs.put(None)
        self._reads.put(None)
        for thread in self._threads:
            thread.join()
        self._reader_db.close()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._lock.close()

    def submit(self, posts: list[Post], ts: int, done: Callable[[list[history.Stored]], None]) -> None:
        """Queue messages for the next commit."""
        self._jobs.put(Posts(posts, ts, done))

    def call(self, act: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Run a change in the writer, in order with the messages."""
        future: Future[T] = Future()
        self._jobs.put(Call(act, future))
        return future

    def save(self, what: str, args: tuple[Any, ...]) -> "Future[None]":
        """Keep a change of the hub's state: `what` is one of SAVES, or a room function of this class."""
        return self.call(lambda db: self._save(db, what, args))

    def read(self, act: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Run a query in the reader, beside the writer."""
        future: Future[T] = Future()
        self._reads.put(Call(act, future))
        return future

    def page(
        self, room: str, ask: wire.History, floor: int, limit: int, size: int
    ) -> "Future[tuple[list[wire.Msg], bool]]":
        """A page of a room's history."""
        row = self._rooms.get(room, 0)
        return self.read(lambda db: history.page(db, room, row, ask, floor, limit, size))

    def search(
        self, query: history.Query, floors: dict[str, int], limit: int, size: int, seconds: float
    ) -> "Future[tuple[list[wire.Msg], bool]]":
        """The matches in the rooms. Takes at most `seconds`, else sqlite3.OperationalError (interrupted)."""
        rooms = {name: (self._rooms[name], floor) for name, floor in floors.items() if name in self._rooms}
        self.call(self._index)  # before the read below, so that the index holds what was acknowledged

        def run(db: sqlite3.Connection) -> tuple[list[wire.Msg], bool]:
            with _time_limit(db, seconds):
                return history.search(db, query, rooms, limit, size)

        return self._after_writer(run)

    def keep_from(self, room: str, days: int, count: int, wall: float) -> "Future[int]":
        """The first seq that retention keeps: not older than `days`, not more than `count` messages; 0 is no limit."""
        row = self._rooms.get(room, 0)
        return self.read(lambda db: history.keep_from(db, row, days, count, wall))

    # --- threads -------------------------------------------------------------------------------------------------------

    def _after_writer(self, run: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Queue a read behind all that the writer has now."""
        future: Future[T] = Future()
        self._jobs.put(Call(lambda _: None, _relay(lambda: self._reads.put(Call(run, future)))))
        return future

    def _write(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_INDEX_S if self._unindexed else None)
            except queue.Empty:
                self._group([Call(self._index, Future())])
                continue
            jobs, size = [], 0
            while job is not None:
                jobs.append(job)
                size += len(job.posts) if isinstance(job, Posts) else 1
                if size >= GROUP or self._jobs.empty():
                    break
                job = self._jobs.get()
            if self._unindexed > INDEX_EVERY:
                jobs.append(Call(self._index, Future()))
            self._group(jobs)
            if job is None:
                return

    def _group(self, jobs: list[Posts | Call]) -> None:
        """One transaction, then the answers."""
        before, rooms = dict(self._writer.last), dict(self._rooms)
        answers: list[Callable[[], None]] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                answers.append(self._do(job))
            self._db.execute("COMMIT")
            self.commits += 1
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._writer.last.clear()
            self._writer.last.update(before)
            self._rooms.clear()
            self._rooms.update(rooms)
            answers = [_failed(job, error) for job in jobs]
        self._answer(lambda: _run_all(answers))

    def _do(self, job: Posts | Call) -> Callable[[], None]:
        if isinstance(job, Posts):
            for post in job.posts:
                if post.room not in self._rooms:
                    self._put_room(self._db, post.room)
            stored = self._writer.write(job.posts, job.ts)
            self._unindexed += len(stored)
            return lambda: job.done(stored)
        self._db.execute("SAVEPOINT job")
        try:
            result = job.act(self._db)
        except Exception as error:  # the job's own: undone alone, told to who asked
            self._db.execute("ROLLBACK TO job")
            self._db.execute("RELEASE job")
            if isinstance(error, sqlite3.OperationalError):
                raise
            fault = error
            return lambda: job.future.set_exception(fault)
        self._db.execute("RELEASE job")
        return lambda: job.future.set_result(result)

    def _read(self) -> None:
        while True:
            job = self._reads.get()
            if job is None:
                return
            try:
                result = job.act(self._reader_db)
            except Exception as error:
                fault = error
                self._answer(lambda job=job, fault=fault: job.future.set_exception(fault))  # type: ignore[misc]
            else:
                self._answer(lambda job=job, result=result: job.future.set_result(result))  # type: ignore[misc]

    def _index(self, db: sqlite3.Connection) -> None:
        self._unindexed = 0
        history.index_words(db)

    # --- state -----------------------------------------------------------------------------------------------------------

    def _load(self) -> State:
        db, state = self._db, State()
        rooms: dict[str, Room] = {}
        columns = "id, name, topic, private, read_only, history_days, history_messages, oldest"
        for row, name, topic, private, read_only, days, count, oldest in db.execute(f"SELECT {columns} FROM rooms"):
            base = row << history.SHIFT
            top = db.execute(
                "SELECT max(id) FROM messages WHERE id > ? AND id <= ?", (base, base | history.SEQ_MASK)
            ).fetchone()[0]
            seq = max((top or base) & history.SEQ_MASK, oldest - 1)
            rooms[name] = Room(name, 0, topic, bool(private), bool(read_only), seq, oldest, days, count)
            self._rooms[name] = row
            self._writer.last[name] = seq
        for room, name, role in db.execute("SELECT room, name, role FROM roles"):
            if room in rooms:
                rooms[room].roles[name] = role
        for room, name in db.execute("SELECT room, name FROM invited"):
            if room in rooms:
                rooms[room].invited.add(name)
        for room, name, until in db.execute("SELECT room, name, until FROM mutes"):
            if room in rooms:
                rooms[room].mutes[name] = until
        for room, target, until, by, text in db.execute("SELECT room, target, until, by, text FROM bans"):
            where = state.bans if not room else rooms[room].bans if room in rooms else []
            where.append(Ban(target, until, by, text))
        state.rooms = list(rooms.values())
        for name, operator in db.execute("SELECT name, operator FROM accounts"):
            state.accounts.add(name)
            if operator:
                state.operators.add(name)
        return state

    def _save(self, db: sqlite3.Connection, what: str, args: tuple[Any, ...]) -> None:
        if what == "put_room":
            self._put_room(db, *args)
        elif what == "remove_room":
            self._remove_room(db, *args)
        elif what == "expire":
            history.expire(db, self._rooms[args[0]], args[1])
        else:
            db.execute(SAVES[what], args)

    def _put_room(
        self,
        db: sqlite3.Connection,
        name: str,
        topic: str = "",
        private: bool = False,
        read_only: bool = False,
        days: int = 0,
        count: int = 0,
    ) -> None:
        self._rooms[name] = db.execute(
            "INSERT INTO rooms (name, topic, private, read_only, history_days, history_messages) VALUES (?,?,?,?,?,?) "
            "ON CONFLICT (name) DO UPDATE SET topic = excluded.topic, private = excluded.private, read_only = excluded.read_only, "
            "history_days = excluded.history_days, history_messages = excluded.history_messages RETURNING id",
            (name, topic, private, read_only, days, count),
        ).fetchone()[0]

    def _remove_room(self, db: sqlite3.Connection, name: str) -> None:
        row = self._rooms.pop(name, None)
        if row is None:
            return
        history.expire(db, row, history.SEQ_MASK)
        for table in ("roles", "invited", "bans", "mutes"):
            db.execute(f"DELETE FROM {table} WHERE room = ?", (name,))
        db.execute("DELETE FROM rooms WHERE id = ?", (row,))
        self._writer.last.pop(name, None)


SAVES: Final = {
    "put_role": "INSERT INTO roles VALUES (?,?,?) ON CONFLICT DO UPDATE SET role = excluded.role",
    "invite": "INSERT OR IGNORE INTO invited VALUES (?,?)",
    "put_ban": "INSERT OR REPLACE INTO bans VALUES (?,?,?,?,?)",
    "remove_ban": "DELETE FROM bans WHERE room = ? AND target = ?",
    "put_mute": "INSERT OR REPLACE INTO mutes VALUES (?,?,?)",
    "remove_mute": "DELETE FROM mutes WHERE room = ? AND name = ?",
    "audit": "INSERT INTO audit (ts, actor, action, room, target, text) VALUES (?,?,?,?,?,?)",
    "put_session": "INSERT OR REPLACE INTO sessions VALUES (?,?,?,?)",
    "remove_sessions": "DELETE FROM sessions WHERE name = ? AND guest = ?",
    "expire_sessions": "DELETE FROM sessions WHERE until < ?",
    "put_file": "INSERT INTO files VALUES (?,?,?,?,?,?,?,?,?)",
    "set_file_seq": "UPDATE files SET seq = ? WHERE id = ?",  # where messages are kept in memory; else their writer does
    "hide_file": "UPDATE files SET seq = 0 WHERE room = ? AND seq = ?",  # likewise
    "remove_file": "DELETE FROM files WHERE id = ?",
}


def digest(token: str) -> str:
    """How a token is stored: whoever reads the database cannot use it."""
    return hashlib.sha256(token.encode()).hexdigest()


def _run_all(answers: list[Callable[[], None]]) -> None:
    for answer in answers:
        answer()


def _failed(job: Posts | Call, error: sqlite3.Error) -> Callable[[], None]:
    text = "the disk refused, nothing was kept"
    if isinstance(job, Posts):
        stored = [history.Stored(post, 0, job.ts, code="store", text=text) for post in job.posts]
        return lambda: job.done(stored)
    return lambda: job.future.set_exception(StoreError(f"{text}: {error}"))


def _relay(act: Callable[[], None]) -> "Future[Any]":
    future: Future[Any] = Future()
    future.add_done_callback(lambda _: act())
    return future


@contextmanager
def _time_limit(db: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Interrupt what the connection does after so long."""
    end = time.monotonic() + seconds
    db.set_progress_handler(lambda: int(time.monotonic() > end), 10_000)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


# --- opening -------------------------------------------------------------------------------------------------------------


def _lock(folder: Path) -> IO[str]:
    """Hold the folder: a second server would give out the same seq numbers. Freed by the kernel when the process ends."""
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(f"{folder}: another server uses this data folder") from None
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000"):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _open(path: Path) -> sqlite3.Connection:
    """The database, made or migrated. Raises StoreError: a newer schema, a network file system, in use, not a database."""
    kind = filesystem(path.parent)
    if kind in NETWORK_FILESYSTEMS:
        raise StoreError(f"{path.parent}: on {kind}; SQLite loses data on network file systems, use a local folder")
    try:
        db = _connect(path)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None
    try:
        path.chmod(0o600)
        _migrate(db, path)
    except (sqlite3.Error, StoreError) as error:
        db.close()
        raise error if isinstance(error, StoreError) else StoreError(f"{path}: {error}") from None
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to this program's version, a step at a time, each in its own transaction."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(f"{path}: schema version {version}, this program knows up to {VERSION}")
    if version == 0:
        db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    while 0 < version < VERSION:
        db.executescript(f"BEGIN; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;")
        version += 1


def filesystem(folder: Path) -> str:
    """The type of the file system a folder is on, as the mount table names it; '' where there is none."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved, best, kind = str(folder.resolve()), "", ""
    for line in mounts:
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if (resolved == point or resolved.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, name
    return kind
