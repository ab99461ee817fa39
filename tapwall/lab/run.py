"""Run one of the product's own commands as a user would, and read its JSON.

In: the words after `tapwall`. Out: exit code, the JSON object of stdout, the last line of stderr. The lab does its
work through the command line alone, so that what a class sees is what it can type.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said. `data` is None where stdout held no JSON object."""

    code: int
    data: dict[str, Any] | None
    complaint: str


def tapwall(*words: str, timeout_s: float = 300, say: str = "") -> Answer:
    """Run `tapwall WORDS…` with `say` on its stdin; code 124 where it took longer than `timeout_s`."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tapwall", *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            input=say,
        )
    except subprocess.TimeoutExpired:
        return Answer(124, None, f"tapwall {words[0]}: no answer within {timeout_s:g} s")
    try:
        data = json.loads(done.stdout)
    except ValueError:
        data = None
    lines = done.stderr.strip().splitlines()
    return Answer(done.returncode, data if isinstance(data, dict) else None, lines[-1] if lines else "")
