"""I/O graph: bins from frame 1, early frames left out, any chunks and intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.columns import NO_TIME, TCP_FLAGS, Batch, empty_packets, empty_taps
from analysis.stats import iograph
from analysis.stats.iograph import IoCounter, IoGraph

S = 1_000_000_000
Frame = tuple[int, int, int]  # time in ns, length, analysis bits
UPDATE = 1 << TCP_FLAGS.index("window_update")
LOST = 1 << TCP_FLAGS.index("lost_segment")
FRAMES = st.lists(
    st.tuples(st.integers(0, 20 * S), st.integers(0, 1500), st.sampled_from([0, 0, UPDATE, LOST])), max_size=40
)


def batch(frames: Sequence[Frame]) -> Batch:
    """Packets with these times, lengths and verdicts."""
    packets = empty_packets(len(frames))
    for column, values in zip((packets.time_ns, packets.frame_len, packets.analysis), zip(*frames)):
        column[:] = values
    return Batch(np.empty(0, np.uint8), packets, empty_taps(0))


def graph(frames: Sequence[Frame], interval_s: float = 1.0, cut: int = 0) -> IoGraph:
    """The graph of frames in two chunks."""
    counter = IoCounter(interval_s)
    for some in (frames[:cut], frames[cut:]):
        counter.update(batch(some))
    return counter.finish()


def test_bins() -> None:
    """Empty intervals are zeros; a frame before frame 1 is left out; a window update is an error but not bad."""
    found = graph([(5 * S, 10, 0), (5 * S + 1, 20, LOST), (8 * S, 30, UPDATE), (4 * S, 40, 0)])

    assert found.packets.tolist() == [2, 0, 0, 1]
    assert found.bytes.tolist() == [30, 0, 0, 30]
    assert found.tcp_errors.tolist() == [1, 0, 0, 1]
    assert found.bad_tcp.tolist() == [1, 0, 0, 0]


@settings(max_examples=200, deadline=None)
@given(FRAMES, st.integers(0, 40), st.sampled_from([0.5, 1.0, 3.0]))
def test_sums_hold_in_any_chunks(frames: list[Frame], cut: int, interval_s: float) -> None:
    """Bins sum to the frames at or after frame 1; errors are never more than packets; chunks change nothing."""
    found = graph(frames, interval_s, cut)
    kept = [frame for frame in frames if frame[0] >= frames[0][0]]

    assert found.packets.sum() == len(kept)
    assert found.bytes.sum() == sum(frame[1] for frame in kept)
    assert (found.tcp_errors <= found.packets).all() and (found.bad_tcp <= found.tcp_errors).all()
    assert found.to_json() == graph(frames, interval_s).to_json()


@settings(max_examples=100, deadline=None)
@given(FRAMES, st.integers(2, 5))
def test_seconds_merge_to_longer_intervals(frames: list[Frame], k: int) -> None:
    """k bins of 1 s are one of k s."""
    seconds, longer = graph(frames).packets.tolist(), graph(frames, float(k)).packets.tolist()

    assert [sum(seconds[i : i + k]) for i in range(0, len(seconds), k)] == longer


@settings(max_examples=100, deadline=None)
@given(FRAMES, st.integers(0, 40))
def test_merged_counters_equal_one(frames: list[Frame], cut: int) -> None:
    """Two parts counted apart and merged give the whole."""
    start = frames[0][0] if frames else 0
    one, two = IoCounter(1.0, start), IoCounter(1.0, start)
    one.update(batch(frames[:cut]))
    two.update(batch(frames[cut:]))
    one.merge(two)
    whole = IoCounter(1.0, start)
    whole.update(batch(frames))

    assert whole.finish().to_json() == one.finish().to_json()


def test_absurd_times_lengthen_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span with more bins than are kept gets intervals twice as long until it fits, and says so."""
    monkeypatch.setattr(iograph, "MAX_BINS", 100)
    found = graph([(0, 1, 0), (50 * S, 1, 0), (399 * S, 1, 0)])

    assert (found.interval_s, len(found.packets)) == (4.0, 100)
    assert found.packets.sum() == 3


def test_no_times_no_graph() -> None:
    """Frames without time are left out; without any there is no bin and no start."""
    found = graph([(NO_TIME, 5, 0)]).to_json()

    assert (found["start_time"], found["packets"]) == (None, [])


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan")])
def test_impossible_interval(interval_s: float) -> None:
    """An interval must be longer than nothing."""
    with pytest.raises(ValueError, match="expected more than 0"):
        IoCounter(interval_s)


def test_different_starts_do_not_merge() -> None:
    """Bins of different origins cannot be added."""
    one, two = IoCounter(1.0, 0), IoCounter(1.0, 5)
    with pytest.raises(ValueError, match="start_ns"):
        one.merge(two)


def test_to_pandas() -> None:
    """One row an interval."""
    assert graph([(0, 9, 0), (2 * S, 1, 0)]).to_pandas()["bytes"].tolist() == [9, 0, 1]
