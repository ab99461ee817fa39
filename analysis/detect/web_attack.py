"""Attacks on web servers: path traversal, SQL and command injection, script injection, scanners, stolen sessions.

Per client and server the requests with an attack's form are counted, with what the server answered. A tool that names
itself (Nikto, sqlmap, Nmap) counts too, and so do requests whose Host is missing or contradicts the target. The same
session cookie from two addresses with two programs is a stolen session. What else looks like it: a scan of your own,
search words that look like SQL, cookies behind a proxy (same program, other address). Reference: OWASP Top 10; RFC 9112
section 3.2 (Host).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.domains import label
from analysis.evidence import Evidence
from analysis.facts import Http, Payload
from analysis.findings import Finding, Number, Severity, counted
from analysis.patterns import pattern
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "web-attack"
blocked = assess.without_fact("http", "HTTP requests")
WEIGHTS = {
    "path-traversal": 0.65, "sql-injection": 0.65, "command-injection": 0.55, "php-include": 0.5, "script-injection": 0.4,
    "web-shell-upload": 0.65, "metadata-request": 0.6, "secret-file": 0.5, "shellshock": 0.5, "log4shell": 0.5, "template-injection": 0.65, "xml-entity": 0.6, "web-shell": 0.65, "known-weakness": 0.6,
}  # fmt: skip  # how often a request of this form alone is an attack
OWN = (
    "path-traversal", "sql-injection", "command-injection", "php-include", "script-injection", "template-injection", "xml-entity",
    "web-shell", "known-weakness", "web-shell-upload", "metadata-request", "secret-file",
)  # fmt: skip
ADDRESSES = {"php-include"}  # from inside to outside: an address in a query, as advertising has them
TOOLS = pattern(
    r"nikto|sqlmap|nmap scripting|dirbuster|gobuster|wpscan|acunetix|nessus|masscan|zgrab|nuclei|openvas|w3af|hydra|havij|feroxbuster",
    re.I,
)
SESSION = pattern(
    r"(?:^|[;\s])((?:php|asp\.net_|j|asp)?sess(?:ion)?_?id[a-z0-9]*|connect\.sid|laravel_session)=([^;\s]{8,})", re.I
)
INCLUDED = pattern(r"=(?:https?|ftp)://([^/:?&\s]{1,200})", re.I)
CALLBACK = pattern(r"^callback:\s{0,4}<?https?://(\[[0-9a-f:]+\]|[^:/>\s]{1,80})", re.I | re.M)
DANGEROUS = frozenset(("TRACE", "TRACK", "DEBUG"))
ATTACK = (("T1190", "Exploit Public-Facing Application"),)


class Thresholds(Limits):
    """How many requests."""

    requests: int = limit(1, "requests with an attack's form", "tapwall: severity grows with the number")
    tool_requests: int = limit(5, "requests of a named scanner", "tapwall: one may be a curious admin")
    missing: int = limit(50, "answers 404 to one client", "tapwall: guessing of paths; broken pages give a few")
    strange: int = limit(2, "requests without or with a foreign Host", "tapwall: RFC 9112 3.2 demands one")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per client, server and kind."""
    shapes: defaultdict[tuple[str, str], list[Payload]] = defaultdict(list)
    for row in evidence.facts.payload:
        if row.shape in OWN:
            shapes[evidence.sender_of(row.flow, row.from_a), evidence.receiver_of(row.flow, row.from_a)].append(row)
    requests: defaultdict[tuple[str, str], list[Http]] = defaultdict(list)
    answers: defaultdict[tuple[str, str], list[Http]] = defaultdict(list)
    for http in evidence.facts.http:
        key = (evidence.source_of(http.flow), evidence.target_of(http.flow))
        (requests if http.method else answers)[key].append(http)
    for key, rows in shapes.items():
        names = {label(http.host.partition(":")[0]) for http in requests.get(key, ()) if http.host}
        rows = [row for row in rows if row.shape != "php-include" or not _own_page(row.detail, names)]
        if rows and len(rows) >= limits.requests:
            finding = _shapes(evidence, key, rows, answers.get(key, []), limits)
            if finding is not None:
                yield finding
    for key, sent in requests.items():
        yield from _scanner(evidence, key, sent, answers.get(key, []), limits)
        yield from _strange(evidence, key, sent, limits)
    yield from _stolen(evidence, limits)


def _shapes(
    evidence: Evidence, key: tuple[str, str], rows: list[Payload], answers: list[Http], limits: Thresholds
) -> Finding | None:
    client, server = key
    kinds = Counter(row.shape for row in rows)
    asked = {row.flow for row in rows}
    served = sum(200 <= answer.status < 300 for answer in answers if answer.flow in asked)
    inside_to_outside = _leaves(evidence, rows[0].flow)
    if inside_to_outside and set(kinds) <= ADDRESSES:
        return None
    weak = inside_to_outside and not served and set(kinds) <= {"script-injection", "command-injection"}
    terms = {kind: (WEIGHTS[kind] / 3 if weak or inside_to_outside else WEIGHTS[kind]) for kind in kinds}
    if len(rows) > 1:
        terms["repeated"] = margin(len(rows), 1, least=0.1, most=0.5)
    if inside_to_outside and len(rows) < 20:
        terms.pop("repeated", None)
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{client} attacked the web server {evidence.hosts.name(server)}: "
            + listed([f"{kind.replace('-', ' ')} ({n})" for kind, n in kinds.most_common()], 4),
            explanation=f"{counted(len({row.number for row in rows}), 'requests')} with the form of an attack, "
            f"{counted(served, 'answers')} on these connections with success (2xx). The first: {rows[0].detail[:120]!r}.",
            benign="Search words and advertising addresses can look like an injection; they come as single requests from "
            f"inside to outside: here {len(rows)}, {'to a server outside' if inside_to_outside else 'to this server'}.",
            advice="Look at the server's log for these requests and at what it answered; update the application.",
            impact=Severity.HIGH if served and not inside_to_outside and len(rows) > 1 else Severity.MEDIUM,
            evidence=terms,
            numbers={
                "requests": measured(limits, "requests", len(rows)),
                "answered_2xx": Number(served, "answers"),
            },
            subject=f"{client}>{server}",
            attack=ATTACK,
            accountable=client,
            hosts=(client, server),
        ),
    )


def _own_page(detail: str, names: set[str]) -> bool:
    """Whether the addresses in a query are the site's own pages, as counters of visitors name them."""
    targets = INCLUDED.findall(detail)
    return bool(targets) and all(label(target) in names for target in targets)


def _leaves(evidence: Evidence, flow: int) -> bool:
    """Whether a connection goes from inside to outside."""
    link = evidence.link_of(flow)
    inside = evidence.hosts.inside
    return link >= 0 and bool(inside[evidence.links.source[link]] & ~inside[evidence.links.target[link]])


def _scanner(
    evidence: Evidence, key: tuple[str, str], sent: list[Http], answers: list[Http], limits: Thresholds
) -> Iterator[Finding]:
    client, server = key
    tools = {agent for agent in {row.user_agent for row in sent} if TOOLS.search(agent)}
    named = [row for row in sent if row.user_agent in tools]
    missing = [row for row in answers if row.status == 404]
    if len(named) < limits.tool_requests and len(missing) < limits.missing:
        return
    rows = named if len(named) >= limits.tool_requests else missing
    word = TOOLS.search(named[0].user_agent) if named else None
    terms = {"names itself a scanner": 0.8} if rows is named else {}
    if len(missing) >= limits.missing:
        terms["pages not found"] = margin(len(missing), limits.missing)
    yield of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{client} scanned the web server {evidence.hosts.name(server)}"
            + (f" with {word[0]}" if word else "")
            + f" ({counted(len(sent), 'requests')})",
            explanation=f"{counted(len(named), 'requests')} by the name of a scanner, {counted(len(missing), 'answers')} with 404: paths and weaknesses "
            "are tried one after the other.",
            benign=f"A scan of your own; or a broken page, which asks for the same few paths: here {counted(len(sent), 'requests')} "
            f"for {counted(len({row.uri for row in sent}), 'paths')}.",
            advice="Ask who runs the scanner; look at what was answered with 200.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers={
                "scanner_requests": measured(limits, "tool_requests", len(named)),
                "not_found": measured(limits, "missing", len(missing)),
            },
            subject=f"scanner {client}>{server}",
            attack=(("T1595.002", "Active Scanning: Vulnerability Scanning"),),
            accountable=client,
            hosts=(client, server),
        ),
    )


def _strange(evidence: Evidence, key: tuple[str, str], sent: list[Http], limits: Thresholds) -> Iterator[Finding]:
    """Methods that echo or debug, and requests that give the server a host it does not have."""
    client, server = key
    hosts = Counter(row.host for row in sent)
    usual = hosts.most_common(1)[0][0]
    inside = not _leaves(evidence, sent[0].flow)
    methods = [row for row in sent if row.method in DANGEROUS or _calls_stranger(row, client)]
    foreign = [
        row for row in sent if inside and (not row.host or (row.host != usual and not row.user_agent and len(hosts) > 1))
    ] if any(row.host for row in sent) else []  # fmt: skip
    odd_bodies = [row for row in sent if row.method in ("GET", "HEAD") and row.content_length > 0]
    rows = sorted({row.number: row for row in (*methods, *foreign, *odd_bodies)}.values(), key=lambda row: row.number)
    kinds = sum(map(bool, (methods, foreign, odd_bodies)))
    if len(rows) < limits.strange or (kinds < 2 and not methods):
        return
    yield of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{client} sent malformed or dangerous HTTP requests to {evidence.hosts.name(server)} ({len(rows)})",
            explanation=f"{len(methods)} with methods that echo or debug, or subscriptions for somebody else, {len(foreign)} without Host or with a Host of "
            f"somebody else, {len(odd_bodies)} GET with a body: the forms of request smuggling and of probes.",
            benign="Hand-made tests and old HTTP/1.0 clients leave Host out; they do not also send bodies with GET: "
            f"{counted(kinds, 'kinds')} here.",
            advice="Let the server refuse such requests (RFC 9112 3.2 and 11.2); look who sends them.",
            impact=Severity.MEDIUM,
            evidence={
                "methods": 0.5 * bool(methods),
                "host": 0.4 * bool(foreign),
                "body with GET": 0.35 * bool(odd_bodies),
            },
            numbers={"strange_requests": measured(limits, "strange", len(rows)), "kinds": Number(kinds, "kinds")},
            subject=f"strange {client}>{server}",
            attack=ATTACK,
            accountable=client,
            hosts=(client, server),
        ),
    )


def _calls_stranger(row: Http, client: str) -> bool:
    """A UPnP subscription whose events should go to somebody else (CallStranger, CVE-2020-12695)."""
    if row.method != "SUBSCRIBE":
        return False
    found = CALLBACK.search(row.headers)
    return found is not None and found[1].strip("[]") != client


def _stolen(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """The same session cookie from two addresses and two programs."""
    users: defaultdict[tuple[str, str], dict[tuple[str, str], Http]] = defaultdict(dict)
    for row in evidence.facts.http:
        if row.method and "cookie" in row.headers:
            for line in row.headers.split("\n"):
                if line.startswith("cookie:"):
                    for name, value in SESSION.findall(line[7:]):
                        who = (evidence.source_of(row.flow), row.user_agent)
                        users[evidence.target_of(row.flow), f"{name}={value}"].setdefault(who, row)
    for (server, cookie), seen in users.items():
        addresses = list(dict.fromkeys(address for address, _ in seen))
        programs = {program for _, program in seen}
        if len(addresses) < 2 or len(programs) < 2:
            continue
        name = cookie.partition("=")[0]
        rows = sorted(seen.values(), key=lambda row: row.number)
        second = addresses[1]
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{second} used the web session of {addresses[0]} at {evidence.hosts.name(server)} (cookie {name})",
                explanation=f"The same {name} came from {len(addresses)} addresses with {counted(len(programs), 'programs')}: a session "
                "identifier read from the network or stolen otherwise works for whoever has it.",
                benign="A laptop that changes its network keeps its program; here the programs differ "
                f"({len(programs)}) as well as the addresses ({len(addresses)}).",
                advice="End the session at the server; send session cookies over TLS only (Secure, HttpOnly).",
                impact=Severity.HIGH,
                evidence={"one cookie, two addresses": 0.5, "two programs": 0.5},
                numbers={
                    "addresses": Number(len(addresses), "addresses", 2, "tapwall: a session has one user"),
                    "programs": Number(len(programs), "user agents", 2, "tapwall: a session has one browser"),
                },
                subject=f"session {second}>{server}",
                attack=(
                    ("T1539", "Steal Web Session Cookie"),
                    ("T1550.004", "Use Alternate Authentication Material: Web Session Cookie"),
                ),
                accountable=second,
                hosts=(*addresses, server),
            ),
        )
