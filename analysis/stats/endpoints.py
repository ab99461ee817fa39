"""Endpoints, as in Wireshark's table: what each address (and port) sent and received, by kind.

In: the finished flow table. Out: columns per kind, in order of first appearance. An endpoint of TCP or UDP is a pair of
address and port, so one host has many rows. Each counted layer adds one transmitted packet to its source and one
received packet to its destination; a frame to itself counts in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.columns import KINDS, TCP, UDP, Array, Flows, data_frame
from analysis.derived import Derived
from analysis.records import Record
from analysis.stats.conversations import BLOCK_ROWS, SHOWN


class Endpoints(Record):
    """All tables. `texts` and `names` are by address id."""

    flows: Flows
    texts: Sequence[str]
    names: Mapping[int, list[str]]

    def columns(self, kind: str) -> dict[str, Any]:
        """The numbers of a table: address id, port (TCP and UDP), packets and bytes, sent and received."""
        flows, number = self.flows, KINDS.index(kind)
        rows = np.flatnonzero(flows.kind == number)
        keys = _both(flows.a_id[rows], flows.b_id[rows])
        if ported := number in (TCP, UDP):
            keys <<= 16
            keys |= _both(flows.a_port[rows], flows.b_port[rows])
        keys, endpoint = _numbered(keys)
        a, b = endpoint[::2], endpoint[1::2]
        counted: dict[str, Any] = {}
        for side, of_a, of_b in (("tx", "ab", "ba"), ("rx", "ba", "ab")):
            for unit in ("packets", "bytes"):
                total = counted[f"{side}_{unit}"] = np.zeros(len(keys), np.int64)
                np.add.at(total, a, getattr(flows, f"{unit}_{of_a}")[rows])
                np.add.at(total, b, getattr(flows, f"{unit}_{of_b}")[rows])
        found: dict[str, Any] = {"address_id": (keys >> 16 if ported else keys).astype(np.int32)}
        if ported:
            found["port"] = (keys & 0xFFFF).astype(np.int32)
        found["packets"] = _sum(counted["tx_packets"], counted["rx_packets"])
        found["bytes"] = _sum(counted["tx_bytes"], counted["rx_bytes"])
        return found | counted

    def header(self, kind: str) -> list[str]:
        """The columns that every row of a table has; `names` is beside them where the address has one."""
        ported = ["port"] if KINDS.index(kind) in (TCP, UDP) else []
        return ["address", *ported, "packets", "bytes", "tx_packets", "tx_bytes", "rx_packets", "rx_bytes"]

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """{kind: rows} as outputs.md lays them down."""
        return {kind: self.kind_to_json(kind) for kind in SHOWN}

    def kind_to_json(self, kind: str) -> list[dict[str, Any]]:
        """The rows of one table."""
        return [row for rows in self.blocks(kind) for row in rows]

    def blocks(self, kind: str) -> Iterator[list[dict[str, Any]]]:
        """The rows of one table, some thousand at a time."""
        columns = self.columns(kind)
        all_ids = columns.pop("address_id")
        for first in range(0, len(all_ids), BLOCK_ROWS):
            some = slice(first, first + BLOCK_ROWS)
            ids = all_ids[some].tolist()
            shown = {"address": [self.texts[i] for i in ids]}
            shown |= {name: column[some].tolist() for name, column in columns.items()}
            rows: list[dict[str, Any]] = [dict(zip(shown, values)) for values in zip(*shown.values())]
            for row, i in zip(rows, ids) if self.names else ():
                if i in self.names:
                    row["names"] = self.names[i]
            yield rows

    def hosts(self, kind: str) -> Array:
        """bool by address id: which addresses have a row in the table of a kind."""
        rows = np.flatnonzero(self.flows.kind == KINDS.index(kind))
        found = np.zeros(len(self.texts), dtype=bool)
        found[self.flows.a_id[rows]] = True
        found[self.flows.b_id[rows]] = True
        return found

    def to_pandas(self, kind: str) -> Any:
        """One table as a data frame; `names` is a list, or None where the address has no name."""
        columns = self.columns(kind)
        ids = columns.pop("address_id").tolist()
        shown: dict[str, Any] = {"address": [self.texts[i] for i in ids]}
        shown |= {name: column[:] for name, column in columns.items()}
        return data_frame(shown | {"names": [self.names.get(i) for i in ids]})


def _both(a: Array, b: Array) -> Array:
    """int64: side a and side b of every flow, alternating, so that order of appearance is order of the flows."""
    found = np.empty(2 * len(a), np.int64)
    found[::2], found[1::2] = a, b
    return found


def _numbered(keys: Array) -> tuple[Array, Array]:
    """(the distinct keys in order of appearance, int32[keys]: the number of each key among them)."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.ones(len(keys), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    first = order[new]  # where each key appears
    appearance = np.argsort(first)
    number = np.empty(len(first), np.int32)
    number[appearance] = np.arange(len(first), dtype=np.int32)
    del ordered
    place = np.cumsum(new, dtype=np.int32)
    place -= 1
    numbers = np.empty(len(keys), np.int32)
    numbers[order] = number[place]
    return keys[first[appearance]], numbers


def _sum(one: Array, other: Array) -> Derived:
    return Derived(len(one), np.int64, lambda rows: one[rows] + other[rows])
