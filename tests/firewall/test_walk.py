"""First match, jumps, returns, policies and doubt; the vectorised walk and the one-packet walk agree."""

from __future__ import annotations

import firewall_packets as fp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.errors import RuleError
from firewall.lower import lower
from firewall.program import FRAGMENTS, SHORT_HEADERS, Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import Policy, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Simulator

A, B = "10.0.0.1", "192.0.2.5"
FROM_A, FROM_B = (Condition("src", AddrSet.parse(host)) for host in (A, B))
TCP, PORT80 = Condition("proto", PortSet.of(6)), Condition("dport", PortSet.of(80))
UNKNOWN = Condition("unknown", "-m geoip")
FORWARD = (Base("forward", Hook.FORWARD),)


def fate(chains: dict[str, tuple[Line, ...]], bases: tuple[Base, ...] = FORWARD, packet: bytes = b"", dialect: str = "iptables") -> str:  # fmt: skip
    """What happens to one packet from A, by both walks."""
    packet = packet or fp.tcp(A, 1024, B, 80)
    words = []
    for stepwise in (False, True):
        simulator = Simulator(Program(chains, bases, dialect=dialect), stepwise=stepwise)
        verdicts = simulator.update(fp.batch([packet]))
        words.append("dropped" if verdicts.dropped[0] else "doubtful" if verdicts.doubtful[0] else "passes")
    assert words[0] == words[1]
    return words[0]


DROP, ACCEPT, RETURN = (Line((FROM_A,), v) for v in (Verdict.DROP, Verdict.ACCEPT, Verdict.RETURN))
JUMP, GOTO = (Line((FROM_A,), v, "x") for v in (Verdict.JUMP, Verdict.GOTO))
MAYBE = (Condition("src", AddrSet.parse(A)), UNKNOWN)
CHAINS: dict[str, tuple[dict[str, tuple[Line, ...]], str]] = {
    "first match wins": ({"forward": (ACCEPT, DROP)}, "passes"),
    "no match, policy": ({"forward": (Line((FROM_B,), Verdict.DROP),)}, "passes"),
    "counting goes on": ({"forward": (Line((FROM_A,)), DROP)}, "dropped"),
    "jump and drop": ({"forward": (JUMP,), "x": (DROP,)}, "dropped"),
    "jump and back": ({"forward": (JUMP, DROP), "x": ()}, "dropped"),
    "return to the caller": ({"forward": (JUMP, DROP), "x": (RETURN, ACCEPT)}, "dropped"),
    "return from a base chain": ({"forward": (RETURN, DROP)}, "passes"),
    "goto does not come back": ({"forward": (GOTO, DROP), "x": ()}, "passes"),
    "goto inside a jump returns to the first caller": ({"forward": (JUMP, DROP), "x": (Line((FROM_A,), Verdict.GOTO, "y"), ACCEPT), "y": ()}, "dropped"),
    "a loop ends": ({"forward": (JUMP, DROP), "x": (Line((FROM_A,), Verdict.JUMP, "x"),)}, "dropped"),
    "unknown match, drop": ({"forward": (Line(MAYBE, Verdict.DROP),)}, "doubtful"),
    "unknown match, accept, then drop": ({"forward": (Line(MAYBE, Verdict.ACCEPT), DROP)}, "doubtful"),
    "unknown match after a certain drop": ({"forward": (DROP, Line(MAYBE, Verdict.ACCEPT))}, "dropped"),
    "unknown but both ways drop": ({"forward": (Line(MAYBE, Verdict.DROP), DROP)}, "dropped"),
    "unknown of another host": ({"forward": (Line((FROM_B, UNKNOWN), Verdict.DROP),)}, "passes"),
    "unknown target": ({"forward": (Line((FROM_A,), Verdict.UNKNOWN),)}, "doubtful"),
    "unknown jump": ({"forward": (Line(MAYBE, Verdict.JUMP, "x"),), "x": (DROP,)}, "doubtful"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name: str) -> None:
    """One packet through small rule sets."""
    chains, expected = CHAINS[name]

    assert fate(chains) == expected


def test_accept_ends_one_base_chain_only() -> None:
    """A later base chain on the way can still drop; an earlier drop is final."""
    bases = (Base("late", Hook.FORWARD, 10), Base("early", Hook.FORWARD, -10))

    assert fate({"early": (ACCEPT,), "late": (DROP,)}, bases) == "dropped"
    assert fate({"early": (DROP,), "late": (ACCEPT,)}, bases) == "dropped"


def test_policy_of_a_base_chain() -> None:
    """Where no line decides, the policy does; a base chain of the other family has no say."""
    assert fate({"forward": ()}, (Base("forward", Hook.FORWARD, 0, Verdict.DROP),)) == "dropped"
    assert fate({"forward": ()}, (Base("forward", Hook.FORWARD, 0, Verdict.DROP, 6),)) == "passes"


SHORT = fp.ip(A, B, 6, b"\x04\x00\x00")  # three bytes of a TCP header: not even both ports
FLAGS = Condition("tcp_flags", (2, 2), varies=SHORT_HEADERS)
OWN_PORT = Condition("dport", PortSet.of(80), varies=FRAGMENTS)  # as iptables' tcp module reads it
HOTDROP: dict[str, tuple[Line, str, str]] = {  # line: iptables, nft
    "asks for a port": (Line((TCP, PORT80), Verdict.ACCEPT), "dropped", "passes"),
    "asks for another host's port": (Line((FROM_B, TCP, PORT80), Verdict.ACCEPT), "passes", "passes"),
    "a set says no before the port is read": (Line((Condition("src", AddrSet.parse(B), False, "tw4-x"), TCP, PORT80)), "passes", "passes"),
    "a length is asked for after the port": (Line((TCP, PORT80, Condition("length", PortSet.of(9)))), "dropped", "passes"),
    "an unknown module before the port": (Line((UNKNOWN, TCP, PORT80)), "doubtful", "passes"),
    "flags, which backends read differently": (Line((TCP, FLAGS)), "doubtful", "passes"),
    "ports of the tcp module": (Line((TCP, OWN_PORT)), "doubtful", "passes"),
    "no port at all": (Line((TCP,)), "passes", "passes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOTDROP)
def test_datagrams_that_end_inside_their_header(name: str) -> None:
    """iptables drops them when a module reads the header, if what stands before lets it; nft does not."""
    line, iptables, nft = HOTDROP[name]

    assert (
        fate({"forward": (line,)}, packet=SHORT),
        fate({"forward": (line,)}, packet=SHORT, dialect="nft"),
    ) == (iptables, nft)


def test_four_bytes_are_enough_for_multiport() -> None:
    """It reads the two ports and no more; the ICMP module wants its whole header."""
    ports = fp.ip(A, B, 6, fp.tcp(A, 1024, B, 80)[20:26])
    icmp = Line((Condition("proto", PortSet.of(1)), Condition("icmp", PortSet.of(2048))))

    assert fate({"forward": (Line((TCP, PORT80), Verdict.ACCEPT), DROP)}, packet=ports) == "passes"
    assert fate({"forward": (icmp,)}, packet=fp.ip(A, B, 1, bytes(6))) == "dropped"


def test_backends_differ_on_later_fragments() -> None:
    """The tcp module of iptables reads payload as ports in one backend: unknown for foreign rules, no for multiport."""
    piece = fp.ipv4(A, B, 6, bytes(24), offset=3)

    assert fate({"forward": (Line((TCP, OWN_PORT), Verdict.DROP),)}, packet=piece) == "doubtful"
    assert fate({"forward": (Line((TCP, PORT80), Verdict.DROP),)}, packet=piece) == "passes"


@settings(deadline=None, max_examples=25)
@given(fp.policies(states=True), st.lists(fp.packets(), min_size=1, max_size=40), st.booleans())
def test_both_walks_agree(policy: Policy, packets: list[bytes], nft: bool) -> None:
    """All rows at once, or one packet at a time: the same fate of every packet and the same counters of every line."""
    program = lower(policy).program
    program = Program(program.chains, program.bases, program.sets, program.timeouts, "nft" if nft else "iptables")
    local = policy.local if policy.vantage is Vantage.HOST else None
    found = []
    for stepwise in (False, True):
        simulator = Simulator(program, local=local, stepwise=stepwise)
        verdicts = simulator.update(fp.batch(packets))
        replay = simulator.finish()
        found.append((verdicts.dropped, verdicts.doubtful, [(h.packets, h.bytes, h.maybe) for h in replay.lines]))

    assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]


@pytest.mark.parametrize("stepwise", [False, True])
def test_chains_that_double_the_work_at_every_level_are_refused(stepwise: bool) -> None:
    """Two chains that jump to each other several times: an error that names the chain, not a walk without end."""
    chains = {"forward": (JUMP,)} | {name: (Line((), Verdict.JUMP, other),) * 3 for name, other in (("x", "y"), ("y", "x"))}  # fmt: skip
    simulator = Simulator(Program(chains, FORWARD), stepwise=stepwise)

    with pytest.raises(RuleError, match=r"chain [xy]: more than 50000 jumps"):
        simulator.update(fp.batch([fp.tcp(A, 1024, B, 80)]))
