"""Named tuples: what `typing.NamedTuple` would have made, for less."""

from __future__ import annotations

import copy
import pickle
import typing
from typing import Any

import pytest

from analysis import columns, named_tuples


def declared(base: Any) -> Any:
    """A class of three fields, one with a default, and a method."""

    class Row(base):
        """A row."""

        number: int
        name: str
        tags: tuple[str, ...] = ()

        def label(self) -> str:
            return f"{self.number} {self.name}"

    return Row


OURS, LIBRARYS = declared(named_tuples.NamedTuple), declared(typing.NamedTuple)


@pytest.mark.parametrize(
    "what",
    [
        lambda row: row(1, "a"),
        lambda row: row(1, name="a", tags=("x",)),
        lambda row: row(1, "a") == (1, "a", ()),
        lambda row: row(1, "a")._replace(name="b"),
        lambda row: row(1, "a")._asdict(),
        lambda row: row._make([1, "a", ()]),
        lambda row: (row._fields, row._field_defaults, row.__match_args__, row.__slots__, row.__doc__, row.__module__),
        lambda row: (row(1, "a").label(), row(1, "a").tags, hash(row(1, "a"))),
        lambda row: copy.copy(row(1, "a")),
        lambda row: hasattr(row(1, "a"), "__dict__"),
        lambda row: type("More", (row,), {})(1, "a"),
    ],
)
def test_it_answers_as_the_librarys(what: Any) -> None:
    """Values, text, copies and class attributes are the same."""
    assert repr(what(declared(named_tuples.NamedTuple))) == repr(what(declared(typing.NamedTuple)))


@pytest.mark.parametrize(
    "what",
    [
        lambda row: row(),
        lambda row: row(1, "a", (), 4),
        lambda row: row(1, "a", other=1),
        lambda row: row._make([1]),
        lambda row: setattr(row(1, "a"), "name", "b"),
        lambda row: setattr(row(1, "a"), "other", "b"),
    ],
)
def test_it_refuses_what_the_librarys_refuses(what: Any) -> None:
    """The same kind of error for what cannot be."""
    with pytest.raises((TypeError, ValueError, AttributeError)) as librarys:
        what(LIBRARYS)

    with pytest.raises(librarys.type):
        what(OURS)


def test_replacing_what_is_no_field_is_refused() -> None:
    """A TypeError, as the library's since Python 3.13; before it was a ValueError there."""
    with pytest.raises(TypeError, match="other"):
        OURS(1, "a")._replace(other=1)


def test_it_can_be_pickled() -> None:
    """A column's description survives a pickle: the cache of compiled kernels keeps classes by name."""
    column = columns.PACKET_COLUMNS[0]

    assert pickle.loads(pickle.dumps(column)) == column
    assert pickle.loads(pickle.dumps(columns.Packets)) is columns.Packets


def test_a_default_before_a_field_without_is_refused() -> None:
    """Declarations that no constructor fits are a TypeError, and so is one without fields."""
    with pytest.raises(TypeError, match="without a default follows"):
        type(named_tuples.NamedTuple)("Row", (named_tuples.NamedTuple,), {"__annotations__": {"a": 1, "b": 2}, "a": 1})

    with pytest.raises(TypeError, match="got no annotations"):
        type(named_tuples.NamedTuple)("Row", (named_tuples.NamedTuple,), {})
