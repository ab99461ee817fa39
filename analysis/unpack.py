"""Compressed streams, told by their first bytes: gzip, zstd, lz4, xz. Unpacked as far as the caller asks, no further.

In: a function that reads stored bytes. Out: `readinto`. Several members in a row are one stream. A cut or damaged
stream gives what it held before the damage; `damage` then names the fault. A "bomb" is harmless: nothing is unpacked
ahead of what the caller has room for. It must not know what is inside.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from analysis.errors import CaptureError

STORED_BYTES = 1 << 16  # read at once
WINDOW_LOG_MAX = 27  # zstd: largest window in memory, 128 MB, as the zstd tool allows by default
XZ_MEMORY = 256 << 20

MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\x00": "xz",
}


class Unpacker:
    """One compressed stream."""

    def __init__(self, name: str, read: Callable[[int], bytes], make: Callable[[], Any]) -> None:
        self.name = name
        self.damage = ""
        self._read = read
        self._make = make
        self._decoder = make()
        self._waiting = b""
        self._fed = False  # the present member has had bytes
        self._ended = False

    def readinto(self, view: memoryview) -> int:
        """Unpack into `view` from its beginning; returns the bytes written, 0 at the end."""
        used = 0
        while used < len(view) and not self._ended:
            try:
                out = self._step(len(view) - used)
            except CaptureError:
                raise
            except Exception:  # each library has its own errors (zlib.error, LZMAError, RuntimeError, ZstdError)
                self.damage, self._ended = "bad_compression", True
                break
            view[used : used + len(out)] = out
            used += len(out)
        return used

    def _step(self, room: int) -> bytes:
        """Some unpacked bytes, at most `room`; b"" where more stored bytes were needed first."""
        if self._decoder.eof:
            self._waiting = self._decoder.unused_data or self._read(STORED_BYTES)
            self._ended = not self._waiting.strip(b"\x00")
            self._decoder, self._fed = self._make(), False
            return b""
        if not self._waiting and self._decoder.needs_input:
            self._waiting = self._read(STORED_BYTES)
            if not self._waiting:
                self._ended = True
                self.damage = "cut_compression"
                return b""
        stored, self._waiting = self._waiting, b""
        out: bytes = self._decoder.decompress(stored, room)
        return out


class _Gzip:
    """zlib's gzip decoder with the manners of the others (RFC 1952)."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    eof = property(lambda self: self._zlib.eof)
    unused_data = property(lambda self: self._zlib.unused_data)
    needs_input = property(lambda self: not self._zlib.unconsumed_tail)

    def decompress(self, stored: bytes, room: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + stored, room)


class _Zstd:
    """The zstandard package's stream reader with the manners of the others (RFC 8878)."""

    eof = False
    unused_data = b""
    needs_input = False

    def __init__(self, read: Callable[[int], bytes]) -> None:
        import zstandard

        source: Any = _Readable(read)
        decoder = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG_MAX)
        self._reader = decoder.stream_reader(source, read_size=STORED_BYTES, read_across_frames=True)

    def decompress(self, stored: bytes, room: int) -> bytes:
        out: bytes = self._reader.read(room)
        self.eof = not out
        return out


class _Readable:
    """A read function as an object."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read


def unpacker(head: bytes, read: Callable[[int], bytes]) -> Unpacker | None:
    """The unpacker for a stream that begins with `head` (6 bytes), None where it is not compressed.

    `read` gives the stored bytes from the very first on.
    """
    name = next((name for magic, name in MAGICS.items() if head.startswith(magic)), None)
    if name is None:
        return None
    if name == "gzip":
        return Unpacker(name, read, _Gzip)
    if name == "zstd":
        return Unpacker(name, read, lambda: _Zstd(read))
    if name == "lz4":
        import lz4.frame

        return Unpacker(name, read, lz4.frame.LZ4FrameDecompressor)
    import lzma

    return Unpacker(name, read, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY))
