"""Uploads: from the offer to the message, on a connection of their own.

What arrives is written to `partial/<key>` chunk by chunk and given to followers meanwhile; complete, it is fsynced,
verified and renamed, then posted to its room, and only then DONE. The key is made of owner and hash: the same offer
resumes a partial, another's never does. Quotas are counted when a file is offered.
"""

import asyncio
import hashlib
import os
import secrets
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chat import effects, wire
from chat.connection import Connection
from chat.errors import Refusal, TransferError
from chat.session import State
from chat.shelf import Shelf
from chat.transfer import CHUNK, Intake

if TYPE_CHECKING:
    from chat.server import Server

READ: Final = 1 << 20  # bytes a read while hashing
PARTIALS: Final = (
    128  # of all users together: each has an open file, and the process has not many beside its connections
)
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
    crcs: "array[int]" = field(default_factory=lambda: array("I"))  # of the chunks from `crcs_from` on
    crcs_from: int = 0
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


class Uploads:
    """What arrives at a server. Runs on the event loop; hashing and fsync do not."""

    def __init__(self, server: "Server", shelf: Shelf) -> None:
        self._server = server
        self._shelf = shelf
        self.incoming: dict[str, Incoming] = {}  # by key
        self.by_id: dict[str, Incoming] = {}
        self._shown: dict[str, asyncio.Future[int]] = {}

    async def offer(self, effect: effects.Upload) -> Incoming | wire.Accept:
        """The answer to an OFFER: what is to arrive, or the ACCEPT of a file that is here already. Raises Refusal."""
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
        incoming = self.incoming.get(_key(owner, ask.sha256))
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
        return incoming

    def _check_type(self, ask: wire.Offer) -> None:
        mime = ask.mime.lower().split(";")[0].strip()
        for denied in self._server.config.files.deny:
            if mime == denied or (denied.endswith("/*") and mime.startswith(denied[:-1])):
                raise Refusal("bad-type", f"files of type {mime} are not taken here")

    def _let_go(self) -> None:
        """Offers that nobody began with, and of too many partials those that rested longest: else whoever offers and sends
        nothing would hold everybody's space for a day. Raises Refusal if all are under way."""
        now, token_s = self._server.loop.time(), self._server.config.timeouts.token_s
        resting = [each for each in self.incoming.values() if each.conn is None and not each.finishing]
        for each in sorted(resting, key=lambda each: each.touched):
            begun = each.intake.offset or now - each.touched <= token_s
            if not begun or len(self.incoming) >= PARTIALS:
                each.failed = "expired"
                self._forget(each, unlink=True)
        if len(self.incoming) >= PARTIALS:
            raise Refusal("busy", "too many files are arriving", 5000)

    def _check_quota(self, owner: str, size: int) -> None:
        """Everything that limits a new upload. Partials count with their full size."""
        self._let_go()
        keys, everybody = self._server.config.files, list(self.incoming.values())
        mine = [each for each in everybody if each.owner == owner]
        if len(mine) >= keys.uploads:
            raise Refusal("quota", f"{keys.uploads} uploads at once")
        arriving, of_owner = sum(each.ask.size for each in everybody), sum(each.ask.size for each in mine)
        to_come = sum(each.ask.size - each.intake.offset for each in everybody)
        self._shelf.check_space(size, owner, arriving, of_owner, to_come)

    def _open(self, effect: effects.Upload, owner: str) -> Incoming:
        """Open or make the partial file; it goes on at its last whole chunk."""
        ask, key = effect.ask, _key(owner, effect.ask.sha256)
        path = self._shelf.partial / key
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
        incoming.crcs_from = have // CHUNK
        self.incoming[key] = self.by_id[file_id] = incoming
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
            self.finish_later(incoming)

    def finish_later(self, incoming: Incoming) -> None:
        incoming.finishing = True
        self._server.spawn(self._finish(incoming))

    async def _finish(self, incoming: Incoming) -> None:
        """All bytes are there: to disk, verify, rename, post, and only then DONE."""
        target = self._shelf.blob(incoming.ask.sha256)
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
        if not incoming.crcs_from:
            self._server.files.downloads.remember_crcs(incoming.ask.sha256, incoming.crcs)
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
            await self._shelf.kept(owner, ref.sha256, ref.size)
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
        if not self._shelf.blob(sha256).exists():
            return None
        rows = await self._shelf.query(
            "SELECT id, room, name, made, size FROM files WHERE owner = ? AND sha256 = ? AND seq > 0 ORDER BY made DESC LIMIT 1",
            owner,
            sha256,
        )
        return rows[0] if rows else None

    async def _post_again(
        self, effect: effects.Upload, owner: str, done: tuple[str, str, str, float, int]
    ) -> wire.Accept:
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
        if self.incoming.pop(incoming.key, None) is None:
            return
        self.by_id.pop(incoming.file_id, None)
        if unlink:
            incoming.path.unlink(missing_ok=True)
        incoming.wake()
        os.close(incoming.fd)

    def expire(self) -> None:
        """Partials that nobody has gone on with."""
        steady, hours = self._server.loop.time(), self._server.config.files.partial_hours
        for incoming in list(self.incoming.values()):
            if incoming.conn is None and not incoming.finishing and steady - incoming.touched > hours * 3600:
                incoming.failed = "expired"
                self._forget(incoming, unlink=True)

    def stop(self) -> None:
        """Close what is open; partials stay for the next start."""
        for each in self.incoming.values():
            os.close(each.fd)
        self.incoming.clear()


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
