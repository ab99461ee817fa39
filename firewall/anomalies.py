"""Rules that say nothing, or say it in the wrong place: found exactly, by box algebra, and minimisation that is proved.

In: a policy. Out: `Anomaly` rows in the words of Al-Shaer and Hamed (shadowing, redundancy, generalisation,
correlation, irrelevance), each naming the rules that are to blame; a smaller policy that decides every packet alike;
and the drops that would meet protected traffic. Union shadowing (no single rule covers, several together do) is found
because what is left of a rule is what no earlier rule took. Must not know captures or dialects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from firewall.errors import RuleError
from firewall.lower import CHAINS
from firewall.region import Region, at_least, at_most, common, equal, everything, opaque, overlap, without
from firewall.rules import Action, Direction, Match, Policy, Rule
from firewall.sets import PORT_LAST, AddrSet, PortSet, union

DECIDES = (Action.PERMIT, Action.DROP, Action.REJECT)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One anomaly: its kind, the rule, the rules to blame, and a sentence."""

    kind: str
    rule: str
    others: tuple[str, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"kind": self.kind, "rule": self.rule, "others": list(self.others), "text": self.text}


def find(policy: Policy) -> list[Anomaly]:
    """All anomalies, in order of rules. A policy too entangled for exact boxes is one anomaly that says so."""
    try:
        out = [a for directions in _directions(policy) for a in _find(policy, directions)]
    except RuleError as error:
        return [Anomaly("unjudged", "-", (), str(error))]
    out += [Anomaly("irrelevance", r.id, (), f"direction {r.direction.value} has no chain at vantage {policy.vantage.value}") for r in policy.rules if not any(r.direction in d for d in _directions(policy))]  # fmt: skip
    return list(dict.fromkeys(out))


def _directions(policy: Policy) -> list[frozenset[Direction]]:
    return [directions for _, directions, _ in CHAINS[policy.vantage]]


def _find(policy: Policy, directions: frozenset[Direction]) -> list[Anomaly]:
    rules = [r for r in policy.rules if r.direction in directions and r.action in DECIDES]
    out: list[Anomaly] = []
    taken: list[tuple[Rule, Region]] = []
    for rule in rules:
        mine = at_most(rule.match)
        left = mine
        blocking = []
        for earlier, region in taken:
            if _outlasts(earlier, rule) and overlap(left, region):
                blocking.append(earlier)
                left = without(left, region)
        if not left:
            out.append(_covered(rule, blocking))
        else:
            out += _pairs(rule, mine, taken)
        taken.append((rule, at_least(rule.match)))
    out += _same_as_default(policy, rules)
    return out


def _covered(rule: Rule, blocking: list[Rule]) -> Anomaly:
    """Nothing is left of the rule: shadowed where an earlier rule decides otherwise, redundant where all agree."""
    others = tuple(b.id for b in blocking)
    together = "" if len(others) == 1 else f" (only {len(others)} rules together)"
    if all(_same(b.action, rule.action) for b in blocking):
        return Anomaly("redundancy", rule.id, others, f"earlier rules already {rule.action.value} all of it{together}")
    return Anomaly("shadowing", rule.id, others, f"never reached: earlier rules decide all of its packets{together}")


def _pairs(rule: Rule, mine: Region, taken: list[tuple[Rule, Region]]) -> list[Anomaly]:
    out = []
    for earlier, region in taken:
        if _same(earlier.action, rule.action) or not overlap(mine, region):
            continue
        if not without(region, mine):
            text = f"contains {earlier.id}, which decides otherwise: often meant so"
            out.append(Anomaly("generalisation", rule.id, (earlier.id,), text))
        else:
            text = f"overlaps {earlier.id}, which decides otherwise: their order matters"
            out.append(Anomaly("correlation", rule.id, (earlier.id,), text))
    return out


def _same_as_default(policy: Policy, rules: list[Rule]) -> list[Anomaly]:
    """A last rule that does what the default does anyway, with no later rule of another mind about its packets."""
    out = []
    for at, rule in enumerate(rules):
        if rule.action is not Action.DROP or policy.default is not Action.DROP:
            continue  # a permit that the default grants anyway says what is meant: nobody's mistake
        mine = at_most(rule.match)
        later = [r for r in rules[at + 1 :] if not _same(r.action, rule.action) and overlap(mine, at_most(r.match))]
        if not later:
            text = f"the default is {policy.default.value} and no later rule says otherwise about its packets"
            out.append(Anomaly("redundancy", rule.id, ("default",), text))
    return out


def _same(one: Action, two: Action) -> bool:
    return one is two or (one.stops and two.stops)


# Minimisation


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
    for directions in _directions(one):
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
        if first is None or second is None or _with(one.match, name, second) != two.match:
            continue
        both = first | second if isinstance(first, AddrSet) else PortSet(union(first.ranges, second.ranges, PORT_LAST))
        evidence = (*one.evidence, *(e for e in two.evidence if e not in one.evidence))
        words = one.description if one.description == two.description else f"{one.description}; {two.description}"
        return replace(one, match=_with(one.match, name, both), evidence=evidence, description=words.strip("; "))
    return None


def _with(match: Match, name: str, value: Any) -> Match:
    changed: dict[str, Any] = {name: value}
    return replace(match, **changed)


def _outlasts(earlier: Rule, later: Rule) -> bool:
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
        for directions in _directions(policy):
            if rule.direction in directions:
                left = at_most(rule.match)
                for other in earlier:
                    if other.direction in directions and _outlasts(other, rule):
                        left = without(left, at_least(other.match))
                alive = alive or bool(left)
        if alive or not any(rule.direction in d for d in _directions(policy)):
            kept.append(rule)
    return kept


# Protection


def cuts(policy: Policy) -> list[tuple[Rule, str]]:
    """Drops that would meet trusted or protected traffic, in spite of the permits in front: (rule, what it meets)."""
    guarded = [(item.name, at_most(item.match)) for item in policy.protected]
    if policy.trusted:
        others = AddrSet.everything() - policy.contained
        guarded.append(("a permitted network", at_most(Match(src=policy.trusted, dst=others))))
        guarded.append(("a permitted network", at_most(Match(src=others, dst=policy.trusted))))
    out: list[tuple[Rule, str]] = []
    for directions in _directions(policy):
        permitted: Region = []
        for rule in policy.rules:
            if rule.direction not in directions:
                continue
            if rule.action is Action.PERMIT:
                permitted += at_least(rule.match)
            if not rule.action.stops:
                continue
            region = at_most(rule.match)
            for name, space in guarded:
                met = without(common(region, space), permitted) if overlap(region, space) else []
                if met and (rule, name) not in out:
                    out.append((rule, name))
    return out
