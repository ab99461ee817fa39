"""Rows of facts: a sequence like a list, whatever part of it is kept as columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import facts
from analysis.facts import Echo, Facts, Rows

ROWS = st.lists(
    st.builds(
        Echo,
        st.integers(1, 20),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-1, 3),
        st.booleans(),
        st.integers(0, 2**70),
        st.integers(0, 3),
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 7.5]),
        st.sampled_from([b"", b"abc"]),
    ),
    max_size=30,
)


@pytest.fixture(autouse=True, scope="module")
def _few_together() -> object:
    """Four rows become columns, so that thirty are in columns seven times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "STREAMED", 6)
        patch.setattr(facts, "FEW", 15)
        patch.setattr(facts, "TOGETHER", 4)
        patch.setattr(facts, "MOST_KNOWN", 3)
        yield


def rows_of(plain: list[Echo]) -> Rows[Echo]:
    rows: Rows[Echo] = Rows()
    for row in plain:
        rows.append(row)
    return rows


@given(ROWS)
def test_rows_are_those_of_a_list(plain: list[Echo]) -> None:
    """Length, order, single rows, slices and the way back are a list's; types of values stay."""
    rows = rows_of(plain)

    assert list(rows) == plain == rows
    assert list(reversed(rows)) == plain[::-1]
    assert [rows[i] for i in range(-len(plain), len(plain))] == plain * 2
    assert rows[1:-1] == plain[1:-1]
    assert len(rows) == len(plain) and bool(rows) == bool(plain)
    assert [tuple(map(type, row)) for row in rows] == [tuple(map(type, row)) for row in plain]
    with pytest.raises(IndexError):
        rows[len(plain)]


@given(ROWS)
def test_sorting_is_stable(plain: list[Echo]) -> None:
    """Rows of one frame stay in the order in which they came, and rows may follow afterwards."""
    rows = rows_of(plain)
    rows.sort(key=lambda row: row.number)
    plain = sorted(plain, key=lambda row: row.number)

    assert list(rows) == plain
    rows.append(plain[0] if plain else Echo(1, 2, 3, True, 4, 5, 6, 7.0, b""))
    assert list(rows)[: len(plain)] == plain and len(rows) == len(plain) + 1


@given(ROWS, ROWS)
def test_rows_that_are_complete(plain: list[Echo], late: list[Echo]) -> None:
    """They are the same, few or many, and a late one may follow all the same."""
    rows = rows_of(plain)
    rows.settle()

    assert list(rows) == plain
    for row in late:
        rows.append(row)
    assert list(rows) == plain + late


@given(ROWS.filter(bool), st.integers(0, 2**20))
def test_a_row_is_replaced(plain: list[Echo], at: int) -> None:
    """Wherever it is kept, one row changes and no other."""
    rows = rows_of(plain)
    at %= len(plain)
    plain[at] = plain[at]._replace(number=99, sample=b"new")
    rows[at] = plain[at]

    assert list(rows) == plain


def test_what_was_not_kept_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first LIMIT rows of a kind stay."""
    monkeypatch.setattr(facts, "LIMIT", 6)
    found = Facts()
    for number in range(8):
        found.add("echo", Echo(number, 0, 0, True, 0, 0, 0, 0.0, b""))

    assert [row.number for row in found.echo] == [0, 1, 2, 3, 4, 5]
    assert found.dropped["echo"] == 2
