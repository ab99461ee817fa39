"""From findings and decisions to a policy: who is blocked, who is spared, and what the analyst said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import firewall_packets as fp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.findings import Finding, Severity
from firewall.errors import RuleError
from firewall.generate import Decisions, Proposal, propose
from firewall.lockout import cuts
from firewall.lower import lower
from firewall.rules import Action, Direction, Match, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Simulator

A = AddrSet.parse
ME, BAD, FRIEND = "192.168.1.5", "203.0.113.9", "198.51.100.7"
VISIT = [p for n in range(30) for p in fp.talk(ME, 2000 + n, FRIEND, 443)]


def made(packets: Sequence[bytes], found: Finding | None, bad: Sequence[int] = (), names: dict[str, list[str]] | None = None, session: Any = None, **decisions: Any) -> Proposal:  # fmt: skip
    """The proposal for packets of which `bad` belong to the finding."""
    survey = fp.surveyed(packets, {found.id: bad} if found else {})
    return propose([found] if found else [], Decisions(**decisions), survey, names or {}, session=session, created=2_000_000_000)  # fmt: skip


def drops(proposal: Proposal) -> list[Rule]:
    return [rule for rule in proposal.policy.rules if rule.action is Action.DROP]


ATTACK = fp.talk(BAD, 1024, ME, 22)
PACKETS = ATTACK + VISIT


def test_an_attacker_from_outside_is_dropped_on_its_way_in() -> None:
    """Host, service, direction IN, with evidence, reason and an end."""
    found = fp.finding("guessing", BAD)
    rules = drops(made(PACKETS, found, range(11)))

    assert [(r.match, r.direction, r.ttl_s) for r in rules] == [
        (Match(src=A(BAD), dst=A(ME), proto=6, dport=PortSet.of(22)), Direction.IN, 86400)
    ]
    assert rules[0].findings == (found.id,)
    assert rules[0].description == "guessing did something"


def test_a_server_that_lures_is_stopped_where_it_is_asked() -> None:
    """What the victim opened is stopped at its start: blocking the answers alone would let the request out."""
    lured = fp.talk(ME, 1024, BAD, 443)
    rules = drops(made(lured + VISIT, fp.finding("lure", BAD), range(11)))

    assert {(r.direction, r.match.dst) for r in rules} == {(Direction.IN, A(ME)), (Direction.OUT, A(BAD))}


@pytest.mark.parametrize(
    ("vantage", "expected"),
    [(Vantage.HOST, Direction.IN), (Vantage.ROUTER, Direction.FORWARD), (Vantage.DOCKER, Direction.FORWARD), (Vantage.SPAN, Direction.ANY)],
)  # fmt: skip
def test_direction_follows_the_vantage(vantage: Vantage, expected: Direction) -> None:
    """The same finding, other chains."""
    rules = drops(made(PACKETS, fp.finding("guessing", BAD), range(11), vantage=vantage))

    assert {r.direction for r in rules} == {expected}


@pytest.mark.parametrize("vantage", [Vantage.ROUTER, Vantage.DOCKER, Vantage.SPAN])
def test_elsewhere_the_packets_of_a_host_are_forwarded(vantage: Vantage) -> None:
    """A capture of one host, rules for the router in front of it: the replay meets them there."""
    policy = made(PACKETS, fp.finding("guessing", BAD), range(11), vantage=vantage).policy
    simulator = Simulator(lower(policy).program, local=policy.local)

    assert simulator.update(fp.batch(ATTACK)).dropped.any()


def test_the_host_can_be_named() -> None:
    """Two hosts of a kind: which one captured is not to be seen, and rules for it would meet nothing."""
    attack = fp.talk("192.168.1.66", 1024, ME, 22)
    found = fp.finding("guessing", "192.168.1.66")
    unknown = made(attack, found, range(11), vantage=Vantage.HOST)
    named = made(attack, found, range(11), own=(ME,))

    assert "name its address by --own" in unknown.vantage_why
    assert (named.policy.vantage, named.policy.local) == (Vantage.HOST, A(ME))
    assert {r.direction for r in drops(named)} == {Direction.IN}


ADVICE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {  # finding, decisions: words of the note
    "too harmless": ({"severity": Severity.LOW}, {}, "below medium"),
    "nobody accountable": ({"address": None}, {}, "no side is accountable"),
    "a card, no address": ({"address": "02:00:00:00:00:01"}, {}, "no IP address"),
    "permitted": ({}, {"permit": ("203.0.113.0/24",)}, "permitted network: never blocked"),
    "a content network": ({"address": "104.18.32.47"}, {}, "shared (Cloudflare)"),
    "a public resolver": ({"address": "8.8.8.8"}, {}, "shared (public DNS resolvers)"),
    "a group": ({"address": "224.0.0.251"}, {}, "group address"),
    "no packet of its own": ({"flows": ()}, {}, "no conversation"),
    "contained as a whole": ({}, {"contain": (BAD,)}, "contained as a whole"),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_instead_of_a_block(name: str) -> None:
    """No rule where none is fair, and the reason."""
    values, decisions, words = ADVICE[name]
    found = fp.finding("x", values.get("address", BAD), **{k: v for k, v in values.items() if k != "address"})
    proposal = made(PACKETS, found, range(11), **decisions)

    assert not any(r.findings for r in proposal.policy.rules)
    assert any(words in note.text for note in proposal.advice)


def test_many_names_of_many_owners_are_a_shared_host() -> None:
    """An address that serves several owners in this capture is not blocked."""
    proposal = made(PACKETS, fp.finding("x", BAD), range(11), names={BAD: ["a.example.com", "b.example.org", "c.example.net"]})  # fmt: skip

    assert not drops(proposal) and "3 names of 3 owners" in proposal.advice[0].text


def test_the_resolver_is_not_blocked() -> None:
    """Blocking who answers DNS cuts everybody off."""
    packets = [fp.udp(ME, 5000, "192.168.1.1", 53), fp.udp("192.168.1.1", 53, ME, 5000)] * 3
    proposal = made(packets + VISIT, fp.finding("x", "192.168.1.1"), range(6))

    assert not drops(proposal) and "resolver" in proposal.advice[0].text


def usurper(address: str, technique: str = "T1557.003") -> Finding:
    """A finding that accuses of standing between others."""
    return replace(fp.finding("lure", address), attack=((technique, "Adversary-in-the-Middle"),))


def test_a_usurper_is_not_protected_by_its_role() -> None:
    """A false name server answers all names: neither the role nor the names that it gave to itself keep it open."""
    rogue = "192.168.1.66"
    packets = [fp.udp(ME, 5000, rogue, 53), fp.udp(rogue, 53, ME, 5000)] * 3
    names = {rogue: ["a.example.com", "b.example.org", "c.example.net"]}
    proposal = made(packets + VISIT, usurper(rogue), range(6), names=names)

    assert {(r.match.src, r.match.sport) for r in drops(proposal)} >= {(A(rogue), PortSet.of(53))}
    assert "DNS" not in [p.name for p in proposal.policy.protected]
    assert any("see that the true one answers" in note.text for note in proposal.advice)


def test_an_arp_spoofer_is_no_gateway() -> None:
    """It forwards for its victims, so its card sends for strangers as the gateway's does; the true one stays protected."""
    rogue, router = "192.168.1.66", "192.168.1.1"
    packets = fp.talk(rogue, 1024, ME, 22) + VISIT
    found = usurper(rogue, "T1557.002")
    survey = replace(fp.surveyed(packets, {found.id: range(11)}), gateways=A(rogue, router))
    spoofer = propose([found], Decisions(), survey, {})
    guessing = replace(fp.finding("lure", rogue), detector="guess")
    honest = propose([guessing], Decisions(), replace(survey, members={guessing.id: survey.members[found.id]}), {})

    assert drops(spoofer) and next(p.match.src for p in spoofer.policy.protected if p.name == "gateway") == A(router)
    assert not drops(honest) and "gateway" in honest.advice[0].text


def test_who_is_named_by_forged_packets_keeps_its_role() -> None:
    """Redirects are believed from the router only, so they come in its name: the router is no usurper."""
    router = "192.168.1.1"
    packets = [fp.icmp(router, ME, 5, 1)] * 3 + VISIT
    found = replace(usurper(router, "T1557"), extra={"spoofed_sources_likely": True})
    survey = replace(fp.surveyed(packets, {found.id: range(3)}), gateways=A(router))
    proposal = propose([found], Decisions(), survey, {})

    assert not drops(proposal) and "gateway" in proposal.advice[0].text


@pytest.mark.parametrize("decisions", [{"permit": ("192.168.1.66",)}, {"severity": Severity.CRITICAL}], ids=str)
def test_a_usurper_that_gets_no_rule_keeps_its_role(decisions: dict[str, Any]) -> None:
    """The analyst vouches for it, or asks for worse only."""
    packets = [fp.udp(ME, 5000, "192.168.1.66", 53), fp.udp("192.168.1.66", 53, ME, 5000)] * 3
    proposal = made(packets + VISIT, usurper("192.168.1.66"), range(6), **decisions)

    assert not drops(proposal) and "DNS" in [p.name for p in proposal.policy.protected]


def test_a_stranger_who_only_served_in_the_attack_is_no_resolver() -> None:
    """A name server of an attacker answers in the finding's conversations; one that answers others as well is one."""
    attack = [fp.tcp(ME, 5000, BAD, 53), fp.tcp(BAD, 53, ME, 5000, fp.SYN | fp.ACK), fp.tcp(BAD, 53, ME, 5000, fp.ACK)]
    others = [fp.udp(ME, 6000, BAD, 53), fp.udp(BAD, 53, ME, 6000)]

    assert drops(made(attack + VISIT, fp.finding("lure", BAD), range(3)))
    assert not drops(made(attack + others + VISIT, fp.finding("lure", BAD), range(3)))


def test_a_stranger_who_attacks_the_name_server_is_blocked() -> None:
    """DNS is kept open to this network, not to who attacks it from outside."""
    packets = [fp.udp(BAD, 5000, ME, 53), fp.udp(ME, 53, BAD, 5000)] * 3 + [fp.udp("192.168.1.7", 5000, ME, 53), fp.udp(ME, 53, "192.168.1.7", 5000)]  # fmt: skip
    proposal = made(packets + VISIT, fp.finding("guessing", BAD), range(6))
    simulator = Simulator(lower(proposal.policy).program, local=proposal.policy.local)

    assert simulator.update(fp.batch(packets)).dropped.tolist() == [True, False] * 3 + [False, False]


def test_answers_to_a_question_put_to_a_group_are_stopped_by_the_servers_port() -> None:
    """The asker's port is another one each time."""
    packets = [p for n in range(3) for p in (fp.udp(ME, 6000 + n, "224.0.0.252", 5355), fp.udp("192.168.1.66", 5355, ME, 6000 + n))]  # fmt: skip
    (rule,) = drops(made(packets + VISIT, usurper("192.168.1.66", "T1557.001"), (1, 3, 5)))

    assert (rule.match.sport, rule.match.dport) == (PortSet.of(5355), None)


def test_a_tunnel_through_the_resolver_is_advice() -> None:
    """All that a rule could match is the DNS that stays open: a dead rule is not proposed, what helps is said."""
    packets = [fp.udp(ME, 5000, "9.9.9.8", 53), fp.udp("9.9.9.8", 53, ME, 5000)] * 3
    proposal = made(packets + VISIT, fp.finding("tunnel", ME), range(6))

    assert not drops(proposal) and not proposal.policy.rules
    assert "block the names at the resolver" in proposal.advice[0].text


def test_the_management_session_is_never_cut() -> None:
    """The analyst's own peer: refused with the reason, insisted on with --force."""
    found = fp.finding("guessing", BAD)
    session = (BAD, ME, 22)
    refused = made(PACKETS, found, range(11), session=session)

    assert not drops(refused) and "would cut management session; --force insists" in refused.refused[0].text
    assert len(drops(made(PACKETS, found, range(11), session=session, force=True))) == 1


def test_a_flood_is_one_rule_with_a_set() -> None:
    """Nobody accountable, many senders: their set against the target, and a word on forged sources."""
    flood = [fp.tcp(f"203.0.{n}.7", 1000 + 2 * n, ME, 80) for n in range(200)]
    found = fp.finding("flood", None, extra={"spoofed_sources_likely": True})
    proposal = made(flood + VISIT, found, range(200))

    assert [(r.match.src.count(), r.match.dst, r.match.dport) for r in drops(proposal)] == [(200, A(ME), PortSet.of(80))]  # type: ignore[union-attr]  # fmt: skip
    assert any("probably forged" in note.text for note in proposal.advice)


def test_contain() -> None:
    """Both ways, its DNS and DHCP and ICMP essentials kept open in front, other hosts untouched."""
    proposal = made(PACKETS, None, contain=(ME,), vantage=Vantage.ROUTER)
    rules = proposal.policy.rules

    assert [r.match for r in drops(proposal)] == [Match(src=A(ME)), Match(dst=A(ME))]
    first = next(at for at, r in enumerate(rules) if r.action is Action.DROP)
    assert {"kept open: DHCP", "kept open: ICMP errors of known conversations (path MTU)"} <= {
        r.description for r in rules[:first]
    }
    assert proposal.policy.contained == A(ME) and not cuts(proposal.policy)


def test_permit_wins_over_everything_but_contain() -> None:
    """A permitted network is trusted, less what is contained."""
    policy = made(PACKETS, None, permit=("192.168.1.0/24",), contain=(ME,)).policy

    assert policy.trusted == A("192.168.1.0/24") - A(ME)
    assert not cuts(policy)


def test_protect_leaves_room() -> None:
    """New connections per source above twice the fastest source of this capture, and never below ten a second."""
    busy = [p for n in range(25) for p in fp.talk(FRIEND, 3000 + n, ME, 443)]
    rule = drops(made(busy + VISIT, None, protect=(f"{ME}:443",)))[0]
    quiet = drops(made(VISIT, None, protect=(f"{ME}:443",)))[0]

    assert rule.match.rate is not None and quiet.match.rate is not None
    assert (rule.match.rate.packets, rule.match.rate.key, rule.match.tcp_flags) == (50, ("src",), (0x17, 2))
    assert quiet.match.rate.packets == 10
    assert rule.direction is Direction.IN


@pytest.mark.parametrize(
    ("text", "port"), [(f"{ME}:443", "443"), ("[2001:db8::1]:443", "443"), ("2001:db8::1", None), (ME, None)]
)
def test_services_to_protect(text: str, port: str | None) -> None:
    """Address, address:port, [IPv6]:port."""
    rule = next(r for r in made(VISIT, None, protect=(text,), vantage=Vantage.ROUTER).policy.rules if r.match.rate)

    assert (rule.match.dport.text() if rule.match.dport else None) == port


def test_learned_is_what_the_capture_shows_and_no_finding() -> None:
    """An allow list: who opened what to whom, answers, loopback; the rest is dropped; the attacker is not learned."""
    policy = made(PACKETS, fp.finding("guessing", BAD), range(11), permit_learned=True).policy
    learned = [r for r in policy.rules if r.description == "learned from this capture"]

    assert policy.default is Action.DROP
    assert [r.match for r in learned] == [Match(src=A(ME), dst=A(FRIEND), proto=6, dport=PortSet.of(443))]
    assert any(r.match.states == frozenset({"ESTABLISHED", "RELATED"}) for r in policy.rules)


def test_protocol_0_is_not_learned() -> None:
    """iptables would read it as any protocol: an allow list with one such packet would be wide open."""
    policy = made([*VISIT, fp.ip(ME, FRIEND, 0, bytes(8))], None, permit_learned=True).policy

    assert {r.match.proto for r in policy.rules if r.description == "learned from this capture"} == {6}


def test_drops_stand_before_what_accepts_established() -> None:
    """An accept of established sessions in front would keep the attacker's live session."""
    policy = made(PACKETS, fp.finding("guessing", BAD), range(11), permit_learned=True).policy
    order = [r.action is Action.DROP for r in policy.rules]
    state = next(at for at, r in enumerate(policy.rules) if "ESTABLISHED" in (r.match.states or ()))

    assert True in order and max(at for at, dropped in enumerate(order) if dropped) < state


def test_widen_only_where_asked() -> None:
    """The whole prefix, with the number of addresses that nobody saw."""
    proposal = made(PACKETS, fp.finding("guessing", BAD), range(11), widen=("203.0.113.0/24",))
    rule = drops(proposal)[0]

    assert rule.match.src == A("203.0.113.0/24")
    assert proposal.ladders[rule.id][-1].addresses_added == 255


def test_two_findings_of_one_host_are_one_rule() -> None:
    """Equal rules are one, with the evidence of both."""
    one, two = fp.finding("one", BAD), fp.finding("two", BAD)
    survey = fp.surveyed(PACKETS, {one.id: range(11), two.id: []})
    survey = type(survey)(**{**{n: getattr(survey, n) for n in survey.__dataclass_fields__}, "members": {one.id: survey.members[one.id], two.id: survey.members[one.id]}})  # fmt: skip
    rules = drops(propose([one, two], Decisions(), survey, {}, created=1))

    assert [sorted(r.findings) for r in rules] == [sorted([one.id, two.id])]


def test_like_findings_of_many_hosts_are_one_rule() -> None:
    """Twenty attackers of one service: one rule, one set."""
    attackers = [f"203.0.113.{n}" for n in range(10, 30)]
    packets = [p for host in attackers for p in fp.talk(host, 1024, ME, 22)]
    found = [fp.finding(host, host) for host in attackers]
    survey = fp.surveyed(packets, {f.id: range(11 * n, 11 * n + 11) for n, f in enumerate(found)})
    rules = drops(propose(found, Decisions(), survey, {}, created=1))

    assert len(rules) == 1 and rules[0].match.src == A(*attackers)
    assert len(rules[0].evidence) == 20


@pytest.mark.parametrize(
    "decisions", [{"permit": ("10.0.0.1/8",)}, {"contain": ("host",)}, {"protect": ("10.0.0.1:99999",)}, {"widen": ("x",)}]
)  # fmt: skip
def test_impossible_decisions(decisions: dict[str, Any]) -> None:
    """One error, naming what was said."""
    with pytest.raises(RuleError):
        made(PACKETS, fp.finding("guessing", BAD), range(11), **decisions)


HOSTS = (ME, "192.168.1.1", BAD, FRIEND, "8.8.8.8", "104.18.32.47", "10.0.0.7", "203.0.113.200")


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(HOSTS), st.sampled_from((22, 53, 80, 443))), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from((*HOSTS, None)), st.sampled_from(("source", "destination", "both"))), max_size=4),
    st.lists(st.sampled_from(("192.168.1.0/24", "203.0.113.0/25", "10.0.0.7", "198.51.100.0/24")), max_size=2, unique=True),
    st.lists(st.sampled_from((ME, BAD, "10.0.0.7")), max_size=1),
    st.sampled_from((None, *Vantage)),
    st.booleans(),
)  # fmt: skip
def test_no_drop_meets_what_is_trusted_or_protected(talks: Any, claims: Any, permit: Any, contain: Any, vantage: Vantage | None, learned: bool) -> None:  # fmt: skip
    """Whatever is found and decided: the policy cuts no permitted network, gateway, resolver or the analyst's session,
    and it loses nothing on the way to lines."""
    packets = [p for n, (a, b, port) in enumerate(talks) for p in fp.talk(a, 2000 + n, b, port)]
    found = {n: fp.finding(str(n), address, side) for n, (_, address, side) in enumerate(claims)}
    survey = fp.surveyed(packets, {f.id: range(11 * (at % len(talks)), 11 * (at % len(talks)) + 11) for f, (at, _, _) in zip(found.values(), claims)})  # fmt: skip
    decisions = Decisions(permit=tuple(permit), contain=tuple(contain), vantage=vantage, permit_learned=learned)
    policy = propose(list(found.values()), decisions, survey, {}, session=(FRIEND, ME, 22), created=1).policy
    blocks = [rule for rule in policy.rules if rule.action is Action.DROP]

    assert cuts(policy) == []
    assert not [r for r in blocks if r.match.src and "src" not in r.match.negate and r.match.src & policy.trusted]
    assert not lower(policy).empty


def test_a_hostile_title_stays_a_text() -> None:
    """What a capture says is cut to a length and kept as it is: it is escaped where it is drawn."""
    rule = drops(made(PACKETS, fp.finding("x", BAD, title="\n-A INPUT -j ACCEPT\n" * 100), range(11)))[0]

    assert len(rule.description) == 200
