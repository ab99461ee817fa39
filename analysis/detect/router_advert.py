"""Rogue IPv6 routers: a second router, a router told to be gone, or a flood of prefixes.

Who announces itself as router gets the traffic of every host that speaks IPv6. What else looks like it: two routers by
design (both from the start), a router that shuts down (lifetime 0 once, from itself), a network with several prefixes.
Reference: detections.md 6.17; RFC 4861 6.2, RFC 6104; ATT&CK T1557.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.evidence import Evidence
from analysis.facts import RouterAdvert
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import limit, measured

NAME = "router-advert"
blocked = assess.without_fact("router_advert", "IPv6 router advertisements")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When announcing is an attack."""

    routers: int = limit(2, "routers with different prefixes", "RFC 6104: one link, one set of prefixes")
    flood: int = limit(20, "routers or prefixes", "tapwall: floods announce hundreds")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """A flood is one finding; else one per router that came later with other prefixes."""
    routers: defaultdict[tuple[str, str], list[RouterAdvert]] = defaultdict(list)
    for row in evidence.facts.router_advert:
        routers[row.source, row.source_mac].append(row)
    prefixes = {prefix for rows in routers.values() for row in rows for prefix in row.prefixes}
    if len(routers) >= limits.flood or len(prefixes) >= limits.flood:
        yield _flood(evidence, len(routers), len(prefixes), limits)
        return
    if len(routers) < limits.routers:
        return
    (first, _), known = min(routers.items(), key=lambda item: item[1][0].number)
    own = {prefix for row in known for prefix in row.prefixes}
    for (source, mac), rows in routers.items():
        told = {prefix for row in rows for prefix in row.prefixes}
        killed = source == first and mac != known[0].source_mac and any(row.lifetime_s == 0 for row in rows)
        if (source != first and told - own) or killed:
            yield _second(evidence, (source, mac, first), rows, sorted(told - own), limits)


def _second(
    evidence: Evidence, who: tuple[str, str, str], rows: list[RouterAdvert], new: list[str], limits: Thresholds
) -> Finding:
    source, mac, first = who
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"A second IPv6 router, {source} ({mac}), announces {listed(new, 3) or 'that the first is gone'}",
            explanation=f"{len(rows)} advertisements after those of {first}; hosts that believe them send their traffic there.",
            benign=f"A network with two routers announces both from the start and with the same prefixes; here {len(new)} are new.",
            advice="Find the MAC's switch port; RA guard (RFC 6105) lets routers speak on known ports only.",
            impact=Severity.MEDIUM,
            evidence={"second router": 0.45, "new prefixes": 0.3 * bool(new)},
            numbers={"routers": measured(limits, "routers", 2), "new_prefixes": Number(len(new), "prefixes")},
            subject=f"{source} {mac}",
            attack=(("T1557", "Adversary-in-the-Middle"),),
            accountable=source,
            hosts=(source, mac, first),
            filter=f"icmpv6.type == 134 && eth.src == {mac}" if mac else f"icmpv6.type == 134 && ipv6.src == {source}",
        ),
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
    )
