"""Old messages: the pages and searches of HISTORY, and the replay to who joins or resumes.

A replay ends where the room's ring begins; what the ring no longer has comes from the store, a page at a time, as fast
as the client reads, and what is not there any more is told as a GAP of exactly that size.
"""

import asyncio
import sqlite3
from typing import TYPE_CHECKING

from chat import effects, history, wire
from chat.connection import Connection
from chat.errors import Refusal

if TYPE_CHECKING:
    from chat.server import Server


class Reading:
    """Answers from history, the store's or the memory's."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def enter(self, effect: effects.Enter) -> None:
        """The connection is to get a room's frames: tell what will not come, replay what will, then live."""
        conn = self._server.conns.get(effect.conn)
        if conn is None or conn.gone:
            return
        self._server.fanout.open(effect.number, effect.room, effect.seq)
        after = effect.after
        if after + 1 < effect.oldest and after < effect.seq:
            after = self._gap(conn, effect, after, min(effect.oldest - 1, effect.seq), "retention")
        if effect.seq - after > self._server.config.limits.replay_messages:
            after = self._gap(conn, effect, after, effect.seq - self._server.config.limits.replay_messages, "long")
        if self._server.fanout.attach(conn, effect.number, after) is not None:
            self._server.spawn(self._replay(conn, effect, after))

    def _gap(self, conn: Connection, effect: effects.Enter, after: int, last: int, reason: str) -> int:
        """Tell the client what will not come by itself; returns where it goes on."""
        self._server.fanout.send(conn, wire.encode(wire.Gap(effect.room, after + 1, last, reason), effect.number))
        return last

    async def _replay(self, conn: Connection, effect: effects.Enter, after: int) -> None:
        """Messages that the ring no longer has, from history, a page at a time as the client reads; then live."""
        limits = self._server.config.limits
        while not conn.gone and conn.open:
            missing = self._server.fanout.attach(conn, effect.number, after)
            if missing is None:
                return
            ask = wire.History(effect.room, after=after)
            page, _ = await self._page_of(effect.room, ask, after, limits.history_page, limits.history_page_bytes)
            page = [m for m in page if m.seq <= missing[1]]
            last = page[-1].seq if page else missing[1]
            frames = [wire.encode(m, effect.number) for m in page]
            if len(page) < last - after:  # expired meanwhile
                first = page[0].seq if page else last + 1
                frames.insert(0, wire.encode(wire.Gap(effect.room, after + 1, first - 1, "retention"), effect.number))
            if conn.gone:
                return
            self._server.fanout.send(conn, b"".join(frames))
            after = last
            self._server.fanout.flush()
            await conn.writable()
            seat = self._server.hub.seats.get(conn.id)
            if seat is None or effect.room not in seat.rooms:
                return

    def read(self, effect: effects.Read) -> None:
        """HISTORY: a page or a search."""
        self._server.spawn(self._server.answer(effect.conn, effect.ask.ref or "HISTORY", self._answer_history(effect)))

    async def _answer_history(self, effect: effects.Read) -> wire.Body:
        ask, limits = effect.ask, self._server.config.limits
        limit = max(1, min(ask.limit, limits.history_page))
        try:
            if ask.query:
                query = history.parse_query(ask.query)
                floors = {name: floor for name, floor in effect.rooms.items() if query.room in {"", name}}
                found, more = await self._search(query, floors, limit)
                return wire.HistoryPage(ask.room, found, more, 0, ask.ref)
            (name, floor), *_ = effect.rooms.items()
            found, more = await self._page_of(name, ask, floor, limit, limits.history_page_bytes)
            room = self._server.hub.rooms.get(name)
            return wire.HistoryPage(ask.room, found, more, max(room.oldest, floor + 1) if room else 0, ask.ref)
        finally:
            self._server.hub.has_read(effect.conn)

    async def _page_of(
        self, room: str, ask: wire.History, floor: int, limit: int, size: int
    ) -> tuple[list[wire.Msg], bool]:
        if self._server.posting.memory is not None:
            return self._server.posting.memory.page(room, ask, floor, limit, size)
        return await asyncio.wrap_future(self._server.store.page(room, ask, floor, limit, size))

    async def _search(self, query: history.Query, floors: dict[str, int], limit: int) -> tuple[list[wire.Msg], bool]:
        size, seconds = self._server.config.limits.history_page_bytes, self._server.config.timeouts.search_s
        if self._server.posting.memory is not None:
            return self._server.posting.memory.search(query, floors, limit, size)
        try:
            return await asyncio.wrap_future(self._server.store.search(query, floors, limit, size, seconds))
        except sqlite3.Error as error:
            raise Refusal("bad-query", f"the search gave up: {error}") from None
