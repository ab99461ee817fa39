"""The nft file: one table of our own in one transaction, exact sets, both families."""

from __future__ import annotations

import re

import firewall_packets as fp
import pytest
from hypothesis import given, settings

from firewall.errors import UnsupportedError
from firewall.lower import lower
from firewall.program import Base, Condition, Hook, Line, Program, Verdict
from firewall.render import nftables
from firewall.rules import Action, Match, Policy, Rate, Rule, Vantage, icmp_set
from firewall.sets import AddrSet, PortSet

A, P = AddrSet.parse, PortSet.parse
TCP = Condition("proto", PortSet.of(6))
WORDS: dict[str, tuple[Line, str]] = {
    "source": (Line((Condition("src", A("10.0.0.1")),), family=4), "ip saddr 10.0.0.1 counter"),
    "list": (Line((Condition("dst", A("2001:db8::1", "2001:db8::3")),), family=6), "ip6 daddr { 2001:db8::1, 2001:db8::3 } counter"),
    "set, negated": (Line((Condition("src", A("10.0.0.1"), True, "tw4-x"),), family=4), "ip saddr != @tw4-x counter"),
    "port": (Line((TCP, Condition("dport", P("80,8000-8010"))), family=4), "meta nfproto ipv4 tcp dport { 80, 8000-8010 } counter"),
    "protocol": (Line((TCP,), family=6), "meta nfproto ipv6 meta l4proto 6 counter"),
    "ICMP": (Line((Condition("icmp", icmp_set("3/4")),), family=4), "meta nfproto ipv4 meta l4proto icmp @th,0,16 772 counter"),
    "flags": (Line((TCP, Condition("tcp_flags", (0x17, 2))), family=4), "meta nfproto ipv4 tcp flags & 0x17 == 0x02 counter"),
    "states": (Line((Condition("state", frozenset({"NEW", "RELATED"})),)), "ct state new,related counter"),
    "states, negated": (Line((Condition("state", frozenset({"NEW"}), True),)), "ct state != { new } counter"),
    "interface": (Line((Condition("iif", "eth+"),)), 'iifname "eth*" counter'),
    "limit": (Line((Condition("rate", Rate(5, 60, 7, False, ())),)), "limit rate 5/minute burst 7 packets counter"),
    "expiry": (Line((Condition("expires", 2_000_000_000),)), "meta time < 2000000000 counter"),
    "published": (Line((Condition("orig_dst", A("192.0.2.1")),), family=4), "ct direction original ct original ip daddr 192.0.2.1 counter"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    """Each field has its words."""
    line, expected = WORDS[name]

    assert nftables.line_text(line, []) == expected


def test_a_bucket_per_address_is_a_dynamic_set() -> None:
    """The buckets live in a set of limited size whose elements time out."""
    buckets: list[str] = []
    line = Line((Condition("src", A("10.0.0.0/8")), Condition("rate", Rate(10, 1, 20, True, ("src",)))), family=4)

    text = nftables.line_text(line, buckets)
    assert "update @tw-4 { ip saddr limit rate over 10/second burst 20 packets }" in text
    assert "flags dynamic,timeout" in buckets[0] and "size 65535" in buckets[0]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (Line((Condition("unknown", "x"),), rule="tw-1"), "unknown"),
        (Line((), Verdict.UNKNOWN, rule="tw-1"), "action"),
        (Line((Condition("dport", P("80")),), rule="tw-1"), "port"),
        (Line((Condition("rate", Rate(1)),), rule="tw-1"), "rate"),
    ],
)
def test_what_cannot_be_said_raises(line: Line, field: str) -> None:
    """The error names rule and field."""
    with pytest.raises(UnsupportedError) as caught:
        nftables.line_text(line, [])
    assert (caught.value.rule, caught.value.field) == ("tw-1", field)


def test_ports_of_later_fragments_are_not_read() -> None:
    """Without connection tracking nft would take payload for ports: lines that read them are guarded."""
    rule = Rule(Action.DROP, Match(proto=17, dport=PortSet.of(53)))
    plain = nftables.render(lower(Policy((rule,), vantage=Vantage.ROUTER))).text
    tracked = Rule(Action.PERMIT, Match(states=frozenset({"ESTABLISHED"})))
    stateful = nftables.render(lower(Policy((tracked, rule), vantage=Vantage.ROUTER))).text

    assert plain.count("ip frag-off & 0x1fff == 0 ") == 1
    assert plain.count("frag frag-off 0 ") == 1 and plain.count("exthdr frag missing ") == 1
    assert "frag" not in stateful


@settings(deadline=None, max_examples=25)
@given(fp.policies(states=True))
def test_one_transaction_and_no_merging(policy: Policy) -> None:
    """The table is added, deleted and written in one file; no auto-merge, which loses timeouts and widens ranges."""
    text = nftables.render(lower(policy)).text
    body = [line for line in text.splitlines() if not line.startswith("#")]

    assert body[:3] == ["add table inet tapwall", "delete table inet tapwall", "table inet tapwall {"]
    assert body[-1] == "}" and text.endswith("}\n")
    assert "auto-merge" not in text and "flush" not in text
    assert len(re.findall(r"^table ", text, re.M)) == 1


def test_sets_live_as_long_as_their_rule() -> None:
    """A long list is a set whose elements time out; prefixes make it an interval set."""
    hosts = [f"10.0.{n}.1" for n in range(20)]
    text = nftables.render(lower(Policy((Rule(Action.DROP, Match(src=A(*hosts)), ttl_s=3600),), created=1))).text
    nets = nftables.render(lower(Policy((Rule(Action.DROP, Match(src=A(*hosts, "192.0.2.0/24"))),)))).text

    assert "flags timeout" in text and "timeout 3600s" in text and "meta time < 3601 " in text
    assert "flags interval\n" in nets


def test_the_reason_ends_no_string() -> None:
    """A comment of a hostile name stays a comment."""
    rule = Rule(
        Action.DROP, Match(src=A("10.0.0.1")), description='" } chain z { type filter hook input priority 0; }\n'
    )
    line = next(x for x in nftables.render(lower(Policy((rule,)))).text.splitlines() if rule.id in x)

    assert line.count('"') == 2 and "{" not in line.split("comment")[1]


def test_policies_of_base_chains() -> None:
    """A default of DROP in a foreign base chain is said as its policy."""
    program = Program({"c": ()}, (Base("c", Hook.INPUT, 5, Verdict.DROP),))

    assert "type filter hook input priority 5; policy drop;" in "\n".join(nftables.table_lines(program))
