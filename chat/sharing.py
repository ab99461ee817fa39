"""Files on their own connection: sending one in the server's credit, receiving one into a `Download`.

In: an open file `Link`, the server's ACCEPT, a `Source` or a `Download`. Out: the server's DONE, or an error; a break leaves
both ends where they were, and the caller (`chat.client`) asks again. It knows nothing of rooms, logins or screens.
"""

import asyncio
import hashlib
import mimetypes
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c

from chat import wire
from chat.download import Download
from chat.errors import TransferError
from chat.link import Link, LinkError, RefusedError

STALL_S: Final = 60.0  # no byte of a transfer for so long: the connection is given up; the server's own limit
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
    return Source(fd, path.name, size, digest.hexdigest(), mime)


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
