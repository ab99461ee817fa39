"""The words of iptables for a line, field by field, and what it cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from firewall.errors import UnsupportedError
from firewall.iptables_lines import chain_text, ipset_text, line_text
from firewall.program import Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import Rate, icmp_set
from firewall.sets import AddrSet, PortSet

A, P = AddrSet.parse, PortSet.parse
TCP, UDP, SCTP, ICMP, ICMP6 = (Condition("proto", PortSet.of(n)) for n in (6, 17, 132, 1, 58))
# name: (family, conditions, words of iptables)
WORDS: dict[str, tuple[int, tuple[Condition, ...], str]] = {
    "source": (4, (Condition("src", A("10.0.0.1")),), "-s 10.0.0.1"),
    "prefix, negated": (4, (Condition("dst", A("10.0.0.0/8"), True),), "! -d 10.0.0.0/8"),
    "IPv6": (6, (Condition("src", A("2001:db8::/32")),), "-s 2001:db8::/32"),
    "named set": (4, (Condition("src", A("10.0.0.1"), False, "tw4-x"),), "-m set --match-set tw4-x src"),
    "named set, negated": (4, (Condition("dst", A("10.0.0.1"), True, "tw4-x"),), "-m set ! --match-set tw4-x dst"),
    "TCP port": (4, (TCP, Condition("dport", P("443"))), "-p 6 -m multiport --dports 443"),
    "UDP source ports, negated": (4, (UDP, Condition("sport", P("1-1023"), True)), "-p 17 -m multiport ! --sports 1:1023"),
    "list of ports": (4, (TCP, Condition("dport", P("80,443"))), "-p 6 -m multiport --dports 80,443"),
    "SCTP port": (4, (SCTP, Condition("dport", P("80"))), "-p 132 -m multiport --dports 80"),
    "ICMP type": (4, (ICMP, Condition("icmp", icmp_set("8"))), "-p 1 -m icmp --icmp-type 8"),
    "ICMP code": (4, (ICMP, Condition("icmp", icmp_set("3/4"))), "-p 1 -m icmp --icmp-type 3/4"),
    "ICMPv6 type": (6, (ICMP6, Condition("icmp", icmp_set("135"))), "-p 58 -m icmp6 --icmpv6-type 135"),
    "SYN": (4, (TCP, Condition("tcp_flags", (0x17, 2))), "-p 6 -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"),
    "no flag": (4, (TCP, Condition("tcp_flags", (63, 0))), "-p 6 -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE"),
    "states": (4, (Condition("state", frozenset({"NEW", "INVALID"})),), "-m conntrack --ctstate INVALID,NEW"),
    "interface": (4, (Condition("iif", "eth*"),), "-i eth+"),
    "limit": (4, (Condition("rate", Rate(5, 60, 7, False, ())),), "-m limit --limit 5/min --limit-burst 7"),
    "hashlimit": (
        4,
        (Condition("rate", Rate(10, 1, 20, True, ("src",))),),
        "-m hashlimit --hashlimit-above 10/sec --hashlimit-burst 20 --hashlimit-mode srcip --hashlimit-name tw",
    ),
    "expiry": (4, (Condition("expires", 2_000_000_000),), "-m time --datestop 2033-05-18T03:33:20"),
    "published port": (4, (TCP, Condition("orig_dport", P("80"))), "-p 6 -m conntrack --ctorigdstport 80 --ctdir ORIGINAL"),
    "published address, negated": (4, (Condition("orig_dst", A("192.0.2.1"), True),), "-m conntrack ! --ctorigdst 192.0.2.1 --ctdir ORIGINAL"),
    "later fragment": (4, (Condition("fragment", True),), "-f"),
}  # fmt: skip
CANNOT: dict[str, tuple[int, tuple[Condition, ...], str]] = {
    "two prefixes in one line": (4, (Condition("src", A("10.0.0.1", "10.0.0.3")),), "address"),
    "fragments of IPv6": (6, (Condition("fragment", True),), "fragment"),
    "what the model does not know": (4, (Condition("unknown", "-m geoip"),), "unknown"),
    "16 ports": (4, (TCP, Condition("dport", PortSet.of(*range(1, 32, 2)))), "port"),
    "a published port, negated": (4, (TCP, Condition("orig_dport", P("80"), True)), "port"),
    "a bucket that the kernel overflows": (4, (Condition("rate", Rate(1, 86400, 20, True, ("src",))),), "rate"),
    "protocol 0, which would be any": (4, (Condition("proto", P("0")),), "protocol"),
    "half an ICMP type": (4, (ICMP, Condition("icmp", PortSet(((768, 770),)))), "icmp"),
    "a list of protocols": (4, (Condition("proto", P("6,17")),), "protocol"),
}


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    """Each field has its words; numbers only, nothing that a load would look up."""
    family, conditions, expected = WORDS[name]

    assert line_text(Line(conditions, family=family), family) == expected


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_said_raises(name: str) -> None:
    """The error names rule and field: a field left out would be a hole."""
    family, conditions, field = CANNOT[name]

    with pytest.raises(UnsupportedError) as caught:
        line_text(Line(conditions, family=family, rule="tw-1"), family)
    assert (caught.value.rule, caught.value.field) == ("tw-1", field)


def test_sets_are_asked_before_ports() -> None:
    """A module that reads ports throws away what ends inside its header: the set must have its say first."""
    conditions = (Condition("src", A("10.0.0.1"), True, "tw4-x"), TCP, Condition("dport", P("80")), Condition("state", frozenset({"NEW"})))  # fmt: skip
    words = line_text(Line(conditions, family=4), 4)

    assert words == "-p 6 -m set ! --match-set tw4-x src -m multiport --dports 80 -m conntrack --ctstate NEW"


def test_flags_are_not_read_in_later_fragments() -> None:
    """Where nothing puts fragments together a line that reads flags says so; ports go through a module that looks."""
    line = Line((TCP, Condition("dport", P("80")), Condition("tcp_flags", (0x17, 2))), family=4)
    chains = {"X": (line,), "Y": (Line((Condition("state", frozenset({"NEW"})),)),)}
    stateless = chain_text(Program({"X": chains["X"]}, ()), "X", 4)[1][0]
    stateful = chain_text(Program(chains, ()), "X", 4)[1][0]

    assert stateless.startswith("-A X ! -f -p 6 -m multiport --dports 80 -m tcp --tcp-flags")
    assert "-f " not in stateful.replace("-flags", "")


def test_the_reason_is_a_comment_and_no_more() -> None:
    """Text of a peer stays inside the quotes."""
    text = line_text(Line((), Verdict.DROP, rule="tw-1", reason='x" -j ACCEPT\n-A INPUT -j ACCEPT'), 4)

    assert text == '-m comment --comment "tw-1 x_ -j ACCEPT_-A INPUT -j ACCEPT" -j DROP'
    assert text.count('"') == 2


@pytest.mark.parametrize("kind", ["chain", "set"])
def test_names_too_long_are_refused(kind: str) -> None:
    """A name that the kernel refuses would leave a set empty or a chain unloaded."""
    with pytest.raises(UnsupportedError, match="characters, at most"):
        if kind == "chain":
            chain_text(Program({"X" * 29: ()}, (Base("X" * 29, Hook.INPUT),)), "X" * 29, 4)
        else:
            ipset_text({"x" * 32: A("10.0.0.1")}, {})


def test_ipset_makes_room_and_halves_everything() -> None:
    """hash:net takes no /0 and 65536 elements unless told otherwise."""
    big: Any = AddrSet.of(4, [(n * 2, n * 2) for n in range(70_000)])

    assert "maxelem 70000 timeout 60" in ipset_text({"tw4-a": big}, {"tw4-a": 60}).splitlines()[0]
    assert "add s 0.0.0.0/1 -exist\nadd s 128.0.0.0/1 -exist\n" in ipset_text({"s": A("0.0.0.0/0")}, {})
    assert "add s ::/1 -exist\nadd s 8000::/1 -exist\n" in ipset_text({"s": A("::/0")}, {})
