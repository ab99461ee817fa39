"""From a message that the hub lets through to its place in history, and from there to everybody who is to see it.

What comes in within a loop tick goes to the store together; what the store answers is acknowledged and shown together. It
MUST acknowledge a message only after the store has answered and MUST show it to nobody before. It holds the senders for
whom the disk, or the flush, is too slow. Without durable history the same way leads through memory.
"""

import time
from typing import TYPE_CHECKING, Final

from chat import effects, history, wire
from chat.connection import BUSY, PAUSE, UNACKED, Connection

if TYPE_CHECKING:
    from chat.server import Server

TICK_BYTES: Final = 1 << 20  # frames waiting for the flush: senders stop above it


class Posting:
    """The messages of a server on their way. `unstored`: how many the store has not answered yet."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._posts: list[effects.Post] = []
        self._busy: list[Connection] = []
        self._paused: list[Connection] = []
        self.unstored = 0
        history_keys = server.config.history
        self.memory = None if history_keys.durable else history.MemoryHistory(history_keys.memory_messages)

    def post(self, effect: effects.Post) -> None:
        """Take a message in, or tell its sender that the disk is behind."""
        server = self._server
        limits = server.config.limits
        if self.unstored >= limits.unstored:
            busy = wire.Error("flood", "the disk is behind", ref=effect.id, retry_ms=1000)
            server.reply(effects.Reply(effect.conn, busy))
            return
        self.unstored += 1
        if not self._posts:
            server.loop.call_soon(self._submit)
        self._posts.append(effect)
        conn = server.conns.get(effect.conn)
        if conn is not None:
            conn.unacked += 1
            if conn.unacked >= limits.unacked:
                conn.hold(UNACKED)
            if server.pausing and not conn.held & PAUSE:
                conn.hold(PAUSE)
                self._paused.append(conn)

    def _submit(self) -> None:
        """Once a loop tick: what came in goes to the writer together."""
        posts, self._posts = self._posts, []
        ts = int(time.time() * 1000)
        if self.memory is None:
            self._server.store.submit(posts, ts, self._stored)
        else:
            self._stored([self.memory.write(post, ts) for post in posts])

    def _stored(self, stored: list[history.Stored]) -> None:
        """The history's answer, on disk after the commit: acknowledge and show."""
        server = self._server
        fanout = server.fanout
        self.unstored -= len(stored)
        for each in stored:
            conn = server.conns.get(each.post.conn)
            if conn is not None:
                conn.unacked -= 1
                if conn.held & UNACKED and conn.unacked < server.config.limits.unacked // 2:
                    conn.let(UNACKED)
            if each.post.file is not None:
                server.files.shown(each.post.file.file_id, each.seq)
            if each.code:
                server.reply(effects.Reply(each.post.conn, wire.Error(each.code, each.text, ref=each.post.id)))
                continue
            server.counters.messages += 1
            if each.post.deletes and self.memory is not None:
                server.save("hide_file", (each.post.room, each.post.deletes))
            shown = server.hub.committed(each.post, each.seq, each.ts, each.again)
            if shown.ack is not None and conn is not None and not conn.gone:
                fanout.send(conn, wire.encode(shown.ack))
            if shown.body is not None:
                fanout.post(shown.number, wire.encode(shown.body, shown.number), each.seq)
        if fanout.waiting_bytes > TICK_BYTES:
            self._hold_senders(stored)

    def _hold_senders(self, stored: list[history.Stored]) -> None:
        """More waits for the flush than should: its senders pause until it is done."""
        for each in stored:
            conn = self._server.conns.get(each.post.conn)
            if conn is not None and not conn.held & BUSY:
                conn.hold(BUSY)
                self._busy.append(conn)

    def flushed(self) -> None:
        """The flush is done: who waited for it may go on."""
        if self._busy:
            busy, self._busy = self._busy, []
            for conn in busy:
                conn.let(BUSY)
        if self._paused:
            paused, self._paused = self._paused, []
            for conn in paused:
                conn.let(PAUSE)
