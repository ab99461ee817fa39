"""Remote shells and remote access tools seen in clear: prompts, tool check-ins, injected code, bot channels.

Why it matters: somebody else types on the machine. What else looks like it: Telnet and other honest remote logins
(their protocol is named, they are left out), lessons that show a prompt in a page, a database that stores such text.
Reference: ATT&CK T1059, T1219, T1055.001; the tools' published protocols.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from analysis import assess
from analysis.claims import Words, of_facts
from analysis.evidence import Evidence
from analysis.facts import Http, Opening, Payload
from analysis.findings import Finding, Number, Severity, counted
from analysis.patterns import pattern
from analysis.thresholds import Limits, limit, measured

NAME = "remote-control"
blocked = assess.without_payload
MARKS: dict[str, tuple[str, Severity, float, tuple[str, str]]] = {
    "shell-windows": ("a Windows command prompt", Severity.HIGH, 0.7, ("T1059.003", "Command and Scripting Interpreter: Windows Command Shell")),
    "shell-unix": ("a Unix shell", Severity.HIGH, 0.7, ("T1059.004", "Command and Scripting Interpreter: Unix Shell")),
    "shell-command": ("a command that opens a reverse shell", Severity.CRITICAL, 0.7, ("T1059.004", "Command and Scripting Interpreter: Unix Shell")),
    "remote-access-tool": ("the check-in of a remote access tool", Severity.CRITICAL, 0.75, ("T1219", "Remote Access Software")),
    "bot-orders": ("orders to bots over IRC", Severity.HIGH, 0.75, ("T1071", "Application Layer Protocol")),
    "coin-miner": ("the protocol of coin mining (Stratum)", Severity.MEDIUM, 0.7, ("T1496", "Resource Hijacking")),
    "iot-worm": ("the commands of an IoT worm (busybox, as Mirai types them)", Severity.HIGH, 0.6, ("T1059.004", "Command and Scripting Interpreter: Unix Shell")),
    "reflective-loader": ("code that loads itself into memory (as Meterpreter and Cobalt Strike do)", Severity.CRITICAL, 0.75, ("T1055.001", "Process Injection: Dynamic-link Library Injection")),
}  # fmt: skip
HONEST = frozenset(
    ("telnet", "rlogin", "ssh", "http", "smtp", "imap", "pop", "vnc", "rsh", "exec", "mysql", "pgsql", "nfs")
)
STRICT = frozenset(("shell-windows", "shell-unix"))  # text that honest protocols also carry
# Programs that name themselves in HTTP: (words, pattern on user agent and path)
AGENTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("NetSupport Manager's check-in", pattern(r"^NetSupport Manager/|^\S* /fakeurl\.htm", re.I)),
    ("STRRAT's or a Java loader's request", pattern(r"^Java/1\.\d\S* /(?:str-master|wshrat)", re.I)),
    ("a script worm's report (WSHRAT, Houdini)", pattern(r"^(?:WSHRAT|\w{4,8})\|[^|]{1,40}\|[^|]{1,60}\|", re.I)),
    ("a stager's request (Meterpreter, Empire)", pattern(r"^[^/]{0,200}/(?:admin/get\.php|login/process\.php|news\.php) .*\bsession=", re.I)),
)  # fmt: skip
# How conversations of known tools begin: (words, pattern on the first bytes, from the side that opened it)
BEGINNINGS: tuple[tuple[str, re.Pattern[bytes], bool], ...] = (
    ("an IRC bot", pattern(rb"^(?:NICK|USER|PASS) [^\r\n]{3,60}[\[{|][^\r\n]{0,60}\r?\n", re.I), True),
    ("Facefish's key exchange", pattern(rb"^\0\0\0\x02\0\0\0\0$", re.S), True),
    ("Gh0st RAT", pattern(rb"^Gh0st.{8}\x78\x9c", re.S), True),
    ("njRAT", pattern(rb"^\d{1,6}\0(?:ll|inf)\|", re.S), True),
    ("a Unix shell", pattern(rb"^(?:/bin/(?:ba|da|z)?sh: |(?:ba)?sh-\d\.\d|# $|\$ $|uid=\d+\()"), True),
    ("a Unix shell", pattern(rb"^(?:\x1b\][^\x07]{0,80}\x07)?(?:\x1b\[[0-9;?]{0,12}[a-z])*[a-z_][\w.-]{0,31}@[\w.-]{1,64}:[~/][^\r\n]{0,80}[#$] ", re.I), True),
    ("a Unix shell", pattern(rb"^(?:id|whoami|uname -a|ls -l\w{0,3}|cat /etc/(?:passwd|shadow)|python3? -c ['\"]import pty|/bin/(?:ba)?sh -i)[^\r\n]{0,80}\n"), False),
)  # fmt: skip


class Thresholds(Limits):
    """What counts."""

    sightings: int = limit(1, "payloads", "tapwall: the marks are long enough not to occur by chance")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per pair of hosts and kind."""
    seen: defaultdict[tuple[str, str, str], list[Payload]] = defaultdict(list)
    for row in evidence.facts.payload:
        if row.shape in MARKS and not _honest(evidence, row):
            ends = sorted((evidence.sender_of(row.flow, row.from_a), evidence.receiver_of(row.flow, row.from_a)))
            seen[row.shape, ends[0], ends[1]].append(row)
    for (shape, _, _), rows in seen.items():
        if len(rows) >= limits.sightings:
            words, impact, weight, attack = MARKS[shape]
            yield _finding(evidence, rows, words, impact, weight, attack, limits)
    yield from _beginnings(evidence, limits)
    yield from _agents(evidence, limits)


def _agents(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    found: defaultdict[tuple[str, str, str], list[Http]] = defaultdict(list)
    for row in evidence.facts.http:
        if row.method:
            text = f"{row.user_agent} {row.uri} {row.headers[:200]}"
            for words, request in AGENTS:
                if request.search(text):
                    found[words, evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
                    break
    for (words, client, server), rows in found.items():
        if len(rows) < limits.sightings:
            continue
        link = evidence.link_of(rows[0].flow)
        port = int(evidence.links.target_port[link]) if link >= 0 else 0
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{client} sent {evidence.hosts.name(server)} {words} (port {port})",
                explanation=f"{counted(len(rows), 'requests')} with the form of this tool; the first: {rows[0].method} {rows[0].uri[:80]!r}, "
                f"user agent {rows[0].user_agent[:60]!r}.",
                benign="Support staff use some of these tools on purpose; then the server is theirs: here "
                f"{evidence.hosts.name(server)}.",
                advice="Find the program on the client and who installed it; look at what it did since.",
                impact=Severity.HIGH,
                evidence={words: 0.75},
                numbers={"sightings": measured(limits, "sightings", len(rows)), "port": Number(port, "port")},
                subject=f"{words} {client}>{server}",
                attack=(("T1219", "Remote Access Software"),),
                accountable=client,
                side="both",
                hosts=(client, server),
            ),
        )


def _honest(evidence: Evidence, row: Payload) -> bool:
    link = evidence.link_of(row.flow)
    return row.shape in STRICT and link >= 0 and evidence.application(link) in HONEST


def _beginnings(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    found: defaultdict[tuple[str, str, str], list[Opening]] = defaultdict(list)
    for row in evidence.facts.opening:
        opener = evidence.sender_of(row.flow, row.from_a) == evidence.source_of(row.flow)
        for words, beginning, by_opener in BEGINNINGS:
            if opener == by_opener and beginning.search(row.data):
                found[words, evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
                break
    for (words, _, _), rows in found.items():
        yield _finding(evidence, rows, words, Severity.HIGH, 0.6, ("T1071", "Application Layer Protocol"), limits)


def _finding(
    evidence: Evidence,
    rows: list[Payload] | list[Opening],
    words: str,
    impact: Severity,
    weight: float,
    attack: tuple[str, str],
    limits: Thresholds,
) -> Finding:
    first = rows[0]
    sender = evidence.sender_of(first.flow, first.from_a)
    receiver = evidence.receiver_of(first.flow, first.from_a)
    link = evidence.link_of(first.flow)
    port = int(evidence.links.target_port[link]) if link >= 0 else 0
    plain = link >= 0 and evidence.application(link) in ("", "data")
    terms = {words: weight}
    if plain:
        terms["no known protocol around it"] = 0.3
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{sender} sent {evidence.hosts.name(receiver)} {words} (port {port})",
            explanation=f"{counted(len(rows), 'payloads')} in clear, in a conversation with port {port}"
            + (" that speaks no known protocol." if plain else "."),
            benign="An honest remote login would use SSH or a named protocol; here it is "
            f"{evidence.application(link) if link >= 0 and not plain else 'none'}. Text shown in a page is possible.",
            advice="Take both hosts off the network, look at what was typed (follow the stream) and at what opened it.",
            impact=impact,
            evidence=terms,
            numbers={"sightings": measured(limits, "sightings", len(rows)), "port": Number(port, "port")},
            subject=f"{words} {sender}>{receiver}",
            attack=(attack,),
            accountable=receiver if words.startswith(("a Windows", "a Unix")) else sender,
            side="both",
            hosts=(sender, receiver),
        ),
    )
