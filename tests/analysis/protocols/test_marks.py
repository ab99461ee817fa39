"""The search for marks: one pass for all of them and one search each find the same."""

from __future__ import annotations

import random

import numpy as np
import pytest

from analysis.kernel import enabled
from analysis.protocols import marks


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Packets of noise and zeros with marks in them, some cut at the end of their packet, some across two."""
    dice = random.Random(seed)
    data, begin, end = bytearray(), [], []
    for _ in range(120):
        data += dice.randbytes(dice.randrange(30))  # headers
        begin.append(len(data))
        text = dice.choice(marks.MARKS)[1]
        piece = bytes(dice.randrange(40)) + text[: dice.choice((len(text), len(text) - 1))] * dice.choice((1, 2))
        data += piece + dice.randbytes(dice.randrange(5)) if dice.random() < 0.7 else dice.randbytes(60)
        end.append(len(data))
    return np.frombuffer(bytes(data), np.uint8), np.array(begin, np.int64), np.array(end, np.int64)


def one_pass(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> list[tuple[int, ...]]:
    """What the kernel finds, compiled or not."""
    table, hits = np.zeros((marks.MOST_HITS * len(marks.MARKS), 3), np.int64), np.zeros(len(marks.MARKS), np.int64)
    count = marks._search(data, begin, end, *marks._tables(), hits, table)
    return sorted(map(tuple, table[:count].tolist()))


@pytest.mark.parametrize("seed", range(12))
def test_both_ways_find_the_same(seed: int) -> None:
    """By table and by a search a mark, in the same packets at the same places."""
    spans = planted(seed)
    expected = sorted(map(tuple, marks._one_by_one(*spans)))
    assert one_pass(*spans) == expected and expected
    assert marks.found(*spans) == expected


@pytest.mark.parametrize("shift", range(marks.STRIDE))
def test_every_mark_is_found_wherever_it_stands(shift: int) -> None:
    """Each mark alone in a packet, at every distance from its beginning modulo the stride."""
    data = np.frombuffer(b"".join(b"." * shift + text for _, text in marks.MARKS), np.uint8)
    size = np.array([len(text) for _, text in marks.MARKS])
    end = np.cumsum(size + shift)
    found = one_pass(data, end - size - shift, end)
    assert {(index, mark) for index, _, mark in found} >= {(i, i) for i in range(len(marks.MARKS))}


def test_every_mark_is_found_at_both_edges() -> None:
    """Each mark as a packet of its own."""
    data = np.frombuffer(b"".join(text for _, text in marks.MARKS), np.uint8)
    size = np.array([len(text) for _, text in marks.MARKS])
    end = np.cumsum(size)
    found = one_pass(data, end - size, end)
    assert {(index, mark) for index, _, mark in found} >= {(i, i) for i in range(len(marks.MARKS))}


def test_hits_of_one_mark_are_bounded_and_hide_no_other() -> None:
    """A packet full of one mark, then another mark."""
    many = marks.MARKS[0][1] * (marks.MOST_HITS + 50) + b"ReflectiveLoader"
    if not enabled():
        many = marks.MARKS[0][1] * (marks.MOST_HITS + 1) + b"ReflectiveLoader"
    data = np.frombuffer(many, np.uint8)
    found = marks.found(data, np.array([0]), np.array([len(data)]))
    names = [marks.MARKS[mark][0] for _, _, mark in found]
    assert names.count("program-windows") == marks.MOST_HITS and names.count("reflective-loader") == 1


def test_nothing_in_nothing() -> None:
    """No packets, empty packets, packets of one byte."""
    empty = np.zeros(0, np.int64)
    assert marks.found(np.zeros(4, np.uint8), empty, empty) == []
    assert one_pass(np.zeros(4, np.uint8), np.array([0, 1]), np.array([0, 2])) == []
