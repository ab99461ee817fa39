"""Rules of findings that met no packet: others come first, or (in front of containers) no connection was opened there.

In: a proposal with its replay. Out: the same without them; a finding that is left without any rule gets a note that
says why. Rules that were asked for, and rules with a state or a bucket, stay: theirs is another question.
Must not know captures or dialects.
"""

from __future__ import annotations

from collections.abc import Iterator

from firewall.essentials import KEPT_OPEN
from firewall.explain import Explainer
from firewall.program import Program
from firewall.proposal import Note, Proposal
from firewall.region import at_most, overlap
from firewall.report import Total, totals
from firewall.rules import Action, Policy, Rule, Vantage
from firewall.simulate import Replay


def withdraw_idle(proposal: Proposal, program: Program, replay: Replay, explainer: Explainer) -> bool:
    """Take such rules out of the policy. Returns whether there were any."""
    found = totals(program, replay)
    rules = _idle(proposal, found, explainer)
    proposal.policy = proposal.policy.with_rules(tuple(rule for rule in proposal.policy.rules if rule not in rules))
    left = {finding for rule in proposal.policy.rules for finding in rule.findings}
    before: dict[str, set[str]] = {}  # finding -> what is kept open in front of its rules, and was met
    for rule in rules:
        kept = {
            other.description.removeprefix(KEPT_OPEN)
            for other in proposal.policy.rules
            if other.action is Action.PERMIT
            and other.description.startswith(KEPT_OPEN)
            and other.id in found
            and found[other.id].hits
            and overlap(at_most(other.match), at_most(rule.match))
        }
        for finding in set(rule.findings) - left:
            before.setdefault(finding, set()).update(kept)
    for finding, names in before.items():
        why = f"{KEPT_OPEN}{' and '.join(sorted(names))}" if names else "decided by earlier rules"
        if not names and proposal.policy.vantage is Vantage.DOCKER:
            why = "of no connection that was opened to a container, and so are translated to none"
        proposal.advice.append(Note(finding, None, f"all its packets are {why}: a rule would stop nothing"))
    if rules:
        proposal.policy = proposal.policy.with_rules(tuple(_needed(proposal.policy)))
    return bool(rules)


def _needed(policy: Policy) -> Iterator[Rule]:
    """The rules, without permits in front of blocks that are gone."""
    drops = [at_most(rule.match) for rule in policy.rules if rule.action.stops]
    for rule in policy.rules:
        kept_open = rule.action is Action.PERMIT and rule.description.startswith(KEPT_OPEN)
        if not kept_open or policy.default is Action.DROP or any(overlap(at_most(rule.match), d) for d in drops):
            yield rule


def _idle(proposal: Proposal, found: dict[str, Total], explainer: Explainer) -> list[Rule]:
    """Rules with evidence and without a hit, all of whose packets earlier rules decided."""
    out = []
    for rule in proposal.policy.rules:
        total = found.get(rule.id)
        if total is None or total.hits or total.maybe or not rule.evidence or rule.match.rate or rule.match.states:
            continue
        if any(explainer.describes(line, ways) for line, ways in total.lines):
            out.append(rule)
    return out
