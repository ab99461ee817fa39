"""The ladder from the narrowest match to the widest: what each rung would stop of a finding, and what else it would cut.

In: one finding's conversations among all of the capture's, and the accountable address. Out: `Rung` rows, narrowest
first, each with measured gain and collateral, and the first one that suffices. A rung never covers an address that was
not seen as bad. Must not know how findings are made, nor policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from firewall.headers import Array
from firewall.lower import LIST_MAX, MULTIPORT_SLOTS
from firewall.rules import WITH_PORTS, Match
from firewall.sets import AddrSet, PortSet
from firewall.survey import Survey

# Answers to a question that was put to a group (DHCP, NetBIOS names, SSDP, DHCPv6, WS-Discovery, mDNS, LLMNR) are
# conversations of their own, which the server seems to have opened: its port is the service, not the asker's.
ASKED_BY_GROUP = (67, 137, 547, 1900, 3702, 5353, 5355)
ENOUGH = 0.95  # share of the accountable side's packets that a rung must match to suffice
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rung:
    """One candidate: its matches, and what they would have met in this capture, in packets of the accountable side."""

    name: str
    matches: tuple[Match, ...]
    gain_packets: int
    gain_share: float
    collateral_packets: int
    collateral_conversations: int
    addresses_added: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "rung": self.name,
            "gain_packets": self.gain_packets,
            "gain_share": round(self.gain_share, 4),
            "collateral_packets": self.collateral_packets,
            "collateral_conversations": self.collateral_conversations,
            "addresses_added": self.addresses_added,
        }


@dataclass(frozen=True)
class Directed:
    """Conversations as seen from one address: per row, its packets and the other side. `opened`: it spoke first."""

    rows: Array  # conversation numbers
    peer: Array
    opened: Mask
    proto: Array
    own_port: Array
    peer_port: Array
    sent: Array  # packets from the address
    received: Array


def directed(survey: Survey, number: int) -> Directed:
    """All conversations of one address."""
    t = survey.table
    opened = t.a == number
    rows = np.flatnonzero(opened | (t.b == number))
    o = opened[rows]
    sent = np.where(o, t.packets_ab[rows], t.packets[rows] - t.packets_ab[rows])
    return Directed(
        rows,
        np.where(o, t.b[rows], t.a[rows]),
        o,
        t.proto[rows],
        np.where(o, t.a_port[rows], t.b_port[rows]),
        np.where(o, t.b_port[rows], t.a_port[rows]),
        sent,
        t.packets[rows] - sent,
    )


def climb(
    survey: Survey,
    finding: str,
    address: str,
    side: str,
    prefix: str | None = None,
    *,
    spared: AddrSet | None = None,
    answered: bool = False,
) -> tuple[list[Rung], Rung | None]:
    """The rungs against one address, and the narrowest that suffices. `side`: "source": what it sends is stopped,
    "destination": what is sent to it. `prefix`: one more, wider rung that was asked for. `spared`: peers that a rung
    without named peers must leave out (own addresses, where the host itself is to be stopped). `answered`: only what
    the other side opened."""
    number = _number(survey, address)
    if number is None:
        return [], None
    seen = directed(survey, number)
    mine = np.isin(seen.rows, survey.members[finding])
    if answered:
        mine &= ~seen.opened
    if not mine.any():
        return [], None
    bad = survey.bad()[seen.rows]
    rungs = []
    for name in ("conversation", "host and port", "host pair", "host"):
        matches = tuple(_sparing(m, side, spared) for m in _matches(survey, seen, mine, address, side, name))
        if matches:
            rungs.append(measure(survey, name, matches, seen, mine, bad, side))
    enough = [r for r in rungs if r.gain_share >= ENOUGH]
    chosen = min(
        enough, key=lambda r: (r.collateral_conversations > 0, rungs.index(r)), default=rungs[-1] if rungs else None
    )
    if prefix is not None:
        rungs.append(_prefix(survey, prefix, address, side, rungs[-1]))
        chosen = rungs[-1]
    return rungs, chosen


def stopped_share(survey: Survey, finding: str, address: str, chosen: Mapping[str, Rung]) -> float:
    """Share of a finding's packets that rungs (by side) stop together: what they match, and all of a conversation whose
    opener they match."""
    number = _number(survey, address)
    rows = survey.members[finding]
    total = int(survey.table.packets[rows].sum())
    if number is None or not total:
        return 0.0
    seen = directed(survey, number)
    mine = np.isin(seen.rows, rows)
    stopped = np.zeros(len(seen.rows), np.int64)
    for side, packets, first in (("source", seen.sent, seen.opened), ("destination", seen.received, ~seen.opened)):
        if side in chosen:
            hit = np.zeros(len(seen.rows), bool)
            for match in chosen[side].matches:
                hit |= _hits(survey, match, seen, side)
            stopped = np.where(hit & first, seen.sent + seen.received, np.where(hit, stopped + packets, stopped))
    stopped = np.minimum(stopped, seen.sent + seen.received)
    return int(stopped[mine].sum()) / total


def _sparing(match: Match, side: str, spared: AddrSet | None) -> Match:
    """The match without the spared peers."""
    if spared is None:
        return match
    host, name = (match.src, "dst") if side == "source" else (match.dst, "src")
    peers: AddrSet | None = getattr(match, name)
    changed: dict[str, Any] = {}
    if peers is None and host is not None:
        others = spared.only(next(iter(host.families)))
        changed = {name: others, "negate": frozenset({name})} if others else {}
    elif peers is not None and peers - spared:
        changed = {name: peers - spared}
    return replace(match, **changed)


def _number(survey: Survey, address: str) -> int | None:
    words = survey.conversations.address_words
    return next((n for n in range(len(words)) if survey.text(n) == address), None)


def _matches(survey: Survey, seen: Directed, mine: Mask, address: str, side: str, rung: str) -> tuple[Match, ...]:
    """The matches of a rung, empty where the rung cannot be said in a few lines."""
    host = AddrSet.parse(address)
    peers = AddrSet.parse(*(survey.text(n) for n in np.unique(seen.peer[mine]).tolist()))
    family = next(iter(host.families))
    few = len(peers.blocks(family)) <= LIST_MAX
    mine = mine & ((seen.sent if side == "source" else seen.received) > 0)  # a match for no packet is a dead rule
    if rung == "host":
        return (_sided(side, host, None, {}),)
    if rung == "host pair":
        return (_sided(side, host, peers, {}),) if few else ()
    if rung == "conversation" and not few:
        return ()
    out = []
    groups = sorted({(int(p), bool(o)) for p, o in zip(seen.proto[mine], seen.opened[mine])})
    for proto, opened in groups:
        if not 1 <= proto <= 255:
            return ()
        rows = mine & (seen.proto == proto) & (seen.opened == opened)
        ports: dict[str, PortSet] = {}
        if proto in WITH_PORTS:
            serves = not opened or bool(np.all(np.isin(seen.own_port[rows], ASKED_BY_GROUP)))
            service = PortSet.of(*np.unique((seen.own_port if serves else seen.peer_port)[rows]).tolist())
            if service.slots() > MULTIPORT_SLOTS:
                return ()
            at_peer = "sport" if (side == "source") == serves else "dport"
            ports = {at_peer: service} if 0 not in service else {}  # later fragments carry no port at all
        there = AddrSet.parse(*(survey.text(n) for n in np.unique(seen.peer[rows]).tolist()))
        out.append(_sided(side, host, there if rung == "conversation" else None, {"proto": proto, **ports}))
    return tuple(out) if len(out) <= LIST_MAX else ()


def _sided(side: str, host: AddrSet, peers: AddrSet | None, rest: dict[str, Any]) -> Match:
    return Match(src=host, dst=peers, **rest) if side == "source" else Match(src=peers, dst=host, **rest)


def measure(
    survey: Survey, name: str, matches: tuple[Match, ...], seen: Directed, mine: Mask, bad: Mask, side: str
) -> Rung:
    """A rung from its matches. `mine`: the finding's rows, `bad`: those of any finding."""
    packets = seen.sent if side == "source" else seen.received
    hit = np.zeros(len(seen.rows), bool)
    for match in matches:
        hit |= _hits(survey, match, seen, side)
    total = int(packets[mine].sum())
    gain = int(packets[mine & hit].sum())
    other = hit & ~bad & (packets > 0)
    return Rung(
        name, matches, gain, gain / total if total else 0.0, int(packets[other].sum()), int(np.count_nonzero(other))
    )


def _hits(survey: Survey, match: Match, seen: Directed, side: str) -> Mask:
    """Which conversations of the address a match (whose host side is this address) meets."""
    hit = np.ones(len(seen.rows), bool)
    peers = match.dst if side == "source" else match.src
    if peers is not None:
        good = {n for n in np.unique(seen.peer).tolist() if survey.text(n) in peers}
        named = np.isin(seen.peer, np.array(sorted(good), np.int64))
        hit &= ~named if {"src", "dst"} & match.negate else named
    if match.proto is not None:
        hit &= seen.proto == match.proto
    to_own, to_peer = ("sport", "dport") if side == "source" else ("dport", "sport")
    for name, column in ((to_own, seen.own_port), (to_peer, seen.peer_port)):
        ports: PortSet | None = getattr(match, name)
        if ports is not None:
            hit &= np.array([p in ports for p in column.tolist()], bool)
    return hit


def _prefix(survey: Survey, prefix: str, address: str, side: str, host: Rung) -> Rung:
    """The wider rung that was asked for: it says how many addresses nobody has seen doing anything."""
    net = AddrSet.parse(prefix)
    match = _sided(side, net, None, {})
    inside = [n for n in range(len(survey.conversations.address_words)) if survey.text(n) in net]
    t = survey.table
    rows = np.isin(t.a if side == "source" else t.b, np.array(inside, np.int64))
    other = rows & ~survey.bad()
    return Rung(
        "prefix",
        (match,),
        host.gain_packets,
        host.gain_share,
        int(t.packets[other].sum()),
        int(np.count_nonzero(other)),
        net.count() - 1,
    )
