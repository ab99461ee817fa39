"""Fewer rules that decide every packet alike: merged and thinned out, then proved equal by box algebra.

In: a policy. Out: a smaller one, or RuleError where equality could not be proved. Rules are never reordered; a rule
with a bucket or an interface is opaque to the algebra and stays where it is. Must not know captures or dialects.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from firewall.errors import RuleError
from firewall.lower import CHAINS
from firewall.region import Region, at_least, at_most, common, equal, everything, opaque, without
from firewall.rules import Action, Direction, Match, Policy, Rule
from firewall.sets import PORT_LAST, AddrSet, PortSet, union

DECIDES = (Action.PERMIT, Action.DROP, Action.REJECT)


def minimise(policy: Policy) -> Policy:
    """A policy with fewer rules that decides every packet alike. Raises RuleError if it could not be proved equal."""
    rules = list(policy.rules)
    rules = _merge_neighbours(rules)
    rules = _drop_covered(policy, rules)
    smaller = policy.with_rules(tuple(rules))
    if not same_decisions(policy, smaller):  # never seen; a wrong answer here would open or close a host
        raise RuleError("minimise: the smaller policy could not be proved equal")
    return smaller


def same_decisions(one: Policy, two: Policy) -> bool:
    """True where both policies decide every packet alike, in every direction (drop and reject count as different)."""
    if one.default is not two.default or one.vantage is not two.vantage:
        return False
    for directions in served(one):
        for action in (Action.PERMIT, Action.DROP, Action.REJECT):
            if not equal(decided(one, directions, action), decided(two, directions, action)):
                return False
        if _opaque_rules(one, directions) != _opaque_rules(two, directions):
            return False
    return True


def decided(policy: Policy, directions: frozenset[Direction], action: Action) -> Region:
    """The packets that the rules of these directions decide by `action` (defaults included, opaque rules left out)."""
    left = everything()
    out: Region = []
    for rule in policy.rules:
        if rule.direction not in directions or rule.action not in DECIDES or opaque(rule.match):
            continue
        region = at_least(rule.match)
        if rule.action is action:
            out += common(left, region)
        left = without(left, region)
    if policy.default is action:
        out += left
    return out


def _opaque_rules(policy: Policy, directions: frozenset[Direction]) -> list[str]:
    return [r.id for r in policy.rules if r.direction in directions and opaque(r.match)]


def _merge_neighbours(rules: list[Rule]) -> list[Rule]:
    """Join neighbours that differ in one address or port set only: their union is one rule."""
    out: list[Rule] = []
    for rule in rules:
        joined = _joined(out[-1], rule) if out else None
        if joined is not None:
            out[-1] = joined
        else:
            out.append(rule)
    return out if len(out) == len(rules) else _merge_neighbours(out)


def _joined(one: Rule, two: Rule) -> Rule | None:
    if (one.action, one.direction, one.ttl_s) != (two.action, two.direction, two.ttl_s):
        return None
    if opaque(one.match) or opaque(two.match) or one.match.negate or two.match.negate:
        return None
    for name in ("src", "dst", "sport", "dport"):
        first, second = getattr(one.match, name), getattr(two.match, name)
        if first is None or second is None or not _equal_but(one.match, two.match, name):
            continue
        both = first | second if isinstance(first, AddrSet) else PortSet(union(first.ranges, second.ranges, PORT_LAST))
        evidence = (*one.evidence, *(e for e in two.evidence if e not in one.evidence))
        words = one.description if one.description == two.description else f"{one.description}; {two.description}"
        return replace(one, match=_with(one.match, name, both), evidence=evidence, description=words.strip("; "))
    return None


def _equal_but(one: Match, two: Match, name: str) -> bool:
    return all(getattr(one, f.name) == getattr(two, f.name) for f in fields(Match) if f.name != name)


def _with(match: Match, name: str, value: Any) -> Match:
    changed: dict[str, Any] = {name: value}
    return replace(match, **changed)


def outlasts(earlier: Rule, later: Rule) -> bool:
    """A rule that expires first covers nothing in the end."""
    return earlier.ttl_s is None or (later.ttl_s is not None and earlier.ttl_s >= later.ttl_s)


def _drop_covered(policy: Policy, rules: list[Rule]) -> list[Rule]:
    """Leave out rules of which nothing is left, in every direction that they serve."""
    kept: list[Rule] = []
    for rule in rules:
        if rule.action not in DECIDES:
            kept.append(rule)
            continue
        earlier = [r for r in kept if r.action in DECIDES]
        alive = False
        for directions in served(policy):
            if rule.direction in directions:
                left = at_most(rule.match)
                for other in earlier:
                    if other.direction in directions and outlasts(other, rule):
                        left = without(left, at_least(other.match))
                alive = alive or bool(left)
        if alive or not any(rule.direction in d for d in served(policy)):
            kept.append(rule)
    return kept


def served(policy: Policy) -> list[frozenset[Direction]]:
    """Per chain of the policy's vantage, the directions that it serves."""
    return [directions for _, directions, _ in CHAINS[policy.vantage]]


def same_fate(one: Action, two: Action) -> bool:
    """True where both let the packet through, or both stop it."""
    return one is two or (one.stops and two.stops)
