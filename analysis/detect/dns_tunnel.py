"""DNS tunnels: data carried in names and answers of one domain.

Per registered domain: distinct subdomains, their length and entropy, record types that carry free text, aliases that
carry data back (a question for an address, answered by a long name of the same domain), bytes each way.
What else looks like it: content delivery networks (few, short names), virus and block list look-ups (one answer type,
addresses come back), telemetry with hashes (hexadecimal, at most 64 characters, without free text in the answers), reverse
zones and mDNS (left out).
Reference: RITA (distinct subdomains); iodine, dnscat2 and dns2tcp as published.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from analysis import assess
from analysis.claims import Words, addresses_filter, of_facts
from analysis.domains import registered
from analysis.evidence import Evidence, busiest
from analysis.facts import Dns
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "dns-tunnel"
blocked = assess.without_fact("dns", "DNS messages")
CNAME, NULL, MX, TXT, KEY, SRV, PRIVATE = 5, 10, 15, 16, 25, 33, 65399
FREE_TEXT = (NULL, TXT, CNAME, MX, KEY, SRV, PRIVATE)  # types tunnels answer with (iodine, dnscat2)
DAY_S = 86_400.0
REVERSE = ("in-addr.arpa", "ip6.arpa")
# Services that look hashes and addresses up in the DNS, with free text answers: told, but low.
LOOKUPS = frozenset(
    (
        "sophosxl.net", "mcafee.com", "e5.sk", "cymru.com", "spamhaus.org", "spamhaus.net", "surbl.org", "uribl.com", "trendmicro.com",
        "barracudacentral.org", "abuse.ch", "senderbase.org", "spamcop.net", "webcfs00.com", "zvelo.com", "brightcloud.com",
    )
)  # fmt: skip
TUNNELLING = (("T1071.004", "Application Layer Protocol: DNS"), ("T1572", "Protocol Tunneling"))


class Thresholds(Limits):
    """When names carry data."""

    names: int = limit(100, "distinct subdomains", "RITA: base 100")
    dense_names: int = limit(
        20, "distinct subdomains with free text answers", "tapwall: half of the usual 50, with long labels"
    )
    label: float = limit(20.0, "characters, mean of the subdomain", "tapwall: host names are shorter; nDPI looks at 27")
    entropy: float = limit(3.3, "bits per character, mean", "tapwall: hexadecimal data reaches 3.6, words 3.0")
    plain_names: int = limit(50, "distinct long subdomains, whatever is answered", "tapwall: the usual 50")
    plain_label: float = limit(40.0, "characters, mean, with plain_entropy", "tapwall: as long as a SHA-1 hash")
    plain_entropy: float = limit(
        4.0, "bits per character of the longest label, mean", "tapwall: hexadecimal cannot exceed it"
    )
    longest_hash: float = limit(
        100.0, "characters, mean, with entropy", "tapwall: a SHA-256 hash has 64, and the service's labels come behind"
    )
    text_share: float = limit(0.5, "share of free text types", "tapwall's default")
    repeats: int = limit(30, "TXT or NULL queries in a day", "tapwall: orders fetched over DNS; TXT look-ups are rare")


class Zone:
    """What one host asked of one registered domain."""

    __slots__ = ("aliases", "down", "names", "rows", "types", "up")

    def __init__(self) -> None:
        self.rows: list[Dns] = []
        self.names: set[str] = set()
        self.types: Counter[int] = Counter()
        self.aliases: set[str] = set()  # long names of the same domain that came back
        self.up = 0
        self.down = 0


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per asking host and registered domain."""
    zones: defaultdict[tuple[str, str], Zone] = defaultdict(Zone)
    for row in evidence.facts.dns:
        if row.protocol != "dns" or row.name.endswith(REVERSE) or "." not in row.name:
            continue
        asker = evidence.receiver_of(row.flow, row.from_a) if row.response else evidence.sender_of(row.flow, row.from_a)
        zone = zones[asker, registered(row.name)]
        zone.rows.append(row)
        if row.response:
            zone.down += row.size_bytes
            zone.aliases.update(
                text for _, kind, _, text in row.answers if kind == CNAME and _coded_name(text, row, limits)
            )
        else:
            zone.up += row.size_bytes
            zone.names.add(row.name.lower())
            zone.types[row.type] += 1
    told: set[str] = set()
    for (asker, domain), zone in zones.items():
        finding = _judge(evidence, asker, domain, zone, limits)
        if finding is not None:
            told.add(asker)
            yield finding
    yield from _scattered(evidence, zones, told, limits)


def _coded_name(alias: str, row: Dns, limits: Thresholds) -> bool:
    """Whether a question for another type than CNAME was answered with a long computed name of its own domain."""
    if row.type in FREE_TEXT or registered(alias) != registered(row.name):
        return False
    sub = alias.removesuffix(registered(alias)).replace(".", "")
    return len(sub) >= limits.label and entropy(sub) >= limits.entropy


def _scattered(
    evidence: Evidence, zones: Mapping[tuple[str, str], Zone], told: set[str], limits: Thresholds
) -> Iterator[Finding]:
    """Data in names that have no domain in common (direct tunnels to a server): all of an asker's long names together."""
    together: defaultdict[str, Zone] = defaultdict(Zone)
    for (asker, _), zone in zones.items():
        if asker not in told and len(zone.names) <= 3:
            long = {name for name in zone.names if max(map(len, name.split("."))) >= limits.label}
            if long:
                one = together[asker]
                one.rows += zone.rows
                one.names |= long
                one.types += zone.types
                one.up, one.down = one.up + zone.up, one.down + zone.down
    for asker, zone in together.items():
        first = sorted(zone.names)[0].partition(".")[0] if zone.names else ""
        shared = sum(name.startswith(first + ".") for name in zone.names)
        domain = first if first and shared >= len(zone.names) / 2 else ""
        finding = _judge(evidence, asker, domain, zone, limits)
        if finding is not None:
            yield finding


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values()) if text else 0.0


def _judge(evidence: Evidence, asker: str, domain: str, zone: Zone, limits: Thresholds) -> Finding | None:
    asked = sum(zone.types.values())
    if asked < limits.dense_names:
        return None
    subs = [name.removesuffix(domain).removeprefix(domain).strip(".") for name in zone.names if name != domain]
    length = sum(map(len, subs)) / len(subs) if subs else 0.0
    mean = sum(entropy(sub.replace(".", "")) for sub in subs) / len(subs) if subs else 0.0
    text = min(1.0, (sum(zone.types[kind] for kind in FREE_TEXT) + len(zone.aliases)) / asked)
    plain = sum(zone.types[kind] for kind in (TXT, NULL))
    dense = len(subs) >= limits.dense_names and length >= limits.label and mean >= limits.entropy
    terms: dict[str, float] = {}
    if dense and (text >= limits.text_share or len(subs) >= limits.names):
        terms["data in names"] = margin(len(subs), limits.dense_names, least=0.6)
        terms["free text types"] = 0.5 * text
    elif len(subs) >= limits.plain_names and _longer_than_hashes(subs, length, limits):
        terms["data in long names"] = margin(len(subs), limits.plain_names, least=0.55)
    elif len(subs) >= limits.names and text >= limits.text_share:
        terms["many names"] = margin(len(subs), limits.names, least=0.5)
        terms["free text types"] = 0.5 * text
    elif len(subs) >= limits.names and length >= limits.label:
        terms["many long names"] = margin(len(subs), limits.names, least=0.35, most=0.6)
    elif text >= limits.text_share and _in_a_day(zone) >= limits.repeats:
        terms["orders by TXT"] = margin(plain, limits.repeats, least=0.5)
    else:
        return None
    return _finding(evidence, (asker, domain), zone, limits, (len(subs), length, mean, text, plain), terms)


def _longer_than_hashes(subs: Sequence[str], length: float, limits: Thresholds) -> bool:
    """Names that hold more than a hash in hexadecimal: denser in their longest labels, or longer."""
    if length < limits.plain_label:
        return False
    bits = sum(entropy(max(sub.split("."), key=len)) for sub in subs) / len(subs)
    return bits >= (limits.entropy if length >= limits.longest_hash else limits.plain_entropy)


def _in_a_day(zone: Zone) -> int:
    """TXT and NULL queries of the busiest day; 0 where fewer than half were answered: who searches resolvers only asks."""
    asked = sorted(row.time_ns for row in zone.rows if not row.response and row.type in (TXT, NULL))
    told = sum(row.response and row.type in (TXT, NULL) for row in zone.rows)
    return busiest(np.array(asked, np.int64), DAY_S)[2] if 2 * told >= len(asked) else 0


def _finding(
    evidence: Evidence,
    who: tuple[str, str],
    zone: Zone,
    limits: Thresholds,
    counts: tuple[int, float, float, float, int],
    terms: dict[str, float],
) -> Finding:
    (asker, domain), (names, length, mean, text, plain) = who, counts
    rows: Sequence[Dns] = zone.rows
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{asker} moves data over DNS names of {domain or 'no common domain'}: {names} different names, "
            f"{zone.up} bytes up, {zone.down} bytes down",
            explanation=f"{sum(zone.types.values())} queries; subdomains of {length:.0f} characters with {mean:.1f} bits each; "
            f"{100 * text:.0f} % ask for types that carry free text, or get a long name back ({plain} TXT or NULL).",
            benign="Block lists, telemetry and content networks ask for many names too, but get addresses back; here "
            f"{100 * text:.0f} % of the queries want free text.",
            advice="Find the program that asks; block the domain at the resolver, and DNS to anything but your resolver.",
            impact=Severity.LOW
            if domain in LOOKUPS
            else Severity.HIGH
            if "data in names" in terms
            else Severity.MEDIUM,
            evidence=terms,
            numbers={
                "distinct_subdomains": measured(limits, "names", names),
                "subdomain_length": measured(limits, "label", round(length, 1)),
                "entropy": measured(limits, "entropy", round(mean, 2)),
                "free_text_share": measured(limits, "text_share", round(text, 3)),
                "txt_or_null_queries": measured(limits, "repeats", plain),
                "bytes_up": Number(zone.up, "bytes"),
                "bytes_down": Number(zone.down, "bytes"),
            },
            subject=f"{asker} {domain}",
            attack=TUNNELLING,
            accountable=asker,
            filter=f'lower(dns.qry.name) contains "{_quoted(domain)}" && {addresses_filter([asker])} && !icmp && !mdns'
            if domain
            else "",
        ),
    )


def _quoted(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in "-._")
