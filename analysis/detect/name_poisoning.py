"""Name service poisoning: one host answers LLMNR, NetBIOS or mDNS questions for names that are not its own.

Who answers for a mistyped server's name gets the login that follows (Responder). What else looks like it: a host that
answers for its own name in several forms, a print server with aliases, mDNS proxies (Bonjour sleep proxy: answers for sleeping hosts, then
with their address). Reference: RFC 4795; ATT&CK T1557.001.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.evidence import Evidence
from analysis.facts import Dns
from analysis.findings import Finding, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "name-poisoning"
blocked = assess.without_fact("dns", "name service messages")
PROTOCOLS = ("llmnr", "nbns", "mdns")
ADDRESSES = (1, 28)  # A, AAAA
POISON = (("T1557.001", "Adversary-in-the-Middle: LLMNR/NBT-NS Poisoning and SMB Relay"),)


class Thresholds(Limits):
    """When answering is poisoning."""

    names: int = limit(3, "different names answered with one address", "tapwall's default")
    wpad: int = limit(1, "answers for wpad or isatap", "tapwall: these names are asked for and owned by nobody")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per answering host."""
    answers: defaultdict[tuple[str, str], dict[str, Dns]] = defaultdict(dict)  # sender, address -> name -> answer
    rows: defaultdict[tuple[str, str], list[Dns]] = defaultdict(list)
    asked = {_plain(row.name) for row in evidence.facts.dns if row.protocol == "mdns" and not row.response}
    for row in evidence.facts.dns:
        if row.protocol in PROTOCOLS and row.response and row.rcode == 0 and row.answers:
            sender = evidence.sender_of(row.flow, row.from_a)
            for owner, kind, _, text in row.answers:
                if row.protocol == "nbns" and text != sender:
                    continue  # a WINS server confirms what its clients register
                name = _plain(owner if row.protocol == "mdns" else row.name)
                if name and (row.protocol != "mdns" or (kind in ADDRESSES and name in asked)):
                    answers[sender, text].setdefault(name, row)
                    rows[sender, text].append(row)
    told: set[str] = set()
    for (sender, address), found in sorted(answers.items(), key=lambda item: -len(item[1])):
        names = sorted(found)
        bait = [name for name in names if name in ("wpad", "isatap")]
        if sender not in told and (len(names) >= limits.names or len(bait) >= limits.wpad):
            told.add(sender)
            yield _finding(evidence, (sender, address), names, bait, rows[sender, address], limits)


def _plain(name: str) -> str:
    """A NetBIOS or LLMNR name without suffix, domain and case."""
    return name.partition("<")[0].partition(".")[0].strip().lower()


def _finding(
    evidence: Evidence, ends: tuple[str, str], names: list[str], bait: list[str], rows: list[Dns], limits: Thresholds
) -> Finding:
    sender, address = ends
    victims = sorted({evidence.receiver_of(row.flow, row.from_a) for row in rows})
    aliases = all(row.protocol == "mdns" for row in rows)  # a proxy of services publishes several names of its own
    terms = {"names": margin(len(names), limits.names, least=0.6)} if len(names) >= limits.names else {}
    if bait:
        terms["answers for wpad or isatap"] = 0.55
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{sender} answers for {len(names)} names that others ask for: {listed(names, 4)}",
            explanation=f"{len(rows)} answers to {len(victims)} hosts give {'its own address' if address == sender else address} for {len(names)} different names. Who "
            "believes it sends the login there.",
            benign=f"A host answers for its own name, in one or two forms; here for {len(names)} names.",
            advice="Switch LLMNR and NetBIOS names off on the clients; find the program on this host; reset the passwords of who logged in to it.",
            impact=Severity.HIGH if len(names) >= limits.names and not aliases else Severity.MEDIUM,
            evidence=terms,
            numbers={
                "names": measured(limits, "names", len(names)),
                "bait_names": measured(limits, "wpad", len(bait)),
            },
            subject=sender,
            attack=POISON,
            accountable=sender,
            hosts=(sender, *victims[:20]),
        ),
    )
