"""TCP streams: which protocols stand above TCP in each frame, and what their payloads said.

In: batches of packets with flows and TCP analysis. Out: the layer matrices of the same batches, filled in place, and
facts. The kernel walks what needs no look inside (bulk.py), dissectors of the registry get the rest (streams.py). State
per connection lives here, from the first batch to `finish`. It may be told in another process than everything else: of
a batch it reads and writes no more than COLUMNS.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from analysis import layers
from analysis.columns import Array, Batch, Packets
from analysis.facts import Facts
from analysis.flows import Ends
from analysis.growing import FIRST_ROWS, lengthen
from analysis.key_log import KeyLog
from analysis.named_tuples import NamedTuple
from analysis.protocols import http, http2, kerberos, logins, registry, ssh, tls_facts, tls_records
from analysis.protocols.bulk import COLLECT, DISSECT, EVERY, RECORDS, SILENT, Bulk, Lanes, Walk
from analysis.protocols.pdu import Dissect, Pdu
from analysis.protocols.streams import FIN, Side, Span, Stream, deliver, dissect_alone

RST = 4
CLOSED = 3
REFUSALS = 6  # segments that no dissector took, after which a flow goes to the fast lane
WORTH_COLLECTING = 4096  # bytes a unit must still want before the kernel is asked to pass them by
FEW = 2  # segments of a flow left in a batch that are not worth another round of the kernel
MOST_STREAMS = 25_000  # connections whose state is kept while nothing closes them; about 2 kB each
MOST_MEDIA, LONGEST_MEDIA = 1_000, 8_192  # session descriptions of a batch, bytes of one
MOST_ANNOUNCED = 65_536  # data connections that control connections named
HTTP, SSH, TLS = http.dissect, ssh.dissect, tls_records.dissect
Ports = tuple[int, int, int]  # of sides a and b, and of the server or 0
UPGRADES: dict[str, Dissect] = {"websocket": http2.dissect_websocket, "h2c": http2.dissect}

WRITTEN = ("fault", "n_layers", "last_pdu_bytes", "layers", "layer_bytes", "layer_pdus")
COLUMNS = (
    "number", "time_ns", "payload_start", "payload_len", "payload_cap", "tcp_seq", "tcp_flags", "flow", "direction",
    "analysis", *WRITTEN,
)  # fmt: skip


class Named(NamedTuple):
    """What naming the streams of a batch brought besides their layers."""

    had: Array  # layers that each packet had before
    renamed: list[int]  # rows that were `data` before their conversation was known
    media: list[bytes]  # session descriptions that SIP and RTSP carried: who sends media over UDP


class Streams(Protocol):
    """What the rest of naming needs to know of streams, wherever they are named."""

    def update(self, batch: Batch, ends: Ends) -> Named:
        """Name the segments of `batch`, in place."""
        ...

    def finish(self) -> None:
        """Report what only the end of the capture tells."""
        ...


class Shared:
    """What dissectors may ask of the whole analysis: announced data connections, keys, and to hand a stream over."""

    def __init__(self, facts: Facts) -> None:
        self.key_log = KeyLog()
        self.media: list[bytes] = []  # session descriptions that nobody has taken yet
        self._facts = facts
        self._announced: dict[int, Dissect] = {}

    def announce(self, stream: Stream, port: int, dissect: Dissect) -> None:
        """A connection to `port` of one of the stream's hosts will speak `dissect`."""
        if port > 1023 and len(self._announced) < MOST_ANNOUNCED:
            self._announced[port] = dissect

    def expected(self, a_port: int, b_port: int) -> Dissect | None:
        """What was announced for a new connection between these ports."""
        return self._announced.get(b_port) or self._announced.get(a_port)

    def start_tls(self, pdu: Pdu) -> None:
        """From the next segment on, the stream is TLS."""
        pdu.stream.dissector = tls_records.dissect

    def inside_tls(self, stream: Stream, alpn: str) -> Stream:
        """What an opened TLS session carries, as a connection of its own: by ALPN, or by the ports of `stream`."""
        ports = stream.a_port, stream.b_port, stream.server_port
        inner = Stream(stream.flow, *ports, self._facts, self, registry.choose)
        inner.sealed = True
        inner.dissector = registry.BY_ALPN.get(alpn)
        inner.candidates = registry.over_tls(stream.server_port, stream.a_port, stream.b_port)
        return inner

    def announce_media(self, description: bytes) -> None:
        """A session description says where media will be sent, over UDP."""
        if len(self.media) < MOST_MEDIA:
            self.media.append(description[:LONGEST_MEDIA])

    def upgrade(self, word: str) -> Dissect | None:
        """The dissector behind an HTTP Upgrade token."""
        return UPGRADES.get(word)

    def guess(self, pdu: Pdu) -> bool:
        """What a tunnel carries."""
        return registry.guess(pdu)

    def kerberos(self, pdu: Pdu, data: bytes) -> None:
        """Remember one Kerberos message."""
        message = kerberos.parse(data)
        if message is not None:
            self._facts.add("kerberos", kerberos.fact(message, pdu.number, pdu.time_ns, pdu.stream.flow))


class StreamNaming:
    """Names the layers above TCP of every frame; one object per analysis."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._streams: dict[int, Stream] = {}
        self._shared = Shared(facts)
        self._bulk = Bulk(registry.telling(), layers.DATA)
        self._collecting: dict[int, tuple[Side, Span, int, int, int]] = {}  # lane -> where its bytes are missing
        self._ended = np.zeros(FIRST_ROWS, np.uint8)  # by flow: 1 a FIN of side a, 2 of side b, CLOSED both or an RST
        self._endless: set[int] = set()  # flows with a unit that ends where its sender closes
        self._renamed: list[int] = []  # rows of this batch that were `data` before their conversation was known

    def update(self, batch: Batch, ends: Ends) -> Named:
        """Append the layers above TCP to each packet of `batch`, in place; `ends` are its conversations. See Streams."""
        packets = batch.packets
        if batch.secrets:
            self._shared.key_log.add(batch.secrets)
        self._renamed = []
        had = packets.n_layers.copy()
        if not len(had):
            return Named(had, [], [])
        last = packets.layers[np.arange(len(had)), np.maximum(had, 1) - 1]
        rows = np.flatnonzero(
            (last == layers.TCP) & (packets.payload_len > 0) & (packets.flow >= 0) & (packets.tcp_flags & RST == 0)
        )
        if len(rows):
            rows = rows[np.argsort(packets.flow[rows], kind="stable")]
            self._name_streams(batch, rows, ends)
        if self._endless:
            self._end_streams(batch, last == layers.TCP)
        self._forget(packets)
        media, self._shared.media = self._shared.media, []
        return Named(had, self._renamed, media)

    def finish(self) -> None:
        """Report what only the end of the capture tells."""
        for stream in self._streams.values():
            self._close(stream)
        self._streams.clear()

    def _close(self, stream: Stream) -> None:
        logins.flush(self._facts, stream.state)
        tls_facts.emit(self._facts, stream.flow, stream.state)
        if "tls_inside" in stream.state:
            self._close(stream.state["tls_inside"].stream)

    def _forget(self, packets: Packets) -> None:
        """Drop streams that were closed before this batch and silent in it, and of too many the oldest silent ones.

        A flow that goes on is judged anew.
        """
        rows = np.flatnonzero((packets.tcp_flags >= 0) & (packets.flow >= 0))
        flow, flags = packets.flow[rows], packets.tcp_flags[rows]
        while len(flow) and int(flow.max()) >= len(self._ended):
            lengthen(self, "_ended")
        busy = np.zeros(len(self._ended), bool)
        busy[flow] = True
        known = np.fromiter(self._streams, np.int64, len(self._streams))
        gone = ~busy[known] & (self._ended[known] >= CLOSED)
        silent = np.flatnonzero(~gone & ~busy[known])
        if (too_many := len(known) - int(gone.sum()) - MOST_STREAMS) > 0:
            gone[silent[: too_many + MOST_STREAMS // 8]] = True
        for one in known[gone].tolist():
            self._close(self._streams.pop(one))
            self._endless.discard(one)
        for direction, bit in ((0, 1), (1, 2)):
            self._ended[flow[(flags & FIN != 0) & (packets.direction[rows] == direction)]] |= bit
        self._ended[flow[flags & RST != 0]] = CLOSED

    def _name_streams(self, batch: Batch, rows: Array, ends: Ends) -> None:
        """Walk the segments flow by flow: the kernel as far as it can, dissectors where they are needed."""
        walk = self._bulk.walk(batch, rows)
        which = np.searchsorted(ends.flow, batch.packets.flow[rows[np.asarray(walk.first)]])
        columns = (ends.a_port, ends.b_port, ends.server_port)
        ports = list(zip(*(column[which].tolist() for column in columns), strict=True))
        active = np.arange(len(walk.first))
        while len(stopped := walk.advance(active)):
            for index in stopped:
                self._serve(ports, walk, index)
            active = np.array(stopped, dtype=np.int64)
        self._gather_rest(walk)

    def _end_streams(self, batch: Batch, of_tcp: Array) -> None:
        """A FIN without payload ends what waits for it."""
        packets = batch.packets
        rows = np.flatnonzero(
            of_tcp & (packets.payload_len == 0) & (packets.tcp_flags & FIN != 0) & (packets.flow >= 0)
        )
        rows = rows[np.isin(packets.flow[rows], list(self._endless))]
        if not len(rows):
            return
        rows = rows[np.argsort(packets.flow[rows], kind="stable")]
        walk = self._bulk.walk(batch, rows)
        for row in walk.rows:
            stream = self._streams.get(walk.flow[row])
            if stream is not None:
                walk.show(row, deliver(stream, walk.direction[row], walk.segment(row)))

    def _serve(self, ports: list[Ports], walk: Walk, index: int) -> None:
        """Dissect segments of one flow until the kernel can take over, or to the end of the batch."""
        lanes = self._bulk.view
        lane_of, missing = lanes.lane, lanes.missing
        rows, directions, plain = walk.rows, walk.direction, walk.plain
        at, end = walk.cursor[index], walk.ends[index]
        flow = walk.flow[rows[at]]
        place = 2 * int(self._bulk.place[flow])
        stream = self._streams.get(flow) or self._stream(flow, *ports[index])
        known = stream.dissector
        while at < end:
            row = rows[at]
            direction = directions[row]
            lane = place + direction
            entered = lane_of[lane]
            if entered:
                self._leave(stream, walk, lane, at)
            elif not plain[row] and walk.is_bare(row, missing[lane]):
                at += 1
                continue
            silent = stream.silent
            found = walk.next_layers(stream, direction, row) if plain[row] else None
            if found is None:
                found = deliver(stream, direction, walk.segment(row))
            if found:
                walk.show(row, found)
                stream.silent = 0
                if stream.hides and "http_seen" in stream.state:
                    walk.show_hidden(rows[walk.first[index] : at], layers.HTTP)
                    stream.hides = False
                if lane_of[lane ^ 1] == SILENT:
                    lane_of[lane ^ 1] = DISSECT  # HTTP after all
            if stream.covered is not None:
                walk.uncover(rows[walk.first[index] : at], *stream.covered)
                stream.covered = None
            elif stream.silent > silent:
                walk.hidden[row] = 1
                stream.hides = True
            if stream.dissector is not known:
                if known is None and at > walk.first[index]:
                    self._name_again(stream, walk, rows[walk.first[index] : at])
                known = stream.dissector
            at += 1
            steady = self._steady(stream, direction, lane, at, index)
            if steady and end - at >= FEW and lane_of[place + directions[rows[at]]]:
                break
        walk.cursor[index] = at

    def _leave(self, stream: Stream, walk: Walk, lane: int, at: int) -> None:
        """Take a direction back from the kernel at segment `at` of the walk."""
        lanes = self._bulk.view
        entered, side = lanes.lane[lane], stream.sides[lane & 1]
        if entered == RECORDS:
            resume_records(side, lanes, lane)
        elif entered == COLLECT:
            self._gather(walk, lane, at)
        lanes.lane[lane] = DISSECT

    def _gather(self, walk: Walk, lane: int, end: int) -> None:
        """Give a span the bytes that the kernel passed by since the lane was entered."""
        entry = self._collecting.pop(lane, None)
        if entry is None:
            return
        side, span, at, direction, _ = entry
        catch_up(side, self._bulk.view.following[lane])
        if span.entire:
            side.extend(span, side.top + 1)
        need = side.top - span.start
        for position in range(at, end):
            if span.filled >= need:
                return
            row = walk.rows[position]
            if walk.direction[row] == direction and not walk.is_bare(row, 1):
                span.put(span.filled, walk.payload(row))

    def _gather_rest(self, walk: Walk) -> None:
        """At the end of a batch its bytes go: every open collection takes what it has passed."""
        for lane in list(self._collecting):
            index = self._collecting[lane][4]
            self._gather(walk, lane, walk.cursor[index])
            self._bulk.view.lane[lane] = DISSECT

    def _steady(self, stream: Stream, direction: int, lane: int, at: int, index: int) -> bool:
        """Put a direction that needs no dissector for a while into its lane."""
        lanes, side, spoken = self._bulk.view, stream.sides[direction], stream.spoken
        span = side.spans[-1] if side.spans else None
        if spoken is TLS:
            if stream.state.get(("tls_sealed", direction)) and "tls_session" not in stream.state:
                return enter_records(side, lanes, lane)
        elif spoken is None:
            if stream.refused >= REFUSALS and stream.dissector is None and not stream.candidates:
                return enter(lanes, lane, EVERY, layers.DATA)
        elif spoken is HTTP:
            if stream.silent >= REFUSALS and (span is None or span.done):
                return enter(lanes, lane, SILENT if http.takes_all(stream) else EVERY, layers.NONE)
        elif spoken is SSH and stream.state.get(("ssh_sealed", direction)):
            return enter(lanes, lane, EVERY, layers.SSH)
        if span is None or span.done:
            lanes.missing[lane] = 0
            return False
        lanes.missing[lane] = 1
        if span.endless:
            self._endless.add(stream.flow)
        missing = (span.until if span.entire else span.end) - side.top
        if missing < WORTH_COLLECTING or span.filled != side.top - span.start:
            return False
        lanes.following[lane] = side.top & 0xFFFFFFFF
        lanes.missing[lane] = missing
        self._collecting[lane] = (side, span, at, direction, index)
        return enter(lanes, lane, COLLECT, layers.NONE)

    def _name_again(self, stream: Stream, walk: Walk, rows: list[int]) -> None:
        """The conversation turned out to speak a protocol: earlier segments that were `data` are dissected as that."""
        for row in rows:
            if walk.take_back(row, layers.DATA, layers.TCP):
                self._renamed.append(row)
                walk.show(row, dissect_alone(stream, walk.direction[row], walk.segment(row)))

    def _stream(self, flow: int, a_port: int, b_port: int, server: int) -> Stream:
        """The state of a connection of which no segment was dissected yet."""
        stream = Stream(flow, a_port, b_port, server, self._facts, self._shared, registry.choose)
        stream.dissector = self._shared.expected(a_port, b_port)
        stream.candidates = registry.by_ports(server, a_port, b_port)
        self._streams[flow] = stream
        return stream


def enter(lanes: Lanes, lane: int, kind: int, layer: int) -> bool:
    """Hand a direction to the kernel; what the lane needs to know is written before."""
    lanes.layer[lane] = layer
    lanes.lane[lane] = kind
    return True


def catch_up(side: Side, following: int) -> None:
    """The kernel has walked up to the raw sequence number `following`."""
    side.top += ((following - side.top + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def enter_records(side: Side, lanes: Lanes, lane: int) -> bool:
    """Hand a direction of TLS records to the kernel, unless it waits for something odd."""
    span = side.spans[-1] if side.spans else None
    missing = size = 0
    if span is not None and not span.done and span.end > side.top:
        if span.entire or span.filled != side.top - span.start:
            return False
        missing, size = span.end - side.top, span.end - span.start
    elif span is not None and not span.done:
        return False
    lanes.following[lane] = side.top & 0xFFFFFFFF
    lanes.missing[lane] = missing
    lanes.size[lane] = size
    return enter(lanes, lane, RECORDS, layers.TLS)


def resume_records(side: Side, lanes: Lanes, lane: int) -> None:
    """Take a direction back from the kernel: the open record becomes a span whose content nobody needs."""
    missing, size = lanes.missing[lane], lanes.size[lane]
    catch_up(side, lanes.following[lane])
    side.spans.clear()
    if missing:
        span = side.open(side.top - (size - missing), side.top + missing, False)
        filled = size - missing
        span.data += (b"\x17\x03\x03" + (size - 5).to_bytes(2, "big") + bytes(filled))[:filled]
        span.filled = filled
