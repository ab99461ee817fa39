"""From a scene of an attack to rules that stop it: every packet of the finding, in the replay and in a real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import all_cases, made

from firewall import namespace
from firewall.generate import Decisions
from tapwall.pipeline import RulesResult, make_rules

CASES = {case.id: case for case in all_cases()}
STOPPED = (  # scenes whose finding every packet of must be stopped: floods of what is kept open, usurped roles
    "dhcp-attack/ipv6-name-server",
    "dhcp-attack/ipv6-name-server-for-all",
    "dhcp-attack/ipv6-rogue-server",
    "dhcp-attack/rogue-server",
    "dns-anomaly/oversized-signature",
    "dns-anomaly/zone-transfer",
    "exploit/bad-neighbour",
    "icmp-error-flood/black-nurse",
    "icmp-error-flood/forged-senders",
    "icmp-error-flood/over-ipv6",
    "name-poisoning/netbios",
    "name-poisoning/over-ipv6",
    "name-poisoning/over-mdns",
    "name-poisoning/responder",
    "port-scan/protocol-scan",
    "router-advert/rogue-router",
    "router-advert/same-prefix",
)


def rules(name: str, folder: Path, *, proof: bool = False) -> RulesResult:
    return make_rules([made(CASES[name], folder)], Decisions(), with_proof=proof)


@pytest.mark.parametrize("name", STOPPED)
def test_the_rule_stops_the_finding(name: str, tmp_path: Path) -> None:
    """No packet of it slips through what is kept open, and no rule of it is dead."""
    result = rules(name, tmp_path)
    (finding,) = [f for f in result.analysis.findings if f.detector == CASES[name].detector]
    (stops,) = [row for row in result.replay["findings"] if row["id"] == finding.id]
    mine = [rule for rule in result.policy["rules"] if finding.id in rule["findings"]]

    assert mine and all(rule["hits"] for rule in mine)
    assert stops["stopped"] == stops["packets"] > 0


@pytest.mark.root
@pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
@pytest.mark.skipif(bool(namespace.missing_tools(("iptables-restore", "nft"))), reason="iptables or nft missing")
@pytest.mark.parametrize(
    "name", ["icmp-error-flood/black-nurse", "icmp-error-flood/over-ipv6", "dhcp-attack/rogue-server"]
)
def test_the_kernel_stops_it_as_well(name: str, tmp_path: Path) -> None:
    """Errors of no known conversation are INVALID there too, and what a false server sends finds no permit."""
    proof = rules(name, tmp_path, proof=True).proof

    assert proof is not None and proof.holds and (proof.equal, proof.not_comparable) == (proof.rules, [])
