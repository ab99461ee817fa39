"""Lateral movement: services, tasks and processes started on another machine over SMB, RPC and WinRM.

Calls that start programs elsewhere: service control (create, start), task scheduler, WMI, DCOM objects, the remote
registry; files that such tools and thieves of credentials use; raised where the same
client also wrote a program to an administrative share. One host with remote desktop or management sessions to many
others is told as fan-out. What else looks like it: software distribution and administrators (known hosts).
Reference: MS-SCMR, MS-TSCH, MS-WMI; ATT&CK T1021.002, T1047, T1053.005, T1569.002.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, listed, of_facts, of_links
from analysis.columns import different
from analysis.evidence import Evidence, large_groups
from analysis.facts import Rpc
from analysis.findings import Finding, Number, Severity, counted
from analysis.named_tuples import NamedTuple
from analysis.patterns import pattern
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "lateral-movement"
blocked = assess.without_payload


class Call(NamedTuple):
    """An interface whose calls start something: operations (empty: any), words, weight, technique."""

    operations: frozenset[int]
    words: str
    weight: float
    attack: tuple[str, str]


SERVICE = ("T1569.002", "System Services: Service Execution")
TASK = ("T1053.005", "Scheduled Task/Job: Scheduled Task")
WMI = ("T1047", "Windows Management Instrumentation")
CALLS: dict[str, Call] = {
    "367abb81-9844-35f1-ad32-98f038001003": Call(frozenset((12, 19, 24, 31, 44, 45, 60)), "created or started a service", 0.6, SERVICE),
    "1ff70682-0a51-30e8-076d-740be8cee98b": Call(frozenset((0,)), "added a scheduled task (AT)", 0.65, TASK),
    "86d35949-83c9-4044-b424-db363231fd0c": Call(frozenset((1, 12, 13)), "registered or ran a scheduled task", 0.6, TASK),
    "f309ad18-d86a-11d0-a075-00c04fb68820": Call(frozenset((3, 6)), "logged in to WMI", 0.55, WMI),
    "338cd001-2244-31f1-aaaa-900038001003": Call(frozenset((6, 20, 22, 31)), "wrote or saved the registry", 0.6, ("T1112", "Modify Registry")),
    "00020400-0000-0000-c000-000000000046": Call(frozenset((6,)), "drove an object by DCOM", 0.6, ("T1021.003", "Remote Services: Distributed Component Object Model")),
    "9556dc99-828c-11cf-a37e-00aa003240c7": Call(frozenset((20, 21, 24, 25)), "called WMI methods", 0.6, WMI),
}  # fmt: skip
ADMIN_SHARES = ("ADMIN$", "C$", "D$")
# Files that are made or fetched when a machine is taken over: dumps of the login process, the account databases, tools.
STOLEN = pattern(
    r"lsass[^\\]{0,20}\.(?:dmp|zip)$|ntds\.dit$|\\config\\(?:sam|security|system)$|\.kirbi$|psexesvc|paexec|csexec|remcom(?:svc)?|\\__output"
    r"|^(?:system32\\|temp\\)?[a-z]{8}\.tmp$|mimikatz|procdump|winexesvc",
    re.I,
)
REMOTE_PORTS = (3389, 5985, 5986, 445, 22)
SHARES = ("T1021.002", "Remote Services: SMB/Windows Admin Shares")


class Thresholds(Limits):
    """How often."""

    calls: int = limit(1, "calls", "tapwall: each starts or prepares a program")
    hosts: int = limit(8, "hosts with remote sessions from one", "tapwall: an administrator's tool list is known")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per client and server, and per client with many."""
    calls: defaultdict[tuple[str, str], list[Rpc]] = defaultdict(list)
    for row in evidence.facts.rpc:
        call = CALLS.get(row.interface)
        if call is not None and not row.response and row.operation in call.operations:
            calls[evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
    shares: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for file in evidence.facts.smb:
        if not file.response and file.name.upper().rstrip("\\").endswith(ADMIN_SHARES):
            shares[evidence.source_of(file.flow), evidence.target_of(file.flow)].append(file)
    for (client, server), rows in calls.items():
        if len(rows) >= limits.calls:
            yield _finding(evidence, client, server, rows, shares.get((client, server), []), limits)
    yield from _files(evidence)
    yield from _managed(evidence)
    yield from _fan_out(evidence, limits)


def _finding(
    evidence: Evidence, client: str, server: str, rows: list[Rpc], shares: list[Any], limits: Thresholds
) -> Finding:
    kinds = list(dict.fromkeys(row.interface for row in rows))
    flows = {row.flow for row in (*rows, *shares)}
    programs = [mark for mark in evidence.facts.payload if mark.shape.startswith("program-") and mark.flow in flows]
    terms = {CALLS[kind].words: CALLS[kind].weight for kind in kinds}
    if shares:
        terms["administrative share"] = 0.4
    if programs:
        terms["a program was written first"] = 0.6
    did = " and ".join(CALLS[kind].words for kind in kinds[:2])
    return of_facts(
        evidence,
        [*rows, *shares, *programs],
        Words(
            detector=NAME,
            title=f"{client} {did} on {evidence.hosts.name(server)}"
            + (" after writing a program to it" if programs else ""),
            explanation=f"{counted(len(rows), 'calls')} that run something on another machine, {counted(len(shares), 'uses')} of an administrative "
            f"share, {counted(len(programs), 'programs')} sent. PsExec, WMIC and their likes work this way.",
            benign="Software distribution and administrators do the same from known machines, at planned hours; here "
            f"{counted(len(programs), 'programs')} and {counted(len(rows), 'calls')}.",
            advice="Ask who works from the client; look at the services, tasks and processes made on the server then.",
            impact=Severity.HIGH if programs else Severity.MEDIUM,
            evidence=terms,
            numbers={
                "calls": measured(limits, "calls", len(rows)),
                "admin_share_uses": Number(len(shares), "uses"),
                "programs": Number(len(programs), "programs"),
            },
            subject=f"{client}>{server}",
            attack=(*(CALLS[kind].attack for kind in kinds), *((SHARES,) if shares else ())),
            accountable=client,
            hosts=(client, server),
        ),
    )


def _files(evidence: Evidence) -> Iterator[Finding]:
    """Files that a machine's takeover makes, asked for over SMB."""
    found: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in evidence.facts.smb:
        if row.name and not row.response and STOLEN.search(row.name):
            found[evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
    for (client, server), rows in found.items():
        names = list(dict.fromkeys(row.name for row in rows))
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{client} used {listed(names, 3)} on {evidence.hosts.name(server)}",
                explanation=f"{counted(len(rows), 'requests')} over SMB for files or pipes of credential theft and remote execution tools.",
                benign="Administrators use PsExec and ProcDump too, from known machines; nobody copies the account databases "
                f"over the network for work: {counted(len(names), 'names')} here.",
                advice="Take the client off the network; reset what the server's memory and databases held.",
                impact=Severity.HIGH,
                evidence={"names of such files": 0.65},
                numbers={
                    "files": Number(len(names), "names", 1, "tapwall: one is enough"),
                    "requests": Number(len(rows), "requests"),
                },
                subject=f"files {client}>{server}",
                attack=(("T1003", "OS Credential Dumping"), SHARES),
                accountable=client,
                hosts=(client, server),
            ),
        )


def _managed(evidence: Evidence) -> Iterator[Finding]:
    """Remote management over HTTP (WinRM): commands of one machine on another, encrypted inside."""
    found: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in evidence.facts.http:
        if (
            row.method == "POST" and row.uri.lower().partition("?")[0].rstrip("/") == "/wsman"
        ):  # not /wsman/SubscriptionManager: events
            found[evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
    for (client, server), rows in found.items():
        if len(rows) < 2:
            continue
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{client} managed {evidence.hosts.name(server)} over WinRM ({counted(len(rows), 'requests')})",
                explanation=f"{counted(len(rows), 'requests')} of Windows Remote Management; what they run is encrypted inside.",
                benign=f"Administrators and management servers do so from known machines; {counted(len(rows), 'requests')} here.",
                advice="Ask who works from the client; look at the server's WinRM and PowerShell logs.",
                impact=Severity.MEDIUM,
                evidence={"remote management": 0.4, "several requests": margin(len(rows), 2, least=0.2, most=0.4)},
                numbers={"requests": Number(len(rows), "requests", 2, "tapwall: one may be a probe")},
                subject=f"winrm {client}>{server}",
                attack=(("T1021.006", "Remote Services: Windows Remote Management"),),
                accountable=client,
                hosts=(client, server),
            ),
        )


def _fan_out(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One host with established remote sessions to many hosts inside."""
    links = evidence.links
    rows = np.flatnonzero(
        (links.kind == columns.TCP)
        & np.isin(links.target_port, REMOTE_PORTS[:3])
        & ~links.failed
        & (links.sent_payload > 0)
        & (links.got_payload > 0)
        & evidence.hosts.inside[links.target]
    )
    for chosen in large_groups(rows, limits.hosts, links.source, links.target_port):
        hosts = len(different(links.target[chosen]))
        if hosts < limits.hosts:
            continue
        source, port = evidence.text(int(links.source[chosen[0]])), int(links.target_port[chosen[0]])
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"{source} opened remote sessions (port {port}) to {hosts} hosts inside",
                explanation=f"{len(chosen)} established sessions to {hosts} machines.",
                benign=f"A management server does so every day; an ordinary workstation has one or two: here {hosts}.",
                advice="Ask whether this host manages others.",
                impact=Severity.MEDIUM,
                evidence={"hosts": margin(hosts, limits.hosts, least=0.5)},
                numbers={"hosts": measured(limits, "hosts", hosts)},
                subject=f"fan-out {source}:{port}",
                attack=(("T1021.001", "Remote Services: Remote Desktop Protocol"),) if port == 3389 else (SHARES,),
                accountable=source,
            ),
        )
