"""Names what UDP and UDP-Lite carry: appends the layers above transport to the packets of a batch, in place.

In: batches whose packets are decoded and have their flow. Out: `layers`, `layer_bytes`, `layer_pdus`, `n_layers` of
datagrams, and facts. A payload is asked in Wireshark's order: what has claimed the conversation, the port table with
the lower port first, the heuristics; `data` remains. A flow whose protocol needs no more reading becomes steady: its
payloads are then named with numpy, all at once. Rules and their order stand in `datagram_rules`.
"""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import MAX_LAYERS, TOO_MANY_LAYERS, Array, Batch, Taps
from analysis.facts import Facts
from analysis.protocols.datagram import Address, Context, Datagram, Layers
from analysis.protocols.datagram_bulk import AT_ONCE, name_at_once, refused_by_heuristics
from analysis.protocols.datagram_rules import BEGINNINGS, HAS_RULE, Heuristics, rules_of_ports
from analysis.protocols.link_facts import LinkFacts
from analysis.protocols.voip import announce_media

UDP_NUMBER, UDPLITE_NUMBER, ICMP_NUMBER, ICMPV6_NUMBER = 17, 136, 1, 58

BLOCK = 1024  # rows that are read before those of flows that became steady are taken out of the rest
REFUSALS_TO_DATA = 8  # payloads of one flow that no rule took, after which only promising beginnings are read
BULK_FROM_ROWS = 64  # undecided datagrams of a batch from which numpy's overhead is worth it
QUOTED = 2048  # bytes of a packet quoted in an ICMP error that are read
MAX_READ = 65_535  # bytes of a payload handed to a rule

LOOK = 4  # bytes that heuristics look at without asking whether the capture has them

# Layers whose end no dissector reads: a capture that cut them leaves no mark.
_UNREAD = np.zeros(len(layers.NAMES), bool)
_UNREAD[[
    layers.DATA, layers.QUIC, layers.RTP, layers.ESP, layers.WG, layers.TLS, layers.SSDP, layers.SYSLOG, layers.RPC,
    layers.PORTMAP, layers.DB_LSP_DISC, layers.MEMCACHE,
]] = True  # fmt: skip

# ICMP errors quote the packet that caused them; Wireshark dissects the quoted UDP payload as a layer of the frame.
_ICMP_ERRORS, _ICMPV6_ERRORS = np.zeros(256, bool), np.zeros(256, bool)
_ICMP_ERRORS[[3, 4, 5, 11, 12]] = True  # RFC 792
_ICMPV6_ERRORS[[1, 2, 3, 4]] = True  # RFC 4443 3


class DatagramNaming:
    """Feed it batches in file order; it keeps what one flow needs to be named from its second packet on."""

    def __init__(self, facts: Facts) -> None:
        self._context = Context(facts)
        self._link = LinkFacts(facts, self._context.names)
        self._heuristics = Heuristics()
        self._refusals: Array = np.zeros(0, np.int32)  # by flow
        self._claimed: Array = np.zeros(0, bool)
        self._announced_at = 0  # first row of a block that announced an endpoint
        self._steady_layer: Array = np.zeros(0, np.uint16)
        self._steady_mask: Array = np.zeros(0, np.uint16)
        self._steady_value: Array = np.zeros(0, np.uint16)

    def update(self, batch: Batch) -> None:
        """Name the datagrams of one batch and collect the facts of ARP, ICMP and neighbour discovery."""
        packets = batch.packets
        if len(packets.number) == 0:
            return
        if batch.secrets:
            self._context.key_log.add(batch.secrets)
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
        """Read what must be read, in file order, a block at a time; name the rest at once."""
        packets = batch.packets
        flow = packets.flow[rows].astype(np.int64)
        self._grow(int(flow.max(initial=-1)) + 1)
        readable = (packets.payload_cap[rows] > 0) & (packets.payload_start[rows] >= 0)
        at = np.where(readable, packets.payload_start[rows], 0)
        first = batch.data[at].astype(np.uint16) << 8
        second = readable & (packets.payload_cap[rows] > 1)
        first[second] |= batch.data[at[second] + 1]
        steady = self._is_steady(flow, first) & readable
        settled = [(rows[steady], self._steady_layer[flow[steady]])]
        left = np.flatnonzero(~steady)
        left = left[~self._bulk(batch, rows[left], readable[left])]
        writer = _Writer()
        for begin in range(0, len(left), BLOCK):
            block = left[begin : begin + BLOCK]
            if begin:  # flows that have become steady in this batch
                steady = self._is_steady(flow[block], first[block]) & readable[block]
                settled.append((rows[block[steady]], self._steady_layer[flow[block[steady]]]))
                block = block[~steady]
            aside = self._refused_by_all(batch, rows[block], first[block], readable[block])
            others = block[~aside]
            settled.append(self._read(batch, rows[others], first[others], readable[others], writer))
            block = block[aside]
            if self._announced_at < len(packets.number):  # what comes after an announcement may be what was announced
                later = block[rows[block] > self._announced_at]
                block = block[rows[block] < self._announced_at]
                settled.append(self._read(batch, rows[later], first[later], readable[later], writer))
            settled.append((rows[block], np.full(len(block), layers.DATA)))
            self._refuse(flow[block])
        writer.write(batch)
        named, layer = (np.concatenate(parts) for parts in zip(*settled))
        _write_layer(batch, named, layer, packets.payload_cap[named])
        short = named[(packets.payload_cap[named] < packets.payload_len[named]) & ~_UNREAD[layer]]
        _write_layer(batch, short, np.full(len(short), layers.SHORT), np.zeros(len(short), np.int64))

    def _bulk(self, batch: Batch, rows: Array, readable: Array) -> Array:
        """Name what needs no rule; bool[n] says which rows. Small batches are as fast through the rules."""
        done = np.zeros(len(rows), bool)
        packets, taps = batch.packets, batch.taps
        tap = packets.transport_tap[rows]
        usable = np.flatnonzero(readable & (tap >= 0))
        if len(usable) < BULK_FROM_ROWS:
            return done
        source, destination = taps.src_port[tap[usable]], taps.dst_port[tap[usable]]
        low, high = np.minimum(source, destination), np.maximum(source, destination)
        port = np.where(HAS_RULE[low], low, high)
        known = np.flatnonzero(AT_ONCE[port])
        usable, source, destination = usable[known], source[known], destination[known]
        chosen = rows[usable]
        found = name_at_once(
            batch.data,
            packets.payload_start[chosen],
            packets.payload_cap[chosen],
            packets.payload_len[chosen],
            port[known],
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

    def _refused_by_all(self, batch: Batch, rows: Array, first: Array, readable: Array) -> Array:
        """bool[n]: rows whose flow holds nothing in this block that a rule could take. Few rows are as fast through the rules."""
        packets, taps, context = batch.packets, batch.taps, self._context
        tap, flow = packets.transport_tap[rows], packets.flow[rows]
        refused = readable & (tap >= 0) & (flow >= 0)
        if np.count_nonzero(refused) < BULK_FROM_ROWS:
            return np.zeros(len(rows), bool)
        source, destination = taps.src_port[tap], taps.dst_port[tap]
        taken = HAS_RULE.copy()
        taken[list(context.endpoint_ports)] = True
        refused &= ~(taken[source] | taken[destination] | self._claimed[flow])
        at = np.flatnonzero(refused)
        chosen, promising = rows[at], BEGINNINGS[first[at]]
        if context.quic_ids:  # short headers of connections that have moved
            promising = promising | (first[at] >> 14 == 1)
        start, cap = packets.payload_start[chosen], packets.payload_cap[chosen]
        refused[at] = refused_by_heuristics(batch.data, start, cap, promising)
        mixed = np.zeros(int(flow.max()) + 1, bool)
        mixed[flow[~refused & (flow >= 0)]] = True
        return np.asarray(refused & ~mixed[flow])

    def _refuse(self, flow: Array) -> None:
        """Count payloads that no rule took; flows with many of them are steady `data`, until they begin like something."""
        np.add.at(self._refusals, flow, 1)
        flow = flow[self._refusals[flow] >= REFUSALS_TO_DATA]
        self._steady_layer[flow], self._steady_mask[flow], self._steady_value[flow] = layers.DATA, 0, 0

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
            for name in ("_steady_layer", "_steady_mask", "_steady_value", "_refusals", "_claimed"):
                old = getattr(self, name)
                new = np.zeros(size, old.dtype)
                new[:have] = old
                setattr(self, name, new)

    def _read(self, batch: Batch, rows: Array, first: Array, readable: Array, writer: _Writer) -> tuple[Array, Array]:
        """Ask the rules about each row. Returns the rows whose flow became steady on the way, unnamed, and their layers."""
        packets, taps = batch.packets, batch.taps
        buffer = memoryview(batch.data)  # type: ignore[arg-type]  # an array is a buffer
        hosts = _Hosts(taps)
        tap = packets.transport_tap[rows]
        ports = np.zeros(len(rows), np.int64)
        if len(taps.kind):
            ports = np.where(tap >= 0, taps.src_port[tap].astype(np.int64) << 16 | taps.dst_port[tap], 0)
        columns = zip(
            rows.tolist(),
            packets.flow[rows].tolist(),
            first.tolist(),
            readable.tolist(),
            packets.payload_start[rows].tolist(),
            np.minimum(packets.payload_cap[rows], MAX_READ).tolist(),
            packets.payload_len[rows].tolist(),
            ports.tolist(),
            packets.number[rows].tolist(),
            packets.time_ns[rows].tolist(),
            packets.direction[rows].tolist(),
            tap.tolist(),
        )
        settled, endpoints = self._context.settled, self._context.endpoints
        announced, self._announced_at = len(endpoints), len(packets.number)
        late: list[int] = []
        late_layers: list[int] = []
        for row, flow, begins, can_read, start, size, length, port, number, time_ns, direction, at in columns:
            verdict = settled.get(flow)
            if verdict is not None and can_read and begins & verdict.mask == verdict.value:
                if verdict.layer != layers.DATA or not BEGINNINGS[begins]:
                    late.append(row)
                    late_layers.append(verdict.layer)
                    continue
            data = bytes(buffer[start : start + size]) if can_read else b""
            datagram = Datagram(
                data, length, port >> 16, port & 0xFFFF, number, time_ns, flow, direction == 0, hosts, at
            )
            writer.add(row, self._ask(datagram))
            if len(endpoints) > announced:
                self._announced_at, announced = min(self._announced_at, row), len(endpoints)
        claimed = self._context.claimed
        self._claimed[[flow for flow in claimed if flow >= 0]] = True
        claimed.clear()
        for flow, steady in settled.items():
            if flow >= 0:
                self._steady_layer[flow] = steady.layer
                self._steady_mask[flow] = steady.mask
                self._steady_value[flow] = steady.value
        settled.clear()
        return np.array(late, np.int64), np.array(late_layers, np.uint16)

    def _ask(self, datagram: Datagram) -> Layers:
        """The layers of one datagram. One that the capture cut ends early, unless nothing reads its end."""
        if not datagram.data:  # the capture kept nothing of it
            return [(datagram.mark(), 0)]
        found = self._judge(datagram)
        if (
            len(datagram.data) < datagram.length
            and found
            and found[-1][0] != layers.SHORT
            and not _UNREAD[found[-1][0]]
        ):
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
        for candidate in rules_of_ports(datagram.src_port, datagram.dst_port):
            found = candidate(datagram, context)
            if found is not None:
                return found
        data = datagram.data
        if len(data) < min(LOOK, datagram.length):
            return [(layers.SHORT, 0)]
        for candidate in self._heuristics.that_take(data[0]):
            found = candidate(datagram, context)
            if found is not None:
                self._heuristics.accepted(candidate)
                return found
        if flow >= 0:
            self._refusals[flow] += 1
            if self._refusals[flow] == REFUSALS_TO_DATA and flow not in context.conversations:
                context.settle(datagram, layers.DATA)
        return datagram.whole(layers.DATA)

    def announce_media(self, description: bytes) -> None:
        """Claim the media endpoints of a session description that travelled elsewhere (SIP or RTSP over TCP)."""
        announce_media(description, self._context)

    # -- ICMP errors -----------------------------------------------------------------------------------------------

    def _quotes(self, batch: Batch) -> None:
        """Name the UDP payload that an ICMP error quotes; what would be malformed there is not marked."""
        packets, data = batch.packets, batch.data
        rows = np.flatnonzero((packets.icmp_type >= 0) & (packets.transport_start >= 0))
        if not len(rows):
            return
        protocol, kind = packets.ip_protocol[rows], packets.icmp_type[rows]
        last = packets.layers[rows, np.maximum(packets.n_layers[rows], 1) - 1]
        error = (protocol == ICMP_NUMBER) & _ICMP_ERRORS[kind] | (protocol == ICMPV6_NUMBER) & _ICMPV6_ERRORS[kind]
        rows = rows[error & ((last == layers.ICMP) | (last == layers.ICMPV6))]
        begin = packets.transport_start[rows] + 8
        complete = packets.fragment[rows] == 2
        end = np.where(complete, packets.payload_start[rows], packets.start[rows])
        end = np.minimum(end + np.where(complete, packets.payload_cap[rows], packets.cap_len[rows]), begin + QUOTED)
        fits = end - begin > 20 + 8
        rows, begin, end = rows[fits], begin[fits], end[fits]
        version = data[begin] >> 4
        header = np.where(version == 4, (data[begin] & 15).astype(np.int64) * 4, 40)
        first = (data[begin + 6] & 0x1F == 0) & (data[begin + 7] == 0)
        udp = (version == 4) & (data[begin + 9] == UDP_NUMBER) & first & (header >= 20)
        udp |= (version == 6) & (data[begin + 6] == UDP_NUMBER)
        udp &= begin + header + 8 < end
        writer = _Writer()
        columns = (rows[udp], begin[udp], begin[udp] + header[udp], end[udp])
        for row, ip, transport, stop in zip(*(column.tolist() for column in columns)):
            found = self._ask(_quoted(batch, row, ip, transport, stop))
            writer.add(row, [pair for pair in found if pair[0] not in (layers.SHORT, layers.MALFORMED)])
        writer.write(batch)


class _Hosts:
    """The addresses of a batch's taps, by row of the tap; -1 is a packet without."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps

    def source(self, row: int) -> Address:
        taps = self._taps
        return (int(taps.src_hi[row]), int(taps.src_lo[row])) if row >= 0 else (0, 0)

    def destination(self, row: int) -> Address:
        taps = self._taps
        return (int(taps.dst_hi[row]), int(taps.dst_lo[row])) if row >= 0 else (0, 0)

    def family(self, row: int) -> int:
        return int(self._taps.ip_family[row]) if row >= 0 else 0


class _QuotedHosts:
    """The addresses of the packet that an ICMP error quotes."""

    def __init__(self, source: Address, destination: Address, family: int) -> None:
        self._source, self._destination, self._family = source, destination, family

    def source(self, row: int) -> Address:
        return self._source

    def destination(self, row: int) -> Address:
        return self._destination

    def family(self, row: int) -> int:
        return self._family


def _quoted(batch: Batch, row: int, ip: int, transport: int, end: int) -> Datagram:
    """The UDP datagram that an ICMP error quotes: IP header, UDP header and end of the quote in the batch's bytes."""
    packets = batch.packets
    header, ports, payload = (
        batch.data[a:b].tobytes() for a, b in ((ip, transport), (transport, transport + 8), (transport + 8, end))
    )
    if header[0] >> 4 == 4:
        hosts = _QuotedHosts((0, int.from_bytes(header[12:16], "big")), (0, int.from_bytes(header[16:20], "big")), 4)
    else:
        words = [int.from_bytes(header[at : at + 8], "big", signed=True) for at in range(8, 40, 8)]
        hosts = _QuotedHosts((words[0], words[1]), (words[2], words[3]), 6)
    length = int.from_bytes(ports[4:6], "big") - 8
    if 0 < length < len(payload):  # an ICMP extension or padding follows the quote
        payload = payload[:length]
    return Datagram(
        payload,
        max(length, len(payload)),
        int.from_bytes(ports[:2], "big"),
        int.from_bytes(ports[2:4], "big"),
        int(packets.number[row]),
        int(packets.time_ns[row]),
        -1,
        True,
        hosts,
        row,
        quoted=True,
    )


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
        self._pdus: dict[int, int] = {}  # entry: PDUs, where more than one
        self._repeated: dict[int, int] = {}  # row: own bytes of its last PDU, where the last layer repeats

    def add(self, row: int, found: Layers) -> None:
        """`found` stands above what the row has; direct repeats become PDUs of one layer."""
        step, before = 0, 0
        for layer, size in found:
            if layer == before:
                entry = len(self._layers) - 1
                self._sizes[entry] += size
                self._pdus[entry] = self._pdus.get(entry, 1) + 1
                self._repeated[row] = size
                continue
            if step:
                self._repeated.pop(row, None)
            self._rows.append(row)
            self._steps.append(step)
            self._layers.append(layer)
            self._sizes.append(size)
            step, before = step + 1, layer

    def write(self, batch: Batch) -> None:
        """Write everything that was added; what exceeds MAX_LAYERS is left out and marked."""
        if not self._rows:
            return
        packets = batch.packets
        rows = np.array(self._rows)
        pdus = np.ones(len(rows), np.uint16)
        pdus[list(self._pdus)] = list(self._pdus.values())
        at = packets.n_layers[rows] + np.array(self._steps)
        room = at < MAX_LAYERS
        packets.fault[rows[~room]] |= TOO_MANY_LAYERS
        rows, at = rows[room], at[room]
        packets.layers[rows, at] = np.array(self._layers)[room]
        packets.layer_bytes[rows, at] = np.array(self._sizes)[room]
        packets.layer_pdus[rows, at] = pdus[room]
        packets.n_layers[rows] = at + 1  # of entries for one row the last one stays, which is the deepest
        for row, size in self._repeated.items():
            packets.last_pdu_bytes[row] = size
