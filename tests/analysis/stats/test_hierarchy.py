"""Protocol hierarchy: Wireshark's tree rule, exact when paths are counted first and folded at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import layers
from analysis.columns import Batch, empty_packets, empty_taps
from analysis.stats.hierarchy import Hierarchy, HierarchyCounter, Node

NAMES = ("eth", "ip", "udp", "tcp", "data", "gre", "quic")
Frame = list[tuple[str, int]]  # layers with their own bytes, outermost first
FRAMES = st.lists(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 50)), max_size=7), max_size=25)


def batch(frames: Sequence[Frame], first_number: int = 1) -> Batch:
    """Packets with these layers; direct repeats are merged, as the decoder writes them."""
    packets = empty_packets(len(frames))
    packets.number[:] = np.arange(first_number, first_number + len(frames))
    packets.frame_len[:] = 100
    packets.time_ns[:] = packets.number * 1_000_000_000
    for row, frame in enumerate(frames):
        n = 0
        for name, size in (("frame", 0), *frame):
            if n and packets.layers[row, n - 1] == layers.BY_NAME[name]:
                packets.layer_bytes[row, n - 1] += size
                packets.layer_pdus[row, n - 1] += 1
                packets.last_pdu_bytes[row] = size
                continue
            packets.layers[row, n] = layers.BY_NAME[name]
            packets.layer_bytes[row, n] = size
            packets.layer_pdus[row, n] = 1
            packets.last_pdu_bytes[row] = -1
            n += 1
        # The counter reads layers below the frame, as decoding writes them.
        packets.layers[row, : n - 1] = packets.layers[row, 1:n].copy()
        packets.layer_bytes[row, : n - 1] = packets.layer_bytes[row, 1:n].copy()
        packets.layer_pdus[row, : n - 1] = packets.layer_pdus[row, 1:n].copy()
        packets.n_layers[row] = n - 1
    return Batch(np.empty(0, np.uint8), packets, empty_taps(0))


def slow(frames: Sequence[Frame]) -> dict[str, tuple[int, ...]]:
    """Frame by frame into the tree: packets, bytes, end packets, end bytes, PDUs by path."""
    root = Node(0, None)
    for frame in frames:
        at, seen, last = root, set(), 0
        for name, size in frame:
            at = at.step(layers.BY_NAME[name])
            at.packets += id(at) not in seen
            seen.add(id(at))
            at.bytes += size
            at.pdus += 1
            last = size
        at.end_packets += 1
        at.end_bytes += last
    return {
        row.path: (row.packets, row.bytes, row.end_packets, row.end_bytes, row.pdus)
        for row in Hierarchy(root, len(frames), 0, 0).rows()[1:]
    }


def counted(*batches: Batch) -> HierarchyCounter:
    """A counter that has seen the batches."""
    counter = HierarchyCounter()
    for some in batches:
        counter.update(some)
    return counter


def table(counter: HierarchyCounter) -> dict[str, tuple[int, ...]]:
    """The numbers by path."""
    return {
        row.path: (row.packets, row.bytes, row.end_packets, row.end_bytes, row.pdus)
        for row in counter.finish().rows()[1:]
    }


@settings(max_examples=300, deadline=None)
@given(FRAMES, st.integers(0, 25))
def test_paths_folded_at_the_end_equal_frame_by_frame(frames: list[Frame], cut: int) -> None:
    """Counting per path and folding once gives every number of frame-by-frame insertion, in chunks and merged."""
    expected = slow(frames)
    in_chunks = counted(batch(frames[:cut]), batch(frames[cut:], cut + 1))
    merged = counted(batch(frames[cut:], cut + 1))
    merged.merge(counted(batch(frames[:cut])))

    assert expected == table(counted(batch(frames)))
    assert expected == table(in_chunks)
    assert expected == table(merged)


@settings(max_examples=100, deadline=None)
@given(FRAMES)
def test_invariants(frames: list[Frame]) -> None:
    """Ends sum to the frames; a child has no more packets than its parent; PDUs and bytes cover packets and ends."""
    hierarchy = counted(batch(frames)).finish()
    rows = {row.path: row for row in hierarchy.rows()}

    assert sum(row.end_packets for row in rows.values()) == len(frames) == rows["frame"].packets
    for path, row in rows.items():
        parent = path.rpartition("/")[0]
        assert row.pdus >= row.packets and row.end_packets <= row.packets and row.end_bytes <= row.bytes
        assert not parent or row.packets <= rows[parent].packets


def test_a_repeat_is_one_node_with_more_pdus() -> None:
    """QUIC in QUIC: one row, two PDUs; end bytes are those of the last one."""
    rows = table(counted(batch([[("eth", 14), ("udp", 8), ("quic", 100), ("quic", 30)]])))

    assert rows["eth/udp/quic"] == (1, 130, 1, 30, 2)


def test_a_tunnel_folds_onto_its_outer_layers() -> None:
    """Inner IP and TCP of GRE count at the outer IP."""
    rows = table(counted(batch([[("eth", 14), ("ip", 20), ("gre", 4), ("ip", 20), ("tcp", 20)]])))

    assert rows["eth/ip"] == (1, 40, 0, 0, 2)
    assert rows["eth/ip/tcp"] == (1, 20, 1, 20, 1)


def test_the_tree_depends_on_the_order_of_frames() -> None:
    """Where eth/data exists first, data behind UDP climbs to it."""
    plain, deep = [("eth", 14), ("data", 5)], [("eth", 14), ("ip", 20), ("udp", 8), ("data", 7)]

    assert "eth/ip/udp/data" not in table(counted(batch([plain, deep])))
    assert table(counted(batch([deep, plain])))["eth/data"] == (1, 5, 1, 5, 1)


def test_many_paths_grow_the_table() -> None:
    """More paths than the first table holds are all kept."""
    frames: list[Frame] = [[(NAMES[i % 7], 1), (NAMES[i // 7 % 7], 2), (NAMES[i // 49 % 7], 3)] for i in range(343)]
    expected = slow(frames + frames)

    assert expected == table(counted(batch(frames + frames)))


def test_empty_capture_has_one_row_without_rates() -> None:
    """No packet: the frame row, nothing divided by zero."""
    (row,) = HierarchyCounter().finish().to_json()

    assert (row["path"], row["packets"], row["percent_packets"], row["bits_per_s"]) == ("frame", 0, None, None)


def test_to_pandas_has_the_rows() -> None:
    """The data frame holds the same columns."""
    frame = counted(batch([[("eth", 14)]])).finish().to_pandas()

    assert frame["path"].tolist() == ["frame", "eth"]
    assert frame["percent_packets"].tolist() == [100.0, 100.0]
