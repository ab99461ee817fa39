"""Encrypted connections that look like a command channel: signs in the handshake, added up.

Signs: no server name, a port that is not TLS's own, a self-signed certificate, one that never ends, made-up names in
it (Metasploit) or the placeholders of a template (AsyncRAT, Emotet), no answer to the hello. What else looks like it:
home devices and appliances (inside: only made-up names count there), VPNs, tests. Reference:
ATT&CK T1573.002, T1587.003.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from analysis import assess
from analysis.claims import Words, of_facts
from analysis.domains import generated
from analysis.evidence import Evidence
from analysis.facts import Tls
from analysis.findings import Finding, Number, Severity
from analysis.patterns import pattern
from analysis.severity import confidence
from analysis.thresholds import Limits, limit, measured

NAME = "tls-c2"
blocked = assess.without_fact("tls", "TLS handshakes")
USUAL = frozenset(
    (
        443,
        465,
        563,
        587,
        636,
        853,
        989,
        990,
        992,
        993,
        994,
        995,
        3269,
        5061,
        5223,
        5228,
        8443,
        8883,
        4433,
        25,
        110,
        143,
        21,
        389,
        5222,
        5432,
        3306,
    )
)
STOCK_NAMES = pattern(
    r"CN=(?:example\.com|localhost|server|test)\b|Internet Widgits|Default Company Ltd|Global Security,OU=IT Department",
    re.I,
)
TEMPLATES = pattern(r"CN=(?:[A-Za-z]{2,12} Server(?: CA)?|AsyncRAT|BitRAT|DcRat|Quasar)\b|Major Cobalt Strike", re.I)
FIELD = pattern(r"(?:^|,)(CN|O|OU|L)=([^,]{5,60})")
YEAR = 31_557_600
OLD_VERSION = 0x0301  # TLS 1.0 and no higher: no browser of this century's second decade


class Thresholds(Limits):
    """When signs become a finding."""

    confidence: float = limit(0.55, "sum of weights", "tapwall: more likely right than wrong")
    signs: int = limit(2, "signs", "tapwall: one sign has many harmless causes")
    years: float = limit(
        10.0, "years of validity", "tapwall: CA/Browser Forum allows 398 days, appliances take 10 years"
    )


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per client, server and port."""
    groups: defaultdict[tuple[str, str, int], list[Tls]] = defaultdict(list)
    for row in evidence.facts.tls:
        link = evidence.link_of(row.flow)
        if link >= 0 and not row.quic and evidence.links.source[link] != evidence.links.target[link]:
            port = int(evidence.links.target_port[link])
            groups[evidence.source_of(row.flow), evidence.target_of(row.flow), port].append(row)
    for (client, server, port), rows in groups.items():
        terms = _signs(evidence, server, port, rows, limits)
        if len(terms) >= limits.signs and confidence(terms) >= limits.confidence:
            yield _finding(evidence, (client, server, port), rows, terms, limits)


def _signs(evidence: Evidence, server: str, port: int, rows: list[Tls], limits: Thresholds) -> dict[str, float]:
    link = evidence.link_of(rows[0].flow)
    outside = not bool(evidence.hosts.inside[evidence.links.target[link]])
    terms: dict[str, float] = {}
    shown = next((row for row in rows if row.certificate_subject), None)
    if shown is not None:
        text = f"{shown.certificate_subject},{shown.certificate_issuer}"
        made_up = sum(_made_up(value) for _, value in FIELD.findall(text))
        if made_up:
            terms["made-up names in the certificate"] = 0.35 if made_up == 1 else 0.5
        template = TEMPLATES.search(shown.certificate_subject)
        if (template and (shown.self_signed or outside)) or (outside and STOCK_NAMES.search(shown.certificate_subject)):
            terms["placeholder names in the certificate"] = 0.4
        if (outside or terms) and shown.not_after and shown.not_after - shown.not_before > limits.years * YEAR * 1.02:
            terms["a certificate for ever"] = 0.3
        if shown.self_signed and (outside or terms):
            terms["self-signed certificate"] = 0.25
    if not outside and not terms:
        return {}
    if port not in USUAL:
        terms["unusual port"] = 0.25
    if not any(row.sni for row in rows):
        terms["no server name"] = 0.2
        if all(0 < row.client_version <= OLD_VERSION for row in rows):
            terms["a client of the oldest TLS"] = 0.15
        if server not in evidence.hosts.names:
            terms["no name for the address"] = 0.1
    links = [evidence.link_of(row.flow) for row in rows]
    if all(row.version == 0 for row in rows) and all(
        evidence.links.got_payload[one] == 0 and evidence.links.synacks[one] > 0 and evidence.links.got[one] > 2
        for one in links
    ):
        terms["the hello is never answered"] = 0.35
    return terms


def _made_up(value: str) -> bool:
    """Random letters as generators of throw-away certificates write them: no space, changing case or no vowels.

    Capitals with digits, or digits alone, are a serial number.
    """
    word = value.partition(".")[0]
    if not word.isalnum() or len(word) < 7 or (word == word.upper() and not word.isalpha()):
        return False
    switches = sum(a.islower() and b.isupper() for a, b in pairwise(word))
    return switches >= 4 or generated(word.lower())


def _finding(
    evidence: Evidence, who: tuple[str, str, int], rows: list[Tls], terms: dict[str, float], limits: Thresholds
) -> Finding:
    client, server, port = who
    first = next((row for row in rows if row.certificate_subject), rows[0])
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{client} has a TLS channel to {evidence.hosts.name(server)} port {port} as malware makes them: "
            + ", ".join(list(terms)[:3]),
            explanation=f"{len(rows)} handshakes. Signs: "
            + "; ".join(f"{sign} ({weight:.2f})" for sign, weight in terms.items())
            + (f". Certificate: {first.certificate_subject[:100]}." if first.certificate_subject else "."),
            benign="Appliances, VPNs and test servers show one or two of these signs; here there are "
            f"{len(terms)}, together {confidence(terms):.2f}.",
            advice="Find the program on the client; look the server's address up; compare the certificate elsewhere.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers={
                "signs": measured(limits, "signs", len(terms)),
                "sum_of_weights": measured(limits, "confidence", round(confidence(terms), 3)),
                "handshakes": Number(len(rows), "handshakes"),
            },
            subject=f"{client}>{server}:{port}",
            attack=(
                ("T1573.002", "Encrypted Channel: Asymmetric Cryptography"),
                ("T1587.003", "Develop Capabilities: Digital Certificates"),
            ),
            accountable=server,
            side="destination",
            hosts=(client, server),
            extra={"ja3": first.ja3 or None, "ja4": first.ja4 or None},
        ),
    )
