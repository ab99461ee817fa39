"""Which packets belong to which finding, as a firewall sees them: rows of the flow table per finding.

In: findings and the flow table they refer to. Out: finding id -> rows of `Flows` that packets can carry. A finding may
name a conversation between two addresses (an IP or Ethernet row): then every transport conversation between the two
belongs to it. Where an address is accountable, only its conversations can be stopped (a detector may show others for
comparison). What the same two hosts said at the same service while it lasted, or shortly before or after, belongs
to it as well: the guess among guesses that the detector did not count is no bystander. Must not know detectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import ETH, IP, IPV6, SCTP, TCP, UDP, Flows
from analysis.findings import Finding, Severity

BETWEEN = (ETH, IP, IPV6)  # kinds of flow that hold others
PORTED = (TCP, UDP, SCTP)
NEARBY_NS = (
    600 * 1_000_000_000
)  # ten minutes: what the two said at that service shortly before and after is no bystander


def finding_flows(findings: Sequence[Finding], flows: Flows, texts: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Rows per finding id; a finding without rows is placed by its accountable address and hosts."""
    low = np.minimum(flows.a_id, flows.b_id).astype(np.int64)
    pairs = (low << 32) | np.maximum(flows.a_id, flows.b_id)
    services = _Services(flows)
    numbers = {text: number for number, text in enumerate(texts)}
    out = {}
    for finding in findings:
        rows = np.array(finding.flows, np.int64)
        rows = rows[(rows >= 0) & (rows < len(flows.kind))]
        if len(rows):
            wide = rows[np.isin(flows.kind[rows], BETWEEN)]
            if len(wide):
                rows = np.union1d(rows, np.flatnonzero(np.isin(pairs, pairs[wide])))
        elif finding.accountable is not None:
            rows = _by_hosts(finding, flows, numbers)
        if len(rows) and finding.accountable is not None:
            rows = _of(finding.accountable.address, rows, flows, numbers)
        if len(rows) and (finding.accountable is not None or finding.severity >= Severity.MEDIUM):
            rows = np.union1d(rows, services.same(rows))
        out[finding.id] = rows.astype(np.int64)
    return out


def _of(address: str, rows: npt.NDArray[np.int64], flows: Flows, numbers: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The rows that the address takes part in; all of them where it is in none (it is no IP address)."""
    number = numbers.get(address, -1)
    own = rows[(flows.a_id[rows] == number) | (flows.b_id[rows] == number)]
    return own if len(own) else rows


def _by_hosts(finding: Finding, flows: Flows, numbers: Mapping[str, int]) -> npt.NDArray[np.int64]:
    assert finding.accountable is not None
    one = numbers.get(finding.accountable.address, -1)
    others = np.array([numbers[h] for h in finding.hosts if h in numbers and numbers[h] != one], np.int64)
    if one < 0 or not len(others):
        return np.zeros(0, np.int64)
    there = (flows.a_id == one) & np.isin(flows.b_id, others)
    back = (flows.b_id == one) & np.isin(flows.a_id, others)
    return np.flatnonzero(there | back).astype(np.int64)


class _Services:
    """Who spoke to which service: equal keys are equal (client, server, protocol, server port), in either direction."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        ported = np.isin(flows.kind, PORTED)
        self._asked = _key(flows.a_id, flows.b_id, flows.kind, flows.b_port)  # its first packet went to the service
        self._answered = _key(flows.b_id, flows.a_id, flows.kind, flows.a_port)  # it came from there: begun before
        self._ported = ported

    def same(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of the services that `rows` used, by the same client, at about the same time."""
        flows, own = self._flows, rows[self._ported[rows]]
        if not len(own):
            return own
        began, ended = flows.first_ns[own].min() - NEARBY_NS, flows.last_ns[own].max() + NEARBY_NS
        during = (flows.last_ns >= began) & (flows.first_ns <= ended)
        candidates = np.flatnonzero(during & self._ported)
        wanted = {tuple(key) for key in self._asked[own].tolist()}
        hit = [
            row
            for row, asked, answered in zip(
                candidates.tolist(), self._asked[candidates].tolist(), self._answered[candidates].tolist()
            )
            if tuple(asked) in wanted or tuple(answered) in wanted
        ]
        return np.array(hit, np.int64)


def _key(
    client: npt.NDArray[Any], server: npt.NDArray[Any], kind: npt.NDArray[Any], port: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """int64[flows, 2]: the two hosts, then protocol and port."""
    hosts = (client.astype(np.int64) << 32) | server
    return np.stack([hosts, (kind.astype(np.int64) << 16) | (port.astype(np.int64) & 0xFFFF)], axis=1)
