"""Attacks on the link itself: what rules switches, access points and standby routers, sent by somebody who does not.

Deauthentication floods throw stations off a Wi-Fi, beacon floods hide networks among false ones; a better spanning tree
root draws the traffic to itself, floods of topology changes or of CDP, DTP and VTP frames wear switches out; a coup in
HSRP takes the gateway over; thousands of new MACs turn a switch into a hub (macof). What else looks like it: stations
that roam (a few frames), switches that start (roots change once and stay), routers that fail over (one resigns or is
silent), a large network seen from its trunk (many MACs, each with traffic).
Reference: IEEE 802.1Q 14, IEEE 802.11 9.3.3, RFC 2281; Yersinia, aireplay-ng, macof as published; ATT&CK T1557, T1498.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, frame_filter, listed, of_facts, of_rows
from analysis.columns import NO_TIME, Array, different
from analysis.evidence import Evidence, busiest
from analysis.facts import LinkControl
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "link-attack"
DENIAL = (("T1498", "Network Denial of Service"),)
MIDDLE = (("T1557", "Adversary-in-the-Middle"),)
ENDS = ("deauthentication", "disassociation")
DISCOVERY = ("cdp", "dtp", "vtp")


class Thresholds(Limits):
    """When ruling is an attack."""

    window_s: float = limit(10.0, "s", "tapwall")
    ends: int = limit(
        30, "deauthentications of one network in the window", "tapwall: roaming needs one or two a station"
    )
    networks: int = limit(
        200, "networks that announce themselves in the window", "tapwall: a dense town shows below 100"
    )
    changes: int = limit(30, "topology changes in the window", "IEEE 802.1D: one for two seconds while a port moves")
    roots: int = limit(3, "changes between root bridges", "tapwall: a start brings one, a fight goes on")
    senders: int = limit(30, "senders of CDP, DTP or VTP in the window", "tapwall: a link has one or two neighbours")
    macs: int = limit(500, "new source MACs with one or two frames in the window", "macof sends thousands a second")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs the link layer."""
    kinds = evidence.flows.kind
    if evidence.facts.link_control or bool(np.any(kinds == columns.ETH)):
        return None
    return "no link layer in this capture (raw IP, tunnel or cooked)", "a capture of Ethernet or Wi-Fi frames"


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per kind and network."""
    rows: defaultdict[str, list[LinkControl]] = defaultdict(list)
    for row in evidence.facts.link_control:
        rows[row.protocol].append(row)
    yield from _wireless(evidence, rows["wlan"], limits)
    yield from _spanning_tree(evidence, rows["stp"], limits)
    for protocol in DISCOVERY:
        yield from _senders(evidence, protocol, rows[protocol], limits)
    yield from _standby(evidence, rows["hsrp"])
    yield from _addresses(evidence, limits)


def _busiest(rows: Sequence[LinkControl], window_s: float) -> list[LinkControl]:
    ordered = sorted(rows, key=lambda row: row.time_ns)
    start, end, _ = busiest(np.array([row.time_ns for row in ordered]), window_s)
    return ordered[start:end]


def _wireless(evidence: Evidence, rows: list[LinkControl], limits: Thresholds) -> Iterator[Finding]:
    ended: defaultdict[str, list[LinkControl]] = defaultdict(list)
    for row in rows:
        if row.word in ENDS:
            ended[row.about].append(row)
    for network, mine in ended.items():
        window = _busiest(mine, limits.window_s)
        if len(window) >= limits.ends:
            yield _claim(
                evidence,
                mine,
                f"Stations are thrown off the Wi-Fi {network}: {len(mine)} deauthentications, {len(window)} within "
                f"{limits.window_s:.0f} s",
                "Management frames without protection (802.11w) are believed whoever sends them; afterwards the stations "
                "log in again, which shows a handshake to who listens.",
                f"An access point that restarts sends one to each station: here {len(window)} within {limits.window_s:.0f} s.",
                {"frames": margin(len(window), limits.ends, least=0.6)},
                {"ends_in_window": measured(limits, "ends", len(window))},
                (f"deauthentication {network}", DENIAL, Severity.MEDIUM),
                "wlan.fc.type_subtype in {0x000a, 0x000c} && wlan.bssid == " + network,
            )
    beacons = [row for row in rows if row.word == "beacon"]
    if beacons:
        window = _busiest(beacons, limits.window_s)
        networks = len({row.about for row in window})
        if networks >= limits.networks:
            yield _claim(
                evidence,
                beacons,
                f"Flood of false Wi-Fi networks: {networks} announce themselves within {limits.window_s:.0f} s",
                "Stations and their lists overflow with networks that do not exist.",
                f"A dense town shows some dozens; here {networks}.",
                {"networks": margin(networks, limits.networks, least=0.6)},
                {"networks": measured(limits, "networks", networks)},
                ("beacons", DENIAL, Severity.MEDIUM),
                "wlan.fc.type_subtype == 0x0008",
            )


def _spanning_tree(evidence: Evidence, rows: list[LinkControl], limits: Thresholds) -> Iterator[Finding]:
    changes = [row for row in rows if row.word == "change" or row.about == "change"]
    if changes:
        window = _busiest(changes, limits.window_s)
        if len(window) >= limits.changes:
            yield _claim(
                evidence,
                changes,
                f"Flood of spanning tree topology changes: {len(window)} within {limits.window_s:.0f} s",
                "Each makes switches forget where hosts are, so that they send everything everywhere.",
                f"A port that goes up and down causes one each time: here {len(window)}.",
                {"changes": margin(len(window), limits.changes, least=0.6)},
                {"changes_in_window": measured(limits, "changes", len(window))},
                ("stp changes", DENIAL, Severity.MEDIUM),
                "stp.type == 0x80 || stp.flags.tc == 1",
            )
    claims = [row for row in rows if row.word != "change"]
    for tree in sorted({_tree(row) for row in claims}):
        if tree or len({_tree(row) for row in claims}) == 1:
            yield from _root(evidence, tree, [row for row in claims if _tree(row) in (tree, 0)], limits)


def _tree(row: LinkControl) -> int:
    """The VLAN of a spanning tree: the low 12 bits of the root's priority (IEEE 802.1D-2004 9.2.5), 0 where it names none."""
    return int(row.word[:5]) & 0xFFF


def _bridge(row: LinkControl) -> str:
    """The root without its VLAN: one bridge is the root of many trees."""
    return f"{int(row.word[:5]) & 0xF000:05d} {row.word[6:]}"


def _root(evidence: Evidence, tree: int, claims: list[LinkControl], limits: Thresholds) -> Iterator[Finding]:
    """Who is the root of one tree?"""
    flips = sum(_bridge(a) != _bridge(b) for a, b in pairwise(claims))
    roots = list(dict.fromkeys(_bridge(row) for row in claims))
    if len(roots) < 2 or (flips < limits.roots and len(roots) < limits.senders):
        return
    best = min(roots)
    intruders = sorted({row.source for row in claims if _bridge(row) == best})
    yield _claim(
        evidence,
        claims,
        f"The spanning tree's root is contested: {len(roots)} roots, {flips} changes; {listed(intruders, 2)} offers the best",
        f"The best offer is {best} (priority, MAC). Who becomes root sees the traffic between the switches.",
        f"Switches that start agree after one change; here the root changed {flips} times.",
        {"changes of root": margin(flips, limits.roots, least=0.5), "roots": 0.1 * min(len(roots), 4)},
        {"changes_of_root": measured(limits, "roots", flips), "roots": Number(len(roots), "bridges")},
        ("stp root", MIDDLE, Severity.MEDIUM),
        f"stp.type != 0x80 && stp.root.ext in {{0, {tree}}}" if tree else "stp && stp.type != 0x80",
    )


def _senders(evidence: Evidence, protocol: str, rows: list[LinkControl], limits: Thresholds) -> Iterator[Finding]:
    if not rows:
        return
    window = _busiest(rows, limits.window_s)
    senders = len({row.source for row in window})
    if senders >= limits.senders:
        yield _claim(
            evidence,
            rows,
            f"Flood of {protocol.upper()} frames from {senders} senders within {limits.window_s:.0f} s",
            "Switches keep a row for each neighbour and run out of memory or time.",
            f"A link has one or two such neighbours: here {senders}.",
            {"senders": margin(senders, limits.senders, least=0.6)},
            {"senders_in_window": measured(limits, "senders", senders)},
            (f"{protocol} flood", DENIAL, Severity.MEDIUM),
            protocol,
        )


def _standby(evidence: Evidence, rows: list[LinkControl]) -> Iterator[Finding]:
    """Two routers that both say they are active, in turn; the one that came later took over without the other's leave."""
    by_address: defaultdict[str, list[LinkControl]] = defaultdict(list)
    for row in rows:
        by_address[row.about].append(row)
    for address, mine in by_address.items():
        active = [row for row in mine if row.word == "hello active"]
        owners = list(dict.fromkeys(row.source for row in active))
        flips = sum(a.source != b.source for a, b in pairwise(active))
        coups = [row for row in mine if row.word.startswith("coup")]
        resigned = any(row.word.startswith("resign") for row in mine)
        if len(owners) < 2 or resigned or (flips < 3 and not coups):
            continue
        yield _claim(
            evidence,
            mine,
            f"{owners[-1]} took the standby address {address} over from {owners[0]} (HSRP), which did not resign",
            f"{len(coups)} coups; {flips} changes of the active router. All traffic that leaves this network passes who "
            "is active.",
            f"A failover has one change and a silent or resigning loser; here {flips} changes.",
            {"coup": 0.4 * bool(coups), "both are active": 0.5 if flips >= 2 else 0.3},
            {"changes": Number(flips, "changes"), "coups": Number(len(coups), "messages")},
            (f"hsrp {address}", MIDDLE, Severity.HIGH),
            f"hsrp.virt_ip == {address}",
        )


def _addresses(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Ethernet conversations of one or two frames from MACs that appear once."""
    flows = evidence.flows
    rows = np.flatnonzero((flows.kind == columns.ETH) & (flows.first_ns != NO_TIME))
    if len(rows) < limits.macs:
        return
    frames: Counter[int] = Counter()
    for ids, packets in ((flows.a_id[rows], flows.packets_ab[rows]), (flows.b_id[rows], flows.packets_ba[rows])):
        sums = np.bincount(ids, weights=packets)
        for one in np.flatnonzero(sums).tolist():
            frames[one] += int(sums[one])
    few = np.array([one for one, count in frames.items() if count <= 2], np.int64)
    once = rows[np.isin(flows.a_id[rows], few) & (flows.packets_ab[rows] <= 2) & (flows.packets_ba[rows] == 0)]
    if len(once) < limits.macs:
        return
    order = np.argsort(flows.first_ns[once], kind="stable")
    start, end, _ = busiest(flows.first_ns[once][order], limits.window_s)
    count = len(different(flows.a_id[once[order[start:end]]]))
    if count < limits.macs:
        return
    words = _words(
        f"MAC flooding: {count} new source MACs with one or two frames each within {limits.window_s:.0f} s",
        "The switch's table of addresses overflows; it then sends every frame to every port, and whoever listens reads all.",
        f"A large network seen from its trunk has many MACs too, each with traffic of its own: here {len(once)} have "
        "one or two frames.",
        {"new MACs": margin(count, limits.macs, least=0.65)},
        {"new_macs_in_window": measured(limits, "macs", count)},
        ("mac flood", (*DENIAL, ("T1040", "Network Sniffing")), Severity.MEDIUM),
        _frames(flows.frames[once][:, 0], flows.last_number[once]),
    )
    yield of_rows(evidence, once, words)


def _frames(first: Array, last: Array) -> str:
    """A filter for the frames of conversations of one or two frames, whose numbers are these."""
    numbers = different(np.concatenate((first, last)))
    return frame_filter(numbers.tolist()) or f"frame.number >= {numbers[0]} && frame.number <= {numbers[-1]}"


def _words(
    title: str,
    explanation: str,
    benign: str,
    terms: dict[str, float],
    numbers: dict[str, Number],
    what: tuple[str, tuple[tuple[str, str], ...], Severity],
    filter: str,
) -> Words:
    subject, attack, impact = what
    return Words(
        detector=NAME,
        title=title,
        explanation=explanation,
        benign=benign,
        advice="Find the port or the place it comes from. Switch ports of hosts need port security, BPDU guard and no "
        "trunking; Wi-Fi needs 802.11w; HSRP needs authentication.",
        impact=impact,
        evidence=terms,
        numbers=numbers,
        subject=subject,
        attack=attack,
        filter=filter,
    )


def _claim(
    evidence: Evidence,
    rows: Sequence[LinkControl],
    title: str,
    explanation: str,
    benign: str,
    terms: dict[str, float],
    numbers: dict[str, Number],
    what: tuple[str, tuple[tuple[str, str], ...], Severity],
    filter: str,
) -> Finding:
    words = _words(title, explanation, benign, terms, numbers, what, filter)
    senders = tuple(dict.fromkeys(row.source for row in rows if row.source))[:20]
    return of_facts(evidence, rows, replace(words, hosts=senders), flows=False)
