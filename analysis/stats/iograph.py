"""I/O graph: packets, bytes and TCP errors per interval, as in Wireshark's window.

In: batches after TCP analysis. Out: an `IoGraph` of equally long bins from frame 1 on. A bin is the whole number of
intervals since frame 1; frames earlier than frame 1 are left out (Wireshark does). A TCP error is a frame with any
`tcp.analysis.flags`; Bad TCP is Wireshark's colour rule (without window updates and keep-alives).
Bins are kept sparsely and are bounded: a capture with absurd times, or a tiny interval, gets longer bins and says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import NO_TIME, TCP_FLAGS, Array, Batch, data_frame
from analysis.records import Record
from analysis.stats.properties import unix_seconds

MAX_BINS = 1_000_000  # bins of a finished graph: 24 MB; eleven days at 1 s
SERIES = ("packets", "bytes", "tcp_errors", "bad_tcp")
_HARMLESS = sum(1 << TCP_FLAGS.index(name) for name in ("window_update", "keep_alive", "keep_alive_ack"))


class IoCounter:
    """Counts frames per interval of `interval_s`; `start_ns` is the time of frame 1 (default: of the first batch)."""

    def __init__(self, interval_s: float = 1.0, start_ns: int | None = None) -> None:
        if not interval_s > 0:
            raise ValueError(f"interval_s: got {interval_s}, expected more than 0")
        self._interval_ns = max(1, round(interval_s * 1e9))
        self._start_ns = start_ns
        self._bins: Array = np.empty(0, dtype=np.int64)
        self._sums: Array = np.empty((0, len(SERIES)), dtype=np.int64)

    def update(self, batch: Batch) -> None:
        """Count every frame of the batch that has a time."""
        packets = batch.packets
        timed = packets.time_ns != NO_TIME
        rows: Any = slice(None) if timed.all() else timed
        times = packets.time_ns[rows]
        if not len(times):
            return
        if self._start_ns is None:
            self._start_ns = int(times[0])
        bins = (times - self._start_ns) // self._interval_ns
        analysis = packets.analysis[rows]
        flagged = analysis != 0
        bad = (analysis & ~_HARMLESS) != 0
        late = bins >= 0
        if not late.all():
            bins, flagged, bad = bins[late], flagged[late], bad[late]
        self._add(*_summed(bins, (np.ones(len(bins), np.int64), packets.frame_len[rows][late], flagged, bad)))

    def _add(self, bins: Array, sums: Array) -> None:
        """Add sums of distinct bins to those so far, and lengthen the interval where bins become too many."""
        if len(self._bins) and len(bins) and bins[0] == self._bins[-1]:
            self._sums[-1] += sums[0]
            bins, sums = bins[1:], sums[1:]
        if not len(bins):
            return
        in_order = not len(self._bins) or bins[0] > self._bins[-1]
        self._bins = np.concatenate((self._bins, bins))
        self._sums = np.concatenate((self._sums, sums))
        if not in_order:
            self._bins, self._sums = _summed(self._bins, tuple(self._sums.T))
        while len(self._bins) and self._bins[-1] >= MAX_BINS:
            self._interval_ns *= 2
            self._bins, self._sums = _summed(self._bins // 2, tuple(self._sums.T))

    def merge(self, other: IoCounter) -> None:
        """Add the counts of another counter with the same start and interval (in steps of doubling)."""
        if other._start_ns is None:
            return
        if self._start_ns is None:
            self._start_ns = other._start_ns
        if self._start_ns != other._start_ns:
            raise ValueError(f"start_ns: got {other._start_ns}, expected {self._start_ns}")
        bins, sums = other._bins, other._sums
        if max(self._interval_ns, other._interval_ns) % min(self._interval_ns, other._interval_ns):
            raise ValueError(f"interval: got {other._interval_ns} ns, expected {self._interval_ns} ns")
        if other._interval_ns < self._interval_ns:
            bins, sums = _summed(bins // (self._interval_ns // other._interval_ns), tuple(sums.T))
        elif self._interval_ns < other._interval_ns:
            factor = other._interval_ns // self._interval_ns
            self._bins, self._sums = _summed(self._bins // factor, tuple(self._sums.T))
            self._interval_ns = other._interval_ns
        self._add(bins, sums)

    def finish(self) -> IoGraph:
        """The graph with empty intervals as zeros."""
        n = int(self._bins[-1]) + 1 if len(self._bins) else 0
        dense = np.zeros((n, len(SERIES)), dtype=np.int64)
        dense[self._bins] = self._sums
        return IoGraph(self._interval_ns / 1e9, self._start_ns, *(dense[:, i].copy() for i in range(len(SERIES))))


class IoGraph(Record):
    """Bins from frame 1 on: int64[bins] each. `start_ns` is None where no frame has a time."""

    interval_s: float
    start_ns: int | None
    packets: Array
    bytes: Array
    tcp_errors: Array
    bad_tcp: Array

    def to_json(self) -> dict[str, Any]:
        """The graph as outputs.md lays it down."""
        series = {name: getattr(self, name).tolist() for name in SERIES}
        return {"interval_s": self.interval_s, "start_time": unix_seconds(self.start_ns), **series}

    def to_pandas(self) -> Any:
        """One row an interval, `time_s` since frame 1."""
        time_s = np.arange(len(self.packets)) * self.interval_s
        return data_frame({"time_s": time_s} | {name: getattr(self, name) for name in SERIES})


def _summed(bins: Array, series: tuple[Array, ...]) -> tuple[Array, Array]:
    """Distinct bins, ascending, and the sums of each series in them: int64[k], int64[k, series]."""
    if not len(bins):
        return np.empty(0, np.int64), np.empty((0, len(series)), np.int64)
    columns = np.stack([column.astype(np.int64, copy=False) for column in series], axis=1)
    if np.any(bins[1:] < bins[:-1]):
        order = np.argsort(bins, kind="stable")
        bins, columns = bins[order], columns[order]
    starts = np.flatnonzero(np.concatenate(([True], bins[1:] != bins[:-1])))
    return bins[starts], np.add.reduceat(columns, starts, axis=0)
