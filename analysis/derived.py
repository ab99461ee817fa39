"""Columns that are computed where they are looked at: in full they would take more memory than what they are made of.

In: a function from rows to values. Out: what looks like a numpy array of one dimension. `column[rows]` costs what those
rows cost; arithmetic and comparisons take the whole column for as long as they last. Knows no table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.columns import Array


class Derived(np.lib.mixins.NDArrayOperatorsMixin):
    """A column of `size` values that `of` computes for rows: a number, a slice, a mask or an array of numbers."""

    __slots__ = ("_of", "dtype", "shape")

    def __init__(self, size: int, dtype: Any, of: Callable[[Any], Any]) -> None:
        self.dtype = np.dtype(dtype)
        self.shape = (size,)
        self._of = of

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        """The values of these rows, as an array of their own; of a single row as a number."""
        return self._of(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole: Array = self._of(slice(None))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(one[:] if isinstance(one, Derived) else one for one in inputs), **options)

    def tolist(self) -> list[Any]:
        """All values as plain numbers."""
        return self[:].tolist()  # type: ignore[no-any-return]


def packed(column: Derived) -> Derived:
    """The same column, kept in the narrowest type that holds its values: for what is often asked for in full.

    It looks as before: whoever adds or multiplies values does so in the type of the column. None is negative.
    """
    values = column[:]
    values = values.astype(np.min_scalar_type(int(values.max(initial=0))))
    return Derived(len(values), column.dtype, lambda rows: values[rows].astype(column.dtype))
