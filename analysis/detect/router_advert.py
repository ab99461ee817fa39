"""Rogue IPv6 routers and neighbours: a second router, one told to be gone, floods of prefixes, stolen addresses.

Who announces itself as router gets the traffic of every host that speaks IPv6; who claims a neighbour's address gets
that neighbour's. A second router stands out by prefixes of its own; with the same prefixes by what routers of one
design do not do: it joins a link on which the other has announced for long, asks to be preferred, speaks in the other's
name or says that it is gone. What else looks like it: two routers by design (both from the start), a spare one that was
switched on, VRRP (its virtual MACs are known), a failover (the other falls silent), a router that shuts down (lifetime 0
once, from itself), a network with several prefixes, a machine that gets a new card (one change of MAC, no way back).
Reference: RFC 4861 6.2, RFC 4191, RFC 6104, RFC 6105; ATT&CK T1557.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.evidence import Evidence, busiest
from analysis.facts import Neighbour, RouterAdvert
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "router-advert"
MIDDLE = (("T1557", "Adversary-in-the-Middle"),)
GUARD = "Find the MAC's switch port; RA guard (RFC 6105) lets routers speak on known ports only."
VIRTUAL = ("00:00:5e:00:02:",)  # VRRP for IPv6 (RFC 5798 7.3)


class Thresholds(Limits):
    """When announcing is an attack."""

    routers: int = limit(2, "routers with different prefixes", "RFC 6104: one link, one set of prefixes")
    flood: int = limit(20, "routers or prefixes", "tapwall: floods announce hundreds")
    changes: int = limit(2, "changes of an address's MAC", "tapwall: interleaving; one change is a new card")
    claims: int = limit(15, "addresses claimed by one MAC", "tapwall: privacy addresses make three to eight a host")
    adverts: int = limit(100, "neighbour advertisements in the window", "tapwall: hosts announce an address once")
    before: int = limit(
        4,
        "advertisements of the first router before the second's",
        "tapwall: routers by design all announce from the start",
    )
    silent: float = limit(
        3.0,
        "intervals without the second router, at its own pace",
        "RFC 4861 6.2.1: intervals vary by a factor of three",
    )
    window_s: float = limit(10.0, "s", "tapwall")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs IPv6 neighbour discovery."""
    if evidence.facts.router_advert or evidence.facts.neighbour:
        return None
    return "no IPv6 router or neighbour advertisements in this capture", "IPv6 router or neighbour advertisements"


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """A flood is one finding; else one per router that came later or speaks for another; one per stolen address."""
    yield from _routers(evidence, limits)
    yield from _neighbours(evidence, limits)


def _routers(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    routers: defaultdict[tuple[str, str], list[RouterAdvert]] = defaultdict(list)
    for row in evidence.facts.router_advert:
        routers[row.source, _card(row)].append(row)
    prefixes = {prefix for rows in routers.values() for row in rows for prefix in row.prefixes}
    if len(routers) >= limits.flood or len(prefixes) >= limits.flood:
        yield _flood(evidence, len(routers), len(prefixes), limits)
        return
    if len(routers) < limits.routers:
        return
    (first, _), known = min(routers.items(), key=lambda item: item[1][0].number)
    own = {prefix for row in known for prefix in row.prefixes}
    named = [row for row in evidence.facts.router_advert if row.source == first]
    flips = sum(_card(a) != _card(b) for a, b in pairwise(named))
    killers = {_card(row) for row in named if row.lifetime_s == 0} - {_card(row) for row in known}
    for (source, card), rows in routers.items():
        new = sorted({prefix for row in rows for prefix in row.prefixes} - own)
        if source != first and new:
            yield _second(evidence, (source, card, first), rows, new, limits)
        elif source != first and not card.startswith(VIRTUAL):
            yield from _same(evidence, (source, card, first), rows, known, card in killers, limits)
        elif card in killers or (card != _card(known[0]) and flips >= limits.changes and not card.startswith(VIRTUAL)):
            yield _impostor(evidence, (source, card), rows, (card in killers, flips), limits)


def _card(row: RouterAdvert) -> str:
    """The network card that sent an advertisement, as far as the capture shows it."""
    return row.eth_src or row.source_mac


def _neighbours(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """An address whose MAC changes to and fro, one MAC that claims very many addresses, a flood of advertisements."""
    rows = [row for row in evidence.facts.neighbour if row.mac and not row.mac.startswith(VIRTUAL)]
    if not rows:
        return
    times = np.sort(np.array([row.time_ns for row in rows]))
    _, _, count = busiest(times, limits.window_s)
    targets = {row.target for row in rows}
    if count >= limits.adverts and len(targets) >= limits.adverts / 2:
        yield _neighbour_finding(
            evidence,
            rows,
            (
                "flood",
                f"Flood of IPv6 neighbour advertisements: {count} within {limits.window_s:.0f} s for {len(targets)} addresses",
            ),
            {"advertisements": margin(count, limits.adverts, least=0.6)},
            {"adverts_in_window": measured(limits, "adverts", count)},
        )
        return
    by_target: defaultdict[str, list[Neighbour]] = defaultdict(list)
    by_mac: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_target[row.target].append(row)
        by_mac[row.mac].add(row.target)
    for target, mine in by_target.items():
        flips = sum(a.mac != b.mac for a, b in pairwise(mine))
        if flips >= limits.changes:
            thief = [row for row in mine if row.mac != mine[0].mac]
            yield _neighbour_finding(
                evidence,
                thief,
                (thief[0].mac, f"{thief[0].mac} claims the IPv6 address {target}, which {mine[0].mac} owns"),
                {"owners interleave": margin(flips, limits.changes, least=0.55)},
                {"owner_changes": measured(limits, "changes", flips)},
            )
    for mac, claimed in by_mac.items():
        if len(claimed) >= limits.claims:
            yield _neighbour_finding(
                evidence,
                [row for row in rows if row.mac == mac],
                (mac, f"{mac} claims {len(claimed)} IPv6 addresses"),
                {"addresses": margin(len(claimed), limits.claims, least=0.55)},
                {"addresses_claimed": measured(limits, "claims", len(claimed))},
            )


def _neighbour_finding(
    evidence: Evidence,
    rows: list[Neighbour],
    who: tuple[str, str],
    terms: dict[str, float],
    numbers: dict[str, Number],
) -> Finding:
    mac, title = who
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=title,
            explanation=f"{len(rows)} neighbour advertisements, {sum(row.override for row in rows)} of them with the override flag. Who believes "
            "them sends its traffic there.",
            benign="A machine with a new network card changes its MAC once and for good; a router answers for its own "
            f"addresses: here {', '.join(f'{name} {number.value}' for name, number in numbers.items())}.",
            advice="Find the MAC's switch port; IPv6 neighbour inspection (RFC 6620) or static entries prevent it.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers=numbers,
            subject=f"neighbour {mac} {rows[0].target if mac != 'flood' else ''}",
            attack=MIDDLE,
            accountable=mac if mac != "flood" else "",
            hosts=tuple(dict.fromkeys(row.target for row in rows))[:20],
        ),
        flows=False,
    )


def _second(
    evidence: Evidence, who: tuple[str, str, str], rows: list[RouterAdvert], new: list[str], limits: Thresholds
) -> Finding:
    source, card, first = who
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"A second IPv6 router, {source} ({card}), announces {listed(new, 3)}",
            explanation=f"{len(rows)} advertisements after those of {first}; hosts that believe them send their traffic there.",
            benign=f"A network with two routers announces both from the start and with the same prefixes; here {len(new)} are new.",
            advice=GUARD,
            impact=Severity.MEDIUM,
            evidence={"second router": 0.45, "new prefixes": 0.3},
            numbers={"routers": measured(limits, "routers", 2), "new_prefixes": Number(len(new), "prefixes")},
            subject=f"{source} {card}",
            attack=MIDDLE,
            accountable=source,
            hosts=(source, card, first),
        ),
    )


def _same(
    evidence: Evidence,
    who: tuple[str, str, str],
    rows: list[RouterAdvert],
    known: list[RouterAdvert],
    kills: bool,
    limits: Thresholds,
) -> Iterator[Finding]:
    """A second router with the first one's prefixes, or none: two by design, unless it came later or asks for more."""
    source, card, first = who
    began = rows[0].time_ns
    before = sum(row.number < rows[0].number for row in known)
    times = [row.time_ns for row in (rows if len(rows) > 1 else known)]
    pace_ns = max(float(np.median(np.diff(times))), 1.0) if len(times) > 1 else float("inf")
    silent = (began - known[0].time_ns) / pace_ns
    both = any(row.number > rows[0].number and row.lifetime_s for row in known)  # else it took over from the first
    joined = both and before >= limits.before and silent >= limits.silent
    preferred = max(row.preference for row in rows) > max(row.preference for row in known)
    if not (joined or preferred or kills):
        return
    marks = ["joined later"] * joined + ["asks to be preferred"] * preferred
    marks += [f"says that {first} is gone"] * kills
    yield of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"A second IPv6 router, {source} ({card}), with the prefixes of {first}: {' and '.join(marks)}",
            explanation=f"{len(rows)} advertisements; {before} of {first} came before the first of them. Hosts that believe "
            "them send their traffic through this router.",
            benign="Two routers by design announce the same prefixes, both from the start, one perhaps preferred; a spare one "
            f"that is switched on joins later; VRRP speaks from a virtual MAC: here {before} advertisements of {first} came "
            "before. Does its owner know the MAC?",
            advice=GUARD,
            impact=Severity.MEDIUM if kills or (joined and preferred) else Severity.LOW,
            evidence={
                "joined later": margin(before, limits.before, least=0.5) * joined,
                "higher preference": 0.35 * preferred,
                "lifetime 0 in another's name": 0.5 * kills,
            },
            numbers={
                "adverts_before": measured(limits, "before", before),
                "silent_intervals": measured(limits, "silent", round(min(silent, 1e9), 1)),
                "preferred": Number(int(preferred), "of 1"),
            },
            subject=f"{source} {card}",
            attack=MIDDLE,
            accountable=source,
            hosts=(source, card, first),
        ),
    )


def _impostor(
    evidence: Evidence, who: tuple[str, str], rows: list[RouterAdvert], seen: tuple[bool, int], limits: Thresholds
) -> Finding:
    """Another card speaks in a router's name. The address is the victim's: only the card can be held accountable."""
    (source, card), (kills, flips) = who, seen
    what = "says that it is gone" if kills else "announces itself"
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"In the name of the IPv6 router {source}, {card} {what}",
            explanation=f"{len(rows)} advertisements from another card than the router's; hosts that believe them drop their "
            "route or send their traffic there.",
            benign="A router says good-bye from its own card; a pair with one address changes cards once, or uses VRRP's "
            f"virtual MAC: here the card changed {flips} times.",
            advice=GUARD,
            impact=Severity.MEDIUM,
            evidence={
                "in another's name": 0.45,
                "lifetime 0 in another's name": 0.5 * kills,
                "cards interleave": margin(flips, limits.changes, least=0.4),
            },
            numbers={"card_changes": measured(limits, "changes", flips)},
            subject=f"{source} {card}",
            attack=MIDDLE,
            accountable=card,
            hosts=(card, source),
        ),
        flows=False,
    )


def _flood(evidence: Evidence, routers: int, prefixes: int, limits: Thresholds) -> Finding:
    rows = evidence.facts.router_advert
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"Flood of IPv6 router advertisements: {routers} routers, {prefixes} prefixes",
            explanation=f"{len(rows)} advertisements; hosts configure an address for each prefix and some stop working.",
            benign=f"A large site has a handful of routers on one link; here {routers}.",
            advice="RA guard (RFC 6105) on the switch; find the port.",
            impact=Severity.MEDIUM,
            evidence={"announcements": margin(max(routers, prefixes), limits.flood, least=0.6)},
            numbers={"routers_or_prefixes": measured(limits, "flood", max(routers, prefixes))},
            subject="flood",
            attack=(("T1499.001", "Endpoint Denial of Service: OS Exhaustion Flood"),),
            filter="icmpv6.type == 134",
        ),
        flows=False,  # the true router is among the senders: a rule against all of them would cut it off
    )
