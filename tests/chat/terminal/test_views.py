"""Pieces of the screen that can be judged without one."""

import pytest
from PIL import Image

from chat.events import File, Message
from chat.terminal.views import IMAGE_ROWS, HalfBlocks, changed, log_id, name_colour


@pytest.mark.parametrize(
    ("size", "columns", "cells"),
    [
        ((64, 48), 100, (48, 18)),  # 18 rows are 36 pixels: 36 * 64 / 48 wide
        ((640, 400), 30, (30, 9)),  # 30 wide: 30 * 400 / 640 / 2 = 9.4 rows
        ((10, 10), 100, (10, 5)),  # small pictures stay small
        ((3000, 1), 100, (100, 1)),
        ((1, 3000), 100, (1, 18)),
        ((5, 5), 0, (1, 1)),
    ],
)
def test_pictures_keep_their_shape(size: tuple[int, int], columns: int, cells: tuple[int, int]) -> None:
    """Two pixels a cell, never wider or higher than there is room."""
    wide, high = HalfBlocks(Image.new("RGB", size)).fit(columns)

    assert (wide, high) == cells
    assert high <= IMAGE_ROWS


def test_a_name_has_one_colour_and_a_room_one_id() -> None:
    """The same every time; rooms whose names differ in odd characters do not share a widget."""
    assert name_colour("alice") == name_colour("alice")
    assert len({log_id(room) for room in ("a.b", "a-b", "@a+b", "a_b")}) == 4


def test_a_change_changes_only_the_text() -> None:
    """An edit wears its mark; a deletion takes text and file away."""
    file = File("ab" * 16, "x", 1, "0" * 64, "", "x")
    before = Message("lobby", 3, 1.0, "bob", "old", "old", file=file)

    edited = changed(before, Message("lobby", 9, 2.0, "bob", "new", "new", edits=3))
    gone = changed(before, Message("lobby", 9, 2.0, "mod", "", "", deletes=3))
    assert (edited.seq, edited.text, edited.edited, edited.file) == (3, "new", True, file)
    assert (gone.seq, gone.text, gone.deleted, gone.file) == (3, "", True, None)
