"""Floods without conversations: TCP segments of no connection, packets without ports, pings to everybody.

ACK, RST, FIN, empty or full-flag segments from many ports or addresses that nobody answers; fragments that never become
whole, GRE and other protocols without ports (hping3, Mirai's floods); echo requests and CHARGEN to broadcast addresses
(smurf, fraggle). Why it matters: they fill the line or the connection table of a filter. What else looks like it: a
capture that starts midstream or sees one direction (few connections with many segments each), a tunnel (one source,
answered), a ping to broadcast by hand (one a second). Reference: CERT CA-1998-01 (smurf).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns, layers
from analysis.claims import Words, of_links, of_rows
from analysis.columns import NO_TIME, Array, among, different, median
from analysis.evidence import ACK, SYN, Evidence, busiest, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "raw-flood"
DIRECT = (("T1498.001", "Network Denial of Service: Direct Network Flood"),)
REFLECTED = (("T1498.002", "Network Denial of Service: Reflection Amplification"),)
ALL_FLAGS = 0x3F  # FIN to URG
AT_ONCE = 1 << 17  # conversations whose columns exist together
ECHO, ECHO_PORTS = 8, (7, 19)  # ICMP type; UDP echo and CHARGEN (fraggle)


class Thresholds(Limits):
    """When stray packets are a flood."""

    packets_per_s: float = limit(180.0, "packets/s", "tapwall: stray segments of a midstream capture are few")
    seconds: float = limit(1.0, "s", "tapwall")
    conversations: int = limit(
        50, "port pairs or sources", "tapwall: floods change ports or addresses with each packet"
    )
    each: float = limit(5.0, "packets a conversation, median, at most", "tapwall: a connection seen midway has more")
    answered: float = limit(0.2, "answers per packet, at most", "tapwall's default")
    sources: int = limit(10, "sources of packets without ports", "tapwall: a tunnel has one")
    broadcast_per_s: float = limit(10.0, "packets/s to broadcast", "tapwall: ping -b sends one")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs IP traffic, and both directions to tell a flood from half a conversation."""
    if not among(evidence.flows.kind, (columns.IP, columns.IPV6)).any():
        return "no IP traffic in this capture", "a capture with IP traffic"
    return None


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per target and kind."""
    yield from _segments(evidence, limits)
    yield from _portless(evidence, limits)
    yield from _broadcast(evidence, limits)


def _segments(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """TCP conversations that begin with anything but SYN or SYN+ACK and are not answered, by target."""
    flows, links = evidence.flows, evidence.links
    row = links.row
    first = np.where(links.first_flags >= 0, links.first_flags & ALL_FLAGS, -1)  # ECN's bits open connections too
    stray = (
        (links.kind == columns.TCP) & links.unicast & (first >= 0) & ((first & SYN == 0) | (first & ~(SYN | ACK) != 0))
    )
    stray &= (flows.syn_ab[row] == 0) | (first & SYN != 0)
    # Forged segments to a service's port bear its name: then a packet a source, and many sources.
    nameless = among(links.application, (0, layers.DATA))
    stray &= (links.synacks == 0) & (nameless | (links.sent + links.got <= 1))
    least = int(limits.packets_per_s * limits.seconds / max(limits.each, 1.0))
    for chosen in large_groups(np.flatnonzero(stray), max(least, limits.conversations), flows.b_id[row]):
        if len(different(links.source[chosen])) < limits.conversations:
            chosen = chosen[nameless[chosen]]
            if len(chosen) < limits.conversations:
                continue
        rows = row[chosen]
        sent, got = flows.packets_ab[rows], flows.packets_ba[rows]
        answered = float(got.sum() / max(1, sent.sum()))
        each = median(sent)
        per_s = _rate(flows.first_ns[rows], sent, limits.seconds)
        if per_s < limits.packets_per_s or answered >= limits.answered or each > limits.each:
            continue
        target = evidence.text(int(flows.b_id[rows[0]]))
        sources = different(flows.a_id[rows])
        attacker = evidence.text(int(sources[0])) if len(sources) == 1 else ""
        flags = ", ".join(_flag_words(int(one)) for one in different(first[chosen])[:4])
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"TCP flood against {evidence.hosts.name(target)}: {per_s:.0f} segments a second of no connection "
                f"({flags}) from {attacker or f'{len(sources)} addresses'}",
                explanation=f"{int(sent.sum())} segments of {len(chosen)} port pairs open nothing and belong to nothing; "
                f"{100 * answered:.0f} % were answered.",
                benign="A capture that begins in the middle of connections shows such segments too, many to a connection "
                f"and answered: here {each:.0f} a connection.",
                advice="Drop segments without connection in front of the target (a stateful filter does); forged sources are "
                "filtered at the border, not by address.",
                impact=Severity.MEDIUM,
                evidence={
                    "rate": margin(per_s, limits.packets_per_s, least=0.55),
                    "no answers": 0.3 * (1 - min(answered, 1.0)),
                    "port pairs": 0.2,
                },
                numbers={
                    "segments_per_s": measured(limits, "packets_per_s", round(per_s, 1)),
                    "port_pairs": measured(limits, "conversations", len(chosen)),
                    "segments_each": measured(limits, "each", each),
                    "answered": measured(limits, "answered", round(answered, 3)),
                    "sources": Number(len(sources), "hosts"),
                },
                subject=f"tcp>{target}",
                attack=DIRECT,
                accountable=attacker,
            ),
        )


def _flag_words(flags: int) -> str:
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return "+".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "no flags"


def _rate(times_ns: Array, counts: Array, window_s: float) -> float:
    """Packets a second in the busiest window, those of a conversation counted at its first."""
    order = np.argsort(times_ns, kind="stable")
    times, total = times_ns[order], np.concatenate(([0], np.cumsum(counts[order])))
    ends = np.searchsorted(times, times + int(window_s * 1e9), side="right")
    return float((total[ends] - total[:-1]).max()) / window_s


def _portless(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """IP pairs whose packets are not those of their TCP, UDP and ICMP conversations, by target."""
    flows = evidence.flows
    pairs = np.flatnonzero(among(flows.kind, (columns.IP, columns.IPV6)) & (flows.first_ns != NO_TIME))
    busy = np.bincount(flows.b_id[pairs], minlength=len(evidence.hosts.group)) >= limits.sources
    pairs = pairs[busy[flows.b_id[pairs]]]
    if not len(pairs):
        return
    sent, got = _left_over(evidence, pairs)
    group = evidence.hosts.group
    whole = np.maximum(flows.packets_ab[pairs], 1)
    bare = (sent >= 1) & (sent >= 0.98 * whole) & ~group[flows.b_id[pairs]] & ~group[flows.a_id[pairs]]
    chosen_pairs = pairs[bare]
    if not len(chosen_pairs):
        return
    for chosen in large_groups(chosen_pairs, limits.sources, flows.b_id):
        at = np.searchsorted(pairs, chosen)
        packets, back = sent[at], got[at].sum()
        seconds = max(limits.seconds, float(flows.last_ns[chosen].max() - flows.first_ns[chosen].min()) / 1e9)
        per_s = max(float(packets.sum()) / seconds, _rate(flows.first_ns[chosen], np.ones(len(chosen)), limits.seconds))
        answered = float(back / packets.sum())
        if per_s < limits.packets_per_s or answered >= limits.answered:
            continue
        target = evidence.text(int(flows.b_id[chosen[0]]))
        dst = f"{'ipv6' if ':' in target else 'ip'}.dst == {target}"
        yield of_rows(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"Flood of packets without ports against {evidence.hosts.name(target)}: {per_s:.0f} a second from "
                f"{len(chosen)} addresses (fragments, GRE or another protocol)",
                explanation=f"{int(packets.sum())} packets belong to no TCP, UDP or ICMP conversation; "
                f"{100 * answered:.0f} % were answered.",
                benign="Tunnels and VPNs send packets without ports as well, between two hosts that answer each other: here "
                f"{len(chosen)} sources.",
                advice="Let the provider drop this protocol, or fragments, towards the target.",
                impact=Severity.MEDIUM,
                evidence={"rate": margin(per_s, limits.packets_per_s, least=0.55), "no answers": 0.3 * (1 - answered)},
                numbers={
                    "packets_per_s": measured(limits, "packets_per_s", round(per_s, 1)),
                    "sources": measured(limits, "sources", len(chosen)),
                    "answered": measured(limits, "answered", round(answered, 3)),
                },
                subject=f"portless>{target}",
                attack=DIRECT,
                filter=f"{dst} && (ip.flags.mf == 1 || ip.frag_offset > 0 || !(tcp || udp || icmp))",
            ),
            packets=int(packets.sum()),
        )


def _left_over(evidence: Evidence, pairs: Array) -> tuple[Array, Array]:
    """int64[pairs]: packets from a and from b of these IP pairs that belong to none of their conversations above IP."""
    flows, row = evidence.flows, evidence.links.row
    sent, got = flows.packets_ab[pairs].astype(np.int64), flows.packets_ba[pairs].astype(np.int64)
    keys = _pair_keys(evidence, pairs)
    order = np.argsort(keys)
    keys = keys[order]
    for first in range(0, len(row), AT_ONCE):
        rows = row[first : first + AT_ONCE]
        wanted = _pair_keys(evidence, rows)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        held = keys[at] == wanted
        rows, pair = rows[held], order[at[held]]
        forth, back = flows.packets_ab[rows], flows.packets_ba[rows]
        straight = flows.a_id[rows] == flows.a_id[pairs[pair]]
        np.subtract.at(sent, pair, np.where(straight, forth, back))
        np.subtract.at(got, pair, np.where(straight, back, forth))
    return sent, got


def _pair_keys(evidence: Evidence, rows: Array) -> Array:
    """int64[rows]: a number for the two addresses of a flow, whichever is side a."""
    one, other = evidence.flows.a_id[rows], evidence.flows.b_id[rows]
    return np.minimum(one, other).astype(np.int64) << 32 | np.maximum(one, other)


def _broadcast(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Echo requests and echo or CHARGEN datagrams to broadcast addresses: a network is used as amplifier."""
    links, group = evidence.links, evidence.hosts.group
    asks = (links.kind == columns.ICMP) & (links.target_port == ECHO)
    asks |= (links.kind == columns.UDP) & among(links.target_port, ECHO_PORTS)
    rows = np.flatnonzero(asks & group[links.target] & ~group[links.source])
    for chosen in large_groups(rows, 1, links.source, links.kind):
        packets = int(links.sent[chosen].sum())
        seconds = max(limits.seconds, float(links.last_ns[chosen].max() - links.first_ns[chosen].min()) / 1e9)
        per_s = max(packets / seconds, busiest(np.sort(links.first_ns[chosen]), limits.seconds)[2] / limits.seconds)
        if per_s < limits.broadcast_per_s or packets < 2 * limits.broadcast_per_s:
            continue
        victim = evidence.text(int(links.source[chosen[0]]))
        targets = len(different(links.target[chosen]))
        word = "pings" if int(links.kind[chosen[0]]) == columns.ICMP else "echo datagrams"
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"{word.capitalize()} to broadcast in the name of {victim}: {per_s:.0f} a second to {targets} networks "
                f"({'smurf' if word == 'pings' else 'fraggle'})",
                explanation=f"{packets} requests; every host of the network answers each, to an address that is probably forged.",
                benign=f"A ping to broadcast by hand sends one a second; here {per_s:.0f}.",
                advice="Routers drop directed broadcasts (RFC 2644); look where the packets enter the network.",
                impact=Severity.MEDIUM,
                evidence={"rate": margin(per_s, limits.broadcast_per_s, least=0.6)},
                numbers={
                    "requests_per_s": measured(limits, "broadcast_per_s", round(per_s, 1)),
                    "networks": Number(targets, "networks"),
                },
                subject=f"broadcast {word} {victim}",
                attack=REFLECTED,
            ),
        )
