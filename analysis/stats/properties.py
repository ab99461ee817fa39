"""Capture file properties: packets, bytes, span, order, faults; one row of Wireshark's dialog of that name.

In: batches. Out: `Properties`. The span is from the smallest to the largest time (Wireshark's rule, so a file out of
order keeps its span); packets without a time count, but not in the span. What the file says of itself (interfaces,
comments, digests) comes from `capture` and is joined in `run`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from analysis.columns import FAULTS, NO_TIME, Batch, data_frame
from analysis.records import Record


class PropertyCounter:
    """Sums over packets."""

    def __init__(self) -> None:
        self.packets = 0
        self.wire_bytes = 0
        self.captured_bytes = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.frame_1_ns: int | None = None  # time of the first packet that has one: zero of all relative times
        self.faults: Counter[str] = Counter()
        self.link_types: Counter[int] = Counter()

    def update(self, batch: Batch) -> None:
        """Count every packet of the batch."""
        packets = batch.packets
        if not len(packets.number):
            return
        self.packets += len(packets.number)
        self.wire_bytes += int(packets.frame_len.sum())
        self.captured_bytes += int(packets.cap_len.sum())
        times = packets.time_ns
        lowest = int(times.min())
        if lowest == NO_TIME:
            times = times[times != NO_TIME]
            lowest = int(times.min()) if len(times) else 0
        if len(times):
            highest = int(times.max())
            self.frame_1_ns = int(times[0]) if self.frame_1_ns is None else self.frame_1_ns
            self.first_ns = lowest if self.first_ns is None else min(self.first_ns, lowest)
            self.last_ns = highest if self.last_ns is None else max(self.last_ns, highest)
        faulty = packets.fault[packets.fault != 0]
        for bit, name in enumerate(FAULTS):
            count = int(np.count_nonzero(faulty & (1 << bit))) if len(faulty) else 0
            if count:
                self.faults[name] += count
        first_type = int(packets.link_type[0])
        if bool((packets.link_type == first_type).all()):
            self.link_types[first_type] += len(packets.number)
        else:
            self.link_types.update(packets.link_type.tolist())

    def merge(self, other: PropertyCounter) -> None:
        """Add the sums of a later part of the capture."""
        self.packets += other.packets
        self.wire_bytes += other.wire_bytes
        self.captured_bytes += other.captured_bytes
        self.faults += other.faults
        self.link_types += other.link_types
        if other.first_ns is not None and other.last_ns is not None:
            self.frame_1_ns = other.frame_1_ns if self.frame_1_ns is None else self.frame_1_ns
            self.first_ns = other.first_ns if self.first_ns is None else min(self.first_ns, other.first_ns)
            self.last_ns = other.last_ns if self.last_ns is None else max(self.last_ns, other.last_ns)

    def finish(self) -> Properties:
        """The row."""
        return Properties(
            self.packets,
            self.wire_bytes,
            self.captured_bytes,
            self.frame_1_ns,
            self.first_ns,
            self.last_ns,
            dict(self.faults),
            tuple(sorted(self.link_types)),
        )


class Properties(Record):
    """What was counted. Times are Unix ns, None where no packet has one."""

    packets: int
    wire_bytes: int
    captured_bytes: int
    frame_1_ns: int | None
    first_ns: int | None
    last_ns: int | None
    faults: dict[str, int]
    link_types: tuple[int, ...]

    @property
    def duration_s(self) -> float | None:
        """Span from the smallest to the largest time; None without times."""
        return None if self.first_ns is None or self.last_ns is None else (self.last_ns - self.first_ns) / 1e9

    def to_json(self) -> dict[str, Any]:
        """The counted part of `capture` in outputs.md; a rate is null where the span is 0."""
        span = self.duration_s or 0.0
        return {
            "packets": self.packets,
            "data_bytes": self.wire_bytes,
            "captured_bytes": self.captured_bytes,
            "first_time": unix_seconds(self.first_ns),
            "last_time": unix_seconds(self.last_ns),
            "duration_s": self.duration_s,
            "average_packet_bytes": self.wire_bytes / self.packets if self.packets else None,
            "packets_per_s": self.packets / span if span else None,
            "bytes_per_s": self.wire_bytes / span if span else None,
            "bits_per_s": 8 * self.wire_bytes / span if span else None,
        }

    def to_pandas(self) -> Any:
        """One row."""
        return data_frame({name: [value] for name, value in self.to_json().items()})


def unix_seconds(ns: int | None) -> float | None:
    """Unix time in s, the float nearest to the decimal number (ns / 1e9 would round twice)."""
    if ns is None:
        return None
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    return float(f"{sign}{ns // 10**9}.{ns % 10**9:09d}")
