"""The real kernel beside the simulator: counters equal, files load, dialects agree. Needs a namespace of one's own."""

from __future__ import annotations

import firewall_packets as fp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firewall import namespace
from firewall.apply import try_load
from firewall.lower import lower
from firewall.prove import prove
from firewall.rules import Policy, Vantage

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}"),
    pytest.mark.skipif(
        bool(namespace.missing_tools(("iptables-restore", "nft", "ipset"))), reason="iptables, nft or ipset missing"
    ),
]
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def proof_of(policy: Policy, packets: list[bytes]) -> object:
    """Prove a policy over packets."""
    local = policy.local if policy.vantage is Vantage.HOST else None
    return prove(lower(policy).program, [fp.batch(packets)], local=local)


@SLOW
@given(fp.policies())
def test_any_policy_loads(policy: Policy) -> None:
    """Whatever can be said in a policy renders to files that the kernel takes: both iptables families, nft."""
    for backend in ("iptables", "nft"):
        try_load(policy, backend)


@SLOW
@given(fp.policies(), st.lists(fp.packets(), min_size=1, max_size=120))
def test_counters_equal(policy: Policy, packets: list[bytes]) -> None:
    """Stateless rules: every line has the simulator's packets and bytes, in both dialects, malformed packets included."""
    proof = proof_of(policy, packets)

    assert (proof.different, proof.notes) == ([], [])
    assert proof.dialects == ["iptables", "nft"]
    assert proof.equal == proof.rules


@SLOW
@given(fp.policies(states=True), st.lists(fp.packets(fragments=False), min_size=1, max_size=120))
def test_counters_equal_with_states(policy: Policy, packets: list[bytes]) -> None:
    """Stateful rules: connection states are the kernel's, with drops that keep connections from being known."""
    proof = proof_of(policy, packets)

    assert (proof.different, proof.notes) == ([], [])
