"""Reconnaissance of and attacks on a Windows directory, as far as headers and clear calls show them.

SAMR enumeration of accounts, replication calls of hosts that are no domain controllers, searches for accounts with
service names and tickets for many of them (Kerberoasting), logons without pre-authentication (AS-REP roasting), and
a server that connects back to its client's file service at once (forced authentication; visible even where the calls
are encrypted). What else looks like it: domain controllers among themselves, management tools, inventory.
Reference: MS-SAMR, MS-DRSR, RFC 4120; ATT&CK T1087.002, T1558.003, T1558.004, T1187, T1207.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_facts, of_links
from analysis.evidence import Evidence
from analysis.facts import Kerberos, Payload, Rpc
from analysis.findings import Finding, Number, Severity, counted
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "directory-attack"
blocked = assess.without_payload
SAMR = "12345778-1234-abcd-ef00-0123456789ac"
DRSUAPI = "e3514235-4b06-11d1-ab04-00c04fc2dcd2"
ENUMERATE = frozenset((6, 8, 11, 13, 15, 16, 17, 25, 34, 36, 40, 47, 48, 51))  # MS-SAMR 3.1.5: enumerate, open, query
REPLICATE = {3: "GetNCChanges", 5: "ReplicaAdd", 6: "ReplicaDel", 17: "AddEntry"}  # MS-DRSR 4.1
AS_REQ, AS_REP, TGS_REQ, TGS_REP = 10, 11, 12, 13
RC4 = (23, 24)
LDAP_SEARCHES = ("ldap-spn-search", "ldap-weak-accounts")  # filters that administrators rarely send
# srvsvc NetrSessionEnum, wkssvc NetrWkstaUserEnum ([MS-SRVS] 3.1.4.5, [MS-WKST] 3.2.4.3)
SESSION_CALLS = {"4b324fc8-1670-01d3-1278-5a47bf6ee188": (12,), "6bffd098-a112-3610-9833-46c3f87e345a": (2,)}
SMB_PORT = 445
ACCOUNTS = ("T1087.002", "Account Discovery: Domain Account")
ROASTING = ("T1558.003", "Steal or Forge Kerberos Tickets: Kerberoasting")


class Thresholds(Limits):
    """When calls are reconnaissance."""

    samr_calls: int = limit(10, "account queries", "tapwall: a logon needs three or four")
    services: int = limit(
        5, "tickets for different services with RC4", "tapwall: a desktop uses AES and a few services"
    )
    accounts: int = limit(
        5, "accounts whose logon was answered with RC4", "tapwall: a host has one or two users, and AES"
    )
    sessions: int = limit(5, "hosts asked who is logged on", "tapwall: SharpHound asks every machine")
    back_s: float = limit(5.0, "s until the server connects back", "tapwall: forced authentication follows at once")
    replication: int = limit(1, "replication calls", "tapwall: only domain controllers replicate")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per client, server and kind."""
    calls: defaultdict[tuple[str, str, str], list[Rpc]] = defaultdict(list)
    for row in evidence.facts.rpc:
        if not row.response and row.operation >= 0:
            calls[evidence.source_of(row.flow), evidence.target_of(row.flow), row.interface].append(row)
    for (client, server, interface), rows in calls.items():
        if interface == SAMR:
            yield from _samr(evidence, client, server, rows, limits)
        elif interface == DRSUAPI:
            yield from _replication(evidence, client, server, rows, limits)
    yield from _sessions(evidence, calls, limits)
    yield from _roasting(evidence, limits)
    yield from _without_password(evidence, limits)
    yield from _forced(evidence, limits)


def _claim(
    evidence: Evidence,
    rows: list[Any],
    who: tuple[str, str],
    texts: tuple[str, str, str, str],
    judged: tuple[Severity, dict[str, float], dict[str, Number], tuple[str, str]],
) -> Finding:
    """`texts`: kind, title, explanation, benign; `judged`: impact, evidence, numbers, technique."""
    (client, server), (kind, title, explanation, benign), (impact, terms, numbers, attack) = who, texts, judged
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=title,
            explanation=explanation,
            benign=benign,
            advice="Ask what runs on the client; look at the logon that these calls use, and reset what it could read.",
            impact=impact,
            evidence=terms,
            numbers=numbers,
            subject=f"{kind} {client}>{server}",
            attack=(attack,),
            accountable=client,
            hosts=(client, server),
        ),
    )


def _samr(evidence: Evidence, client: str, server: str, rows: list[Rpc], limits: Thresholds) -> Iterator[Finding]:
    asked = [row for row in rows if row.operation in ENUMERATE]
    if len(asked) < limits.samr_calls:
        return
    kinds = len({row.operation for row in asked})
    yield _claim(
        evidence,
        asked,
        (client, server),
        (
            "samr",
            f"{client} listed the accounts of {evidence.hosts.name(server)} over SAMR ({len(asked)} queries)",
            f"{len(asked)} calls of {counted(kinds, 'kinds')} open and query domains, users and aliases one after the other, "
            "as account listing tools do.",
            f"A logon or a permission dialog asks three or four times; here {len(asked)} calls.",
        ),
        (
            Severity.MEDIUM,
            {"queries": margin(len(asked), limits.samr_calls, least=0.55), "kinds of calls": 0.05 * min(kinds, 6)},
            {"account_queries": measured(limits, "samr_calls", len(asked))},
            ACCOUNTS,
        ),
    )


def _replication(
    evidence: Evidence, client: str, server: str, rows: list[Rpc], limits: Thresholds
) -> Iterator[Finding]:
    told = {row.number for row in evidence.facts.payload if row.shape in ("dcsync", "dcshadow")}
    calls = [row for row in rows if row.operation in REPLICATE and row.number not in told]
    if len(calls) < limits.replication:
        return
    names = sorted({REPLICATE[row.operation] for row in calls})
    both = {evidence.source_of(row.flow) for row in evidence.facts.rpc if row.interface == DRSUAPI} >= {client, server}
    yield _claim(
        evidence,
        calls,
        (client, server),
        (
            "replication",
            f"{client} called directory replication at {evidence.hosts.name(server)}: {', '.join(names)}",
            f"{counted(len(calls), 'calls')} that domain controllers make among themselves"
            + (", in both directions: the client answers as a domain controller." if both else "."),
            "Two domain controllers replicate all the time; a capture of some minutes shows more than these "
            f"{counted(len(calls), 'calls')}.",
        ),
        (
            Severity.HIGH,
            {"replication calls": 0.55, "changes of partners": 0.4 if set(names) - {"GetNCChanges"} else 0.0},
            {"replication_calls": measured(limits, "replication", len(calls))},
            ("T1207", "Rogue Domain Controller"),
        ),
    )


def _roasting(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    searches: defaultdict[tuple[str, str], list[Payload]] = defaultdict(list)
    for row in evidence.facts.payload:
        if row.shape in LDAP_SEARCHES:
            searches[evidence.sender_of(row.flow, row.from_a), evidence.receiver_of(row.flow, row.from_a)].append(row)
    tickets: defaultdict[tuple[str, str], list[Kerberos]] = defaultdict(list)
    for ticket in evidence.facts.kerberos:
        if (
            ticket.message == TGS_REP
            and ticket.service
            and not ticket.service.lower().startswith(("krbtgt", "cifs/", "ldap/"))
        ):
            if any(one in RC4 for one in ticket.etypes):
                tickets[evidence.source_of(ticket.flow), evidence.target_of(ticket.flow)].append(ticket)
    for client, server in {*searches, *tickets}:
        found, granted = searches.get((client, server), []), tickets.get((client, server), [])
        services = Counter(row.service for row in granted)
        if not found and len(services) < limits.services:
            continue
        terms = {}
        if found:
            terms["search for all accounts with service names"] = 0.6
        if services:
            terms["RC4 tickets for services"] = margin(len(services), limits.services, least=0.6) or 0.1 * len(services)
        yield _claim(
            evidence,
            [*found, *granted],
            (client, server),
            (
                "roasting",
                f"{client} looked for service accounts in the directory of {evidence.hosts.name(server)} (Kerberoasting)",
                f"{counted(len(found), 'searches')} for every account that has a service name or is weak; {counted(len(services), 'tickets')} for "
                "services came with RC4, which can be guessed offline.",
                f"Inventory tools search alike; they do not then fetch tickets: {len(services)} here.",
            ),
            (
                Severity.MEDIUM if len(services) < limits.services else Severity.HIGH,
                terms,
                {"services": measured(limits, "services", len(services)), "searches": Number(len(found), "searches")},
                ROASTING,
            ),
        )


def _without_password(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Logon replies with RC4 for many accounts to one host: what AS-REP roasting and password spraying fetch."""
    replies: defaultdict[tuple[str, str], list[Kerberos]] = defaultdict(list)
    for row in evidence.facts.kerberos:
        if row.message == AS_REP and any(one in RC4 for one in row.etypes[-1:]):
            replies[evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
    for (client, server), rows in replies.items():
        accounts = {row.client.lower() for row in rows if row.client}
        if len(accounts) < limits.accounts:
            continue
        yield _claim(
            evidence,
            rows,
            (client, server),
            (
                "logons",
                f"{client} fetched logon replies with RC4 for {counted(len(accounts), 'accounts')} from {evidence.hosts.name(server)} "
                "(AS-REP roasting or spraying)",
                f"{counted(len(rows), 'replies')} encrypted with keys made of the accounts' passwords in the weak form, which can be "
                "guessed offline.",
                f"A terminal server logs many users in, with AES since 2008; here {counted(len(accounts), 'accounts')} with RC4.",
            ),
            (
                Severity.MEDIUM,
                {"accounts": margin(len(accounts), limits.accounts, least=0.55)},
                {"accounts": measured(limits, "accounts", len(accounts)), "replies": Number(len(rows), "replies")},
                ("T1558.004", "Steal or Forge Kerberos Tickets: AS-REP Roasting"),
            ),
        )


def _sessions(
    evidence: Evidence, calls: Mapping[tuple[str, str, str], list[Rpc]], limits: Thresholds
) -> Iterator[Finding]:
    """Who is logged on where: session and user enumeration on many hosts (BloodHound's collector)."""
    asked: defaultdict[str, list[Rpc]] = defaultdict(list)
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for (client, server, interface), rows in calls.items():
        mine = [row for row in rows if row.operation in SESSION_CALLS.get(interface, ())]
        if mine:
            asked[client] += mine
            hosts[client].add(server)
    for client, rows in asked.items():
        if len(hosts[client]) >= limits.sessions:
            servers = sorted(hosts[client])
            yield _claim(
                evidence,
                rows,
                (client, servers[0]),
                (
                    "sessions",
                    f"{client} asked {len(servers)} hosts who is logged on there, as BloodHound's collector does",
                    f"{len(rows)} calls enumerate sessions and users (NetSessionEnum, NetWkstaUserEnum).",
                    f"Inventory tools ask too, from a known server; here {len(servers)} hosts were asked.",
                ),
                (
                    Severity.MEDIUM,
                    {"hosts": margin(len(servers), limits.sessions, least=0.6)},
                    {"hosts": measured(limits, "sessions", len(servers)), "calls": Number(len(rows), "calls")},
                    ("T1033", "System Owner/User Discovery"),
                ),
            )


def _forced(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """A to B's file service, and at once B to A's: nobody mounts in circles."""
    links = evidence.links
    rows = np.flatnonzero(
        (links.kind == columns.TCP)
        & (links.target_port == SMB_PORT)
        & links.known
        & (links.syns > 0)
        & (links.sent_payload > 0)
    )
    first: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in rows[:20_000].tolist():
        first[int(links.source[row]), int(links.target[row])].append(row)
    for (client, server), there in first.items():
        back = first.get((server, client), [])
        if not back or client == server or links.first_ns[back[0]] <= links.first_ns[there[0]]:
            continue
        delay = min(
            (
                float(links.first_ns[b] - links.first_ns[a]) / 1e9
                for a in there
                for b in back[:200]
                if links.first_ns[b] > links.first_ns[a]
            ),
            default=1e9,
        )
        if delay > limits.back_s:
            continue
        one, other = evidence.text(client), evidence.text(server)
        yield of_links(
            evidence,
            np.array([*there, *back]),
            Words(
                detector=NAME,
                title=f"{one} made {evidence.hosts.name(other)} log in to it: SMB there, and {delay:.1f} s later SMB back",
                explanation=f"{len(there)} SMB connections to the server, {len(back)} back to the client's own port 445, the first "
                f"{delay:.1f} s after. Forced authentication (PetitPotam, printer bug and others) looks like this, also where "
                "the calls themselves are encrypted.",
                benign="Two workstations that use each other's shares do the same, but not within seconds of each "
                f"other: {delay:.1f} s here, {counted(len(back), 'connections')} back.",
                advice="Look for a relay on the client; require SMB signing; filter EFSRPC and spooler calls on servers.",
                impact=Severity.MEDIUM,
                evidence={
                    "connection back": 0.4,
                    "at once": 0.4 * (1 - delay / limits.back_s),
                    "repeated": margin(len(back), 1, least=0.1, most=0.5),
                },
                numbers={
                    "delay_s": measured(limits, "back_s", round(delay, 3)),
                    "connections_back": Number(len(back), "connections"),
                },
                subject=f"forced {one}>{other}",
                attack=(("T1187", "Forced Authentication"),),
                accountable=one,
                hosts=(one, other),
            ),
        )
