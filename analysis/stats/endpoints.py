"""Endpoints, as in Wireshark's table: what each address (and port) sent and received, by kind.

In: the finished flow table. Out: columns per kind, in order of first appearance. An endpoint of TCP or UDP is a pair of
address and port, so one host has many rows. Each counted layer adds one transmitted packet to its source and one
received packet to its destination; a frame to itself counts in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.columns import KINDS, TCP, UDP, Array, Flows, data_frame
from analysis.named_tuples import NamedTuple
from analysis.records import Record
from analysis.stats.conversations import SHOWN

COUNTERS = ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")


class Endpoints(Record):
    """All tables. `texts` and `names` are by address id."""

    flows: Flows
    texts: Sequence[str]
    names: Mapping[int, list[str]]

    def columns(self, kind: str) -> dict[str, Array]:
        """The numbers of a table: address id, port (TCP and UDP), packets and bytes, sent and received."""
        number = KINDS.index(kind)
        flows = self.flows
        rows = np.flatnonzero(flows.kind == number)
        ported = number in (TCP, UDP)
        keys = _both(flows.a_id[rows], flows.b_id[rows]).astype(np.int64)
        if ported:
            keys = keys << 16 | _both(flows.a_port[rows], flows.b_port[rows])
        groups = _groups(keys)
        packets = flows.packets_ab[rows], flows.packets_ba[rows]
        sizes = flows.bytes_ab[rows], flows.bytes_ba[rows]
        counted = {
            "tx_packets": _sums(groups, *packets),
            "tx_bytes": _sums(groups, *sizes),
            "rx_packets": _sums(groups, *packets[::-1]),
            "rx_bytes": _sums(groups, *sizes[::-1]),
        }
        keys = keys[groups.order[groups.starts]][groups.appearance]
        found = {"address_id": keys >> 16, "port": keys & 0xFFFF} if ported else {"address_id": keys}
        found["packets"] = counted["tx_packets"] + counted["rx_packets"]
        found["bytes"] = counted["tx_bytes"] + counted["rx_bytes"]
        return found | counted

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """{kind: rows} as outputs.md lays them down."""
        return {kind: self.kind_to_json(kind) for kind in SHOWN}

    def kind_to_json(self, kind: str) -> list[dict[str, Any]]:
        """The rows of one table."""
        columns = self.columns(kind)
        ids = columns.pop("address_id").tolist()
        shown = {"address": [self.texts[i] for i in ids]}
        shown |= {name: column.tolist() for name, column in columns.items()}
        rows: list[dict[str, Any]] = [dict(zip(shown, values)) for values in zip(*shown.values())]
        if self.names:
            for row, i in zip(rows, ids):
                if i in self.names:
                    row["names"] = self.names[i]
        return rows

    def hosts(self, kind: str) -> Array:
        """bool by address id: which addresses have a row in the table of a kind."""
        rows = np.flatnonzero(self.flows.kind == KINDS.index(kind))
        found = np.zeros(len(self.texts), dtype=bool)
        found[self.flows.a_id[rows]] = True
        found[self.flows.b_id[rows]] = True
        return found

    def to_pandas(self, kind: str) -> Any:
        """One table as a data frame."""
        columns = self.columns(kind)
        texts = [self.texts[i] for i in columns.pop("address_id").tolist()]
        return data_frame({"address": texts} | columns)


def _both(a: Array, b: Array) -> Array:
    """Side a and side b of every flow, alternating, so that order of appearance is order of the flows."""
    return np.stack((a, b), axis=1).ravel()


class _Groups(NamedTuple):
    """Rows with equal keys."""

    order: Array  # int[rows] sorted by key, equal ones in file order
    starts: Array  # int[groups] where each group begins in `order`
    appearance: Array  # int[groups] the groups in order of their first row


def _groups(keys: Array) -> _Groups:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.ones(len(keys), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    return _Groups(order, starts, np.argsort(order[starts]))


def _sums(groups: _Groups, of_a: Array, of_b: Array) -> Array:
    """int64[groups]: sums over the rows of each group, of values by side."""
    if not len(groups.order):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(
        np.add.reduceat(_both(of_a, of_b)[groups.order], groups.starts, dtype=np.int64)[groups.appearance]
    )
