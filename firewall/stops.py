"""Which packets belong to which finding, as a firewall sees them: rows of the flow table per finding.

In: findings and the flow table they refer to. Out: finding id -> rows of `Flows` that packets can carry. A finding may
name a conversation between two addresses (an IP or Ethernet row): then every transport conversation between the two
belongs to it. Must not know detectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.columns import ETH, IP, IPV6, Flows
from analysis.findings import Finding

BETWEEN = (ETH, IP, IPV6)  # kinds of flow that hold others


def finding_flows(findings: Sequence[Finding], flows: Flows, texts: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Rows per finding id; a finding without rows is placed by its accountable address and hosts."""
    low = np.minimum(flows.a_id, flows.b_id).astype(np.int64)
    pairs = (low << 32) | np.maximum(flows.a_id, flows.b_id)
    out = {}
    for finding in findings:
        rows = np.array([r for r in finding.flows if 0 <= r < len(flows.kind)], np.int64)
        if len(rows):
            wide = rows[np.isin(flows.kind[rows], BETWEEN)]
            if len(wide):
                rows = np.union1d(rows, np.flatnonzero(np.isin(pairs, pairs[wide])))
        elif finding.accountable is not None:
            rows = _by_hosts(finding, flows, texts)
        out[finding.id] = rows.astype(np.int64)
    return out


def _by_hosts(finding: Finding, flows: Flows, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    assert finding.accountable is not None
    numbers = {text: number for number, text in enumerate(texts)}
    one = numbers.get(finding.accountable.address, -1)
    others = np.array([numbers[h] for h in finding.hosts if h in numbers and numbers[h] != one], np.int64)
    if one < 0 or not len(others):
        return np.zeros(0, np.int64)
    there = (flows.a_id == one) & np.isin(flows.b_id, others)
    back = (flows.b_id == one) & np.isin(flows.a_id, others)
    return np.flatnonzero(there | back).astype(np.int64)
