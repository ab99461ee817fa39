"""From captures to rules: analyse, survey, propose, replay, prove, render. The table of contents of `tapwall rules`.

In: paths and decisions; the clock (`created`) and the analyst's session are arguments. Out: `RulesResult`. The captures
are read three times (analysis, survey, replay) and a fourth for the proof: nothing grows with packets, and reading is
the cheap part; once more where the replay shows rules that nothing is left for. Nothing is written, nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis import run
from analysis.findings import Finding
from firewall import anomalies, foreign
from firewall.explain import Explainer
from firewall.files import all_files
from firewall.generate import Decisions, Proposal, propose
from firewall.idle import withdraw_idle
from firewall.lower import lower
from firewall.program import Program
from firewall.prove import Proof, prove
from firewall.report import policy_json, replay_json
from firewall.sets import AddrSet
from firewall.simulate import Simulator
from firewall.stops import finding_flows
from firewall.survey import Surveyor


@dataclass
class RulesResult:
    """Everything that `tapwall rules` shows; `to_json` is the contract of outputs.md."""

    analysis: run.Analysis
    proposal: Proposal
    policy: dict[str, Any]
    replay: dict[str, Any]
    anomalies: list[dict[str, Any]]
    proof: Proof | None
    files: dict[str, str]
    problems: list[str] = field(default_factory=list)
    compared: dict[str, dict[str, Any]] = field(default_factory=dict)  # foreign rules replayed beside ours

    def to_json(self) -> dict[str, Any]:
        """As outputs.md lays it down, with advice, refusals, titles of findings and what a format could not say beside it."""
        return {
            "policy": self.policy,
            "replay": self.replay,
            "anomalies": self.anomalies,
            "proof": self.proof.to_json() if self.proof else None,
            "files": self.files,
            "vantage_why": self.proposal.vantage_why,
            "advice": [note.to_json() for note in self.proposal.advice],
            "refused": [note.to_json() for note in self.proposal.refused],
            "problems": self.problems,
            "compared": self.compared,
            "titles": {finding.id: finding.title for finding in self.analysis.findings},
        }


def make_rules(
    paths: Sequence[str],
    decisions: Decisions,
    *,
    session: tuple[str, str, int] | None = None,
    created: int | None = None,
    with_proof: bool = True,
    compare: Sequence[tuple[str, str]] = (),
    progress: run.Progress | None = None,
    keylog: str | None = None,
) -> RulesResult:
    """Make, replay and prove the rules for some captures. `compare`: (name, text) of other rules to replay as well."""
    settings = run.Settings(trusted=decisions.permit, keylog=keylog)
    analysis = run.analyse(paths, settings=settings, progress=progress)
    findings = unique(analysis.findings)
    members = finding_flows(findings, analysis.flows, analysis.texts)
    surveyor = Surveyor(members)
    for batch in run.batches(paths):
        surveyor.update(batch)
    survey = surveyor.finish()
    proposal = propose(findings, decisions, survey, analysis.names, session=session, created=created)
    others = [(name, foreign.load(text, name)) for name, text in compare]
    own = AddrSet.parse(*decisions.own) if decisions.own else survey.own
    theirs = [
        (name, Simulator(o.program, local=o.policy.local if o.policy else own, findings=members), o.program)
        for name, o in others
    ]
    program, ours = _replay(paths, proposal, members, [s for _, s, _ in theirs])
    replay = ours.finish()
    explainer = Explainer(ours.conversations, proposal.policy.local)
    if withdraw_idle(proposal, program, replay, explainer):
        program, ours = _replay(paths, proposal, members)
        replay = ours.finish()
    policy = proposal.policy
    compared = {
        name: replay_json(p, s.finish(), s.conversations, Explainer(s.conversations, own)) for name, s, p in theirs
    }
    proof = prove(program, run.batches(paths), local=policy.local) if with_proof and policy.rules else None
    files, problems = all_files(policy)
    return RulesResult(
        analysis,
        proposal,
        policy_json(policy, program, replay, explainer, proposal.ladders),
        replay_json(program, replay, ours.conversations, explainer),
        [a.to_json() for a in anomalies.find(policy)],
        proof,
        files,
        problems,
        compared,
    )


def _replay(
    paths: Sequence[str],
    proposal: Proposal,
    members: Mapping[str, npt.NDArray[np.int64]],
    others: Sequence[Simulator] = (),
) -> tuple[Program, Simulator]:
    """The policy's program, and its simulator (and others) after all packets."""
    program = lower(proposal.policy).program
    ours = Simulator(program, local=proposal.policy.local, findings=members)
    for batch in run.batches(paths):
        for simulator in (ours, *others):
            simulator.update(batch)
    return program, ours


def unique(findings: Sequence[Finding]) -> list[Finding]:
    """Findings by id, the first of each: a rule names one finding once."""
    found: dict[str, Finding] = {}
    for finding in findings:
        found.setdefault(finding.id, finding)
    return list(found.values())
