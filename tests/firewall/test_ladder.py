"""From the narrowest match to the widest: each rung with what it stops and what else it would meet."""

from __future__ import annotations

import firewall_packets as fp
import pytest

from firewall.ladder import climb, stopped_share
from firewall.rules import Match
from firewall.sets import AddrSet, PortSet

BAD, ME, OTHER = "203.0.113.9", "192.168.1.5", "192.168.1.6"
A = AddrSet.parse


def test_the_narrowest_that_suffices() -> None:
    """One service of one host: source, destination, protocol and port; the rest of the talk is left alone."""
    attack, visit = fp.talk(BAD, 1024, ME, 22), fp.talk(BAD, 1025, OTHER, 80)
    rungs, chosen = climb(fp.surveyed(attack + visit, {"f": range(11)}), "f", BAD, "source")

    assert chosen is not None and chosen.name == "conversation"
    assert chosen.matches == (Match(src=A(BAD), dst=A(ME), proto=6, dport=PortSet.of(22)),)
    assert [(r.name, r.gain_share, r.collateral_conversations) for r in rungs] == [("conversation", 1.0, 0), ("host and port", 1.0, 0), ("host pair", 1.0, 0), ("host", 1.0, 1)]  # fmt: skip


def test_answers_are_matched_by_their_source_port() -> None:
    """Who was asked sends from the service's port."""
    survey = fp.surveyed(fp.talk(ME, 1024, BAD, 443), {"f": range(11)})

    assert climb(survey, "f", BAD, "source")[1].matches == (Match(src=A(BAD), dst=A(ME), proto=6, sport=PortSet.of(443)),)  # type: ignore[union-attr]  # fmt: skip
    assert climb(survey, "f", BAD, "destination")[1].matches == (Match(src=A(ME), dst=A(BAD), proto=6, dport=PortSet.of(443)),)  # type: ignore[union-attr]  # fmt: skip


def test_many_ports_are_the_pair() -> None:
    """A scan of more ports than a rule lists is stopped by the pair of hosts."""
    packets = [fp.tcp(BAD, 1024, ME, port) for port in range(1, 80, 2)]
    _, chosen = climb(fp.surveyed(packets, {"f": range(len(packets))}), "f", BAD, "source")

    assert chosen is not None and chosen.matches == (Match(src=A(BAD), dst=A(ME)),)


def test_many_targets_are_the_host() -> None:
    """A sweep over more hosts than a rule lists is stopped at its source, by protocol and port."""
    packets = [fp.tcp(BAD, 1024, f"192.168.{n}.7", 445) for n in range(20)]
    _, chosen = climb(fp.surveyed(packets, {"f": range(len(packets))}), "f", BAD, "source")

    assert chosen is not None and chosen.matches == (Match(src=A(BAD), proto=6, dport=PortSet.of(445)),)


def test_never_an_address_that_was_not_seen() -> None:
    """A prefix is a rung only where it was asked for, and it says how many addresses it adds."""
    survey = fp.surveyed(fp.talk(BAD, 1024, ME, 22), {"f": range(11)})
    plain, _ = climb(survey, "f", BAD, "source")
    wide, chosen = climb(survey, "f", BAD, "source", "203.0.113.0/24")

    assert {r.addresses_added for r in plain} == {0}
    assert chosen is wide[-1] and (chosen.name, chosen.addresses_added) == ("prefix", 255)


@pytest.mark.parametrize("few", [True, False])
def test_own_addresses_are_spared(few: bool) -> None:
    """A host that must be stopped keeps talking to itself: no rung meets its own addresses."""
    targets = [ME, *(f"203.0.{n}.7" for n in range(1, 3 if few else 30))]
    packets = [fp.icmp(ME, target, 8) for target in targets]
    _, chosen = climb(fp.surveyed(packets, {"f": range(len(packets))}), "f", ME, "source", spared=A(ME))

    assert chosen is not None
    match = chosen.matches[0]
    assert match.dst is not None
    assert (ME in match.dst) == ("dst" in match.negate)


def test_fragments_have_no_port() -> None:
    """A finding in later fragments gets a match without ports, which they do not carry."""
    packets = [fp.ipv4(BAD, ME, 17, bytes(24), offset=3 * n, more=True) for n in range(4)]
    _, chosen = climb(fp.surveyed(packets, {"f": [3]}), "f", BAD, "source")

    assert chosen is not None and chosen.matches == (Match(src=A(BAD), dst=A(ME), proto=17),)


def test_one_way_or_both() -> None:
    """A conversation that the rule's side opened is stopped as a whole; one that it answered is stopped half."""
    attack = fp.surveyed(fp.talk(BAD, 1024, ME, 22), {"f": range(11)})
    lured = fp.surveyed(fp.talk(ME, 1024, BAD, 443), {"f": range(11)})
    back = climb(lured, "f", BAD, "destination")[1]
    assert back is not None
    shares = []
    for survey in (attack, lured):
        rung = climb(survey, "f", BAD, "source")[1]
        assert rung is not None
        shares.append(stopped_share(survey, "f", BAD, {"source": rung}))

    assert shares[0] == 1.0
    assert 0.4 < shares[1] < 0.5  # 5 of 11 packets are answers
    assert stopped_share(lured, "f", BAD, {"destination": back}) == 1.0


def test_nobody_there() -> None:
    """An address that the capture does not hold has no rungs."""
    assert climb(fp.surveyed([fp.tcp(BAD, 1, ME, 2)], {"f": [0]}), "f", "198.51.100.1", "source") == ([], None)
