"""From the rows that a detector counted to a finding: frames, times, sizes, conversations and a filter that selects them.

In: rows of links or single facts, and what the detector says about them. Out: `Finding`. The filter names streams
where there are few (it then selects exactly the counted packets) and hosts and ports where there are many.
Must not decide anything: impact, evidence and words come from the detector.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, Protocol

import numpy as np

from analysis import columns, severity
from analysis.columns import NO_TIME, Array, different
from analysis.evidence import Evidence
from analysis.findings import Accountable, Finding, Number, Severity
from analysis.hosts import is_trusted
from analysis.records import Record

MOST_FRAMES = 100  # frame numbers a finding carries (outputs.md)
MOST_FRAME_RANGES = 500  # frame numbers or ranges in a filter: long, but it selects what was counted
MOST_RANGES = 40  # stream numbers or ranges in a filter; a longer one is read by nobody
MOST_CONVERSATIONS = 20
MOST_HOSTS = 50
ICMP_REPLIES = {8: 0, 13: 14, 15: 16, 17: 18}  # RFC 792, RFC 950
Side = Literal["source", "destination", "both"]


class Event(Protocol):
    """A fact: a frame with a time, in a flow."""

    @property
    def number(self) -> int: ...
    @property
    def time_ns(self) -> int: ...


class Words(Record):
    """What a detector says for people, and the judgement behind it."""

    detector: str
    title: str
    explanation: str
    benign: str
    advice: str
    impact: Severity
    evidence: Mapping[str, float]  # term -> weight, see severity.confidence
    numbers: Mapping[str, Number]
    subject: str
    attack: tuple[tuple[str, str], ...] = ()
    accountable: str = ""
    side: Side = "source"
    filter: str = ""
    hosts: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def of_links(evidence: Evidence, links: Array | Sequence[int], words: Words, frames: Sequence[int] = ()) -> Finding:
    """A finding about whole conversations. `frames` narrows it down to some of their packets."""
    chosen = np.asarray(links, np.int64)
    view, flows = evidence.links, evidence.flows
    rows = evidence.rows(chosen)
    sample = list(frames) or first_frames(flows.frames[rows])
    times = flows.first_ns[rows]
    times = times[times != NO_TIME]
    packets = int(view.sent[chosen].sum() + view.got[chosen].sum())
    hosts = words.hosts or _hosts(evidence, chosen)
    return _finding(
        evidence,
        words,
        hosts=hosts,
        first_ns=int(times.min()) if len(times) else None,
        last_ns=int(flows.last_ns[rows].max()) if len(times) else None,
        packets=packets,
        size=int(view.sent_bytes[chosen].sum() + view.got_bytes[chosen].sum()),
        frames=sample,
        frame_count=packets,
        filter=words.filter or stream_filter(evidence, rows),
        rows=rows,
    )


def of_rows(evidence: Evidence, rows: Array, words: Words, packets: int = -1, size: int = -1) -> Finding:
    """A finding about rows of Flows of any kind, Ethernet and IP too; `packets`, `size`: counts that are not all of theirs."""
    flows = evidence.flows
    ids = np.concatenate((flows.a_id[rows], flows.b_id[rows]))
    times = flows.first_ns[rows][flows.first_ns[rows] != NO_TIME]
    counted = int(flows.packets_ab[rows].sum() + flows.packets_ba[rows].sum()) if packets < 0 else packets
    return _finding(
        evidence,
        words,
        hosts=words.hosts or tuple(evidence.text(int(one)) for one in different(ids)[:MOST_HOSTS]),
        first_ns=int(times.min()) if len(times) else None,
        last_ns=int(flows.last_ns[rows].max()) if len(times) else None,
        packets=counted,
        size=int(flows.bytes_ab[rows].sum() + flows.bytes_ba[rows].sum()) if size < 0 else size,
        frames=first_frames(flows.frames[rows]),
        frame_count=counted,
        filter=words.filter or pair_filter(evidence, rows),
        rows=rows,
    )


def of_facts(evidence: Evidence, facts: Sequence[Any], words: Words, *, flows: bool = True) -> Finding:
    """A finding about single frames. The filter names their frame numbers, or their streams where they are many."""
    numbers = sorted({int(fact.number) for fact in facts})
    times = [int(fact.time_ns) for fact in facts if fact.time_ns != NO_TIME]
    owned = sorted({int(fact.flow) for fact in facts if getattr(fact, "flow", -1) >= 0}) if flows else []
    rows = np.asarray(owned, np.int64)
    sizes = [int(getattr(fact, "size_bytes", 0)) for fact in facts]
    hosts = words.hosts or _hosts(evidence, evidence.flow_link[rows][evidence.flow_link[rows] >= 0])
    return _finding(
        evidence,
        words,
        hosts=hosts,
        first_ns=min(times) if times else None,
        last_ns=max(times) if times else None,
        packets=len(numbers),
        size=sum(sizes),
        frames=numbers,
        frame_count=len(numbers),
        filter=words.filter or frame_filter(numbers) or stream_filter(evidence, rows),
        rows=rows,
    )


def _finding(
    evidence: Evidence,
    words: Words,
    *,
    hosts: tuple[str, ...],
    first_ns: int | None,
    last_ns: int | None,
    packets: int,
    size: int,
    frames: Sequence[int],
    frame_count: int,
    filter: str,
    rows: Array,
) -> Finding:
    sure = severity.confidence(words.evidence)
    trusted = bool(words.accountable) and is_trusted(words.accountable, evidence.networks)
    extra = dict(words.extra) | {"confidence_terms": {name: round(w, 3) for name, w in words.evidence.items()}}
    if trusted:
        extra["trusted"] = True
    return Finding(
        detector=words.detector,
        subject=words.subject,
        title=words.title,
        severity=severity.judge(words.impact, sure, trusted),
        confidence=sure,
        accountable=Accountable(words.accountable, words.side) if words.accountable else None,
        hosts=hosts,
        first_time=first_ns / 1e9 if first_ns is not None else None,
        last_time=last_ns / 1e9 if last_ns is not None else None,
        packets=packets,
        bytes=size,
        frames=tuple(int(number) for number in frames[:MOST_FRAMES]),
        frame_count=frame_count,
        numbers=dict(words.numbers),
        explanation=words.explanation,
        benign_explanation=words.benign,
        filter=filter,
        advice=words.advice,
        attack=words.attack,
        conversations=_conversations(evidence, rows),
        flows=array("i", rows.astype(np.int32).tobytes()),  # a flood has hundreds of thousands
        extra=extra,
    )


def _hosts(evidence: Evidence, links: Array) -> tuple[str, ...]:
    """Sources first, then targets, by traffic order of the table; bounded."""
    view = evidence.links
    ids = np.concatenate((view.source[links], view.target[links]))
    _, first = np.unique(ids, return_index=True)
    return tuple(evidence.text(int(ids[at])) for at in np.sort(first)[:MOST_HOSTS])


def _conversations(evidence: Evidence, rows: Array) -> tuple[dict[str, Any], ...]:
    """The first conversations as `outputs.md` names their ends."""
    flows = evidence.flows
    some = rows[:MOST_CONVERSATIONS]
    shown = (flows.kind, flows.a_id, flows.b_id, flows.a_port, flows.b_port, flows.stream)
    found = []
    for number, a, b, a_port, b_port, stream, packets in zip(
        *(column[some].tolist() for column in shown),
        (flows.packets_ab[some] + flows.packets_ba[some]).tolist(),
        strict=True,
    ):
        kind = columns.KINDS[number]
        one: dict[str, Any] = {"kind": kind, "a": evidence.text(a), "b": evidence.text(b)}
        if kind in ("tcp", "udp", "sctp"):
            one |= {"a_port": a_port, "b_port": b_port, "stream": stream}
        one["packets"] = packets
        found.append(one)
    return tuple(found)


def first_frames(frames: Array) -> list[int]:
    """The smallest MOST_FRAMES frame numbers of a [flows, FLOW_FRAMES] table."""
    numbers = frames[: 4 * MOST_FRAMES].ravel()
    return different(numbers[numbers > 0])[:MOST_FRAMES].tolist()  # type: ignore[no-any-return]


def ranges(numbers: Array | Sequence[int], most: int) -> list[str] | None:
    """Distinct sorted numbers as members of a display filter set: `3`, `5..9`; None for more members than `most`."""
    ordered = different(np.asarray(numbers, np.int64))
    if not len(ordered):
        return []
    ends = np.flatnonzero(ordered[1:] - ordered[:-1] != 1)
    if len(ends) >= most:
        return None
    lows, highs = np.concatenate((ordered[:1], ordered[ends + 1])), np.concatenate((ordered[ends], ordered[-1:]))
    both = zip(lows.tolist(), highs.tolist(), strict=True)
    return [str(low) if low == high else f"{low}..{high}" for low, high in both]


def frame_filter(numbers: Array | Sequence[int], most: int = MOST_FRAME_RANGES) -> str:
    """A filter for exactly these frames, "" where it would be too long."""
    members = ranges(numbers, most)
    return f"frame.number in {{{', '.join(members)}}}" if members else ""


def stream_filter(evidence: Evidence, rows: Array) -> str:
    """A display filter for whole conversations: by stream where few, else by address pair."""
    flows = evidence.flows
    parts: list[str] = []
    for kind, name in ((columns.TCP, "tcp"), (columns.UDP, "udp")):
        members = ranges(flows.stream[rows[flows.kind[rows] == kind]], MOST_RANGES)
        if members is None:
            return pair_filter(evidence, rows)
        if members:
            parts.append(f"{name}.stream in {{{', '.join(members)}}}" if len(members) > 1 or ".." in members[0]
                         else f"{name}.stream == {members[0]}")  # fmt: skip
    others = rows[(flows.kind[rows] != columns.TCP) & (flows.kind[rows] != columns.UDP)]
    if len(others):  # ICMP: requests, replies and errors quote each other, so frames are named where they are known
        parts.append(_known_frames(evidence, others) or pair_filter(evidence, others))
    return " || ".join(parts) if len(parts) > 1 else parts[0] if parts else "frame"


def _known_frames(evidence: Evidence, rows: Array) -> str:
    """A filter for all frames of conversations so short that each frame's number was kept, "" for others."""
    flows = evidence.flows
    if len(rows) > MOST_FRAME_RANGES or (flows.packets_ab[rows] + flows.packets_ba[rows] > columns.FLOW_FRAMES).any():
        return ""
    numbers = flows.frames[rows].ravel()
    return frame_filter(numbers[numbers > 0], MOST_FRAMES)


def pair_filter(evidence: Evidence, rows: Array) -> str:
    """A display filter by protocol, addresses and, where it is one, the port that all conversations share."""
    flows = evidence.flows
    kinds = different(flows.kind[rows]).tolist()
    words = " || ".join(columns.KINDS[int(kind)] for kind in kinds)
    left, right = different(flows.a_id[rows]), different(flows.b_id[rows])
    parts = [f"({words})" if len(kinds) > 1 else words]
    if columns.ICMP in kinds:
        parts += _exchanges(flows.b_port[rows[flows.kind[rows] == columns.ICMP]])
    elif columns.ICMPV6 not in kinds:
        parts.append("!icmp && !icmpv6")  # whose errors quote the packets that they are about
    for ids in (left, right):
        if len(ids) <= MOST_RANGES:
            parts.append(addresses_filter([evidence.text(int(one)) for one in ids]))
    if len(kinds) == 1 and int(kinds[0]) in (columns.TCP, columns.UDP):
        for ports in (different(flows.b_port[rows]), different(flows.a_port[rows])):
            if len(ports) == 1:
                parts.append(f"{words}.port == {int(ports[0])}")
    return " && ".join(parts)


def _exchanges(types: Array) -> list[str]:
    """ICMP requests of some types with their replies, without the errors that quote them; [] for other messages."""
    asked = different(types).tolist()
    if not set(asked) <= set(ICMP_REPLIES):
        return []
    both = sorted({*asked, *(ICMP_REPLIES[one] for one in asked)})
    return [f"icmp.type in {{{', '.join(map(str, both))}}}", "!(icmp.type in {3, 4, 5, 11, 12})"]


def addresses_filter(texts: Sequence[str]) -> str:
    """A display filter for packets from or to any of some addresses, of whatever family."""
    kinds: dict[str, list[str]] = {}
    for text in texts:
        name = "eth.addr" if text.count(":") == 5 and len(text) == 17 else "ipv6.addr" if ":" in text else "ip.addr"
        kinds.setdefault(name, []).append(text)
    parts = [
        f"{name} == {members[0]}" if len(members) == 1 else f"{name} in {{{', '.join(members)}}}"
        for name, members in kinds.items()
    ]
    return parts[0] if len(parts) == 1 else "(" + " || ".join(parts) + ")"


def listed(items: Sequence[object], most: int = 6) -> str:
    """Some items for a sentence: `22, 23, 25 and 9 more`."""
    shown = ", ".join(str(item) for item in items[:most])
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown
