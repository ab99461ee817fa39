"""The lab's story: one plain line an event (when, who, what, where to look), on stdout and in a shared file.

Several containers append to one file, so a line is one write of less than a pipe's atomic size. A line is JSON:
{"time", "who", "what", "look", "mark"}; `mark` names a moment that the graphs show. Nothing here knows the plot.
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


@dataclass(frozen=True, slots=True)
class Story:
    """Where to tell: `folder` is shared by all services, `who` the teller."""

    folder: Path
    who: str

    def tell(self, what: str, look: str = "", mark: str = "") -> None:
        """Say one line on stdout and append it to the story file. A full disk silences the file, never the teller."""
        now = time.time()
        where = f"  ({look})" if look else ""
        print(f"{time.strftime('%H:%M:%S', time.gmtime(now))} {self.who:>8}  {safe_name(what, 400)}{where}", flush=True)
        line = json.dumps(
            {"time": round(now, 3), "who": self.who, "what": what[:400], "look": look[:200], "mark": mark}
        )
        try:
            with os.fdopen(os.open(self.folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666), "ab") as out:
                if out.tell() == 0:
                    os.fchmod(out.fileno(), 0o666)  # the services run as different users
                out.write(line.encode()[:MAX_LINE] + b"\n")
        except OSError as error:
            print(f"the story file cannot be written: {error.strerror}", flush=True)


def read_story(folder: Path) -> list[dict[str, Any]]:
    """All events so far in order of time; lines that are no event are left out."""
    events = []
    try:
        with (folder / NAME).open("rb") as lines:
            text = lines.read(MAX_STORY)
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if (
            isinstance(event, dict)
            and isinstance(event.get("time"), (int, float))
            and isinstance(event.get("what"), str)
        ):
            events.append(event)
    return sorted(events, key=lambda event: float(event["time"]))


def marks(events: list[dict[str, Any]], start: float) -> list[tuple[float, str]]:
    """The marked moments as (seconds since `start`, label)."""
    return [(event["time"] - start, str(event["mark"])) for event in events if event.get("mark")]
