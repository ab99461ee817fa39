"""Bytes of one direction of one connection in, frames out: the Decoder.

A cap is checked on the header, before a body is waited for. Any bytes, cut anyhow, give the same frames and then perhaps
one WireError, never anything else. The server's hot path begins here: a frame without flags, of a known type and within
the cap, is read in one pass; all else goes the careful way. Bodies and byte tables are in chat/wire.py; what a frame
means is for session, hub and transfer.
"""

import re
from collections.abc import Callable
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from chat.errors import WireError
from chat.wire import (
    CONTROL_CAP,
    DATA_CAP,
    DATA_HEAD,
    FROM_CLIENT,
    FROM_SERVER,
    HEADER,
    IGNORABLE,
    LOGIN_CAP,
    MAGIC,
    VERSION,
    Body,
    Data,
    Type,
)

MAX_DEPTH: Final = 16  # nested arrays and objects of a body: ours need 4
VERBS: Final = (
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
)


class Frame(Struct, frozen=True, gc=False):
    """One frame as it came: its type, flags and channel from the header, its typed body."""

    type: int
    flags: int
    channel: int
    body: Body


class Caps(Struct, frozen=True):
    """The largest bodies that are taken now, in bytes; 0 refuses the frame."""

    control: int
    data: int


LOGIN: Final = Caps(control=LOGIN_CAP, data=0)  # a server's connection before login
OPEN: Final = Caps(control=CONTROL_CAP, data=0)  # a server's chat connection after login
TRANSFER: Final = Caps(control=LOGIN_CAP, data=DATA_CAP)  # a file connection after its token, both ends
CLIENT: Final = Caps(control=1 << 20, data=DATA_CAP)  # a client, from its server: a page of history is the largest

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{]")
_QUICK: Final = Layout("!6sHI")  # the header again: magic, version, type and flags as one key, then channel and length

Read = Callable[[bytes], Body]


def _readers(table: dict[int, type[Body]]) -> dict[int, Read]:
    return {code: msgspec.json.Decoder(body).decode for code, body in table.items() if body is not Data}


def _quick(readers: dict[int, Read]) -> dict[bytes, Read]:
    return {MAGIC + bytes([VERSION, code, 0, 0]): read for code, read in readers.items()}


# shared by all connections, because a connection is to stay small
_READERS: Final = (_readers(FROM_CLIENT), _readers(FROM_SERVER))
_QUICK_READERS: Final = (_quick(_READERS[0]), _quick(_READERS[1]))


class Decoder:
    """Bytes of one direction of one connection -> frames.

    `table` is FROM_CLIENT in a server and FROM_SERVER in a client. `caps` may be changed at any time and holds for the
    headers read from then on: a server raises it at login. At most one body plus one feed is ever kept.
    """

    __slots__ = ("_bodies", "_fault", "_kept", "_need", "_quick", "_started", "_takes_data", "caps")

    def __init__(self, table: dict[int, type[Body]], caps: Caps) -> None:
        self.caps = caps
        self._bodies = _READERS[table is FROM_SERVER]
        self._quick = _QUICK_READERS[table is FROM_SERVER]
        self._takes_data = Type.DATA in table
        self._kept = bytearray()
        self._need = 0  # bytes of the kept frame, once its header is read: a big body is not looked at chunk by chunk
        self._started = False
        self._fault: WireError | None = None

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame: when it is not 0 for long, the peer is dripping."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises WireError at a fault, with the frames before it in `.frames`; from
        then on every feed raises it again, with none."""
        if self._fault is not None:
            self._fault.frames = []
            raise self._fault
        frames: list[Frame] = []
        source = bytes(data)
        if self._kept:
            self._kept += data
            if len(self._kept) < self._need:
                return frames
            source, self._kept = bytes(self._kept), bytearray()
        try:
            used = self._read(source, frames)
        except WireError as fault:
            fault.frames = frames
            self._fault = fault
            raise
        if used < len(source):
            self._kept += source[used:]
        return frames

    def measure(self, header: bytes) -> tuple[int, int]:
        """Type and whole size of the frame that a header begins: for who receives DATA without copying it. WireError."""
        magic, version, kind, flags, _, length = HEADER.unpack(header)
        if magic != MAGIC:
            raise _not_ours(magic)
        self._check(version, kind, flags, length)
        return kind, HEADER.size + length

    def _read(self, source: bytes, frames: list[Frame]) -> int:
        """Append all whole frames of `source`; the number of bytes they took."""
        at, end, known, cap = 0, len(source), self._quick, self.caps.control
        self._need = 0
        if not self._started:
            _refuse_foreign(source)
            if end < HEADER.size:
                return 0
            self._started = True
        while at < end:
            if end - at < HEADER.size:
                if not MAGIC.startswith(source[at : at + 2]):
                    raise _not_ours(source[at : at + 2])
                break
            key, channel, length = _QUICK.unpack_from(source, at)
            read = known.get(key)
            if read is None or length > cap:
                read = self._careful(source, at)
            stop = at + HEADER.size + length
            if stop > end:
                self._need = stop - at
                break
            if read is not None:
                content = source[at + HEADER.size : stop]
                if read is not _data and content.count(b"[") + content.count(b"{") > MAX_DEPTH:
                    _refuse_deep(content)
                try:
                    frames.append(Frame(key[3], key[5], channel, read(content)))
                except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                    raise WireError("bad-body", f"type {key[3]:#04x}: {error}") from None
            at = stop
        return at

    def _careful(self, source: bytes, at: int) -> Read | None:
        """What reads the body of a frame that is not an ordinary one; None for an unknown ignorable frame."""
        magic, version, kind, flags, _, length = HEADER.unpack_from(source, at)
        if magic != MAGIC:
            raise _not_ours(magic)
        self._check(version, kind, flags, length)
        if kind == Type.DATA and self._takes_data:
            return _data
        return self._bodies.get(kind)

    def _check(self, version: int, kind: int, flags: int, length: int) -> None:
        """Everything that a header alone can be refused for."""
        if version != VERSION:
            raise WireError("bad-version", f"frame version {version}, this side speaks {VERSION}")
        if flags & ~IGNORABLE:
            raise WireError("bad-flags", f"flags {flags:#06x}, known are {IGNORABLE:#06x}")
        is_data = kind == Type.DATA and self._takes_data
        if kind not in self._bodies and not is_data and not flags & IGNORABLE:
            raise WireError("unknown-frame", f"type {kind:#04x} is not known here and not ignorable")
        cap = self.caps.data if is_data else self.caps.control
        if length > cap:
            raise WireError("oversize", f"type {kind:#04x} announces {length} bytes, at most {cap} are taken now")
        if is_data and length < DATA_HEAD.size:
            raise WireError("bad-body", f"DATA of {length} bytes, its head alone has {DATA_HEAD.size}")


def _data(content: bytes) -> Body:
    """The one body that is not JSON."""
    file_id, offset, crc = DATA_HEAD.unpack_from(content)
    return Data(file_id.hex(), offset, crc, content[DATA_HEAD.size :])


def _not_ours(start: bytes) -> WireError:
    return WireError("bad-magic", f"frame starts {start.hex()}, expected {MAGIC.hex()}")


def _refuse_foreign(source: bytes) -> None:
    """The first bytes decide whether this is our protocol at all; HTTP gets a code of its own."""
    if MAGIC.startswith(source[:2]):
        return
    for verb in VERBS:
        if source.startswith(verb):
            raise WireError("http", "an HTTP request")
        if verb.startswith(source):
            return
    raise WireError("bad-magic", f"connection starts {source[:2].hex()}, expected {MAGIC.hex()}")


def _refuse_deep(content: bytes) -> None:
    """Cap the nesting of a body with many brackets; those in strings do not count."""
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRINGS.sub(b"", content)):
        depth += 1 if _BRACKETS.match(bracket) else -1
        if depth > MAX_DEPTH:
            raise WireError("bad-body", f"nested deeper than {MAX_DEPTH}")
