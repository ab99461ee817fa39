"""The lab's story: one plain line an event (when, who, what, where to look), on stdout and in a shared file.

Several containers append to one file, so a line is one write of less than a pipe's atomic size. A line is JSON:
{"time", "who", "what", "look", "mark", "facts"}; `mark` names a moment that the graphs show, `facts` are the numbers of
the line for the page. Nothing here knows the plot, but for the names of its two moments.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat.safe_text import safe_name

NAME = "story.jsonl"
MAX_LINE = 2_000  # bytes: well below 4,096, which Linux appends in one piece
MAX_STORY = 4_000_000  # bytes read back: some 20,000 events, far more than a lesson has
ATTACK, RULES = "intruder begins", "rules stand"  # the two moments: before, during, after


@dataclass(frozen=True, slots=True)
class Story:
    """Where to tell: `folder` is shared by all services, `who` the teller."""

    folder: Path
    who: str

    def tell(self, what: str, look: str = "", mark: str = "", facts: dict[str, Any] | None = None) -> None:
        """Say one line on stdout and append it to the story file. A full disk silences the file, never the teller."""
        now = time.time()
        where = f"  ({safe_name(look, 200)})" if look else ""
        print(f"{time.strftime('%H:%M:%S', time.gmtime(now))} {self.who:>8}  {safe_name(what, 400)}{where}", flush=True)
        event: dict[str, Any] = {"time": round(now, 3), "who": self.who, "what": what[:400], "look": look[:200]}
        event |= {"mark": mark} | ({"facts": facts} if facts else {})
        line = json.dumps(event).encode()
        if len(line) > MAX_LINE:  # half a line would be no event: what it says goes before the numbers
            line = json.dumps({**event, "what": what[:100], "facts": None}).encode()[:MAX_LINE]
        try:
            with os.fdopen(os.open(self.folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666), "ab") as out:
                if out.tell() == 0:
                    os.fchmod(out.fileno(), 0o666)  # the services run as different users
                out.write(line + b"\n")
        except OSError as error:
            print(f"the story file cannot be written: {error.strerror}", flush=True)


def read_story(folder: Path) -> list[dict[str, Any]]:
    """All events so far in order of time; lines that are no event are left out."""
    events = []
    try:
        with (folder / NAME).open("rb") as lines:
            text = lines.read(MAX_STORY)
    except OSError:
        return []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_event(event):
            events.append(event)
    return sorted(events, key=lambda event: float(event["time"]))


def _is_event(event: Any) -> bool:
    """Does a line hold what the page and the graphs need, in types that they can show?"""
    if not isinstance(event, dict) or isinstance(event.get("time"), bool):
        return False
    words = all(isinstance(event.setdefault(key, ""), str) for key in ("who", "what", "look", "mark"))
    facts = event.setdefault("facts", None)
    number = isinstance(event.get("time"), (int, float)) and 0 <= event["time"] < 1e11  # no NaN, no year 5000
    return words and number and (facts is None or isinstance(facts, dict))


def marks(events: list[dict[str, Any]], start: float) -> list[tuple[float, str]]:
    """The marked moments as (seconds since `start`, label)."""
    return [(event["time"] - start, str(event["mark"])) for event in events if event.get("mark")]


def moment(events: list[dict[str, Any]], mark: str) -> float | None:
    """When the story first came to `mark`; None if it has not."""
    return next((float(event["time"]) for event in events if event.get("mark") == mark), None)
