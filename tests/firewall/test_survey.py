"""What a capture shows of its surroundings: who captured, the gateway, the servers, who belongs to a finding."""

from __future__ import annotations

import firewall_packets as fp
import numpy as np
import pytest

from firewall.sets import AddrSet
from firewall.survey import Surveyor

ME, ROUTER, PEER = "192.168.1.5", "192.168.1.1", "203.0.113.9"


def test_the_capturing_machine_is_in_nearly_every_packet() -> None:
    """One address in 95 % of all unicast packets is own; broadcasts of others do not count."""
    packets = fp.talk(ME, 1024, PEER, 443) + fp.talk(ME, 1025, "203.0.113.10", 443) + [fp.udp("192.168.1.9", 1, "192.168.1.255", 2)]  # fmt: skip
    survey = fp.surveyed([*packets, fp.udp("192.168.1.8", 5353, "224.0.0.251", 5353)], {})

    assert survey.own == AddrSet.parse(ME)
    assert "% of all unicast packets" in survey.own_why


def test_two_hosts_only() -> None:
    """Of two, the private one captured; two of a kind are not told apart."""
    assert fp.surveyed(fp.talk(ME, 1024, PEER, 443), {}).own == AddrSet.parse(ME)
    assert not fp.surveyed(fp.talk(ME, 1024, "192.168.1.6", 443), {}).own


def test_others_traffic_has_no_own_address() -> None:
    """A span port sees many."""
    packets = [p for n in range(9) for p in fp.talk(f"192.168.1.{n + 10}", 1024, f"203.0.113.{n + 1}", 443)]

    assert not fp.surveyed(packets, {}).own


def test_servers_are_those_that_answered() -> None:
    """A resolver, a time server; a port that nobody answered on is no server, nor is a host that refuses a scan of it."""
    packets = [
        fp.udp(ME, 5000, "9.9.9.9", 53), fp.udp("9.9.9.9", 53, ME, 5000), fp.udp(ME, 123, "192.0.2.1", 123), fp.udp("192.0.2.1", 123, ME, 123),
        fp.udp(ME, 5000, "192.0.2.2", 53), fp.tcp(PEER, 4000, ME, 53), fp.tcp(ME, 53, PEER, 4000, fp.RST | fp.ACK),
    ]  # fmt: skip
    survey = fp.surveyed(packets, {})

    assert survey.resolvers == AddrSet.parse("9.9.9.9")
    assert survey.time_servers == AddrSet.parse("192.0.2.1")


def test_the_gateway_sends_for_strangers() -> None:
    """A local address whose card also sends packets of foreign addresses."""
    packets = [fp.udp(ROUTER, 53, ME, 5000), fp.udp(PEER, 443, ME, 5001), fp.udp(ME, 5001, PEER, 443)]
    frames = [bytes((2, 0, 0, 0, 0, 1)) + mac + b"\x08\x00" + p for p, mac in zip(packets, (b"\x02RRRRR", b"\x02RRRRR", b"\x02MMMMM"))]  # fmt: skip
    batch = fp.batch(frames)
    batch.packets.link_type[:] = 1
    batch.packets.ip_start[:] = batch.packets.start + 14
    surveyor = Surveyor({})
    surveyor.update(batch)

    assert surveyor.finish().gateways == AddrSet.parse(ROUTER)


def test_members_are_the_conversations_of_a_finding() -> None:
    """By flows, over chunks; a finding without packets has no members."""
    first, second = fp.talk(ME, 1024, PEER, 443), fp.talk(ME, 1025, PEER, 443)
    surveyor = Surveyor({"f": np.array([3], np.int64), "nothing": np.array([9], np.int64)})
    surveyor.update(fp.batch(first, flows=[3] * len(first)))
    surveyor.update(fp.batch(second, flows=[-1] * len(second), first=100))
    survey = surveyor.finish()

    assert [len(survey.members[name]) for name in ("f", "nothing")] == [1, 0]
    assert survey.bad().tolist() == [True, False]


def test_a_flood_of_forged_cards_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of card and address stop being kept somewhere; the survey goes on."""
    monkeypatch.setattr("firewall.survey.PAIRS_MAX", 10)
    frames = [bytes(6) + n.to_bytes(6, "big") + b"\x08\x00" + fp.udp(ME, 1, PEER, 2) for n in range(50)]
    batch = fp.batch(frames)
    batch.packets.link_type[:] = 1
    batch.packets.ip_start[:] = batch.packets.start + 14
    surveyor = Surveyor({})
    surveyor.update(batch)

    assert len(surveyor._pairs) == 10
    assert surveyor.finish().packets == 50
