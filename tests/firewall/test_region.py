"""Box algebra is exact: every packet of a small world is where the algebra says."""

from __future__ import annotations

import firewall_packets as fp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from firewall.region import Box, Region, at_least, at_most, common, equal, everything, overlap, without
from firewall.rules import Match, Rate
from firewall.sets import AddrSet, PortSet, contains


def holds(region: Region, point: tuple[int, ...]) -> bool:
    return any(b.family == point[0] and all(contains(s, v) for s, v in zip(b.sets, point[1:])) for b in region)


@st.composite
def points(draw: st.DrawFn) -> tuple[int, ...]:
    family = draw(st.sampled_from((4, 6)))
    hosts = fp.HOSTS4 if family == 4 else fp.HOSTS6
    sides = [AddrSet.parse(draw(st.sampled_from(hosts))).ranges(family)[0][0] for _ in range(2)]
    proto = draw(st.sampled_from((6, 17, 1, 58, 47)))
    return (family, *sides, proto, draw(st.sampled_from(fp.PORTS)), draw(st.sampled_from(fp.PORTS)), draw(st.sampled_from((0, 2048, 770))), draw(st.integers(0, 63)), draw(st.integers(0, 4)))  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(fp.matches(), fp.matches(), points())
def test_difference_and_common_part(one: Match, two: Match, point: tuple[int, ...]) -> None:
    """A point is in A minus B if it is in A and not in B, and in the common part if it is in both."""
    a, b = at_most(one), at_most(two)
    in_a, in_b = holds(a, point), holds(b, point)

    assert holds(without(a, b), point) == (in_a and not in_b)
    assert holds(common(a, b), point) == (in_a and in_b)
    assert not (in_a and in_b) or overlap(a, b)


@settings(deadline=None, max_examples=100)
@given(fp.matches(), fp.matches())
def test_parts_make_the_whole(one: Match, two: Match) -> None:
    """(A minus B) and (A and B) together are A."""
    a, b = at_most(one), at_most(two)
    assume(len(b) < 8)

    assert equal([*without(a, b), *common(a, b)], a)
    assert not without(a, everything())


def test_negation_round_trip() -> None:
    """Not TCP is everything but TCP, and nothing else is lost."""
    everything_but = at_most(Match(proto=6, negate=frozenset({"proto"})))

    assert equal([*everything_but, *at_most(Match(proto=6))], everything())
    assert not overlap(everything_but, at_most(Match(proto=6)))


def test_buckets_promise_nothing() -> None:
    """A match with a bucket can match all it names, and need not match any of it."""
    match = Match(proto=6, rate=Rate(5))

    assert at_least(match) == []
    assert equal(at_most(match), at_most(Match(proto=6)))


def test_boxes_are_disjoint() -> None:
    """What is left after a subtraction does not overlap itself."""
    left = without(everything(), at_most(Match(src=AddrSet.parse("10.0.0.0/8"), proto=6, dport=PortSet.of(80))))
    pairs = [(a, b) for i, a in enumerate(left) for b in left[i + 1 :]]

    assert pairs and all(isinstance(a, Box) and a.meets(b) is None for a, b in pairs)
