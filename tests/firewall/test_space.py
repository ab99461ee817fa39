"""Classes of packets that no rule can tell apart, and what each condition answers for them."""

from __future__ import annotations

import ipaddress

import firewall_packets as fp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.headers import read
from firewall.lower import lower
from firewall.program import Base, Condition, Hook, Line, Program
from firewall.rules import Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import FORWARD
from firewall.space import NO, UNKNOWN, YES, Space
from firewall.walk import Rows


def answers(line: Line, packets: list[bytes], program: Program | None = None, interface: str | None = None) -> list[int]:  # fmt: skip
    """One line over packets, all forwarded."""
    headers, _ = read(fp.batch(packets))
    program = program or Program({"x": (line,)}, (Base("x", Hook.FORWARD),))
    space = Space(program, interface)
    classes, of = space.classify(headers, np.full(len(headers.row), FORWARD))
    rows = Rows(space, classes, 1)
    found = rows.answer(line, np.arange(rows.size))
    if not rows.possible(line):
        assert not found.any()
    return [int(a) for a in found[of]]


def obvious(match: Match, packet: bytes) -> bool:
    """The same, read from the packet's bytes one condition at a time (whole packets without extension headers)."""
    six = packet[0] >> 4 == 6
    proto, body = (packet[6], packet[40:]) if six else (packet[9], packet[20:])
    sides = (packet[8:24], packet[24:40]) if six else (packet[12:16], packet[16:20])
    good = True
    for name, raw in zip(("src", "dst"), sides):
        addresses: AddrSet | None = getattr(match, name)
        if addresses is not None:
            family = 6 if six else 4
            good &= bool(addresses.ranges(family)) and ((str(ipaddress.ip_address(raw)) in addresses) != (name in match.negate))  # fmt: skip
    if match.proto is not None:
        good &= proto == match.proto
    for name, at in (("sport", 0), ("dport", 2)):
        ports: PortSet | None = getattr(match, name)
        if ports is not None:
            good = good and (int.from_bytes(body[at : at + 2], "big") in ports) != (name in match.negate)
    if match.tcp_flags is not None:
        good = good and body[13] & match.tcp_flags[0] == match.tcp_flags[1]
    if match.icmp is not None:
        good = good and int.from_bytes(body[:2], "big") in match.icmp
    return good


def is_whole(packet: bytes) -> bool:
    """True for a packet that ends behind its transport header."""
    headers, _ = read(fp.batch([packet]))
    return bool(len(headers.row)) and int(headers.transport[0]) < 2 and int(headers.fragment[0]) == 0


@settings(deadline=None, max_examples=40)
@given(fp.matches(), st.lists(fp.packets(fragments=False).filter(is_whole), min_size=1, max_size=25))
def test_fast_equals_obvious(match: Match, packets: list[bytes]) -> None:
    """A match over many packets at once answers as reading each packet's bytes does."""
    rule = Rule(fp.Action.COUNT, match)
    program = lower(Policy((rule,), vantage=Vantage.ROUTER)).program
    lines = [line for _, _, line in program.lines() if line.rule]
    found = np.zeros(len(packets), bool)
    for line in lines:
        found |= np.array(answers(line, packets, program)) == YES

    assert found.tolist() == [obvious(match, packet) for packet in packets]


def test_interfaces_are_unknown_unless_told() -> None:
    """A capture does not say where a packet came in; the name of the capture's interface does, with its wildcard."""
    line, packet = Line((Condition("iif", "eth+"),)), [fp.udp("10.0.0.1", 1, "10.0.0.2", 2)]

    assert answers(line, packet) == [UNKNOWN]
    assert answers(line, packet, interface="eth0") == [YES]
    assert answers(line, packet, interface="wlan0") == [NO]


def test_classes_are_few() -> None:
    """Ten thousand packets that one rule about one port cannot tell apart are a handful of classes."""
    packets = [fp.udp("10.0.0.1", 1 + n % 60000, "10.0.0.2", 53 + n % 2) for n in range(2000)]
    headers, _ = read(fp.batch(packets))
    program = Program({"x": (Line((Condition("proto", PortSet.of(17)), Condition("dport", PortSet.of(53)))),)}, (Base("x", Hook.FORWARD),))  # fmt: skip
    classes, _ = Space(program).classify(headers, np.full(2000, FORWARD))

    assert classes.size == 2
