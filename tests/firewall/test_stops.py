"""Which conversations a rule has to stop for a finding, and which are no bystanders of it."""

from __future__ import annotations

from typing import Any

import firewall_packets as fp
import numpy as np
import pytest

from analysis.columns import ETH, IP, TCP, UDP, Flows
from analysis.findings import Severity
from firewall.stops import NEARBY_NS, finding_flows

TEXTS = ["10.0.0.1", "192.0.2.5", "192.0.2.6", "02:00:00:00:00:01"]
SECOND = 1_000_000_000


def flows(*rows: tuple[int, int, int, int, int, float]) -> Flows:
    """(kind, a, a port, b, b port, second) as a flow table; one packet each."""
    columns: dict[str, Any] = {name: np.zeros(len(rows), np.int64) for name in Flows._fields}
    for name, values in zip(("kind", "a_id", "a_port", "b_id", "b_port"), zip(*(row[:5] for row in rows))):
        columns[name] = np.array(values, np.int64)
    columns["first_ns"] = columns["last_ns"] = np.array([int(row[5] * SECOND) for row in rows], np.int64)
    return Flows(**columns)


TABLE = flows(
    (TCP, 0, 1024, 1, 80, 100),  # 0: the finding's
    (TCP, 0, 1025, 1, 80, 101),  # 1: same service, same time
    (TCP, 0, 1026, 1, 443, 101),  # 2: another service
    (TCP, 2, 1024, 1, 80, 101),  # 3: another client
    (TCP, 1, 80, 0, 1027, 102),  # 4: same service, begun before the capture
    (TCP, 0, 1028, 1, 80, 101 + 2 * NEARBY_NS / SECOND),  # 5: same service, much later
    (UDP, 0, 1024, 1, 80, 101),  # 6: another protocol
    (IP, 0, 0, 1, 0, 100),  # 7: the pair
    (ETH, 3, 0, 3, 0, 100),  # 8: no IP
)


def rows(**values: Any) -> list[int]:
    """Rows of one finding."""
    made = fp.finding("x", values.pop("address", "10.0.0.1"), **values)
    return finding_flows([made], TABLE, TEXTS)[made.id].tolist()


def test_the_same_service_at_the_same_time_belongs_to_it() -> None:
    """The guess among guesses is no bystander; another port, client, protocol or hour is."""
    assert rows(flows=(0,)) == [0, 1, 4]


def test_a_pair_holds_all_its_conversations() -> None:
    """A finding between two hosts is about every conversation of theirs."""
    assert rows(flows=(7,)) == [0, 1, 2, 4, 5, 6, 7]


def test_what_others_said_cannot_be_stopped() -> None:
    """A detector may show the victim's own session for comparison: the accountable host's conversations count."""
    assert rows(flows=(0, 3)) == [0, 1, 4]


def test_without_anybody_accountable_rows_stay() -> None:
    """An observation is its rows; a claim of weight has its bystanders taken in."""
    assert rows(flows=(0,), address=None, severity=Severity.INFO) == [0]
    assert rows(flows=(0,), address=None) == [0, 1, 4]


def test_a_finding_without_rows_is_placed_by_its_hosts() -> None:
    """Accountable address and hosts."""
    assert rows(flows=(), hosts=("10.0.0.1", "192.0.2.5")) == [0, 1, 2, 4, 5, 6, 7]
    assert rows(flows=(), hosts=()) == []


@pytest.mark.parametrize("bad", [(99,), (-1,)])
def test_rows_outside_the_table_are_ignored(bad: tuple[int, ...]) -> None:
    """A findings file of another capture stops nothing, and nothing breaks."""
    assert rows(flows=bad) == []
