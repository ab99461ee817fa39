"""One walk of packets through a program: first match, jumps, returns, policies, and honest doubt.

In: a program and, per row (a class of packets in one connection state), the answers of its conditions. Out: which rows
are dropped, which may be, who decided, and which rows each line matched. `walk` takes all rows at once;
`Stepper` takes one packet at a time, which token buckets need, and is the slow twin in the tests.
A match that is unknown splits the way: the row goes on as "maybe", and what it may meet is kept apart from what it met
for certain. Must not know packets, files or reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firewall import conntrack
from firewall.errors import RuleError
from firewall.headers import SHORT, Array
from firewall.program import TRACKED, WAY_NAMES, WAYS, Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import STATES
from firewall.space import ADDRESS, NO, UNKNOWN, YES, Answers, Classes, Space

CHAIN_DEPTH_MAX = 64  # deeper calls (a loop in foreign rules that the kernel would refuse) end the chain
CALLS_MAX = 50_000  # chains entered in one walk: chains that jump to each other twice double the work at every level
DROPS, PASSES = 1, 2
Rated = Callable[[int, Line], bool]  # does this line's bucket match the packet at hand?
UNDECIDED, BY_POLICY, BY_HEADER = -1, -2, -3  # deciders that are not lines
HOOK_ORDER = tuple(Hook)
MODULES = frozenset({"sport", "dport", "port", "icmp"})  # conditions that a module reads from the transport header
HEADER_FIELDS = frozenset(
    {"src", "dst", "iif", "oif", "proto", "fragment"}
)  # what iptables tests before any match module


@dataclass
class Outcome:
    """What happened to r rows. `decider`: number of the line (Program.lines order), or one of the constants above."""

    dropped: npt.NDArray[np.bool_]
    doubtful: npt.NDArray[np.bool_]
    decider: Array
    sure: dict[int, list[Array]] = field(default_factory=dict)  # line -> rows that matched for certain
    maybe: dict[int, list[Array]] = field(default_factory=dict)  # line -> rows that may have matched


class Rows:
    """The rows of a walk: classes, times the connection states where a program asks for them."""

    def __init__(self, space: Space, classes: Classes, states: int) -> None:
        self.space, self.classes, self.states = space, classes, states
        self.size = classes.size * states
        self._class = np.repeat(np.arange(classes.size), states)
        self._state = np.tile(np.arange(states), classes.size)
        self.way = classes.ranks["way"][self._class]
        self.family = np.where(classes.ranks["family"][self._class] == 1, 6, 4)
        self.short = classes.ranks["transport"][self._class] == SHORT
        self.any_short = bool(self.short.any())
        self.no_ports = classes.ranks["dport"][self._class] == 0
        self._present = space.present(classes)

    def possible(self, line: Line) -> bool:
        """False where the addresses of a line occur in no row: nothing of it, not even a header cut short, can matter."""
        return all(self.space.possible(c, self._present) for c in line.conditions if c.field in ADDRESS)

    def answer(self, line: Line, at: Array) -> Answers:
        """NO, YES or UNKNOWN for a line on the rows `at`, rates left out."""
        return self._answer(line.conditions, line.family, at)

    def _answer(self, conditions: Iterable[Condition], family: int | None, at: Array) -> Answers:
        out = np.ones(len(at), np.int8)
        if family is not None:
            out[self.family[at] != family] = NO
        for condition in conditions:
            if condition.field == "rate":
                continue
            left = np.flatnonzero(out)
            if not len(left):
                break
            rows = at[left]
            if condition.field == "state":
                hits = [(name in condition.value) ^ condition.negate for name in STATES]
                wanted = np.array([*hits, UNKNOWN, hits[conntrack.ESTABLISHED]], np.int8)
                answers = wanted[self._state[rows]] if self.states > 1 else np.full(len(rows), UNKNOWN, np.int8)
            else:
                answers = self.space.answer(condition, self.classes, self._class[rows])
                if condition.field in TRACKED and self.states > 1:
                    answers = _original(answers, self._state[rows])
            out[left] = np.where(answers == NO, NO, np.maximum(out[left], answers))
        return out

    def cut(self, line: Line, at: Array) -> Answers:
        """YES where iptables drops a datagram for ending inside the header that a module of this line reads (hotdrop),
        UNKNOWN where one of its backends does. multiport reads four bytes, the ICMP modules their whole header."""
        out = np.zeros(len(at), np.int8)
        modules = [n for n, c in enumerate(line.conditions) if c.field in MODULES and not c.varies]
        varying = [n for n, c in enumerate(line.conditions) if c.varies]
        if modules:
            strict = any(line.conditions[n].field == "icmp" for n in modules)
            hit = np.flatnonzero(self.short[at] & (strict | self.no_ports[at]))
            out[hit] = self._answer(_before(line, modules[0]), line.family, at[hit])
        if varying:
            hit = np.flatnonzero(self.short[at] & (out == NO))
            out[hit[self._answer(_before(line, varying[0]), line.family, at[hit]) != NO]] = UNKNOWN
        return out


def _original(answers: Answers, states: Array) -> Answers:
    """What a test on the original destination says, given what it says of the destination: nothing where there is no
    connection or the packet goes back; an ICMP error has the destination of what it quotes, which is not looked up."""
    none = np.isin(states, (conntrack.INVALID, conntrack.UNTRACKED, conntrack.REPLY))
    out = np.where(none, NO, answers)
    doubt = (states == conntrack.RELATED) | ((states == conntrack.UNKNOWN) & (answers != NO))
    return np.where(doubt, UNKNOWN, out).astype(np.int8)


def _before(line: Line, position: int) -> list[Condition]:
    """The conditions that iptables has tested when the module at a position has its turn: those of the IP header, which
    come first, and the modules in front."""
    return [c for n, c in enumerate(line.conditions) if n < position or c.field in HEADER_FIELDS]


def ordered_bases(program: Program) -> list[Base]:
    """Base chains in the order in which packets meet them."""
    return sorted(program.bases, key=lambda b: (HOOK_ORDER.index(b.hook), b.priority))


def on_way(hook: Hook) -> list[int]:
    """Numbers of the ways that pass a hook."""
    return [number for number, name in enumerate(WAY_NAMES) if hook in WAYS[name]]


def walk(program: Program, rows: Rows) -> Outcome:
    """All rows through all base chains. Programs with rates need `Stepper`."""
    return _Walk(program, rows).run()


class _Walk:
    def __init__(self, program: Program, rows: Rows) -> None:
        self.program, self.rows = program, rows
        self.calls = 0
        self.numbers: dict[str, int] = {}
        at = 0
        for name, lines in program.chains.items():
            self.numbers[name] = at
            at += len(lines)
        n = rows.size
        self.out = Outcome(np.zeros(n, bool), np.zeros(n, bool), np.full(n, UNDECIDED, np.int64))
        self.bits = np.zeros(n, np.int8)  # DROPS, PASSES: how this base chain may end

    def run(self) -> Outcome:
        sure = np.ones(self.rows.size, bool)  # reached the present base chain for certain
        for base in ordered_bases(self.program):
            here = np.isin(self.rows.way, on_way(base.hook)) & ~self.out.dropped
            if base.family is not None:
                here &= self.rows.family == base.family
            at = np.flatnonzero(here)
            self.bits[at] = 0
            left, left_sure = self._chain(base.chain, at, sure[at], 0)
            self._end(left, left_sure, base.policy, BY_POLICY)
            bits = self.bits[at]
            only_drop = bits == DROPS
            self.out.dropped[at[only_drop & sure[at]]] = True
            both = (bits == (DROPS | PASSES)) | (only_drop & ~sure[at])
            self.out.doubtful[at[both]] = True
            sure[at[both]] = False
        self.out.doubtful &= ~self.out.dropped
        return self.out

    def _end(self, at: Array, sure: npt.NDArray[np.bool_], verdict: Verdict, decider: int) -> None:
        stops = verdict in (Verdict.DROP, Verdict.REJECT)
        self.bits[at] |= DROPS if stops else PASSES
        if stops or decider >= 0:
            certain = at[sure]
            fresh = certain if stops else certain[self.out.decider[certain] == UNDECIDED]
            self.out.decider[fresh] = decider

    def _chain(
        self, name: str, at: Array, sure: npt.NDArray[np.bool_], depth: int
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Rows that come out at the end or by RETURN, and whether they do so for certain."""
        self.calls = _counted(self.calls, name)
        back: list[tuple[Array, npt.NDArray[np.bool_]]] = []
        if depth <= CHAIN_DEPTH_MAX:
            for position, line in enumerate(self.program.chains.get(name, ())):
                if not len(at):
                    break
                if not self.rows.possible(line):
                    continue
                at, sure = self._line(line, self.numbers[name] + position, at, sure, back, depth)
        return _merge([*back, (at, sure)])

    def _line(
        self,
        line: Line,
        number: int,
        at: Array,
        sure: npt.NDArray[np.bool_],
        back: list[tuple[Array, npt.NDArray[np.bool_]]],
        depth: int,
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """One line on the active rows; the rows that go on to the next one."""
        at, sure = self._cut_headers(line, at, sure)
        answers = self.rows.answer(line, at)
        hit = answers != NO
        if not hit.any():
            return at, sure
        yes = answers == YES
        certain, maybe = at[yes & sure], at[hit & ~(yes & sure)]
        if len(certain):
            self.out.sure.setdefault(number, []).append(certain)
        if len(maybe):
            self.out.maybe.setdefault(number, []).append(maybe)
        verdict = line.verdict
        if verdict is Verdict.CONTINUE:
            return at, sure
        rows, rows_sure = at[hit], (yes & sure)[hit]
        stay = (at[~yes], sure[~yes] & ~hit[~yes])  # no match; or unknown, which goes on in doubt
        if verdict is Verdict.RETURN:
            back.append((rows, rows_sure))
            return stay
        if verdict in (Verdict.JUMP, Verdict.GOTO):
            left = self._chain(line.target, rows, rows_sure, depth + 1)
            if verdict is Verdict.GOTO:
                back.append(left)
                return stay
            return _merge([stay, left])
        if verdict is Verdict.UNKNOWN:
            self.bits[rows] |= DROPS | PASSES
            return _merge([stay, (rows, np.zeros(len(rows), bool))])
        self._end(rows, rows_sure, verdict, number)
        return stay

    def _cut_headers(self, line: Line, at: Array, sure: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Datagrams that end inside a header that the line reads: dropped by iptables, or perhaps; nft reads on."""
        if not self.rows.any_short or self.program.dialect != "iptables":
            return at, sure
        cut = self.rows.cut(line, at)
        gone, perhaps = cut == YES, cut == UNKNOWN
        self._end(at[gone], sure[gone], Verdict.DROP, BY_HEADER)
        self.bits[at[perhaps]] |= DROPS
        return at[~gone], (sure & ~perhaps)[~gone]


def _counted(calls: int, chain: str) -> int:
    """One call more. Raises RuleError where chains call each other without end."""
    if calls >= CALLS_MAX:
        raise RuleError(
            f"chain {chain}: more than {CALLS_MAX} jumps on one way: chains that jump to each other in a loop?"
        )
    return calls + 1


def _merge(parts: list[tuple[Array, npt.NDArray[np.bool_]]]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Rows of several parts in order, each once; a row that came by two ways is in doubt about either."""
    parts = [p for p in parts if len(p[0])]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    if len(parts) == 1:
        return parts[0]
    at = np.concatenate([p[0] for p in parts])
    sure = np.concatenate([p[1] for p in parts])
    rows, first, counts = np.unique(at, return_index=True, return_counts=True)
    return rows, sure[first] & (counts == 1)


class Stepper:
    """One packet at a time through the same program; `passes(line, key)` asks a rate whether this packet matches."""

    def __init__(self, program: Program, rows: Rows) -> None:
        self.program, self.rows = program, rows
        self.lines = program.lines()
        every = np.arange(rows.size)
        self.answers = [rows.answer(line, every) for _, _, line in self.lines]
        cutting = rows.any_short and program.dialect == "iptables"
        self.cuts = [rows.cut(line, every) if cutting else None for _, _, line in self.lines]
        self.start = {}
        at = 0
        for name, lines in program.chains.items():
            self.start[name] = at
            at += len(lines)
        self.bases = ordered_bases(program)
        self._calls = 0
        self._matching: dict[tuple[str, int], list[int]] = {}

    def _candidates(self, chain: str, row: int) -> list[int]:
        found = self._matching.get((chain, row))
        if found is None:
            begin = self.start.get(chain, 0)
            lines = self.program.chains.get(chain, ())
            found = [n for n in range(begin, begin + len(lines)) if self.answers[n][row] or self._cut(n, row)]
            self._matching[(chain, row)] = found
        return found

    def _cut(self, number: int, row: int) -> int:
        cut = self.cuts[number]
        return NO if cut is None else int(cut[row])

    def step(self, row: int, rated: Rated) -> Step:
        """The fate of one packet of this row."""
        out = Step()
        self._calls = 0
        sure = True
        for base in self.bases:
            if int(self.rows.way[row]) not in on_way(base.hook):
                continue
            if base.family is not None and base.family != int(self.rows.family[row]):
                continue
            out.bits = 0
            left = self._chain(base.chain, row, sure, rated, out, 0)
            if left:
                out.end(left == 2, base.policy, BY_POLICY)
            if out.bits == DROPS and sure:
                out.dropped, out.doubtful = True, False
                return out
            if out.bits & DROPS:
                out.doubtful, sure = True, False
        return out

    def _chain(self, name: str, row: int, sure: bool, rated: Rated, out: Step, depth: int) -> int:
        """0: nothing comes out, 1: perhaps, 2: for certain."""
        self._calls = _counted(self._calls, name)
        back, here = 0, 2 if sure else 1
        if depth > CHAIN_DEPTH_MAX:
            return here
        for number in self._candidates(name, row):
            line = self.lines[number][2]
            answer = int(self.answers[number][row])
            cut = self._cut(number, row)
            if cut == YES:
                out.end(here == 2, Verdict.DROP, BY_HEADER)
                return back
            if cut == UNKNOWN:
                out.bits |= DROPS
                here = 1
            if answer == NO:
                continue
            if line.get("rate") is not None:
                if not rated(number, line):
                    continue
                answer = answer if here == 2 else UNKNOWN
            certain = answer == YES and here == 2
            (out.hits if certain else out.maybe).append(number)
            if line.verdict is Verdict.CONTINUE:
                continue
            stays = 0 if answer == YES else 1
            flag = 2 if certain else 1
            if line.verdict is Verdict.RETURN:
                back = _either(back, flag)
            elif line.verdict in (Verdict.JUMP, Verdict.GOTO):
                left = self._chain(line.target, row, certain, rated, out, depth + 1)
                if line.verdict is Verdict.GOTO:
                    back = _either(back, left)
                else:
                    stays = _either(stays, left)
            elif line.verdict is Verdict.UNKNOWN:
                out.bits |= DROPS | PASSES
                stays = 1
            else:
                out.end(certain, line.verdict, number)
            here = stays
            if not here:
                return back
        return _either(back, here)


@dataclass
class Step:
    """The fate of one packet."""

    dropped: bool = False
    doubtful: bool = False
    decider: int = UNDECIDED
    bits: int = 0
    hits: list[int] = field(default_factory=list)
    maybe: list[int] = field(default_factory=list)

    def end(self, certain: bool, verdict: Verdict, decider: int) -> None:
        """A branch of the walk ends in a verdict."""
        stops = verdict in (Verdict.DROP, Verdict.REJECT)
        self.bits |= DROPS if stops else PASSES
        if certain and (stops or (decider >= 0 and self.decider == UNDECIDED)):
            self.decider = decider


def _either(one: int, two: int) -> int:
    """Two ways to the same place: certain only if it is the only way."""
    if one and two:
        return 1
    return one or two
