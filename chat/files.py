"""Files at the server: the front of uploads, downloads and the shelf they share, and the one-time tokens.

OFFER and FETCH are answered with a token; the connection that shows it becomes the transfer's. What arrives is in
chat/uploads.py, what is sent in chat/downloads.py, what is kept in chat/shelf.py.
"""

import functools
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chat import effects, wire
from chat.connection import Connection
from chat.downloads import Downloads, Outgoing
from chat.errors import Refusal
from chat.filein import UploadReader
from chat.shelf import Shelf
from chat.transfer import CHUNK, CREDIT
from chat.uploads import Incoming, Uploads

if TYPE_CHECKING:
    from chat.server import Server

TICKETS: Final = 64  # of one user that were not shown yet


@dataclass(eq=False, slots=True)
class Ticket:
    """A one-time token's worth."""

    what: Incoming | Outgoing
    user: str
    until: float


class Files:
    """All transfers of a server."""

    def __init__(self, server: "Server", folder: Path) -> None:
        self._server = server
        self.shelf = Shelf(server, folder)
        self.uploads = Uploads(server, self.shelf)
        self.downloads = Downloads(server, self.shelf, self.uploads)
        self._tickets: dict[str, Ticket] = {}

    async def load(self) -> None:
        """Count what is there."""
        await self.shelf.load()

    def stop(self) -> None:
        """Close what is open; partials stay for the next start."""
        self.uploads.stop()

    async def offer(self, effect: effects.Upload) -> wire.Body:
        """The answer to an OFFER: ACCEPT or, by Refusal, ERROR."""
        what = await self.uploads.offer(effect)
        if isinstance(what, wire.Accept):
            return what
        ask = effect.ask
        token = self._ticket(what, effect.sender)
        return wire.Accept(ask.ref, what.file_id, token, CHUNK, what.intake.offset, CREDIT, ask.size, ask.sha256)

    async def fetch(self, effect: effects.Download) -> wire.Body:
        """The answer to a FETCH: ACCEPT or, by Refusal, ERROR."""
        out = await self.downloads.fetch(effect)
        token = self._ticket(out, out.user)
        return wire.Accept(effect.ask.ref, out.file_id, token, CHUNK, out.outlet.offset, 0, out.size, out.sha256)

    def shown(self, file_id: str, seq: int) -> None:
        """The message of a file is on disk (or, with 0, refused)."""
        self.uploads.shown(file_id, seq)

    async def remove(self, file_id: str, may: Any) -> None:
        """Remove a file and, when no other message has it, its bytes. `may(room, owner)` decides. Raises Refusal."""
        await self.shelf.remove(file_id, may)

    async def expire(self) -> None:
        """Files past their days, partials past their hours."""
        self.uploads.expire()
        await self.shelf.expire(set(self.uploads.incoming))

    def _ticket(self, what: Incoming | Outgoing, user: str) -> str:
        now = self._server.loop.time()
        self._tickets = {token: ticket for token, ticket in self._tickets.items() if ticket.until > now}
        if sum(ticket.user == user for ticket in self._tickets.values()) >= TICKETS:
            raise Refusal("flood", "too many transfers that were not begun", 5000)
        token = secrets.token_urlsafe(24)
        self._tickets[token] = Ticket(what, user, now + self._server.config.timeouts.token_s)
        return token

    def claim(self, conn: Connection, token: str, now: float) -> bool:
        """A connection shows a token: it becomes the file's. False: no such token (any more)."""
        ticket = self._tickets.pop(token, None)
        if ticket is None or ticket.until < now:
            return False
        what = ticket.what
        if isinstance(what, Incoming):
            if self.uploads.incoming.get(what.key) is not what or what.finishing:
                return False
            if what.conn is not None:
                what.conn.abort()
            what.conn = conn
        conn.peer = what
        conn.session.become_file(now)
        if isinstance(what, Outgoing):
            self._server.spawn(self.downloads.send(conn, what))
        elif isinstance(what, Incoming):
            self._read_upload(conn, what)
        return True

    def _read_upload(self, conn: Connection, incoming: Incoming) -> None:
        """From here on the connection's bytes go to the disk."""
        if incoming.intake.complete:
            self.uploads.finish_later(incoming)
        chunk = functools.partial(self.uploads.chunk, conn, incoming)
        reader = UploadReader(conn, chunk, functools.partial(self.uploads.receive, conn, incoming))
        conn.transport.pause_reading()
        conn.transport.set_protocol(reader)
        conn.transport.resume_reading()

    def lost(self, conn: Connection) -> None:
        """A file connection is gone; what has arrived stays."""
        if isinstance(conn.peer, Incoming) and conn.peer.conn is conn:
            conn.peer.conn = None
        if isinstance(conn.peer, Outgoing) and conn.peer.source is not None:
            conn.peer.source.wake()

    def cut(self, user: str) -> None:
        """End all transfers of a user."""
        for conn in list(self._server.conns.values()):
            what = conn.peer
            if (isinstance(what, Incoming) and what.sender == user) or (
                isinstance(what, Outgoing) and what.user == user
            ):
                conn.abort()
