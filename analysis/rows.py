"""Rows of numbers as text, many at once: what JSON and CSV of large tables are written with.

In: a template (pieces of text between the values) and one array a value. Out: bytes, some thousand rows at a time.
A kernel writes digits straight into a buffer; 300,000 rows of 15 values take a tenth of what objects would. A value is
an integer, an integer or null (negative: null), a decimal number of nanoseconds as seconds, or a text by number.
Values are written as JSON numbers and null; texts are written as they are: whoever makes the pool has escaped them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from analysis.columns import NO_TIME, Array
from analysis.growing import as_kernel_sees
from analysis.kernel import inner_kernel, lean_kernel
from analysis.named_tuples import NamedTuple

INTEGER, OPTIONAL, SECONDS, TEXT = range(4)
NUMBER_BYTES = 24  # the longest number: -9223372036.854775808, with room
ROWS_AT_ONCE = 8192


class Pool(NamedTuple):
    """Texts by number: text i is data[start[i] : start[i + 1]]."""

    data: Array  # uint8
    start: Array  # int64[texts + 1]


class Value(NamedTuple):
    """One value of a row: its kind, the column, and the pool that a TEXT refers to (-1: nothing is written)."""

    kind: int
    column: Array
    pool: Pool | None = None


class _Template(NamedTuple):
    """What the kernel needs for all rows. Piece j stands before value j; the last piece ends the row."""

    pieces: Any  # uint8
    piece_start: Any  # int64[values + 2]
    kinds: Any  # int64[values]
    texts: Any  # uint8, all pools joined
    text_start: Any  # int64, the starts of all pools joined
    pool_first: Any  # int64[values] where the pool of a value begins in text_start


@inner_kernel
def _copy(out: Any, at: int, source: Any, start: int, end: int) -> int:
    """Copy source[start:end] to out[at:]; returns the place behind it."""
    for i in range(start, end):
        out[at] = source[i]
        at += 1
    return at


@inner_kernel
def _digits(out: Any, at: int, value: int, least: int) -> int:
    """Write a non-negative number in decimal, with leading zeros to `least` digits."""
    n = 1
    rest = value // 10
    while rest > 0:
        rest //= 10
        n += 1
    n = max(n, least)
    end = at + n
    while n > 0:
        n -= 1
        out[at + n] = 48 + value % 10
        value //= 10
    return end


@inner_kernel
def _null(out: Any, at: int) -> int:
    """Write null."""
    out[at] = 110
    out[at + 1] = 117
    out[at + 2] = 108
    out[at + 3] = 108
    return at + 4


@inner_kernel
def _seconds(out: Any, at: int, value: int) -> int:
    """Write nanoseconds as seconds, without closing zeros (but one digit behind the point)."""
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    at = _digits(out, at, value // 1_000_000_000, 1)
    out[at] = 46
    at = _digits(out, at + 1, value % 1_000_000_000, 9)
    while out[at - 1] == 48 and out[at - 2] != 46:
        at -= 1
    return at


@lean_kernel
def _write(out: Any, values: Any, template: Any) -> int:
    """Write every row of `values` (int64[rows, values]); returns the bytes written. `out` is large enough."""
    at = 0
    n_values = len(template.kinds)
    for row in range(values.shape[0]):
        for j in range(n_values):
            at = _copy(out, at, template.pieces, template.piece_start[j], template.piece_start[j + 1])
            kind = template.kinds[j]
            value = values[row, j]
            if kind == TEXT:
                if value >= 0:
                    first = template.pool_first[j] + value
                    at = _copy(out, at, template.texts, template.text_start[first], template.text_start[first + 1])
            elif kind == SECONDS:
                at = _null(out, at) if value == NO_TIME else _seconds(out, at, value)
            elif value < 0:
                at = _null(out, at)
            else:
                at = _digits(out, at, value, 1)
        at = _copy(out, at, template.pieces, template.piece_start[n_values], template.piece_start[n_values + 1])
    return at


def pool(texts: Sequence[str]) -> Pool:
    """A pool of texts, which are already escaped for where they go."""
    start = np.zeros(len(texts) + 1, dtype=np.int64)
    joined = bytearray()
    for first in range(0, len(texts), ROWS_AT_ONCE):
        encoded = [text.encode("utf-8", "backslashreplace") for text in texts[first : first + ROWS_AT_ONCE]]
        start[first + 1 : first + 1 + len(encoded)] = [len(text) for text in encoded]
        joined += b"".join(encoded)
    np.cumsum(start, out=start)
    return Pool(np.frombuffer(joined or b"\0", dtype=np.uint8), start)


def render(pieces: Sequence[str], values: Sequence[Value]) -> Iterator[bytes]:
    """Bytes of all rows: piece, value, piece, value, ..., last piece. One more piece than values."""
    assert len(pieces) == len(values) + 1
    encoded = [piece.encode() for piece in pieces]
    template, text_room = _template(encoded, values)
    n_rows = len(values[0].column)
    room = sum(map(len, encoded)) + NUMBER_BYTES * len(values) + text_room
    out = np.empty(room * min(n_rows, ROWS_AT_ONCE), dtype=np.uint8)
    shown = _Template(*map(as_kernel_sees, template))
    for first in range(0, n_rows, ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        matrix = np.stack([value.column[rows].astype(np.int64, copy=False) for value in values], axis=1)
        size = _write(as_kernel_sees(out), as_kernel_sees(matrix), shown)
        yield out[:size].tobytes()


def _template(pieces: list[bytes], values: Sequence[Value]) -> tuple[_Template, int]:
    """The kernel's tables, and the bytes that the texts of one row need at most."""
    pools: dict[int, tuple[Pool, int]] = {}
    first, room = 0, 0
    pool_first = []
    for value in values:
        if value.pool is not None and id(value.pool) not in pools:
            pools[id(value.pool)] = (value.pool, first)
            first += len(value.pool.start)
        pool_first.append(pools[id(value.pool)][1] if value.pool is not None else 0)
        if value.pool is not None:
            room += int(np.diff(value.pool.start).max(initial=0))
    starts, texts, size = [], [], 0
    for some, _ in pools.values():
        starts.append(some.start + size)
        texts.append(some.data)
        size += len(some.data)
    piece_start = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=piece_start[1:])
    template = _Template(
        np.frombuffer(b"".join(pieces), dtype=np.uint8).copy(),
        piece_start,
        np.array([value.kind for value in values], dtype=np.int64),
        np.concatenate([*texts, np.zeros(1, np.uint8)]),
        np.concatenate([*starts, np.zeros(1, np.int64)]),
        np.array(pool_first, dtype=np.int64),
    )
    return template, room
