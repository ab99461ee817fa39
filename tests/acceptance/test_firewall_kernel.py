"""Simulator and kernel over real captures: every rule has the same packets and bytes in both, in both dialects.

The rules of a capture are made from its own addresses and ports, so that they meet its packets: hosts, pairs, prefixes
cut in halves, services in lists and ranges, negations, protocols; a second policy adds connection states. Rules with
buckets depend on real time and are not drawn. `python tests/acceptance/test_firewall_kernel.py [N]` prints a line each.
"""

from __future__ import annotations

import csv
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from analysis import run
from firewall import namespace
from firewall.lower import lower
from firewall.prove import Proof, prove
from firewall.rules import WITH_PORTS, Action, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.survey import Survey, Surveyor

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"
CAPTURES = 50
PACKETS = (5, 5000)  # a capture has at least and at most so many, so that fifty take a minute or two
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.root,
    pytest.mark.skipif(not CORPUS.exists(), reason="no ../shared/captures/corpus"),
    pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}"),
    pytest.mark.skipif(bool(namespace.missing_tools(("iptables-restore", "nft", "ipset"))), reason="iptables, nft or ipset missing"),
]  # fmt: skip


@cache
def chosen(number: int = CAPTURES) -> tuple[str, ...]:
    """Captures spread evenly over all kinds, those without any IP packet left out."""
    with (CORPUS / "manifest.csv").open(encoding="utf-8") as file:
        names = [r["file"] for r in csv.DictReader(file) if PACKETS[0] <= int(r["packets"]) <= PACKETS[1]]
    kept = [name for name in names if has_ip(name)]
    return tuple(kept[int(at)] for at in np.linspace(0, len(kept) - 1, min(number, len(kept))))


def has_ip(name: str) -> bool:
    """True where the oracle counts IP packets."""
    text = (CORPUS / "oracle" / name / "hierarchy.tsv").read_text(encoding="utf-8", errors="replace")
    return "/ip\t" in text or "/ipv6\t" in text or "/ip/" in text or "/ipv6/" in text


def surveyed(path: str) -> Survey:
    surveyor = Surveyor({})
    for batch in run.batches([path]):
        surveyor.update(batch)
    return surveyor.finish()


def policy_for(survey: Survey, *, states: bool) -> Policy:
    """Rules that meet this capture: what its busiest conversations are made of."""
    t = survey.table
    rules: list[Rule] = []
    if states:
        rules += [Rule(Action.COUNT, Match(states=frozenset({s}))) for s in STATES]
    busy = np.argsort(-t.packets, kind="stable")[:12].tolist()
    for n, at in enumerate(busy):
        a, b = (AddrSet.parse(survey.text(int(side[at]))) for side in (t.a, t.b))
        proto, port = int(t.proto[at]), int(t.b_port[at])
        known = 1 <= proto <= 255
        ported = known and proto in WITH_PORTS
        service = PortSet.of(port, 443, 8080) if n % 2 else PortSet.parse(f"{max(port - 5, 0)}-{min(port + 5, 65535)}")
        matches = [Match(src=a, dst=b), Match(dst=b), Match(src=a, negate=frozenset({"src"}))]
        if known:
            matches.append(Match(proto=proto, negate=frozenset({"proto"}) if n % 3 == 2 else frozenset()))
        if ported:
            matches += [Match(dst=b, proto=proto, dport=service), Match(src=b, proto=proto, sport=PortSet.of(port))]
            matches.append(Match(proto=proto, dport=service, negate=frozenset({"dport"})))
        action = (Action.COUNT, Action.COUNT, Action.DROP, Action.PERMIT)[n % 4]
        rules += [Rule(Action.COUNT if i % 3 else action, m) for i, m in enumerate(matches)]
    everybody = AddrSet.parse(*(survey.text(n) for n in range(0, len(survey.conversations.address_words), 2)))
    if everybody:
        rules.append(Rule(Action.COUNT, Match(src=everybody)))
    rules += [Rule(Action.COUNT, Match(proto=6, tcp_flags=(0x17, 2))), Rule(Action.DROP, Match(proto=6, tcp_flags=(4, 4)))]  # fmt: skip
    if states:
        rules.insert(5, Rule(Action.DROP, Match(states=frozenset({"INVALID"}), proto=6)))
    unique = {rule.id: rule for rule in rules}
    return Policy(tuple(unique.values()), vantage=Vantage.ROUTER)


def proved(name: str, *, states: bool) -> Proof:
    """One capture, all of it as forwarded."""
    path = str(CORPUS / name)
    return prove(lower(policy_for(surveyed(path), states=states)).program, run.batches([path]))


@pytest.mark.parametrize("states", [False, True], ids=["stateless", "stateful"])
def test_counters_are_the_kernels(states: bool) -> None:
    """Fifty captures: N of N rules equal in packets and bytes, both dialects."""
    bad = {}
    total = 0
    for name in chosen():
        proof = proved(name, states=states)
        total += proof.equal
        excused = len(proof.not_comparable) if states else 0  # states of SCTP are not modelled: named, never guessed
        if proof.different or proof.equal != proof.rules - excused or len(proof.dialects) != 2:
            bad[name] = (proof.reason, proof.different[:2], proof.not_comparable, proof.notes)

    assert len(chosen()) == CAPTURES
    assert total > 20 * CAPTURES
    assert bad == {}


def main() -> None:
    """Print a line a capture."""
    equal = rules = 0
    for name in chosen(int(sys.argv[1]) if len(sys.argv) > 1 else CAPTURES):
        for states in (False, True):
            proof = proved(name, states=states)
            equal, rules = equal + proof.equal, rules + proof.rules
            words = [str(d) for d in proof.different[:2]] + proof.not_comparable[:2] + proof.notes
            sys.stdout.write(f"{name}\t{'stateful' if states else 'stateless'}\t{proof.equal} of {proof.rules} rules equal\t{proof.sent} packets\t{'; '.join(words)}\n")  # fmt: skip
            sys.stdout.flush()
    sys.stdout.write(f"{equal} of {rules} rules equal\n")


if __name__ == "__main__":
    main()
