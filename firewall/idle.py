"""Rules of findings that met no packet because others come first: they say nothing that the policy does not say already.

In: a proposal with its replay. Out: the same without them; a finding that is left without any rule gets a note that
says why. Rules that were asked for, and rules with a state or a bucket, stay: theirs is another question.
Must not know captures or dialects.
"""

from __future__ import annotations

from firewall.essentials import KEPT_OPEN
from firewall.explain import Explainer
from firewall.program import Program
from firewall.proposal import Note, Proposal
from firewall.region import at_most, overlap
from firewall.report import totals
from firewall.rules import Action, Rule
from firewall.simulate import Replay


def idle(proposal: Proposal, program: Program, replay: Replay, explainer: Explainer) -> list[Rule]:
    """Rules with evidence and without a hit, all of whose packets earlier rules decided."""
    found = totals(program, replay)
    out = []
    for rule in proposal.policy.rules:
        total = found.get(rule.id)
        if total is None or total.hits or total.maybe or not rule.evidence or rule.match.rate or rule.match.states:
            continue
        if any(explainer.describes(line, ways) for line, ways in total.lines):
            out.append(rule)
    return out


def withdraw_idle(proposal: Proposal, rules: list[Rule]) -> None:
    """Take them out of the policy."""
    policy = proposal.policy
    proposal.policy = policy.with_rules(tuple(rule for rule in policy.rules if rule not in rules))
    still = {finding for rule in proposal.policy.rules for finding in rule.findings}
    for rule in rules:
        first = [
            other.description
            for other in proposal.policy.rules
            if other.action is Action.PERMIT and overlap(at_most(other.match), at_most(rule.match))
        ]
        kept = sorted({words for words in first if words.startswith(KEPT_OPEN)})
        for finding in rule.findings:
            if finding not in still:
                text = (
                    f"all its packets are {' and '.join(kept) or 'decided by earlier rules'}: a rule would stop nothing"
                )
                proposal.advice.append(Note(finding, None, text))
