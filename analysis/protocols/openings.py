"""What detectors ask of payloads that no dissector explains: how conversations begin, and marks that name their content.

In: batches after naming. Out: `Opening` facts (first bytes of each direction of a conversation that nobody recognised)
and `Payload` facts for the byte strings of marks.py. These are looked for only where the frames are not encrypted. Bounded: so many
openings, and each mark once per conversation. It says what was there, never what it means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis import layers
from analysis.columns import Array, Batch, Packets
from analysis.facts import Facts, Opening, Payload
from analysis.protocols import marks

OPENING_BYTES = 96  # a banner, a header, the first words of a protocol
MOST_OPENINGS = 50_000
MOST_MARKS = 20_000
MOST_BEATS = 2_000  # heartbeats looked at in one batch
RECORD_HEADER, HEARTBEAT = 5, 24  # RFC 5246 6.2.1, RFC 6520 6
FOREIGN = (0x1603, 0x5353)  # TLS handshake, `SS` of an SSH banner: told even where another protocol waits for more
LEAK_FACTOR, LEAK_BYTES = 4, 1024  # padding is random but short: longer answers hold what nobody sent

SEALED = np.array([layers.BY_NAME[name] for name in ("tls", "ssh", "quic", "dtls", "esp") if name in layers.BY_NAME])


class Openings:
    """One object per analysis; `update` takes every batch in order."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._begun: Array = np.zeros(0, bool)  # by 2 * flow + direction
        self._told: set[tuple[str, int]] = set()
        self._left = MOST_OPENINGS
        self._asked: dict[
            tuple[int, int], int
        ] = {}  # (flow, direction) -> bytes of the heartbeat waiting for an answer

    def update(self, batch: Batch, renamed: Sequence[int] = ()) -> None:
        """Look at the payloads of one batch. `renamed`: rows that were plain data until the conversation's protocol
        showed, and are searched for marks all the same: a program that is sent before TLS begins is not encrypted."""
        packets = batch.packets
        rows = np.flatnonzero((packets.payload_cap > 0) & (packets.flow >= 0) & (packets.n_layers > 0))
        if not len(rows):
            return
        depth = packets.n_layers[rows].astype(np.int64)
        last = packets.layers[rows, depth - 1]
        told = last == layers.DATA
        told &= packets.layers[rows, np.maximum(depth - 2, 0)] != layers.TLS  # opened: the packet's bytes are sealed
        waiting = np.flatnonzero((last == layers.TCP) & (packets.payload_cap[rows] > 1))  # for the rest of a unit
        at = packets.payload_start[rows[waiting]]
        first = batch.data[at].astype(np.int64) << 8 | batch.data[at + 1]
        told[waiting[np.isin(first, FOREIGN)]] = True
        self._openings(batch, rows[told])
        self._heartbeats(batch, rows[(last == layers.TLS) | (last == layers.TCP)])
        open_rows = rows[~np.isin(last, SEALED) | np.isin(rows, renamed)]
        if len(open_rows):
            self._marks(batch, open_rows)

    def _openings(self, batch: Batch, rows: Array) -> None:
        """The first payload of each direction of conversations whose content is plain `data`."""
        if self._left <= 0 or not len(rows):
            return
        packets = batch.packets
        side = 2 * packets.flow[rows].astype(np.int64) + packets.direction[rows]
        highest = int(side.max())
        if highest >= len(self._begun):
            self._begun = np.concatenate((self._begun, np.zeros(highest + 1 - len(self._begun) + len(side), bool)))
        new = ~self._begun[side]
        side, rows = side[new], rows[new]
        _, first = np.unique(side, return_index=True)
        self._begun[side] = True
        for row in rows[np.sort(first)][: self._left].tolist():
            self._left -= 1
            start = int(packets.payload_start[row])
            size = int(packets.payload_cap[row])
            self._facts.add(
                "opening",
                Opening(
                    int(packets.number[row]),
                    int(packets.time_ns[row]),
                    int(packets.flow[row]),
                    int(packets.direction[row]) == 0,
                    int(packets.payload_len[row]),
                    batch.data[start : start + min(size, OPENING_BYTES)].tobytes(),
                ),
            )

    def _heartbeats(self, batch: Batch, rows: Array) -> None:
        """Encrypted TLS heartbeats: an answer brings back what was sent (RFC 6520 4); a much longer one leaks memory."""
        packets, data = batch.packets, batch.data
        rows = rows[packets.payload_cap[rows] >= RECORD_HEADER]
        if not len(rows):
            return
        at = packets.payload_start[rows]
        for row in rows[(data[at] == HEARTBEAT) & (data[at + 1] == 3) & (data[at + 2] <= 4)][:MOST_BEATS].tolist():
            start, flow = int(packets.payload_start[row]), int(packets.flow[row])
            side, size = int(packets.direction[row]), int(data[start + 3]) << 8 | int(data[start + 4])
            asked = self._asked.pop((flow, 1 - side), 0)
            if asked and size > max(LEAK_FACTOR * asked, LEAK_BYTES):
                detail = f"a heartbeat of {asked} bytes brought back {size}"
                number, time_ns = int(packets.number[row]), int(packets.time_ns[row])
                self._facts.add("payload", Payload(number, time_ns, flow, "heartbleed-answer", detail, side == 0))
            elif len(self._asked) < MOST_MARKS:
                self._asked[flow, side] = size

    def _marks(self, batch: Batch, rows: Array) -> None:
        packets = batch.packets
        begin = packets.payload_start[rows]
        order = np.argsort(begin, kind="stable")
        rows, begin = rows[order], begin[order]
        for index, position, mark in marks.found(batch.data, begin, begin + packets.payload_cap[rows]):
            name, text = marks.MARKS[mark]
            context = batch.data[max(0, position - marks.CONTEXT) : position + len(text) + marks.CONTEXT].tobytes()
            self._report(packets, int(rows[index]), name, context)

    def _report(self, packets: Packets, row: int, name: str, context: bytes) -> None:
        """A mark in the payload of one packet."""
        flow = int(packets.flow[row])
        if (name, flow) in self._told or len(self._told) >= MOST_MARKS:
            return
        self._told.add((name, flow))
        from_a = int(packets.direction[row]) == 0
        number, time_ns = int(packets.number[row]), int(packets.time_ns[row])
        self._facts.add("payload", Payload(number, time_ns, flow, name, marks.shown(context), from_a))
