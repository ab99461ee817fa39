"""Blocks that findings call for: the narrowest sufficient rung against who is accountable, advice where none is fair.

In: findings, the decisions and the survey. Out: DROP rules with their evidence; what gets none is a note with the reason.
A rule stops the accountable side, never the victim; an address that many share is not blocked; a permitted network is
not. Must not know detectors, dialects, files or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.findings import Finding, Severity
from firewall import shared
from firewall.crowd import crowd
from firewall.errors import RuleError
from firewall.ladder import ENOUGH, Rung, climb, stopped_share
from firewall.proposal import Decisions, Note, Proposal, direction
from firewall.rules import Action, Evidence, Policy, Rule, Vantage
from firewall.sets import AddrSet
from firewall.survey import Survey

BELOW = (
    "it has no conversation that an IP filter could tell from honest ones (ARP, Wi-Fi, switches, floods of "
    "announcements): stop it at the switch port"
)
TEXT_MAX = 200  # characters of a finding's title kept as a rule's reason


class Blocker:
    """Rules out of one capture's findings."""

    def __init__(
        self,
        base: Policy,
        decisions: Decisions,
        survey: Survey,
        names: Mapping[str, Sequence[str]],
        proposal: Proposal,
        usurpers: AddrSet,
        served: AddrSet,
    ) -> None:
        """`usurpers`: accused of a role that is not theirs; `served`: who held a role of this network, rightly or not."""
        self.base, self.decisions, self.survey, self.names, self.proposal = base, decisions, survey, names, proposal
        self.usurpers, self.served = usurpers, served

    def findings(self, findings: Sequence[Finding], contained: AddrSet) -> list[Rule]:
        """The blocks that findings call for; the rest becomes advice."""
        out: list[Rule] = []
        for finding in findings:
            reason = self._why_not(finding, contained)
            if reason is not None:
                address = finding.accountable.address if finding.accountable else None
                if finding.severity >= Severity.LOW:
                    self.proposal.advice.append(Note(finding.id, address, reason))
                continue
            if finding.accountable is None:
                out += self._crowd(finding)
            else:
                out += self._blocks(finding, finding.accountable.address, finding.accountable.side)
                self._say_usurped(finding, finding.accountable.address)
        return out

    def _say_usurped(self, finding: Finding, address: str) -> None:
        """A block of who serves the network is said, for the network then needs the true server."""
        if address in self.usurpers & self.served:
            text = f"{address} also served as gateway, DNS, DHCP or time server here, a role that it is accused of having usurped: see that the true one answers before you load the rule"
            self.proposal.advice.append(Note(finding.id, address, text))

    def _why_not(self, finding: Finding, contained: AddrSet) -> str | None:
        """Why a finding gets no rule, or None."""
        if finding.severity < self.decisions.severity:
            return f"watch: severity {finding.severity.word} is below {self.decisions.severity.word}"
        if finding.accountable is None:
            return self._why_no_crowd(finding)
        address = finding.accountable.address
        try:
            host = AddrSet.parse(address)
        except RuleError:
            return f"watch: {address} is no IP address, which is what a packet filter matches: find its switch port"
        if host & contained:
            return f"{address} is contained as a whole"
        if host & self.base.trusted:
            return f"{address} is in a permitted network: never blocked"
        if host & shared.group():
            return f"{address} is a group address: no host to block"
        owner = shared.operator(address)
        if owner is not None:
            return f"{address} is shared ({owner}): a block would also hit everything else there; use a name-based rule or a rate limit"
        known = list(self.names.get(address, ()))
        if shared.owners(known) >= shared.NAMES_SHARED and not host & self.usurpers:  # those gave the names themselves
            return f"{address} is shared: {len(known)} names of {shared.owners(known)} owners in this capture"
        if host & (self.survey.gateways | self.survey.resolvers):
            return f"{address} is the gateway or a resolver here: blocking it cuts everybody off"
        if not finding.flows or not self._members(finding):
            return f"watch: {BELOW}"
        return None

    def _members(self, finding: Finding) -> int:
        """How many conversations of a packet filter belong to a finding."""
        return len(self.survey.members.get(finding.id, ()))

    def _why_no_crowd(self, finding: Finding) -> str | None:
        """Why many senders against one target get no rule, or None."""
        if crowd(self.survey, finding.id, self._spared()) is not None:
            return None
        if not self._members(finding):
            return f"watch: {BELOW}"
        if crowd(self.survey, finding.id, AddrSet()) is not None:
            return "watch: its senders are shared, vital or permitted addresses: a rule would cut off everything else there"
        return "watch: no side is accountable, a rule could stop the victim"

    def _spared(self) -> AddrSet:
        """Who is never in a set of sources, whatever a finding says: shared and vital addresses, and the trusted."""
        vital = self.survey.gateways | self.survey.resolvers | self.survey.time_servers
        return shared.everybody() | shared.group() | vital | self.base.trusted | self.base.contained | self.survey.own

    def _crowd(self, finding: Finding) -> list[Rule]:
        """One rule with a set of sources against many senders to one target."""
        found = crowd(self.survey, finding.id, self._spared())
        if found is None or not found.rung.gain_packets:
            return []
        if found.left_out:
            text = f"senders that are shared, vital or permitted addresses were left out of the rule: {found.left_out}"
            self.proposal.advice.append(Note(finding.id, found.target, text))
        if finding.extra.get("spoofed_sources_likely"):
            text = (
                "its sources are probably forged: the rule stops those that were seen; --protect limits new connections"
            )
            self.proposal.advice.append(Note(finding.id, found.target, text))
        leaves = bool(self.base.local) and found.target not in self.base.local
        return self._rules(finding, found.rung, [found.rung], leaves)

    def _blocks(self, finding: Finding, address: str, side: str) -> list[Rule]:
        """Rules against the accountable address: its side, and the way back where one side alone leaves too much."""
        chosen: dict[str, tuple[list[Rung], Rung]] = {}
        for one in ("source", "destination") if side == "both" else (side,):
            rungs, rung = self._climb(finding, address, one)
            if rung is not None and rung.gain_packets:
                chosen[one] = (rungs, rung)
        taken = {one: rung for one, (_, rung) in chosen.items()}
        if side != "both" and stopped_share(self.survey, finding.id, address, taken) < ENOUGH:
            other = {"source": "destination", "destination": "source"}[side]
            back = side == "source" and side in chosen  # what it only answered is best stopped where it is asked
            rungs, rung = self._climb(finding, address, other, answered=back)
            if rung is not None and rung.gain_packets:
                chosen[other] = (rungs, rung)
        if not chosen:
            self.proposal.advice.append(
                Note(finding.id, address, f"no packet of it has {address} as {side}: a rule would stop nothing")
            )
        out = []
        for one, (rungs, rung) in chosen.items():
            own = bool(AddrSet.parse(address) & self.base.local)
            out += self._rules(finding, rung, rungs, own if one == "source" else not own)
        return out

    def _climb(
        self, finding: Finding, address: str, side: str, *, answered: bool = False
    ) -> tuple[list[Rung], Rung | None]:
        prefix = next((net for net in self.decisions.widen if address in AddrSet.parse(net)), None)
        spared = self.base.local if self.base.vantage is Vantage.HOST and address in self.base.local else None
        return climb(self.survey, finding.id, address, side, prefix, spared=spared, answered=answered)

    def _rules(self, finding: Finding, chosen: Rung, rungs: list[Rung], leaves: bool) -> list[Rule]:
        title = finding.title[:TEXT_MAX]
        evidence = Evidence(
            finding.id, finding.detector, finding.severity.word, finding.confidence, finding.frames[:100], title
        )
        out = []
        where = direction(self.base.vantage, out=leaves)
        for match in chosen.matches:
            rule = Rule(Action.DROP, match, where, self.decisions.ttl_s, title, (evidence,))
            self.proposal.ladders[rule.id] = rungs
            out.append(rule)
        return out
