"""From findings and the analyst's decisions to a policy: the narrowest rules that suffice, and advice where none is fair.

In: findings, decisions (permit, contain, protect), the survey of the capture. Out: `Proposal`: the policy, what is left
to advice and why, what was refused and why, and the ladder behind each rule. A rule stops the accountable side, never
the victim; an address that many share is not blocked; every block expires; what keeps the network alive stays open,
but not to who usurped it.
Must not know detectors, dialects, files or clocks (`created` is an argument).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from analysis.findings import Finding, Severity
from firewall.blocks import Blocker
from firewall.errors import RuleError
from firewall.essentials import KEPT_OPEN, Surroundings, protect, withdraw
from firewall.lockout import cuts
from firewall.minimise import minimise
from firewall.proposal import Decisions, Note, Proposal, direction
from firewall.region import at_most, overlap, without
from firewall.rules import WITH_PORTS, Action, Direction, Match, Policy, Rate, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.shared import private
from firewall.survey import Survey

__all__ = ["Decisions", "Note", "Proposal", "propose"]

MIDDLE = "T1557"  # ATT&CK: Adversary-in-the-Middle, and its kinds
GUARD_FACTOR = 2  # --protect: twice the fastest source seen in this capture is still let through …
GUARD_LEAST = 10  # … and never less than ten new connections a second


def propose(
    findings: Sequence[Finding],
    decisions: Decisions,
    survey: Survey,
    names: Mapping[str, Sequence[str]],
    *,
    session: tuple[str, str, int] | None = None,
    created: int | None = None,
) -> Proposal:
    """Make the policy. Raises RuleError for decisions that cannot be meant, ProtectedError never: refusals are notes."""
    contained = AddrSet.parse(*decisions.contain)
    trusted = AddrSet.parse(*decisions.permit) - contained
    survey = _with_own(survey, decisions, contained)
    vantage, why = _vantage(decisions, survey)
    own = survey.own
    accused = _accused(findings, decisions.severity, trusted)
    near = private() | own | trusted
    strangers = {finding: address for finding, address in accused.items() if not AddrSet.parse(address) & near}
    served = survey.gateways | survey.resolvers | survey.dhcp_servers | survey.time_servers
    survey = survey.disowned(strangers, usurpers := _usurpers(findings, accused))
    around = Surroundings(own, survey.gateways, survey.resolvers, survey.time_servers, session)
    base = Policy(
        vantage=vantage,
        local=own if vantage is Vantage.HOST else AddrSet(),  # elsewhere its packets are anybody's
        trusted=trusted,
        contained=contained,
        protected=protect(around, vantage, contained),
        created=created,
    )
    proposal = Proposal(base, why)
    maker, blocker = (
        _Maker(base, decisions, survey),
        Blocker(base, decisions, survey, names, proposal, usurpers, served),
    )
    blocks = [*maker.contain(contained), *maker.guard(), *blocker.findings(findings, contained)]
    base = replace(base, protected=withdraw(base.protected, blocks, AddrSet.parse(*accused.values()), near))
    blocks = _admitted(base, blocks, decisions.force, proposal)
    heard = Direction.ANY if vantage is Vantage.HOST else maker.direction(out=True)
    permits = [
        Rule(Action.PERMIT, Match(src=AddrSet.parse(net)), heard, description=f"permitted by the analyst: {net}")
        for net in decisions.permit
    ]
    learned = maker.learned() if decisions.permit_learned else []
    default = Action.DROP if decisions.permit_learned else Action.PERMIT
    exempt = _exemptions(base, [*blocks, *([Rule(Action.DROP)] if learned else [])])
    blocks = _effective(blocks, exempt, proposal)
    exempt = _exemptions(base, [*blocks, *([Rule(Action.DROP)] if learned else [])])
    state = [*maker.established()] if learned else []
    rules = _once([*exempt, *blocks, *state, *permits, *learned])
    policy = replace(base, rules=tuple(rules), default=default, forced=decisions.force)
    proposal.policy = _smaller(policy, proposal)
    return proposal


def _accused(findings: Sequence[Finding], severity: Severity, trusted: AddrSet) -> dict[str, str]:
    """Finding -> the IP address that it holds accountable, where that calls for a rule. A name that is probably forged
    is its owner's, who keeps all rights."""
    out = {}
    for finding in findings:
        forged = finding.extra.get("spoofed_sources_likely")
        if finding.accountable is not None and finding.severity >= severity and not forged:
            try:
                address = AddrSet.parse(finding.accountable.address)
            except RuleError:  # a MAC
                continue
            if not address & trusted:
                out[finding.id] = finding.accountable.address
    return out


def _usurpers(findings: Sequence[Finding], accused: Mapping[str, str]) -> AddrSet:
    """Who is accused of standing between others: a false router, DHCP or name server, an ARP spoofer."""
    return AddrSet.parse(
        *(
            accused[finding.id]
            for finding in findings
            if finding.id in accused and any(technique.startswith(MIDDLE) for technique, _ in finding.attack)
        )
    )


def _with_own(survey: Survey, decisions: Decisions, contained: AddrSet) -> Survey:
    """The survey with the own addresses that were named; on a host that nothing else tells of, the contained one."""
    if decisions.own:
        return replace(survey, own=AddrSet.parse(*decisions.own), own_why="named by --own")
    if decisions.vantage is Vantage.HOST and not survey.own and contained:
        return replace(survey, own=contained, own_why="the contained host")
    return survey


def _vantage(decisions: Decisions, survey: Survey) -> tuple[Vantage, str]:
    if decisions.vantage is Vantage.HOST and not survey.own:
        return (
            Vantage.HOST,
            f"as asked, but the host is not known ({survey.own_why}): nothing is its own traffic, so no rule is met; name its address by --own",
        )
    if decisions.vantage is not None:
        return decisions.vantage, "as asked"
    if survey.own:
        return Vantage.HOST, f"derived: {survey.own_why}"
    return Vantage.SPAN, f"derived: {survey.own_why}"


class _Maker:
    """Rules out of the analyst's decisions and what a capture shows."""

    def __init__(self, base: Policy, decisions: Decisions, survey: Survey) -> None:
        self.base, self.decisions, self.survey = base, decisions, survey

    def direction(self, *, out: bool) -> Direction:
        """See `proposal.direction`."""
        return direction(self.base.vantage, out=out)

    def contain(self, contained: AddrSet) -> list[Rule]:
        """Cut a host off, both ways; the essentials are exempted in front."""
        out = []
        for text in self.decisions.contain:
            host = AddrSet.parse(text)
            own = bool(host & self.base.local)
            for match, leaves in ((Match(src=host), own), (Match(dst=host), not own)):
                words = f"contain {text}: {'from' if match.src else 'to'} it"
                out.append(Rule(Action.DROP, match, self.direction(out=leaves), self.decisions.ttl_s, words))
        return out

    def guard(self) -> list[Rule]:
        """--protect: new connections to a service above twice the fastest source of this capture are dropped."""
        out = []
        for text in self.decisions.protect:
            host, port = service(text)
            rate = Rate(
                max(GUARD_LEAST, GUARD_FACTOR * self._fastest(host, port)),
                1,
                max(GUARD_LEAST, GUARD_FACTOR * self._fastest(host, port)),
                True,
                ("src",),
            )
            spared = self._spared(host)
            sides = {"src": spared, "negate": frozenset({"src"})} if spared else {}
            match = Match(dst=host, proto=6, dport=port, tcp_flags=(0x17, 2), rate=rate, **sides)  # type: ignore[arg-type]
            inward = not self.base.local or bool(host & self.base.local)
            out.append(
                Rule(
                    Action.DROP,
                    match,
                    self.direction(out=not inward),
                    self.decisions.ttl_s,
                    f"protect {text}: new connections per source above {rate.packets}/s",
                )
            )
        return out

    def _spared(self, host: AddrSet) -> AddrSet:
        """Who is not limited: permitted networks, and whoever is protected in speaking to this host (itself, its gateway,
        the analyst)."""
        out = self.base.trusted
        for item in self.base.protected:
            if not item.exempt and item.match.src is not None and item.match.dst is not None and item.match.dst & host:
                out |= item.match.src
        return out.only(next(iter(host.families)))

    def _fastest(self, host: AddrSet, port: PortSet | None) -> int:
        """Most connections that one source opened to the service (an upper bound of its rate in any second)."""
        t = self.survey.table
        numbers = [n for n in range(len(self.survey.conversations.address_words)) if self.survey.text(n) in host]
        rows = np.isin(t.b, np.array(numbers, np.int64)) & (t.proto == 6) & ~self.survey.bad()
        if port is not None:
            rows &= np.isin(
                t.b_port, np.array([p for low, high in port.ranges for p in range(low, high + 1)], np.int64)
            )
        counts = np.unique(t.a[rows], return_counts=True)[1]
        return min(int(counts.max(initial=0)), 1000)

    def established(self) -> list[Rule]:
        """What a default of DROP needs in front: own loopback, and answers to what was let through."""
        loop = [Rule(Action.PERMIT, Match(iif="lo"), self.direction(out=False), description="loopback"), Rule(Action.PERMIT, Match(oif="lo"), self.direction(out=True), description="loopback")]  # fmt: skip
        known = Match(states=frozenset({"ESTABLISHED", "RELATED"}))
        answers = [
            Rule(Action.PERMIT, known, d, description="answers to what was permitted")
            for d in sorted({self.direction(out=False), self.direction(out=True)}, key=lambda d: d.value)
        ]
        return [*(loop if self.base.vantage is Vantage.HOST else []), *answers]

    def learned(self) -> list[Rule]:
        """The least privilege that this capture shows: who opened what to whom, findings left out."""
        t, bad = self.survey.table, self.survey.bad()
        groups: dict[tuple[bool, int, int], tuple[set[int], set[int]]] = {}
        for at in np.flatnonzero(~bad).tolist():
            proto = int(t.proto[at])
            if not 1 <= proto <= 255:  # iptables has no word for protocol 0: the default decides
                continue
            if proto in WITH_PORTS and not t.b_port[at]:  # later fragments: put together before these rules see them
                continue
            out = self.survey.text(int(t.a[at])) in self.base.local if self.base.local else True
            key = (out, proto, int(t.b_port[at]))
            sources, targets = groups.setdefault(key, (set(), set()))
            sources.add(int(t.a[at]))
            targets.add(int(t.b[at]))
        rules = []
        for (out, proto, port), (sources, targets) in sorted(groups.items()):
            for family in (4, 6):
                sides = [
                    AddrSet.parse(*(self.survey.text(n) for n in side)).only(family) for side in (sources, targets)
                ]
                if not all(sides) or (proto in (1, 58) and {1: 4, 58: 6}[proto] != family):
                    continue
                ports = PortSet.of(port) if proto in WITH_PORTS else None
                rules.append(
                    Rule(
                        Action.PERMIT,
                        Match(src=sides[0], dst=sides[1], proto=proto, dport=ports),
                        self.direction(out=out),
                        description="learned from this capture",
                    )
                )
        return rules


def service(text: str) -> tuple[AddrSet, PortSet | None]:
    """ "10.0.0.5", "10.0.0.5:443", "[2001:db8::1]:443". Raises RuleError."""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise RuleError(f"address: got {text[:80]!r}, expected [address]:port")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    ports = PortSet.parse(port) if port else None
    if ports is not None and 0 in ports:
        raise RuleError(f"port: got {port!r}, expected 1 to 65535")
    return AddrSet.parse(host), ports


def _admitted(base: Policy, blocks: list[Rule], force: bool, proposal: Proposal) -> list[Rule]:
    """Blocks that meet nothing protected beyond the exempt services; the others are refused with the reason."""
    strict = replace(base, protected=tuple(p for p in base.protected if not p.exempt))
    out = []
    for rule in blocks:
        met = cuts(strict.with_rules((rule,)))
        if met and not force:
            finding = rule.findings[0] if rule.findings else None
            proposal.refused.append(
                Note(
                    finding,
                    None,
                    f"{rule.id} {rule.description}: would cut {', '.join(sorted({n for _, n in met}))}; --force insists",
                )
            )
            continue
        out.append(rule)
    return out


def _effective(blocks: list[Rule], exempt: list[Rule], proposal: Proposal) -> list[Rule]:
    """Blocks of which something is left when the services that stay open are taken out; the others become advice."""
    open_space = [box for rule in exempt for box in at_most(rule.match)]
    out = []
    for rule in blocks:
        if without(at_most(rule.match), open_space):
            out.append(rule)
            continue
        kept = sorted({e.description for e in exempt if overlap(at_most(e.match), at_most(rule.match))})
        text = (
            f"all that a rule could match is {' and '.join(kept)}; block the names at the resolver, or contain the host"
        )
        for finding in rule.findings or (None,):
            proposal.advice.append(Note(finding, None, text))
    return out


def _exemptions(base: Policy, blocks: Sequence[Rule]) -> list[Rule]:
    """Permits for the exempt services that some block would meet, in front of all blocks."""
    regions = [(rule, at_most(rule.match)) for rule in blocks if rule.action.stops]
    out = []
    for item in base.protected:
        if not item.exempt:
            continue
        space = at_most(item.match)
        directions = {rule.direction for rule, region in regions if overlap(region, space)}
        if directions:
            direction = next(iter(directions)) if len(directions) == 1 else Direction.ANY
            out.append(Rule(Action.PERMIT, item.match, direction, description=f"{KEPT_OPEN}{item.name}"))
    return out


def _once(rules: Sequence[Rule]) -> list[Rule]:
    """Equal rules of several findings become one, with all their evidence."""
    found: dict[str, Rule] = {}
    for rule in rules:
        before = found.get(rule.id)
        if before is None:
            found[rule.id] = rule
        else:
            evidence = (*before.evidence, *(e for e in rule.evidence if e not in before.evidence))
            found[rule.id] = replace(before, evidence=evidence, ttl_s=max(before.ttl_s or 0, rule.ttl_s or 0) or None)
    return list(found.values())


def _smaller(policy: Policy, proposal: Proposal) -> Policy:
    """The minimised policy; a merged rule keeps the ladder of its parts. A policy too entangled to judge stays as it is."""
    ordered = policy.with_rules(tuple(_grouped(policy.rules)))
    try:
        smaller = minimise(ordered)
    except RuleError:
        return policy
    for rule in smaller.rules:
        if rule.id not in proposal.ladders and rule.evidence:
            parts = [
                old.id for old in policy.rules if set(old.findings) & set(rule.findings) and old.id in proposal.ladders
            ]
            if parts:
                proposal.ladders[rule.id] = proposal.ladders[parts[0]]
    return smaller


def _grouped(rules: Sequence[Rule]) -> list[Rule]:
    """Blocks from findings that differ in their source or target only stand side by side, so that they can be joined."""

    def shape(rule: Rule) -> str:
        key = rule.match.key()
        return repr(
            (
                rule.direction.value,
                key.get("proto"),
                key.get("dport"),
                key.get("sport"),
                key.get("dst") if "src" in key else "",
                key,
            )
        )

    blocks = iter(sorted((r for r in rules if r.evidence), key=shape))
    return [next(blocks) if rule.evidence else rule for rule in rules]
