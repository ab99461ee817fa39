"""Protocol hierarchy, as Wireshark's window counts it: own bytes of each layer, end packets, PDUs.

In: batches whose layers are named. Out: a `Hierarchy` table. Frames are counted per path as they come (a path is the
row of layers of a frame, with the bytes of each position); only at the end are the paths put into a tree, in order of
their first frame: that is exact, costs nothing per packet, and merges over chunks.
The tree rule (Wireshark's, 4.2 and later): below the previous layer, else beside it or beside one of its ancestors,
else a new row. It folds repeats and tunnels, so `eth/ip/gre/ip/tcp` counts on `eth/ip/gre` and `eth/ip/tcp`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import MAX_LAYERS, NO_TIME, Array, Batch, data_frame
from analysis.growing import as_kernel_sees
from analysis.kernel import lean_kernel
from analysis.layers import LONG_NAMES, NAMES
from analysis.named_tuples import NamedTuple
from analysis.records import Record

FIRST_PATHS = 64
FRAMES, END_BYTES, FIRST_FRAME = range(3)


class _Layers(NamedTuple):
    """What the kernel reads of Packets."""

    number: Any
    n_layers: Any
    layers: Any
    layer_bytes: Any
    layer_pdus: Any
    last_pdu_bytes: Any


class _Paths(NamedTuple):
    """Paths so far: row = path. Slots of the hash table hold row + 1."""

    slots: Any  # int32[power of two]
    length: Any  # int32[rows]
    layers: Any  # int32[rows, MAX_LAYERS]
    sums: Any  # int64[rows, 3] frames, end bytes, first frame number
    bytes: Any  # int64[rows, MAX_LAYERS]
    pdus: Any  # int64[rows, MAX_LAYERS]


@lean_kernel
def _count(frames: Any, paths: Any, known: int, first: int) -> tuple[int, int]:
    """Count frames from row `first` on into their paths; stops where the table is full.

    Returns (rows done, paths known).
    """
    last_slot = len(paths.slots) - 1
    room = len(paths.length)
    path = -1
    for i in range(first, len(frames.n_layers)):
        n = 0 + frames.n_layers[i]
        # Most frames have the path of the one before.
        same = path >= 0 and paths.length[path] == n
        if same:
            for k in range(n):
                if paths.layers[path, k] != frames.layers[i, k]:
                    same = False
                    break
        if not same:
            mixed = n
            for k in range(n):
                mixed = (mixed * 40503 + frames.layers[i, k] + 1) & 0x7FFFFFFF
            at = (mixed ^ (mixed >> 15)) & last_slot
            path = -1
            while paths.slots[at] != 0:
                row = 0 + paths.slots[at] - 1
                equal = paths.length[row] == n
                if equal:
                    for k in range(n):
                        if paths.layers[row, k] != frames.layers[i, k]:
                            equal = False
                            break
                if equal:
                    path = row
                    break
                at = (at + 1) & last_slot
            if path < 0:
                if known == room:
                    return i, known
                path = known
                known += 1
                paths.slots[at] = path + 1
                paths.length[path] = n
                paths.sums[path, FIRST_FRAME] = frames.number[i]
                for k in range(n):
                    paths.layers[path, k] = frames.layers[i, k]
        paths.sums[path, FRAMES] = paths.sums[path, FRAMES] + 1
        for k in range(n):
            paths.bytes[path, k] = paths.bytes[path, k] + frames.layer_bytes[i, k]
            paths.pdus[path, k] = paths.pdus[path, k] + frames.layer_pdus[i, k]
        if n > 0:
            end = frames.last_pdu_bytes[i]
            if end < 0:
                end = frames.layer_bytes[i, n - 1]
            paths.sums[path, END_BYTES] = paths.sums[path, END_BYTES] + end
    return len(frames.n_layers), known


class PathCount(NamedTuple):
    """One path: how many frames have it, the bytes and PDUs of each of its layers, and the first such frame."""

    frames: int
    end_bytes: int
    first_frame: int
    bytes: list[int]
    pdus: list[int]


class HierarchyCounter:
    """Counts paths. `update` per batch, `merge` over workers, `finish` for the table."""

    def __init__(self) -> None:
        self._known = 0
        self._paths = _empty_paths(FIRST_PATHS)
        self._merged: dict[tuple[int, ...], PathCount] = {}
        self._wire_bytes = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def update(self, batch: Batch) -> None:
        """Count every frame of the batch."""
        frames = _Layers(*(as_kernel_sees(getattr(batch.packets, name)) for name in _Layers._fields))
        done, total = 0, len(batch.packets.number)
        while done < total:
            done, self._known = _count(frames, _Paths(*map(as_kernel_sees, self._paths)), self._known, done)
            if done < total:
                self._paths = _larger(self._paths)
        self._wire_bytes += int(batch.packets.frame_len.sum())
        times = batch.packets.time_ns
        times = times[times != NO_TIME]
        if len(times):
            self._span(int(times.min()), int(times.max()))

    def _span(self, first_ns: int, last_ns: int) -> None:
        self._first_ns = first_ns if self._first_ns is None else min(first_ns, self._first_ns)
        self._last_ns = last_ns if self._last_ns is None else max(last_ns, self._last_ns)

    def merge(self, other: HierarchyCounter) -> None:
        """Add what another counter has seen of the same capture (frame numbers over the whole analysis)."""
        for path, count in other.paths().items():
            mine = self._merged.get(path)
            self._merged[path] = _sum(mine, count) if mine else count
        self._wire_bytes += other._wire_bytes
        if other._first_ns is not None and other._last_ns is not None:
            self._span(other._first_ns, other._last_ns)

    def paths(self) -> dict[tuple[int, ...], PathCount]:
        """Every path (layer ids, outermost first) with its counts."""
        found = dict(self._merged)
        p = self._paths
        for row in range(self._known):
            n = int(p.length[row])
            frames, end_bytes, first = p.sums[row].tolist()
            path = tuple(p.layers[row, :n].tolist())
            count = PathCount(frames, end_bytes, first, p.bytes[row, :n].tolist(), p.pdus[row, :n].tolist())
            found[path] = _sum(found[path], count) if path in found else count
        return found

    def finish(self) -> Hierarchy:
        """The tree, folded in order of first frame."""
        paths = sorted(self.paths().items(), key=lambda item: item[1].first_frame)
        span_ns = 0 if self._first_ns is None or self._last_ns is None else self._last_ns - self._first_ns
        return Hierarchy(fold(paths), sum(count.frames for _, count in paths), self._wire_bytes, span_ns / 1e9)


class Node:
    """One row of the tree. Its children are in order of appearance."""

    __slots__ = ("bytes", "children", "end_bytes", "end_packets", "layer", "packets", "parent", "pdus")

    def __init__(self, layer: int, parent: Node | None) -> None:
        self.layer = layer
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.packets = self.bytes = self.end_packets = self.end_bytes = self.pdus = 0

    def step(self, layer: int) -> Node:
        """The node of a layer that follows this one: below it, else beside it or an ancestor, else new."""
        at: Node | None = self
        while at is not None and layer not in at.children:
            at = at.parent
        home = at if at is not None else self
        if layer not in home.children:
            home.children[layer] = Node(layer, home)
        return home.children[layer]


def fold(paths: list[tuple[tuple[int, ...], PathCount]]) -> Node:
    """Insert paths, which are in order of first frame, into a tree; the root stands above the frame."""
    root = Node(0, None)
    for path, count in paths:
        at = root
        seen: set[int] = set()
        for layer, size, pdus in zip(path, count.bytes, count.pdus):
            at = at.step(layer)
            at.packets += 0 if id(at) in seen else count.frames
            at.bytes += size
            at.pdus += pdus
            seen.add(id(at))
        at.end_packets += count.frames
        at.end_bytes += count.end_bytes
    return root


class Row(NamedTuple):
    """One row of the table, with the columns of Wireshark's window; rates are None where the capture has no span."""

    path: str
    name: str
    packets: int
    bytes: int
    end_packets: int
    end_bytes: int
    pdus: int
    percent_packets: float | None
    percent_bytes: float | None
    bits_per_s: float | None


class Hierarchy(Record):
    """The finished tree: `root` is the frame, `wire_bytes` the bytes on the wire, `span_s` from first to last time."""

    root: Node
    packets: int
    wire_bytes: int
    span_s: float

    def rows(self) -> list[Row]:
        """The frame, then every node in order of appearance, depth first."""
        ends = self.root.end_packets
        found = [self._row("frame", "Frame", self.packets, self.wire_bytes, ends, 0, self.packets)]
        todo = [(NAMES[node.layer], node) for node in reversed(self.root.children.values())]
        while todo:
            path, node = todo.pop()
            counts = (node.packets, node.bytes, node.end_packets, node.end_bytes, node.pdus)
            found.append(self._row(path, LONG_NAMES[node.layer], *counts))
            todo += [(f"{path}/{NAMES[child.layer]}", child) for child in reversed(node.children.values())]
        return found

    def _row(self, path: str, name: str, packets: int, size: int, end_packets: int, end_bytes: int, pdus: int) -> Row:
        return Row(
            path,
            name,
            packets,
            size,
            end_packets,
            end_bytes,
            pdus,
            100 * packets / self.packets if self.packets else None,
            100 * size / self.wire_bytes if self.wire_bytes else None,
            8 * size / self.span_s if self.span_s > 0 else None,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as outputs.md lays them down."""
        return [row._asdict() for row in self.rows()]

    def to_pandas(self) -> Any:
        """The rows as a data frame."""
        rows = self.rows()
        return data_frame({name: [getattr(row, name) for row in rows] for name in Row._fields})


def _sum(one: PathCount, two: PathCount) -> PathCount:
    return PathCount(
        one.frames + two.frames,
        one.end_bytes + two.end_bytes,
        min(one.first_frame, two.first_frame),
        [a + b for a, b in zip(one.bytes, two.bytes)],
        [a + b for a, b in zip(one.pdus, two.pdus)],
    )


def _empty_paths(room: int) -> _Paths:
    return _Paths(
        np.zeros(2 * room, np.int32),
        np.zeros(room, np.int32),
        np.zeros((room, MAX_LAYERS), np.int32),
        np.zeros((room, 3), np.int64),
        np.zeros((room, MAX_LAYERS), np.int64),
        np.zeros((room, MAX_LAYERS), np.int64),
    )


def _larger(paths: _Paths) -> _Paths:
    """The same paths with twice the room. Slots are filled again by the kernel's own hash, in Python: it is rare."""
    room = 2 * len(paths.length)
    grown = _empty_paths(room)
    for old, new in zip(paths[1:], grown[1:]):
        new[: len(old)] = old
    last_slot = 2 * room - 1
    for row in range(len(paths.length)):
        n = int(paths.length[row])
        mixed = n
        for layer in paths.layers[row, :n].tolist():
            mixed = (mixed * 40503 + layer + 1) & 0x7FFFFFFF
        at = (mixed ^ (mixed >> 15)) & last_slot
        while grown.slots[at]:
            at = (at + 1) & last_slot
        grown.slots[at] = row + 1
    return grown


def layer_names(ids: Array) -> list[str]:
    """Filter names of layer ids."""
    return [NAMES[i] for i in ids.tolist()]
