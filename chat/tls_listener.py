"""Where TLS connections come in: accepted, counted, shaken hands with, and only then a Connection.

The door answers with a reason, but only a peer that has shaken hands understands it. Until then there are so many handshakes
at a time, of all and of one address, and what is beyond is closed without a word: a flood of silent connections takes
nobody's place. (A loop's own server cannot count before the handshake.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import ssl
from typing import TYPE_CHECKING, Final

from chat.connection import Connection

if TYPE_CHECKING:
    from chat.server import Server

BACKLOG: Final = 1024
NO_FILE_S: Final = 1.0  # between two tries to accept when the process or the system has no file left, as asyncio's own


class TlsListener:
    """Listening sockets, each with a task that accepts."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self._server, self._context = server, context
        self.sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, host: str, port: int) -> None:
        """Listen on all addresses of the host ('': of this machine). Raises OSError."""
        loop = self._server.loop
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((each[0], each[4][:2]) for each in found):
                try:
                    listening = socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)
                except OSError as error:
                    if (
                        error.errno == errno.EAFNOSUPPORT and self.sockets
                    ):  # a name with an IPv6 address, and no IPv6 here
                        continue
                    raise
                listening.setblocking(False)
                self.sockets.append(listening)
        except OSError:
            self.close()
            raise
        self._tasks = [loop.create_task(self._accept(listening)) for listening in self.sockets]

    def close(self) -> None:
        """Accept nobody any more."""
        for task in self._tasks:
            task.cancel()
        for each in self.sockets:
            self._server.loop.remove_reader(each)
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, peer = await self._server.loop.sock_accept(listening)
            except ConnectionError:
                continue
            except OSError:
                await asyncio.sleep(NO_FILE_S)
                continue
            if self._server.door.begin_handshake(peer[0]):
                self._server.spawn(self._shake(sock, peer[0]))
            else:
                sock.close()

    async def _shake(self, sock: socket.socket, address: str) -> None:
        server = self._server
        try:
            with contextlib.suppress(OSError):  # not TLS, cut, too slow
                await server.loop.connect_accepted_socket(
                    functools.partial(Connection, server),
                    sock,
                    ssl=self._context,
                    ssl_handshake_timeout=server.config.timeouts.tls_s,
                )
        finally:
            server.door.end_handshake(address)
