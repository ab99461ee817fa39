"""A small copy of a received picture, for the terminal: header first, then a decoder that can do no harm.

In: a path to a saved file. Out: `Preview` (RGB pixels that fit a box, and what the header says), or PreviewError. The type
a peer announced is ignored; magic bytes decide between PNG, JPEG, GIF and WebP. More than 25 million pixels are refused on the
header, before anything is decoded. Pillow runs in `preview_worker.py`, a process with limits; this one never decodes.
"""

import os
import stat
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chat.errors import ChatError

PIXELS_LIMIT: Final = 25_000_000  # Synapse takes 32 M; a phone's photograph has 12 to 24 M
FILE_LIMIT: Final = 64 << 20  # bytes of a file that is tried at all
HEAD_BYTES: Final = 256 << 10  # a JPEG's size stands behind its EXIF and colour profile, each up to 64 KiB
BOX: Final = (960, 720)  # pixels; enough for sixel and kitty at 100 columns
TIMEOUT_S: Final = 15.0
_WORKER: Final = Path(__file__).with_name("preview_worker.py")


class PreviewError(ChatError):
    """The file is no picture that is shown, or could not be decoded within the limits."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself: format (PNG, JPEG, GIF, WEBP), width and height in pixels."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Preview:
    """The small copy: `width` x `height` x 3 bytes of RGB, rows from the top, and the original's header."""

    width: int
    height: int
    rgb: bytes
    original: Header


def read_header(head: bytes) -> Header | None:
    """Format and size from a file's first bytes; None if it is no PNG, JPEG, GIF or WebP or the size is not in them."""
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
            return Header("PNG", *struct.unpack_from("!II", head, 16))
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return Header("GIF", *struct.unpack_from("<HH", head, 6))
        if head.startswith(b"\xff\xd8\xff"):
            return _jpeg(head)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp(head)
    except struct.error:  # cut short
        return None
    return None


def _jpeg(head: bytes) -> Header | None:
    """Walk the marker segments to the start of frame (ITU-T T.81, B.2.2)."""
    at = 2
    while at < len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1] if at + 1 < len(head) else 0
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from("!H", head, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from("!HH", head, at + 5)
            return Header("JPEG", width, height)
        at += 2 + max(length, 2)
    return None


def _webp(head: bytes) -> Header | None:
    """Lossy, lossless or extended (RFC 9649, section 2.5 to 2.7)."""
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        sizes = head[24:30]
        if len(sizes) == 6:
            return Header("WEBP", int.from_bytes(sizes[:3], "little") + 1, int.from_bytes(sizes[3:], "little") + 1)
    return None


def make_preview(path: Path, box: tuple[int, int] = BOX) -> Preview:
    """Decode a picture small, in a limited process. Blocks up to TIMEOUT_S: call it in a thread. Raises PreviewError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise PreviewError(f"{path}: {error.strerror}") from error
    with open(fd, "rb", buffering=0) as file:
        found = os.fstat(fd)
        regular = stat.S_ISREG(found.st_mode) and found.st_size <= FILE_LIMIT
        header = read_header(os.pread(fd, HEAD_BYTES, 0)) if regular else None
        if header is None:
            raise PreviewError(f"{path}: no PNG, JPEG, GIF or WebP of at most {FILE_LIMIT >> 20} MiB")
        if not 0 < header.width * header.height <= PIXELS_LIMIT:
            raise PreviewError(
                f"{path}: {header.width} x {header.height} pixels, shown are up to {PIXELS_LIMIT // 1_000_000} million"
            )
        output = _decode(file.fileno(), box)
    if len(output) < 8:
        raise PreviewError(f"{path}: {header.format} that cannot be decoded")
    width, height = struct.unpack_from("!II", output)
    if width > box[0] or height > box[1] or len(output) != 8 + width * height * 3:
        raise PreviewError(f"{path}: the decoder's answer has the wrong size")
    return Preview(width, height, output[8:], header)


def _decode(fd: int, box: tuple[int, int]) -> bytes:
    """Run the worker with the file as its standard input; empty if it failed, ran out of memory or out of time."""
    command = [sys.executable, "-I", str(_WORKER), str(box[0]), str(box[1])]
    with subprocess.Popen(command, stdin=fd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}) as worker:
        alarm = threading.Timer(TIMEOUT_S, worker.kill)
        alarm.start()
        try:
            assert worker.stdout is not None
            output = worker.stdout.read(8 + box[0] * box[1] * 3 + 1)
            worker.kill()  # it has said all that is read
            return output
        finally:
            alarm.cancel()
