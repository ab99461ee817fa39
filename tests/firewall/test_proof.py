"""The real kernel beside the simulator: counters equal, files load, dialects agree. Needs a namespace of one's own.

The plain run draws a few policies, the slow one many more of the same.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import firewall_packets as fp
import pytest
from firewall_packets import ACK, FIN, PSH, RST, SYN, URG
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firewall import namespace
from firewall.apply import try_load
from firewall.files import all_files
from firewall.foreign import load
from firewall.lower import lower
from firewall.prove import Proof, prove
from firewall.rules import Action, Match, Policy, Rate, Rule, Vantage
from firewall.sets import AddrSet, PortSet

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}"),
    pytest.mark.skipif(
        bool(namespace.missing_tools(("iptables-restore", "nft", "ipset"))), reason="iptables, nft or ipset missing"
    ),
]
A, B, C = "10.0.0.1", "192.0.2.5", "198.51.100.77"
PACKETS = st.lists(fp.packets(), min_size=1, max_size=120)
UNBROKEN = st.lists(fp.packets(fragments=False), min_size=1, max_size=120)


def drawn(times: int) -> settings:
    """Slow examples, no shrinking beyond what a person waits for."""
    return settings(max_examples=times, deadline=None, suppress_health_check=list(HealthCheck))


def proof_of(policy: Policy, packets: list[bytes]) -> Proof:
    """Prove a policy over packets."""
    local = policy.local if policy.vantage is Vantage.HOST else None
    return prove(lower(policy).program, [fp.batch(packets)], local=local)


def loads(policy: Policy) -> None:
    """Both iptables families with their sets, and nft."""
    for backend in ("iptables", "nft"):
        try_load(policy, backend)


def equals(policy: Policy, packets: list[bytes]) -> None:
    """Every rule has the simulator's packets and bytes, in both dialects."""
    proof = proof_of(policy, packets)

    assert (proof.different, proof.notes) == ([], [])
    assert proof.dialects == ["iptables", "nft"]
    assert proof.equal == proof.rules - len(proof.not_comparable)
    if not any(rule.match.tcp_flags for rule in policy.rules):  # flags of a header cut short: iptables' backends differ
        assert proof.not_comparable == []


def equals_with_states(policy: Policy, packets: list[bytes]) -> None:
    """As above; what the model leaves open (states of SCTP) may be answered either way."""
    proof = proof_of(policy, packets)

    assert (proof.different, proof.notes) == ([], [])


@drawn(3)
@given(fp.policies(states=True))
def test_any_policy_loads(policy: Policy) -> None:
    """Whatever can be said in a policy renders to files that the kernel takes: both iptables families, nft."""
    loads(policy)


@drawn(4)
@given(fp.policies(), PACKETS)
def test_counters_equal(policy: Policy, packets: list[bytes]) -> None:
    """Stateless rules: packets and bytes are the simulator's, malformed packets and fragments included."""
    equals(policy, packets)


@drawn(4)
@given(fp.policies(states=True), UNBROKEN)
def test_counters_equal_with_states(policy: Policy, packets: list[bytes]) -> None:
    """Stateful rules: connection states are the kernel's, with drops that keep connections from being known."""
    equals_with_states(policy, packets)


@pytest.mark.slow
@pytest.mark.parametrize("check", [loads, equals, equals_with_states], ids=lambda check: check.__name__)
def test_many_more(check: Callable[..., None]) -> None:
    """Twenty-five of each."""
    sources = {loads: (fp.policies(states=True),), equals: (fp.policies(), PACKETS), equals_with_states: (fp.policies(states=True), UNBROKEN)}  # fmt: skip
    drawn(25)(given(*sources[check])(check))()


def test_original_destinations_are_the_kernels() -> None:
    """In front of containers a drop matches what was opened to its destination, and no answer that goes there."""
    drops = [Rule(Action.DROP, Match(src=AddrSet.parse(a), dst=AddrSet.parse(b), proto=proto)) for a, b, proto in ((B, A, 6), (A, C, 6), (B, A, 17), (A, B, 1))]  # fmt: skip
    packets = [*fp.talk(A, 3, B, 80), *fp.talk(A, 4, C, 80), fp.udp(A, 5, B, 53), fp.udp(B, 53, A, 5), fp.udp(B, 6, A, 7), fp.udp(A, 7, B, 6)]  # fmt: skip
    packets += [fp.icmp(A, B, 8), fp.icmp(B, A, 0), fp.tcp(B, 80, A, 9, SYN | ACK)]
    proof = proof_of(Policy(tuple(drops), vantage=Vantage.DOCKER), packets)

    assert proof.holds and (proof.equal, proof.not_comparable) == (4, []), proof


# One capture of everything that a first packet can be (the table of conntrack states), answered by the kernel


def first_packets() -> list[bytes]:
    """Each kind from an address of its own, then short exchanges."""
    packets = [fp.tcp(f"10.1.0.{n}", 1024, B, 80, flags) for n, flags in enumerate((SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, 0, FIN, SYN | RST, FIN | PSH | URG, SYN | FIN, 64), 1)]  # fmt: skip
    packets += [fp.icmp(f"10.2.0.{kind + 1}", B, kind) for kind in (0, 8, 13, 15, 17)]
    packets += [fp.icmp("10.3.0.1", B, 3, 1, body=fp.udp(B, 1, "10.9.9.9", 2)), fp.icmp("10.3.0.2", B, 5, 1, body=fp.udp(B, 1, "10.9.9.9", 2))]  # fmt: skip
    packets += [fp.ip("10.4.0.1", B, proto, bytes(16)) for proto in (2, 50, 47, 89)]
    packets += [fp.tcp(A, 1, B, 80, ACK), fp.tcp(B, 80, A, 1, ACK), fp.icmp(C, A, 3, 4, body=fp.tcp(A, 1, B, 80, ACK)[:28])]  # fmt: skip
    packets += [fp.tcp(A, 2, B, 80, SYN), fp.tcp(B, 80, A, 2, RST | ACK), fp.tcp(A, 2, B, 80, SYN)]
    packets += fp.talk(A, 3, B, 80) + [fp.tcp(A, 4, B, 80, SYN)] * 2 + [fp.udp(A, 5, B, 53), fp.udp(B, 53, A, 5)]
    packets += [fp.icmp("2001:db8::1", "2001:db8::2", kind) for kind in (128, 129, 133, 134, 135, 136, 137, 143, 1, 2)]
    return packets


@pytest.mark.parametrize("forgetful", [False, True])
def test_states_are_the_kernels(forgetful: bool) -> None:
    """Each state of each packet; `forgetful`: a drop of NEW in front keeps every connection from being known."""
    counting = [Rule(Action.COUNT, Match(states=frozenset({s}))) for s in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")]  # fmt: skip
    dropping = [Rule(Action.DROP, Match(states=frozenset({"NEW"}), proto=proto)) for proto in (6, 1, 17)]
    proof = proof_of(Policy((*counting, *(dropping if forgetful else ())), vantage=Vantage.ROUTER), first_packets())

    assert (proof.different, proof.notes, proof.not_comparable) == ([], [], [])
    assert proof.equal == proof.rules == len(counting) + len(dropping) * forgetful


def test_fragments_are_the_kernels() -> None:
    """A train without connection tracking is its pieces, with it one datagram, or none where a piece is missing."""
    train = [fp.ipv4(A, B, 17, bytes((4, 0, 0, 53, 0, 72, 0, 0)) + bytes(16), more=True), fp.ipv4(A, B, 17, bytes(24), offset=3, more=True), fp.ipv4(A, B, 17, bytes(24), offset=6)]  # fmt: skip
    lone = [fp.ipv4(C, B, 17, bytes(24), offset=3, more=True)]
    port = Rule(Action.COUNT, Match(proto=17, dport=PortSet.of(53)))
    known = Rule(Action.COUNT, Match(states=frozenset({"NEW"})))
    equals(Policy((port, Rule(Action.DROP, Match(src=AddrSet.parse(A)))), vantage=Vantage.ROUTER), train + lone)
    equals(Policy((port, known), vantage=Vantage.ROUTER), train + lone)
    body = bytes((4, 0, 0, 53, 0, 72, 0, 0)) + bytes(64)
    pieces = [(0, 24), (16, 40), (0, 24), (24, 72)]  # an overlap throws the datagram away; sent again, it is one
    again = [fp.ipv4(A, B, 17, body[low:high], offset=low // 8, more=high < 72, ident=9) for low, high in pieces]
    equals(Policy((port, known), vantage=Vantage.ROUTER), again)


@pytest.mark.parametrize(
    ("rate", "hits"), [(Rate(5, 86400, 7, False, ()), 7), (Rate(1, 3600, 20, True, ("src",)), 30), (Rate(1, 3600, 20, False, ("src",)), 20)]
)  # fmt: skip
def test_buckets_are_the_kernels(rate: Rate, hits: int) -> None:
    """Fifty packets at once against buckets that do not refill within the test: the numbers of the reference."""
    from firewall.simulate import Simulator

    rule = Rule(Action.COUNT, Match(src=AddrSet.parse(A), rate=rate))
    packets = [fp.udp(A, 1, B, 2)] * 50
    program = lower(Policy((rule,), vantage=Vantage.ROUTER)).program
    simulator = Simulator(program, clock=False)
    simulator.update(fp.batch(packets))
    proof = prove(program, [fp.batch(packets)])

    assert [h.packets for h in simulator.finish().lines if h.line.rule == rule.id] == [hits]
    assert (proof.different, proof.equal) == ([], 1)


FOREIGN = """# Generated by iptables-save
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -s 198.51.100.77/32 -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:X - [0:0]
:Y - [0:0]
-A FORWARD -p tcp -m multiport --dports 80,443,8000:8010 -j X
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -g Y
-A X -s 10.0.0.0/24 -m conntrack --ctstate NEW -j ACCEPT
-A X ! -s 10.0.0.0/8 -j RETURN
-A X -j DROP
-A Y -p udp -m udp --dport 53 -j ACCEPT
COMMIT
"""


@drawn(2)
@given(UNBROKEN)
def test_foreign_rules_are_proved_too(packets: list[bytes]) -> None:
    """Somebody's own tables, with jumps, returns, a goto and several base chains: nft counts as simulated."""
    proof = prove(load(FOREIGN).program, [fp.batch(packets)])

    assert (proof.different, proof.dialects) == ([], ["nft"])
    assert proof.equal == proof.rules


def test_loopback_is_proved_by_its_addresses() -> None:
    """A rule for the interface lo cannot meet lo in the namespace: the proof takes it at its addresses, and is exact."""
    rules = (Rule(Action.PERMIT, Match(iif="lo")), Rule(Action.DROP, Match(proto=6)))
    packets = fp.talk("127.0.0.1", 1024, "127.0.0.1", 80) + fp.talk(A, 1024, B, 80)
    equals(Policy(rules, vantage=Vantage.ROUTER), packets)


def test_a_wrong_prediction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof can fail: a simulator that counts one packet too many is caught, by rule, with both numbers."""
    from firewall.simulate import Replay, Simulator

    finish = Simulator.finish

    def wrong(self: Simulator) -> Replay:
        replay = finish(self)
        replay.lines[0].packets += 1
        return replay

    monkeypatch.setattr(Simulator, "finish", wrong)
    rule = Rule(Action.DROP, Match(src=AddrSet.parse(A)))
    proof = proof_of(Policy((rule,), vantage=Vantage.ROUTER), [fp.udp(A, 1, B, 2)])

    assert not proof.holds
    assert proof.different[0]["rule"] == rule.id
    assert (proof.different[0]["simulated"]["packets"], proof.different[0]["kernel"]["packets"]) == (2, 1)


def test_a_refused_namespace_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no namespace is to be had nothing is claimed."""
    monkeypatch.setattr(namespace, "refused", lambda: "user namespaces are refused here (EPERM)")
    proof = proof_of(Policy((Rule(Action.DROP),)), [fp.udp(A, 1, B, 2)])

    assert (proof.available, proof.holds, proof.equal) == (False, False, 0)
    assert "refused" in (proof.reason or "")


@pytest.mark.parametrize("backend", ["iptables", "nft"])
@pytest.mark.parametrize("addresses", [1, 20], ids=["rule", "set"])
def test_expiry_is_kept_by_the_kernel(tmp_path: Path, backend: str, addresses: int) -> None:
    """A block made an hour ago for half an hour stops nothing any more, though it is loaded only now; one made now stops."""
    hosts = AddrSet.parse(*(f"203.0.{n}.9" for n in range(addresses)))
    frames = tmp_path / "frames"
    packet = fp.udp("203.0.0.9", 1, B, 2)
    frames.write_bytes(struct.pack("<BI", 2, len(packet)) + packet)
    hits = []
    for ago_s in (0, 3600):
        rule = Rule(Action.DROP, Match(src=hosts), ttl_s=1800)
        policy = Policy((rule,), vantage=Vantage.ROUTER, created=int(time.time()) - ago_s)
        files = all_files(policy)[0]
        if backend == "nft":
            steps = [{"argv": ["nft", "-f", "-"], "input": files["rules.nft"]}, {"replay": str(frames)}, {"argv": ["nft", "list", "table", "inet", "tapwall"]}]  # fmt: skip
        else:
            sets = [{"argv": ["ipset", "restore", "-exist"], "input": files["rules.ipset"]}] if "rules.ipset" in files else []  # fmt: skip
            steps = [*sets, {"argv": ["iptables-restore", "-n"], "input": files["rules.v4"]}, {"argv": ["iptables", "-I", "FORWARD", "-j", "TAPWALL-FWD"]}, {"replay": str(frames)}, {"argv": ["iptables-save", "-c"]}]  # fmt: skip
        answers = namespace.run(steps)["steps"]
        assert [a["err"] for a in answers if a["rc"]] == []
        line = next(x for x in answers[-1]["out"].splitlines() if rule.id in x and "drop" in x.lower())
        hits.append("packets 1 " in line or "[1:32]" in line)

    assert hits == [True, False]
