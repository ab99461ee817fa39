"""What rules would have done: hits, conversations prevented, collateral, findings, buckets, ways, and chunks."""

from __future__ import annotations

import firewall_packets as fp
import numpy as np
import pytest
from firewall_packets import ACK, SECOND, SYN
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.lower import lower
from firewall.rules import Action, Direction, Match, Policy, Rate, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Replay, Simulator

A, B, C = "10.0.0.1", "192.0.2.5", "192.0.2.6"
P = AddrSet.parse
BLOCK = Rule(Action.DROP, Match(src=P(B)))


def replay(packets: list[bytes], *rules: Rule, flows: list[int] | None = None, vantage: Vantage = Vantage.ROUTER, times: list[int] | None = None) -> Replay:  # fmt: skip
    """Rules over packets; flow 0 is a finding's."""
    policy = Policy(rules, vantage=vantage, local=P(A))
    local = policy.local if vantage is Vantage.HOST else None
    simulator = Simulator(lower(policy).program, local=local, findings={"f": np.array([0], np.int64)})
    simulator.update(fp.batch(packets, flows=flows, times=times))
    return simulator.finish()


def test_matched_and_prevented_are_apart() -> None:
    """Rules against the opener prevent the conversation; rules against the answers only match them."""
    talk = fp.talk(B, 1024, A, 80)
    opener = replay(talk, BLOCK, flows=[0] * len(talk))
    answers = replay(talk, Rule(Action.DROP, Match(src=P(A))), flows=[0] * len(talk))

    assert (opener.dropped, opener.prevented, opener.findings[0].stopped) == (6, 1, 11)
    assert (answers.dropped, answers.prevented, answers.findings[0].stopped) == (5, 0, 5)


def test_collateral_is_named() -> None:
    """A conversation that no finding has to do with, met by a rule that stops."""
    packets = fp.talk(B, 1024, A, 80) + fp.talk(B, 1025, A, 443)
    found = replay(packets, BLOCK, flows=[0] * 11 + [-1] * 11)
    hits = next(h for h in found.lines if h.line.rule == BLOCK.id)

    assert (len(hits.conversations), len(hits.collateral)) == (2, 1)


def test_a_conversation_may_join_a_finding_late() -> None:
    """Judged at the end: its first packets are no collateral because the finding began with its last."""
    found = replay(fp.talk(B, 1024, A, 80), BLOCK, flows=[-1] * 10 + [0])

    assert [len(h.collateral) for h in found.lines if h.line.rule == BLOCK.id] == [0]


def test_an_accept_of_established_keeps_a_live_session() -> None:
    """A drop behind it meets nothing of a session that is under way; a drop in front of it meets all."""
    talk = [fp.tcp(B, 1024, A, 80, ACK), fp.tcp(A, 80, B, 1024, ACK)] * 10
    accept = Rule(Action.PERMIT, Match(states=frozenset({"ESTABLISHED", "RELATED"})))

    assert replay(talk, accept, BLOCK).dropped == 1  # the first packet is NEW; dropped, so are the others …
    assert replay(talk[1:], accept, BLOCK).dropped == 0  # … but a session opened from inside lives on
    assert replay(talk[1:], BLOCK, accept).dropped == 9


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(Rate(5, 60, 7, False, ()), 7), (Rate(10, 1, 5, False, ()), 5), (Rate(10, 1, 20, True, ("src",)), 30), (Rate(10, 1, 20, False, ("src",)), 20)],
)  # fmt: skip
def test_buckets_of_fifty_packets_at_once(rate: Rate, expected: int) -> None:
    """The kernel's answers to 50 packets at one instant (limit 5/min burst 7, limit 10/s burst 5, hashlimit 10/s burst 20)."""
    rule = Rule(Action.DROP, Match(src=P(B), rate=rate))
    found = replay([fp.udp(B, 1, A, 2)] * 50, rule, times=[0] * 50)

    assert sum(h.packets for h in found.lines if h.line.rule == rule.id) == expected


def test_buckets_refill_with_the_capture_clock() -> None:
    """One a second, burst one: a packet each second passes, two each second do not."""
    rule = Rule(Action.DROP, Match(src=P(B), rate=Rate(1, 1, 1, True, ())))
    times = [n * SECOND // 2 for n in range(20)]

    assert replay([fp.udp(B, 1, A, 2)] * 20, rule, times=times).dropped == 10


def test_ways_of_a_host() -> None:
    """To it, from it, past it; group addresses come in."""
    packets = [
        fp.udp(B, 1, A, 2), fp.udp(A, 1, B, 2), fp.udp(B, 1, C, 2), fp.udp(B, 1, "224.0.0.251", 2), fp.udp(B, 1, "10.0.0.255", 2),
    ]  # fmt: skip
    found = replay(packets, Rule(Action.DROP, Match(), Direction.IN), vantage=Vantage.HOST)

    assert found.ways == {"in": 3, "out": 1, "forward": 0, "elsewhere": 1}
    assert (found.dropped, found.permitted, found.default_hits) == (3, 1, 1)


def test_counters_are_bytes_of_the_ip_packet() -> None:
    """As the kernel counts: no link header."""
    found = replay([fp.udp(B, 1, A, 2, 100)], BLOCK)

    assert [h.bytes for h in found.lines if h.line.rule == BLOCK.id] == [128]


def test_negation_multiport_and_ranges() -> None:
    """Each port of a list, both ends of a range, and not those beside them."""
    rule = Rule(Action.DROP, Match(proto=17, dport=PortSet.parse("53,100-102")))
    other = Rule(Action.DROP, Match(proto=17, dport=PortSet.parse("53,100-102"), negate=frozenset({"dport"})))
    packets = [fp.udp(B, 1, A, port) for port in (52, 53, 54, 99, 100, 102, 103)]

    assert replay(packets, rule).dropped == 3
    assert replay(packets, other).dropped == 4


@settings(deadline=None, max_examples=25)
@given(fp.policies(states=True), st.lists(fp.packets(), min_size=2, max_size=40), st.data())
def test_any_cut_into_chunks(policy: Policy, packets: list[bytes], data: st.DataObject) -> None:
    """A capture in one piece or in several: the same replay."""
    at = data.draw(st.integers(1, len(packets) - 1))
    local = policy.local if policy.vantage is Vantage.HOST else None
    found = []
    for parts in ([(0, len(packets))], [(0, at), (at, len(packets))]):
        simulator = Simulator(lower(policy).program, local=local)
        for low, high in parts:
            times = [n * SECOND // 1000 for n in range(low, high)]
            simulator.update(fp.batch(packets[low:high], times=times, first=low + 1))
        result = simulator.finish()
        found.append(
            (
                result.dropped,
                result.unknown,
                result.prevented,
                result.lost,
                [(h.packets, h.bytes, h.first_frame, h.last_frame, h.prevented) for h in result.lines],
            )
        )

    assert found[0] == found[1]


@settings(deadline=None, max_examples=25)
@given(fp.policies(), st.lists(fp.packets(), min_size=1, max_size=40))
def test_sums_hold(policy: Policy, packets: list[bytes]) -> None:
    """Every packet is lost for a reason, passes by, or is dropped, permitted or unknown."""
    simulator = Simulator(lower(policy).program, local=policy.local if policy.vantage is Vantage.HOST else None)
    simulator.update(fp.batch(packets))
    r = simulator.finish()

    assert r.packets == len(packets)
    assert r.reached == r.dropped + r.permitted + r.unknown
    assert r.packets - sum(r.lost.values()) == sum(r.ways.values())


@settings(deadline=None, max_examples=25)
@given(fp.policies(), st.lists(fp.packets(fragments=False), min_size=1, max_size=40))
def test_iptables_and_nft_agree(policy: Policy, packets: list[bytes]) -> None:
    """The same verdict for every packet in both dialects, but for datagrams that end inside a header (iptables drops)."""
    program = lower(policy).program
    local = policy.local if policy.vantage is Vantage.HOST else None
    fates = {}
    for dialect in ("iptables", "nft"):
        simulator = Simulator(type(program)(program.chains, program.bases, program.sets, program.timeouts, dialect), local=local)  # fmt: skip
        fates[dialect] = simulator.update(fp.batch(packets))
    one, two = fates["iptables"], fates["nft"]
    differ = one.dropped != two.dropped

    assert np.all(one.headers.transport[differ] == 2)
    assert np.all(one.dropped[differ])


def test_unsolicited_answers_are_invalid() -> None:
    """A reflected SYN+ACK meets a rule for INVALID, the answer to one's own SYN does not."""
    rule = Rule(Action.DROP, Match(states=frozenset({"INVALID"})))
    own = [fp.tcp(A, 1024, B, 80, SYN), fp.tcp(B, 80, A, 1024, SYN | ACK)]

    assert replay([fp.tcp(C, 80, A, 1024, SYN | ACK)], rule).dropped == 1
    assert replay(own, rule).dropped == 0
