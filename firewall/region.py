"""Header space as boxes with exact set algebra: what a rule can match, what is left when others came first.

In: matches. Out: regions: lists of boxes, each a product of canonical sets over (source, destination, protocol, ports,
ICMP type, TCP flags, state), per address family. Subtraction and emptiness are exact. A match with a bucket or an
interface is two regions: what it matches at least (nothing that can be relied on) and at most.
Must not know order, verdicts or dialects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firewall.errors import RuleError
from firewall.rules import STATES, Match
from firewall.sets import FAMILIES, LAST, PORT_LAST, AddrSet, PortSet, Ranges, complement, intersect, subtract

# Dimensions of a box, each with its largest value
FLAGS_LAST = 255  # 8 flag bits, each combination a value
LASTS = (255, PORT_LAST, PORT_LAST, PORT_LAST, FLAGS_LAST, len(STATES) - 1)  # proto sport dport icmp flags state
FULL_REST: tuple[Ranges, ...] = tuple(((0, last),) for last in LASTS)
BOXES_MAX = 20_000  # more boxes than this: the policy is too entangled to judge, and that is said


@dataclass(frozen=True, slots=True)
class Box:
    """A product of sets in one family: sets[0] sources, sets[1] destinations, then the dimensions of LASTS."""

    family: int
    sets: tuple[Ranges, ...]

    def meets(self, other: Box) -> Box | None:
        """The common part, None where there is none."""
        if self.family != other.family:
            return None
        out = []
        for mine, theirs in zip(self.sets, other.sets):
            both = mine if mine == theirs else intersect(mine, theirs)
            if not both:
                return None
            out.append(both)
        return Box(self.family, tuple(out))

    def minus(self, other: Box) -> list[Box]:
        """What is left without `other`, as disjoint boxes (at most one a dimension)."""
        common = self.meets(other)
        if common is None:
            return [self]
        out, head = [], list(self.sets)
        for at, (mine, both) in enumerate(zip(self.sets, common.sets)):
            if mine != both:
                rest = subtract(mine, both, _last(self.family, at))
                if rest:
                    out.append(Box(self.family, (*head[:at], rest, *self.sets[at + 1 :])))
            head[at] = both
        return out


Region = list[Box]


def at_most(match: Match) -> Region:
    """Everything that the match can match; buckets and interfaces left out."""
    return [box for family in sorted(match.families) for box in _boxes(match, family)]


def at_least(match: Match) -> Region:
    """What it matches for certain: nothing, where a bucket or an interface has a say."""
    return [] if opaque(match) else at_most(match)


def opaque(match: Match) -> bool:
    """True where something decides that the algebra does not see."""
    return match.rate is not None or match.iif is not None or match.oif is not None


def without(region: Iterable[Box], other: Sequence[Box]) -> Region:
    """`region` minus `other`. Raises RuleError where the result would be too large to judge."""
    left = list(region)
    for box in other:
        left = [part for mine in left for part in mine.minus(box)]
        if len(left) > BOXES_MAX:
            raise RuleError(f"rules: more than {BOXES_MAX} boxes, too entangled to judge exactly")
    return left


def common(one: Iterable[Box], two: Sequence[Box]) -> Region:
    """The part of `one` that lies in `two` (parts may overlap)."""
    return [both for a in one for b in two if (both := a.meets(b)) is not None]


def overlap(one: Sequence[Box], two: Sequence[Box]) -> bool:
    """True where they share at least one packet."""
    for a in one:
        for b in two:
            if a.family == b.family and not _apart(a.sets, b.sets) and a.meets(b) is not None:
                return True
    return False


def _apart(one: tuple[Ranges, ...], two: tuple[Ranges, ...]) -> bool:
    """True where the sources or destinations lie apart as a whole: most pairs of a long policy do, and are cheap so."""
    (a, b, *_), (c, d, *_) = one, two
    return a[-1][1] < c[0][0] or c[-1][1] < a[0][0] or b[-1][1] < d[0][0] or d[-1][1] < b[0][0]


def equal(one: Sequence[Box], two: Sequence[Box]) -> bool:
    """The same packets, whatever the boxes."""
    return not without(one, two) and not without(two, one)


def everything() -> Region:
    """All packets of both families."""
    return [Box(family, (((0, LAST[family]),), ((0, LAST[family]),), *FULL_REST)) for family in FAMILIES]


def _last(family: int, at: int) -> int:
    return LAST[family] if at < 2 else LASTS[at - 2]


def _boxes(match: Match, family: int) -> list[Box]:
    sides = [_side(getattr(match, name), name in match.negate, family) for name in ("src", "dst")]
    protos = _ports(PortSet.of(match.proto) if match.proto is not None else None, "proto" in match.negate, 255)
    rest: tuple[Ranges, ...] = (
        protos,
        _ports(match.sport, "sport" in match.negate, PORT_LAST),
        _ports(match.dport, "dport" in match.negate, PORT_LAST),
        _ports(match.icmp, False, PORT_LAST),
        _flags(match.tcp_flags),
        _states(match.states),
    )
    sets = (*sides, *rest)
    return [Box(family, sets)] if all(sets) else []


def _side(addresses: AddrSet | None, negate: bool, family: int) -> Ranges:
    if addresses is None:
        return ((0, LAST[family]),)
    ranges = addresses.ranges(family)
    return complement(ranges, LAST[family]) if negate else ranges


def _ports(ports: PortSet | None, negate: bool, last: int) -> Ranges:
    if ports is None:
        return ((0, last),)
    return complement(ports.ranges, last) if negate else ports.ranges


def _flags(flags: tuple[int, int] | None) -> Ranges:
    if flags is None:
        return ((0, FLAGS_LAST),)
    mask, value = flags
    out: list[tuple[int, int]] = []
    for bits in range(FLAGS_LAST + 1):
        if bits & mask == value:
            if out and out[-1][1] == bits - 1:
                out[-1] = (out[-1][0], bits)
            else:
                out.append((bits, bits))
    return tuple(out)


def _states(states: frozenset[str] | None) -> Ranges:
    if states is None:
        return ((0, len(STATES) - 1),)
    return PortSet.of(*(STATES.index(s) for s in states)).ranges
