"""Web requests as malware makes them: many small signs, added up per client and server.

Signs: posting to a bare address or an odd port, a program that does not name itself or uses a random word, names of
dynamic DNS or cheap endings or computed labels, details of the machine in the query, the same small POST again and
again, a form whose field repeats the path, a question for one's own public address (with mail or FTP logins
afterwards: how stealers report). A redirection through many domains is told separately.
What else looks like it: embedded devices and scripts (no user agent, bare addresses inside the house: only servers
outside count), advertising. Reference: ATT&CK T1071.001, T1568, T1016.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from analysis import assess
from analysis.claims import Words, of_facts
from analysis.domains import CHEAP, dynamic, generated, label, registered
from analysis.evidence import Evidence
from analysis.facts import Http
from analysis.findings import Finding, Number, Severity, counted
from analysis.hosts import well_known
from analysis.patterns import pattern
from analysis.severity import confidence
from analysis.thresholds import Limits, limit, measured

NAME = "http-c2"
blocked = assess.without_fact("http", "HTTP requests")
WEB = ("T1071.001", "Application Layer Protocol: Web Protocols")
ADDRESS_SERVICES = frozenset(
    (
        "ip-api.com", "api.ipify.org", "icanhazip.com", "ipinfo.io", "checkip.dyndns.org", "checkip.amazonaws.com",
        "wtfismyip.com", "myexternalip.com", "ident.me", "ifconfig.me", "ipecho.net", "freegeoip.app", "api.my-ip.io",
        "whatismyipaddress.com", "ip.anysrc.net", "reallyfreegeoip.org",
    )
)  # fmt: skip
MACHINE = pattern(r"[?&](?:pc|host|hwid|hostname|computername|username|os|bot_?id|machine|av|mi)=[^&]{2,}", re.I)
VISITOR = pattern(r"[?&](?:c|u|user|guid|uid)=[^&]{2,}", re.I)  # advertising counts visitors by the same names
SCRIPT_AGENT = pattern(r"WindowsPowerShell|CertUtil URL Agent|Microsoft BITS|^mshta|WinHttp\.WinHttpRequest", re.I)
SCRIPT = pattern(r"\.(?:ps1|hta|vbs|vbe|wsf|bat|cmd|sct|sh)$", re.I)
RANDOM_AGENT = pattern(r"^[A-Za-z]{8,24}$")
OLD_AGENT = pattern(r"^Mozilla/4\.0 \(compatible; MSIE [5-8]\.0; Windows NT (?:6\.[1-3]|10\.0)", re.I)


class Thresholds(Limits):
    """When signs become a finding."""

    confidence: float = limit(0.5, "sum of weights", "tapwall: as likely right as wrong")
    signs: int = limit(2, "signs", "tapwall: one sign has many harmless causes")
    same_posts: int = limit(3, "equal POST requests", "tapwall: a form is sent once")
    hops: int = limit(4, "domains of one chain of redirections", "tapwall: sign-on services need two or three")
    hop_s: float = limit(10.0, "s between two redirections", "tapwall: a browser follows at once")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per client and server, and per chain of redirections."""
    requests: defaultdict[tuple[str, str], list[Http]] = defaultdict(list)
    for row in evidence.facts.http:
        if row.method:
            requests[evidence.source_of(row.flow), row.host or evidence.target_of(row.flow)].append(row)
    logins = _logins(evidence) if requests else {}
    for (client, host), rows in requests.items():
        link = evidence.link_of(rows[0].flow)
        if link < 0 or not _outside(evidence, link) or well_known(host):
            continue
        terms = signs(evidence, rows, host, limits, logins)
        if len(terms) >= limits.signs and confidence(terms) >= limits.confidence:
            yield _finding(evidence, client, host, rows, terms, limits)
    yield from _chains(evidence, limits)


def _outside(evidence: Evidence, link: int) -> bool:
    """Whether the server is a host outside."""
    target = evidence.links.target[link]
    return not (evidence.hosts.inside[target] or evidence.hosts.group[target])


def signs(
    evidence: Evidence, rows: list[Http], host: str, limits: Thresholds, logins: dict[str, int]
) -> dict[str, float]:
    """Sign -> weight for the requests of one client to one server; `logins` as `_logins` finds them."""
    name, _, port = host.partition(":")
    called = _is_address(name)
    terms: dict[str, float] = {}
    posts = [row for row in rows if row.method == "POST"]
    agents = {row.user_agent for row in rows}
    if called:
        terms["server called by address"] = 0.3
        if posts:
            terms["data posted to an address"] = 0.25
    elif dynamic(name):
        terms["dynamic DNS name"] = 0.4
    elif generated(label(name)):
        terms["computed name"] = 0.35
    if not called and name.rpartition(".")[2].lower() in CHEAP:
        terms["cheap ending of the name"] = 0.25
    if port and port not in ("80", "8080", "443"):
        terms["odd port"] = 0.25
    if any(RANDOM_AGENT.match(agent) and not agent.isupper() for agent in agents):
        terms["random user agent"] = 0.45
    elif "" in agents and posts:
        terms["no user agent"] = 0.2
    if any(SCRIPT_AGENT.search(agent) for agent in agents):
        terms["asked by a script host or download tool"] = 0.3
    if any(SCRIPT.search(row.uri.partition("?")[0]) and row.flow not in evidence.opened for row in rows):
        terms["a script is fetched in clear"] = 0.3
    if any(row.method == "GET" and stager(row.uri) and "referer:" not in row.headers for row in rows):
        terms["path with a stager's checksum"] = 0.35
    if posts and any(OLD_AGENT.match(agent) for agent in agents):
        terms["user agent of a program, not a browser"] = 0.25
    if any(MACHINE.search(row.uri) for row in rows) and len(terms):
        terms["details of the machine in the query"] = 0.3
    elif any(VISITOR.search(row.uri) for row in rows) and len(terms):
        terms["a number for the user in the query"] = 0.15
    if _repeats(posts) >= limits.same_posts:
        terms["the same small POST again"] = 0.35
    if any(_own_path(row) for row in posts):
        terms["form field repeats the path"] = 0.4
    bare = [row for row in posts if "referer:" not in row.headers and row.uri.partition("?")[0].endswith(".php")]
    if bare:
        terms["POST to a script without a page before it"] = 0.25
    if registered(name) in ADDRESS_SERVICES or name in ADDRESS_SERVICES:
        terms["asks for its public address"] = 0.35
        if agents <= {""} or any("Mozilla" not in agent for agent in agents):
            terms["not by a browser"] = 0.15
        if logins.get(evidence.source_of(rows[0].flow), rows[0].time_ns) > rows[0].time_ns:
            terms["mail or FTP login to outside afterwards"] = 0.45
    return terms


def stager(uri: str) -> bool:
    """Whether a path's characters add up to what Metasploit and Cobalt Strike ask for a stage with (92, 93 of 256)."""
    path = uri.strip("/")
    return (
        len(path) == 4
        and path.isalnum()
        and not path.isalpha() | path.isdigit()
        and sum(map(ord, path)) % 256 in (92, 93)
    )


def _repeats(posts: list[Http]) -> int:
    sizes = Counter((row.uri.partition("?")[0], row.content_length) for row in posts if 0 < row.content_length < 2048)
    by_path = Counter(path for path, _ in sizes.elements())
    return max(by_path.values(), default=0)


def _own_path(row: Http) -> bool:
    path = row.uri.strip("/").rpartition("/")[2].encode("latin-1", "replace")
    return len(path) >= 8 and row.body.startswith(path + b"=")


def _logins(evidence: Evidence) -> dict[str, int]:
    """Client -> time of its last mail or FTP login to outside."""
    last: dict[str, int] = {}
    for login in evidence.facts.login:
        if login.protocol in ("smtp", "ftp"):
            link = evidence.link_of(login.flow)
            if link >= 0 and _outside(evidence, link):
                client = evidence.source_of(login.flow)
                last[client] = max(login.time_ns, last.get(client, login.time_ns))
    return last


def _is_address(host: str) -> bool:
    if ":" not in host and not host[-1:].isdigit():
        return False  # most names; a failed conversion costs as much as all other signs
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _finding(
    evidence: Evidence, client: str, host: str, rows: list[Http], terms: dict[str, float], limits: Thresholds
) -> Finding:
    server = evidence.target_of(rows[0].flow)
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{client} talks to {host} as malware does: {', '.join(list(terms)[:3])}",
            explanation=f"{counted(len(rows), 'requests')}, {sum(row.method == 'POST' for row in rows)} of them POST. Signs: "
            + "; ".join(f"{sign} ({weight:.2f})" for sign, weight in terms.items())
            + ". The first: "
            f"{rows[0].method} {rows[0].uri[:80]!r}.",
            benign="Scripts, embedded devices and small sites show one or two of these signs; here there are "
            f"{len(terms)}, together {confidence(terms):.2f}.",
            advice="Find the program on the client; look the server up; keep the requests and answers.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers={
                "signs": measured(limits, "signs", len(terms)),
                "sum_of_weights": measured(limits, "confidence", round(confidence(terms), 3)),
                "requests": Number(len(rows), "requests"),
            },
            subject=f"{client}>{host}",
            attack=(WEB,),
            accountable=server,
            side="destination",
            hosts=(client, server),
        ),
    )


def _chains(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Redirections from domain to domain, one answer after the other, per client."""
    hosts: dict[int, str] = {}
    moved: defaultdict[str, list[tuple[Http, str]]] = defaultdict(list)
    for row in evidence.facts.http:
        if row.method:
            hosts[row.flow] = row.host
        elif row.status in (301, 302, 303, 307, 308) and hosts.get(row.flow):
            moved[evidence.source_of(row.flow)].append((row, registered(hosts[row.flow])))
    for client, steps in moved.items():
        chain: list[tuple[Http, str]] = steps[:1]
        for (before, _), step in pairwise(steps):
            if step[0].time_ns - before.time_ns > limits.hop_s * 1e9:
                chain = []
            chain.append(step)
            if len({domain for _, domain in chain}) >= limits.hops:
                break
        domains = list(dict.fromkeys(domain for _, domain in steps if any(domain == d for _, d in chain)))
        if len(domains) < limits.hops:
            continue
        rows = [row for row, domain in steps if domain in domains]
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{client} was sent through {len(domains)} domains in a row: {' → '.join(domains[:6])}",
                explanation=f"{len(rows)} redirections by HTTP within {(rows[-1].time_ns - rows[0].time_ns) / 1e9:.1f} s; each hands "
                "the visitor to the next domain. Traffic sellers lead to fraud and exploit pages this way.",
                benign="Sign-on and advertising redirect too, through two or three domains: here it is "
                f"{len(domains)}.",
                advice="Look at the page where the chain ends, and at what the client loaded there.",
                impact=Severity.MEDIUM,
                evidence={
                    "domains in a row": 0.35 + 0.1 * (len(domains) - limits.hops + 1),
                    "in clear": 0.15 * (not evidence.opened.issuperset(row.flow for row in rows)),
                },
                numbers={"domains": measured(limits, "hops", len(domains))},
                subject=f"chain {client} {domains[0]}",
                attack=(("T1189", "Drive-by Compromise"), ("T1583.008", "Acquire Infrastructure: Malvertising")),
                accountable=evidence.target_of(rows[-1].flow),
                side="destination",
            ),
        )
