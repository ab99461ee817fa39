"""TCP streams as Wireshark reassembles them: which frame shows which protocol data unit.

In: segments of one connection in frame order. Out: the layers above TCP of each of these frames. A dissector that
asks for more bytes opens a `Span`; segments inside it are bare TCP, and the one that completes it carries the unit
with its whole length. Rules (behaviour of tshark 4.0 with default preferences): retransmissions are bare, but for fast
ones; segments out of order fill spans but are dissected by nobody; what comes after a span was whole is malformed;
keep-alives are `data`.
It must not know which protocol a connection speaks: the caller's `choose` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analysis import layers
from analysis.facts import Facts
from analysis.named_tuples import NamedTuple
from analysis.protocols.cuts import as_cut
from analysis.protocols.pdu import ONE_MORE, UNTIL_FIN, Cut, Dissect, Layer, Malformed, Pdu

RETRANSMISSION, FAST, SPURIOUS, OUT_OF_ORDER = 1, 2, 4, 8  # bits of Packets.analysis (columns.TCP_FLAGS)
KEEP_ALIVE = 1 << 12
FIN = 1  # bit of Packets.tcp_flags

KEPT_SPANS = 24  # finished spans remembered per direction, to know retransmissions by
KEPT_BYTES = 1 << 18  # bytes kept of one span: what any dissector here looks at; behind it bytes are only counted
KEPT_TAIL = 1 << 16  # bytes kept from where a dissector wants to look next in a long unit
TAIL_FROM = KEPT_BYTES - 4096  # the last of the bytes that are kept may be a line that goes on
FOR_EVER = 1 << 31  # bytes: a unit that ends when its sender closes
LONGEST_START = 1 << 20  # a unit whose first piece is longer is not reassembled
FAILURES = (Cut, Malformed, RecursionError)  # the last: protocols inside each other, deeper than anybody means it
MOST_GAPS = 256  # segments waiting behind a gap of a span


class Segment(NamedTuple):
    """One TCP segment with payload. `data` is what was captured of `length` bytes."""

    number: int
    time_ns: int
    seq: int
    data: bytes
    length: int
    tcp_flags: int
    analysis: int


class Span:
    """A protocol data unit that lies over several segments, from `start` up to `end` (unwrapped sequence numbers)."""

    __slots__ = ("data", "done", "end", "entire", "filled", "look", "start", "tail", "until", "waiting")

    def __init__(self, start: int, end: int, entire: bool) -> None:
        self.start = start
        self.end = end
        self.entire = entire  # takes the whole next segment, whatever `end` says
        self.until = 0  # with `entire`: and whole segments up to this sequence number, before anybody looks again
        self.data = bytearray()
        self.look = 0  # offset from which `tail` keeps bytes, where `data` does not reach so far
        self.tail = bytearray()
        self.filled = 0  # contiguous bytes from start, also those not kept
        self.waiting: dict[int, bytes] = {}
        self.done = False

    @property
    def endless(self) -> bool:
        """Does only the end of the connection end it?"""
        return self.end - self.start >= FOR_EVER

    def put(self, offset: int, piece: bytes | memoryview) -> None:
        """Add bytes at `offset`; bytes already there win."""
        if offset > self.filled:
            if len(self.waiting) < MOST_GAPS:
                self.waiting.setdefault(offset, bytes(piece))
            return
        self._append(piece[self.filled - offset :])
        while self.waiting:
            nearest = min(self.waiting)
            if nearest > self.filled:
                return
            piece = self.waiting.pop(nearest)
            self._append(piece[self.filled - nearest :])

    def _append(self, piece: bytes | memoryview) -> None:
        room = KEPT_BYTES - len(self.data)
        if room > 0:
            self.data += piece[:room]
        if self.look >= TAIL_FROM and len(self.tail) < KEPT_TAIL:
            self.tail += piece[max(self.look - self.filled, 0) :]
        self.filled += len(piece)


class Side:
    """One direction of a connection: the spans of its sequence space."""

    __slots__ = ("reach", "spans", "top")

    def __init__(self) -> None:
        self.spans: list[Span] = []  # by start, oldest first; short
        self.top = -1  # highest sequence number seen, unwrapped
        self.reach = -1  # no span covers this number or a higher one

    def unwrap(self, seq: int, length: int) -> int:
        """Sequence number without wrap-around, near the highest seen."""
        if self.top < 0:
            self.top = seq + (1 << 32)
        near = self.top + ((seq - self.top + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        self.top = max(self.top, near + length)
        return near

    def starting(self, at: int) -> Span | None:
        """The span that starts exactly at `at`."""
        for span in reversed(self.spans):
            if span.start == at:
                return span
        return None

    def before(self, at: int) -> Span | None:
        """The last span that starts before `at`."""
        best = None
        for span in self.spans:
            if span.start < at and (best is None or span.start >= best.start):
                best = span
        return best

    def open(self, start: int, end: int, entire: bool) -> Span:
        """A new span; an older one at the same place is replaced."""
        self.spans = [span for span in self.spans if span.start != start][-(KEPT_SPANS - 1) :]
        span = Span(start, end, entire)
        self.spans.append(span)
        self.reach = max(self.reach, end)
        return span

    def extend(self, span: Span, end: int) -> None:
        """The span ends at `end` now."""
        span.end = end
        self.reach = max(self.reach, end)


class Stream:
    """One TCP connection. `dissector` is what the conversation is known to speak; `state` belongs to dissectors."""

    __slots__ = (
        "a_port",
        "b_port",
        "candidates",
        "choose",
        "covered",
        "dissector",
        "facts",
        "flow",
        "hides",
        "refused",
        "sealed",
        "server_port",
        "shared",
        "sides",
        "silent",
        "spoken",
        "state",
    )

    def __init__(
        self, flow: int, a_port: int, b_port: int, server_port: int, facts: Facts, shared: Any, choose: Choose
    ) -> None:
        self.flow = flow
        self.a_port = a_port
        self.b_port = b_port
        self.server_port = server_port
        self.facts = facts
        self.shared = shared
        self.choose = choose
        self.dissector: Dissect | None = None
        self.sides = (Side(), Side())
        self.state: dict[Any, Any] = {}
        self.spoken: Dissect | None = None  # who took the last unit
        self.refused = 0  # units that nobody took
        self.silent = 0  # units that a dissector took without showing anything
        self.sealed = False  # its bytes are what an opened TLS session carried
        self.covered: tuple[int, int, int, int] | None = None  # direction, segment's start and end, end of its unit
        self.hides = False  # were there some that a request would turn into HTTP?
        self.candidates: tuple[Dissect, ...] = ()  # by port

    def to_server(self, direction: int) -> bool:
        """True where `direction` goes to the side whose port looks like the server's."""
        server = self.server_port or min(self.a_port, self.b_port)
        return (self.b_port if direction == 0 else self.a_port) == server


Choose = Callable[[Pdu], None]


def deliver(stream: Stream, direction: int, segment: Segment) -> list[Layer]:
    """Take one segment; returns the layers above TCP of its frame, in order, repeats kept."""
    side = stream.sides[direction]
    start = side.unwrap(segment.seq, segment.length)
    if segment.analysis & SPURIOUS or segment.analysis & (RETRANSMISSION | FAST | KEEP_ALIVE) == RETRANSMISSION:
        return []
    if not segment.length:
        return _end(stream, direction, segment, start)
    if len(segment.data) < segment.length:
        return _dissect(stream, direction, segment, segment.data, segment.length, False).layers
    delivery = _Delivery(stream, side, direction, segment, start)
    if not side.spans:
        delivery.begin(start + segment.length)
        return delivery.layers
    return delivery.run()


def deliver_next(
    stream: Stream, direction: int, seq: int, data: bytes, number: int, time_ns: int, tcp_flags: int
) -> list[Layer] | None:
    """As `deliver`, for a whole segment without analysis flags; None where it lies in or before a span: use `deliver`.

    Most segments are of this kind, and need none of what `_Delivery` is for.
    """
    side = stream.sides[direction]
    top = side.top
    start = seq + (1 << 32) if top < 0 else top + ((seq - top + 0x80000000) & 0xFFFFFFFF) - 0x80000000
    if start < side.reach:
        return None
    end = start + len(data)
    if end > top:
        side.top = end
    pdu = Pdu(data, len(data), stream, direction, number, time_ns, True)
    pdu.frame_end = bool(tcp_flags & 1)
    try:
        stream.choose(pdu)
    except FAILURES as error:
        _failed(pdu, error)
    if pdu.more:
        at = pdu.more_from
        _open(side, start + at, end, data[at:], pdu)
        return pdu.layers if at > 0 else []
    return pdu.layers


def dissect_alone(stream: Stream, direction: int, segment: Segment) -> list[Layer]:
    """The layers of a segment by itself: what does not end in it is not waited for."""
    return _dissect(stream, direction, segment, segment.data, segment.length, False).layers


class _Delivery:
    """The passage of one whole segment: it may end one unit, hold several and begin another."""

    __slots__ = ("at", "direction", "layers", "segment", "side", "start", "stream")

    def __init__(self, stream: Stream, side: Side, direction: int, segment: Segment, start: int) -> None:
        self.stream = stream
        self.side = side
        self.direction = direction
        self.segment = segment
        self.start = start  # sequence number of the segment's first byte
        self.at = 0  # offset of what is not dealt with yet
        self.layers: list[Layer] = []

    def run(self) -> list[Layer]:
        end = self.start + self.segment.length
        while self.at < self.segment.length:
            seq = self.start + self.at
            span = self.side.starting(seq)
            if span is not None and end <= span.end:
                break  # retransmission of the start of a unit
            if span is None:
                span = self.side.before(seq)
            if span is not None and span.start <= seq < span.end:
                if not self._continue(span, seq, end):
                    break
            else:
                self.begin(end)
                break
        return self.layers

    def begin(self, end: int) -> None:
        """Bytes that no span waits for: a dissector sees the rest of the segment."""
        data = self.segment.data[self.at :] if self.at else self.segment.data
        pdu = _dissect(self.stream, self.direction, self.segment, data, len(data), True)
        if pdu.more == 0 or pdu.more_from > 0:
            self.layers += pdu.layers
        if pdu.more:
            self._open(self.at + pdu.more_from, end, pdu)
            # what lies behind was dissected before: in Wireshark's second pass it is the unit's
            if end < self.side.top:
                self.stream.covered = (self.direction, self.start, end, self.side.spans[-1].end)

    def _continue(self, span: Span, seq: int, end: int) -> bool:
        """Add to a span; a complete one is dissected. Returns whether bytes behind it remain to be looked at."""
        count = end - seq if span.entire else min(end, span.end) - seq
        if span.done:  # Wireshark's reassembly refuses what comes after the unit was whole
            self.layers.append((layers.MALFORMED, 0))
            return False
        span.put(seq - span.start, self.segment.data[self.at : self.at + count])
        if span.entire:
            if span.start + span.filled < span.until:
                self.side.extend(span, max(span.end, end + 1))
                return False
            span.entire = False
            self.side.extend(span, max(span.end, end))
        if span.filled < span.end - span.start:
            self.at += count
            if span.endless and self.segment.tcp_flags & FIN:
                self.layers += _end(self.stream, self.direction, self.segment, end)
            return span.end < end
        span.done = True
        pdu = _dissect(self.stream, self.direction, self.segment, bytes(span.data), span.filled, True, span)
        old = pdu.length - count
        if pdu.more and pdu.more_from <= old:
            self._extend(span, seq + count, pdu)
            self.at += count
            return self.at < self.segment.length
        if pdu.more:  # in Wireshark's second pass the unit ends where the next one begins
            pdu.layers = [(layer, pdu.more_from if size == pdu.length else size) for layer, size in pdu.layers]
        self.layers += pdu.layers
        span.data, span.tail = bytearray(), bytearray()
        if pdu.more:
            self._open(self.at + pdu.more_from - old, end, pdu)
            return False
        self.at += count
        return True

    def _extend(self, span: Span, reached: int, pdu: Pdu) -> None:
        span.done = False
        span.entire = pdu.more == ONE_MORE
        span.until = reached + pdu.least
        if pdu.look >= TAIL_FROM:
            span.tail = span.tail[pdu.look - span.look :] if span.look >= TAIL_FROM else span.data[pdu.look :]
        span.look = pdu.look
        self.side.extend(span, _last(reached, pdu.more))

    def _open(self, offset: int, end: int, pdu: Pdu) -> None:
        """A unit begins at `offset` of the segment and needs what follows."""
        _open(self.side, self.start + offset, end, self.segment.data[offset:], pdu)


def _end(stream: Stream, direction: int, segment: Segment, end: int) -> list[Layer]:
    """A FIN at sequence number `end`: a unit that runs until then is whole, if no byte of it is missing."""
    span = stream.sides[direction].before(end)
    if span is None or span.done or not span.endless or span.start + span.filled != end:
        return []
    span.done = True
    pdu = _dissect(stream, direction, segment, bytes(span.data), span.filled, True)
    span.data = bytearray()
    return pdu.layers


def _last(reached: int, more: int) -> int:
    """Where a unit ends that wants `more` behind `reached`."""
    return reached + (1 if more == ONE_MORE else FOR_EVER if more == UNTIL_FIN else more)


def _open(side: Side, start: int, end: int, piece: bytes, pdu: Pdu) -> None:
    """A unit begins with `piece` at `start` and wants what `pdu` says behind `end`."""
    if len(piece) <= LONGEST_START:
        span = side.open(start, _last(end, pdu.more), pdu.more == ONE_MORE)
        span.until = end + pdu.least
        span.look = max(pdu.look - pdu.more_from, 0)
        span.put(0, piece)


def _dissect(
    stream: Stream, direction: int, segment: Segment, data: bytes, length: int, whole: bool, span: Span | None = None
) -> Pdu:
    """Hand bytes to whoever speaks this connection's protocol; `span` is the unit that they are."""
    pdu = Pdu(data, length, stream, direction, segment.number, segment.time_ns, whole)
    if span is not None:
        pdu.look, pdu.tail = span.look, bytes(span.tail)
    pdu.frame_end = bool(segment.tcp_flags & 1)
    if segment.analysis & KEEP_ALIVE:
        if data:
            pdu.add(layers.DATA)
        return pdu
    plain = segment.analysis & (RETRANSMISSION | FAST | SPURIOUS) == RETRANSMISSION
    if plain or segment.analysis & OUT_OF_ORDER:
        return pdu
    try:
        stream.choose(pdu)
    except FAILURES as error:
        _failed(pdu, error)
    if not whole and len(data) < length:
        pdu.layers[:] = as_cut(pdu.layers, data)
    return pdu


def _failed(pdu: Pdu, error: Exception) -> None:
    """Leave the mark of a dissector that could not read on."""
    pdu.more = 0
    pdu.add(layers.SHORT if isinstance(error, Cut) else layers.MALFORMED, 0)
