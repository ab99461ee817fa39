"""Programs on the move: executables over HTTP, SMB or a bare connection, from places programs should not come from.

An executable is known by its own header text, not by its name. Weighed are: the server called by address instead of
name, a content type that lies (a picture, a page), a name that hides the type, a little known domain, a transfer over
SMB or over a connection without protocol, and a chain (page, exploit document, program) as exploit kits have.
What else looks like it: software downloads and updates by HTTP (known publishers, honest content type: low).
Reference: ATT&CK T1105, T1189.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from analysis import assess
from analysis.claims import Words, of_facts
from analysis.domains import suspicious_name
from analysis.evidence import Evidence
from analysis.facts import Http, Payload
from analysis.findings import Finding, Number, Severity, counted
from analysis.hosts import well_known
from analysis.named_tuples import NamedTuple
from analysis.thresholds import Limits, limit, measured

NAME = "program-transfer"
blocked = assess.without_payload
PROGRAMS = {"program-windows": "Windows", "program-linux": "Linux"}
HONEST = ("application/x-msdownload", "application/x-msdos-program", "application/x-dosexec", "application/exe")
LYING = ("image/", "text/", "audio/", "video/", "application/pdf", "application/x-shockwave-flash", "application/json")
EXPLOITABLE = (
    "application/pdf",
    "application/x-shockwave-flash",
    "application/java-archive",
    "application/x-java-archive",
)
TOOL = ("T1105", "Ingress Tool Transfer")
Documents = Mapping[tuple[str, str], Sequence[int]]
DRIVE_BY = ("T1189", "Drive-by Compromise")


class Thresholds(Limits):
    """What counts."""

    programs: int = limit(1, "programs", "tapwall: each is listed")
    chain_s: float = limit(120.0, "s from page to program", "tapwall: an exploit kit needs seconds")


class Seen(NamedTuple):
    """One program with the HTTP exchange around it, if there is one."""

    mark: Payload
    request: Http | None
    answer: Http | None


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per receiver and sender."""
    by_flow: defaultdict[int, list[Http]] = defaultdict(list)
    for row in evidence.facts.http:
        by_flow[row.flow].append(row)
    found: defaultdict[tuple[str, str], list[Seen]] = defaultdict(list)
    for mark in evidence.facts.payload:
        if mark.shape in PROGRAMS:
            key = (evidence.sender_of(mark.flow, mark.from_a), evidence.receiver_of(mark.flow, mark.from_a))
            found[key].append(_around(mark, by_flow.get(mark.flow, [])))
    documents: defaultdict[tuple[str, str], list[int]] = defaultdict(list)  # receiver, server -> times
    for row in evidence.facts.http if found else ():
        if not row.method and row.content_type.lower().startswith(EXPLOITABLE):
            documents[evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row.time_ns)
    for (sender, receiver), seen in found.items():
        finding = _finding(evidence, (sender, receiver), seen, documents, limits)
        if finding is not None and len(seen) >= limits.programs:
            yield finding


def _around(mark: Payload, rows: list[Http]) -> Seen:
    """The request before a program and the answer that brings it."""
    requests = [row for row in rows if row.method and row.number <= mark.number]
    request = requests[-1] if requests else None
    answers = [row for row in rows if not row.method and request is not None and row.number > request.number]
    return Seen(mark, request, answers[0] if answers else None)


def _finding(
    evidence: Evidence, ends: tuple[str, str], seen: list[Seen], documents: Documents, limits: Thresholds
) -> Finding | None:
    (sender, receiver), first = ends, seen[0]
    terms: dict[str, float] = {}
    for one in seen:
        terms |= _weigh(evidence, one)
    chain = _chain(evidence, receiver, first, documents, limits)
    if chain:
        terms["page, exploitable document, program"] = 0.6
    if not terms:  # over TLS that was opened, from a publisher by name
        return None
    system = PROGRAMS[first.mark.shape]
    link = evidence.link_of(first.mark.flow)
    protocol = evidence.application(link) if link >= 0 else ""
    protocol = "a bare connection" if protocol in ("", "data") else protocol
    known = first.request is not None and well_known(first.request.host.partition(":")[0])
    what = f" as {first.request.uri[:60]} of {first.request.host}" if first.request is not None else ""
    pushed = link >= 0 and evidence.source_of(first.mark.flow) == sender
    return of_facts(
        evidence,
        [one.mark for one in seen],
        Words(
            detector=NAME,
            title=f"{receiver} {'was sent' if pushed else 'fetched'} a {system} program from "
            f"{evidence.hosts.name(sender)} over {protocol}{what}",
            explanation=f"{len(seen)} program{'s' * (len(seen) != 1)} recognised by the executable's own header. "
            f"What speaks for malware: {', '.join(terms)}."
            + (f" Before it came {chain} document(s) that exploits hide in." if chain else ""),
            benign="Installers and updates are programs too; they come by name from their publisher, mostly over TLS: here "
            f"{counted(len(terms), 'signs')} against it.",
            advice="Take the file out of the capture, check its hash, and look at the receiver's connections afterwards.",
            impact=Severity.LOW if known else Severity.HIGH if chain else Severity.MEDIUM,
            evidence=terms,
            numbers={
                "programs": measured(limits, "programs", len(seen)),
                "signs": Number(len(terms), "signs"),
                "documents_before": Number(chain, "documents"),
            },
            subject=f"{sender}>{receiver}",
            attack=(TOOL, DRIVE_BY) if chain else (TOOL,),
            accountable=sender,
            side="source" if pushed else "destination",
            hosts=(receiver, sender),
        ),
    )


def _weigh(evidence: Evidence, one: Seen) -> dict[str, float]:
    clear = one.mark.flow not in evidence.opened
    terms = {"program in clear": 0.3} if clear else {}
    if one.request is None:
        link = evidence.link_of(one.mark.flow)
        protocol = evidence.application(link) if link >= 0 else ""
        if protocol in ("", "data"):
            terms["no protocol around it"] = 0.6
        elif protocol in ("nbss", "smb", "smb2"):
            terms["over file sharing"] = 0.4
        return terms
    host = one.request.host.partition(":")[0]
    kind = one.answer.content_type.lower() if one.answer is not None else ""
    path = one.request.uri.partition("?")[0].lower()
    if _is_address(host):
        terms["server called by address"] = 0.45
    elif suspicious_name(host):
        terms["a name as malware uses"] = 0.35
    if kind.startswith(LYING):
        terms["content type lies"] = 0.6
    if not path.endswith((".exe", ".msi", ".dll", ".cab", ".zip")):
        terms["name hides a program"] = 0.35
    elif clear and path.endswith(".exe") and "/" in path[1:]:
        terms["program by HTTP without TLS"] = 0.3
    if one.request.user_agent.count(" ") == 0 and "/" not in one.request.user_agent:
        terms["client does not name itself"] = 0.4
    return terms


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _chain(evidence: Evidence, receiver: str, one: Seen, documents: Documents, limits: Thresholds) -> int:
    """Exploitable documents that the receiver got from the same server shortly before."""
    if one.request is None:
        return 0
    earliest = one.mark.time_ns - int(limits.chain_s * 1e9)
    times = documents.get((receiver, evidence.target_of(one.mark.flow)), ())
    return sum(earliest <= time_ns <= one.mark.time_ns for time_ns in times)
