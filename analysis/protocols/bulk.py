"""The fast lane: TCP segments whose layers follow from little state, named by a kernel without looking inside.

In: the payload segments of a batch, sorted by flow, and per flow and direction a lane. Out: layers of all segments up
to the first that needs a dissector. Lanes: EVERY (each segment is one layer, as in a connection that nobody knows or
in encrypted SSH), RECORDS (TLS records whose content is encrypted: only their lengths matter) and COLLECT (the middle
of one long unit, whose bytes are gathered later). Segments with TCP analysis flags that change anything, and gaps, go
to the dissectors. It must not know how a lane was chosen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from analysis.columns import MAX_LAYERS, Array, Batch
from analysis.flows import as_kernel_sees
from analysis.kernel import inner_kernel, lean_kernel
from analysis.protocols.streams import Segment

DISSECT, EVERY, RECORDS, COLLECT = range(4)  # lanes
HEADER = 5  # of a TLS record

# Bits of Packets.analysis (columns.TCP_FLAGS).
RETRANSMISSION, FAST, SPURIOUS, OUT_OF_ORDER, KEEP_ALIVE = 1, 2, 4, 8, 1 << 12


class Lanes(NamedTuple):
    """State per flow and direction, index 2 * flow + direction."""

    lane: Any  # uint8
    layer: Any  # uint16 layer of the lane
    following: Any  # int64 raw sequence number expected next (RECORDS, COLLECT)
    missing: Any  # int64 bytes that the open record or unit still needs, 0: none is open (DISSECT: 1 if one is)
    size: Any  # int64 whole size of the open record


class Columns(NamedTuple):
    """What the kernel reads and fills of Packets."""

    payload_start: Any
    payload_len: Any
    payload_cap: Any
    tcp_seq: Any
    direction: Any
    flow: Any
    analysis: Any
    n_layers: Any
    layers: Any
    layer_bytes: Any
    layer_pdus: Any
    last_pdu_bytes: Any


@inner_kernel
def _put(packets: Any, row: int, layer: int, size: int, pdus: int, max_layers: int) -> None:
    n = int(packets.n_layers[row])
    if n < max_layers:
        packets.layers[row, n] = layer
        packets.layer_bytes[row, n] = size
        packets.layer_pdus[row, n] = pdus
        packets.n_layers[row] = n + 1


@inner_kernel
def _every(packets: Any, data: Any, row: int, layer: int, data_layer: int, telling: Any, max_layers: int) -> bool:
    """A segment of lane EVERY; False where its first two bytes look as if a protocol began."""
    bits = int(packets.analysis[row])
    cap = int(packets.payload_cap[row])
    if bits & SPURIOUS:
        return True
    if bits & KEEP_ALIVE:
        if cap > 0:
            _put(packets, row, data_layer, cap, 1, max_layers)
        return True
    if bits & OUT_OF_ORDER or bits & (RETRANSMISSION | FAST) == RETRANSMISSION:
        return True
    if cap <= 0:
        return True
    if layer == 0 and cap < int(packets.payload_len[row]):
        return False  # how a dissector that shows nothing takes a cut segment depends on where it is cut
    if (layer == data_layer or layer == 0) and cap > 1:
        start = int(packets.payload_start[row])
        if telling[int(data[start]) << 8 | int(data[start + 1])]:
            return False
    if layer != 0:
        _put(packets, row, layer, cap, 1, max_layers)
    return True


@inner_kernel
def _records(packets: Any, data: Any, row: int, at: int, lanes: Any, layer: int, max_layers: int) -> bool:
    """A segment of lane RECORDS; False where it does not simply follow, and nothing was changed."""
    length = int(packets.payload_len[row])
    seq = int(packets.tcp_seq[row])
    bits = int(packets.analysis[row])
    if bits & KEEP_ALIVE or int(packets.payload_cap[row]) < length:
        return False
    ahead = ((seq - int(lanes.following[at]) + 0x80000000) & 0xFFFFFFFF) - 0x80000000
    if ahead + length <= 0:
        return bits & (SPURIOUS | OUT_OF_ORDER) != 0 or bits & (RETRANSMISSION | FAST) == RETRANSMISSION
    if ahead != 0 or bits & (RETRANSMISSION | FAST | SPURIOUS | OUT_OF_ORDER):
        return False
    missing = int(lanes.missing[at])
    if length < missing:
        lanes.missing[at] = missing - length
        lanes.following[at] = (seq + length) & 0xFFFFFFFF
        return True
    start = int(packets.payload_start[row])
    where = missing
    size = 0
    while where < length:
        if where + HEADER > length:
            return False
        kind = int(data[start + where])
        if kind < 20 or kind > 24 or int(data[start + where + 1]) != 3 or int(data[start + where + 2]) > 4:
            return False
        size = HEADER + (int(data[start + where + 3]) << 8 | int(data[start + where + 4]))
        if where + size > length:
            break
        where += size
    total = 0
    pdus = 0
    if missing > 0:
        total = int(lanes.size[at])
        pdus = 1
    if where > missing:  # at least one record lies whole in this segment; its layer takes all the rest
        total += length - missing
        pdus += 1
    if pdus > 0:
        _put(packets, row, layer, total, pdus, max_layers)
        if pdus > 1:  # the record that ends here, then all the rest
            packets.last_pdu_bytes[row] = length - missing
    lanes.missing[at] = where + size - length if where < length else 0
    lanes.size[at] = size
    lanes.following[at] = (seq + length) & 0xFFFFFFFF
    return True


@inner_kernel
def _is_bare(bits: int, missing: int) -> bool:
    """Segments that no dissector sees, whatever the connection speaks: repeats, unless they can fill an open unit."""
    if bits & SPURIOUS:
        return True
    repeat = bits & OUT_OF_ORDER != 0 or bits & (RETRANSMISSION | FAST) == RETRANSMISSION
    return repeat and missing == 0 and bits & KEEP_ALIVE == 0


@inner_kernel
def _collect(packets: Any, row: int, at: int, lanes: Any) -> bool:
    """A segment in the middle of an open unit: bare TCP; False where it ends the unit or does not simply follow."""
    length = int(packets.payload_len[row])
    seq = int(packets.tcp_seq[row])
    if int(packets.analysis[row]) & (RETRANSMISSION | FAST | OUT_OF_ORDER | KEEP_ALIVE):
        return False
    missing = int(lanes.missing[at])
    if seq != int(lanes.following[at]) or length >= missing or int(packets.payload_cap[row]) < length:
        return False
    lanes.missing[at] = missing - length
    lanes.following[at] = (seq + length) & 0xFFFFFFFF
    return True


@lean_kernel
def _advance(
    rows: Any, cursor: Any, ends: Any, active: Any, lanes: Any, packets: Any, data: Any, telling: Any, data_layer: int,
    max_layers: int, stopped: Any,
) -> int:  # fmt: skip
    """Walk each active flow until a dissector is needed. Returns how many flows stopped; `stopped` names them."""
    count = 0
    for index in range(len(active)):
        flow = int(active[index])
        i = int(cursor[flow])
        end = int(ends[flow])
        while i < end:
            row = int(rows[i])
            at = 2 * int(packets.flow[row]) + int(packets.direction[row])
            lane = int(lanes.lane[at])
            layer = int(lanes.layer[at])
            if lane == EVERY:
                if not _every(packets, data, row, layer, data_layer, telling, max_layers):
                    break
            elif lane == RECORDS:
                if not _records(packets, data, row, at, lanes, layer, max_layers):
                    break
            elif _is_bare(int(packets.analysis[row]), int(lanes.missing[at])):
                pass
            elif lane != COLLECT or not _collect(packets, row, at, lanes):
                break
            i += 1
        cursor[flow] = i
        if i < end:
            stopped[count] = flow
            count += 1
    return count


SEGMENT_COLUMNS = (
    "number", "time_ns", "tcp_seq", "payload_start", "payload_cap", "payload_len", "tcp_flags", "analysis",
)  # fmt: skip


class Bulk:
    """The lanes of all flows, and the walk over a batch. `view` is the same memory as `lanes`, quick from Python."""

    def __init__(self, telling: Array, data_layer: int) -> None:
        """`telling` [65536] bool: first two bytes with which some protocol could begin."""
        self._telling = telling.astype(np.uint8)
        self._data_layer = data_layer
        self.lanes = Lanes(np.zeros(0, np.uint8), np.zeros(0, np.uint16), *(np.zeros(0, np.int64) for _ in range(3)))
        self.view = self.lanes

    def grow(self, flows: int) -> None:
        """Room for `flows` flows."""
        have = len(self.lanes.lane)
        if 2 * flows <= have:
            return
        longer = []
        for array in self.lanes:
            new = np.zeros(max(2048, 4 * flows), array.dtype)
            new[:have] = array
            longer.append(new)
        self.lanes = Lanes(*longer)
        self.view = Lanes(*(memoryview(array) for array in longer))  # type: ignore[arg-type]

    def walk(self, batch: Batch, rows: Array) -> Walk:
        """The payload segments `rows` of a batch, sorted by flow, ready to be walked."""
        return Walk(self, batch, rows)


class Walk:
    """The passage of one batch: `advance` runs the kernel, the caller serves the flows that stopped."""

    def __init__(self, bulk: Bulk, batch: Batch, rows: Array) -> None:
        flow = batch.packets.flow[rows]
        starts = np.flatnonzero(np.concatenate(([True], flow[1:] != flow[:-1])))
        self.first = starts
        self.cursor = starts.copy()
        self.ends = np.append(starts[1:], len(rows))
        self.rows = rows.tolist()
        packets = batch.packets
        self._data = memoryview(batch.data)  # type: ignore[arg-type]
        self._segment = tuple(memoryview(getattr(packets, name)) for name in SEGMENT_COLUMNS)
        self.direction = memoryview(packets.direction)  # type: ignore[arg-type]
        self._stopped = np.zeros(len(starts), np.int64)
        see = as_kernel_sees
        columns = Columns(*(see(getattr(batch.packets, name)) for name in Columns._fields))
        lanes = Lanes(*(see(array) for array in bulk.lanes))
        self._before = (see(np.ascontiguousarray(rows)), see(self.cursor), see(self.ends))
        self._after = (lanes, columns, see(batch.data), see(bulk._telling), bulk._data_layer, MAX_LAYERS)

    def segment(self, row: int) -> Segment:
        """The TCP segment of one packet."""
        number, time_ns, seq, start, cap, length, flags, analysis = self._segment
        at = start[row]
        return Segment(
            number[row],
            time_ns[row],
            seq[row],
            bytes(self._data[at : at + cap[row]]),
            length[row],
            flags[row],
            analysis[row],
        )

    def is_bare(self, row: int, missing: int) -> bool:
        """Is this segment a repeat that nobody dissects? `missing`: what its direction still wants."""
        bits = self._segment[7][row]
        if not bits & (SPURIOUS | OUT_OF_ORDER | RETRANSMISSION):
            return False
        repeat = bits & OUT_OF_ORDER != 0 or bits & (RETRANSMISSION | FAST) == RETRANSMISSION
        return bits & SPURIOUS != 0 or (repeat and missing == 0 and bits & KEEP_ALIVE == 0)

    def payload(self, row: int) -> memoryview:
        """The captured payload of one packet."""
        at = self._segment[3][row]
        return self._data[at : at + self._segment[4][row]]

    def advance(self, active: Array) -> list[int]:
        """Walk the flows `active` (positions in `first`); returns those that need a dissector at their cursor."""
        if not len(active):
            return []
        stopped = as_kernel_sees(self._stopped)
        arguments: list[Any] = [*self._before, as_kernel_sees(active), *self._after, stopped]
        count = _advance(*arguments)
        return self._stopped[:count].tolist()  # type: ignore[no-any-return]
