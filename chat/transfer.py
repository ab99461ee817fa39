"""The rules of a file transfer: what the receiving end takes, what the sending end may send. Pure; serves both ends.

Intake checks one chunk after another (right file, right place, right crc, within the size) and says when the sender may
go on; Outlet cuts what is to be sent into chunks, within the credit and within what has arrived so far. Bytes are
written and read by the caller. A chunk that does not fit is dropped and named once, with the offset to go on from.
"""

from dataclasses import dataclass
from typing import Final

import google_crc32c

from chat import wire
from chat.errors import TransferError

CHUNK: Final = 1 << 20  # bytes: large chunks cost least and delay chat least (chat-performance, file relay)
PIECE: Final = 64 << 10  # bytes of a checksum's step
CREDIT: Final = 4  # chunks ahead of what is written: 4 MiB fill a fast line, and bound what a dead sender leaves


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli, RFC 3720 appendix B.4)."""
    value: int = 0
    if isinstance(data, bytes):
        value = google_crc32c.value(data)
        return value
    for at in range(0, len(data), PIECE):  # the library takes bytes alone: small copies stay in the cache
        value = google_crc32c.extend(value, bytes(data[at : at + PIECE]))
    return value


@dataclass(slots=True)
class Intake:
    """A file that arrives. `offset`: all bytes before it are there. `crcs`: of the chunks that came, by their offset."""

    file_id: str
    size: int
    offset: int = 0
    chunk: int = CHUNK
    credit: int = CREDIT
    _granted: int = 0  # bytes: the end of the window last told
    _complained: int = (
        -1
    )  # the offset for which an error was raised; the chunks behind the bad one are dropped in silence

    def __post_init__(self) -> None:
        self._granted = self.offset + self.chunk * self.credit

    @property
    def complete(self) -> bool:
        """True when every byte is there (and nothing is known of their hash)."""
        return self.offset >= self.size

    def check(self, data: wire.Data) -> bool:
        """True: write the payload at `offset` and call took(). False: drop it. Raises TransferError bad-file, bad-offset,
        bad-crc; the last two, once for an offset, with `.offset` to go on from."""
        return self.check_chunk(data.file_id, data.offset, data.crc, data.payload)

    def check_chunk(self, file_id: str, offset: int, crc: int, payload: bytes | memoryview) -> bool:
        """check() for a chunk that is still in its buffer."""
        if file_id != self.file_id:
            raise TransferError("bad-file", "a chunk of another file")
        if offset != self.offset:
            return self._complain("bad-offset", f"chunk at {offset}, expected {self.offset}")
        if not 0 < len(payload) <= min(self.chunk, self.size - self.offset):
            most = min(self.chunk, self.size - self.offset)
            raise TransferError("bad-file", f"chunk of {len(payload)} bytes, expected 1 to {most}")
        if self.offset + len(payload) > self._granted:
            raise TransferError("bad-file", f"more than {self.credit} chunks ahead of the credit")
        if crc32c(payload) != crc:
            return self._complain("bad-crc", f"chunk at {offset} is damaged")
        return True

    def took(self, size: int) -> wire.Credit | None:
        """The chunk is written. Returns the CREDIT to send, once half the window is used."""
        self.offset += size
        self._complained = -1
        window = self.offset + self.chunk * self.credit
        if self.complete or window - self._granted < self.chunk * self.credit // 2:
            return None
        self._granted = window
        return wire.Credit(self.file_id, self.offset, self.credit)

    def _complain(self, code: str, text: str) -> bool:
        if self._complained == self.offset:
            return False
        self._complained = self.offset
        self._granted = self.offset + self.chunk * self.credit
        raise TransferError(code, text, self.offset)


@dataclass(slots=True)
class Outlet:
    """A file that is sent, from `offset` up to `end`. `window`: the end of the credit, for an upload; None: TCP decides."""

    file_id: str
    offset: int
    end: int
    chunk: int = CHUNK
    window: int | None = None

    @property
    def complete(self) -> bool:
        """True when everything asked for was sent."""
        return self.offset >= self.end

    def next(self, available: int) -> int:
        """The size of the chunk to send now at `offset`; 0: wait. Chunks end at multiples of the chunk size, so that a
        checksum is computed once for all receivers; a part of one is sent only where the range begins or ends."""
        border = min(self.end, (self.offset // self.chunk + 1) * self.chunk)
        if self.window is not None and border > self.window:
            return 0
        return border - self.offset if border <= available else 0

    def sent(self, size: int) -> None:
        """The chunk is on its way."""
        self.offset += size

    def credited(self, credit: wire.Credit) -> None:
        """The receiver has told how far it may go."""
        if self.window is not None:
            self.window = max(self.window, credit.offset + credit.credit * self.chunk)

    def rewind(self, offset: int) -> None:
        """The receiver wants it again from here."""
        self.offset = min(offset, self.end)


def ranges(size: int, offset: int, length: int) -> tuple[int, int]:
    """The range of a FETCH as (start, end); length 0 is to the end. Raises TransferError bad-offset."""
    if offset > size or (offset == size and size > 0):
        raise TransferError("bad-offset", f"the file has {size} bytes", size)
    return offset, size if length == 0 else min(size, offset + length)
