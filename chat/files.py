"""Files at the server: the spool folder, uploads and downloads on their own connections.

An upload is written to `partial/<key>` chunk by chunk and given to followers while it arrives; complete, it is fsynced,
verified and renamed to `<sha256[:2]>/<sha256>`, then posted to its room. Names that users give never reach the file
system. The key of a partial is made of its owner and hash: the same offer resumes it, another's never does. Quotas are
counted when a file is offered, room permission on every FETCH.
"""

import asyncio
import functools
import hashlib
import os
import secrets
import shutil
import time
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chat import effects, log, wire
from chat.connection import Connection
from chat.errors import Refusal, TransferError
from chat.filein import UploadReader
from chat.fileout import PlainOut, TransportOut
from chat.session import State
from chat.transfer import CHUNK, CREDIT, Intake, Outlet, crc32c, ranges

if TYPE_CHECKING:
    from chat.server import Server

KNOWN_CRCS: Final = 256  # files whose chunk checksums are kept in memory: 8 KiB for a gigabyte
READ: Final = 1 << 20  # bytes a read while hashing
AGAIN_S: Final = 60.0  # the same offer so soon after its success is a retry whose answer was lost: not posted twice


@dataclass(eq=False, slots=True)
class Incoming:
    """A file that arrives, or will go on arriving."""

    file_id: str
    key: str
    owner: str
    sender: str
    room: str
    ask: wire.Offer
    path: Path
    fd: int
    intake: Intake
    crcs: "array[int]" = field(default_factory=lambda: array("I"))
    digest: "hashlib._Hash | None" = None  # of what came, while all of it came since it was opened
    conn: Connection | None = None
    followers: set["asyncio.Future[None]"] = field(default_factory=set)
    touched: float = 0.0
    finishing: bool = False
    failed: str = ""

    @property
    def ref(self) -> wire.FileRef:
        """How rooms see it."""
        return wire.FileRef(self.file_id, self.ask.name, self.ask.size, self.ask.sha256, self.ask.mime)

    def wake(self) -> None:
        """Tell the followers that there is more, or the end of it."""
        followers, self.followers = self.followers, set()
        for each in followers:
            if not each.done():
                each.set_result(None)


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


@dataclass(eq=False, slots=True)
class Ticket:
    """A one-time token's worth."""

    what: Incoming | Outgoing
    user: str
    until: float


class Files:
    """All transfers of a server. Runs on the event loop; hashing and fsync do not."""

    def __init__(self, server: "Server", folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._partial = folder / "partial"
        self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._incoming: dict[str, Incoming] = {}  # by key
        self._by_id: dict[str, Incoming] = {}
        self._tickets: dict[str, Ticket] = {}
        self._crcs: OrderedDict[str, array[int]] = OrderedDict()
        self._shown: dict[str, asyncio.Future[int]] = {}
        self._downloads: dict[str, int] = {}
        self._used = 0  # bytes of complete files
        self._sizes: dict[str, int] = {}  # owner -> bytes of complete files

    async def load(self) -> None:
        """Count what is there."""
        rows = await self._query("SELECT owner, sum(size) FROM files GROUP BY owner")
        self._sizes = dict(rows)
        self._used = sum(await self._column("SELECT size FROM files GROUP BY sha256"))

    def stop(self) -> None:
        """Close what is open; partials stay for the next start."""
        for each in self._incoming.values():
            os.close(each.fd)
        self._incoming.clear()

    # --- upload ------------------------------------------------------------------------------------------------------------

    async def offer(self, effect: effects.Upload) -> wire.Body:
        """The answer to an OFFER: ACCEPT or, by Refusal, ERROR."""
        ask, server = effect.ask, self._server
        conn = server.conns.get(effect.conn)
        seat = server.hub.seats.get(effect.conn)
        if conn is None or seat is None:
            raise Refusal("bad-request", "gone")
        owner = effect.sender if not seat.user.guest else f"{effect.sender}@{conn.address}"
        self._check_type(ask)
        done = await self._complete_of(owner, ask.sha256)
        if done is not None:
            return await self._post_again(effect, owner, done)
        incoming = self._incoming.get(_key(owner, ask.sha256))
        if incoming is None:
            self._check_quota(owner, ask.size)
            incoming = self._open(effect, owner)
        if incoming.finishing:
            raise Refusal("busy", "this file is being verified", 500)
        if incoming.ask.size != ask.size:
            raise Refusal("bad-file", "the same hash was offered with another size")
        if incoming.conn is not None:
            incoming.conn.abort()
            incoming.conn = None
        incoming.touched = server.loop.time()
        server.announce(effect.room, wire.Offered(effect.room, effect.sender, incoming.ref))
        token = self._ticket(incoming, effect.sender)
        return wire.Accept(
            ask.ref, incoming.file_id, token, CHUNK, incoming.intake.offset, CREDIT, ask.size, ask.sha256
        )

    def _check_type(self, ask: wire.Offer) -> None:
        mime = ask.mime.lower().split(";")[0].strip()
        for denied in self._server.config.files.deny:
            if mime == denied or (denied.endswith("/*") and mime.startswith(denied[:-1])):
                raise Refusal("bad-type", f"files of type {mime} are not taken here")

    def _check_quota(self, owner: str, size: int) -> None:
        """Everything that limits a new upload. Partials count with their full size."""
        keys = self._server.config.files
        if size > keys.file_bytes:
            raise Refusal("too-large", f"a file has at most {keys.file_bytes} bytes")
        mine = [each for each in self._incoming.values() if each.owner == owner]
        if len(mine) >= keys.uploads:
            raise Refusal("quota", f"{keys.uploads} uploads at once")
        if self._sizes.get(owner, 0) + sum(each.ask.size for each in mine) + size > keys.account_bytes:
            raise Refusal("quota", f"your files would have more than {keys.account_bytes} bytes")
        arriving = sum(each.ask.size for each in self._incoming.values())
        if self._used + arriving + size > keys.total_bytes:
            raise Refusal("quota", "the server's space for files is used up")
        to_come = sum(each.ask.size - each.intake.offset for each in self._incoming.values())
        if shutil.disk_usage(self._folder).free - to_come - size < keys.keep_free_bytes:
            raise Refusal("quota", "the server's disk is nearly full")

    def _open(self, effect: effects.Upload, owner: str) -> Incoming:
        """Open or make the partial file; it goes on at its last whole chunk."""
        ask, key = effect.ask, _key(owner, effect.ask.sha256)
        path = self._partial / key
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            have = min(os.fstat(fd).st_size, ask.size) // CHUNK * CHUNK
            os.ftruncate(fd, have)
        except OSError as error:
            raise Refusal("store", f"the spool refuses: {error.strerror}") from None
        file_id = secrets.token_hex(16)
        intake = Intake(file_id, ask.size, have)
        incoming = Incoming(file_id, key, owner, effect.sender, effect.room, ask, path, fd, intake)
        incoming.digest = hashlib.sha256() if have == 0 else None
        incoming.crcs.extend(crc32c(os.pread(fd, CHUNK, at)) for at in range(0, have, CHUNK))
        self._incoming[key] = self._by_id[file_id] = incoming
        return incoming

    def receive(self, conn: Connection, incoming: Incoming, body: wire.Body) -> None:
        """A frame other than DATA on an upload's connection."""
        if isinstance(body, wire.Done):
            self._give_up(incoming)
            conn.session.finish(self._server.loop.time())

    def chunk(
        self, conn: Connection, incoming: Incoming, file_id: str, offset: int, crc: int, payload: memoryview
    ) -> None:
        """A DATA frame on an upload's connection, its payload still in the buffer it was read into."""
        session, now = conn.session, self._server.loop.time()
        if incoming.finishing or incoming.failed or incoming.conn is not conn or session.state is not State.FILE:
            return
        try:
            if incoming.intake.check_chunk(file_id, offset, crc, payload):
                self._write(conn, incoming, payload, crc)
        except TransferError as error:
            if error.offset is None:
                session.close(error.code, error.text, now)
            else:
                session.send(wire.Error(error.code, error.text, ref=incoming.file_id, offset=error.offset))
        except OSError as error:
            session.close("store", f"the spool refuses: {error.strerror}", now)

    def _write(self, conn: Connection, incoming: Incoming, payload: memoryview, crc: int) -> None:
        at, view = incoming.intake.offset, payload
        while view:
            written = os.pwrite(incoming.fd, view, at)
            at, view = at + written, view[written:]
        if incoming.digest is not None:
            incoming.digest.update(payload)
        if incoming.intake.offset % CHUNK == 0:
            incoming.crcs.append(crc)
        credit = incoming.intake.took(len(payload))
        self._server.counters.upload_bytes += len(payload)
        incoming.touched = self._server.loop.time()
        if credit is not None:
            conn.session.send(credit)
        incoming.wake()
        if incoming.intake.complete:
            self._finish_later(incoming)

    def _finish_later(self, incoming: Incoming) -> None:
        incoming.finishing = True
        self._server.spawn(self._finish(incoming))

    async def _finish(self, incoming: Incoming) -> None:
        """All bytes are there: to disk, verify, rename, post, and only then DONE."""
        target = self._blob(incoming.ask.sha256)
        try:
            right = await asyncio.to_thread(_seal, incoming, target)
        except OSError as error:
            incoming.finishing = False
            self._end_upload(
                incoming, wire.Error("store", f"the spool refuses: {error.strerror}", ref=incoming.file_id)
            )
            return
        if not right:
            incoming.failed = "bad-sha256"
            self._forget(incoming, unlink=True)
            self._end_upload(
                incoming,
                wire.Error("bad-sha256", "the bytes are not what was offered; nothing was kept", ref=incoming.file_id),
            )
            return
        self._remember_crcs(incoming.ask.sha256, incoming.crcs)
        seq = await self._post(incoming.file_id, incoming.owner, incoming.sender, incoming.room, incoming.ref)
        self._forget(incoming)
        self._server.counters.uploads += 1
        if seq:
            self._end_upload(incoming, wire.Done(incoming.file_id, incoming.ask.size, incoming.ask.sha256))
        else:
            self._end_upload(
                incoming, wire.Error("store", "the file is here, but could not be posted", ref=incoming.file_id)
            )

    async def _post(self, file_id: str, owner: str, sender: str, room: str, ref: wire.FileRef) -> int:
        """Put the file into the books and the message into the room; returns its seq, 0 if the store refused."""
        server = self._server
        future: asyncio.Future[int] = server.loop.create_future()
        self._shown[file_id] = future
        row = (file_id, ref.sha256, ref.name, ref.size, ref.mime, owner, room, 0, time.time())
        server.save("put_file", row)
        server.posting.post(effects.Post(0, room, sender, "", "", ref))
        seq = await future
        if seq:
            if server.posting.memory is not None:
                server.save("set_file_seq", (seq, file_id))
            self._sizes[owner] = self._sizes.get(owner, 0) + ref.size
            if len(await self._query("SELECT 1 FROM files WHERE sha256 = ? LIMIT 2", ref.sha256)) == 1:
                self._used += ref.size
        else:
            server.save("remove_file", (file_id,))
        return seq

    def shown(self, file_id: str, seq: int) -> None:
        """The message of a file is on disk (or, with 0, refused)."""
        future = self._shown.pop(file_id, None)
        if future is not None and not future.done():
            future.set_result(seq)

    async def _complete_of(self, owner: str, sha256: str) -> Any:
        """The latest file of this owner with this hash, if its bytes are there."""
        if not self._blob(sha256).exists():
            return None
        rows = await self._query(
            "SELECT id, room, name, made, size FROM files WHERE owner = ? AND sha256 = ? AND seq > 0 ORDER BY made DESC LIMIT 1",
            owner,
            sha256,
        )
        return rows[0] if rows else None

    async def _post_again(
        self, effect: effects.Upload, owner: str, done: tuple[str, str, str, float, int]
    ) -> wire.Body:
        """The owner's own file once more: nothing to upload."""
        ask = effect.ask
        file_id, room, name, made, size = done
        if size != ask.size:
            raise Refusal("bad-file", "the same hash was offered with another size")
        if not (room == effect.room and name == ask.name and time.time() - made < AGAIN_S):
            self._check_quota(owner, ask.size)
            file_id = secrets.token_hex(16)
            ref = wire.FileRef(file_id, ask.name, ask.size, ask.sha256, ask.mime)
            if not await self._post(file_id, owner, effect.sender, effect.room, ref):
                raise Refusal("store", "the disk refused, nothing was kept")
        return wire.Accept(ask.ref, file_id, "", CHUNK, ask.size, 0, ask.size, ask.sha256)

    def _end_upload(self, incoming: Incoming, body: wire.Body) -> None:
        """The last word to the uploader, if it is still there."""
        conn, incoming.conn = incoming.conn, None
        if conn is None or conn.gone:
            return
        conn.session.send(body)
        conn.session.finish(self._server.loop.time())
        self._server.push(conn)

    def _give_up(self, incoming: Incoming) -> None:
        if not incoming.finishing:
            incoming.failed = "given up"
            self._forget(incoming, unlink=True)

    def _forget(self, incoming: Incoming, unlink: bool = False) -> None:
        """An upload is over, one way or the other."""
        if self._incoming.pop(incoming.key, None) is None:
            return
        self._by_id.pop(incoming.file_id, None)
        if unlink:
            incoming.path.unlink(missing_ok=True)
        incoming.wake()
        os.close(incoming.fd)

    # --- download ----------------------------------------------------------------------------------------------------------

    async def fetch(self, effect: effects.Download) -> wire.Body:
        """The answer to a FETCH. What the user may not see does not exist."""
        ask, server = effect.ask, self._server
        incoming = self._by_id.get(ask.file_id)
        if incoming is not None:
            room, seq, sha256, size, path = incoming.room, 0, incoming.ask.sha256, incoming.ask.size, incoming.path
        else:
            rows = await self._query("SELECT room, seq, sha256, size FROM files WHERE id = ? AND seq > 0", ask.file_id)
            if not rows:
                raise Refusal("no-file", "no such file")
            room, seq, sha256, size = rows[0]
            path = self._blob(sha256)
        seat = server.hub.seats.get(effect.conn)
        if seat is None or not server.hub.may_read(effect.conn, room, seq):
            raise Refusal("no-file", "no such file")
        if incoming is None and not path.exists():
            raise Refusal("expired", "the file is not kept any more")
        if self._downloads.get(seat.user.name, 0) >= server.config.files.downloads:
            raise Refusal("quota", f"{server.config.files.downloads} downloads at once")
        try:
            start, end = ranges(size, ask.offset, ask.length)
        except TransferError as error:
            raise Refusal(error.code, error.text) from None
        out = Outgoing(ask.file_id, seat.user.name, path, sha256, size, Outlet(ask.file_id, start, end), incoming)
        return wire.Accept(ask.ref, ask.file_id, self._ticket(out, seat.user.name), CHUNK, start, 0, size, sha256)

    async def _send(self, conn: Connection, out: Outgoing) -> None:
        """Send a download, from the disk to the socket, as far as the file has come and on as it comes."""
        server = self._server
        self._downloads[out.user] = self._downloads.get(out.user, 0) + 1
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
        whole = rest == 0 and (size == CHUNK or offset + size == out.size)
        if whole and crcs is not None and index < len(crcs):
            return crcs[index]
        value = crc32c(os.pread(fd, size, offset))
        if whole and out.source is None and index == (len(crcs) if crcs is not None else 0):
            if crcs is None:
                crcs = self._remember_crcs(out.sha256, array("I"))
            crcs.append(value)
        return value

    def _remember_crcs(self, sha256: str, crcs: "array[int]") -> "array[int]":
        self._crcs[sha256] = crcs
        while len(self._crcs) > KNOWN_CRCS:
            self._crcs.popitem(last=False)
        return crcs

    def _one_less(self, user: str) -> None:
        left = self._downloads.get(user, 1) - 1
        if left > 0:
            self._downloads[user] = left
        else:
            self._downloads.pop(user, None)

    # --- connections -------------------------------------------------------------------------------------------------------

    def _ticket(self, what: Incoming | Outgoing, user: str) -> str:
        now = self._server.loop.time()
        self._tickets = {token: ticket for token, ticket in self._tickets.items() if ticket.until > now}
        if sum(ticket.user == user for ticket in self._tickets.values()) >= 64:
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
            if self._incoming.get(what.key) is not what or what.finishing:
                return False
            if what.conn is not None:
                what.conn.abort()
            what.conn = conn
        conn.peer = what
        conn.session.become_file(now)
        if isinstance(what, Outgoing):
            self._server.spawn(self._send(conn, what))
        elif isinstance(what, Incoming):
            self._read_upload(conn, what)
        return True

    def _read_upload(self, conn: Connection, incoming: Incoming) -> None:
        """From here on the connection's bytes go to the disk."""
        if incoming.intake.complete:
            self._finish_later(incoming)
        chunk = functools.partial(self.chunk, conn, incoming)
        reader = UploadReader(conn, chunk, functools.partial(self.receive, conn, incoming))
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

    # --- the folder --------------------------------------------------------------------------------------------------------

    async def remove(self, file_id: str, may: Any) -> None:
        """Remove a file and, when no other message has it, its bytes. `may(room, owner)` decides. Raises Refusal."""
        rows = await self._query("SELECT room, owner FROM files WHERE id = ?", file_id)
        if not rows or not may(*rows[0]):
            raise Refusal("no-file", "no such file, or not yours to remove")
        await self._drop([file_id])

    async def expire(self) -> None:
        """Files past their days, partials past their hours."""
        keys, now = self._server.config.files, time.time()
        if keys.days:
            await self._drop(await self._column("SELECT id FROM files WHERE made < ?", now - keys.days * 86_400))
        await self._drop(await self._column("SELECT id FROM files WHERE seq = 0 AND made < ?", now - 3600))
        steady = self._server.loop.time()
        for incoming in list(self._incoming.values()):
            if (
                incoming.conn is None
                and not incoming.finishing
                and steady - incoming.touched > keys.partial_hours * 3600
            ):
                incoming.failed = "expired"
                self._forget(incoming, unlink=True)
        for path in self._partial.iterdir():
            if path.name not in self._incoming and now - path.stat().st_mtime > keys.partial_hours * 3600:
                path.unlink(missing_ok=True)

    async def _drop(self, file_ids: list[str]) -> None:
        for file_id in file_ids:
            rows = await self._query("SELECT sha256, owner, size FROM files WHERE id = ?", file_id)
            await asyncio.wrap_future(self._server.store.save("remove_file", (file_id,)))
            for sha256, owner, size in rows:
                self._sizes[owner] = max(0, self._sizes.get(owner, 0) - size)
                if not await self._query("SELECT 1 FROM files WHERE sha256 = ? LIMIT 1", sha256):
                    self._blob(sha256).unlink(missing_ok=True)
                    self._used = max(0, self._used - size)

    def _blob(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    async def _query(self, sql: str, *values: Any) -> list[Any]:
        """Rows, read in order with what is being written."""
        return await asyncio.wrap_future(self._server.store.call(lambda db: db.execute(sql, values).fetchall()))

    async def _column(self, sql: str, *values: Any) -> list[Any]:
        return [row[0] for row in await self._query(sql, *values)]


def _key(owner: str, sha256: str) -> str:
    return hashlib.sha256(f"{owner}\0{sha256}".encode()).hexdigest()


def _seal(incoming: Incoming, target: Path) -> bool:
    """fsync, compare the hash (read again what came before a restart), rename: in a thread. False if the hash is another."""
    fd, path, digest = incoming.fd, incoming.path, incoming.digest
    os.fsync(fd)
    if digest is None:
        digest, at, buffer = hashlib.sha256(), 0, bytearray(READ)
        while count := os.preadv(fd, [buffer], at):
            digest.update(memoryview(buffer)[:count])
            at += count
    if digest.hexdigest() != incoming.ask.sha256:
        return False
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.replace(path, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
