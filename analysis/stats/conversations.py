"""Conversations, as in Wireshark's table: who talked to whom, in both directions, by kind (Ethernet to UDP).

In: the finished flow table. Out: columns per kind, in order of first packet; side a sent that packet. Byte counts are
frame lengths on the wire. Times are relative to frame 1; a rate is blank where the row lasts 5 ms or less, as
Wireshark leaves it (it would be noise). Vectorised: a million rows are one pass per column, never an object a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.columns import CONN_STATES, KINDS, NO_TIME, TCP, UDP, Array, Flows, data_frame
from analysis.records import Record

SHOWN = KINDS[:5]  # tables of Wireshark's window; the other kinds of flows serve findings
USED = ("a_id", "b_id", "a_port", "b_port", "packets_ab", "packets_ba", "bytes_ab", "bytes_ba", "first_ns", "last_ns",
        "stream", "state")  # fmt: skip
BLOCK_ROWS = 8192
RATE_FROM_NS = 5_000_000  # a shorter conversation has no rate


class Conversations(Record):
    """All tables. `texts` and `names` are by address id; `start_ns` is the time of frame 1."""

    flows: Flows
    texts: Sequence[str]
    names: Mapping[int, list[str]]
    start_ns: int

    def rows(self, kind: str) -> Array:
        """Rows of Flows that make up the table of a kind."""
        return np.flatnonzero(self.flows.kind == KINDS.index(kind))

    def columns(self, kind: str, rows: Array | None = None) -> dict[str, Array]:
        """The numbers of a table, or of some of its rows: a_id, b_id, ports, counters, times in ns; -1: a blank rate."""
        rows = self.rows(kind) if rows is None else rows
        flows = self.flows._replace(**{name: getattr(self.flows, name)[rows] for name in USED})
        found: dict[str, Array] = {"a_id": flows.a_id, "b_id": flows.b_id}
        if KINDS.index(kind) in (TCP, UDP):
            found |= {"a_port": flows.a_port, "b_port": flows.b_port}
        found |= {
            "packets": flows.packets_ab + flows.packets_ba,
            "bytes": flows.bytes_ab + flows.bytes_ba,
            "packets_ab": flows.packets_ab,
            "bytes_ab": flows.bytes_ab,
            "packets_ba": flows.packets_ba,
            "bytes_ba": flows.bytes_ba,
            "start_ns": np.where(flows.first_ns == NO_TIME, NO_TIME, flows.first_ns - self.start_ns),
            "duration_ns": flows.last_ns - flows.first_ns,
        }
        for side in ("ab", "ba"):
            found[f"bits_per_s_{side}"] = _rate(found[f"bytes_{side}"], found["duration_ns"])
        if KINDS.index(kind) in (TCP, UDP):
            found |= {"stream": flows.stream, "state": flows.state}
        return found

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """{kind: rows} as outputs.md lays them down."""
        return {kind: self.kind_to_json(kind) for kind in SHOWN}

    def kind_to_json(self, kind: str, heaviest: int | None = None) -> list[dict[str, Any]]:
        """The rows of one table, or the `heaviest` by bytes, those first."""
        chosen = self.rows(kind)
        if heaviest is not None:
            size = self.flows.bytes_ab[chosen] + self.flows.bytes_ba[chosen]
            chosen = chosen[np.argsort(-size, kind="stable")[:heaviest]]
        return self._rows_to_json(kind, chosen)

    def blocks(self, kind: str) -> Iterator[list[dict[str, Any]]]:
        """The rows of one table, some thousand at a time: a million of them would take a gigabyte."""
        chosen = self.rows(kind)
        for first in range(0, len(chosen), BLOCK_ROWS):
            yield self._rows_to_json(kind, chosen[first : first + BLOCK_ROWS])

    def header(self, kind: str) -> list[str]:
        """The columns that every row of a table has; `names` is beside them where an address has one."""
        return list(self._shown(kind, np.empty(0, np.int64)))

    def _rows_to_json(self, kind: str, chosen: Array) -> list[dict[str, Any]]:
        shown = self._shown(kind, chosen)
        rows = [dict(zip(shown, values)) for values in zip(*shown.values())]
        if self.names:
            flows = self.flows
            for row, a, b in zip(rows, flows.a_id[chosen].tolist(), flows.b_id[chosen].tolist()):
                if a in self.names or b in self.names:
                    row["names"] = {"a": self.names.get(a, []), "b": self.names.get(b, [])}
        return rows

    def _shown(self, kind: str, chosen: Array) -> dict[str, list[Any]]:
        columns = self.columns(kind, chosen)
        shown: dict[str, list[Any]] = {
            side: [self.texts[i] for i in columns.pop(f"{side}_id").tolist()] for side in ("a", "b")
        }
        for name, column in columns.items():
            if name in ("start_ns", "duration_ns"):
                absent = columns["start_ns"] == NO_TIME
                shown[f"{name[:-3]}_s"] = seconds(column, absent)
            elif name.startswith("bits_per_s"):
                shown[name] = [None if rate < 0 else rate for rate in column.tolist()]
            elif name == "state":
                shown[name] = [CONN_STATES[state] or None for state in column.tolist()]
            else:
                shown[name] = column.tolist()
        return shown

    def to_pandas(self, kind: str) -> Any:
        """One table as a data frame; `names` is {"a": [...], "b": [...]}, or None where neither side has one."""
        rows = self.kind_to_json(kind)
        return data_frame({name: [row.get(name) for row in rows] for name in (*self.header(kind), "names")})


def seconds(ns: Array, absent: Array | None = None) -> list[float | None]:
    """Nanoseconds as seconds with all their digits; None where `absent`."""
    shown: list[float | None] = (ns / 1e9).tolist()
    if absent is not None and absent.any():
        for row in np.flatnonzero(absent).tolist():
            shown[row] = None
    return shown


def _rate(size: Array, duration_ns: Array) -> Array:
    """Bits per second cut to an integer, -1 where the conversation is too short for a rate."""
    long_enough = duration_ns > RATE_FROM_NS
    rate = size * 8e9 / np.where(long_enough, duration_ns, 1)
    return np.where(long_enough, rate, -1).astype(np.int64)
