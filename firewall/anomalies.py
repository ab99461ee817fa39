"""Rules that say nothing, or say it in the wrong place: found exactly, by box algebra.

In: a policy. Out: `Anomaly` rows in the words of Al-Shaer and Hamed (shadowing, redundancy, generalisation,
correlation, irrelevance), each naming the rules that are to blame. Union shadowing (no single rule covers, several
together do) is found because what is left of a rule is what no earlier rule took. Must not know captures or dialects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firewall.errors import RuleError
from firewall.minimise import DECIDES, outlasts, same_fate, served
from firewall.region import Region, at_least, at_most, overlap, without
from firewall.rules import Action, Direction, Policy, Rule


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
        out = [a for directions in served(policy) for a in _find(policy, directions)]
    except RuleError as error:
        return [Anomaly("unjudged", "-", (), str(error))]
    out += [Anomaly("irrelevance", r.id, (), f"direction {r.direction.value} has no chain at vantage {policy.vantage.value}") for r in policy.rules if not any(r.direction in d for d in served(policy))]  # fmt: skip
    return list(dict.fromkeys(out))


def _find(policy: Policy, directions: frozenset[Direction]) -> list[Anomaly]:
    rules = [r for r in policy.rules if r.direction in directions and r.action in DECIDES]
    out: list[Anomaly] = []
    taken: list[tuple[Rule, Region]] = []
    for rule in rules:
        mine = at_most(rule.match)
        left = mine
        blocking = []
        for earlier, region in taken:
            if outlasts(earlier, rule) and overlap(left, region):
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
    if all(same_fate(b.action, rule.action) for b in blocking):
        return Anomaly("redundancy", rule.id, others, f"earlier rules already {rule.action.value} all of it{together}")
    return Anomaly("shadowing", rule.id, others, f"never reached: earlier rules decide all of its packets{together}")


def _pairs(rule: Rule, mine: Region, taken: list[tuple[Rule, Region]]) -> list[Anomaly]:
    out = []
    for earlier, region in taken:
        if same_fate(earlier.action, rule.action) or not overlap(mine, region):
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
        later = [r for r in rules[at + 1 :] if not same_fate(r.action, rule.action) and overlap(mine, at_most(r.match))]
        if not later:
            text = f"the default is {policy.default.value} and no later rule says otherwise about its packets"
            out.append(Anomaly("redundancy", rule.id, ("default",), text))
    return out
