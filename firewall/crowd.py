"""Many sources against one target: floods, reflected answers, a worm's copies. One rule with a set of sources.

In: one finding's conversations among all of the capture's, and the addresses that must not be blocked. Out: `Crowd`:
the rung (source set, target, protocol, the one port that all share) with measured gain and collateral, or None where
the finding is no crowd. The victim is the destination of the match, so a rule never blocks it. Sources may be forged:
whoever makes the rule says so. Must not know detectors, nor policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from firewall.headers import Array
from firewall.ladder import Mask, Rung, directed, measure
from firewall.lower import MULTIPORT_SLOTS
from firewall.rules import WITH_PORTS, Match
from firewall.sets import AddrSet, PortSet
from firewall.survey import Survey

SOURCES_LEAST = 5  # fewer senders are named one by one, by whoever is accountable


@dataclass(frozen=True, slots=True)
class Crowd:
    """A target, the rung against its senders, and how many senders were left out because they may not be blocked."""

    target: str
    rung: Rung
    left_out: int


def crowd(survey: Survey, finding: str, spared: AddrSet) -> Crowd | None:
    """The crowd of a finding, None where it has no single target or too few senders. `spared`: never blocked."""
    rows = survey.members.get(finding, np.zeros(0, np.int64))
    target = _target(survey, rows)
    if target is None:
        return None
    address = survey.text(target)
    seen = directed(survey, target)
    mine = np.isin(seen.rows, rows) & (seen.received > 0)
    senders = AddrSet.parse(*(survey.text(n) for n in np.unique(seen.peer[mine]).tolist()))
    blocked = senders - spared
    if blocked.count() < SOURCES_LEAST:
        return None
    match = Match(src=blocked, dst=AddrSet.parse(address), **_common(seen.proto, seen.peer_port, seen.own_port, mine))
    rung = measure(survey, "sources of the crowd", (match,), seen, mine, survey.bad()[seen.rows], "destination")
    return Crowd(address, rung, senders.count() - blocked.count())


def _target(survey: Survey, rows: Array) -> int | None:
    """The one address that every conversation has."""
    if not len(rows):
        return None
    a, b = survey.table.a[rows], survey.table.b[rows]
    for candidate in (int(b[0]), int(a[0])):
        if np.all((a == candidate) | (b == candidate)) and len(np.unique(np.where(a == candidate, b, a))) > 1:
            return candidate
    return None


def _common(proto: Array, peer_port: Array, own_port: Array, mine: Mask) -> dict[str, Any]:
    """Protocol and ports that the crowd's conversations share."""
    protocols = np.unique(proto[mine]).tolist()
    if len(protocols) != 1 or not 1 <= protocols[0] <= 255:
        return {}
    out: dict[str, Any] = {"proto": protocols[0]}
    if protocols[0] in WITH_PORTS:
        sides = []
        for name, column in (("sport", peer_port), ("dport", own_port)):
            ports = np.unique(column[mine]).tolist()
            if ports[0] > 0:  # later fragments have none: a match on ports would let them through
                sides.append((len(ports), name, PortSet.of(*ports)))
        sides.sort(key=lambda side: side[:2])
        for at, (_, name, found) in enumerate(
            sides
        ):  # the service's side has few ports; the other one only if it has one
            if found.slots() <= (MULTIPORT_SLOTS if at == 0 else 1):
                out[name] = found
    return out
