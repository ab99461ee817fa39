"""Wireshark's `tcp.analysis.*`, frame by frame: what each TCP segment means given those before it in its stream.

In: batches whose packets have their flow (after `flows`). Out: bits of `Packets.analysis`, filled in place, and how
many frames have each. The rules are those of tshark 4.0.17, in the order of its checks (wireshark-statistics, section 8;
sequence numbers RFC 9293 3.4, window scale RFC 7323 2). State is kept per stream and side, in arrays, so a capture may
come in any chunks; frames of one stream must come in file order.
Knows nothing of protocols above TCP.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import BAD_TRANSPORT_HEADER, NO_TIME, TCP_FLAGS, Array, Batch
from analysis.flow_rows import NARROW, STREAM
from analysis.flows import FlowTable
from analysis.growing import FIRST_ROWS, as_kernel_sees, lengthen
from analysis.kernel import inner_kernel, lean_kernel
from analysis.named_tuples import NamedTuple

FIN, SYN, RST, ACK = 1, 2, 4, 16
(
    RETRANSMISSION,
    FAST_RETRANSMISSION,
    SPURIOUS_RETRANSMISSION,
    OUT_OF_ORDER,
    LOST_SEGMENT,
    ACK_LOST_SEGMENT,
    DUPLICATE_ACK,
    ZERO_WINDOW,
    ZERO_WINDOW_PROBE,
    ZERO_WINDOW_PROBE_ACK,
    WINDOW_FULL,
    WINDOW_UPDATE,
    KEEP_ALIVE,
    KEEP_ALIVE_ACK,
    REUSED_PORTS,
) = (1 << bit for bit in range(15))

OPTIONS_CUT = 16  # Packets.tcp_options: Wireshark stops inside such options and shows no verdict
FAST_NS = 20_000_000  # a retransmission this soon after the duplicate ACKs is a fast one
UNKNOWN_RTT_NS = 3_000_000  # stands for the initial round trip where the handshake is missing
SCALE_UNKNOWN, SCALE_UNUSED = -1, -2
NEVER = 1 << 62  # a time difference that is larger than any limit

UNSEEN, ALONE = 0, -1  # place of a stream without state; place 0 is where a first segment is judged
# first[·, 5]; FIELD: 1 + window; REST: flags, a bit the side, 1 + scale
(SEQ, ACK_NUMBER, LENGTH, FIELD, REST) = range(5)

# State of one side of a stream, row 2 * place + side. A number of 0 means "not known yet", as in Wireshark.
(NEXT, EDGE, LAST_ACK, NEXT_NS, LAST_NS) = range(5)  # numbers[·, 5]
(WINDOW, DUPLICATES, VERDICT, SCALE, FIRST_ACK_PENDING) = range(5)  # marks[·, 5]
(SYN_NS, INITIAL_RTT_NS) = range(2)  # times[place, 2]


class _Segments(NamedTuple):
    """What the kernel reads of Packets, and the column it fills (`analysis`)."""

    time_ns: Any
    fault: Any
    payload_len: Any
    tcp_seq: Any
    tcp_ack: Any
    tcp_flags: Any
    tcp_window: Any
    tcp_scale: Any
    tcp_options: Any
    flow: Any
    direction: Any
    analysis: Any


class _Streams(NamedTuple):
    """What is kept of streams, and of the flow table the matrix that holds stream numbers.

    Most streams of a scan or a flood have one segment. It is kept as it came; the state begins with the second one.
    """

    place: Any  # int32[streams] where the state is; ALONE before the second segment, UNSEEN before the first
    first_ns: Any  # int64[streams] time of the first segment
    first: Any  # uint32[streams, 5] the rest of it
    numbers: Any  # int64[2 * places, 5]
    marks: Any  # int32[2 * places, 5]
    times: Any  # int64[places, 2]
    flows: Any  # FlowTable.narrow


@inner_kernel
def _after(left: int, right: int) -> int:
    """Signed distance of two sequence numbers modulo 2^32: positive where `left` is later."""
    distance = (left - right) & 0xFFFFFFFF
    return distance - 0x100000000 if distance >= 0x80000000 else distance


@inner_kernel
def _elapsed(now: int, then: int) -> int:
    """Time since `then` in ns; a clock that ran backwards counts as very long ago, as in Wireshark 4.0."""
    if now == NO_TIME or then == NO_TIME or now < then:
        return NEVER
    return now - then


@inner_kernel
def _clear(streams: Any, stream: int) -> None:
    """Begin the state of a new stream."""
    for row in range(2 * stream, 2 * stream + 2):
        for i in range(streams.numbers.shape[1]):
            streams.numbers[row, i] = 0
        for i in range(streams.marks.shape[1]):
            streams.marks[row, i] = 0
        streams.marks[row, WINDOW] = -1
        streams.marks[row, SCALE] = SCALE_UNKNOWN
    streams.times[stream, SYN_NS] = NO_TIME
    streams.times[stream, INITIAL_RTT_NS] = 0


@inner_kernel
def _handshake(streams: Any, stream: int, fwd: int, flags: int, now: int) -> None:
    """Time the handshake; a repeated SYN with the known number lets `next` fall back to what is contiguous."""
    times = streams.times
    if flags & (SYN | ACK) == SYN:
        times[stream, SYN_NS] = now
        if streams.numbers[fwd, NEXT] != 0:
            streams.numbers[fwd, NEXT] = streams.numbers[fwd, EDGE]
    elif flags & (SYN | ACK) == ACK and times[stream, INITIAL_RTT_NS] == 0 and times[stream, SYN_NS] != NO_TIME:
        if now != NO_TIME and times[stream, SYN_NS] != 0:  # a SYN at 1970's first instant is none to Wireshark
            times[stream, INITIAL_RTT_NS] = max(0, now - times[stream, SYN_NS])


@inner_kernel
def _scales(streams: Any, fwd: int, rev: int, flags: int, scale: int) -> None:
    """Learn window scaling from a SYN (RFC 7323 2.2): it is used only where both sides offer it."""
    marks = streams.marks
    if scale >= 0 and not (flags & ACK and marks[rev, SCALE] == SCALE_UNUSED):
        marks[fwd, SCALE] = scale
    elif scale >= 0:
        marks[fwd, SCALE] = SCALE_UNUSED
    elif marks[fwd, SCALE] == SCALE_UNKNOWN:
        marks[fwd, SCALE] = SCALE_UNUSED
        marks[rev, SCALE] = SCALE_UNUSED


@inner_kernel
def _bare_ack(streams: Any, fwd: int, rev: int, seq: int, ack: int, window: int, length: int, plain: bool) -> int:
    """Checks 5, 7, 8 and 9: what a segment without data says by repeating or changing its window."""
    numbers = streams.numbers
    marks = streams.marks
    if length != 0 or not plain or seq != numbers[fwd, NEXT] or ack != numbers[fwd, LAST_ACK]:
        return 0
    if window != marks[fwd, WINDOW]:
        return WINDOW_UPDATE if window != 0 else 0
    if window == 0:
        return ZERO_WINDOW_PROBE_ACK if marks[rev, VERDICT] & ZERO_WINDOW_PROBE else 0
    if marks[rev, VERDICT] & KEEP_ALIVE:
        return KEEP_ALIVE_ACK
    return DUPLICATE_ACK


@inner_kernel
def _window_full(streams: Any, rev: int, end: int) -> bool:
    """Check 6: the segment ends exactly at the edge of the window that the peer offered last."""
    scale = streams.marks[rev, SCALE]
    if scale == SCALE_UNKNOWN or streams.marks[rev, WINDOW] < 0:
        return False
    shift = 0 if scale == SCALE_UNUSED or streams.marks[rev, FIRST_ACK_PENDING] else scale
    edge = streams.numbers[rev, LAST_ACK] + (streams.marks[rev, WINDOW] << shift)
    return bool(end & 0xFFFFFFFF == edge & 0xFFFFFFFF)


@inner_kernel
def _repeat(streams: Any, stream: int, fwd: int, rev: int, seq: int, length: int, end: int, now: int) -> int:
    """Check 12: whether a segment with data, SYN or FIN comes again or late; the first of four rules that fits."""
    numbers = streams.numbers
    next_seq = numbers[fwd, NEXT]
    old = next_seq != 0 and _after(seq, next_seq) < 0
    if length > 1 and seq == (next_seq - 1) & 0xFFFFFFFF:
        old = False
    peer_ack = numbers[rev, LAST_ACK]
    if length > 0 and peer_ack != 0 and _after((seq + length) & 0xFFFFFFFF, peer_ack) <= 0:
        return RETRANSMISSION | SPURIOUS_RETRANSMISSION
    if not old:
        return 0
    # Wireshark counts unsigned: the -1 behind an acknowledgement of something unseen is more than two, too.
    many = streams.marks[rev, DUPLICATES] >= 2 or streams.marks[rev, DUPLICATES] < 0
    if many and seq == peer_ack and _elapsed(now, numbers[rev, LAST_NS]) < FAST_NS:
        return RETRANSMISSION | FAST_RETRANSMISSION
    rtt = streams.times[stream, INITIAL_RTT_NS]
    if _elapsed(now, numbers[fwd, NEXT_NS]) < (rtt if rtt != 0 else UNKNOWN_RTT_NS) and end != next_seq:
        return OUT_OF_ORDER
    return RETRANSMISSION


@inner_kernel
def _verdict(
    streams: Any, stream: int, side: int, seq: int, ack: int, flags: int, window: int, length: int, now: int
) -> int:
    """All checks in Wireshark's order for one segment; moves the state of its stream on. Returns the flags' bits."""
    fwd = 2 * stream + side
    rev = 2 * stream + 1 - side
    numbers = streams.numbers
    marks = streams.marks
    end = (seq + length + (1 if flags & (SYN | FIN) else 0)) & 0xFFFFFFFF
    plain = flags & (SYN | FIN | RST) == 0
    next_seq = numbers[fwd, NEXT]
    found = 0
    if length == 1 and seq == next_seq and marks[rev, WINDOW] == 0:
        found = ZERO_WINDOW_PROBE
    else:
        if window == 0 and plain:
            found |= ZERO_WINDOW
        if next_seq != 0 and _after(seq, next_seq) > 0 and flags & RST == 0:
            found |= LOST_SEGMENT
        if length <= 1 and seq == (next_seq - 1) & 0xFFFFFFFF and plain and next_seq != 0:
            found |= KEEP_ALIVE
        if length > 0 and plain and _window_full(streams, rev, seq + length):
            found |= WINDOW_FULL
        bare = _bare_ack(streams, fwd, rev, seq, ack, window, length, plain)
        found |= bare
        if bare == DUPLICATE_ACK:
            marks[fwd, DUPLICATES] = 1 if marks[fwd, DUPLICATES] < 0 else marks[fwd, DUPLICATES] + 1
    if ack != numbers[fwd, LAST_ACK]:
        marks[fwd, DUPLICATES] = 0
    edge = numbers[rev, EDGE]
    if flags & ACK and edge != 0 and _after(ack, edge) > 0:
        if _after(edge, numbers[rev, NEXT]) < 0:
            numbers[rev, EDGE] = numbers[rev, NEXT]
            found |= ACK_LOST_SEGMENT
        else:
            if marks[rev, DUPLICATES] == 0:
                found |= ACK_LOST_SEGMENT
            marks[rev, DUPLICATES] = -1
    if (length > 0 or flags & (SYN | FIN)) and found & KEEP_ALIVE == 0:
        found |= _repeat(streams, stream, fwd, rev, seq, length, end, now)
    if found & ZERO_WINDOW_PROBE == 0:
        if next_seq == 0 or _after(end, next_seq) > 0:
            numbers[fwd, NEXT] = end
            numbers[fwd, NEXT_NS] = now
        if numbers[fwd, EDGE] == 0 or seq == numbers[fwd, EDGE]:
            numbers[fwd, EDGE] = numbers[fwd, NEXT]
    marks[fwd, WINDOW] = window
    numbers[fwd, LAST_ACK] = ack
    numbers[fwd, LAST_NS] = now
    marks[fwd, VERDICT] = found
    if flags & SYN:
        marks[fwd, FIRST_ACK_PENDING] = 1
    elif flags & ACK:
        marks[fwd, FIRST_ACK_PENDING] = 0
    return found


@inner_kernel
def _segment(
    streams: Any, place: int, side: int, seq: int, ack: int, flags: int, window: int, scale: int, length: int, now: int
) -> int:
    """Judge one segment by the state at `place`, which it moves on."""
    fwd = 2 * place + side
    rev = 2 * place + 1 - side
    _handshake(streams, place, fwd, flags, now)
    found = _verdict(streams, place, side, seq, ack, flags, window, length, now)
    if flags & SYN:
        _scales(streams, fwd, rev, flags, scale)
    return found


@inner_kernel
def _begin(streams: Any, stream: int, place: int) -> None:
    """State at `place` of a stream whose first segment was kept: as that segment left it."""
    _clear(streams, place)
    first = streams.first
    rest = 0 + first[stream, REST]
    _segment(
        streams,
        place,
        (rest >> 9) & 1,
        0 + first[stream, SEQ],
        0 + first[stream, ACK_NUMBER],
        rest & 511,
        first[stream, FIELD] - 1,
        (rest >> 10) - 1,
        0 + first[stream, LENGTH],
        streams.first_ns[stream],
    )


@lean_kernel
def _analyse(segments: Any, streams: Any, known: int, first_row: int) -> tuple[int, int]:
    """Judge every TCP segment from `first_row` on; stops where there is no place for another state.

    Returns the number of rows that are done, and of places that are taken.
    """
    for i in range(first_row, len(segments.tcp_flags)):
        flags = 0 + segments.tcp_flags[i]
        flow = segments.flow[i]
        if flags < 0 or flow < 0 or segments.fault[i] & BAD_TRANSPORT_HEADER:
            continue
        stream = 0 + streams.flows[NARROW * flow + STREAM]
        if stream < 0:
            continue
        side = 0 + segments.direction[i]
        seq = segments.tcp_seq[i]
        ack = segments.tcp_ack[i]
        window = 0 + segments.tcp_window[i]
        scale = 0 + segments.tcp_scale[i]
        length = 0 + segments.payload_len[i]
        now = segments.time_ns[i]
        place = 0 + streams.place[stream]
        if place == UNSEEN:
            streams.place[stream] = ALONE
            streams.first_ns[stream] = now
            streams.first[stream, SEQ] = seq
            streams.first[stream, ACK_NUMBER] = ack
            streams.first[stream, LENGTH] = length
            streams.first[stream, FIELD] = window + 1
            streams.first[stream, REST] = (flags & 511) | side << 9 | (scale + 1) << 10
            _clear(streams, 0)
            place = 0
        elif place == ALONE:
            if known == len(streams.times):
                return i, known
            place = known
            known += 1
            streams.place[stream] = place
            _begin(streams, stream, place)
        found = _segment(streams, place, side, seq, ack, flags, window, scale, length, now)
        if segments.tcp_options[i] & OPTIONS_CUT:
            found = 0
        segments.analysis[i] = segments.analysis[i] | found
    return len(segments.tcp_flags), known


class TcpAnalysis:
    """The verdicts on all streams of one capture; `flows` is the table that numbered them."""

    def __init__(self, flows: FlowTable) -> None:
        self._flows = flows
        self._place = np.zeros(FIRST_ROWS, dtype=np.int32)
        self._first_ns = np.zeros(FIRST_ROWS, dtype=np.int64)
        self._first = np.zeros((FIRST_ROWS, 5), dtype=np.uint32)
        self._known = 1
        self._numbers = np.zeros((2 * FIRST_ROWS, 5), dtype=np.int64)
        self._marks = np.zeros((2 * FIRST_ROWS, 5), dtype=np.int32)
        self._times = np.zeros((FIRST_ROWS, 2), dtype=np.int64)
        self._counts = np.zeros(len(TCP_FLAGS), dtype=np.int64)

    def update(self, batch: Batch) -> None:
        """Set the bits of `analysis` for every TCP segment of the batch."""
        while len(self._place) < self._flows.n_tcp:
            lengthen(self, "_place", "_first_ns", "_first")
        segments = _Segments(*(as_kernel_sees(getattr(batch.packets, name)) for name in _Segments._fields))
        done, rows = 0, len(batch.packets.tcp_flags)
        while done < rows:
            done, self._known = _analyse(segments, self._streams(), self._known, done)
            if done < rows:
                lengthen(self, "_times")
                lengthen(self, "_numbers", "_marks", rows=2 * len(self._times))
        flagged = batch.packets.analysis[batch.packets.analysis != 0]
        if len(flagged):
            for bit in range(len(TCP_FLAGS)):
                self._counts[bit] += np.count_nonzero(flagged & (1 << bit))

    def _streams(self) -> _Streams:
        arrays: tuple[Array, ...] = (
            self._place, self._first_ns, self._first, self._numbers, self._marks, self._times, self._flows.narrow,
        )  # fmt: skip
        return _Streams(*map(as_kernel_sees, arrays))

    def counts(self) -> dict[str, int]:
        """Frames by flag name, over everything so far."""
        return dict(zip(TCP_FLAGS, self._counts.tolist(), strict=True))
