"""Many senders against one target are one rule with a set; the victim is never blocked, shared senders are spared."""

from __future__ import annotations

import firewall_packets as fp

from firewall.crowd import SOURCES_LEAST, crowd
from firewall.rules import Match
from firewall.sets import AddrSet, PortSet

ME = "192.168.1.5"
A = AddrSet.parse
SENDERS = [f"203.0.{n}.7" for n in range(40)]


def test_reflected_answers_share_their_source_port() -> None:
    """Amplification: one service's port, everybody else's target port differs."""
    packets = [fp.udp(sender, 53, ME, 1000 + 2 * n) for n, sender in enumerate(SENDERS)]
    found = crowd(fp.surveyed(packets, {"f": range(40)}), "f", A())

    assert found is not None and found.target == ME
    assert found.rung.matches == (Match(src=A(*SENDERS), dst=A(ME), proto=17, sport=PortSet.of(53)),)
    assert (found.rung.gain_share, found.rung.collateral_conversations) == (1.0, 0)


def test_a_flood_shares_its_target_port() -> None:
    """Many sources, one service."""
    packets = [fp.tcp(sender, 1000 + 2 * n, ME, 80) for n, sender in enumerate(SENDERS)]
    found = crowd(fp.surveyed(packets, {"f": range(40)}), "f", A())

    assert found is not None and found.rung.matches == (Match(src=A(*SENDERS), dst=A(ME), proto=6, dport=PortSet.of(80)),)  # fmt: skip


def test_later_fragments_have_no_port() -> None:
    """Where pieces of large answers belong to it, a match on ports would let them through."""
    packets = [fp.udp(sender, 53, ME, 22) for sender in SENDERS] + [fp.ipv4(SENDERS[0], ME, 17, bytes(8), offset=9)]
    found = crowd(fp.surveyed(packets, {"f": range(41)}), "f", A())

    assert found is not None and found.rung.matches[0].dport is None and found.rung.matches[0].sport is None


def test_spared_senders_are_left_out_and_counted() -> None:
    """A public resolver that was abused is not blocked."""
    packets = [fp.udp(sender, 53, ME, 22) for sender in [*SENDERS, "8.8.8.8"]]
    found = crowd(fp.surveyed(packets, {"f": range(41)}), "f", A("8.8.8.8"))

    assert found is not None and found.left_out == 1
    assert found.rung.matches[0].src == A(*SENDERS)


def test_collateral_is_measured() -> None:
    """A sender's other talk with the target at the same port is counted against the rule."""
    packets = [fp.tcp(sender, 1000 + 2 * n, ME, 80) for n, sender in enumerate(SENDERS)]
    found = crowd(fp.surveyed([*packets, fp.tcp(SENDERS[0], 9999, ME, 80)], {"f": range(40)}), "f", A())

    assert found is not None and found.rung.collateral_conversations == 1


def test_no_crowd() -> None:
    """Too few senders, several targets, no packet."""
    few = [fp.udp(sender, 53, ME, 22) for sender in SENDERS[: SOURCES_LEAST - 1]]
    several = [fp.udp(sender, 53, f"192.168.1.{n}", 22) for n, sender in enumerate(SENDERS)]
    from_me = [fp.udp(ME, 5000, sender, 53) for sender in SENDERS]

    assert crowd(fp.surveyed(few, {"f": range(4)}), "f", A()) is None
    assert crowd(fp.surveyed(several, {"f": range(40)}), "f", A()) is None
    assert crowd(fp.surveyed(few, {"f": []}), "f", A()) is None
    assert crowd(fp.surveyed(from_me, {"f": range(40)}), "f", A()) is None
