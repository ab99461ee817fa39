"""Guessing of logins: many refused attempts, or many short equal sessions where the content is encrypted.

In clear text refused logins are counted, on HTTP the answers 401 and 403 and repeated login forms, in SIP refused
registrations, in Kerberos errors about client and password, in SMB failed session setups, on tapwall's own chat refused
AUTH frames, in SNMP different communities without answer. In SSH, RDP, databases the sessions themselves are compared:
alike in size, short, many.
What else looks like it: a mail client with an old password (one user, even pace), monitoring, backup and git over SSH
(sessions differ in size), connection pools. Slow guesses over hours look even more like them: they are low for one name,
from inside, or by a timer. Many names from one address are spraying.
Reference: Zeek detect-bruteforcing (SSH 30 per 30 min, FTP 20 per 15 min).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess
from analysis.attempts import (
    GUESSING,
    REMOTE,
    SPOKEN,
    SPRAYING,
    Attempts,
    Try,
    alike,
    attempts,
    hidden_logins,
)
from analysis.claims import Words, listed, of_facts, of_links
from analysis.columns import Array, median
from analysis.evidence import REFUSED_LATE, Evidence, busiest, large_groups
from analysis.facts import Http, Login
from analysis.findings import Finding, Number, Severity
from analysis.rhythm import steps_of
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "brute-force"
blocked = assess.without_transport


class Thresholds(Limits):
    """When trying is guessing."""

    refused: int = limit(10, "refused logins", "tapwall: between Slips (9) and Zeek FTP (20)")
    window_s: float = limit(300.0, "s", "tapwall: 5 min")
    slow: int = limit(30, "refused logins or sessions in slow_window_s", "Zeek: 30 for SSH, within 30 min")
    slow_window_s: float = limit(7200.0, "s", "tapwall: one every four minutes, which locks and counters forget")
    even: float = limit(0.1, "MAD / median of the steps, at most", "tapwall: what a timer makes; monitoring has one")
    sessions: int = limit(8, "sessions", "tapwall's default; Slips SSH 9")
    session_s: float = limit(
        8.0, "s median length, at most", "tapwall; detection guides say 5; servers delay refusals by 2 to 3 s"
    )
    alike: float = limit(0.25, "median deviation of bytes / median", "tapwall: within a quarter")
    least_bytes: float = limit(300.0, "bytes sent a session", "tapwall: less holds no encrypted login")
    short_bytes: float = limit(
        12.0, "bytes sent a session", "tapwall: a name and a password, or VNC's 16 bytes of answer"
    )
    http_refused: int = limit(20, "answers 401 or 403", "tapwall's default")
    equal_sessions: int = limit(4, "sessions ended by reset", "tapwall: repeated attempts that all break off alike")
    equal: float = limit(0.02, "median deviation of bytes / median", "tapwall: a person's sessions never match so well")
    answered: float = limit(
        0.2, "answers per SNMP question, at most", "tapwall: managers are answered, one guess in five is luck"
    )
    users: int = limit(5, "names for spraying", "tapwall: one person rarely has five")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per source, service and way of seeing it."""
    seen: set[tuple[str, str]] = set()
    for one in _refusals(evidence):
        finding = _guessing(evidence, one, limits, limits.http_refused if one.protocol == "http" else limits.refused)
        if finding is not None:
            seen.add((one.source, one.target))
            yield finding
    yield from _communities(evidence, limits)
    yield from _forms(evidence, limits, seen)
    yield from _sessions(evidence, limits, seen)


def _refusals(evidence: Evidence) -> Iterator[Attempts]:
    """Attempts that were refused; on HTTP every answer 401 and 403 counts, for whatever kind of login it was meant."""
    pages: defaultdict[tuple[str, str], list[Try]] = defaultdict(list)
    for page in _refused_pages(evidence):
        ends = evidence.source_of(page.flow), evidence.target_of(page.flow)
        pages[ends].append(Try(page.number, page.time_ns, page.flow, ""))
    yield from (one for one in attempts(evidence) if one.protocol != "http")
    for (source, target), tries in pages.items():
        yield Attempts(source, target, "http", tries, [])


def _refused_pages(evidence: Evidence) -> Iterator[Http]:
    """Answers 401 and 403 that stayed the last word on their connection: a challenge before a success is usual."""
    waiting: dict[int, list[Http]] = {}
    for row in evidence.facts.http:
        if row.status in (401, 403):
            waiting.setdefault(row.flow, []).append(row)
        elif 200 <= row.status < 400:
            waiting.pop(row.flow, None)
    for rows in waiting.values():
        yield from rows


def _forms(evidence: Evidence, limits: Thresholds, seen: set[tuple[str, str]]) -> Iterator[Finding]:
    """One login form posted again and again; whether it was refused stands in the page, which only the site can read."""
    posted = {row.number: row for row in evidence.facts.http if row.method == "POST"}
    tried: defaultdict[tuple[str, str, str], list[Login]] = defaultdict(list)
    for login in evidence.facts.login:
        if login.protocol == "http" and login.number in posted:
            path = posted[login.number].uri.partition("?")[0]
            tried[evidence.source_of(login.flow), evidence.target_of(login.flow), path].append(login)
    for row in posted.values():
        if (
            row.uri.endswith("/xmlrpc.php") and b"<methodCall>" in row.body and b"<param" in row.body
        ):  # WordPress: name, password
            call = Login(row.number, row.time_ns, row.flow, "http", "", "***", True, -1)
            tried[evidence.source_of(row.flow), evidence.target_of(row.flow), row.uri].append(call)
    for (source, target, path), rows in tried.items():
        rows.sort(key=lambda row: row.time_ns)
        start, end, count = busiest(np.array([row.time_ns for row in rows]), limits.window_s)
        if count < limits.http_refused or (source, target) in seen:
            continue
        users = sorted({row.user for row in rows if row.user})
        pace = median(np.diff([row.time_ns / 1e9 for row in rows[start:end]]))
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{source} sent the login form {path[:60]} of {evidence.hosts.name(target)} {len(rows)} times",
                explanation=f"{count} times within {limits.window_s:.0f} s, for {len(users)} names ({listed(users, 4)}). The page that comes back "
                "says whether it was right; the protocol does not.",
                benign=f"A person sends such a form once or twice; monitoring does at an even pace: here every {pace:.1f} s.",
                advice="Look at the application's log; lock the account or slow the form down after some failures.",
                impact=Severity.MEDIUM,
                evidence={"forms": margin(count, limits.http_refused, least=0.6)},
                numbers={
                    "forms_in_window": measured(limits, "http_refused", count),
                    "names": measured(limits, "users", len(users)),
                },
                subject=f"form {source}>{target}{path}",
                attack=(SPRAYING if len(users) >= limits.users else GUESSING,),
                accountable=source,
                hosts=(source, target),
            ),
        )


def _window(times_ns: Array, least: int, limits: Thresholds, slowly: bool = True) -> tuple[int, int, int, bool] | None:
    """(start, end, count, slow) of the busiest window that holds enough: `least` soon, or `slow` over hours; else None."""
    found = *busiest(times_ns, limits.window_s), False
    if found[2] < least and slowly:
        found = *busiest(times_ns, limits.slow_window_s), True
    return found if found[2] >= (limits.slow if found[3] else least) else None


def _guessing(evidence: Evidence, made: Attempts, limits: Thresholds, least: int) -> Finding | None:
    source, target, protocol, tries, accepted = made
    if len(tries) < least:
        return None
    tries = sorted(tries, key=lambda one: one.time_ns)
    guessed = {one.user for one in tries}
    if protocol == "kerberos":  # a host gets tickets for whoever works on it
        accepted = [one for one in accepted if one.user in guessed]
    found = _window(np.array([one.time_ns for one in tries]), least, limits, slowly=protocol != "http")
    if found is None:
        return None
    start, end, count, slow = found
    users = sorted({one.user for one in tries if one.user})
    spraying = len(users) >= limits.users and len(users) >= len(tries) / 3
    later = [one for one in accepted if one.time_ns > tries[start].time_ns]
    pace = np.diff([one.time_ns / 1e9 for one in tries[start:end]])
    usual = slow and len(users) < 2  # a program that has an old password, as far as the capture shows
    what = "names" if spraying else "passwords"
    port = _port(evidence, tries[0].flow)
    return of_facts(
        evidence,
        tries,
        Words(
            detector=NAME,
            title=f"{source} guessed {what} at {evidence.hosts.name(target)} ({protocol}, port {port}): "
            f"{len(tries)} refused" + (f", then a login as {later[0].user or 'someone'} was accepted" if later else ""),
            explanation=f"{count} logins were refused within {limits.slow_window_s if slow else limits.window_s:.0f} s"
            + (f", for {len(users)} names ({listed(users, 4)})" if users else "")
            + (". An accepted login followed: the guessing may have succeeded." if later else "."),
            benign="A program with an old password repeats one name at an even pace; here there are "
            f"{max(len(users), 1)} names and a median pace of {median(pace) if len(pace) else 0:.1f} s.",
            advice="Block the source at this service, look for an accepted login, change the passwords concerned.",
            impact=Severity.LOW if usual else Severity.HIGH if later else Severity.MEDIUM,
            evidence={"refused logins": margin(count, limits.slow if slow else least, least=0.6)}
            | ({"accepted after refusals": 0.5} if later else {}),
            numbers={
                "refused_in_window": measured(
                    limits, "slow" if slow else "http_refused" if protocol == "http" else "refused", count
                ),
                "refused": Number(len(tries), "logins"),
                "names": measured(limits, "users", len(users)),
                "accepted_later": Number(len(later), "logins"),
            },
            subject=f"{protocol} {source}>{target}",
            attack=(SPRAYING if spraying else GUESSING,),
            accountable=source,
            hosts=(source, target),
        ),
    )


def _communities(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """SNMP: many communities or users at one agent, which answers none that is wrong (RFC 3584 5.2.1)."""
    tried: defaultdict[tuple[str, str], dict[str, Login]] = defaultdict(dict)
    for login in evidence.facts.login:
        if login.protocol == "snmp":
            ends = evidence.source_of(login.flow), evidence.target_of(login.flow)
            tried[ends].setdefault(login.user or login.secret_masked, login)
    for (source, target), found in tried.items():
        rows = sorted(found.values(), key=lambda row: row.time_ns)
        _, _, count = busiest(np.array([row.time_ns for row in rows]), limits.window_s)
        links = sorted({evidence.link_of(row.flow) for row in rows} - {-1})
        sent, got = int(evidence.links.sent[links].sum()), int(evidence.links.got[links].sum())
        if count < limits.refused or got > limits.answered * sent:
            continue
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{source} guessed SNMP communities or users of {evidence.hosts.name(target)}: {len(rows)} different ones"
                + (f", answers: {got}" if got else ", never answered"),
                explanation=f"{count} within {limits.window_s:.0f} s. An agent is silent about a wrong one"
                + (", so one of them was right: it can be read or changed with it." if got else "."),
                benign="A manager that asks a switch for each of its networks uses a community for each, and gets answers: here "
                f"{got} answers to {sent} questions.",
                advice="Block the source at the agent; change the communities, or use SNMPv3 with privacy.",
                impact=Severity.HIGH if got else Severity.MEDIUM,
                evidence={"communities": margin(count, limits.refused, least=0.6)},
                numbers={
                    "communities_in_window": measured(limits, "refused", count),
                    "answered": measured(limits, "answered", round(got / sent, 3) if sent else 0.0),
                },
                subject=f"snmp {source}>{target}",
                attack=(GUESSING,),
                accountable=source,
                hosts=(source, target),
            ),
        )


def _port(evidence: Evidence, flow: int) -> int:
    link = evidence.link_of(flow)
    return int(evidence.links.target_port[link]) if link >= 0 else 0


def _sessions(evidence: Evidence, limits: Thresholds, seen: set[tuple[str, str]]) -> Iterator[Finding]:
    """Short sessions alike in size, at services whose logins are encrypted."""
    links, rows = evidence.links, hidden_logins(evidence, limits.least_bytes, limits.short_bytes)
    for chosen in large_groups(rows, limits.equal_sessions, links.source, links.target, links.target_port):
        finding = _alike(evidence, chosen, limits) or _broken_off(evidence, chosen, limits)
        if finding is not None and (finding.hosts[0], finding.hosts[1]) not in seen:
            yield finding


def _alike(evidence: Evidence, chosen: Array, limits: Thresholds) -> Finding | None:
    links = evidence.links
    ordered = chosen[np.argsort(links.first_ns[chosen], kind="stable")]
    found = _window(links.first_ns[ordered], limits.sessions, limits)
    if found is None:
        return None
    start, end, count, slow = found
    window = ordered[start:end]
    middle, deviation, length = alike(evidence, window)
    if deviation > limits.alike or length > limits.session_s:
        return None
    jitter = steps_of(links.first_ns[window] / 1e9).jitter
    usual = slow and (jitter <= limits.even or bool(evidence.hosts.inside[links.source[chosen[0]]]))
    source, target = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
    port = int(links.target_port[chosen[0]])
    larger = int(links.sent_payload[window[-1]] + links.got_payload[window[-1]]) > 2 * middle
    service = evidence.application(int(window[0])) or f"port {port}"
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{source} made {len(chosen)} short equal {service} sessions to {evidence.hosts.name(target)} "
            f"port {port}, as guessing does" + ("; the last one is larger" if larger else ""),
            explanation=f"{count} sessions within {limits.slow_window_s if slow else limits.window_s:.0f} s, median {length:.1f} s and {middle:.0f} bytes, "
            f"half of them within {100 * deviation:.0f} % of it: each looks like one refused login.",
            benign="Scripts over SSH, monitoring and connection pools open many sessions too; they differ in size or "
            f"stay open, or keep time: here the sizes deviate by {100 * deviation:.0f} %, the steps by {100 * jitter:.0f} %.",
            advice="Look at the server's log for refused logins of this source; block it there if they are.",
            impact=Severity.LOW if usual else Severity.HIGH if larger else Severity.MEDIUM,
            evidence={
                "sessions": margin(count, limits.slow if slow else limits.sessions, least=0.45, most=0.8),
                "alike": 0.4 * (1 - deviation / max(limits.alike, 1e-9)),
            },
            numbers={
                "sessions_in_window": measured(limits, "slow" if slow else "sessions", count),
                "size_deviation": measured(limits, "alike", round(deviation, 3)),
                "median_length_s": measured(limits, "session_s", round(length, 2)),
            },
            subject=f"sessions {source}>{target}:{port}",
            attack=(GUESSING,),
            accountable=source,
            hosts=(source, target),
        ),
    )


def _broken_off(evidence: Evidence, chosen: Array, limits: Thresholds) -> Finding | None:
    """A few sessions that are equal to the byte, nearly, and all end by reset: attempts of one program."""
    links = evidence.links
    size = (links.sent_payload[chosen] + links.got_payload[chosen]).astype(float)
    middle = median(size)
    deviation = float(np.max(np.abs(size - middle))) / middle if middle else 1.0
    resets = float(np.mean(np.isin(links.state[chosen], REFUSED_LATE)))
    remote = int(links.target_port[chosen[0]]) in REMOTE or bool(np.isin(links.application[chosen], SPOKEN).all())
    if deviation > limits.equal or resets < 1.0 or not remote:
        return None
    source, target = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
    port = int(links.target_port[chosen[0]])
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{source} tried {evidence.hosts.name(target)} port {port} {len(chosen)} times in exactly the same way; "
            "each session was reset",
            explanation=f"{len(chosen)} sessions of {middle:.0f} bytes, none more than {100 * deviation:.1f} % off, all ended by "
            "reset: a program that logs in or exploits the service, and fails.",
            benign="A person's remote sessions differ in size and are closed; here they deviate by at most "
            f"{100 * deviation:.1f} %.",
            advice="Look at the server's log and patch level; block the source at this service.",
            impact=Severity.MEDIUM,
            evidence={
                "equal sessions": margin(len(chosen), limits.equal_sessions, least=0.5),
                "all reset": 0.3,
            },
            numbers={
                "sessions": measured(limits, "equal_sessions", len(chosen)),
                "deviation": measured(limits, "equal", round(deviation, 4)),
            },
            subject=f"equal {source}>{target}:{port}",
            attack=(GUESSING, ("T1210", "Exploitation of Remote Services")),
            accountable=source,
            hosts=(source, target),
        ),
    )
