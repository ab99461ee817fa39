"""Packet lengths: ranges, averages, and the densest 100 ms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.columns import NO_TIME, Batch, empty_packets, empty_taps
from analysis.stats.lengths import BUCKET_NS, BUCKETS, LOWS, LengthCounter, Lengths

MS = 1_000_000
FRAMES = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([0, 19, 20, 60, 1500, 9000, 65_535, 65_536, 200_000])), max_size=50
)


def batch(frames: Sequence[tuple[int, int]]) -> Batch:
    """Packets with (time in ns, length)."""
    packets = empty_packets(len(frames))
    for column, values in zip((packets.time_ns, packets.frame_len), zip(*frames)):
        column[:] = values
    return Batch(np.empty(0, np.uint8), packets, empty_taps(0))


def counted(frames: Sequence[tuple[int, int]], cut: int = 0) -> Lengths:
    """The table of frames in two chunks."""
    counter = LengthCounter()
    for some in (frames[:cut], frames[cut:]):
        counter.update(batch(some))
    return counter.finish()


def test_ranges() -> None:
    """A length falls into its range; averages, extremes and shares are of that range."""
    rows = counted([(0, 19), (10 * MS, 20), (20 * MS, 39), (100 * MS, 6000)]).to_json()

    assert [row["packets"] for row in rows] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert (rows[1]["low"], rows[1]["high"], rows[1]["average"]) == (20, 39, 29.5)
    assert (rows[9]["low"], rows[9]["high"], rows[9]["max"]) == (5120, None, 6000)
    assert rows[1]["percent"] == 50.0
    assert rows[1]["rate_per_ms"] == 2 / 100  # packets over the whole span in ms
    assert rows[2]["average"] is None and rows[2]["burst_per_ms"] is None


def test_burst_is_the_densest_100_ms() -> None:
    """Three packets within 95 ms beat two; the burst begins with the first packet of its oldest bucket."""
    found = counted([(0, 60), (400 * MS, 60), (401 * MS, 60), (494 * MS, 60), (1000 * MS, 60)]).total()

    assert (found["burst_per_ms"], found["burst_start_s"]) == (0.03, 0.4)


def slow_burst(frames: Sequence[tuple[int, int]]) -> int:
    """Most packets in any 20 buckets of 5 ms."""
    buckets = [(time - frames[0][0]) // BUCKET_NS for time, _ in frames]
    return max((sum(last - BUCKETS < other <= last for other in buckets) for last in buckets), default=0)


@settings(max_examples=200, deadline=None)
@given(FRAMES, st.integers(0, 50))
def test_equals_the_slow_twin_in_any_chunks(gaps: list[tuple[int, int]], cut: int) -> None:
    """For frames in order of time: the burst of a quadratic count, and the same table in any chunks."""
    times = np.cumsum([gap for gap, _ in gaps]) * MS
    frames = [(int(time), length) for time, (_, length) in zip(times, gaps)]
    found = counted(frames, cut)

    assert int(found.burst[-1]) == slow_burst(frames)
    assert found.to_json() == counted(frames).to_json()
    assert int(found.counts[: len(LOWS)].sum()) == len(frames) == int(found.counts[-1])
    assert int(found.bytes[: len(LOWS)].sum()) == sum(length for _, length in frames)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 60), st.sampled_from([60, 1500])), max_size=40), st.integers(0, 40))
def test_times_that_run_backwards_in_any_chunks(gaps: list[tuple[int, int]], cut: int) -> None:
    """The table depends on the order of frames alone, not on where a batch ends."""
    times = np.cumsum([gap for gap, _ in gaps]) * MS
    frames = [(int(time), length) for time, (_, length) in zip(times, gaps)]
    one_by_one = LengthCounter()
    for frame in frames:
        one_by_one.update(batch([frame]))

    assert counted(frames, cut).to_json() == counted(frames).to_json() == one_by_one.finish().to_json()


def test_out_of_order_and_untimed_packets_count() -> None:
    """A packet that is much too late, or has no time, counts in its range."""
    found = counted([(5_000 * MS, 60), (0, 60), (NO_TIME, 60)])

    assert int(found.counts[-1]) == 3


@settings(max_examples=50, deadline=None)
@given(FRAMES, st.integers(0, 50))
def test_merged_counters_have_the_counts_of_one(gaps: list[tuple[int, int]], cut: int) -> None:
    """Counts, bytes and extremes of two parts add up."""
    frames = [(i * 10 * MS, length) for i, (_, length) in enumerate(gaps)]
    one, two = LengthCounter(0), LengthCounter(0)
    one.update(batch(frames[:cut]))
    two.update(batch(frames[cut:]))
    one.merge(two)
    whole = counted(frames)
    found = one.finish()

    for name in ("counts", "bytes", "min", "max"):
        assert np.array_equal(getattr(whole, name), getattr(found, name)), name


def test_empty() -> None:
    """No packets: rows without numbers, nothing divided by zero."""
    found = counted([])

    assert {row["average"] for row in found.to_json()} == {None}
    assert found.total()["rate_per_ms"] is None
    assert len(found.to_pandas()) == len(LOWS)
