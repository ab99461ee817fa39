"""Unpacking streams: as far as asked, member after member, and damage named."""

from __future__ import annotations

import gzip
import io
import lzma

import lz4.frame
import pytest
import zstandard

from analysis.unpack import unpacker

PACK = {"gzip": gzip.compress, "zstd": zstandard.compress, "lz4": lz4.frame.compress, "xz": lzma.compress}
TEXT = bytes(range(256)) * 300


def unpack(stored: bytes, step: int = 1000) -> tuple[bytes, str]:
    """All that a stream holds, read `step` bytes at a time, and the damage found."""
    stream = unpacker(stored[:6], io.BytesIO(stored).read)
    assert stream is not None
    out, buffer = b"", bytearray(step)
    while n := stream.readinto(memoryview(buffer)):
        out += buffer[:n]
    return out, stream.damage


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("step", [999, 65_536, 1 << 20])
def test_everything_comes_back(name: str, step: int) -> None:
    """Whatever room the caller has."""
    assert unpack(PACK[name](TEXT), step) == (TEXT, "")


@pytest.mark.parametrize("name", PACK)
def test_members_in_a_row_are_one_stream(name: str) -> None:
    """As `cat a.gz b.gz` makes them."""
    assert unpack(PACK[name](TEXT) + PACK[name](b"more")) == (TEXT + b"more", "")


@pytest.mark.parametrize("name", PACK)
def test_nothing_is_unpacked_ahead(name: str) -> None:
    """Room for 10 bytes reads no more than two blocks of the stored stream, not the bomb behind it."""
    stored = io.BytesIO(PACK[name](bytes(8 << 20)) + bytes(1 << 20))
    stream = unpacker(stored.getvalue()[:6], stored.read)
    assert stream is not None
    assert stream.readinto(memoryview(bytearray(10))) == 10
    assert stored.tell() <= 2 << 16


@pytest.mark.parametrize(
    ("name", "fault"), [("gzip", "cut_compression"), ("lz4", "cut_compression"), ("xz", "cut_compression")]
)
def test_a_cut_stream_is_named(name: str, fault: str) -> None:
    """What stands before the cut is given."""
    out, damage = unpack(PACK[name](TEXT)[:-9])
    assert TEXT.startswith(out)
    assert damage == fault


def test_garbage_inside_is_named() -> None:
    """A wrong block of deflate data."""
    stored = bytearray(gzip.compress(TEXT))
    stored[20:40] = b"\xff" * 20
    out, damage = unpack(bytes(stored))
    assert len(out) <= len(TEXT) and damage == "bad_compression"


def test_plain_bytes_have_no_unpacker() -> None:
    """Only the magic decides."""
    assert unpacker(b"\xd4\xc3\xb2\xa1\x02\x00", io.BytesIO().read) is None
