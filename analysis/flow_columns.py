"""The flow table as columns: places in rows (`flow_rows`) under the names of `columns.Flows`.

In: the short and the long parts of all rows. Out: views of the short ones; columns of the long ones are derived where
they are looked at, for in full they would take more than the rows. Nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.columns import FLOW_FRAMES, Array, FirstFrames
from analysis.derived import Derived
from analysis.flow_rows import (
    A_ID,
    A_PORT,
    ACK,
    B_ID,
    B_PORT,
    BYTES,
    FIRST_BYTES,
    FIRST_FLAGS,
    FIRST_NS,
    FIRST_PAYLOAD,
    FRAMES,
    ICMP_ERROR,
    KIND,
    LAST_NS,
    LAST_NUMBER,
    LONG,
    ORIGINATOR,
    PACKETS,
    PAYLOAD,
    STREAM,
    SYN,
    SYNACK,
    SYNS,
    TTL_MIN,
    UNION_FLAGS,
)

# Columns of the short part: type and place. ABSENT and UNKNOWN, seen as signed numbers, are -1.
SHORT = {
    "kind": ("uint8", KIND),
    "a_id": ("int32", A_ID),
    "b_id": ("int32", B_ID),
    "a_port": ("uint16", A_PORT),
    "b_port": ("uint16", B_PORT),
    "stream": ("int32", STREAM),
    "last_number": ("int32", LAST_NUMBER),
    "first_ns": ("int64", FIRST_NS),
    "originator": ("int8", ORIGINATOR),
    "first_tcp_flags": ("int16", FIRST_FLAGS),
    "icmp_error": ("int16", ICMP_ERROR),
    "ttl_min": ("uint8", TTL_MIN),
}
# Columns of the long part, and what stands for them in a row that has none, as it saw one packet at most.
LONGER = {
    "last_ns": ("int64", LAST_NS),
    "packets_ab": ("int32", PACKETS),
    "packets_ba": ("int32", PACKETS + 1),
    "bytes_ab": ("int64", BYTES),
    "bytes_ba": ("int64", BYTES + 1),
    "payload_ab": ("int64", PAYLOAD),
    "payload_ba": ("int64", PAYLOAD + 1),
    "tcp_flags_ab": ("int16", UNION_FLAGS),
    "tcp_flags_ba": ("int16", UNION_FLAGS + 1),
    "syn_ab": ("int32", SYNS),
    "syn_ba": ("int32", SYNS + 1),
    "synack": ("int32", SYNACK),
}


def flow_columns(rows: Array, long_rows: Array) -> dict[str, Any]:
    """Columns of `Flows` by name but for `state` and `application`. Both arrays are int64[n, words], see `flow_rows`."""
    found: dict[str, Any] = {name: rows.view(dtype)[:, place] for name, (dtype, place) in SHORT.items()}
    long = rows.view(np.int32)[:, LONG]
    once = _of_one_packet(rows)
    for name, (dtype, place) in LONGER.items():
        found[name] = _derived(long, long_rows.view(dtype)[:, place], once.get(name))
    numbers = long_rows.view(np.int32)[:, FRAMES : FRAMES + FLOW_FRAMES]
    found["frames"] = FirstFrames(found["last_number"], long, numbers)
    return found


def _derived(long: Array, column: Array, once: Callable[[Any], Any] | None) -> Derived:
    def of(rows: Any) -> Any:
        at = long[rows]
        values = column[at]  # a copy; row 0 holds nothing
        if once is None:
            return values
        if isinstance(values, np.generic):
            return values if at else column.dtype.type(once(rows))
        np.copyto(values, once(rows), where=at == 0)
        return values

    return Derived(len(long), column.dtype, of)


def _of_one_packet(rows: Array) -> dict[str, Callable[[Any], Any]]:
    """What one packet from side a adds up to, by column: all others are zero."""
    narrow = rows.view(np.int32)
    size, flags = rows.view(np.uint32)[:, FIRST_BYTES], rows.view(np.int16)[:, FIRST_FLAGS]

    def opening(which: int) -> Callable[[Any], Any]:
        return lambda at: (flags[at] >= 0) & (flags[at] & (SYN | ACK) == which)

    return {
        "last_ns": lambda at: rows[at, FIRST_NS],
        "packets_ab": lambda at: narrow[at, LAST_NUMBER] > 0,
        "bytes_ab": lambda at: size[at],
        "payload_ab": lambda at: narrow[at, FIRST_PAYLOAD],
        "tcp_flags_ab": lambda at: np.maximum(flags[at], 0),
        "syn_ab": opening(SYN),
        "synack": opening(SYN | ACK),
    }
