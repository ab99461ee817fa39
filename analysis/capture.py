"""Open captures and hand them on in pieces: any number of files, plain or compressed, merged by time.

In: paths (`-` is stdin). Out: `Records` a chunk at a time, numbered over the whole analysis, and what the files say
(interfaces, names, comments, drops, faults, digests). Formats are told by their first bytes, never by the name.
Memory is bounded by the window, whatever the file holds: nothing is read, or unpacked, ahead of it.
The readers hold kernels, so they are imported only when a capture is opened: call `estimate_packets` and
`analysis.kernel.choose` before. It must not look into packets.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import field
from threading import Thread
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from analysis.columns import NO_TIME, Array, Records, different
from analysis.errors import CaptureError
from analysis.key_log import read_key_log
from analysis.merge import Piece, merged
from analysis.origin import PSEUDO_HEADERS, BlockName, Comment, Interface, Section
from analysis.records import MutableRecord
from analysis.unpack import Unpacker, unpacker

WINDOW_BYTES = 16 << 20  # read at once; a chunk's bytes. Larger gains nothing, smaller costs calls
SMALLEST_WINDOW = 1 << 18
ALL_WINDOWS = 64 << 20  # together, where many files are merged
HEAD_BYTES = 28  # longest file header that a format is told by
SAMPLE_BYTES = 1 << 18  # what estimate_packets looks at
UNKNOWN_PACKETS = 1_000_000  # expected of a pipe, whose end nobody knows


class Reader(Protocol):
    """What pcap and pcapng have in common."""

    format: str
    interfaces: list[Interface]
    sections: list[Section]
    names: list[BlockName]
    secrets: list[bytes]
    comments: list[Comment]
    row_comments: list[tuple[int, str]]
    at: int
    need: int
    damage: str

    def read(self, data: Array, end: int, limit: int) -> Records:
        """Records in data[at:end], at most `limit`; moves `at`."""
        ...


class CaptureFile(MutableRecord):
    """One input. `sha256` and `bytes` are complete once the file has been read to its end; of the file as stored."""

    path: str
    format: str = ""
    sha256: str | None = None
    bytes: int = 0


class _Raw:
    """The stored bytes of one input: counted, hashed beside the reading, first bytes looked at without losing them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "standard input" if path == "-" else path
        self._digest = hashlib.sha256()
        self._pending: Thread | None = None
        self._owned = path != "-"
        try:
            self._file: Any = open(path, "rb", buffering=0) if self._owned else _standard_input()  # noqa: SIM115
            mode = _mode(self._file)
        except (OSError, ValueError) as error:
            raise CaptureError(f"{self.name}: cannot open: {_reason(error)}") from None
        self.regular = mode is not None and stat.S_ISREG(mode.st_mode)
        self.total = mode.st_size if mode is not None and self.regular else 0
        self.done = 0
        self._head = b""

    def peek(self, size: int) -> bytes:
        """The first bytes, `size` or fewer; they stay to be read."""
        while len(self._head) < size:
            more = self._read(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head

    def readinto(self, view: memoryview) -> int:
        """Fill `view` from its beginning; returns the bytes read, 0 at the end."""
        if self._head:
            n = min(len(view), len(self._head))
            view[:n] = self._head[:n]
            self._head = self._head[n:]
        else:
            try:
                n = self._file.readinto(view) or 0
            except OSError as error:
                raise CaptureError(f"{self.name}: cannot read: {_reason(error)}") from None
        self._hash(view[:n])
        return n

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end."""
        buffer = bytearray(size)
        n = self.readinto(memoryview(buffer))
        return bytes(buffer[:n])

    def sha256(self) -> str:
        """Digest of what was read."""
        if self._pending is not None:
            self._pending.join()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file (never stdin)."""
        if self._pending is not None:
            self._pending.join()
            self._pending = None
        if self._owned:
            self._file.close()

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""
        except OSError as error:
            raise CaptureError(f"{self.name}: cannot read: {_reason(error)}") from None

    def _hash(self, view: memoryview) -> None:
        """Hash in the other thread; one block behind at most, so that memory stays bounded."""
        self.done += len(view)
        if self._pending is not None:
            self._pending.join()
            self._pending = None
        if len(view) < 1 << 16:
            self._digest.update(view)
        else:
            self._pending = Thread(target=self._digest.update, args=(view,), name="sha256")
            self._pending.start()


class _Source:
    """One input on its way to pieces: raw bytes, unpacked where compressed, indexed by the reader of its format."""

    def __init__(self, path: str, window: int) -> None:
        self.raw = _Raw(path)
        self.faults: Counter[str] = Counter()
        try:
            self._unpack: Unpacker | None = unpacker(self.raw.peek(6), self.raw.read)
            self._window = window
            if self.raw.regular and self._unpack is None:
                self._window = max(64, min(window, self.raw.total + 1))
            self._buffer = np.empty(self._window, np.uint8)
            self._used = 0
            self._ended = False
            self._fill(HEAD_BYTES)
            self.reader = self._open_reader()
        except CaptureError:
            self.raw.close()
            raise
        packing = f" ({self._unpack.name})" if self._unpack else ""
        self.file = CaptureFile(path, (self.reader.format if self.reader else "empty") + packing)
        self.base = 0  # analysis-wide number of the file's interface 0

    def _open_reader(self) -> Reader | None:
        """The reader of the format that the first bytes name; None for an empty file, which holds no packets."""
        from analysis.pcap import MAGICS, PcapReader
        from analysis.pcapng import MAGIC, PcapngReader

        head = self._buffer[: min(self._used, HEAD_BYTES)].tobytes()
        if not head and self._unpack is None:
            self.faults["empty_file"] += 1
            return None
        if head[:4] in MAGICS:
            return PcapReader(head, self.raw.name)
        if head[:4] == MAGIC:
            return PcapngReader(head, self.raw.name)
        got = f"first bytes {head[:8].hex(' ')}" if head else "nothing"
        raise CaptureError(
            f"{self.raw.name}: not a capture: got {got}, expected pcap or pcapng (also gz, zst, lz4, xz)"
        )

    def pieces(self, limit: int) -> Iterator[Piece]:
        """Pieces of at most `limit` records, to the end of the file or to its damage."""
        reader = self.reader
        while reader is not None:
            self._fill(len(self._buffer))
            data = self._buffer[: self._used]
            while True:
                records = reader.read(data, self._used, limit)
                if len(records.start):
                    yield Piece(_apart(records), reader.row_comments)
                if len(records.start) < limit:
                    break
            if reader.damage:
                self.faults[reader.damage] += 1
                break
            if self._ended:
                if reader.at < self._used:
                    self.faults["cut_record"] += 1
                break
            self._turn(reader)
        if self._unpack is not None and self._unpack.damage:
            self.faults[self._unpack.damage] += 1
        self._finish()

    def _turn(self, reader: Reader) -> None:
        """A new window that begins with what the reader left; the old one belongs to the pieces made of it."""
        rest = self._used - reader.at
        buffer = np.empty(max(self._window, reader.need), np.uint8)
        buffer[:rest] = self._buffer[reader.at : self._used]
        self._buffer, self._used, reader.at = buffer, rest, 0

    def _fill(self, size: int) -> None:
        """Read until the buffer holds `size` bytes or the input ends."""
        view = memoryview(self._buffer)  # type: ignore[arg-type]
        while self._used < min(size, len(view)) and not self._ended:
            target = view[self._used :]
            n = self._unpack.readinto(target) if self._unpack is not None else self.raw.readinto(target)
            self._used += n
            self._ended = n == 0

    def _finish(self) -> None:
        """Digest and size of a regular file, read to its end even where the records ended before."""
        if self.raw.regular:
            rest = memoryview(bytearray(1 << 20))
            while self.raw.readinto(rest):
                self.raw.sha256()
            self.file.sha256 = self.raw.sha256()
        self.file.bytes = self.raw.done
        self._buffer = np.empty(0, np.uint8)  # its memory serves the findings


class Capture(MutableRecord):
    """Captures opened together. Use as a context manager; `chunks` may be walked once."""

    files: list[CaptureFile]
    interfaces: list[Interface]
    names: dict[str, str] = field(default_factory=dict)
    secrets: list[bytes] = field(default_factory=list)  # texts of key logs that nobody has taken yet
    comments: list[Comment] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    time_ordered: bool = True
    packets: int = 0
    bytes_total: int = 0  # 0 where an input is a pipe
    _sources: list[_Source] = field(default_factory=list)
    _limit: int = 65536
    _last_ns: int = NO_TIME

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bytes_done(self) -> int:
        """Stored bytes read so far: progress against `bytes_total`."""
        return sum(source.raw.done for source in self._sources)

    @property
    def application(self) -> str:
        """What wrote the capture, as the first section that says so names it."""
        return next((s.application for s in self.sections if s.application), "")

    @property
    def hardware(self) -> str:
        """Hardware that the capture was made on."""
        return next((s.hardware for s in self.sections if s.hardware), "")

    @property
    def os(self) -> str:
        """Operating system that the capture was made on."""
        return next((s.os for s in self.sections if s.os), "")

    def chunks(self) -> Iterator[Records]:
        """All packets, merged by time, numbered from 1. What the files say is complete when this ends."""
        pieces = [self._pieces(source) for source in self._sources]
        for piece in pieces[0] if len(pieces) == 1 else merged(pieces):
            records = piece.records
            n = len(records.start)
            number = np.arange(self.packets + 1, self.packets + 1 + n, dtype=np.int64)
            self.comments += [Comment(self.packets + 1 + row, text) for row, text in piece.comments]
            self.packets += n
            self._watch_order(records.time_ns)
            yield records._replace(number=number)
        for source in self._sources:
            self.faults += source.faults

    def close(self) -> None:
        """Close every file."""
        for source in self._sources:
            source.raw.close()

    def _pieces(self, source: _Source) -> Iterator[Piece]:
        """Pieces of one file with interfaces numbered over the analysis and pseudo-headers cut off."""
        known: list[int] = []  # analysis-wide numbers of the file's interfaces
        seen = [0, 0, 0]
        for piece in source.pieces(self._limit):
            self._collect(source.reader, known, seen)
            records = piece.records
            table = np.array([*known, -1], np.int32)  # -1 indexes the last
            records = records._replace(interface=table[records.interface])
            yield Piece(_without_pseudo_header(records), piece.comments)
        self._collect(source.reader, known, seen)

    def _collect(self, reader: Reader | None, known: list[int], seen: list[int]) -> None:
        """Take over what the reader has learnt since the last time."""
        if reader is None:
            return
        for interface in reader.interfaces[len(known) :]:
            known.append(len(self.interfaces))
            self.interfaces.append(interface)
        for name in reader.names[seen[0] :]:
            self.names.setdefault(name.address, name.name)
        self.secrets += reader.secrets
        reader.secrets.clear()
        self.comments += reader.comments[seen[1] :]
        self.sections += reader.sections[seen[2] :]
        seen[:] = len(reader.names), len(reader.comments), len(reader.sections)

    def _watch_order(self, time_ns: Array) -> None:
        """Note the first packet that is earlier than the one before it; packets without time do not count."""
        if not self.time_ordered:
            return
        times = time_ns[time_ns != NO_TIME]
        if len(times):
            self.time_ordered = bool(times[0] >= self._last_ns) and bool((times[1:] >= times[:-1]).all())
            self._last_ns = int(times[-1])


def open_captures(paths: Sequence[str], *, chunk_packets: int = 65536, keylog: str | None = None) -> Capture:
    """Open every path (`-`: stdin); raises CaptureError, one line, for the first that is no capture.

    The secrets of the file `keylog` are known from the start, those of secrets blocks from where they stand.
    """
    if not paths:
        raise CaptureError("no capture given: expected at least one path")
    if chunk_packets < 1:
        raise ValueError(f"chunk_packets: got {chunk_packets}, expected at least 1")
    secrets = [read_key_log(keylog)] if keylog is not None else []
    window = max(SMALLEST_WINDOW, min(WINDOW_BYTES, ALL_WINDOWS // len(paths)))
    sources: list[_Source] = []
    try:
        for path in paths:
            sources.append(_Source(path, window))
    except BaseException:
        for source in sources:
            source.raw.close()
        raise
    regular = all(source.raw.regular for source in sources)
    return Capture(
        files=[source.file for source in sources],
        interfaces=[],
        secrets=secrets,
        bytes_total=sum(source.raw.total for source in sources) if regular else 0,
        _sources=sources,
        _limit=chunk_packets,
    )


def _apart(records: Records) -> Records:
    """Few bytes of a window get memory of their own: whoever works on them would keep all of it."""
    first, end = int(records.start.min()), int((records.start + records.cap_len).max())
    if 2 * max(end - first, 0) > len(records.data):
        return records
    return records._replace(data=records.data[first:end].copy(), start=records.start - first)


def _without_pseudo_header(records: Records) -> Records:
    """Move the start behind a pseudo-header and leave it out of both lengths, as Wireshark does."""
    for link_type in different(records.link_type).tolist():
        size = PSEUDO_HEADERS.get(link_type, 0)
        if size:
            cut = np.where((records.link_type == link_type) & (records.cap_len >= size), size, 0)
            records = records._replace(
                start=records.start + cut,
                cap_len=(records.cap_len - cut).astype(np.int32),
                frame_len=np.maximum(records.frame_len - cut, 0),
            )
    return records


def estimate_packets(paths: Sequence[str]) -> int:
    """About how many packets the captures hold, from size and the first records; a pipe counts as many. Never raises.

    Cheap (reads 256 KB a file) and free of kernels, so that `analysis.kernel.choose` can be asked first.
    """
    return sum(_estimate(path) for path in paths)


def _estimate(path: str) -> int:
    try:
        if path == "-":
            mode = os.fstat(sys.stdin.fileno())
            return mode.st_size // 128 if stat.S_ISREG(mode.st_mode) else UNKNOWN_PACKETS
        mode = os.stat(path)
        if not stat.S_ISREG(mode.st_mode):
            return UNKNOWN_PACKETS if stat.S_ISFIFO(mode.st_mode) else 0
        with open(path, "rb", buffering=0) as file:
            # Small reads: what the decoder holds unread must not spoil the ratio of packed to unpacked.
            unpack = unpacker(file.read(6), lambda size: file.read(min(size, 1024)))
            file.seek(0)
            if unpack is None:
                sample = file.read(SAMPLE_BYTES)
                return int(_count(sample) * max(1.0, mode.st_size / max(1, len(sample))))
            buffer = bytearray(4 * SAMPLE_BYTES)
            n = unpack.readinto(memoryview(buffer))
            return int(_count(bytes(buffer[:n])) * mode.st_size / max(1, file.tell()))
    except (OSError, ValueError, AttributeError, CaptureError):
        return 0


def _count(sample: bytes) -> int:
    """Records in the first bytes of a capture."""
    order = "<" if sample[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1", b"\x34\xcd\xb2\xa1") else ">"
    at, step, length_at, overhead = 24, 16, 8, 16
    if sample[:4] == b"\x0a\x0d\x0d\x0a":
        order = "<" if sample[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
        at, step, length_at, overhead = 0, 12, 4, 0
    length = struct.Struct(order + "I")
    count = 0
    while at + step <= len(sample):
        size = overhead + length.unpack_from(sample, at + length_at)[0]
        at += max(step, size)
        count += 1
    return count


def _standard_input() -> Any:
    """Stdin without its buffer where it has one below (a test may put in a plain stream)."""
    if sys.stdin is None:
        raise ValueError("standard input is closed")
    stream = sys.stdin.buffer
    return getattr(stream, "raw", stream)


def _mode(file: Any) -> os.stat_result | None:
    """What kind of file this is, None for a stream that is no file of the system."""
    try:
        return os.fstat(file.fileno())
    except io.UnsupportedOperation:
        return None


def _reason(error: Exception) -> str:
    """What the system says, without number and path."""
    return (getattr(error, "strerror", None) or str(error)).lower()
