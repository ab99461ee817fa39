"""Several captures as one: pieces of their records merged by time, as mergecap orders them.

In: per input, an iterator of pieces. Out: pieces in one order, a bounded part of every input in memory. It must not
know where the pieces come from, nor number them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.columns import NO_TIME, Array, Records
from analysis.named_tuples import NamedTuple


class Piece(NamedTuple):
    """Records of one file, with their comments as (row, text)."""

    records: Records
    comments: list[tuple[int, str]]


def merged(inputs: Sequence[Iterator[Piece]]) -> Iterator[Piece]:
    """Merge by time as mergecap does: always the input whose next packet is earliest, the first of equals.

    An input that runs backwards keeps its own order: a packet sorts by the latest time that its file has shown so far,
    which gives that very order.
    """
    heads = [_Head(pieces) for pieces in inputs]
    while active := [head for head in heads if head.fill()]:
        last, order = min((int(head.keys[-1]), k) for k, head in enumerate(heads) if head.piece is not None)
        parts = []
        for k, head in enumerate(heads):
            if head.piece is not None:
                # Rows equal to the bound: not those of later inputs, an earlier one may have more of them.
                rows = np.searchsorted(head.keys, last, side="right" if k <= order else "left")
                parts.append(head.take(int(rows)))
        yield _joined([part for part in parts if len(part[1])]) if len(active) > 1 else parts[0][0]


class _Head:
    """The piece of one input that is being merged: `keys` are the sort keys of the rows not yet taken."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._latest = NO_TIME
        self.piece: Piece | None = None
        self.keys: Array = np.empty(0, np.int64)
        self._row = 0

    def fill(self) -> bool:
        """Have a piece with rows left, or return False at the end of the input."""
        while self.piece is None or not len(self.keys):
            self.piece = next(self._pieces, None)
            if self.piece is None:
                return False
            self.keys = np.maximum(np.maximum.accumulate(self.piece.records.time_ns), self._latest)
            self._latest = int(self.keys[-1])
            self._row = 0
        return True

    def take(self, n: int) -> tuple[Piece, Array]:
        """The next n rows and their keys."""
        assert self.piece is not None
        rows = slice(self._row, self._row + n)
        data, *columns = self.piece.records
        records = Records(data, *(column[rows] for column in columns))
        comments = [(row - rows.start, text) for row, text in self.piece.comments if rows.start <= row < rows.stop]
        keys, self.keys, self._row = self.keys[:n], self.keys[n:], self._row + n
        return Piece(records, comments), keys


def _joined(parts: list[tuple[Piece, Array]]) -> Piece:
    """One piece of several in order of their keys; equal keys in order of the parts."""
    if len(parts) == 1:
        return parts[0][0]
    order = np.argsort(np.concatenate([keys for _, keys in parts]), kind="stable")
    buffers, starts, comments, size, rows = [], [], [], 0, 0
    for piece, keys in parts:
        records = piece.records
        first, end = int(records.start.min()), int((records.start + records.cap_len).max())
        buffers.append(records.data[first:end])
        starts.append(records.start - first + size)
        comments += [(rows + row, text) for row, text in piece.comments]
        size += end - first
        rows += len(keys)
    place = np.empty(rows, np.int64)
    place[order] = np.arange(rows)
    columns = {
        name: np.concatenate([getattr(piece.records, name) for piece, _ in parts])[order]
        for name in Records._fields
        if name not in ("data", "start")
    }
    start = np.concatenate(starts)[order]
    moved = sorted((int(place[row]), text) for row, text in comments)
    return Piece(Records(data=np.concatenate(buffers), start=start, **columns), moved)
