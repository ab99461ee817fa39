"""An upload's bytes from the socket to the disk without a copy in between: a BufferedProtocol.

From the moment its token is shown, a file connection that sends is read into one buffer of a chunk's size, and each
chunk is checked and written from there. Frames other than DATA are small and go the ordinary way. Everything else that
happens to the connection (end, full buffers) stays with its Connection.
"""

import asyncio
from collections.abc import Callable

from chat import wire
from chat.connection import Connection
from chat.decoder import TRANSFER, Decoder
from chat.errors import WireError
from chat.transfer import CHUNK

HEADS = wire.HEADER.size + wire.DATA_HEAD.size

TakeChunk = Callable[[str, int, int, memoryview], None]  # file id, offset, crc, payload


class UploadReader(asyncio.BufferedProtocol):
    """Reads exactly up to the end of each frame, so that nothing is ever moved."""

    def __init__(self, conn: Connection, take_chunk: TakeChunk, take: Callable[[wire.Body], None]) -> None:
        self._conn = conn
        self._take_chunk = take_chunk
        self._take = take
        self._decoder = Decoder(wire.FROM_CLIENT, TRANSFER)
        self._buffer = memoryview(bytearray(HEADS + CHUNK))
        self._have = 0
        self._need = wire.HEADER.size
        self._kind = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """The rest of the frame, or of its header."""
        return self._buffer[self._have : self._need]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come: a header, then a frame."""
        conn, server = self._conn, self._conn.server
        self._have += nbytes
        server.counters.bytes_in += nbytes
        conn.session.progress(server.loop.time())
        if self._have < self._need:
            return
        try:
            if self._need == wire.HEADER.size and self._measure():
                return
            self._frame()
        except WireError as fault:
            conn.session.close(fault.code, fault.text, server.loop.time())
            self._have, self._need = 0, wire.HEADER.size
        server.push(conn)

    def _measure(self) -> bool:
        """Read the header. True if there is more of the frame to come."""
        self._kind, self._need = self._decoder.measure(bytes(self._buffer[: wire.HEADER.size]))
        if self._need > len(self._buffer):
            raise WireError("oversize", f"frame of {self._need} bytes, at most {len(self._buffer)}")
        return self._need > self._have

    def _frame(self) -> None:
        """A frame is whole."""
        size, self._have, self._need = self._need, 0, wire.HEADER.size
        if self._kind == wire.Type.DATA:
            file_id, offset, crc = wire.DATA_HEAD.unpack_from(self._buffer, wire.HEADER.size)
            self._take_chunk(file_id.hex(), offset, crc, self._buffer[HEADS:size])
        else:
            for body in self._conn.session.receive_data(bytes(self._buffer[:size]), self._conn.server.loop.time()):
                self._take(body)

    def eof_received(self) -> bool:
        """As for every connection."""
        return self._conn.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """As for every connection."""
        self._conn.connection_lost(exc)

    def pause_writing(self) -> None:
        """As for every connection."""
        self._conn.pause_writing()

    def resume_writing(self) -> None:
        """As for every connection."""
        self._conn.resume_writing()
