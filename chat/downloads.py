"""Downloads: what a FETCH grants, sent on a connection of its own as far as the file has come and on as it comes.

Room permission is checked on every FETCH; what the user may not see does not exist. How bytes get onto the socket is in
chat/fileout.py.
"""

import asyncio
import os
from array import array
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chat import effects, log, wire
from chat.connection import Connection
from chat.errors import Refusal, TransferError
from chat.fileout import PlainOut, TransportOut
from chat.shelf import Shelf
from chat.transfer import CHUNK, Outlet, crc32c, ranges
from chat.uploads import Incoming, Uploads

if TYPE_CHECKING:
    from chat.server import Server

KNOWN_CRCS: Final = 256  # files whose chunk checksums are kept in memory: 4 KiB for a gigabyte


@dataclass(eq=False, slots=True)
class Outgoing:
    """A download that was granted."""

    file_id: str
    user: str
    path: Path
    sha256: str
    size: int
    outlet: Outlet
    source: Incoming | None


class Downloads:
    """What is sent. Runs on the event loop."""

    def __init__(self, server: "Server", shelf: Shelf, uploads: Uploads) -> None:
        self._server = server
        self._shelf = shelf
        self._uploads = uploads
        self._crcs: OrderedDict[str, array[int]] = OrderedDict()
        self._under_way: dict[str, int] = {}  # by user

    async def fetch(self, effect: effects.Download) -> Outgoing:
        """What a FETCH grants. Raises Refusal; what the user may not see does not exist."""
        ask, server = effect.ask, self._server
        incoming = self._uploads.by_id.get(ask.file_id)
        if incoming is not None:
            room, seq, sha256, size, path = incoming.room, 0, incoming.ask.sha256, incoming.ask.size, incoming.path
        else:
            rows = await self._shelf.query(
                "SELECT room, seq, sha256, size FROM files WHERE id = ? AND seq > 0", ask.file_id
            )
            if not rows:
                raise Refusal("no-file", "no such file")
            room, seq, sha256, size = rows[0]
            path = self._shelf.blob(sha256)
        seat = server.hub.seats.get(effect.conn)
        if seat is None or not server.hub.may_read(effect.conn, room, seq):
            raise Refusal("no-file", "no such file")
        if incoming is None and not path.exists():
            raise Refusal("expired", "the file is not kept any more")
        if self._under_way.get(seat.user.name, 0) >= server.config.files.downloads:
            raise Refusal("quota", f"{server.config.files.downloads} downloads at once")
        try:
            start, end = ranges(size, ask.offset, ask.length)
        except TransferError as error:
            raise Refusal(error.code, error.text) from None
        return Outgoing(ask.file_id, seat.user.name, path, sha256, size, Outlet(ask.file_id, start, end), incoming)

    async def send(self, conn: Connection, out: Outgoing) -> None:
        """Send a download, from the disk to the socket, as far as the file has come and on as it comes."""
        server = self._server
        self._under_way[out.user] = self._under_way.get(out.user, 0) + 1
        try:
            fd = (
                os.dup(out.source.fd)
                if out.source is not None and not out.source.failed
                else os.open(out.path, os.O_RDONLY | os.O_CLOEXEC)
            )
        except OSError:
            conn.session.close("expired", "the file is not kept any more", server.loop.time())
            server.push(conn)
            self._one_less(out.user)
            return
        wire_out = PlainOut(conn, server) if server.plain else TransportOut(conn, server)
        try:
            await wire_out.begin()
            await self._pump(conn, out, fd, wire_out)
        except (ConnectionError, OSError) as error:
            log.event("download-broken", conn=conn.id, error=str(error))
            conn.abort()
        finally:
            wire_out.end()
            os.close(fd)
            self._one_less(out.user)

    async def _pump(self, conn: Connection, out: Outgoing, fd: int, wire_out: PlainOut | TransportOut) -> None:
        outlet, server = out.outlet, self._server
        while not outlet.complete and not conn.gone:
            size = outlet.next(self._available(out))
            if size == 0:
                if out.source is not None and out.source.failed:
                    await wire_out.write(
                        wire.encode(wire.Error(out.source.failed, "the upload has failed", ref=out.file_id))
                    )
                    break
                await self._more(out)
                conn.session.progress(server.loop.time())
                continue
            head = wire.data_head(out.file_id, outlet.offset, self._crc(out, fd, outlet.offset, size), size)
            await wire_out.write(head, more=True)
            await wire_out.file(fd, outlet.offset, size)
            outlet.sent(size)
            server.counters.download_bytes += size
            conn.session.progress(server.loop.time())
        if conn.gone:
            return
        if outlet.complete:
            server.counters.downloads += 1
            await wire_out.write(wire.encode(wire.Done(out.file_id, out.size, out.sha256)))
        conn.transport.close()

    def _available(self, out: Outgoing) -> int:
        """Bytes of the file that are there."""
        if out.source is None or out.source.intake.complete:
            return out.size
        return out.source.intake.offset

    async def _more(self, out: Outgoing) -> None:
        """Wait until more of the file has arrived."""
        assert out.source is not None
        future: asyncio.Future[None] = self._server.loop.create_future()
        out.source.followers.add(future)
        await future

    def _crc(self, out: Outgoing, fd: int, offset: int, size: int) -> int:
        """The checksum of a chunk: the uploader's where it is known, else computed once and kept."""
        crcs = out.source.crcs if out.source is not None else self._crcs.get(out.sha256)
        index, rest = divmod(offset, CHUNK)
        index -= out.source.crcs_from if out.source is not None else 0
        whole = rest == 0 and (size == CHUNK or offset + size == out.size)
        if whole and crcs is not None and 0 <= index < len(crcs):
            return crcs[index]
        value = crc32c(os.pread(fd, size, offset))
        if whole and out.source is None and index == (len(crcs) if crcs is not None else 0):
            if crcs is None:
                crcs = self.remember_crcs(out.sha256, array("I"))
            crcs.append(value)
        return value

    def remember_crcs(self, sha256: str, crcs: "array[int]") -> "array[int]":
        """Keep a file's checksums for the next receivers."""
        self._crcs[sha256] = crcs
        while len(self._crcs) > KNOWN_CRCS:
            self._crcs.popitem(last=False)
        return crcs

    def _one_less(self, user: str) -> None:
        left = self._under_way.get(user, 1) - 1
        if left > 0:
            self._under_way[user] = left
        else:
            self._under_way.pop(user, None)
