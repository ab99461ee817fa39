"""Endpoints, as in Wireshark's table: what each address (and port) sent and received, by kind.

In: the finished flow table. Out: columns per kind, in order of first appearance. An endpoint of TCP or UDP is a pair of
address and port, so one host has many rows. Each counted layer adds one transmitted packet to its source and one
received packet to its destination; a frame to itself counts in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.columns import KINDS, TCP, UDP, Array, Flows, data_frame
from analysis.stats.conversations import SHOWN

COUNTERS = ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All tables. `texts` and `names` are by address id."""

    flows: Flows
    texts: list[str]
    names: Mapping[int, list[str]]

    def columns(self, kind: str) -> dict[str, Array]:
        """The numbers of a table: address id, port (TCP and UDP), packets and bytes, sent and received."""
        number = KINDS.index(kind)
        rows = np.flatnonzero(self.flows.kind == number)
        flows = Flows(*(column[rows] for column in self.flows))
        ids = _both(flows.a_id, flows.b_id).astype(np.int64)
        ports = _both(flows.a_port, flows.b_port).astype(np.int64) if number in (TCP, UDP) else np.zeros_like(ids)
        keys, first, group = np.unique(ids << 16 | ports, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        sums = {
            "tx_packets": _both(flows.packets_ab, flows.packets_ba),
            "tx_bytes": _both(flows.bytes_ab, flows.bytes_ba),
            "rx_packets": _both(flows.packets_ba, flows.packets_ab),
            "rx_bytes": _both(flows.bytes_ba, flows.bytes_ab),
        }
        found = {"address_id": (keys >> 16)[order]}
        if number in (TCP, UDP):
            found["port"] = (keys & 0xFFFF)[order]
        counted = {name: _sums(group, values, len(keys))[order] for name, values in sums.items()}
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

    def to_pandas(self, kind: str) -> Any:
        """One table as a data frame."""
        columns = self.columns(kind)
        texts = [self.texts[i] for i in columns.pop("address_id").tolist()]
        return data_frame({"address": texts} | columns)


def _both(a: Array, b: Array) -> Array:
    """Side a and side b of every flow, alternating, so that order of appearance is order of the flows."""
    return np.stack((a, b), axis=1).ravel()


def _sums(group: Array, values: Array, n: int) -> Array:
    """Integer sums of `values` by group number."""
    found = np.zeros(n, dtype=np.int64)
    np.add.at(found, group, values)
    return found
