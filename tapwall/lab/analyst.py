"""The analyst: reads the captures as they grow, writes the report, makes rules once something is at medium or above.

In: the folder of rotating captures. Out: in the report folder the page with its pictures, `verdict.json`, and below
`rules/` what `tapwall rules` writes. New findings are told as they appear, each once. It looks again every `every_s`
seconds while the captures grow; a capture that cannot be read yet (the first block is being written) is tried again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapwall.lab.run import tapwall
from tapwall.lab.story import Story, marks, read_story

SERIOUS = ("medium", "high", "critical")
MIN_BYTES = 400  # of a capture that holds at least one packet behind its headers


@dataclass(slots=True)
class Analyst:
    """One analyst. `protect` is the server's address, `permit` networks whose people must not be cut off."""

    captures: Path
    report: Path
    story: Story
    protect: str = ""
    permit: tuple[str, ...] = ()
    told: set[str] = field(default_factory=set)
    size: int = -1

    def look(self) -> bool:
        """Analyse what is there if it has grown. True if something was analysed."""
        files = [path for path in sorted(self.captures.glob("*.pcapng")) if path.stat().st_size >= MIN_BYTES]
        size = sum(path.stat().st_size for path in files)
        if not files or size == self.size:
            return False
        answer = tapwall("analyze", *map(str, files), "--json")
        if answer.data is None:
            self.story.tell(f"cannot read the captures yet: {answer.complaint}")
            return False
        self.size = size
        self._tell_findings(answer.data)
        rules = self._rules(files) if self._serious(answer.data) else None
        self._write(answer.data, rules)
        return True

    def _serious(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        return [finding for finding in data["findings"] if finding["severity"] in SERIOUS]

    def _tell_findings(self, data: dict[str, Any]) -> None:
        for finding in data["findings"]:
            key = f"{finding['detector']} {finding['accountable'] or finding['hosts'][:1]}"
            if key not in self.told:
                self.told.add(key)
                self.story.tell(f"{finding['severity']}: {finding['title']}", look=f"report.html#{finding['id']}")

    def _rules(self, files: list[Path]) -> dict[str, Any] | None:
        """What `tapwall rules` proposes; its files stand below rules/ when it has come back."""
        words = [
            "rules",
            *map(str, files),
            "--vantage",
            "host",
            "--severity",
            "medium",
            "--json",
            "-o",
            str(self.report / "rules"),
        ]
        words += [word for net in self.permit for word in ("--permit", net)]
        words += ["--protect", self.protect] if self.protect else []
        answer = tapwall(*words)
        if answer.data is None:
            self.story.tell(f"no rules: {answer.complaint}")
        return answer.data

    def _write(self, data: dict[str, Any], rules: dict[str, Any] | None) -> None:
        from analysis.report import write_report, write_text
        from analysis.verdict import verdict

        start = float(data["capture"]["first_time"] or 0)
        write_report(Read(data), self.report, rules, marks(read_story(self.report), start))
        write_text(self.report / "verdict.json", json.dumps(verdict(data)))


@dataclass(frozen=True, slots=True)
class Read:
    """An analysis that came as JSON."""

    data: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it came."""
        return self.data


def watch(analyst: Analyst, every_s: float, seconds: float | None) -> None:
    """Look every `every_s` seconds, for `seconds` (None: until stopped). A full disk is told, then tried again."""
    os.makedirs(analyst.report, exist_ok=True)
    analyst.story.tell("waits for captures", look=str(analyst.captures))
    for _ in _ticks(every_s, seconds):
        try:
            analyst.look()
        except OSError as error:
            analyst.story.tell(f"cannot write the report: {error.strerror}")


def _ticks(every_s: float, seconds: float | None) -> Iterator[float]:
    """Moments `every_s` apart; the first comes at once."""
    began = time.monotonic()
    while seconds is None or time.monotonic() - began < seconds:
        start = time.monotonic()
        yield start
        time.sleep(max(0.2, every_s - (time.monotonic() - start)))
