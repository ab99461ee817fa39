"""What other generators and banners get wrong, each as a test that fails on the defect.

Numbers are those of the table in the firewall reference (section 9): who did it and where is written there. Defects
about loading are answered by the kernel; those that need no kernel are answered here in the model.
"""

from __future__ import annotations

import firewall_packets as fp
import pytest

from firewall import namespace
from firewall.anomalies import find
from firewall.apply import try_load
from firewall.errors import RuleError, UnsupportedError
from firewall.files import all_files
from firewall.foreign import load
from firewall.generate import Decisions, propose
from firewall.iptables_lines import chain_text, ipset_text
from firewall.lower import lower
from firewall.minimise import minimise
from firewall.program import Base, Hook, Program
from firewall.region import at_most, equal, everything, without
from firewall.rules import Action, Direction, Match, Policy, Rate, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Simulator

A = AddrSet.parse
BAD, ME = "203.0.113.9", "192.168.1.5"


def drop(**match: object) -> Rule:
    return Rule(Action.DROP, Match(**match))  # type: ignore[arg-type]


def files(*rules: Rule, vantage: Vantage = Vantage.HOST) -> dict[str, str]:
    return all_files(Policy(rules, vantage=vantage, created=2_000_000_000))[0]


@pytest.mark.root
@pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_1_and_5_every_file_loads(backend: str) -> None:
    """1, 5: words that the kernel refuses (a malformed limit, bad IPv6): every kind of match is loaded, both families."""
    rules = (
        Rule(Action.DROP, Match(src=A(BAD), rate=Rate(99, 86400, 5, False, ()))),
        Rule(Action.LOG, Match(proto=6, dport=PortSet.parse("22,80,443,8000-9000"))),
        Rule(Action.REJECT, Match(src=A("2001:db8::/32"), proto=58, icmp=PortSet(((32768, 33023),)))),
        Rule(Action.DROP, Match(src=A(*(f"2001:db8::{n:x}" for n in range(1, 40, 2)))), ttl_s=60),
        Rule(Action.DROP, Match(src=A("2001:db8::/33"), dst=A("2001:db8:8000::/33"), negate=frozenset({"src"}))),
    )
    try_load(Policy(rules, vantage=Vantage.ROUTER, created=2_000_000_000), backend)


def test_2_both_dialects_one_verdict() -> None:
    """2: an accept of established in one output only. Both are made from the same lines, in the same order."""
    rules = (drop(src=A(BAD)), Rule(Action.PERMIT, Match(states=frozenset({"ESTABLISHED"}))))
    made = files(*rules, vantage=Vantage.ROUTER)
    order = [[text.index(rule.id) for rule in rules] for text in (made["rules.v4"], made["rules.nft"])]

    assert all(first < second for first, second in order)


def test_3_a_family_without_rules_is_reported() -> None:
    """3: addresses of one family silently missing: both families come from one rule, or a rule without any is refused."""
    both = files(drop(src=A(BAD, "2001:db8::9")))

    assert BAD in both["rules.v4"] and "2001:db8::9" in both["rules.v6"] and "2001:db8::9" in both["rules.nft"]
    with pytest.raises(RuleError, match="no address family is left"):
        drop(src=A(BAD), dst=A("2001:db8::9"))


def test_4_neighbours_are_one_and_contradictions_are_told() -> None:
    """4: adjacent halves not merged, a contradicted term without a word."""
    halves = Policy((drop(src=A("10.0.0.0/25")), drop(src=A("10.0.0.128/25"))))
    contradicted = Policy((drop(src=A("10.0.0.0/24")), Rule(Action.PERMIT, Match(src=A("10.0.0.7")))))

    assert [r.match.src for r in minimise(halves).rules] == [A("10.0.0.0/24")]
    assert [a.kind for a in find(contradicted)] == ["shadowing"]


@pytest.mark.parametrize("field", ["proto", "src", "dport"])
def test_6_negation_is_the_complement(field: str) -> None:
    """6: deny-all-but-TCP stopped only TCP: a match and its negation share nothing and make the whole."""
    plain = Match(src=A("10.0.0.0/8")) if field == "src" else Match(proto=6, dport=PortSet.of(80)) if field == "dport" else Match(proto=6)  # fmt: skip
    other = Match(src=plain.src, proto=plain.proto, dport=plain.dport, negate=frozenset({field}))
    whole = everything() if field != "dport" else at_most(Match(proto=6))
    if field == "src":
        whole = [box for box in whole if box.family == 4]

    assert equal(without(whole, at_most(plain)), at_most(other))


def test_7_a_name_too_long_is_refused() -> None:
    """7: the set stayed empty and blocked nobody."""
    with pytest.raises(UnsupportedError):
        ipset_text({"a-name-of-more-than-thirty-one-characters": A(BAD)}, {})
    with pytest.raises(UnsupportedError):
        chain_text(Program({"C" * 29: ()}, (Base("C" * 29, Hook.INPUT),)), "C" * 29, 4)


@pytest.mark.parametrize("text", ["90-80", "443:80"])
def test_8_a_reversed_range_is_refused(text: str) -> None:
    """8: it can never match, so a deny stopped nothing."""
    with pytest.raises(RuleError, match="low <= high"):
        PortSet.parse(text)
    with pytest.raises(RuleError, match="reversed"):
        A("10.0.0.9-10.0.0.1")


def test_9_one_bucket_a_rule() -> None:
    """9: a limit applied three times: of 50 packets at once exactly the burst passes, however many lines the ports take."""
    ports = PortSet.of(*range(1, 90, 2))
    rule = drop(src=A(BAD), proto=17, dport=ports, rate=Rate(1, 3600, 7, True, ()))
    text = files(rule, vantage=Vantage.ROUTER)["rules.v4"]
    simulator = Simulator(lower(Policy((rule,), vantage=Vantage.ROUTER)).program, clock=False)
    simulator.update(fp.batch([fp.udp(BAD, 1000, ME, 1 + 2 * (n % 45)) for n in range(50)]))

    assert simulator.finish().dropped == 43
    assert text.count("--hashlimit-name") == 1


HOSTILE = ["$(touch /tmp/owned)", "`id`", '"; reboot; "', "x\nCOMMIT\n*nat\n-A PREROUTING -j DROP", "TAPWALL_END\nid", "' } flush ruleset"]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_10_names_are_no_commands(text: str) -> None:
    """10: a name with shell syntax ran as root. No file holds it; rules of hostile words have the lines of harmless ones."""
    hostile, harmless = (Rule(Action.DROP, Match(src=A(BAD)), description=words) for words in (text, "x"))
    made, plain = files(hostile), files(harmless)

    for name in plain:
        assert made[name].count("\n") == plain[name].count("\n"), name
        if name != "policy.toml":
            assert not [word for word in ("$(touch", "`id`", "; reboot", "flush ruleset' }") if word in made[name]], (
                name
            )


def test_11_a_rule_does_not_change_its_neighbours() -> None:
    """11: a family or time window leaked into later rules: the same lines in either order."""
    one, two = drop(src=A("2001:db8::9")), Rule(Action.DROP, Match(src=A(BAD)), ttl_s=60)
    texts = [files(*rules, vantage=Vantage.ROUTER) for rules in ((one, two), (two, one))]

    for name in ("rules.v4", "rules.v6", "rules.nft"):
        assert sorted(texts[0][name].splitlines()) == sorted(texts[1][name].splitlines())


def test_12_ports_belong_to_their_protocol() -> None:
    """12: a service of two protocols widened one to the other's ports: a match has one protocol."""
    rules = (drop(proto=6, dport=PortSet.of(80)), drop(proto=17, dport=PortSet.of(53)))
    packets = [fp.tcp(BAD, 1, ME, 80), fp.tcp(BAD, 1, ME, 53), fp.udp(BAD, 1, ME, 53), fp.udp(BAD, 1, ME, 80)]
    verdicts = Simulator(lower(Policy(rules, vantage=Vantage.ROUTER)).program).update(fp.batch(packets))

    assert verdicts.dropped.tolist() == [True, False, True, False]
    assert len(minimise(Policy(rules)).rules) == 2


@pytest.mark.parametrize(
    ("vantage", "directions"), [(Vantage.HOST, {Direction.IN, Direction.OUT}), (Vantage.ROUTER, {Direction.FORWARD}), (Vantage.SPAN, {Direction.ANY})]
)  # fmt: skip
def test_13_both_directions(vantage: Vantage, directions: set[Direction]) -> None:
    """13: only the source was blocked: who lures is stopped on the way to it and on the way back, by vantage."""
    found = fp.finding("lure", BAD)
    visit = [p for n in range(30) for p in fp.talk(ME, 2000 + n, "198.51.100.7", 443)]
    survey = fp.surveyed(fp.talk(ME, 1024, BAD, 443) + visit, {found.id: range(11)})
    rules = propose([found], Decisions(vantage=vantage), survey, {}).policy.rules

    assert {r.direction for r in rules} == directions
    assert {bool(r.match.src and BAD in r.match.src) for r in rules} == {True, False}


def test_14_dockers_chain_is_never_declared() -> None:
    """14: a chain declared before Docker starts makes Docker skip its jump: the host is open."""
    for name, text in files(drop(src=A(BAD)), vantage=Vantage.DOCKER).items():
        assert ":DOCKER-USER" not in text.replace("'DOCKER-USER:", "'"), name
        assert "-N DOCKER-USER" not in text, name


def test_15_sets_are_exact() -> None:
    """15: auto-merge widened ranges and lost timeouts: neighbours stay apart from what lies between them."""
    hosts = [f"10.{n}.0.0/16" for n in range(0, 40, 2)]
    text = files(Rule(Action.DROP, Match(src=A(*hosts)), ttl_s=60))["rules.nft"]

    assert "auto-merge" not in text
    assert all(host in text for host in hosts) and "10.1.0.0" not in text


def test_16_one_load_whatever_the_number() -> None:
    """16: one process a rule: a file of many rules is one restore, one nft run."""
    rules = [drop(src=A(f"10.0.{n}.1"), proto=6, dport=PortSet.of(n + 1)) for n in range(50)]
    made = files(*rules)

    assert made["rules.v4"].count("COMMIT") == 1 and made["rules.nft"].count("table inet tapwall {") == 1
    assert "iptables -A" not in made["apply.sh"] and made["apply.sh"] == files(rules[0])["apply.sh"]


def test_17_a_live_session_is_met() -> None:
    """17: an accept of established kept the session that the block was written against."""
    rules = (drop(src=A(BAD)), Rule(Action.PERMIT, Match(states=frozenset({"ESTABLISHED", "RELATED"}))))
    session = [fp.tcp(BAD, 1024, ME, 22, fp.ACK), fp.tcp(ME, 22, BAD, 1024, fp.ACK)] * 10
    simulator = Simulator(lower(Policy(rules, vantage=Vantage.ROUTER)).program)
    simulator.update(fp.batch(session))

    assert simulator.finish().dropped == 10


@pytest.mark.parametrize("module", ["-m owner --uid-owner 0", "-m string --string x --algo bm", "-m u32 --u32 0=0", "-m statistic --mode random --probability 0.5"])  # fmt: skip
def test_18_an_unknown_module_is_unknown(module: str) -> None:
    """18: rules outside the model were taken as no match."""
    loaded = load(f"*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD {module} -j DROP\nCOMMIT\n")
    verdicts = Simulator(loaded.program).update(fp.batch([fp.tcp(BAD, 1, ME, 2)]))

    assert (verdicts.dropped.tolist(), verdicts.doubtful.tolist()) == ([False], [True])


def test_19_the_other_familys_protocol_is_refused() -> None:
    """19: the kernel loads ICMP for IPv6 and never matches it."""
    for proto, host in ((1, "2001:db8::9"), (58, BAD)):
        with pytest.raises(RuleError, match="family"):
            drop(src=A(host), proto=proto)
    assert " -p 1 " not in files(drop(proto=1))["rules.v6"] and " -p 58 " not in files(drop(proto=58))["rules.v4"]


@pytest.mark.parametrize("text", ["010.0.0.1", "10.0.0.01", "0x0a.0.0.1", "10.1"])
def test_20_no_octal_no_shorthand(text: str) -> None:
    """20: a leading zero is read as octal by the kernel's tools."""
    with pytest.raises(RuleError, match="address: got"):
        A(text)
