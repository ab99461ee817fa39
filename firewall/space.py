"""Packets that no rule can tell apart are one class: the header space cut along the boundaries of a program.

In: a `Program` and `Headers`. Out: class numbers per packet, and for each condition a yes, no or unknown per class.
Each field is replaced by its rank among the boundaries that rules mention (a rank is a look-up in a table of a few
entries), so a thousand rules over a million packets cost as much as over the few thousand classes that occur.
Must not know chains or verdicts.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firewall.headers import CUT, SHORT, Array, Headers
from firewall.program import FRAGMENTS, Condition, Program
from firewall.sets import AddrSet, PortSet

NO, YES, UNKNOWN = 0, 1, 2
Answers = npt.NDArray[np.int8]
PORTLIKE = {"proto": "proto", "sport": "sport", "dport": "dport", "orig_dport": "dport", "icmp": "icmp", "length": "length", "ttl": "ttl"}  # fmt: skip
ADDRESS = {"src": "src", "dst": "dst", "orig_dst": "dst"}
TRANSPORT_FIELDS = frozenset({"sport", "dport", "port", "orig_dport", "icmp", "tcp_flags"})
COLUMNS = ("way", "family", "src", "dst", "proto", "sport", "dport", "icmp", "length", "ttl", "flags", "fragment", "transport", "loopback")  # fmt: skip
KEY_LIMIT = 2**62


class Classes(NamedTuple):
    """m classes: the rank of each column, int64[m] by name of COLUMNS."""

    ranks: dict[str, Array]
    size: int


class Space:
    """The boundaries of a program, and the tables that answer its conditions."""

    def __init__(self, program: Program, interface: str | None = None) -> None:
        conditions = [c for _, _, line in program.lines() for c in line.conditions]
        self._interface = interface
        self._backends = program.dialect == "iptables"
        self._bounds = {name: self._port_bounds(conditions, name) for name in set(PORTLIKE.values())}
        self._four = _bounds(r for c in conditions if c.field in ADDRESS for r in c.value.v4)
        self._six = [0, *_bounds_list(r for c in conditions if c.field in ADDRESS for r in c.value.v6)]
        self._flags = any(c.field == "tcp_flags" for c in conditions)
        self._loopback = any(c.field in ("iif", "oif") for c in conditions)
        self._tables: dict[int, npt.NDArray[np.bool_]] = {}
        self._kept: list[Condition] = []  # ids in _tables stay valid while the conditions live

    @staticmethod
    def _port_bounds(conditions: list[Condition], name: str) -> Array:
        fields = {field for field, column in PORTLIKE.items() if column == name}
        if name in ("sport", "dport"):
            fields.add("port")
        return _bounds(r for c in conditions if c.field in fields for r in c.value.ranges)

    def classify(self, headers: Headers, way: Array) -> tuple[Classes, Array]:
        """The classes that occur, and the class of each packet."""
        columns = {
            "way": way,
            "family": (headers.family == 6).astype(np.int64),
            "src": self._address_ranks(headers.family, headers.src_hi, headers.src_lo),
            "dst": self._address_ranks(headers.family, headers.dst_hi, headers.dst_lo),
            "flags": headers.flags + 1 if self._flags else np.zeros(len(way), np.int64),
            "fragment": headers.fragment,
            "transport": headers.transport,
            "loopback": self._is_loopback(headers) if self._loopback else np.zeros(len(way), np.int64),
        }
        for name, bounds in self._bounds.items():
            values = getattr(headers, name)
            columns[name] = (
                np.searchsorted(bounds, values, "right") if len(bounds) > 1 else (values >= 0).astype(np.int64)
            )
        key, radix = np.zeros(len(way), np.int64), 1
        for name in COLUMNS:
            column = columns[name]
            top = int(column.max(initial=0)) + 1
            if top == 1:
                continue
            if radix * top > KEY_LIMIT:
                values, key = np.unique(key, return_inverse=True)
                radix = len(values)
            key = key * top + column
            radix *= top
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        return Classes({name: columns[name][first] for name in COLUMNS}, len(first)), inverse.astype(np.int64)

    def present(self, classes: Classes) -> dict[str, npt.NDArray[np.bool_]]:
        """Which ranks of the addresses occur at all."""
        out = {}
        for name in ("src", "dst"):
            out[name] = np.zeros(len(self._four) + len(self._six) + 2, bool)
            out[name][classes.ranks[name]] = True
        return out

    def possible(self, condition: Condition, present: dict[str, npt.NDArray[np.bool_]]) -> bool:
        """False where no packet has such an address: a list of a thousand hosts is passed over without a look at packets."""
        table = self._address_table(condition)
        return bool((table & present[ADDRESS[condition.field]][: len(table)]).any())

    def answer(self, condition: Condition, classes: Classes, at: Array) -> Answers:
        """NO, YES or UNKNOWN for the classes at `at`. Rates and states are the simulator's: they are not asked here."""
        name = condition.field
        if name in ADDRESS:
            return self._address_table(condition)[classes.ranks[ADDRESS[name]][at]].astype(np.int8)
        if name in PORTLIKE or name == "port":
            return self._port_answer(condition, classes, at)
        if name == "tcp_flags":
            mask, value = condition.value
            flags = classes.ranks["flags"][at] - 1
            right: npt.NDArray[np.bool_] = (((flags & mask) == value) ^ condition.negate) & (flags >= 0)
            return self._doubt(right, condition, classes, at)
        if name == "fragment":
            later: Answers = ((classes.ranks["fragment"][at] == 2) ^ condition.negate).astype(np.int8)
            return later
        if name in ("iif", "oif"):
            return self._interface_answer(condition, classes, at)
        if name == "expires":
            return np.ones(len(at), np.int8)
        return np.full(len(at), UNKNOWN, np.int8)

    def _port_answer(self, condition: Condition, classes: Classes, at: Array) -> Answers:
        if condition.field == "port":
            both = [self._port_table(condition, n)[classes.ranks[n][at]] for n in ("sport", "dport")]
            out = (both[0] | both[1]) ^ condition.negate
            out &= classes.ranks["sport"][at] > 0
        else:
            column = PORTLIKE[condition.field]
            ranks = classes.ranks[column][at]
            out = (self._port_table(condition, column)[ranks] ^ condition.negate) & (ranks > 0)
        return self._doubt(out, condition, classes, at) if condition.field in TRANSPORT_FIELDS else out.astype(np.int8)

    def _doubt(self, out: npt.NDArray[np.bool_], condition: Condition, classes: Classes, at: Array) -> Answers:
        """Where the capture cut the transport header off, or iptables' backends differ, nobody knows."""
        answers = out.astype(np.int8)
        transport = classes.ranks["transport"][at]
        answers[transport == CUT] = UNKNOWN
        if self._backends and condition.varies:
            answers[transport == SHORT] = UNKNOWN
            if condition.varies == FRAGMENTS:  # nft's loads take the payload of an IPv4 fragment for a header
                later = (classes.ranks["fragment"][at] == 2) & (classes.ranks["family"][at] == 0)
                answers[later] = UNKNOWN
        return answers

    def _interface_answer(self, condition: Condition, classes: Classes, at: Array) -> Answers:
        name = str(condition.value)
        if name == "lo":
            inside: Answers = ((classes.ranks["loopback"][at] == 1) ^ condition.negate).astype(np.int8)
            return inside
        if self._interface is None:
            return np.full(len(at), UNKNOWN, np.int8)
        wild = name.endswith(("+", "*"))
        same = self._interface.startswith(name[:-1]) if wild else self._interface == name
        return np.full(len(at), int(same ^ condition.negate), np.int8)

    def _port_table(self, condition: Condition, column: str) -> npt.NDArray[np.bool_]:
        key = id(condition) * 2 + (column == "dport")
        table = self._tables.get(key)
        if table is None:
            ports: PortSet = condition.value
            bounds = self._bounds[column]
            table = np.zeros(len(bounds) + 1, bool)
            for low, high in ports.ranges:
                table[np.searchsorted(bounds, low) + 1 : np.searchsorted(bounds, high + 1) + 1] = True
            self._keep(key, table, condition)
        return table

    def _address_table(self, condition: Condition) -> npt.NDArray[np.bool_]:
        key = id(condition) * 2
        table = self._tables.get(key)
        if table is None:
            addresses: AddrSet = condition.value
            middle = len(self._four) + 1
            table = np.zeros(middle + len(self._six) + 1, bool)
            four = np.array(addresses.v4, np.int64).reshape(-1, 2)
            spans = list(
                zip(np.searchsorted(self._four, four[:, 0]) + 1, np.searchsorted(self._four, four[:, 1] + 1) + 1)
            )
            for low, high in addresses.v6:
                edges = (bisect.bisect_left(self._six, low), bisect.bisect_left(self._six, high + 1))
                spans.append((middle + edges[0] + 1, middle + edges[1] + 1))
            for begin, end in spans:
                table[begin:end] = True
            if condition.negate:  # "not 10.0.0.0/8" says nothing about the other family
                if addresses.v4:
                    table[1:middle] ^= True
                if addresses.v6:
                    table[middle + 1 :] ^= True
            self._keep(key, table, condition)
        return table

    def _keep(self, key: int, table: npt.NDArray[np.bool_], condition: Condition) -> None:
        self._tables[key] = table
        self._kept.append(condition)

    def _address_ranks(self, family: Array, high: Array, low: Array) -> Array:
        out = np.searchsorted(self._four, low, "right")
        six = np.flatnonzero(family == 6)
        if len(six):
            middle = len(self._four) + 1
            pairs = np.stack([high[six], low[six]], axis=1)
            values, inverse = np.unique(pairs, axis=0, return_inverse=True)
            ranks = [
                middle + bisect.bisect_right(self._six, ((h & (2**64 - 1)) << 64) | (w & (2**64 - 1)))
                for h, w in values.tolist()
            ]
            out[six] = np.array(ranks, np.int64)[inverse.reshape(-1)]
        return out.astype(np.int64)

    @staticmethod
    def _is_loopback(headers: Headers) -> Array:
        four = (headers.family == 4) & ((headers.src_lo >> 24 == 127) | (headers.dst_lo >> 24 == 127))
        six = (headers.family == 6) & (headers.src_hi == 0) & (headers.src_lo == 1)
        out: Array = (four | six).astype(np.int64)
        return out


def _bounds_list(ranges: Iterable[tuple[int, int]]) -> list[int]:
    return sorted({edge for low, high in ranges for edge in (low, high + 1) if edge})


def _bounds(ranges: Iterable[tuple[int, int]]) -> Array:
    """Sorted edges, 0 first: rank 0 is "absent", rank r holds bounds[r-1] up to bounds[r]."""
    return np.array([0, *_bounds_list(ranges)], np.int64)
