"""Lock-outs: drops that would meet trusted or protected traffic, in spite of the permits in front of them. Exact.

In: a policy. Out: (rule, what it would cut), or ProtectedError. Must not know captures or dialects.
"""

from __future__ import annotations

from firewall.errors import ProtectedError
from firewall.minimise import served
from firewall.region import Region, at_least, at_most, common, overlap, without
from firewall.rules import Action, Match, Policy, Rule
from firewall.sets import AddrSet


def cuts(policy: Policy) -> list[tuple[Rule, str]]:
    """Drops that would meet trusted or protected traffic, in spite of the permits in front: (rule, what it meets)."""
    guarded = [(item.name, at_most(item.match)) for item in policy.protected]
    if policy.trusted:
        others = AddrSet.everything() - policy.contained
        # what a permitted network sends; a stranger who comes in to it may be blocked, that is what walls are for
        guarded.append(("what a permitted network sends", at_most(Match(src=policy.trusted, dst=others))))
    out: list[tuple[Rule, str]] = []
    for directions in served(policy):
        permitted: Region = []
        for rule in policy.rules:
            if rule.direction not in directions:
                continue
            if rule.action is Action.PERMIT:
                permitted += at_least(rule.match)
            if not rule.action.stops:
                continue
            region = at_most(rule.match)
            for name, space in [*guarded, *_answers(policy, rule)]:
                met = without(common(region, space), permitted) if overlap(region, space) else []
                if met and (rule, name) not in out:
                    out.append((rule, name))
    return out


def _answers(policy: Policy, rule: Rule) -> list[tuple[str, Region]]:
    """A drop of whatever comes in from anybody also cuts the answers to a permitted network; one that names a stranger,
    a service or new connections does not."""
    m = rule.match
    narrow = m.sport or m.dport or m.icmp or m.tcp_flags or m.rate or (m.states and "ESTABLISHED" not in m.states)
    if narrow or (m.src is not None and "src" not in m.negate) or not policy.trusted:
        return []
    others = AddrSet.everything() - policy.contained - policy.trusted
    return [("answers to a permitted network", at_most(Match(src=others, dst=policy.trusted)))] if others else []


def refuse_cuts(policy: Policy) -> None:
    """Raise ProtectedError where a drop of the policy would meet trusted or protected traffic."""
    found = cuts(policy)
    if found:
        rule, name = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ProtectedError(f"rule {rule.id}: {rule.action.value} would cut {name}{more}; --force insists")
