"""Messages: the SQL of writing, paging and searching them, and the same kept in memory only.

A row's id is room << 40 | seq, so one B-tree serves a message by its room and seq. A batch of messages is one INSERT
statement: the writer thread takes the interpreter's lock once a batch, not once a row. Edits change the row they name
and add one of their own; deletions take the text away and leave the row. Runs in the threads of chat/store.py.
"""

import json
import re
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from chat import wire
from chat.effects import Post
from chat.errors import Refusal

SHIFT: Final = 40  # bits of seq in a row id: 10^12 messages a room
SEQ_MASK: Final = (1 << SHIFT) - 1
BATCH_SIZES: Final = (64, 16, 4, 1)  # rows of a prepared INSERT; a statement a size stays compiled
SAME_ID_MS: Final = 24 * 3600 * 1000  # a message id is the same message for a day
ROW_OVERHEAD: Final = 160  # bytes of JSON around a message's text, for the page limit
SEARCH_WORDS: Final = 12

MESSAGES_SCHEMA: Final = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, sender TEXT NOT NULL, cid TEXT, text TEXT NOT NULL, file TEXT,
    edits INTEGER NOT NULL DEFAULT 0, deletes INTEGER NOT NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX messages_cid ON messages (sender, cid) WHERE cid IS NOT NULL;
CREATE VIRTUAL TABLE words USING fts5(text, content='messages', content_rowid='id', tokenize='unicode61');
"""
_COLUMNS: Final = "(id, ts, sender, cid, text, file, edits, deletes)"
_INSERTS: Final = {
    n: f"INSERT INTO messages {_COLUMNS} VALUES " + ",".join(["(?,?,?,?,?,?,?,?)"] * n) for n in BATCH_SIZES
}
_READ: Final = "SELECT id, ts, sender, cid, text, file, edits, deletes, flags FROM messages "
EDITED: Final = 1
DELETED: Final = 2


@dataclass(slots=True)
class Stored:
    """The fate of a post: its seq and time; `again` if it was there before; or the code and text of a refusal."""

    post: Post
    seq: int
    ts: int
    again: bool = False
    code: str = ""
    text: str = ""


# --- writing (the writer thread, inside its transaction) -----------------------------------------------------------------


class MessageWriter:
    """Gives out seq numbers and writes rows. `rooms`: name -> row id of the room; `last`: name -> last seq."""

    def __init__(self, db: sqlite3.Connection, rooms: dict[str, int], last: dict[str, int]) -> None:
        self._db = db
        self._rooms = rooms
        self.last = last

    def write(self, posts: list[Post], ts: int) -> list[Stored]:
        """Write the posts in their order. Must run inside a transaction."""
        stored: list[Stored] = []
        plain: list[Post] = []
        for post in posts:
            if post.edits or post.deletes:
                stored += self._plain(plain, ts)
                plain = []
                stored.append(self._change(post, ts))
            else:
                plain.append(post)
        return stored + self._plain(plain, ts)

    def _plain(self, posts: list[Post], ts: int) -> list[Stored]:
        """All in few statements; one by one if an id was seen before."""
        if not posts:
            return []
        before = dict(self.last)
        rows = [self._row(post, ts) for post in posts]
        self._db.execute("SAVEPOINT batch")
        try:
            self._insert([row for row, _ in rows])
        except sqlite3.IntegrityError:
            self._db.execute("ROLLBACK TO batch")
            self.last.clear()
            self.last.update(before)
            return [self._once(post, ts) for post in posts]
        finally:
            self._db.execute("RELEASE batch")
        return [Stored(post, seq, ts) for post, (_, seq) in zip(posts, rows, strict=True)]

    def _row(self, post: Post, ts: int) -> tuple[tuple[Any, ...], int]:
        seq = self.last[post.room] = self.last.get(post.room, 0) + 1
        file = None
        if post.file is not None:  # in the same transaction: a file whose message is there can be fetched
            file = msgspec.json.encode(post.file).decode()
            self._db.execute("UPDATE files SET seq = ? WHERE id = ?", (seq, post.file.file_id))
        row = (
            self._rooms[post.room] << SHIFT | seq,
            ts,
            post.sender,
            post.id or None,
            post.text,
            file,
            post.edits,
            post.deletes,
        )
        return row, seq

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        at = 0
        for size in BATCH_SIZES:
            while len(rows) - at >= size:
                self._db.execute(_INSERTS[size], [value for row in rows[at : at + size] for value in row])
                at += size

    def _once(self, post: Post, ts: int) -> Stored:
        """One post, unless its id was written within a day: then what became of it."""
        if post.id:
            found = self._db.execute(
                "SELECT id, ts FROM messages WHERE sender = ? AND cid = ?", (post.sender, post.id)
            ).fetchone()
            if found and ts - found[1] < SAME_ID_MS:
                return Stored(post, found[0] & SEQ_MASK, found[1], again=True)
            if found:
                self._db.execute("UPDATE messages SET cid = NULL WHERE id = ?", (found[0],))
        row, seq = self._row(post, ts)
        self._insert([row])
        return Stored(post, seq, ts)

    def _change(self, post: Post, ts: int) -> Stored:
        """An edit or deletion: checked against its target, which it changes."""
        base = self._rooms[post.room] << SHIFT
        target = base | (post.edits or post.deletes)
        found = self._db.execute(
            "SELECT sender, text, flags, edits, deletes FROM messages WHERE id = ?", (target,)
        ).fetchone()
        stored = self._once(post, ts) if self._known(post, ts) else None
        if stored is not None:
            return stored
        if found is None or found[2] & DELETED or found[3] or found[4] or (post.edits or post.deletes) > SEQ_MASK:
            return Stored(post, 0, ts, code="no-message", text="no such message to change")
        if found[0] != post.sender and not post.force:
            return Stored(post, 0, ts, code="forbidden", text="only its sender changes a message")
        self._unindex(post.room, target, found[1])
        flag = DELETED if post.deletes else EDITED
        self._db.execute(
            "UPDATE messages SET text = ?, flags = flags | ?, file = CASE WHEN ? THEN NULL ELSE file END WHERE id = ?",
            (post.text, flag, post.deletes, target),
        )
        if post.deletes:  # the texts of its earlier edits go as well, and its file is not given out any more
            self._db.execute("UPDATE files SET seq = 0 WHERE room = ? AND seq = ?", (post.room, post.deletes))
            edits = self._db.execute(
                "SELECT id, text FROM messages WHERE id > ? AND id <= ? AND edits = ?",
                (target, base | SEQ_MASK, post.deletes),
            ).fetchall()
            for edit, text in edits:
                self._unindex(post.room, edit, text)
                self._db.execute("UPDATE messages SET text = '', flags = flags | ? WHERE id = ?", (DELETED, edit))
        elif self._indexed(post.room, target):
            self._db.execute("INSERT INTO words(rowid, text) VALUES (?, ?)", (target, post.text))
        return self._once(post, ts)

    def _known(self, post: Post, ts: int) -> bool:
        found = self._db.execute(
            "SELECT ts FROM messages WHERE sender = ? AND cid = ?", (post.sender, post.id)
        ).fetchone()
        return found is not None and ts - found[0] < SAME_ID_MS

    def _indexed(self, room: str, row: int) -> bool:
        found = self._db.execute("SELECT indexed FROM rooms WHERE name = ?", (room,)).fetchone()
        return found is not None and (row & SEQ_MASK) <= found[0]

    def _unindex(self, room: str, row: int, text: str) -> None:
        if self._indexed(room, row):
            self._db.execute("INSERT INTO words(words, rowid, text) VALUES ('delete', ?, ?)", (row, text))


def index_words(db: sqlite3.Connection) -> None:
    """Bring the word index up to date: done when the writer is idle and before a search, not with every message."""
    rooms = db.execute("SELECT id, indexed FROM rooms").fetchall()
    for room, indexed in rooms:
        base = room << SHIFT
        last = db.execute(
            "SELECT max(id) FROM messages WHERE id > ? AND id <= ?", (base | indexed, base | SEQ_MASK)
        ).fetchone()[0]
        if last is not None:
            db.execute(
                "INSERT INTO words(rowid, text) SELECT id, text FROM messages WHERE id > ? AND id <= ?",
                (base | indexed, last),
            )
            db.execute("UPDATE rooms SET indexed = ? WHERE id = ?", (last & SEQ_MASK, room))


def expire(db: sqlite3.Connection, room: int, keep_from: int) -> None:
    """Delete the messages of a room below a seq, and remember that they were there."""
    base, indexed = room << SHIFT, db.execute("SELECT indexed FROM rooms WHERE id = ?", (room,)).fetchone()[0]
    upto = base | min(keep_from - 1, indexed)
    gone = db.execute("SELECT id, text FROM messages WHERE id > ? AND id <= ?", (base, upto)).fetchall()
    db.executemany("INSERT INTO words(words, rowid, text) VALUES ('delete', ?, ?)", gone)
    db.execute("DELETE FROM messages WHERE id > ? AND id < ?", (base, base | keep_from))
    db.execute("UPDATE rooms SET oldest = ?, indexed = max(indexed, ?) WHERE id = ?", (keep_from, keep_from - 1, room))


def keep_from(db: sqlite3.Connection, room: int, days: int, count: int, wall: float) -> int:
    """The first seq of a room that is neither too old nor too many; 1 when all are kept."""
    base, first = room << SHIFT, 1
    span = (base, base | SEQ_MASK)
    if count:
        row = db.execute(
            "SELECT id FROM messages WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT 1 OFFSET ?", (*span, count - 1)
        ).fetchone()
        first = max(first, row[0] & SEQ_MASK if row else 1)
    if days:
        since = int((wall - days * 86_400) * 1000)
        row = db.execute(
            "SELECT id FROM messages WHERE id > ? AND id <= ? AND ts >= ? ORDER BY id LIMIT 1", (*span, since)
        ).fetchone()
        last = db.execute("SELECT max(id) FROM messages WHERE id > ? AND id <= ?", span).fetchone()[0]
        first = max(first, row[0] & SEQ_MASK if row else ((last or base) & SEQ_MASK) + 1)
    return first


# --- reading (the reader thread) -----------------------------------------------------------------------------------------


def message(room: str, row: tuple[Any, ...]) -> wire.Msg:
    """A row as the frame that shows it."""
    file = msgspec.json.decode(row[5], type=wire.FileRef) if row[5] else None
    flags = row[8]
    edited, deleted = bool(flags & EDITED), bool(flags & DELETED)
    return wire.Msg(
        room, row[0] & SEQ_MASK, row[1], row[2], row[4], row[3] or "", file, row[6], row[7], edited, deleted
    )


def cut(messages: Iterable[wire.Msg], limit: int, size: int) -> tuple[list[wire.Msg], bool]:
    """The first messages that fit into `limit` messages and `size` bytes; True if there were more."""
    page: list[wire.Msg] = []
    for each in messages:
        size -= ROW_OVERHEAD + 2 * len(each.text.encode("utf-8", "replace"))
        if len(page) == limit or (size < 0 and page):
            return page, True
        page.append(each)
    return page, False


def page(
    db: sqlite3.Connection, room: str, row: int, ask: wire.History, floor: int, limit: int, size: int
) -> tuple[list[wire.Msg], bool]:
    """A page of a room, oldest first, and whether there is more on the far side."""
    base = row << SHIFT
    if ask.after is not None:
        after = min(max(ask.after, floor), SEQ_MASK)
        rows = db.execute(
            _READ + "WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", (base | after, base | SEQ_MASK, limit + 1)
        )
        return cut((message(room, r) for r in rows), limit, size)
    before = SEQ_MASK if ask.before is None else min(ask.before, SEQ_MASK)
    rows = db.execute(
        _READ + "WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?", (base | floor, base | before, limit + 1)
    )
    found, more = cut((message(room, r) for r in rows), limit, size)
    return found[::-1], more


@dataclass(frozen=True, slots=True)
class Query:
    """A search as typed: words, and what narrows it."""

    words: list[str]
    sender: str = ""
    room: str = ""
    since_ms: int = 0


def parse_query(text: str) -> Query:
    """`from:ann in:lobby since:2026-05-01 words`. Raises Refusal bad-query."""
    words, sender, room, since = [], "", "", 0
    for part in text.split():
        name, colon, value = part.partition(":")
        if colon and name == "from":
            sender = value.lower()
        elif colon and name == "in":
            room = value.removeprefix("#").lower()
        elif colon and name == "since":
            try:
                since = int(datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
            except ValueError:
                raise Refusal("bad-query", "since: takes YYYY-MM-DD") from None
        else:
            words.append(part)
    if len(words) > SEARCH_WORDS or not (words or sender or since):
        raise Refusal("bad-query", f"1 to {SEARCH_WORDS} words, from:NAME, in:ROOM, since:YYYY-MM-DD")
    return Query(words, sender, room, since)


def search(
    db: sqlite3.Connection, query: Query, rooms: dict[str, tuple[int, int]], limit: int, size: int
) -> tuple[list[wire.Msg], bool]:
    """The latest matches, oldest first. rooms: name -> (row of the room, floor)."""
    names = {row: name for name, (row, _) in rooms.items()}
    spans = [(row << SHIFT | floor, row << SHIFT | SEQ_MASK) for row, floor in rooms.values()]
    if not spans:
        return [], False
    where = "(" + " OR ".join("(m.id > ? AND m.id <= ?)" for _ in spans) + ")"
    values: list[Any] = [edge for span in spans for edge in span]
    source = "messages m"
    if query.words:
        source = "words w JOIN messages m ON m.id = w.rowid"
        where += " AND words MATCH ?"
        values.append(" ".join('"' + word.replace('"', '""') + '"' for word in query.words))
    if query.sender:
        where += " AND m.sender = ?"
        values.append(query.sender)
    if query.since_ms:
        where += " AND m.ts >= ?"
        values.append(query.since_ms)
    sql = f"SELECT m.id, m.ts, m.sender, m.cid, m.text, m.file, m.edits, m.deletes, m.flags FROM {source} WHERE {where}"
    rows = db.execute(sql + " AND m.flags & 2 = 0 ORDER BY m.ts DESC, m.id DESC LIMIT ?", [*values, limit + 1])
    found, more = cut((message(names[r[0] >> SHIFT], r) for r in rows), limit, size)
    return found[::-1], more


# --- memory only ---------------------------------------------------------------------------------------------------------


class MemoryHistory:
    """The latest messages of each room in memory: `history.durable = false`. The same answers, gone with the process."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._rooms: dict[str, deque[wire.Msg]] = {}
        self._last: dict[str, int] = {}
        self._ids: dict[tuple[str, str], tuple[int, int]] = {}

    def write(self, post: Post, ts: int) -> Stored:
        """Keep one post. The oldest message of the room makes place for it."""
        known = self._ids.get((post.sender, post.id)) if post.id else None
        if known is not None:
            return Stored(post, *known, again=True)
        room = self._rooms.setdefault(post.room, deque(maxlen=self._keep))
        if post.edits or post.deletes:
            refusal = self._change(room, post, ts)
            if refusal is not None:
                return refusal
        seq = self._last[post.room] = self._last.get(post.room, 0) + 1
        if len(room) == self._keep:
            self._ids.pop((room[0].sender, room[0].id), None)
        room.append(wire.Msg(post.room, seq, ts, post.sender, post.text, post.id, post.file, post.edits, post.deletes))
        if post.id:
            self._ids[post.sender, post.id] = (seq, ts)
        return Stored(post, seq, ts)

    def oldest(self, room: str) -> int:
        """The first seq that is kept."""
        kept = self._rooms.get(room)
        return kept[0].seq if kept else self._last.get(room, 0) + 1

    def page(self, room: str, ask: wire.History, floor: int, limit: int, size: int) -> tuple[list[wire.Msg], bool]:
        """As page() of the database."""
        kept = [m for m in self._rooms.get(room, ()) if m.seq > floor]
        if ask.after is not None:
            after = ask.after
            return cut((m for m in kept if m.seq > after), limit, size)
        found, more = cut((m for m in reversed(kept) if ask.before is None or m.seq < ask.before), limit, size)
        return found[::-1], more

    def search(self, query: Query, floors: dict[str, int], limit: int, size: int) -> tuple[list[wire.Msg], bool]:
        """As search() of the database; words match whole words."""
        hits = [
            m
            for room, floor in floors.items()
            for m in self._rooms.get(room, ())
            if m.seq > floor and _matches(m, query)
        ]
        found, more = cut(sorted(hits, key=lambda m: (m.ts, m.room, m.seq), reverse=True), limit, size)
        return found[::-1], more

    def forget(self, room: str) -> None:
        """The room is closed."""
        for each in self._rooms.pop(room, ()):
            self._ids.pop((each.sender, each.id), None)
        self._last.pop(room, None)

    def _change(self, room: deque[wire.Msg], post: Post, ts: int) -> Stored | None:
        target = post.edits or post.deletes
        at = target - room[0].seq if room else -1
        if not 0 <= at < len(room) or room[at].deleted or room[at].edits or room[at].deletes:
            return Stored(post, 0, ts, code="no-message", text="no such message to change")
        if room[at].sender != post.sender and not post.force:
            return Stored(post, 0, ts, code="forbidden", text="only its sender changes a message")
        old = room[at]
        room[at] = msgspec.structs.replace(
            old,
            text=post.text,
            file=None if post.deletes else old.file,
            edited=bool(post.edits) or old.edited,
            deleted=bool(post.deletes),
        )
        if post.deletes:
            for i, each in enumerate(room):
                if each.edits == target:
                    room[i] = msgspec.structs.replace(each, text="", deleted=True)
        return None


def _matches(m: wire.Msg, query: Query) -> bool:
    words = set(re.findall(r"\w+", m.text.casefold()))
    wanted = {piece for word in query.words for piece in re.findall(r"\w+", word.casefold())}
    return not m.deleted and wanted <= words and query.sender in {"", m.sender} and m.ts >= query.since_ms


def as_json_line(m: wire.Msg) -> str:
    """One message as a line of `export`."""
    return json.dumps(msgspec.to_builtins(m), ensure_ascii=False, sort_keys=True)
