"""Findings while a capture still runs: its files are judged every so often, and each claim is told once.

In: the files of a recording as they begin, seconds between judgements. Out: calls of `tell` with findings as JSON: a new
one, and one again when it is ten times as large or worse than it was told. Judged are the newest LATEST files that are
still there, together, so that a claim does not end where a file does; in a process of its own, so that no packet is lost
over it: `python -m analysis.live_findings FILE...` prints a finding a line. Must not know how packets are captured.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from chat.safe_text import safe_name

LATEST = 10  # files judged together; rotation decides how large they are
LEVELS = ("info", "low", "medium", "high", "critical")
Row = dict[str, Any]  # a finding as outputs.md lays it down, with its `subject`


class News:
    """Which of the findings are new, ten times larger, or worse than when they were last told."""

    def __init__(self, least: str = "info") -> None:
        """`least`: a severity below which nothing is told."""
        self._least = LEVELS.index(least)
        self._told: dict[tuple[str, str], tuple[int, int]] = {}

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """Those worth telling, in their order; they are told from now on."""
        found = []
        for row in rows:
            key = row["detector"], row["subject"]
            size, level = len(str(row["packets"])), LEVELS.index(row["severity"])  # digits grow at each power of ten
            told_size, told_level = self._told.get(key, (0, -1))
            if level >= self._least and (size > told_size or level > told_level):
                found.append(row)
                self._told[key] = max(size, told_size), max(level, told_level)
        return found


class LiveFindings:
    """Judges in the background from `with` to its end, and once more at the end."""

    def __init__(self, tell: Callable[[Row], None], every_s: float, least: str = "low") -> None:
        self._tell, self._every_s = tell, every_s
        self._files: list[str] = []
        self._news = News(least)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._child: subprocess.Popen[str] | None = None
        self._judged = 0  # bytes of the files at the last judgement
        self.trouble = ""  # why the last judgement failed, "" where it did not

    def begun(self, path: str) -> None:
        """A file that packets are written to from now on."""
        self._files.append(path)

    def __enter__(self) -> LiveFindings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        child = self._child
        if child is not None:
            child.kill()  # what it would say the last judgement says as well
        self._thread.join()
        self._judge()

    def _run(self) -> None:
        pause = self._every_s
        while not self._stop.wait(pause):
            began = time.monotonic()
            self._judge()
            pause = max(self._every_s, time.monotonic() - began)  # half of a processor at most

    def _judge(self) -> None:
        sizes = _sizes(self._files[-LATEST:])
        size = sum(sizes.values())
        if size == self._judged:
            return
        rows, self.trouble = self._asked(list(sizes))
        if rows is not None:
            self._judged = size
            for row in self._news.of(rows):
                self._tell(row)

    def _asked(self, paths: Sequence[str]) -> tuple[list[Row] | None, str]:
        """What the other process finds; None, and its last words, where it could not judge."""
        command = [sys.executable, "-m", "analysis.live_findings", *paths]
        folders = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
        with subprocess.Popen(  # Ctrl-C ends the recording; the judgement of what was recorded goes on
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        ) as child:
            self._child = child
            try:
                out, said = child.communicate()
            except BaseException:
                child.kill()
                raise
            finally:
                self._child = None
        if child.returncode != 0:
            return None, (said.strip().splitlines() or ["the judgement ended early"])[-1]
        return [json.loads(line) for line in out.splitlines()], ""


def line(row: Row) -> str:
    """A finding for a person: when it was last seen, severity, title, packets; what peers sent is made harmless."""
    seen = time.strftime("%H:%M:%S", time.localtime(row["last_time"])) if row["last_time"] else "--:--:--"
    return f"{seen} {row['severity']:>8}  {safe_name(row['title'])}  ({row['packets']} packets)"


def _sizes(paths: Iterable[str]) -> dict[str, int]:
    """Bytes of those files that are there: rotation deletes the oldest while we look."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found[path] = os.path.getsize(path)
    return found


def main(paths: Sequence[str]) -> int:
    """Print the findings of some files that may still grow, a line each; 2 and one line where they cannot be read."""
    from analysis.errors import AnalysisError
    from analysis.run import analyse

    try:
        analysis = analyse(paths)
    except (AnalysisError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for finding in analysis.findings:
        sys.stdout.write(json.dumps({"subject": finding.subject, **finding.to_json(analysis.path)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
