"""Rows as text: the kernel writes what Python would."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.columns import NO_TIME
from analysis.rows import INTEGER, OPTIONAL, SECONDS, TEXT, Value, pool, render

NUMBERS = st.integers(0, 2**62) | st.integers(0, 1000) | st.sampled_from([9, 10, 99, 100, 10**18, 10**18 - 1])
TIMES = st.integers(-(10**15), 10**15) | st.sampled_from([0, 1, -1, 10**9, 5 * 10**8, NO_TIME])
WORDS = ["", "a", '"q"', "ü\n", "x" * 50]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.integers(-1, 5) | NUMBERS, TIMES, st.integers(-1, len(WORDS) - 1)), min_size=1))
def test_rows_are_what_json_would_write(rows: list[tuple[int, int, int, int]]) -> None:
    """Integers, optional integers, seconds and texts of any rows, parsed again."""
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows)]
    words = pool([json.dumps(word) for word in WORDS])
    values = [
        Value(INTEGER, columns[0]),
        Value(OPTIONAL, columns[1]),
        Value(SECONDS, columns[2]),
        Value(TEXT, columns[3], words),
    ]
    text = b"".join(render(["[", ",", ",", ",[", "]],"], values)).decode()
    expected = [
        [n, None if o < 0 else o, None if t == NO_TIME else t / 1e9, [WORDS[w]] if w >= 0 else []]
        for n, o, t, w in rows
    ]

    assert expected == json.loads(f"[{text[:-1]}]")


def test_many_rows_come_in_pieces() -> None:
    """More rows than one buffer holds are all written, in order."""
    numbers = np.arange(20_000, dtype=np.int64)
    parts = list(render(["", "\n"], [Value(INTEGER, numbers)]))

    assert len(parts) > 1
    assert b"".join(parts).split() == [str(n).encode() for n in range(20_000)]


def test_no_rows() -> None:
    """An empty table is no bytes."""
    assert b"".join(render(["x", "y"], [Value(INTEGER, np.empty(0, np.int64))])) == b""


def test_two_pools_in_one_row() -> None:
    """Each text comes from its own pool."""
    ids = np.array([0, 1])
    text = b"".join(
        render(["", "-", ";"], [Value(TEXT, ids, pool(["a", "b"])), Value(TEXT, ids[::-1], pool(["c", "d"]))])
    )

    assert text == b"a-d;b-c;"
