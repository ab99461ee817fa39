"""Groups of equal keys, against the plain way to make them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.evidence import busiest, coded, distinct, groups, large_groups


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_those_of_a_dictionary(seed: int) -> None:
    """Rows with equal keys, in order of keys; large ones are those with enough rows; keys may be wide or negative."""
    dice = np.random.default_rng(seed)
    keys = [
        dice.integers(0, 9, 400),
        dice.integers(-2, 3, 400),
        dice.integers(0, 4, 400) * (1 << 58 if seed % 2 else 7),
    ]
    rows = np.flatnonzero(dice.random(400) < 0.8)
    plain: dict[tuple[int, ...], list[int]] = {}
    for row in rows.tolist():
        plain.setdefault(tuple(int(key[row]) for key in keys), []).append(row)
    expected = [plain[key] for key in sorted(plain)]
    if seed % 2 == 0:  # `groups` takes keys of any width, but sorts by value; `coded` is the one with limits
        assert [group.tolist() for group in groups(rows, *keys)] == expected
    codes = coded(rows, *keys)
    assert [rows[codes == code].tolist() for code in range(int(codes.max()) + 1)] == expected
    for least in (1, 2, 4, 500):
        wanted = [group for group in expected if len(group) >= least]
        assert [group.tolist() for group in large_groups(rows, least, *keys)] == wanted


def test_nothing_has_no_groups() -> None:
    """Empty rows, no distinct values, no busiest window."""
    empty = np.empty(0, np.int64)
    assert list(groups(empty, empty)) == list(large_groups(empty, 1, empty)) == coded(empty, empty).tolist() == []
    assert distinct(empty, empty).tolist() == [] and busiest(empty, 1.0) == (0, 0, 0)


def test_busiest_window() -> None:
    """Start, end and count of the window that holds most; the end is not part of it."""
    times = np.array([0, 5, 6, 7, 20]) * 10**9
    assert busiest(times, 2.0) == (1, 4, 3)
    assert distinct(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6])).tolist() == [1, 2]
