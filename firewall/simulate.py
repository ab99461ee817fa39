"""What a program would have done with a capture: per line hits, per conversation prevention, per finding what stops.

In: a `Program` and batches of packets, in frame order. Out: `Replay`. An accumulator: `update(batch)`, `finish()`.
A capture is open loop: had the first packet been dropped, the rest would not have happened. So *matched* packets and
*prevented* conversations are kept apart. What the model does not know is "unknown", never guessed.
Must not know files, kernels or findings beyond "these flows belong to that finding".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from analysis.columns import Batch
from firewall.buckets import Buckets
from firewall.conntrack import NEW, REPLY, Tracker
from firewall.fragments import Defragmenter
from firewall.headers import Array, Headers, read
from firewall.program import TRACKED, WAY_NAMES, Line, Program
from firewall.sets import AddrSet
from firewall.space import Space
from firewall.traffic import Conversations, Marked
from firewall.walk import BY_HEADER, BY_POLICY, Rows, Stepper, walk

IN, OUT, FORWARD, ELSEWHERE = 0, 1, 2, 3  # ways of a packet; ELSEWHERE: it passes by this machine
Fate = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], Array]  # dropped, doubtful, decider
KINDS_OF_STATE = REPLY + 1
COLLATERAL_MAX = 50  # conversations listed per rule; their number is exact
MASKS = ("src", "dst", "sport", "dport")


@dataclass
class LineHits:
    """What one line matched for certain; `maybe`: packets that it may have matched besides."""

    chain: str
    line: Line
    packets: int = 0
    bytes: int = 0
    maybe: int = 0
    decided: int = 0  # packets whose fate it decided
    first_frame: int | None = None
    last_frame: int | None = None
    conversations: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    prevented: int = 0  # conversations whose first packet it dropped
    collateral: Array = field(default_factory=lambda: np.zeros(0, np.int64))  # its conversations of no finding


@dataclass
class FindingStops:
    """How much of a finding is stopped: packets dropped, and packets of conversations prevented at their start."""

    id: str
    packets: int = 0
    dropped: int = 0
    stopped: int = 0


@dataclass
class Replay:
    """The whole answer."""

    packets: int = 0  # packets of the capture
    reached: int = 0  # packets that a filter would have seen
    lost: dict[str, int] = field(default_factory=dict)  # why the others meet no rule
    matched: int = 0  # packets that some verdict line decided
    dropped: int = 0
    permitted: int = 0
    unknown: int = 0
    default_hits: int = 0  # packets that fell to the policy
    by_header: int = 0  # datagrams that end inside their transport header: iptables drops them
    prevented: int = 0
    lines: list[LineHits] = field(default_factory=list)
    findings: list[FindingStops] = field(default_factory=list)
    ways: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Simulator:
    """Runs a program over batches. `local`: own addresses (empty: every packet is forwarded). `clock=False`: as a
    replay at full speed, where neither time-outs nor buckets refill. `harness=True`: as in the proof, where packets
    that nobody forwards (multicast, TTL 1) make no connection entry. `findings`: id -> rows of Packets.flow."""

    def __init__(
        self,
        program: Program,
        *,
        local: AddrSet | None = None,
        findings: Mapping[str, npt.NDArray[np.int64]] | None = None,
        clock: bool = True,
        interface: str | None = None,
        stepwise: bool = False,
        harness: bool = False,
    ) -> None:
        self.program = program
        self.conversations = Conversations()
        self._space = Space(program, interface)
        self._local = local or AddrSet()
        self._findings = {name: np.asarray(rows, np.int64) for name, rows in (findings or {}).items()}
        self._clock = clock
        self._harness = harness
        self._tracker = Tracker(clock) if any(program.uses(name) for name in TRACKED) else None
        self._fragments = Defragmenter() if self._tracker is not None else None
        self._steps = stepwise or program.uses("rate")
        self._buckets: dict[int, Buckets] = {}
        self._replay = Replay(lines=[LineHits(chain, line) for chain, _, line in program.lines()])
        self._replay.findings = [FindingStops(name) for name in self._findings]
        self._seen = np.zeros(0, bool)  # conversations whose first packet has passed
        self._prevented = np.zeros(0, bool)
        self._bad = np.zeros(0, bool)  # conversations of a finding
        self._pairs: dict[int, list[Array]] = {}  # line -> conversations per chunk

    def update(self, batch: Batch) -> Verdicts:
        """Run one chunk; the verdict of every packet that a filter sees."""
        headers, lost = read(batch)
        if self._fragments is not None:
            headers = self._fragments.apply(headers, batch.data)
        self._replay.packets += len(batch.packets.number)
        for reason, count in lost.items():
            self._replay.lost[reason] = self._replay.lost.get(reason, 0) + count
        marked = self.conversations.update(headers, batch.data)
        way = ways(headers, self._local)
        classes, of_packet = self._space.classify(headers, way)
        rows = Rows(self._space, classes, KINDS_OF_STATE if self._tracker else 1)
        self._extend()
        if self._steps:
            fate = self._step(rows, headers, of_packet, marked)
        else:
            fate = self._vector(rows, headers, of_packet, marked)
        verdicts = Verdicts(*fate, headers, way)
        self._account(headers, marked.conversation, verdicts, way)
        return verdicts

    def finish(self) -> Replay:
        """The totals. Collateral is judged last: a conversation may join a finding late."""
        replay = self._replay
        for number, parts in self._pairs.items():
            hits = replay.lines[number]
            hits.conversations = np.unique(np.concatenate(parts))
            hits.collateral = hits.conversations[~self._bad[hits.conversations]]
        replay.prevented = int(np.count_nonzero(self._prevented))
        replay.notes = list(self.program.notes)
        return replay

    def _extend(self) -> None:
        missing = self.conversations.count - len(self._seen)
        if missing > 0:
            room = np.zeros(max(missing, len(self._seen)), bool)
            self._seen, self._prevented, self._bad = (
                np.concatenate([a, room]) for a in (self._seen, self._prevented, self._bad)
            )

    def _vector(self, rows: Rows, headers: Headers, of_packet: Array, marked: Marked) -> Fate:
        outcome = walk(self.program, rows)
        row = of_packet
        if self._tracker is not None:
            drop_new = outcome.dropped[of_packet * KINDS_OF_STATE + NEW].astype(np.int64)
            if self._harness:
                drop_new |= ~forwardable(headers)
            states = self._tracker.states(marked, headers.flags, headers.time_ns, drop_new, self.conversations.count)
            row = of_packet * KINDS_OF_STATE + states
        packets = np.bincount(row, minlength=rows.size)
        sizes = np.bincount(row, headers.length, minlength=rows.size).astype(np.int64)
        order = np.argsort(row, kind="stable")
        ends = np.cumsum(packets)
        for number, parts in outcome.sure.items():
            hit = np.concatenate(parts)
            hit = hit[packets[hit] > 0]
            if not len(hit):
                continue
            at = np.concatenate([order[ends[r] - packets[r] : ends[r]] for r in hit])
            self._hit(number, at, int(sizes[hit].sum()), headers, marked)
        for number, parts in outcome.maybe.items():
            self._replay.lines[number].maybe += int(packets[np.concatenate(parts)].sum())
        return outcome.dropped[row], outcome.doubtful[row], outcome.decider[row]

    def _hit(self, number: int, at: Array, size: int, headers: Headers, marked: Marked) -> None:
        hits = self._replay.lines[number]
        hits.packets += len(at)
        hits.bytes += size
        first, last = int(headers.number[at].min()), int(headers.number[at].max())
        hits.first_frame = first if hits.first_frame is None else min(first, hits.first_frame)
        hits.last_frame = last if hits.last_frame is None else max(last, hits.last_frame)
        self._pairs.setdefault(number, []).append(np.unique(marked.conversation[at]))

    def _step(self, rows: Rows, headers: Headers, of_packet: Array, marked: Marked) -> Fate:
        """One packet at a time, in order: what buckets need."""
        stepper = Stepper(self.program, rows)
        n = len(of_packet)
        dropped, doubtful, decider = np.zeros(n, bool), np.zeros(n, bool), np.full(n, -1, np.int64)
        keys = np.stack([marked.src, marked.dst, headers.sport, headers.dport], axis=1)
        stuck = ~forwardable(headers) if self._harness else np.zeros(n, bool)
        matched: dict[int, list[int]] = {}
        for i in range(n):
            now = int(headers.time_ns[i]) if self._clock else 0
            row = int(of_packet[i]) * rows.states
            known = True
            if self._tracker is not None:
                known = self._tracker.alive(int(marked.conversation[i]), now)
                row += self._state(i, headers, marked)
            step = stepper.step(row, partial(self._passes, keys=keys, i=i, now=now))
            dropped[i], doubtful[i], decider[i] = step.dropped, step.doubtful and not step.dropped, step.decider
            gone = step.dropped or bool(stuck[i])
            if self._tracker is not None and gone and not known and row % rows.states == NEW:
                self._tracker.forget(int(marked.conversation[i]))
            for number in step.hits:
                matched.setdefault(number, []).append(i)
            for number in step.maybe:
                self._replay.lines[number].maybe += 1
        for number, found in matched.items():
            at = np.array(found, np.int64)
            self._hit(number, at, int(headers.length[at].sum()), headers, marked)
        return dropped, doubtful, decider

    def _state(self, i: int, headers: Headers, marked: Marked) -> int:
        """The state of one packet, as if it passed."""
        assert self._tracker is not None
        one = Marked(*(column[i : i + 1] for column in marked))
        flags, times = headers.flags[i : i + 1], headers.time_ns[i : i + 1]
        states = self._tracker.states(one, flags, times, np.zeros(1, np.int64), self.conversations.count)
        return int(states[0])

    def _passes(self, number: int, line: Line, *, keys: Array, i: int, now: int) -> bool:
        condition = line.get("rate")
        assert condition is not None
        bucket = self._buckets.setdefault(number, Buckets(condition.value))
        wanted = [at for at, name in enumerate(MASKS) if name in condition.value.key]
        return bucket.match(tuple(int(keys[i, at]) for at in wanted), now) ^ condition.negate

    def _account(self, headers: Headers, conversation: Array, verdicts: Verdicts, way: Array) -> None:
        replay = self._replay
        seen = way != ELSEWHERE
        replay.reached += int(np.count_nonzero(seen))
        for number, name in enumerate((*WAY_NAMES, "elsewhere")):
            replay.ways[name] = replay.ways.get(name, 0) + int(np.count_nonzero(way == number))
        replay.dropped += int(np.count_nonzero(verdicts.dropped))
        replay.unknown += int(np.count_nonzero(verdicts.doubtful))
        replay.permitted += int(np.count_nonzero(seen & ~verdicts.dropped & ~verdicts.doubtful))
        replay.matched += int(np.count_nonzero(verdicts.decider >= 0))
        replay.by_header += int(np.count_nonzero(verdicts.decider == BY_HEADER))
        replay.default_hits += int(
            np.count_nonzero(seen & np.isin(verdicts.decider, (-1, BY_POLICY)) & ~verdicts.doubtful)
        )
        deciders, counts = np.unique(verdicts.decider[verdicts.decider >= 0], return_counts=True)
        for number, count in zip(deciders.tolist(), counts.tolist()):
            replay.lines[number].decided += count
        self._prevent(conversation, verdicts)
        self._judge(headers, conversation, verdicts)

    def _prevent(self, conversation: Array, verdicts: Verdicts) -> None:
        """A conversation whose first packet in the capture is dropped would not have happened."""
        used, first = np.unique(conversation, return_index=True)
        fresh = ~self._seen[used]
        used, first = used[fresh], first[fresh]
        self._seen[used] = True
        stopped = verdicts.dropped[first]
        self._prevented[used[stopped]] = True
        by, counts = np.unique(verdicts.decider[first[stopped]], return_counts=True)
        for number, count in zip(by.tolist(), counts.tolist()):
            if number >= 0:
                self._replay.lines[number].prevented += count

    def _judge(self, headers: Headers, conversation: Array, verdicts: Verdicts) -> None:
        gone = verdicts.dropped | self._prevented[conversation]
        for stops in self._replay.findings:
            mine = np.isin(headers.flow, self._findings[stops.id])
            self._bad[conversation[mine]] = True
            stops.packets += int(np.count_nonzero(mine))
            stops.dropped += int(np.count_nonzero(mine & verdicts.dropped))
            stops.stopped += int(np.count_nonzero(mine & gone))


@dataclass
class Verdicts:
    """Per packet of a chunk (rows of Headers): dropped for certain, in doubt, who decided, and its way."""

    dropped: npt.NDArray[np.bool_]
    doubtful: npt.NDArray[np.bool_]
    decider: Array
    headers: Headers
    way: Array


def ways(headers: Headers, local: AddrSet) -> Array:
    """IN, OUT, FORWARD or ELSEWHERE per packet. Without own addresses everything is seen as forwarded."""
    if not local:
        return np.full(len(headers.family), FORWARD, np.int64)
    source = member(headers.family, headers.src_hi, headers.src_lo, local)
    target = member(headers.family, headers.dst_hi, headers.dst_lo, local) | _to_all(headers, local)
    return np.where(source, OUT, np.where(target, IN, ELSEWHERE)).astype(np.int64)


def member(family: Array, high: Array, low: Array, addresses: AddrSet) -> npt.NDArray[np.bool_]:
    """Which addresses lie in a (small) set."""
    out = np.zeros(len(family), bool)
    four = family == 4
    for first, last in addresses.v4:
        out |= four & (low >= first) & (low <= last)
    if addresses.v6:
        upper, lower = high.view(np.uint64), low.view(np.uint64)
        for first, last in addresses.v6:
            (fh, fl), (lh, ll) = ((np.uint64(v >> 64), np.uint64(v & (2**64 - 1))) for v in (first, last))
            above = (upper > fh) | ((upper == fh) & (lower >= fl))
            below = (upper < lh) | ((upper == lh) & (lower <= ll))
            out |= ~four & above & below
    return out


def _to_all(headers: Headers, local: AddrSet) -> npt.NDArray[np.bool_]:
    """Multicast and broadcast: 224/4, 255.255.255.255, ff00::/8, and the last address of an own /24."""
    four = headers.family == 4
    group = (four & (headers.dst_lo >> 28 == 14)) | (four & (headers.dst_lo == 0xFFFFFFFF))
    group |= ~four & ((headers.dst_hi >> 56) & 255 == 255)
    for first, last in local.v4:
        if last - first < 256:
            group |= four & (headers.dst_lo == (first | 255))
    out: npt.NDArray[np.bool_] = group
    return out


def forwardable(headers: Headers) -> npt.NDArray[np.bool_]:
    """Packets that a Linux router sends on: not TTL 1, multicast, loopback, link-local IPv6 or unspecified addresses."""
    four = headers.family == 4
    out: npt.NDArray[np.bool_] = headers.ttl > 1
    for low in (headers.src_lo, headers.dst_lo):
        first = low >> 24
        out &= ~(four & ((first == 127) | (first == 0) | (low >> 28 == 14) | (low == 0xFFFFFFFF)))
    for high in (headers.src_hi, headers.dst_hi):
        top = (high >> 48) & 0xFFFF
        out &= ~(~four & ((top >> 8 == 0xFF) | (top & 0xFFC0 == 0xFE80)))
    for high, low in ((headers.src_hi, headers.src_lo), (headers.dst_hi, headers.dst_lo)):
        out &= ~(~four & (high == 0) & (low == 0))
    return out
