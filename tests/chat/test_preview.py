"""Pictures are measured on their header and decoded in a process that can do no harm."""

import functools
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chat import preview
from chat.preview import Header, PreviewError, make_preview, read_header


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of memory and CPU time decide here, not how busy the machine is."""
    monkeypatch.setattr(preview, "TIMEOUT_S", 240.0)


def encoded(kind: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    """A red picture in one of Pillow's formats."""
    file = io.BytesIO()
    Image.new("RGB", size, (200, 10, 20)).save(file, kind, **options)
    return file.getvalue()


def png_bomb(width: int, height: int, rows: int) -> bytes:
    """A PNG that announces width x height and whose rows are zeros: small to send, large to decode."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    body = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    head = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True}),
     ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"})],
)  # fmt: skip
def test_headers_tell_format_and_size(kind: str, options: dict[str, object]) -> None:
    """Each of the four formats is measured without a decoder; a cut header is no picture."""
    data = encoded(kind, (41, 30), **options)

    assert read_header(data) == Header(kind, 41, 30)
    assert read_header(data[:9]) is None


@given(
    st.binary(max_size=64),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"RIFF0000WEBPVP8X"]),
)
def test_any_bytes_are_a_header_or_none(tail: bytes, start: bytes) -> None:
    """Rubbish behind a known beginning never raises and never hangs."""
    header = read_header(start + tail)

    assert header is None or header.format in ("PNG", "JPEG", "GIF", "WEBP")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_becomes_small_and_keeps_its_shape(kind: str, tmp_path: Path) -> None:
    """The copy fits the box, keeps the proportions and has the picture's colour."""
    path = tmp_path / "p"
    path.write_bytes(encoded(kind, (400, 200)))

    small = make_preview(path, (100, 100))

    assert (small.width, small.height) == (100, 50)
    assert small.original == Header(kind, 400, 200)
    red, green, blue = small.rgb[:3]
    assert red > 180 and green < 40 and blue < 50


def test_a_picture_beyond_the_cap_is_refused_on_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel bomb is never given to the decoder."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(60_000, 60_000, 100))

    def no_decoder(*_: object) -> bytes:
        raise AssertionError("decoded")

    monkeypatch.setattr(preview, "_decode", no_decoder)
    with pytest.raises(PreviewError, match="60000 x 60000"):
        make_preview(path)


def test_the_largest_allowed_picture_is_decoded_within_limits(tmp_path: Path) -> None:
    """24 million pixels in a few kilobytes are decoded with the memory and the CPU time that the worker has."""
    path = tmp_path / "large.png"
    path.write_bytes(png_bomb(6000, 4000, 4000))
    assert path.stat().st_size < 100_000

    small = make_preview(path, (96, 72))

    assert (small.width, small.height) == (96, 64)


@functools.cache
def bombs() -> dict[str, tuple[bytes, tuple[int, int] | None]]:
    """Pictures whose header is harmless: the file, and the size of its copy (None: refused)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    def png(side: int, idat: bytes, before: bytes = b"") -> bytes:
        head = chunk(b"IHDR", struct.pack("!IIBBBBB", side, side, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", idat) + chunk(b"IEND", b"")

    pixels, zeros = zlib.compress(bytes(110)), zlib.compress(bytes(100 << 20), 1)
    jpeg = encoded("JPEG", (64, 48))
    at = jpeg.index(b"\xff\xc0")
    size = 2 + struct.unpack_from("!H", jpeg, at + 2)[0]
    second = bytearray(jpeg[at : at + size])
    second[5:9] = struct.pack("!HH", 60_000, 60_000)
    frames, film = [Image.new("P", (600, 600), n % 256) for n in range(200)], io.BytesIO()
    frames[0].save(film, "GIF", save_all=True, append_images=frames[1:])
    screen = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0x80, 0, 0) + bytes(6)
    return {
        "100 MiB behind 100 x 100 pixels": (png(100, zeros), (72, 72)),
        "100 MiB of text": (png(10, pixels, chunk(b"zTXt", b"k\0\0" + zeros)), None),
        "100 MiB of colour profile": (png(10, pixels, chunk(b"iCCP", b"k\0\0" + zeros)), None),
        "GIF frame beyond its screen": (screen + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x08\x04\0\1\2\3\0;", None),
        "JPEG with a second, huge frame header": (jpeg[: at + size] + bytes(second) + jpeg[at + size :], None),
        "200 frames": (film.getvalue(), (72, 72)),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["100 MiB behind 100 x 100 pixels", "100 MiB of text", "100 MiB of colour profile", "GIF frame beyond its screen", "JPEG with a second, huge frame header", "200 frames"],
)  # fmt: skip
def test_a_bomb_behind_a_harmless_header_does_no_harm(name: str, tmp_path: Path) -> None:
    """Decoded small or refused, with the memory and the CPU time that the worker has."""
    data, copy = bombs()[name]
    path = tmp_path / "bomb"
    path.write_bytes(data)
    header = read_header(data)
    assert header is not None and header.width * header.height < 1_000_000

    if copy is None:
        with pytest.raises(PreviewError):
            make_preview(path, (96, 72))
    else:
        small = make_preview(path, (96, 72))
        assert (small.width, small.height) == copy


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        encoded("PNG")[:60],
        b"GIF89a" + bytes(10),
        encoded("BMP"),
        encoded("TIFF"),
    ],
    ids=["empty", "text", "no IHDR", "cut PNG", "empty GIF", "BMP", "TIFF"],
)
def test_what_is_no_picture_is_said(data: bytes, tmp_path: Path) -> None:
    """Rubbish, a cut file and formats that are not shown end in PreviewError, nothing else."""
    path = tmp_path / "p"
    path.write_bytes(data)

    with pytest.raises(PreviewError):
        make_preview(path)


def test_links_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    """A link may have been swapped in since the file was saved; a pipe would block."""
    (tmp_path / "p.png").write_bytes(encoded("PNG"))
    (tmp_path / "link").symlink_to(tmp_path / "p.png")
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "pipe", "nowhere"):
        with pytest.raises(PreviewError):
            make_preview(tmp_path / name)


def test_a_decoder_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is the parent's: a stuck decoder does not keep the client waiting."""
    worker = tmp_path / "worker.py"
    worker.write_text("import time; time.sleep(60)")
    path = tmp_path / "p.png"
    path.write_bytes(encoded("PNG"))
    monkeypatch.setattr(preview, "_WORKER", worker)
    monkeypatch.setattr(preview, "TIMEOUT_S", 0.3)

    with pytest.raises(PreviewError, match="cannot be decoded"):
        make_preview(path)


def test_the_worker_has_little_memory() -> None:
    """An allocation beyond the limit fails in the worker instead of pushing others out of memory."""
    code = "import runpy,sys;w=runpy.run_path(sys.argv[1]);import resource as r;n=w['MEMORY_BYTES'];r.setrlimit(r.RLIMIT_AS,(n,n));bytearray(n)"
    done = subprocess.run([sys.executable, "-c", code, str(preview._WORKER)], capture_output=True, text=True)

    assert "MemoryError" in done.stderr
