"""ARP spoofing and address conflicts: one IPv4 address claimed by two MACs, or one MAC that claims its neighbours.

Why it matters: who owns the gateway's address reads and changes everybody's traffic. What else looks like it: VRRP and
HSRP (their virtual MACs are known), a DHCP lease that moves to another machine (one change, no way back), proxy ARP (one
router for many addresses), an announcement at link up, two machines with the same fixed address by accident.
Only interleaving claims, announcements nobody asked for, and a MAC that takes over addresses of others count.
Reference: RFC 826, RFC 5227.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from analysis import assess
from analysis.claims import MOST_RANGES, Words, listed, of_facts
from analysis.evidence import Evidence
from analysis.facts import Arp
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "arp-spoofing"
blocked = assess.without_fact("arp", "ARP packets")
VIRTUAL = ("00:00:5e:00:01:", "00:00:5e:00:02:", "00:00:0c:07:ac:", "00:00:0c:9f:f")  # VRRP, VRRPv3, HSRP
# Bounds against captures made to be slow: MACs judged, addresses of one, claims of an address that are compared.
MOST_MACS, MOST_ADDRESSES, MOST_CLAIMS = 1000, 100, 500
COPY_NS = 50_000_000  # the same claim again within 50 ms is a copy by a mirror port
CACHE = (("T1557.002", "Adversary-in-the-Middle: ARP Cache Poisoning"),)


class Thresholds(Limits):
    """When claims are suspicious."""

    changes: int = limit(2, "changes of owner", "tapwall: interleaving; one change is a new lease")
    kept_s: float = limit(
        300.0, "s an owner keeps an address", "tapwall: poisoners repeat within 1 to 10 s, the owner answers between"
    )
    unsolicited: int = limit(5, "replies nobody asked for", "tapwall: above 1/s for 5 s")
    claims: int = limit(2, "claims by frames of another sender", "tapwall: one such frame may be damaged")
    claimed: int = limit(2, "addresses one MAC took over", "tapwall: the gateway and a victim, or more")
    together_s: float = limit(60.0, "s between two owners", "tapwall: a lease does not move while its owner is there")
    answer_s: float = limit(3.0, "s from question to answer", "tapwall: hosts repeat requests after 1 s")
    unasked: float = limit(0.5, "share of unsolicited replies", "tapwall: captures lose packets, some questions too")
    alone: int = limit(10, "unsolicited replies without another owner", "tapwall: a host announces itself a few times")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per MAC that takes over addresses."""
    rows = [row for row in evidence.facts.arp if row.sender != "0.0.0.0" and not row.sender_mac.startswith(VIRTUAL)]
    owners: defaultdict[str, list[Arp]] = defaultdict(list)
    for row in rows:
        owners[row.sender].append(row)
    gateways = _gateways(evidence, rows)
    unsolicited = _unsolicited(rows, limits.answer_s)
    taken: defaultdict[str, list[str]] = defaultdict(list)  # intruding MAC -> addresses
    changes: Counter[str] = Counter()
    for address, claims in owners.items():
        if len({claim.sender_mac for claim in claims}) < 2:
            continue
        whole = {claim.sender_mac for claim in claims if claim.sender_mac == claim.eth_src}
        said = Counter(mac for mac, _ in {(claim.sender_mac, claim.time_ns // COPY_NS) for claim in claims})
        sound = [claim for claim in claims if claim.sender_mac in whole or said[claim.sender_mac] >= limits.claims]
        changes[address] = _interleaved(sound, limits.kept_s)
        for mac in list(dict.fromkeys(claim.sender_mac for claim in sound))[1:]:
            taken[mac].append(address)
    for mac in {row.sender_mac for row in unsolicited if row.sender_mac not in taken}:
        taken[mac] = []
    by_mac: defaultdict[str, list[Arp]] = defaultdict(list)
    pushed: defaultdict[str, list[Arp]] = defaultdict(list)
    for row in rows:
        by_mac[row.sender_mac].append(row)
    for row in unsolicited:
        pushed[row.sender_mac].append(row)
    told: set[str] = set()
    for mac, addresses in list(taken.items())[:MOST_MACS]:
        others = [
            row
            for address in addresses[:MOST_ADDRESSES]
            for row in owners[address][:MOST_CLAIMS]
            if row.sender_mac != mac
        ]
        near = sorted([*by_mac[mac], *others], key=lambda row: row.number)
        finding = _judge(evidence, mac, addresses, (near, pushed[mac], gateways, changes), limits)
        if finding is not None:
            told.add(mac)
            yield finding
    yield from _mismatched(evidence, rows, gateways, told)


def _interleaved(claims: Sequence[Arp], kept_s: float) -> int:
    """Changes of owner that come shortly after or before another one; who keeps an address long has taken it over for good."""
    times = [b.time_ns for a, b in pairwise(claims) if a.sender_mac != b.sender_mac]
    near = [b - a <= kept_s * 1e9 for a, b in pairwise(times)]
    return (
        sum(before or after for before, after in zip([False, *near], [*near, False], strict=True))
        if near
        else len(times)
    )


# ARP of a MAC and of the other owners of what it claims; its replies that nobody asked for; gateways; changes of owner
Claims = tuple[Sequence[Arp], Sequence[Arp], set[str], Counter[str]]


def _judge(evidence: Evidence, mac: str, addresses: list[str], claims: Claims, limits: Thresholds) -> Finding | None:
    rows, pushed, gateways, changes = claims
    flips = max((changes[address] for address in addresses), default=0)
    if not addresses:
        told = {(row.sender, row.target) for row in pushed}
        own = Counter(row.sender for row in rows if row.sender_mac == mac).most_common(1)[0][0]
        foreign = any(sender != own or sender in gateways for sender, _ in told)
        replies = sum(row.operation == 2 for row in rows if row.sender_mac == mac)
        if len(pushed) < max(limits.alone, limits.unasked * replies) or not foreign:
            return None
    elif flips < limits.changes and len(addresses) < limits.claimed and len(pushed) < limits.unsolicited:
        if not (set(addresses) & gateways or _at_once(rows, mac, addresses, limits.together_s)):
            return None
    mine = [row for row in rows if row.sender_mac == mac and (row.sender in addresses or not addresses)]
    concerned = sorted(set(addresses) & gateways)
    terms: dict[str, float] = {}
    if addresses:
        terms["two owners of an address"] = 0.5
    if flips >= limits.changes:
        terms["owners interleave"] = margin(flips, limits.changes, least=0.4)
    if pushed:
        terms["replies nobody asked for"] = min(0.8, 0.15 * len(pushed))
    if len(addresses) >= limits.claimed:
        terms["several addresses"] = 0.5
    own_address = _own_address(rows, mac, addresses)
    if addresses and own_address and _at_once(rows, mac, addresses, limits.together_s):
        terms["a host with an address of its own takes another's at once"] = 0.3
    # Neither back and forth nor again and again: a router that was replaced looks the same.
    again = not addresses or flips >= limits.changes or len(pushed) >= limits.unsolicited
    what = listed(addresses, 4) if addresses else listed(sorted({row.sender for row in pushed}), 4)
    return of_facts(
        evidence,
        mine,
        Words(
            detector=NAME,
            title=f"{mac}{f' ({own_address})' if own_address else ''} claims {what}"
            + (", which others own" if addresses else " again and again, unasked")
            + ("; the gateway is among them" if concerned else ""),
            explanation=f"{len(mine)} ARP packets claim these addresses for {mac}, {len(pushed)} of them unasked; "
            f"owners changed up to {flips} times. Who believes it sends its traffic there.",
            benign="A lease that moves changes owner once and nobody claims it back; here owners changed "
            f"{flips} times and {len(addresses)} addresses are concerned. Failover pairs with their own MACs do the same.",
            advice="Find the machine with this MAC (switch port); check the gateway's true MAC; static ARP entries or "
            "dynamic ARP inspection prevent it.",
            impact=Severity.HIGH if (concerned and again) or len(addresses) >= limits.claimed else Severity.MEDIUM,
            evidence=terms,
            numbers={
                "owner_changes": measured(limits, "changes", flips),
                "unsolicited_replies": measured(limits, "unsolicited" if addresses else "alone", len(pushed)),
                "addresses_taken_over": measured(limits, "claimed", len(addresses)),
                "gateway_concerned": Number(len(concerned), "addresses"),
            },
            subject=mac,
            attack=CACHE,
            accountable=own_address or mac,
            hosts=tuple(dict.fromkeys([own_address or mac, mac, *addresses[:20]])),
            filter=_filter(mac, sorted({row.sender for row in mine})),
        ),
    )


def _filter(mac: str, addresses: Sequence[str]) -> str:
    """ARP packets in which a MAC claims these addresses; "" where they are too many to name."""
    if len(addresses) > MOST_RANGES:
        return ""
    return f"arp.src.hw_mac == {mac} && arp.src.proto_ipv4 in {{{', '.join(addresses)}}}"


def _at_once(rows: Sequence[Arp], mac: str, taken: Sequence[str], together_s: float) -> bool:
    """Whether this MAC claims an address shortly after its other owner did, and nobody asked for it."""
    before = {row.sender: row.time_ns for row in rows if row.sender in taken and row.sender_mac != mac}
    mine = [row for row in rows if row.sender_mac == mac and row.sender in taken and row.operation == 2]
    return any(0 <= row.time_ns - before.get(row.sender, row.time_ns + 1) <= together_s * 1e9 for row in mine)


def _own_address(rows: Sequence[Arp], mac: str, taken: Sequence[str]) -> str:
    """The address this MAC used without taking it from anybody."""
    own = Counter(row.sender for row in rows if row.sender_mac == mac and row.sender not in taken)
    return own.most_common(1)[0][0] if own else ""


def _gateways(evidence: Evidence, rows: Sequence[Arp]) -> set[str]:
    """Addresses that DHCP names as router, else what most hosts ask for."""
    named = {row.router for row in evidence.facts.dhcp if row.router}
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.operation == 1 and row.sender != row.target:
            asked[row.target].add(row.sender)
    named |= {row.server for row in evidence.facts.dhcp if row.server and row.version == 4}
    return (
        named
        | {address for address in asked if len(asked[address]) >= 3 or address.endswith((".1", ".254"))}
        | {row.target for row in rows if row.operation == 2 and row.target.endswith((".1", ".254"))}
    )


def _unsolicited(rows: Sequence[Arp], answer_s: float) -> list[Arp]:
    """Replies to somebody who did not ask within `answer_s`; announcements of one's own address are left out."""
    asked: dict[tuple[str, str], int] = {}
    found = []
    for row in rows:
        if row.operation == 1:
            asked[row.sender, row.target] = row.time_ns
        elif row.operation == 2 and row.sender != row.target:
            when = asked.get((row.target, row.sender))
            if when is None or row.time_ns - when > answer_s * 1e9:
                found.append(row)
    return found


def _mismatched(evidence: Evidence, rows: Sequence[Arp], gateways: set[str], known: set[str]) -> Iterator[Finding]:
    """One MAC that speaks for a gateway and for other hosts of the same network, in one capture: man in the middle."""
    claims: defaultdict[str, list[Arp]] = defaultdict(list)
    for row in rows:
        claims[row.sender_mac].append(row)
    for mac, mine in claims.items():
        addresses = sorted({row.sender for row in mine})
        near = [a for a in addresses if a.rpartition(".")[0] == addresses[0].rpartition(".")[0]]
        spoken = sorted(set(near) & gateways)
        if mac in known or not spoken or len(near) < 2:
            continue
        others = [address for address in near if address not in spoken]
        yield of_facts(
            evidence,
            mine,
            Words(
                detector=NAME,
                title=f"{mac} speaks for the gateway {spoken[0]} and for {listed(others or near[1:], 4)}",
                explanation=f"One network card claims {len(near)} addresses of one network, the gateway's among them. A host "
                "that poisons ARP caches shows its own address and the gateway's.",
                benign="A router may have several addresses of one network, and proxy ARP answers for others; it would "
                f"claim them all the time: here {len(mine)} ARP packets in all.",
                advice="Compare the gateway's MAC with the one on its label; find the machine by its switch port.",
                impact=Severity.MEDIUM,
                evidence={"gateway and another host": 0.6},
                numbers={"addresses": Number(len(near), "addresses", 2, "tapwall: one host, one address")},
                subject=f"{mac} shared",
                attack=CACHE,
                accountable=(others or [mac])[0],
                hosts=tuple(dict.fromkeys([mac, *near[:20]])),
                filter=_filter(mac, addresses),
            ),
        )
