"""What Tab offers in each place of a line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.terminal.completion import Choices, complete, paths

CHOICES = Choices(["join", "kick", "part"], ["den", "lobby"], ["ann", "anton", "bob"], ["cat.png"])


@pytest.mark.parametrize(
    ("before", "start", "candidates"),
    [
        ("/j", 0, ("/join ",)),
        ("/", 0, ("/join ", "/kick ", "/part ")),
        ("/join l", 6, ("lobby",)),
        ("/join #d", 6, ("den",)),
        ("/kick b", 6, ("bob ",)),
        ("an", 0, ("ann: ", "anton: ")),
        ("hi AN", 3, ("ann ", "anton ")),
        ("@b", 0, ("@b" + "ob: ",)),
        ("see #l", 4, ("#lobby",)),
        ("/get c", 5, ("cat.png",)),
        ("", 0, ()),
        ("xyz", 0, ()),
        ("hi ", 3, ()),
    ],
)
def test_candidates(before: str, start: int, candidates: tuple[str, ...]) -> None:
    """Commands, rooms, people and files, each where it makes sense."""
    found = complete(before, CHOICES)

    assert (found.start, found.candidates) == (start, candidates)


def test_paths_are_listed(tmp_path: Path) -> None:
    """Files and folders that begin like the text, hidden ones only when asked for; a missing folder offers nothing."""
    (tmp_path / "cat.png").touch()
    (tmp_path / "cats").mkdir()
    (tmp_path / ".hidden").touch()

    assert paths(f"{tmp_path}/ca") == [f"{tmp_path}/cat.png", f"{tmp_path}/cats/"]
    assert paths(f"{tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert paths(f"{tmp_path}/nowhere/x") == []
    assert complete(f"/send {tmp_path}/cat.", CHOICES).candidates == (f"{tmp_path}/cat.png",)


@given(st.text(max_size=30))
def test_nothing_that_is_typed_raises(before: str) -> None:
    """Tab is harmless everywhere, also in paths with odd characters; the start lies in the line."""
    assert 0 <= complete(before, CHOICES).start <= max(len(before), 6)
    assert isinstance(paths(before), list)
