"""One TCP connection of the server: an asyncio Protocol around a Session.

Bytes in, session, bodies to the server, bytes out through the fan-out. It MUST NOT act on a frame itself and MUST NOT
write past the fan-out. It holds the reasons for which reading is stopped (a full buffer, flood, unacknowledged
messages) and the timer of a stalled reader.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from chat.session import Session, State

if TYPE_CHECKING:
    from chat.server import Server

# reasons to stop reading, as bits
FULL: Final = 1  # the client does not read
FLOOD: Final = 2  # it sends too fast
UNACKED: Final = 4  # too many of its messages wait for the disk
BUSY: Final = 8  # what waits to be flushed is too much
PAUSE: Final = 16  # its message waits for the next flush, and so may what it sends meanwhile: read in one piece


class Connection(asyncio.Protocol):
    """A client. `peer` is set while it is a file connection; `quiet` while only a download may write to it."""

    __slots__ = (
        "address", "admitted", "busy_reading", "drained", "gone", "held", "id", "lags", "logged_in", "peer", "quiet", "server", "session", "stall",
        "transport", "unacked", "write",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        self.server = server
        self.id = 0
        self.address = ""
        self.session: Session
        self.transport: asyncio.Transport
        self.write: Callable[[bytes], None]
        self.lags: dict[int, int] | None = None
        self.held = 0
        self.unacked = 0
        self.stall: asyncio.TimerHandle | None = None
        self.drained: asyncio.Future[None] | None = None
        self.peer: Any = None
        self.admitted = False
        self.logged_in = False
        self.gone = False
        self.quiet = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A place at the door, buffers of fixed size."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        limits = self.server.config.limits
        self.transport.set_write_buffer_limits(limits.write_high_bytes, limits.write_low_bytes)
        self.server.connected(self)

    def bound_send_buffer(self) -> None:
        """A chat connection: the kernel holds so much and no more. A file connection is left to the kernel's own tuning,
        which finds the megabytes that a fast receiver needs."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.server.config.limits.send_buffer_bytes)

    def data_received(self, data: bytes) -> None:
        """The loop in which all happens: bytes in, core, act on the bodies, bytes out."""
        server = self.server
        now = server.loop.time()
        server.counters.bytes_in += len(data)
        for body in self.session.receive_data(data, now):
            server.take(self, body, now)
        server.push(self)

    def eof_received(self) -> bool:
        """The client says no more: neither do we."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone, for whatever reason."""
        self.gone = True
        if self.stall is not None:
            self.stall.cancel()
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)
        self.server.disconnected(self)

    def pause_writing(self) -> None:
        """Too slow: out of the live sets; not one byte is queued until the buffer is down again, and not for ever."""
        self.server.paused(self)
        self.hold(FULL)
        if self.stall is None:
            self.stall = self.server.loop.call_later(self.server.config.timeouts.stall_s, self.server.stalled, self)

    def resume_writing(self) -> None:
        """It has read: back into the live sets, from the ring or with an exact gap."""
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)
        self.drained = None
        self.let(FULL)
        self.server.resumed(self)

    async def writable(self) -> None:
        """Wait until the buffer has room; for long answers that are sent in pieces."""
        while self.stall is not None and not self.gone:
            if self.drained is None:
                self.drained = self.server.loop.create_future()
            await asyncio.shield(self.drained)

    def hold(self, reason: int) -> None:
        """Stop reading for a reason."""
        if not self.held and not self.gone and not self.transport.is_closing():
            self.transport.pause_reading()
        self.held |= reason

    def let(self, reason: int) -> None:
        """Drop reasons; read again when none is left."""
        if self.held & reason:
            self.held &= ~reason
            if not self.held and not self.gone and not self.transport.is_closing():
                self.transport.resume_reading()

    def end_output(self) -> None:
        """Our side is done, while the peer's may stay open for a moment. It is in its rooms until it is gone, and a transport
        raises at a write after this, in the middle of what all others are to get: from now on writes go nowhere."""
        self.write = _nowhere
        self.transport.write_eof()

    def abort(self) -> None:
        """Cut at once: close() would wait for a peer that does not read."""
        self.transport.abort()

    @property
    def open(self) -> bool:
        """Logged in and not closing."""
        return self.session.state is State.OPEN


def _nowhere(data: bytes) -> None:
    """What is still said to a connection that is closing."""
