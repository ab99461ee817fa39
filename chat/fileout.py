"""Bytes of a file onto a socket: by sendfile beside a plaintext transport, or through the transport under TLS.

Both have begin(), write(), file(), end(); chat/files.py decides what is sent. Plain sending takes a duplicate of the
socket, because asyncio and uvloop let nobody else watch the descriptor of a transport, and from begin() on nobody but
it may write: a frame in the middle of a chunk would break the stream, so the connection is marked quiet.
"""

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from chat.connection import Connection
from chat.transfer import CHUNK

if TYPE_CHECKING:
    from chat.server import Server


class PlainOut:
    """A plaintext socket that is written past its transport: heads by send, files by sendfile."""

    def __init__(self, conn: Connection, server: "Server") -> None:
        self._conn = conn
        self._loop = server.loop
        self._server = server
        self._sock: socket.socket | None = None

    async def begin(self) -> None:
        """Wait for what the transport still holds (WELCOME), then go on beside it through a duplicate."""
        self._server.push(self._conn)
        self._server.fanout.flush()
        while self._conn.transport.get_write_buffer_size() and not self._conn.gone:
            await asyncio.sleep(0.001)
        if self._conn.gone:
            raise ConnectionResetError("gone")
        self._conn.quiet = True
        self._sock = socket.socket(fileno=os.dup(self._conn.transport.get_extra_info("socket").fileno()))
        self._sock.setblocking(False)

    async def write(self, data: bytes, more: bool = False) -> None:
        """Send all bytes; `more` follows at once."""
        assert self._sock is not None
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view, socket.MSG_MORE if more else 0) :]
            except BlockingIOError:
                await self._writable()

    async def file(self, fd: int, offset: int, size: int) -> None:
        """Send a piece of the file without it passing through this process."""
        assert self._sock is not None
        out, end = self._sock.fileno(), offset + size
        while offset < end:
            try:
                sent = os.sendfile(out, fd, offset, end - offset)
            except BlockingIOError:
                await self._writable()
                continue
            if sent == 0:
                raise OSError("the file is shorter than it was")
            offset += sent
        if offset % (8 * CHUNK) == 0:
            await asyncio.sleep(0)  # a fast receiver must not keep the loop for itself

    async def _writable(self) -> None:
        assert self._sock is not None
        fd, future = self._sock.fileno(), self._loop.create_future()
        self._loop.add_writer(fd, _wake, future)
        try:
            await future
        finally:
            self._loop.remove_writer(fd)
        if self._conn.gone:
            raise ConnectionResetError("gone")

    def end(self) -> None:
        """Give the duplicate back."""
        if self._sock is not None:
            self._sock.close()


class TransportOut:
    """Through the transport, where TLS sits; waits while its buffer is full."""

    def __init__(self, conn: Connection, server: "Server") -> None:
        self._conn = conn
        self._server = server

    async def begin(self) -> None:
        """WELCOME first."""
        self._server.push(self._conn)
        self._server.fanout.flush()

    async def write(self, data: bytes, more: bool = False) -> None:
        """Send the bytes."""
        self._conn.write(data)
        await self._conn.writable()

    async def file(self, fd: int, offset: int, size: int) -> None:
        """Read and send a piece of the file."""
        self._conn.write(os.pread(fd, size, offset))
        await self._conn.writable()
        await asyncio.sleep(0)

    def end(self) -> None:
        """Nothing to give back."""


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
