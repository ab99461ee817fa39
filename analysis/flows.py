"""Conversations: every addressed layer of a packet becomes a row of one flow table, in order of first packet.

In: decoded batches. Out: `Taps.src_id/dst_id/flow/direction` and `Packets.flow/direction` filled in place, the
reused_ports bit of `Packets.analysis`, and at any time the tables so far (`flows()`, `addresses()`).
Rules are Wireshark's (conversation = unordered pair of address and port, side a sent the first packet, a TCP port pair
that is used again starts a new stream) and Zeek's words for how a connection went (`analysis.connections`).
Addresses are interned to ids (`address_table`), conversations to rows (`flow_rows`); both tables grow outside the
kernels, and memory grows with flows, never with packets. Nothing here knows protocols above transport.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis import columns
from analysis.address_table import AddressTable, address_id
from analysis.columns import TCP, Addresses, Array, Batch, Flows, different
from analysis.connections import conn_states, originators
from analysis.flow_columns import flow_columns
from analysis.flow_rows import (
    ACK,
    KIND,
    LONG_BYTES,
    N_FLOWS,
    N_LONG,
    N_TCP,
    QUOTED,
    ROW_BYTES,
    SYN,
    TINY,
    FlowRows,
    base_of,
    count_packet,
    count_payload,
    count_tcp,
    count_ttl,
    direction_of,
    flow_slot,
    learn_bases,
    long_part,
    name_ends,
    new_flow,
)
from analysis.growing import FIRST_ROWS, as_kernel_sees, lengthen, most, multipliers, wider
from analysis.kernel import enabled, lean_kernel
from analysis.named_tuples import NamedTuple
from analysis.quotes import icmp_errors, mark_quoted, quoted_streams, reserve

REUSED_PORTS = 1 << columns.TCP_FLAGS.index("reused_ports")

# The last tap of each kind and direction: what it was, and what was found for it.
(R_SRC_HI, R_SRC_LO, R_DST_HI, R_DST_LO, R_PORTS, R_FAMILY, R_SRC, R_DST, R_ROW, R_DIRECTION) = range(10)
RECENT = 10  # numbers an entry


class _TapColumns(NamedTuple):
    """What the kernel reads and fills of Taps."""

    packet: Any
    kind: Any
    src_hi: Any
    src_lo: Any
    dst_hi: Any
    dst_lo: Any
    src_port: Any
    dst_port: Any
    ip_family: Any
    src_id: Any
    dst_id: Any
    flow: Any
    direction: Any


class _PacketColumns(NamedTuple):
    """What the kernel reads and fills of Packets."""

    number: Any
    time_ns: Any
    frame_len: Any
    fault: Any
    ip_tap: Any
    transport_tap: Any
    payload_len: Any
    tcp_seq: Any
    tcp_ack: Any
    tcp_flags: Any
    ttl: Any
    flow: Any
    direction: Any
    analysis: Any


@lean_kernel
def _assign(taps: Any, packets: Any, tables: Any, quotes: Any, first: int) -> int:
    """Give every tap from row `first` on its ids, flow and direction; stops where a table is full.

    `quotes` has a row per ICMP error that quotes TCP, by tap, and one behind the last tap (see quoted_streams). Returns the number of taps that are done: the caller grows the tables and calls again until all are.
    """
    counts = tables.counts
    recent = tables.recent
    packet_of, kinds, families = taps.packet, taps.kind, taps.ip_family
    src_his, src_los, dst_his, dst_los = taps.src_hi, taps.src_lo, taps.dst_hi, taps.dst_lo
    src_ports, dst_ports = taps.src_port, taps.dst_port
    numbers, times, lengths, ttls = packets.number, packets.time_ns, packets.frame_len, packets.ttl
    transport_taps, ip_taps, payloads = packets.transport_tap, packets.ip_tap, packets.payload_len
    packet_flows, packet_directions = packets.flow, packets.direction
    tap_sources, tap_targets, tap_flows, tap_directions = taps.src_id, taps.dst_id, taps.flow, taps.direction
    n_taps = len(kinds)
    address_count = tables.addresses.count
    flow_room, stream_room, long_room, address_room = tables.room[0], tables.room[1], tables.room[2], tables.room[3]
    q = 0
    while quotes[q, 0] < first:
        q += 1
    quoted = quotes[q, 0]
    for t in range(first, n_taps):
        if counts[N_FLOWS] > flow_room or counts[N_TCP] > stream_room or counts[N_LONG] > long_room:
            return t
        if address_count[0] > address_room:
            return t
        packet = packet_of[t]
        kind = 0 + kinds[t]  # widened, so that every called function is compiled for one type only
        family = 0 + families[t]
        src_hi = src_his[t]
        src_lo = src_los[t]
        dst_hi = dst_his[t]
        dst_lo = dst_los[t]
        src_port = 0 + src_ports[t]
        dst_port = 0 + dst_ports[t]
        number = numbers[packet]
        time_ns = times[packet]
        # Most taps belong to the conversation of the last one of their kind and direction.
        entry = RECENT * (2 * kind + (1 if src_lo > dst_lo else 0))
        known = (
            recent[entry + R_ROW] >= 0
            and recent[entry + R_SRC_LO] == src_lo
            and recent[entry + R_DST_LO] == dst_lo
            and recent[entry + R_PORTS] == (src_port << 16 | dst_port)
            and recent[entry + R_SRC_HI] == src_hi
            and recent[entry + R_DST_HI] == dst_hi
            and recent[entry + R_FAMILY] == family
        )
        if known:
            src = recent[entry + R_SRC]
            dst = recent[entry + R_DST]
            row = recent[entry + R_ROW]
            direction = recent[entry + R_DIRECTION]
        else:
            src = address_id(tables.addresses, family, src_hi, src_lo, True)
            dst = address_id(tables.addresses, family, dst_hi, dst_lo, True)
            at, tag = flow_slot(tables, kind, src, dst, src_port, dst_port)
            row = (tables.slots[at] & 0xFFFFFFFF) - 1
            if row < 0:
                row = new_flow(tables, kind, src, dst, src_port, dst_port, time_ns)
                tables.slots[at] = (tag << 32) | (row + 1)
            elif tables.tiny[TINY * row + KIND] == QUOTED:
                name_ends(tables, row, TCP, src, dst, src_port, dst_port, time_ns)
            direction = direction_of(tables, row, src, src_port)
        long = long_part(tables, row)
        if t == transport_taps[packet]:
            flags = packets.tcp_flags[packet]
            if kind == TCP and flags >= 0:
                seq = packets.tcp_seq[packet]
                if flags & SYN and not flags & ACK:
                    base = base_of(tables, row, direction)
                    if base != -1 and base != seq:
                        at, tag = flow_slot(tables, kind, src, dst, src_port, dst_port)
                        row = new_flow(tables, kind, src, dst, src_port, dst_port, time_ns)
                        tables.slots[at] = (tag << 32) | (row + 1)
                        long = direction = 0
                        known = False
                        recent[RECENT * 2 * TCP + R_ROW] = -1  # the other direction must not go on with the old stream
                        recent[RECENT * (2 * TCP + 1) + R_ROW] = -1
                        packets.analysis[packet] = packets.analysis[packet] | REUSED_PORTS
                if learn_bases(tables, row, direction, seq, packets.tcp_ack[packet], flags):
                    packets.analysis[packet] = packets.analysis[packet] | REUSED_PORTS
                count_tcp(tables, row, long, direction, flags)
            count_payload(tables, row, long, direction, payloads[packet])
            packet_flows[packet] = row
            packet_directions[packet] = direction
            if direction == 0:
                count_ttl(tables, row, ttls[packet])
        elif t == ip_taps[packet]:
            packet_flows[packet] = row
            packet_directions[packet] = direction
            if direction == 0:
                count_ttl(tables, row, ttls[packet])
        if not known:
            recent[entry + R_SRC_HI] = src_hi
            recent[entry + R_SRC_LO] = src_lo
            recent[entry + R_DST_HI] = dst_hi
            recent[entry + R_DST_LO] = dst_lo
            recent[entry + R_PORTS] = src_port << 16 | dst_port
            recent[entry + R_FAMILY] = family
            recent[entry + R_SRC] = src
            recent[entry + R_DST] = dst
            recent[entry + R_ROW] = row
            recent[entry + R_DIRECTION] = direction
        tap_sources[t] = src
        tap_targets[t] = dst
        tap_flows[t] = row
        tap_directions[t] = direction
        count_packet(tables, row, long, direction, number, time_ns, lengths[packet])
        if t == quoted:
            reserve(tables, quotes, q)
            q += 1
            quoted = quotes[q, 0]
    return n_taps


class Ends(NamedTuple):
    """The conversations whose TCP payload a batch holds, as far as they were known when the batch had been counted."""

    flows: int  # conversations so far, of every kind
    flow: Array  # int64[k], ascending
    a_port: Array  # int32[k]
    b_port: Array  # int32[k]
    server_port: Array  # int32[k]: the port that a SYN went to or a SYN+ACK came from, 0 unknown


class FlowTable:
    """All conversations of a capture so far. `salt` keeps a crafted capture from aiming at the hash function."""

    def __init__(self, salt: int = 0x5EED) -> None:
        self._multipliers = multipliers(salt)
        self._addresses = AddressTable(self._multipliers)
        self._counts = np.array((0, 0, 1, 0), dtype=np.int64)
        self._slots = np.zeros(2 * FIRST_ROWS, dtype=np.int64)
        self._rows = np.zeros((FIRST_ROWS, ROW_BYTES // 8), dtype=np.int64)
        self._long_rows = np.zeros((FIRST_ROWS, LONG_BYTES // 8), dtype=np.int64)
        recent = [-1] * (RECENT * 2 * len(columns.KINDS))
        self._recent: Any = np.array(recent, dtype=np.int64) if enabled() else recent  # interpreted, a list is quickest
        self._bases = np.zeros((FIRST_ROWS, 2), dtype=np.uint32)
        self.application: Array | None = None  # uint16[flows]: Flows.application, from who names them

    def update(self, batch: Batch) -> None:
        """Assign every tap of the batch to its conversation, and each packet to that of its innermost layer."""
        taps = _TapColumns(*(as_kernel_sees(getattr(batch.taps, name)) for name in _TapColumns._fields))
        packets = _PacketColumns(*(as_kernel_sees(getattr(batch.packets, name)) for name in _PacketColumns._fields))
        quotes = as_kernel_sees(quoted_streams(batch))
        done = 0
        total = len(batch.taps.kind)
        while done < total:
            done = _assign(taps, packets, self._tables(), quotes, done)
            if done < total:
                self._grow()
        self._attach_errors(batch)

    def _tables(self) -> FlowRows:
        words, long_words = self._rows.reshape(-1), self._long_rows.reshape(-1)
        arrays = (
            self._slots, words, *map(words.view, (np.int32, np.uint32, np.uint16, np.uint8)),
            long_words, *map(long_words.view, (np.int32, np.uint16)),
        )  # fmt: skip
        see = as_kernel_sees
        seen = [*map(see, arrays), self._recent, see(self._bases.reshape(-1))]
        addresses = self._addresses.as_kernels_see()
        return FlowRows(see(self._counts), see(self._room()), see(self._multipliers), addresses, *seen)

    def _room(self) -> Array:
        rows = min(most(self._slots), len(self._rows))
        return np.array((rows - 2, len(self._bases) - 2, len(self._long_rows) - 2, self._addresses.room - 4))

    @property
    def narrow(self) -> Array:
        """int32[rows * NARROW]: the flows' short parts as kernels see them. A view: do not keep it, the table grows."""
        return self._rows.reshape(-1).view(np.int32)

    def _grow(self) -> None:
        """Make room in every table that is full."""
        *rooms, address_room = self._room().tolist()
        flows, streams, long_rows = (count > room for count, room in zip(self._counts.tolist(), rooms))
        if len(self._addresses) > address_room:
            self._addresses.grow()
        if flows and len(self._rows) <= most(self._slots):
            lengthen(self, "_rows")
        elif flows:
            self._slots = wider(self._slots)
        if streams:
            lengthen(self, "_bases")
        if long_rows:
            lengthen(self, "_long_rows")

    def _attach_errors(self, batch: Batch) -> None:
        """ICMP destination unreachable, source quench, time exceeded, parameter problem: mark the quoted flow."""
        packets = batch.packets
        rows, families = icmp_errors(batch)
        if not len(rows):
            return
        kind = packets.icmp_type
        arguments = (
            batch.data,
            packets.start,
            packets.start + packets.cap_len,
            rows,
            packets.transport_start[rows],
            (kind[rows].astype(np.int64) * 256 + packets.icmp_code[rows]) & 0x7FFF,
            families,
        )
        data, start, end, rows, at, error_kinds, families = map(as_kernel_sees, arguments)
        mark_quoted(data, start, end, rows, at, error_kinds, families, self._tables())

    @property
    def n_flows(self) -> int:
        """Number of conversations so far."""
        return int(self._counts[N_FLOWS])

    @property
    def n_tcp(self) -> int:
        """Number of TCP streams so far."""
        return int(self._counts[N_TCP])

    def ends(self, batch: Batch) -> Ends:
        """What naming wants to know of the conversations of the batch that was counted last. Copies."""
        packets = batch.packets
        flow = different(packets.flow[(packets.payload_len > 0) & (packets.tcp_flags >= 0) & (packets.flow >= 0)])
        known = flow_columns(self._rows, self._long_rows)
        a_port, b_port = (known[name][flow].astype(np.int32) for name in ("a_port", "b_port"))
        asked_b, asked_a, accepted = (known[name][flow] for name in ("syn_ab", "syn_ba", "synack"))
        answered = np.where(known["originator"][flow] == 1, a_port, b_port) * (accepted > 0)
        server = np.where(asked_b > 0, b_port, np.where(asked_a > 0, a_port, answered))
        return Ends(self.n_flows, flow.astype(np.int64), a_port, b_port, server)

    def flows(self) -> Flows:
        """The table so far, as views: do not keep it. `state` and what ports say in `originator` come with `finish`."""
        return Flows(**self._columns())

    def finish(self) -> Flows:
        """The table with connection states and originators judged."""
        found = self._columns()
        found["originator"] = originators(found)
        found["state"] = conn_states(found)
        return Flows(**found)

    def _columns(self) -> dict[str, Any]:
        n = self.n_flows
        application = np.zeros(n, np.uint16) if self.application is None else self.application[:n]
        state = np.zeros(n, np.uint8)
        return flow_columns(self._rows[:n], self._long_rows) | {"application": application, "state": state}

    def addresses(self) -> Addresses:
        """The address table so far: row = address id."""
        return self._addresses.finish()
