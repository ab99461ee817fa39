"""The opening: what an earlier lesson left is cleared away before people come, so that every `up` tells its own story.

In: the folders of captures, report and chat. Out: the same folders, empty, unless the lab is already on (the chat
answers): then a second `up`, or somebody who sits down with `run chat join`, must not take the stage from the others.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path


def is_on(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Does the lab's chat answer?"""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except (OSError, UnicodeError):
        return False
    return True


def clear(folders: Sequence[Path]) -> int:
    """Empty the folders, which stay themselves; how many files went. Raises OSError where one cannot go."""
    gone = 0
    for folder in folders:
        gone += sum(not entry.is_dir() for entry in folder.rglob("*"))
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return gone
