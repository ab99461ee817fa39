"""Packet lengths, as Wireshark's table of that name: how many frames of which length, and how dense they came.

In: batches. Out: a `Lengths` table, one row a range of `frame.len` and one over all. A burst is the densest 100 ms, in
steps of 5 ms since frame 1; a frame that comes more than 100 ms too late (a file out of order) counts everywhere but in
the burst. What counts is the order of frames, not how they were cut into batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import NO_TIME, Array, Batch, data_frame
from analysis.records import Record

LOWS = (0, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120)
BUCKET_NS = 5_000_000
BUCKETS = 20  # of a window: 100 ms
KEPT = 2 * BUCKETS - 1  # buckets that a frame may still come to (20), and what the windows over them reach back to
WINDOW_MS = 100
ROWS = len(LOWS) + 1  # the last row counts every frame
COUNTED = 1 << 16  # lengths up to this one are counted one by one; longer frames are rare and share a range
_RANGE = (np.searchsorted(LOWS, np.arange(LOWS[-1] + 1), side="right") - 1).astype(np.int64)  # range of a length


class LengthCounter:
    """Counts lengths; `start_ns` is the time of frame 1 (default: of the first batch)."""

    def __init__(self, start_ns: int | None = None) -> None:
        self._start_ns = start_ns
        self._histogram = np.zeros(COUNTED, dtype=np.int64)
        self._long = (0, 0, 2**62, -1)  # frames of COUNTED bytes and more: packets, bytes, shortest, longest
        self._span = (2**62, -(2**62))
        self._burst = np.zeros(ROWS, dtype=np.int64)
        self._burst_ns = np.zeros(ROWS, dtype=np.int64)
        self._burst_end = np.full(ROWS, 2**62, dtype=np.int64)  # last bucket of the densest window
        self._buckets: Array = np.empty(0, dtype=np.int64)  # the last KEPT: bucket numbers, counts, first times
        self._recent: Array = np.empty((0, ROWS), dtype=np.int64)
        self._recent_ns: Array = np.empty((0, ROWS), dtype=np.int64)

    def update(self, batch: Batch) -> None:
        """Count every frame of the batch."""
        lengths = batch.packets.frame_len
        if not len(lengths):
            return
        if int(lengths.max()) >= COUNTED:
            self._add_long(lengths[lengths >= COUNTED])
            counted = np.bincount(lengths[lengths < COUNTED])
        else:
            counted = np.bincount(lengths)
        self._histogram[: len(counted)] += counted
        row = _RANGE[np.minimum(lengths, LOWS[-1])]
        self._time(batch.packets.time_ns, row)

    def _add_long(self, lengths: Array) -> None:
        count, size, shortest, longest = self._long
        self._long = (
            count + len(lengths),
            size + int(lengths.sum()),
            min(shortest, int(lengths.min())),
            max(longest, int(lengths.max())),
        )

    def _time(self, times: Array, row: Array) -> None:
        """Follow the bursts through the frames that have a time."""
        timed = times != NO_TIME
        if not timed.all():
            times, row = times[timed], row[timed]
        if not len(times):
            return
        if self._start_ns is None:
            self._start_ns = int(times[0])
        relative = times - self._start_ns
        self._span = (min(self._span[0], int(relative.min())), max(self._span[1], int(relative.max())))
        bucket = relative // BUCKET_NS
        if len(self._buckets) or np.any(bucket[1:] < bucket[:-1]):
            reached = np.maximum.accumulate(bucket)
            if len(self._buckets):
                reached = np.maximum(reached, self._buckets[-1])
            keep = bucket > reached - BUCKETS
            if not keep.all():
                relative, row, bucket = relative[keep], row[keep], bucket[keep]
            order = np.argsort(bucket, kind="stable")
            relative, row, bucket = relative[order], row[order], bucket[order]
        self._follow(*_bucketed(bucket, row, relative))

    def _follow(self, buckets: Array, counts: Array, first_ns: Array) -> None:
        """Slide the window over new buckets (ascending) behind the ones kept; remember the densest place."""
        if not len(buckets):
            return
        if len(self._buckets):
            buckets, counts, first_ns = _joined(
                (self._buckets, self._recent, self._recent_ns), (buckets, counts, first_ns)
            )
        total = np.concatenate((np.zeros((1, ROWS), np.int64), np.cumsum(counts, axis=0)))
        oldest = np.searchsorted(buckets, buckets - (BUCKETS - 1))
        window = total[1:] - total[oldest]
        best = window.argmax(axis=0)
        most = window[best, np.arange(ROWS)]
        better = (most > self._burst) | ((most == self._burst) & (most > 0) & (buckets[best] < self._burst_end))
        for k in np.flatnonzero(better).tolist():
            self._burst[k] = most[k]
            self._burst_end[k] = buckets[best[k]]
            inside = slice(int(oldest[best[k]]), int(best[k]) + 1)
            at = inside.start + int(np.flatnonzero(counts[inside, k])[0])
            self._burst_ns[k] = first_ns[at, k]
        tail = int(np.searchsorted(buckets, buckets[-1] - (KEPT - 1)))
        self._buckets, self._recent, self._recent_ns = buckets[tail:], counts[tail:], first_ns[tail:]

    def merge(self, other: LengthCounter) -> None:
        """Add the counts of another part of the capture. A burst across the border counts as its larger part."""
        self._histogram += other._histogram
        mine, theirs = self._long, other._long
        self._long = (mine[0] + theirs[0], mine[1] + theirs[1], min(mine[2], theirs[2]), max(mine[3], theirs[3]))
        self._span = (min(self._span[0], other._span[0]), max(self._span[1], other._span[1]))
        denser = other._burst > self._burst
        self._burst = np.where(denser, other._burst, self._burst)
        self._burst_ns = np.where(denser, other._burst_ns, self._burst_ns)
        self._burst_end = np.where(denser, other._burst_end, self._burst_end)

    def finish(self) -> Lengths:
        """The table."""
        present = np.flatnonzero(self._histogram)
        number = self._histogram[present]
        row = _RANGE[np.minimum(present, LOWS[-1])]
        counts, sizes = np.zeros(ROWS, dtype=np.int64), np.zeros(ROWS, dtype=np.int64)
        smallest, largest = np.full(ROWS, 2**62, dtype=np.int64), np.full(ROWS, -1, dtype=np.int64)
        np.add.at(counts, row, number)
        np.add.at(sizes, row, number * present)
        np.minimum.at(smallest, row, present)
        np.maximum.at(largest, row, present)
        last = len(LOWS) - 1
        counts[last] += self._long[0]
        sizes[last] += self._long[1]
        smallest[last] = min(int(smallest[last]), self._long[2])
        largest[last] = max(int(largest[last]), self._long[3])
        counts[-1], sizes[-1] = counts[:-1].sum(), sizes[:-1].sum()
        smallest[-1], largest[-1] = smallest[:-1].min(), largest[:-1].max()
        span_ms = max(0, self._span[1] - self._span[0]) / 1e6
        return Lengths(counts, sizes, smallest, largest, self._burst, self._burst_ns, span_ms)


class Lengths(Record):
    """Rows by range of LOWS, the last over all: int64[11] each; burst times are ns since frame 1."""

    counts: Array
    bytes: Array
    min: Array
    max: Array
    burst: Array
    burst_ns: Array
    span_ms: float

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as outputs.md lays them down: the ranges in order, without the row over all."""
        return [self._row(k) for k in range(len(LOWS))]

    def total(self) -> dict[str, Any]:
        """The row over all frames."""
        return self._row(len(LOWS))

    def _row(self, k: int) -> dict[str, Any]:
        count = int(self.counts[k])
        ranged = k < len(LOWS)
        return {
            "low": LOWS[k] if ranged else 0,
            "high": LOWS[k + 1] - 1 if k + 1 < len(LOWS) else None,
            "packets": count,
            "average": int(self.bytes[k]) / count if count else None,
            "min": int(self.min[k]) if count else None,
            "max": int(self.max[k]) if count else None,
            "rate_per_ms": count / self.span_ms if self.span_ms > 0 else None,
            "percent": 100 * count / int(self.counts[-1]) if self.counts[-1] else None,
            "burst_per_ms": int(self.burst[k]) / WINDOW_MS if count else None,
            "burst_start_s": int(self.burst_ns[k]) / 1e9 if self.burst[k] else None,
        }

    def to_pandas(self) -> Any:
        """The rows as a data frame."""
        rows = self.to_json()
        return data_frame({name: [row[name] for row in rows] for name in rows[0]})


def _bucketed(bucket: Array, row: Array, relative: Array) -> tuple[Array, Array, Array]:
    """Distinct buckets, ascending; frames of each row of the table in them; the first time of each row (or 0)."""
    if not len(bucket):
        return bucket, np.empty((0, ROWS), np.int64), np.empty((0, ROWS), np.int64)
    starts = np.concatenate(([True], bucket[1:] != bucket[:-1]))
    place = np.cumsum(starts) - 1
    n = int(place[-1]) + 1
    counts = np.zeros((n, ROWS), dtype=np.int64)
    cells = place * ROWS + row
    counts.reshape(-1)[:] = np.bincount(cells, minlength=n * ROWS)
    counts[:, -1] = counts[:, :-1].sum(axis=1)
    first = np.zeros((n, ROWS), dtype=np.int64)
    first.reshape(-1)[cells[::-1]] = relative[::-1]  # the last write wins: the earliest frame
    first[:, -1] = relative[starts]
    return bucket[starts], counts, first


def _joined(old: tuple[Array, Array, Array], new: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Two sorted runs of buckets as one; the same bucket adds its counts and keeps the first time of the old run."""
    buckets = np.sort(np.concatenate((old[0], new[0])))
    buckets = buckets[np.concatenate(([True], buckets[1:] != buckets[:-1]))]
    counts = np.zeros((len(buckets), ROWS), dtype=np.int64)
    first = np.zeros((len(buckets), ROWS), dtype=np.int64)
    for run in (new, old):
        at = np.searchsorted(buckets, run[0])
        counts[at] += run[1]
        first[at] = np.where(run[1] > 0, run[2], first[at])
    return buckets, counts, first
