"""Loads in portions say what one load says, and fit where a user has no large netlink buffer."""

from __future__ import annotations

import firewall_packets as fp
import pytest
from hypothesis import given, settings

from firewall import namespace, portions
from firewall.apply import normalised, try_load
from firewall.files import all_files
from firewall.lower import lower
from firewall.portions import nft_steps, restore_steps
from firewall.prove import prove
from firewall.render.nftables import TABLE
from firewall.rules import Action, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet

kernel = pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
MANY = Policy(
    tuple(
        Rule(Action.DROP, Match(src=AddrSet.parse(f"10.{n >> 8}.{n & 255}.1"), proto=6, dport=PortSet.of(n + 1)))
        for n in range(1000)
    ),
    vantage=Vantage.ROUTER,
)
LONG = Policy(
    (Rule(Action.DROP, Match(src=AddrSet.of(4, [(0x0B000000 + 3 * n, 0x0B000000 + 3 * n) for n in range(20_000)]))),),
    vantage=Vantage.ROUTER,
)


def test_small_loads_stay_whole() -> None:
    """One transaction where it fits."""
    text = all_files(Policy((MANY.rules[0],), vantage=Vantage.ROUTER))[0]["rules.v4"]

    assert [step["input"] for step in restore_steps("iptables", text)] == [text]


@settings(deadline=None, max_examples=10)
@given(fp.policies(states=True))
def test_nothing_is_lost_or_said_twice(policy: Policy) -> None:
    """Every rule of a restore file stands in exactly one portion, in order; chains are declared in the first alone."""
    text = all_files(policy)[0]["rules.v4"]
    parts = portions._restore_parts(text)
    rules = [line for part in parts for line in part.splitlines() if line.startswith("-A ")]

    assert rules == [line for line in text.splitlines() if line.startswith("-A ")]
    assert not any(line.startswith(":") for part in parts[1:] for line in part.splitlines())


@pytest.mark.root
@kernel
@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_portions_are_the_whole(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel prints after a load in portions is what it prints after one load."""
    policy = Policy((*MANY.rules[:7], Rule(Action.DROP, Match(src=AddrSet.parse(*(f"10.9.{n}.1" for n in range(30)))))), vantage=Vantage.HOST)  # fmt: skip
    whole = normalised(policy, backend)
    for module in ("firewall.portions", "firewall.apply"):
        monkeypatch.setattr(f"{module}.WHOLE", 1)
    monkeypatch.setattr(portions, "RULES", 3)
    monkeypatch.setattr(portions, "ELEMENTS", 7)

    assert sorted(normalised(policy, backend)) == sorted(whole)
    assert len(nft_steps(lower(policy).program, TABLE)) > 5


@pytest.mark.root
@kernel
@pytest.mark.parametrize("policy", [MANY, LONG], ids=["1000 rules", "20000 addresses"])
@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_large_policies_load_without_privileges(policy: Policy, backend: str) -> None:
    """Beyond net.core.wmem_max a single transaction is refused in a user namespace."""
    try_load(policy, backend)


@pytest.mark.root
@kernel
def test_large_policies_are_proved() -> None:
    """A thousand rules and their counters."""
    proof = prove(lower(MANY).program, [fp.batch([fp.tcp("10.0.5.1", 1, "192.0.2.1", 6)] * 9)])

    assert (proof.different, proof.equal) == ([], 1000)


@pytest.mark.slow
@pytest.mark.root
@kernel
@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_a_hundred_thousand_suspects_are_one_rule(backend: str) -> None:
    """Rendered and loaded, each backend (how fast: bench/firewall.py)."""
    suspects = AddrSet.of(4, [(0x0B000000 + 3 * n, 0x0B000000 + 3 * n) for n in range(100_000)])
    policy = Policy((Rule(Action.DROP, Match(src=suspects), ttl_s=86400),), vantage=Vantage.ROUTER, created=2_000_000_000)  # fmt: skip
    files, problems = all_files(policy)

    assert problems == [] and sum(line.startswith("-A ") for line in files["rules.v4"].splitlines()) == 1
    try_load(policy, backend)
