"""A protocol where it is not expected: SSH, TLS, HTTP or DNS on a port of its own choice, or another one on a known port.

Protocols are known by content, not by port. What else looks like it: development servers, home devices, proxies, VPNs on
443. Info, and low where the port is one that remote control tools use. Reference: ATT&CK T1571.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from analysis import assess, columns, layers
from analysis.claims import Words, of_links
from analysis.columns import Array, among, different
from analysis.evidence import Evidence, large_groups
from analysis.findings import Finding, Number, Severity, counted
from analysis.patterns import pattern
from analysis.thresholds import Limits, limit, measured

NAME = "unusual-port"
blocked = assess.without_transport
# Protocol by content -> ports where it is at home (IANA, and what programs use)
HOMES: dict[str, frozenset[int]] = {
    "ssh": frozenset((22, 2222, 29418, 830)),
    "tls": frozenset((443, 465, 563, 587, 636, 853, 989, 990, 992, 993, 994, 995, 25, 110, 143, 21, 389, 1194, 1433, 3269, 3306,
                      3389, 4433, 5061, 5222, 5223, 5228, 5269, 5349, 5432, 5671, 5986, 6443, 6679, 6697, 8006, 8443, 8883, 9001, 9093, 9443, 10250, 27017)),
    "http": frozenset((80, 81, 591, 631, 1900, 2375, 2869, 3000, 3128, 4200, 5000, 5985, 7080, 8000, 8008, 8080, 8081, 8088, 8180, 8888, 9000, 9090, 9100, 9200, 49152)),
    "irc": frozenset((194, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 6697, 7000)),
    "smb": frozenset((139, 445)), "nbss": frozenset((139, 445)), "ftp": frozenset((21, 2121)), "smtp": frozenset((25, 465, 587, 2525)),
    "telnet": frozenset((23, 2323)), "dns": frozenset((53, 5353, 5355, 853)), "rdp": frozenset((3389,)),
}  # fmt: skip
HELLO = pattern(rb"\x16\x03[\x00-\x04]..\x01", re.S)  # a record with a ClientHello
# Applications of a conversation that begins with a ClientHello and was not read as TLS: on an HTTP port by chance a line of
# sealed bytes looks like a header field.
UNNAMED_TLS = ("", "data", "http")
TOOLS = frozenset((1337, 4444, 4782, 5555, 6666, 8888, 9001, 31337))  # hints only: defaults of remote control tools


class Thresholds(Limits):
    """What is worth a line."""

    conversations: int = limit(1, "conversations", "tapwall: one is enough to know")
    lines: int = limit(15, "findings, the busiest first", "tapwall: what a reader looks at")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per server, port and protocol."""
    links = evidence.links
    strange = np.zeros(len(links.row), bool)
    heard = set(different(links.application).tolist())
    for name, homes in HOMES.items():
        if layers.BY_NAME.get(name) in heard:
            speaks = np.flatnonzero(links.application == layers.BY_NAME[name])
            strange[speaks] = ~among(links.target_port[speaks], homes)
    tcp = (links.kind == columns.TCP) & links.known & (links.sent_payload > 0) & (links.got_payload > 0)
    dns = (links.kind == columns.UDP) & (links.application == layers.DNS) & (links.got > 0)
    begun = _begun(evidence)
    for row, name in begun.items():
        strange[row] = int(links.target_port[row]) not in HOMES[name]
    rows = np.flatnonzero(strange & (tcp | dns & (links.source_port != 53)) & links.unicast)
    spoken = links.application.astype(np.int64)
    for row, name in begun.items():
        spoken[row] = layers.BY_NAME[name]
    found = sorted(large_groups(rows, limits.conversations, links.target, links.target_port, spoken), key=len)
    for chosen in found[::-1][: limits.lines]:
        word = layers.NAMES[int(spoken[chosen[0]])]
        yield _finding(evidence, chosen, word, limits)


def _begun(evidence: Evidence) -> dict[int, str]:
    """Conversations that begin as SSH or TLS where the port's own protocol could not be read: link -> name."""
    found = {}
    for row in evidence.facts.opening:
        name = "ssh" if row.data.startswith(b"SSH-") else "tls" if HELLO.match(row.data) else ""
        link = evidence.link_of(row.flow) if name else -1
        if link >= 0 and evidence.application(link) in (UNNAMED_TLS if name == "tls" else ("", "data", "tls")):
            found[link] = name
    return found


def _finding(evidence: Evidence, chosen: Array, name: str, limits: Thresholds) -> Finding:
    links = evidence.links
    target, port = evidence.text(int(links.target[chosen[0]])), int(links.target_port[chosen[0]])
    word = name.upper()
    outside = not bool(evidence.hosts.inside[links.target[chosen[0]]])
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{evidence.hosts.name(target)} speaks {word} on port {port}",
            explanation=f"{counted(len(chosen), 'conversations')}, {word} by content; its own ports are "
            f"{', '.join(str(p) for p in sorted(HOMES[word.lower()])[:4])}.",
            benign=f"Development servers, devices and proxies choose their ports freely; {counted(len(chosen), 'conversations')} by "
            f"{counted(len(different(links.source[chosen])), 'hosts')} here.",
            advice="Nothing to do where the service is known.",
            impact=Severity.LOW if port in TOOLS and outside else Severity.INFO,
            evidence={"recognised by content": 0.8},
            numbers={
                "conversations": measured(limits, "conversations", len(chosen)),
                "hosts": Number(len(different(links.source[chosen])), "hosts"),
            },
            subject=f"{word} {target}:{port}",
            attack=(("T1571", "Non-Standard Port"),),
        ),
    )
