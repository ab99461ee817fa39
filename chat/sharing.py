"""Files on their own connection: sending one in the server's credit, receiving one into a `Download`.

`Sharing` asks (OFFER, FETCH) by a function it is given, opens a file connection with the token of the answer, and carries the
bytes by `upload` or `download`. A break leaves both ends where they were; it asks again and goes on from there, until it has
tried FILE_TRIES times without a byte of progress. It knows nothing of logins, events or screens.
"""

import asyncio
import contextlib
import hashlib
import mimetypes
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import google_crc32c

from chat import wire
from chat.download import Download
from chat.errors import TransferError
from chat.events import File
from chat.link import Address, Link, LinkError, RefusedError, open_link

STALL_S: Final = 60.0  # no byte of a transfer for so long: the connection is given up; the server's own limit
FILE_TRIES: Final = 8  # breaks in a row without a byte of progress: then somebody does not want it
RETRY_FIRST_S: Final = 0.25  # before the first try to go on, doubling from there
RETRY_MOST_S: Final = 5.0
STALE: Final = frozenset({"bad-token", "timeout", "full", "too-many"})  # refusals of a file connection: ask again
HASH_BYTES: Final = 1 << 20
YIELD_BYTES: Final = 4 << 20  # a fast sender or receiver lets others on the loop work this often

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def no_progress(done: int, size: int) -> None:
    """The default: tell nobody."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to send, open for reading, with what OFFER says of it."""

    fd: int
    name: str
    size_bytes: int
    sha256: str
    mime: str

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def open_source(path: Path) -> Source:
    """Open and hash a regular file. Blocks for as long as reading takes. TransferError if it is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TransferError("bad-file", f"{path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise TransferError("bad-file", f"{path}: not a regular file")
        digest, size = hashlib.sha256(), 0
        while block := os.pread(fd, HASH_BYTES, size):
            digest.update(block)
            size += len(block)
    except BaseException:
        os.close(fd)
        raise
    mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    name = os.fsencode(path.name).decode("utf-8", "replace")  # a name on the disk may be any bytes
    return Source(fd, name, size, digest.hexdigest(), mime)


Answer = TypeVar("Answer", bound=wire.Body)


class Asker(Protocol):
    """How a request gets its answer: asked again over breaks of the chat connection."""

    async def __call__(self, request: Callable[[str], wire.Body], kind: type[Answer]) -> Answer: ...


class Sharing:
    """The transfers of one client. `links` are the file connections that are open now."""

    def __init__(self, address: Address, ask: Asker, jitter: Callable[[], float]) -> None:
        self.links: set[Link] = set()
        self._address, self._ask, self._jitter = address, ask, jitter

    async def send(self, room: str, path: Path, progress: Progress) -> wire.FileRef:
        """Offer and upload a file, as `Client.send_file`."""
        source = await asyncio.to_thread(open_source, path)
        tries, reached = 0, -1

        def offer(ref: str) -> wire.Offer:
            return wire.Offer(ref, source.name, source.size_bytes, source.sha256, room, source.mime)

        try:
            while True:
                accept = await self._ask(offer, wire.Accept)
                if accept.next_offset > reached:
                    tries, reached = 0, accept.next_offset
                try:
                    if accept.token:  # without one the server has the file already
                        async with self._file_link(accept.token) as link:
                            await upload(link, source, accept, progress)
                    progress(source.size_bytes, source.size_bytes)
                    return wire.FileRef(accept.file_id, source.name, source.size_bytes, source.sha256, source.mime)
                except LinkError as error:
                    tries += 1
                    await self._pause(tries, error)
        finally:
            source.close()

    async def fetch(self, file: File, folder: Path, progress: Progress) -> Path:
        """Receive a file, as `Client.fetch`."""
        with Download(folder, file.raw_name, file.size_bytes, file.sha256) as incoming:
            tries, reached = 0, incoming.offset
            while incoming.offset < incoming.size_bytes:
                try:
                    await self._receive(file.file_id, incoming, progress)
                except LinkError as error:
                    tries = 0 if incoming.offset > reached else tries + 1
                    reached = incoming.offset
                    await self._pause(tries, error)
            return await asyncio.to_thread(incoming.finish)

    async def _receive(self, file_id: str, incoming: Download, progress: Progress) -> None:
        offset = incoming.offset
        accept = await self._ask(lambda ref: wire.Fetch(ref, file_id, offset), wire.Accept)
        async with self._file_link(accept.token) as link:
            await download(link, incoming, file_id, progress)

    @contextlib.asynccontextmanager
    async def _file_link(self, token: str) -> AsyncIterator[Link]:
        """A file connection. LinkError also if the token is not known (any more): a server that restarted has new ones."""
        try:
            link = await open_link(self._address, transfer=token)
        except RefusedError as error:
            if error.code in STALE:
                raise LinkError(str(error)) from error
            raise
        self.links.add(link)
        try:
            yield link
        finally:
            self.links.discard(link)
            link.abort()

    async def _pause(self, tries: int, error: LinkError) -> None:
        if tries >= FILE_TRIES:
            raise TransferError("broken", f"given up after {tries} breaks without progress: {error}") from error
        await asyncio.sleep(min(RETRY_FIRST_S * 2**tries, RETRY_MOST_S) * (0.5 + self._jitter()))


async def upload(link: Link, source: Source, accept: wire.Accept, progress: Progress) -> wire.Done:
    """Send from `next_offset` on, never more than the credit ahead, until the server has verified the whole.

    LinkError at a break, RefusedError if the server gives up on it, TransferError if the file changed meanwhile.
    """
    offset = accept.next_offset
    window = offset + accept.credit * accept.chunk
    while True:
        size = min(accept.chunk, source.size_bytes - offset, window - offset)
        if size > 0:
            block = os.pread(source.fd, size, offset)
            if len(block) < size:
                raise TransferError("bad-file", f"{source.name}: became shorter while it was sent")
            link.send(wire.Data(accept.file_id, offset, google_crc32c.value(block), block))
            offset += size
            await link.drain()
            continue
        body = await link.receive(STALL_S)
        match body:
            case wire.Done():
                progress(source.size_bytes, source.size_bytes)
                return body
            case wire.Credit():
                window = max(window, body.offset + body.credit * accept.chunk)
                progress(min(body.offset, source.size_bytes), source.size_bytes)
            case wire.Error(offset=None):
                raise RefusedError(body.code, body.text, body.retry_ms / 1000)
            case wire.Error(offset=int(back)):
                offset = min(back, source.size_bytes)
                window = offset + accept.credit * accept.chunk
            case wire.Ping():
                link.send(wire.Pong(body.nonce))


async def download(link: Link, incoming: Download, file_id: str, progress: Progress) -> None:
    """Receive from `incoming.offset` on until all is there. LinkError at a break or a damaged chunk: ask again from there."""
    yielded = incoming.offset
    while incoming.offset < incoming.size_bytes:
        body = await link.receive(STALL_S)
        match body:
            case wire.Data():
                _take(incoming, body, file_id)
                progress(incoming.offset, incoming.size_bytes)
            case wire.Error():
                raise RefusedError(body.code, body.text, body.retry_ms / 1000)
            case wire.Ping():
                link.send(wire.Pong(body.nonce))
            case wire.Done():
                raise LinkError(
                    f"{incoming.name}: the server was done at {incoming.offset} of {incoming.size_bytes} bytes"
                )
        if incoming.offset - yielded > YIELD_BYTES:
            yielded = incoming.offset
            await asyncio.sleep(0)


def _take(incoming: Download, body: wire.Data, file_id: str) -> None:
    if body.file_id != file_id:
        raise LinkError(f"{incoming.name}: got a chunk of another file")
    if google_crc32c.value(body.payload) != body.crc:
        raise LinkError(f"{incoming.name}: damaged chunk at {body.offset}")
    if body.offset != incoming.offset:
        raise LinkError(f"{incoming.name}: got bytes at {body.offset}, expected {incoming.offset}")
    incoming.write(body.offset, body.payload)
