"""What Tab offers: commands at the start of a line, rooms, names, files after /send.

In: the text before the cursor, and what there is to choose from. Out: candidates for the last word, best first. Pure but for
`paths`, which lists a folder.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATHS_LIMIT: Final = 200  # entries offered from one folder
ROOM_COMMANDS: Final = frozenset({"/join", "/part", "/room", "/close"})
FILE_COMMANDS: Final = frozenset({"/get"})


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be named at the moment."""

    commands: Sequence[str] = ()
    rooms: Sequence[str] = ()
    people: Sequence[str] = ()
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """Candidates for the text from `start` on."""

    start: int
    candidates: tuple[str, ...]


def complete(before: str, choices: Choices) -> Completion:
    """The candidates for the last word of `before`, the text in front of the cursor."""
    if before.startswith("/send "):
        return Completion(6, tuple(paths(before[6:])))
    start = before.rfind(" ") + 1
    word, first = before[start:], before.split(" ", 1)[0]
    if start == 0 and word.startswith("/"):
        return Completion(0, _matching(word, (f"/{name} " for name in choices.commands)))
    if first in ROOM_COMMANDS:
        return Completion(start, _matching(word.lstrip("#"), choices.rooms))
    if first in FILE_COMMANDS:
        return Completion(start, _matching(word, choices.files))
    if word.startswith("#"):
        return Completion(start, _matching(word, (f"#{name}" for name in choices.rooms)))
    if not word.lstrip("@"):
        return Completion(start, ())
    ending = ": " if start == 0 else " "
    sign = "@" if word.startswith("@") else ""
    return Completion(start, _matching(word, (f"{sign}{name}{ending}" for name in choices.people)))


def _matching(word: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name.casefold().startswith(word.casefold())))


def paths(typed: str) -> list[str]:
    """Files and folders (with a slash) that begin like `typed`; hidden ones only when a dot was typed. Never raises."""
    head, tail = os.path.split(typed)
    found: list[str] = []
    try:
        with os.scandir(Path(head).expanduser() if head else ".") as entries:
            for entry in entries:
                if entry.name.startswith(tail) and (tail.startswith(".") or not entry.name.startswith(".")):
                    found.append(os.path.join(head, entry.name) + ("/" if entry.is_dir() else ""))
                if len(found) >= PATHS_LIMIT:
                    break
    except (OSError, ValueError, RuntimeError):  # RuntimeError: ~ of nobody
        return []
    return sorted(found)
