"""Slow, obvious twins of the flow table and of the TCP analysis: dictionaries and one object a side.

Written from the description of Wireshark's rules (docs/design.md), not from the kernels; used as an oracle in property
tests. They read `made_frames.Made`, so no decoder stands between them and the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from made_frames import ACK, FIN, RST, SYN, Made


@dataclass
class SlowFlow:
    """One conversation: its ends in order of first packet, and what went each way."""

    a: tuple[str, int]
    b: tuple[str, int]
    packets: list[int] = field(default_factory=lambda: [0, 0])
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    base: list[int | None] = field(default_factory=lambda: [None, None])
    frames: list[int] = field(default_factory=list)


def slow_flows(frames: Sequence[Made]) -> tuple[list[SlowFlow], list[tuple[int, int, bool]]]:
    """Transport conversations in order of first packet; of each frame (flow, direction, ports reused)."""
    flows: list[SlowFlow] = []
    current: dict[tuple[bool, frozenset[tuple[str, int]]], int] = {}
    assigned = []
    for number, frame in enumerate(frames, 1):
        source, destination = (frame.source, frame.source_port), (frame.destination, frame.destination_port)
        is_tcp = frame.flags >= 0
        key = (is_tcp, frozenset((source, destination)))
        reused = False
        row = current.get(key)
        if row is not None and is_tcp and frame.flags & (SYN | ACK) == SYN:
            flow = flows[row]
            base = flow.base[0 if flow.a == source else 1]
            if base is not None and base != frame.seq:
                row, reused = None, True
        if row is None:
            row = current[key] = len(flows)
            flows.append(SlowFlow(source, destination))
        flow = flows[row]
        side = 0 if flow.a == source else 1
        if is_tcp:
            reused |= _learn_bases(flow, side, frame)
        flow.packets[side] += 1
        flow.bytes[side] += len(frame.data)
        flow.frames.append(number)
        assigned.append((row, side, reused))
    return flows, assigned


def _learn_bases(flow: SlowFlow, side: int, frame: Made) -> bool:
    known = flow.base[side]
    reused = False
    if frame.flags & SYN:
        if frame.flags & ACK and known is not None and known != frame.seq:
            reused, known = True, None
        if known is None:
            flow.base[side] = frame.seq
    elif known is None:
        flow.base[side] = (frame.seq - 1) % 2**32
    if frame.flags & ACK and flow.base[1 - side] is None:
        flow.base[1 - side] = (frame.ack - 1) % 2**32
    return reused


@dataclass
class Side:
    """What is known of one side of a stream; None: not known yet."""

    next: int | None = None
    next_time: int = 0
    edge: int | None = None
    ack: int | None = None
    time: int | None = None
    window: int | None = None
    duplicates: int = 0
    verdict: frozenset[str] = frozenset()
    scale: int | None = None  # None unknown, -1 not used
    first_ack_pending: bool = False


@dataclass
class Stream:
    """Both sides of a stream and its handshake."""

    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))
    syn_time: int | None = None
    rtt: int = 0


def before(left: int, right: int) -> bool:
    """Sequence number order modulo 2^32."""
    return left != right and (right - left) % 2**32 < 2**31


def slow_tcp(frames: Sequence[Made]) -> list[frozenset[str]]:
    """The tcp.analysis flags of every frame. Sequence numbers of 0 are not given to this twin: Wireshark reads them
    as "not known yet", which is an accident of its state and not a rule."""
    _, assigned = slow_flows(frames)
    streams: dict[int, Stream] = {}
    found = []
    for frame, (row, direction, reused) in zip(frames, assigned, strict=True):
        if frame.flags < 0:
            found.append(frozenset[str]())
            continue
        flags = _judge(streams.setdefault(row, Stream()), direction, frame)
        found.append(flags | {"reused_ports"} if reused else flags)
    return found


def _judge(stream: Stream, direction: int, frame: Made) -> frozenset[str]:
    fwd, rev = stream.sides[direction], stream.sides[1 - direction]
    syn, ack = bool(frame.flags & SYN), bool(frame.flags & ACK)
    if syn and not ack:
        stream.syn_time = frame.time_ns
        if fwd.next is not None:
            fwd.next = fwd.edge
    elif ack and not syn and stream.rtt == 0 and stream.syn_time:  # a SYN at time 0 is none to Wireshark
        stream.rtt = max(0, frame.time_ns - stream.syn_time)
    plain = not frame.flags & (SYN | FIN | RST)
    seq, length, window = frame.seq, frame.length, frame.window
    data_end = (seq + length) % 2**32
    end = (data_end + (1 if frame.flags & (SYN | FIN) else 0)) % 2**32
    found: set[str] = set()
    if length == 1 and seq == fwd.next and rev.window == 0:
        found.add("zero_window_probe")
    else:
        found |= _window_checks(fwd, rev, frame, plain, data_end)
    if frame.ack != fwd.ack and not (fwd.ack is None and frame.ack == 0):
        fwd.duplicates = 0
    if ack and rev.edge is not None and before(rev.edge, frame.ack):
        if rev.next is not None and before(rev.edge, rev.next):
            rev.edge = rev.next
            found.add("ack_lost_segment")
        else:
            if rev.duplicates == 0:
                found.add("ack_lost_segment")
            rev.duplicates = -1
    if (length or frame.flags & (SYN | FIN)) and "keep_alive" not in found:
        found |= _repeat_checks(stream, fwd, rev, frame, data_end, end)
    if "zero_window_probe" not in found:
        if fwd.next is None or before(fwd.next, end):
            fwd.next, fwd.next_time = end, frame.time_ns
        if fwd.edge is None or fwd.edge == seq:
            fwd.edge = fwd.next
    fwd.window, fwd.ack, fwd.time, fwd.verdict = window, frame.ack or None, frame.time_ns, frozenset(found)
    if syn:
        fwd.first_ack_pending = True
        _learn_scale(fwd, rev, frame, ack)
    elif ack:
        fwd.first_ack_pending = False
    return frozenset(found)


def _window_checks(fwd: Side, rev: Side, frame: Made, plain: bool, data_end: int) -> set[str]:
    found = set()
    if frame.window == 0 and plain:
        found.add("zero_window")
    if fwd.next is not None and before(fwd.next, frame.seq) and not frame.flags & RST:
        found.add("lost_segment")
    if frame.length <= 1 and plain and fwd.next is not None and frame.seq == (fwd.next - 1) % 2**32:
        found.add("keep_alive")
    if frame.length and plain and rev.scale is not None and rev.window is not None:
        shift = 0 if rev.first_ack_pending or rev.scale == -1 else rev.scale
        if data_end == ((rev.ack or 0) + (rev.window << shift)) % 2**32:
            found.add("window_full")
    if frame.length == 0 and plain and frame.seq == fwd.next and (frame.ack or None) == fwd.ack:
        if frame.window != fwd.window:
            if frame.window:
                found.add("window_update")
        elif frame.window == 0:
            if "zero_window_probe" in rev.verdict:
                found.add("zero_window_probe_ack")
        elif "keep_alive" in rev.verdict:
            found.add("keep_alive_ack")
        else:
            found.add("duplicate_ack")
            fwd.duplicates = max(0, fwd.duplicates) + 1
    return found


def _repeat_checks(stream: Stream, fwd: Side, rev: Side, frame: Made, data_end: int, end: int) -> set[str]:
    old = fwd.next is not None and before(frame.seq, fwd.next)
    if fwd.next is not None and frame.length > 1 and frame.seq == (fwd.next - 1) % 2**32:
        old = False
    if frame.length and rev.ack is not None and not before(rev.ack, data_end):
        return {"retransmission", "spurious_retransmission"}
    if not old:
        return set()
    since_peer = None if rev.time is None else frame.time_ns - rev.time
    if (
        (rev.duplicates >= 2 or rev.duplicates < 0)
        and frame.seq == rev.ack
        and since_peer is not None
        and 0 <= since_peer < 20_000_000
    ):
        return {"retransmission", "fast_retransmission"}
    since = frame.time_ns - fwd.next_time
    if 0 <= since < (stream.rtt or 3_000_000) and end != fwd.next:
        return {"out_of_order"}
    return {"retransmission"}


def _learn_scale(fwd: Side, rev: Side, frame: Made, ack: bool) -> None:
    if frame.scale >= 0:
        fwd.scale = -1 if ack and rev.scale == -1 else frame.scale
    elif fwd.scale is None:
        fwd.scale = rev.scale = -1
