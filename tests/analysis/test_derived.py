"""Columns that are computed where they are looked at: an array's values, and no more of them than asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.columns import Array, among
from analysis.derived import Derived, packed

VALUES = np.array([5, -1, 0, 7, 7, 2**40])
ROWS = [slice(1, 4), np.array([4, 0]), VALUES > 4, np.array([], np.int64), slice(None)]


@pytest.fixture
def asked() -> list[Any]:
    """What the column was asked for."""
    return []


@pytest.fixture
def column(asked: list[Any]) -> Derived:
    """A derived column of VALUES."""

    def of(rows: Any) -> Array:
        asked.append(rows)
        return VALUES[rows]

    return Derived(len(VALUES), np.int64, of)


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_rows_are_those_of_the_array(column: Derived, asked: list[Any], rows: Any) -> None:
    """Only what was asked for is computed."""
    assert column[rows].tolist() == VALUES[rows].tolist()
    assert len(asked) == 1 and asked[0] is rows


def test_a_single_row_is_a_number(column: Derived) -> None:
    """Also one counted from the end."""
    assert (int(column[3]), int(column[np.int64(-1)])) == (7, 2**40)


def test_the_whole_column_is_an_array(column: Derived) -> None:
    """In arithmetic, in comparisons, for numpy's functions, as a list."""
    assert (column == 7).tolist() == (VALUES == 7).tolist()
    assert (1 + column - column).tolist() == [1] * len(VALUES)
    assert np.where(column > 0, column, 0).tolist() == np.maximum(VALUES, 0).tolist()
    assert among(column, (7, 0)).tolist() == [False, False, True, True, True, False]
    assert column.tolist() == VALUES.tolist()
    assert np.asarray(column, np.float64).dtype == np.float64
    assert (len(column), column.shape, column.dtype) == (6, (6,), np.dtype(np.int64))


@pytest.mark.parametrize("values", [[0, 3, 255], [0, 70_000], [2**40, 1], []])
def test_a_packed_column_looks_as_before(values: list[int]) -> None:
    """Narrow where it is kept, in its own type where it is looked at: no sum of two values wraps."""
    array = np.array(values, np.int64)
    column = packed(Derived(len(array), np.int64, lambda rows: array[rows]))

    assert column.tolist() == values
    assert (column + column).tolist() == [2 * value for value in values]
    assert column.dtype == column[:].dtype == np.int64
    assert all(column[i] * 255 == value * 255 for i, value in enumerate(values))
