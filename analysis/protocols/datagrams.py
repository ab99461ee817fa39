"""Names what UDP and UDP-Lite carry: appends the layers above transport to the packets of a batch, in place.

In: batches whose packets are decoded and have their flow. Out: `layers`, `layer_bytes`, `layer_pdus`, `n_layers` of
datagrams, and facts. A payload is asked in Wireshark's order: what has claimed the conversation, the port table with
the lower port first, the heuristics; `data` remains. A flow whose protocol needs no more reading becomes steady: its
payloads are then named with numpy, all at once. Rules and their order stand in `datagram_rules`.
"""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import MAX_LAYERS, TOO_MANY_LAYERS, Array, Batch
from analysis.facts import Facts
from analysis.protocols.datagram import Context, Datagram, Layers, Rule
from analysis.protocols.datagram_bulk import name_at_once
from analysis.protocols.datagram_rules import BEGINNINGS, HEURISTICS, PORTS
from analysis.protocols.link_facts import LinkFacts
from analysis.protocols.voip import announce_media

UDP_NUMBER, UDPLITE_NUMBER, ICMP_NUMBER, ICMPV6_NUMBER = 17, 136, 1, 58

REFUSALS_TO_DATA = 8  # payloads of one flow that no rule took, after which only promising beginnings are read
BULK_FROM_ROWS = 64  # undecided datagrams of a batch from which numpy's overhead is worth it
MAX_READ = 65_535  # bytes of a payload handed to a rule

LOOK = 4  # bytes that heuristics look at without asking whether the capture has them

# Layers whose end no dissector reads: a capture that cut them leaves no mark.
UNREAD = (
    layers.DATA, layers.QUIC, layers.RTP, layers.ESP, layers.WG, layers.TLS, layers.SSDP, layers.SYSLOG, layers.RPC,
    layers.PORTMAP, layers.DB_LSP_DISC, layers.MEMCACHE,
)  # fmt: skip

# ICMP errors quote the packet that caused them; Wireshark dissects the quoted UDP payload as a layer of the frame.
ICMP_ERRORS = (3, 4, 5, 11, 12)  # RFC 792
ICMPV6_ERRORS = (1, 2, 3, 4)  # RFC 4443 3


class DatagramNaming:
    """Feed it batches in file order; it keeps what one flow needs to be named from its second packet on."""

    def __init__(self, facts: Facts) -> None:
        self._context = Context(facts)
        self._link = LinkFacts(facts, self._context.names)
        self._heuristics = list(HEURISTICS)
        self._refusals: dict[int, int] = {}
        self._candidates: dict[tuple[int, int], tuple[Rule, ...]] = {}
        self._steady_layer: Array = np.zeros(0, np.uint16)
        self._steady_mask: Array = np.zeros(0, np.uint16)
        self._steady_value: Array = np.zeros(0, np.uint16)

    def update(self, batch: Batch) -> None:
        """Name the datagrams of one batch and collect the facts of ARP, ICMP and neighbour discovery."""
        packets = batch.packets
        if len(packets.number) == 0:
            return
        self._link.update(batch)
        protocol = packets.ip_protocol
        rows = np.flatnonzero((protocol == UDP_NUMBER) | (protocol == UDPLITE_NUMBER))
        if len(rows):
            count = packets.n_layers[rows].astype(np.int64)
            last = packets.layers[rows, np.maximum(count - 1, 0)]
            named = (last == layers.UDP) | (last == layers.UDPLITE)
            self._datagrams(batch, rows[named & (count > 0) & (packets.payload_len[rows] > 0)])
        self._quotes(batch)

    # -- datagrams -------------------------------------------------------------------------------------------------

    def _datagrams(self, batch: Batch, rows: Array) -> None:
        """Read what must be read, row by row in file order; name the rest at once."""
        packets = batch.packets
        flow = packets.flow[rows].astype(np.int64)
        self._grow(int(flow.max(initial=-1)) + 1)
        readable = (packets.payload_cap[rows] > 0) & (packets.payload_start[rows] >= 0)
        at = np.where(readable, packets.payload_start[rows], 0)
        first = batch.data[at].astype(np.uint16) << 8
        second = readable & (packets.payload_cap[rows] > 1)
        first[second] |= batch.data[at[second] + 1]
        steady = self._is_steady(flow, first) & readable
        cut = packets.payload_cap[rows] < packets.payload_len[rows]
        undecided = ~steady
        undecided[undecided] = ~self._bulk(batch, rows[undecided], readable[undecided])
        fresh = self._read_rows(batch, rows[undecided], readable[undecided])
        if fresh:  # flows that became steady while this batch was read: the rows that were left for numpy
            late = np.isin(rows, np.array(fresh, dtype=rows.dtype), assume_unique=True)
            steady |= late
        if steady.any():
            named, layer = rows[steady], self._steady_layer[flow[steady]]
            _write_layer(batch, named, layer, packets.payload_cap[named])
            short = named[cut[steady] & ~np.isin(layer, UNREAD)]
            _write_layer(batch, short, np.full(len(short), layers.SHORT), np.zeros(len(short), np.int64))

    def _bulk(self, batch: Batch, rows: Array, readable: Array) -> Array:
        """Name what needs no rule; bool[n] says which rows. Small batches are as fast through the rules."""
        done = np.zeros(len(rows), bool)
        packets, taps = batch.packets, batch.taps
        tap = packets.transport_tap[rows]
        usable = np.flatnonzero(readable & (tap >= 0))
        if len(usable) < BULK_FROM_ROWS:
            return done
        chosen, tap = rows[usable], tap[usable]
        source, destination = taps.src_port[tap], taps.dst_port[tap]
        found = name_at_once(
            batch.data,
            packets.payload_start[chosen],
            packets.payload_cap[chosen],
            packets.payload_len[chosen],
            source,
            destination,
        )
        named = found.first > 0
        if self._context.endpoint_ports:  # an announced endpoint is asked first
            ports = np.fromiter(self._context.endpoint_ports, np.int64)
            named &= ~(np.isin(source, ports) | np.isin(destination, ports))
        done[usable[named]] = True
        chosen, size = chosen[named], found.size[named]
        _write_layer(batch, chosen, found.first[named], size)
        two = found.second[named] > 0
        rest = packets.payload_cap[chosen[two]] - size[two]
        _write_layer(batch, chosen[two], found.second[named][two], rest)
        return done

    def _is_steady(self, flow: Array, first: Array) -> Array:
        known = flow >= 0
        at = np.where(known, flow, 0)
        layer = self._steady_layer[at]
        fits = known & (layer > 0) & ((first & self._steady_mask[at]) == self._steady_value[at])
        return np.asarray(fits & ~((layer == layers.DATA) & BEGINNINGS[first]))

    def _grow(self, flows: int) -> None:
        """Room for `flows` flows, at least one, doubling."""
        have = len(self._steady_layer)
        if flows >= have:
            size = max(1024, 2 * flows)
            for name in ("_steady_layer", "_steady_mask", "_steady_value"):
                old = getattr(self, name)
                new = np.zeros(size, old.dtype)
                new[:have] = old
                setattr(self, name, new)

    def _read_rows(self, batch: Batch, rows: Array, readable: Array) -> list[int]:
        """Ask the rules about each row. Returns the rows whose flow became steady on the way, left unnamed."""
        packets, taps = batch.packets, batch.taps
        buffer = memoryview(batch.data)  # type: ignore[arg-type]  # an array is a buffer
        tap = packets.transport_tap[rows]
        tap = np.where(tap >= 0, tap, 0)
        has_tap = len(taps.kind) > 0
        zeros = np.zeros(len(rows), np.int64)

        def of_tap(column: Array) -> list[int]:
            values: list[int] = (column[tap] if has_tap else zeros).tolist()
            return values

        columns = zip(
            rows.tolist(),
            readable.tolist(),
            packets.payload_start[rows].tolist(),
            packets.payload_cap[rows].tolist(),
            packets.payload_len[rows].tolist(),
            zip(of_tap(taps.src_port), of_tap(taps.dst_port)),
            zip(
                zip(of_tap(taps.src_hi), of_tap(taps.src_lo)),
                zip(of_tap(taps.dst_hi), of_tap(taps.dst_lo)),
            ),
            of_tap(taps.ip_family),
            zip(
                packets.number[rows].tolist(),
                packets.time_ns[rows].tolist(),
                packets.flow[rows].tolist(),
                (packets.direction[rows] == 0).tolist(),
            ),
        )
        settled = self._context.settled
        settled.clear()
        fresh: list[int] = []
        writer = _Writer()
        for row, can_read, start, cap, length, ports, addresses, family, where in columns:
            if settled and can_read and where[2] in settled:
                verdict = settled[where[2]]
                first = buffer[start] << 8 | (buffer[start + 1] if cap > 1 else 0)
                if first & verdict.mask == verdict.value and not (verdict.layer == layers.DATA and BEGINNINGS[first]):
                    fresh.append(row)
                    continue
            data = bytes(buffer[start : start + (cap if cap < MAX_READ else MAX_READ)]) if can_read else b""
            writer.add(row, self._ask(Datagram(data, length, ports, addresses, family, where)))
        for flow, verdict in settled.items():
            if flow >= 0:
                self._steady_layer[flow] = verdict.layer
                self._steady_mask[flow] = verdict.mask
                self._steady_value[flow] = verdict.value
        writer.write(batch)
        return fresh

    def _ask(self, datagram: Datagram) -> Layers:
        """The layers of one datagram. One that the capture cut ends early, unless nothing reads its end."""
        if not datagram.data:  # the capture kept nothing of it
            return [(datagram.mark(), 0)]
        found = self._judge(datagram)
        if len(datagram.data) < datagram.length and found and found[-1][0] not in (layers.SHORT, *UNREAD):
            return [*found, (layers.SHORT, 0)]
        return found

    def _judge(self, datagram: Datagram) -> Layers:
        """Asked in order: the conversation, announced endpoints, ports, heuristics; `data` remains."""
        context = self._context
        flow = datagram.flow
        rule = context.conversations.get(flow)
        if rule is not None:
            found = rule(datagram, context)
            if found is not None:
                return found
        ports = context.endpoint_ports
        if ports and (datagram.dst_port in ports or datagram.src_port in ports):
            for endpoint in (datagram.destination_endpoint, datagram.source_endpoint):
                rule = context.endpoints.get(endpoint)
                if rule is not None:
                    found = rule(datagram, context)
                    if found is not None:
                        return found
        for candidate in self._by_port(datagram.src_port, datagram.dst_port):
            found = candidate(datagram, context)
            if found is not None:
                return found
        if len(datagram.data) < min(LOOK, datagram.length):
            return [(layers.SHORT, 0)]
        for at, candidate in enumerate(self._heuristics):
            found = candidate(datagram, context)
            if found is not None:
                if at:  # what accepted is asked first from now on, as in Wireshark
                    self._heuristics.insert(0, self._heuristics.pop(at))
                return found
        if not datagram.quoted:
            refusals = self._refusals.get(flow, 0) + 1
            self._refusals[flow] = refusals
            if refusals == REFUSALS_TO_DATA and flow not in context.conversations:
                context.settle(datagram, layers.DATA)
        return datagram.whole(layers.DATA)

    def _by_port(self, source: int, destination: int) -> tuple[Rule, ...]:
        key = (source, destination)
        found = self._candidates.get(key)
        if found is None:
            low, high = min(key), max(key)
            found = tuple(PORTS[port] for port in dict.fromkeys((low, high)) if port and port in PORTS)
            if len(self._candidates) >= 65_536:
                self._candidates.clear()
            self._candidates[key] = found
        return found

    def announce_media(self, description: bytes) -> None:
        """Claim the media endpoints of a session description that travelled elsewhere (SIP or RTSP over TCP)."""
        announce_media(description, self._context)

    # -- ICMP errors -----------------------------------------------------------------------------------------------

    def _quotes(self, batch: Batch) -> None:
        """Name the UDP payload that an ICMP error quotes; what would be malformed there is not marked."""
        packets = batch.packets
        protocol, kind = packets.ip_protocol, packets.icmp_type
        error = (protocol == ICMP_NUMBER) & np.isin(kind, ICMP_ERRORS)
        error |= (protocol == ICMPV6_NUMBER) & np.isin(kind, ICMPV6_ERRORS)
        writer = _Writer()
        for row in np.flatnonzero(error & (packets.transport_start >= 0)).tolist():
            last = int(packets.layers[row, max(int(packets.n_layers[row]) - 1, 0)])
            if last not in (layers.ICMP, layers.ICMPV6):
                continue
            datagram = self._quoted(batch, row)
            if datagram is not None:
                found = self._ask(datagram)
                writer.add(row, [pair for pair in found if pair[0] not in (layers.SHORT, layers.MALFORMED)])
        writer.write(batch)

    @staticmethod
    def _quoted(batch: Batch, row: int) -> Datagram | None:
        """The UDP datagram quoted behind the eight bytes of an ICMP error, None where it is not UDP or has no payload."""
        packets = batch.packets
        start = int(packets.start[row])
        begin = int(packets.transport_start[row]) + 8
        end = start + int(packets.cap_len[row])
        if packets.fragment[row] == 2:
            end = int(packets.payload_start[row]) + int(packets.payload_cap[row])
        data = bytes(batch.data[begin : max(begin, min(end, begin + 2048))])
        if len(data) < 28:
            return None
        if data[0] >> 4 == 4 and data[9] == UDP_NUMBER and not (data[6] & 0x1F or data[7]):
            at, family = (data[0] & 15) * 4, 4
            source, destination = (0, int.from_bytes(data[12:16], "big")), (0, int.from_bytes(data[16:20], "big"))
        elif data[0] >> 4 == 6 and data[6] == UDP_NUMBER and len(data) > 48:
            at, family = 40, 6
            words = [int.from_bytes(data[i : i + 8], "big", signed=True) for i in range(8, 40, 8)]
            source, destination = (words[0], words[1]), (words[2], words[3])
        else:
            return None
        payload = data[at + 8 :]
        if at < 20 or not payload:
            return None
        length = int.from_bytes(data[at + 4 : at + 6], "big") - 8
        if 0 < length < len(payload):  # an ICMP extension or padding follows the quote
            payload = payload[:length]
        ports = (int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big"))
        where = (int(packets.number[row]), int(packets.time_ns[row]), -1, True)
        datagram = Datagram(payload, max(length, len(payload)), ports, (source, destination), family, where)
        datagram.quoted = True
        return datagram


def _write_layer(batch: Batch, rows: Array, layer: Array, size: Array) -> None:
    """Append one layer to each of the (distinct) rows; those that are full are marked."""
    packets = batch.packets
    at = packets.n_layers[rows].astype(np.int64)
    room = at < MAX_LAYERS
    packets.fault[rows[~room]] |= TOO_MANY_LAYERS
    rows, at = rows[room], at[room]
    packets.layers[rows, at] = layer[room]
    packets.layer_bytes[rows, at] = size[room]
    packets.layer_pdus[rows, at] = 1
    packets.n_layers[rows] = at + 1


class _Writer:
    """Layers found for many rows, written to the matrices at once. A row is added once."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._steps: list[int] = []
        self._layers: list[int] = []
        self._sizes: list[int] = []
        self._pdus: list[int] = []
        self._repeated: dict[int, int] = {}  # row: own bytes of its last PDU, where the last layer repeats

    def add(self, row: int, found: Layers) -> None:
        """`found` stands above what the row has; direct repeats become PDUs of one layer."""
        step, before = 0, 0
        for layer, size in found:
            if layer == before:
                self._sizes[-1] += size
                self._pdus[-1] += 1
                self._repeated[row] = size
                continue
            self._repeated.pop(row, None)
            self._rows.append(row)
            self._steps.append(step)
            self._layers.append(layer)
            self._sizes.append(size)
            self._pdus.append(1)
            step, before = step + 1, layer

    def write(self, batch: Batch) -> None:
        """Write everything that was added; what exceeds MAX_LAYERS is left out and marked."""
        if not self._rows:
            return
        packets = batch.packets
        rows = np.array(self._rows)
        steps = np.array(self._steps)
        at = packets.n_layers[rows].astype(np.int64) + steps
        room = at < MAX_LAYERS
        packets.fault[rows[~room]] |= TOO_MANY_LAYERS
        rows, at = rows[room], at[room]
        packets.layers[rows, at] = np.array(self._layers)[room]
        packets.layer_bytes[rows, at] = np.array(self._sizes)[room]
        packets.layer_pdus[rows, at] = np.array(self._pdus)[room]
        np.maximum.at(packets.n_layers, rows, (at + 1).astype(np.uint8))
        for row, size in self._repeated.items():
            packets.last_pdu_bytes[row] = size
