"""Guessing of logins spread thin: over many sources, many services or many accounts, so that no pair of hosts stands out.

A botnet at one service, each host with a few tries; one host that tries a password or two at every server (spraying by
host) or for every account (spraying by name), slowly enough for locks and counters a pair. Counted are refused logins in
clear text, login forms whose names many hosts try, and short sessions alike in size where the content is encrypted.
What else looks like it: users who mistype (most logins of the service are accepted), a service whose password store is
down (every source tries names of its own only: low), administration and inventory that log in everywhere (from inside:
low where the capture does not show that they are refused), mail servers among themselves (port 25 is left out).
Reference: ATT&CK T1110.003; Zeek detect-bruteforcing (30 min); Slips (9 tries).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from analysis import assess
from analysis.attempts import GUESSING, REMOTE, SPRAYING, Attempts, Try, alike, attempts, hidden_logins
from analysis.claims import Words, listed, of_facts, of_links
from analysis.columns import Array, different, median
from analysis.evidence import Evidence, busiest, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "distributed-guessing"
blocked = assess.without_transport
MAIL = 25  # servers deliver to each other, without login


class Thresholds(Limits):
    """When a few tries each are guessing together."""

    sources: int = limit(20, "sources refused by one service", "tapwall: of a botnet, each tries a few times")
    services: int = limit(10, "services that refused one source", "tapwall: a person knows a few servers")
    accounts: int = limit(
        8, "names refused for one source", "tapwall: one person rarely has five; Slips counts 9 tries"
    )
    each: int = limit(
        10, "tries of a source at a service, below", "tapwall: as many within 5 min are seen for themselves"
    )
    per_name: float = limit(3.0, "tries a name, median, at most", "tapwall: most domains lock an account after 5")
    own_names: float = limit(
        0.8, "share of sources with names of their own", "tapwall: users have names, guesses share them"
    )
    window_s: float = limit(1800.0, "s", "Zeek: 30 min for SSH")
    session_s: float = limit(8.0, "s median length, at most", "tapwall: servers delay refusals by 2 to 3 s")
    alike: float = limit(0.25, "median deviation of bytes / median", "tapwall: within a quarter")
    least_bytes: float = limit(300.0, "bytes sent a session", "tapwall: less holds no encrypted login")
    short_bytes: float = limit(12.0, "bytes sent a session", "tapwall: a name and a password")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per service that many guess at, and per source that guesses at many services or for many names."""
    by_service: defaultdict[tuple[str, str], list[Attempts]] = defaultdict(list)
    by_source: defaultdict[tuple[str, str], list[Attempts]] = defaultdict(list)
    for one in attempts(evidence):
        if one.refused:
            by_service[one.target, one.protocol].append(one)
            by_source[one.source, one.protocol].append(one)
    told: set[int] = set()
    for (target, protocol), made in by_service.items():
        thin = [one for one in made if len(one.refused) < limits.each]
        if len(thin) >= limits.sources:
            yield from _noted(told, _many_sources(evidence, (target, protocol), thin, limits))
    for (source, protocol), made in by_source.items():
        if len(made) >= limits.services:
            yield from _noted(told, _many_services(evidence, (source, protocol), made, limits))
        else:
            for one in made:
                yield from _noted(told, _many_accounts(evidence, one, limits))
    yield from _noted(told, _forms(evidence, limits))
    yield from _sessions(evidence, told, limits)


def _noted(told: set[int], findings: Iterator[Finding]) -> Iterator[Finding]:
    """Findings, whose conversations are remembered."""
    for finding in findings:
        told.update(finding.flows)
        yield finding


def _many_sources(
    evidence: Evidence, key: tuple[str, str], made: Sequence[Attempts], limits: Thresholds
) -> Iterator[Finding]:
    """One service refuses many hosts, each of which tries too seldom to be seen alone."""
    target, protocol = key
    tries = [one for mine in made for one in mine.refused]
    accepted = sum(len(mine.accepted) for mine in made)
    if accepted >= len(tries):
        return
    own = _own_names({mine.source: mine.refused for mine in made})
    nameless = not any(one.user for one in tries)
    inside = sum(_inside(evidence, mine.refused[0].flow) for mine in made) > len(made) / 2
    users = sorted({one.user for one in tries if one.user})
    doubtful = own >= limits.own_names or (nameless and inside)
    yield of_facts(
        evidence,
        tries,
        Words(
            detector=NAME,
            title=f"{len(made)} hosts guess passwords at {evidence.hosts.name(target)} ({protocol}): {len(tries)} refused, "
            f"{accepted} accepted",
            explanation=f"{len(tries)} logins of {len(made)} sources were refused, for {len(users)} names ({listed(users, 4)}); "
            "each source tries too seldom to be noticed alone.",
            benign="Users mistype their passwords, and most get in; where the service's password store is down all are "
            f"refused, each for a name of its own: here {accepted} got in, and {100 * own:.0f} % of the sources have names "
            "of their own.",
            advice="Let the service answer known networks only; lock accounts after some failures, whoever tries.",
            impact=Severity.LOW if doubtful else Severity.MEDIUM,
            evidence={"sources": margin(len(made), limits.sources, least=0.6)},
            numbers={
                "sources": measured(limits, "sources", len(made)),
                "own_names": measured(limits, "own_names", round(own, 3)),
                "refused": Number(len(tries), "logins"),
                "accepted": Number(accepted, "logins"),
                "names": Number(len(users), "names"),
            },
            subject=f"sources {protocol} {target}",
            attack=(SPRAYING if len(users) >= limits.accounts else GUESSING,),
            hosts=(target, *sorted(mine.source for mine in made)[:20]),
        ),
    )


def _own_names(tries: Mapping[str, Sequence[Try]]) -> float:
    """Share of the sources that tried one name only, which nobody else tried."""
    names = {source: {one.user for one in mine if one.user} for source, mine in tries.items()}
    asked = Counter(name for mine in names.values() for name in mine)
    return sum(len(mine) == 1 and all(asked[name] == 1 for name in mine) for mine in names.values()) / len(names)


def _inside(evidence: Evidence, flow: int) -> bool:
    link = evidence.link_of(flow)
    return link >= 0 and bool(evidence.hosts.inside[evidence.links.source[link]])


def _many_services(
    evidence: Evidence, key: tuple[str, str], made: Sequence[Attempts], limits: Thresholds
) -> Iterator[Finding]:
    """One source is refused by many hosts."""
    source, protocol = key
    tries = [one for mine in made for one in mine.refused]
    accepted = [one for mine in made for one in mine.accepted]
    if len(accepted) >= len(tries):
        return
    users = sorted({one.user for one in tries if one.user})
    yield _of_source(
        evidence,
        tries,
        f"{source} tried {protocol} logins at {len(made)} hosts: {len(tries)} refused, {len(accepted)} accepted",
        f"{len(tries) / len(made):.1f} refused logins a host, for {len(users)} names ({listed(users, 4)}): few enough for every "
        "host to take them for a slip.",
        f"An inventory system with an old password is refused everywhere too, with one name; here {len(users)} names.",
        {"hosts": margin(len(made), limits.services, least=0.6)},
        {
            "hosts": measured(limits, "services", len(made)),
            "refused": Number(len(tries), "logins"),
            "accepted": Number(len(accepted), "logins"),
        },
        (source, f"services {protocol} {source}", tuple(mine.target for mine in made), bool(accepted)),
    )


def _many_accounts(evidence: Evidence, made: Attempts, limits: Thresholds) -> Iterator[Finding]:
    """One source is refused for many names, a try or two each, at whatever pace."""
    names = Counter(one.user for one in made.refused if one.user)
    if len(names) < limits.accounts or len(made.accepted) >= len(made.refused):
        return
    each = median(np.array(list(names.values())))
    if each > limits.per_name:
        return
    where = evidence.hosts.name(made.target)
    hours = (made.refused[-1].time_ns - made.refused[0].time_ns) / 3.6e12
    guessed = [one.user for one in made.accepted if one.time_ns > made.refused[0].time_ns]
    yield _of_source(
        evidence,
        made.refused,
        f"{made.source} tried {len(names)} names at {where} ({made.protocol}): {len(made.refused)} refused"
        + (f", a login as {guessed[0]} was accepted" if guessed and guessed[0] else ""),
        f"{each:.0f} tries a name within {hours:.1f} h ({listed(sorted(names), 4)}): one password for many accounts locks none.",
        "A machine that many people share (a terminal server, an address translation) is refused for many names too, and "
        f"accepted more often: here {len(made.accepted)} were accepted.",
        {"names": margin(len(names), limits.accounts, least=0.6)},
        {
            "names": measured(limits, "accounts", len(names)),
            "tries_a_name": measured(limits, "per_name", each),
            "accepted": Number(len(made.accepted), "logins"),
        },
        (made.source, f"accounts {made.protocol} {made.source}>{made.target}", (made.target,), bool(guessed)),
    )


def _of_source(
    evidence: Evidence,
    tries: Sequence[Try],
    title: str,
    explanation: str,
    benign: str,
    terms: Mapping[str, float],
    numbers: Mapping[str, Number],
    who: tuple[str, str, tuple[str, ...], bool],
) -> Finding:
    source, subject, targets, inside = who
    return of_facts(
        evidence,
        tries,
        Words(
            detector=NAME,
            title=title,
            explanation=explanation,
            benign=benign,
            advice="Block the source, look for accepted logins of it, change the passwords concerned.",
            impact=Severity.HIGH if inside else Severity.MEDIUM,
            evidence=terms,
            numbers=numbers,
            subject=subject,
            attack=(SPRAYING,),
            accountable=source,
            hosts=(source, *targets[:20]),
        ),
    )


def _forms(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One login form that many hosts send for the same name: a person has one address at a time."""
    posted = {row.number: row for row in evidence.facts.http if row.method == "POST"}
    tried: defaultdict[tuple[str, str], defaultdict[str, dict[str, Try]]] = defaultdict(lambda: defaultdict(dict))
    for login in evidence.facts.login:
        if login.protocol == "http" and login.user and login.number in posted:
            path = posted[login.number].uri.partition("?")[0]
            one = Try(login.number, login.time_ns, login.flow, login.user)
            tried[evidence.target_of(login.flow), path][login.user].setdefault(evidence.source_of(login.flow), one)
    for (target, path), names in tried.items():
        shared = {name: mine for name, mine in names.items() if len(mine) >= limits.sources}
        if not shared:
            continue
        rows = [one for mine in shared.values() for one in mine.values()]
        sources = sorted({source for mine in shared.values() for source in mine})
        most = max(map(len, shared.values()))
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{len(sources)} hosts sent the login form {path[:60]} of {evidence.hosts.name(target)} for the same "
                f"names: {listed(sorted(shared), 3)}",
                explanation=f"{most} addresses tried one name. The page that comes back says whether a password was right; the "
                "protocol does not.",
                benign=f"A name belongs to a person, who has one or two addresses at a time; here one was tried from {most}.",
                advice="Look at the application's log; lock the account or slow the form down, whoever tries.",
                impact=Severity.MEDIUM,
                evidence={"sources of one name": margin(most, limits.sources, least=0.6)},
                numbers={
                    "sources_of_one_name": measured(limits, "sources", most),
                    "names": Number(len(shared), "names"),
                },
                subject=f"form {target}{path}",
                attack=(GUESSING,),
                hosts=(target, *sources[:20]),
            ),
        )


def _sessions(evidence: Evidence, told: set[int], limits: Thresholds) -> Iterator[Finding]:
    """Short sessions alike in size where logins are encrypted: of many sources at one service, of one at many hosts."""
    links, rows = evidence.links, hidden_logins(evidence, limits.least_bytes, limits.short_bytes)
    rows = rows[links.target_port[rows] != MAIL]
    if told:
        rows = rows[~np.isin(links.row[rows], sorted(told))]
    for chosen in large_groups(rows, limits.sources, links.target, links.target_port):
        yield from _judge(evidence, _thin(chosen, links.source, limits.each), (links.source, limits), "sources")
    for chosen in large_groups(rows, limits.services, links.source, links.target_port):
        yield from _judge(evidence, _thin(chosen, links.target, limits.each), (links.target, limits), "services")


def _thin(chosen: Array, others: Array, each: int) -> Array:
    """Those of a group whose other end occurs less than `each` times in it."""
    ends = others[chosen]
    values, counts = np.unique(ends, return_counts=True)
    return chosen[counts[np.searchsorted(values, ends)] < each]


def _judge(evidence: Evidence, chosen: Array, sides: tuple[Array, Thresholds], name: str) -> Iterator[Finding]:
    links, (others, limits) = evidence.links, sides
    if not len(chosen):
        return
    chosen = chosen[np.argsort(links.first_ns[chosen], kind="stable")]
    start, end, count = busiest(links.first_ns[chosen], limits.window_s)
    window = chosen[start:end]
    ends = len(different(others[window]))
    size, deviation, length = alike(evidence, window)
    if ends < getattr(limits, name) or deviation > limits.alike or length > limits.session_s:
        return
    port = int(links.target_port[chosen[0]])
    outside = float(np.mean(~evidence.hosts.inside[links.source[window]])) > 0.5
    if not outside and port not in REMOTE:
        return  # inside, programs hold connections to files, mail and databases, all alike
    service = {"": "", "data": ""}.get(spoken := evidence.application(int(window[0])), f"{spoken} ")
    many = name == "sources"
    source, target = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
    who = f"{ends} hosts" if many else source
    where = evidence.hosts.name(target) if many else f"{ends} hosts"
    yield of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{who} made {len(chosen)} short equal {service}sessions to {where}, port {port}: "
            "logins guessed, a few a host",
            explanation=f"{count} sessions within {limits.window_s / 60:.0f} min, median {length:.1f} s and {size:.0f} bytes, half of them "
            f"within {100 * deviation:.0f} % of it: each looks like one refused login.",
            benign="Administration and updates log in everywhere by program, from inside, and their sessions grow with what "
            f"they do: here {'most sources are outside' if outside else 'the sources are inside'} and the sizes deviate by "
            f"{100 * deviation:.0f} %.",
            advice="Look at the log for refused logins; let the service answer known networks only, by key where it can.",
            impact=Severity.MEDIUM if outside else Severity.LOW,
            evidence={
                name: margin(ends, getattr(limits, name), least=0.45, most=0.8),
                "alike": 0.4 * (1 - deviation / max(limits.alike, 1e-9)),
            },
            numbers={
                name: measured(limits, name, ends),
                "size_deviation": measured(limits, "alike", round(deviation, 3)),
                "median_length_s": measured(limits, "session_s", round(length, 2)),
            },
            subject=f"sessions >{target}:{port}" if many else f"sessions {source}>:{port}",
            attack=(GUESSING if many else SPRAYING,),
            accountable="" if many else source,
        ),
    )
