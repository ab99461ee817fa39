"""The fast lane: TCP segments whose layers follow from little state, named by a kernel without looking inside.

In: the payload segments of a batch, sorted by flow, and per flow and direction a lane. Out: layers of all segments up
to the first that needs a dissector. Lanes: EVERY (each segment is one layer, as in a connection that nobody knows or
in encrypted SSH), RECORDS (TLS records whose content is encrypted: only their lengths matter), COLLECT (the middle
of one long unit, whose bytes are gathered later) and SILENT (bytes on an HTTP port that are none: nothing is shown).
Segments with TCP analysis flags that change anything, and gaps, go to the dissectors. It must not know how a lane was
chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import MAX_LAYERS, TOO_MANY_LAYERS, Array, Batch, Packets
from analysis.growing import as_kernel_sees
from analysis.kernel import inner_kernel, lean_kernel
from analysis.layers import TCP
from analysis.named_tuples import NamedTuple
from analysis.protocols.pdu import Layer
from analysis.protocols.streams import FIN, Segment, Stream, deliver_next

DISSECT, EVERY, RECORDS, COLLECT, SILENT = range(5)  # lanes
HEADER = 5  # of a TLS record

# Bits of Packets.analysis (columns.TCP_FLAGS).
RETRANSMISSION, FAST, SPURIOUS, OUT_OF_ORDER, KEEP_ALIVE = 1, 2, 4, 8, 1 << 12


class Lanes(NamedTuple):
    """State per conversation with payload and direction, index 2 * `Bulk.place[flow]` + direction."""

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
    tcp_flags: Any
    direction: Any
    flow: Any  # the conversation's place instead of its row
    analysis: Any
    n_layers: Any
    layers: Any
    layer_bytes: Any
    layer_pdus: Any
    last_pdu_bytes: Any
    hidden: Any  # uint8, not of Packets: 1 where HTTP took a segment without showing anything


@inner_kernel
def _put(packets: Any, row: int, layer: int, size: int, pdus: int, max_layers: int) -> None:
    n = int(packets.n_layers[row])
    if n < max_layers:
        packets.layers[row, n] = layer
        packets.layer_bytes[row, n] = size
        packets.layer_pdus[row, n] = pdus
        packets.n_layers[row] = n + 1


@inner_kernel
def _is_body(data: Any, start: int, end: int) -> bool:
    """Bytes that neither begin a message of HTTP nor look like a header line, and never will (http.py judges the same).

    False in doubt: a capital letter could begin a method, a version or a preface; a line that does not end may go on.
    """
    first = int(data[start])
    if first < 0x20 or first >= 0x7F:
        return first != 0x0D  # an empty line may stand before a message
    if 0x41 <= first <= 0x5A:
        return False
    for at in range(start, end - 1):
        byte = int(data[at])
        if byte == 0x3A:
            return False
        if byte == 0x0A or byte == 0x0D:
            return True
    return False


@inner_kernel
def _every(
    packets: Any, data: Any, row: int, lane: int, layer: int, data_layer: int, telling: Any, max_layers: int
) -> bool:
    """A segment of lanes EVERY and SILENT; False where its first two bytes look as if a protocol began.

    Without a layer the lane hides what HTTP does not show; in lane SILENT nothing but HTTP could begin.
    """
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
        if lane != SILENT and telling[int(data[start]) << 8 | int(data[start + 1])]:
            return False
        if layer == 0 and not _is_body(data, start, start + cap):
            return False
    if layer != 0:
        _put(packets, row, layer, cap, 1, max_layers)
    else:
        packets.hidden[row] = 1
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
    """Segments that no dissector sees, whatever the connection speaks; those out of order may fill an open unit."""
    if bits & SPURIOUS or bits & (RETRANSMISSION | FAST | KEEP_ALIVE) == RETRANSMISSION:
        return True
    return bits & OUT_OF_ORDER != 0 and missing == 0 and bits & KEEP_ALIVE == 0


@inner_kernel
def _collect(packets: Any, row: int, at: int, lanes: Any) -> bool:
    """A segment in the middle of an open unit: bare TCP; False where it may end the unit or does not simply follow."""
    length = int(packets.payload_len[row])
    seq = int(packets.tcp_seq[row])
    if (
        int(packets.analysis[row]) & (RETRANSMISSION | FAST | OUT_OF_ORDER | KEEP_ALIVE)
        or int(packets.tcp_flags[row]) & FIN
    ):
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
            if lane in (EVERY, SILENT):
                if not _every(packets, data, row, lane, layer, data_layer, telling, max_layers):
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
        self.place: Array = np.full(1024, -1, np.int32)  # by flow; -1: without payload so far
        self._places = 0

    def grow(self, flows: int, with_payload: Array) -> None:
        """Room for `flows` flows, and lanes for those `with_payload` (their rows, each once)."""
        if flows > len(self.place):
            longer = np.full(flows + flows // 8, -1, np.int32)
            longer[: len(self.place)] = self.place
            self.place = longer
        new = with_payload[self.place[with_payload] < 0]
        self.place[new] = np.arange(self._places, self._places + len(new), dtype=np.int32)
        self._places += len(new)
        have = len(self.lanes.lane)
        if 2 * self._places > have:
            grown = [np.zeros(3 * self._places + 2048, array.dtype) for array in self.lanes]
            for array, old in zip(grown, self.lanes):
                array[:have] = old
            self.lanes = Lanes(*grown)
            self.view = Lanes(*(memoryview(array) for array in grown))  # type: ignore[arg-type]

    def walk(self, batch: Batch, rows: Array) -> Walk:
        """The payload segments `rows` of a batch, sorted by flow, ready to be walked."""
        return Walk(self, batch, rows)


class Walk:
    """The passage of one batch: `advance` runs the kernel, the caller serves the flows that stopped.

    Columns of the batch stand here as memory views: Python reads and writes a single value quicker through them.
    """

    def __init__(self, bulk: Bulk, batch: Batch, rows: Array) -> None:
        packets = batch.packets
        flow = packets.flow[rows]
        starts = np.flatnonzero(np.concatenate(([True], flow[1:] != flow[:-1])))
        ends = np.append(starts[1:], len(rows))
        cursor = starts.copy()
        self.rows = rows.tolist()
        self.first, self.cursor, self.ends = (_view(array) for array in (starts, cursor, ends))
        self.flow = _view(packets.flow)
        self.direction = _view(packets.direction)
        self.plain = _view(_plain(packets))
        self._data = _view(batch.data)
        self._segment = tuple(_view(getattr(packets, name)) for name in SEGMENT_COLUMNS)
        self._n_layers = _view(packets.n_layers)
        self._last_pdu_bytes, self._fault = _view(packets.last_pdu_bytes), _view(packets.fault)
        matrices = (packets.layers, packets.layer_bytes, packets.layer_pdus)
        self._layers, self._layer_bytes, self._layer_pdus = (_view(matrix.reshape(-1)) for matrix in matrices)
        self._stopped = np.zeros(len(starts), np.int64)
        see = as_kernel_sees
        bulk.grow(int(flow[-1]) + 1, flow[starts])
        place = np.zeros(len(packets.flow), np.int32)
        place[rows] = bulk.place[flow]
        hidden = np.zeros(len(packets.flow), np.uint8)
        self.hidden = _view(hidden)
        seen = [*(see(getattr(packets, name)) for name in Columns._fields[:-1]), see(hidden)]
        columns = Columns(*seen)._replace(flow=see(place))
        lanes = Lanes(*(see(array) for array in bulk.lanes))
        self._before = (see(np.ascontiguousarray(rows)), see(cursor), see(ends))
        tables = (see(batch.data), see(bulk._telling))
        self._after = (lanes, columns, *tables, bulk._data_layer, MAX_LAYERS, see(self._stopped))

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

    def next_layers(self, stream: Stream, direction: int, row: int) -> list[Layer] | None:
        """The layers above TCP of a plain segment; None where spans must be asked."""
        number, time_ns, seq, start, cap, _, flags, _ = self._segment
        at = start[row]
        data = bytes(self._data[at : at + cap[row]])
        return deliver_next(stream, direction, seq[row], data, number[row], time_ns[row], flags[row])

    def is_bare(self, row: int, missing: int) -> bool:
        """Is this segment a repeat that nobody dissects? `missing`: what its direction still wants."""
        bits = self._segment[7][row]
        if not bits & (SPURIOUS | OUT_OF_ORDER | RETRANSMISSION):
            return False
        if bits & SPURIOUS or bits & (RETRANSMISSION | FAST | KEEP_ALIVE) == RETRANSMISSION:
            return True
        return bits & OUT_OF_ORDER != 0 and missing == 0 and bits & KEEP_ALIVE == 0

    def payload(self, row: int) -> memoryview:
        """The captured payload of one packet."""
        at = self._segment[3][row]
        captured: memoryview = self._data[at : at + self._segment[4][row]]
        return captured

    def show(self, row: int, found: list[Layer]) -> None:
        """Write layers behind those that the frame has; direct repeats count as PDUs of one layer."""
        n = self._n_layers[row]
        at = row * MAX_LAYERS + n  # of the next layer
        shown = self._layers
        for layer, size in found:
            if n and shown[at - 1] == layer:
                self._layer_bytes[at - 1] += size
                self._layer_pdus[at - 1] += 1
                self._last_pdu_bytes[row] = size
            elif n < MAX_LAYERS:
                shown[at] = layer
                self._layer_bytes[at] = size
                self._layer_pdus[at] = 1
                self._last_pdu_bytes[row] = -1
                n += 1
                at += 1
            else:
                self._fault[row] |= TOO_MANY_LAYERS
        self._n_layers[row] = n

    def show_hidden(self, rows: list[int], layer: int) -> None:
        """What was taken without showing anything is `layer` after all."""
        for row in rows:
            if self.hidden[row]:
                self.hidden[row] = 0
                self.show(row, [(layer, self._segment[4][row])])

    def uncover(self, rows: list[int], direction: int, first: int, start: int, end: int) -> None:
        """A unit began late, in the segment from `first` to `start`: earlier segments up to its `end` were pieces of it.

        Nothing is shown of them. Sequence numbers are unwrapped. A segment that repeats an earlier one begins nothing.
        """
        seq, length = self._segment[2], self._segment[5]
        rows = [row for row in rows if self.direction[row] == direction]
        if any((seq[row] - first) & 0xFFFFFFFF == 0 for row in rows):
            return
        for row in rows:
            n = self._n_layers[row]
            if ((seq[row] - start) & 0xFFFFFFFF) + length[row] > end - start:
                continue
            at = row * MAX_LAYERS
            while n and self._layers[at + n - 1] != TCP:
                n -= 1
                self._layers[at + n] = self._layer_bytes[at + n] = self._layer_pdus[at + n] = 0
            self._n_layers[row] = n
            self._last_pdu_bytes[row] = -1

    def take_back(self, row: int, layer: int, above: int) -> bool:
        """Remove the last layer where it is `layer`, right above `above`; returns whether it was."""
        n = self._n_layers[row]
        at = row * MAX_LAYERS + n - 1
        if self._layers[at] != layer or self._layers[at - 1] != above:
            return False
        self._n_layers[row] = n - 1
        self._layers[at] = self._layer_bytes[at] = self._layer_pdus[at] = 0
        return True

    def advance(self, active: Array) -> list[int]:
        """Walk the flows `active` (positions in `first`); returns those that need a dissector at their cursor."""
        if not len(active):
            return []
        arguments: list[Any] = [*self._before, as_kernel_sees(active), *self._after]
        count = _advance(*arguments)
        return self._stopped[:count].tolist()  # type: ignore[no-any-return]


def _view(array: Any) -> Any:
    """The array's memory; its items are plain numbers."""
    return memoryview(array)


def _plain(packets: Packets) -> Array:
    """uint8[n]: 1 where a segment is there as a whole and TCP analysis says nothing that changes its place."""
    odd = packets.analysis & (RETRANSMISSION | FAST | SPURIOUS | OUT_OF_ORDER | KEEP_ALIVE)
    plain: Array = (odd == 0) & (packets.payload_cap == packets.payload_len)
    return plain.astype(np.uint8)
