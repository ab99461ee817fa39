"""Weak TLS: old versions, weak ciphers, certificates that are expired, not yet valid or self-signed.

Only what the server chose counts, and dates are judged at the packet's time, not today's. TLS 1.3 hides certificates,
so their absence says nothing. Exposure, not attack. What else looks like it: home devices with self-signed certificates
(inside: info), old clients of a museum. Reference: RFC 8996 (versions), RFC 7465 (RC4), RFC 9325.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.evidence import Evidence
from analysis.facts import Tls
from analysis.findings import Finding, Number, Severity, counted
from analysis.thresholds import Limits, limit, measured

NAME = "tls-weakness"
blocked = assess.without_fact("tls", "TLS handshakes")
VERSIONS = {
    0x0002: "SSL 2",
    0x0300: "SSL 3.0",
    0x0301: "TLS 1.0",
    0x0302: "TLS 1.1",
    0x0303: "TLS 1.2",
    0x0304: "TLS 1.3",
}
# Cipher suites by what is wrong with them (IANA TLS parameters)
NULL = frozenset(
    (0x0000, 0x0001, 0x0002, 0x003B, 0x002C, 0x002D, 0x002E, 0x00B0, 0x00B1, 0xC001, 0xC006, 0xC00B, 0xC010, 0xC015)
)
EXPORT = frozenset(
    (
        0x0003,
        0x0006,
        0x0008,
        0x000B,
        0x000E,
        0x0011,
        0x0014,
        0x0017,
        0x0019,
        0x0026,
        0x0027,
        0x0028,
        0x0029,
        0x002A,
        0x002B,
    )
)
ANONYMOUS = frozenset(
    (0x0018, 0x001A, 0x001B, 0x0034, 0x003A, 0x006C, 0x006D, 0x00A6, 0x00A7, 0xC016, 0xC017, 0xC018, 0xC019)
)
RC4 = frozenset((0x0004, 0x0005, 0x0018, 0x0020, 0x0024, 0xC002, 0xC007, 0xC00C, 0xC011, 0xC016))
SHORT_BLOCK = frozenset(
    (0x0009, 0x000A, 0x0012, 0x0013, 0x0015, 0x0016, 0x001A, 0x001B, 0xC003, 0xC008, 0xC00D, 0xC012, 0xC017)
)
WEAK = ((NULL, "no encryption", Severity.MEDIUM), (EXPORT, "an export cipher", Severity.MEDIUM),
        (ANONYMOUS, "no authentication", Severity.MEDIUM), (RC4, "RC4", Severity.LOW), (SHORT_BLOCK, "DES or 3DES", Severity.LOW))  # fmt: skip
DAY = 86_400


class Thresholds(Limits):
    """What is old, weak or ending."""

    version: int = limit(0x0303, "lowest version (wire value)", "RFC 8996: TLS 1.0 and 1.1 are not to be used")
    days_left: float = limit(30.0, "days of validity left", "Zeek expiring-certs")
    lines: int = limit(25, "findings, worst first", "tapwall: what a reader looks at")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per server, with everything that is wrong there."""
    servers: defaultdict[str, list[Tls]] = defaultdict(list)
    for row in evidence.facts.tls:
        servers[evidence.target_of(row.flow)].append(row)
    found = []
    for server, rows in servers.items():
        faults: dict[str, tuple[Severity, Tls]] = {}
        for row in rows:
            for words, impact in _faults(evidence, row, limits):
                faults.setdefault(words, (impact, row))
        if faults:
            found.append(_finding(evidence, server, rows, faults, limits))
    found.sort(key=lambda finding: -finding.severity)
    yield from found[: limits.lines]


def _faults(evidence: Evidence, row: Tls, limits: Thresholds) -> Iterator[tuple[str, Severity]]:
    """What is wrong with one handshake, as (words, severity)."""
    link = evidence.link_of(row.flow)
    outside = link >= 0 and not bool(evidence.hosts.inside[evidence.links.target[link]])
    if row.cipher or row.version:
        if 0 < row.version < limits.version and row.version in VERSIONS:
            old = row.version < 0x0301
            yield f"{VERSIONS[row.version]} was chosen", Severity.MEDIUM if old else Severity.LOW
        for suites, words, impact in WEAK:
            if row.cipher in suites and (row.cipher or row.version):
                yield f"{words} was chosen (cipher suite 0x{row.cipher:04x})", impact
                break
    when = row.time_ns // 1_000_000_000
    if row.not_after:
        left = (row.not_after - when) / DAY
        if left < 0:
            yield f"the certificate expired {-left:.0f} days before", Severity.LOW
        elif left < limits.days_left:
            yield f"the certificate ends in {left:.0f} days", Severity.INFO
        if row.not_before > when + DAY:
            yield f"the certificate is not valid for another {(row.not_before - when) / DAY:.0f} days", Severity.LOW
    if row.self_signed and row.certificate_subject:
        yield "the certificate is self-signed", Severity.LOW if outside else Severity.INFO


def _finding(
    evidence: Evidence, server: str, rows: list[Tls], faults: dict[str, tuple[Severity, Tls]], limits: Thresholds
) -> Finding:
    concerned = sorted({row.number: row for _, row in faults.values()}.values(), key=lambda row: row.number)
    name = next((row.sni for row in rows if row.sni), "")
    lowest = min((row.version for row in rows if row.version), default=0)
    return of_facts(
        evidence,
        concerned,
        Words(
            detector=NAME,
            title=f"Weak TLS at {f'{name} ({server})' if name else evidence.hosts.name(server)}: {listed(list(faults), 3)}",
            explanation=f"{counted(len(rows), 'handshakes')} seen. "
            + "; ".join(faults)
            + ". Dates are compared with the packet's time.",
            benign="Devices at home have self-signed certificates by design, and old appliances know no newer version; here "
            f"{counted(len(faults), 'faults')}.",
            advice="Update or replace the server; until then keep it inside.",
            impact=max(impact for impact, _ in faults.values()),
            evidence={"chosen by the server": 0.95},
            numbers={
                "lowest_version": measured(limits, "version", lowest),
                "faults": Number(len(faults), "faults"),
                "handshakes": Number(len(rows), "handshakes"),
            },
            subject=server,
            attack=(("T1557", "Adversary-in-the-Middle"),),
            hosts=(server,),
        ),
    )
