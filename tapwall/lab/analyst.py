"""The analyst: reads the captures as they grow, writes the report, makes rules once something is at medium or above.

In: the folder of rotating captures. Out: in the report folder the page with its pictures, `verdict.json`, `talk.json`
(the chat as traffic), `seen.json` (findings and the rules' replay in short), and below `rules/` what `tapwall rules`
writes. New findings are told as they appear, each once, also over a restart. A capture that cannot be read yet (the
first block is being written) is tried again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapwall.lab.names import Book
from tapwall.lab.run import tapwall
from tapwall.lab.story import Story, marks, read_story
from tapwall.lab.talk import talk

SERIOUS = ("medium", "high", "critical")
MIN_BYTES = 400  # of a capture that holds at least one packet behind its headers
MAX_FINDINGS = 60  # on the live page
REST = 2.0  # times as long as a look took, the next one waits: captures grow, the machine is shared


@dataclass(slots=True)
class Analyst:
    """One analyst. `server` is the chat's host, `permit` people and networks who must not be cut off: names or addresses.

    The rules are asked for without a limit of connections a second: whether such a rule holds depends on the clock, and
    here every rule is to be proved.
    """

    captures: Path
    report: Path
    story: Story
    server: str = ""
    permit: tuple[str, ...] = ()
    told: set[str] = field(default_factory=set)
    size: int = -1
    book: Book = field(init=False)
    people: Book = field(init=False)

    def __post_init__(self) -> None:
        self.book = Book((self.server,) if self.server else ())
        self.people = Book(self.permit)
        self.told |= {event["look"] for event in read_story(self.report) if event["who"] == self.story.who}

    def look(self) -> bool:
        """Analyse what is there if it has grown. True if something was analysed."""
        files = [path for path in sorted(self.captures.glob("*.pcapng")) if path.stat().st_size >= MIN_BYTES]
        size = sum(path.stat().st_size for path in files)
        if not files or size == self.size:
            return False
        server = self.book.look_up().get(self.server, "")
        people = self.people.look_up()
        answer = tapwall("analyze", *map(str, files), "--json")
        if answer.data is None:
            self.story.tell(f"cannot read the captures yet: {answer.complaint}")
            return False
        self.size = size
        self._tell_findings(answer.data)
        serious = any(finding["severity"] in SERIOUS for finding in answer.data["findings"])
        rules = self._rules(files, people) if serious else None
        self._write(answer.data, rules, server, people)
        return True

    def _tell_findings(self, data: dict[str, Any]) -> None:
        for finding in data["findings"]:
            look = f"report.html#{finding['id']}"
            key = f"{finding['detector']} {finding['accountable'] or finding['hosts'][:1]}"
            if key not in self.told and look not in self.told:
                self.story.tell(f"{finding['severity']}: {finding['title']}", look=look)
            self.told |= {key, look}
        drops = dropped(data)
        if drops and "drops" not in self.told:
            self.told.add("drops")
            self.story.tell(f"the sniffer could not keep up: {drops} packets are missing from the captures")

    def _rules(self, files: list[Path], people: dict[str, str]) -> dict[str, Any] | None:
        """What `tapwall rules` proposes; its files stand below rules/ when it has come back."""
        words = ["rules", *map(str, files), "--vantage", "host", "--severity", "medium", "--json"]
        words += ["-o", str(self.report / "rules")]
        words += [word for net in people.values() for word in ("--permit", net)]
        answer = tapwall(*words)
        if answer.data is None:
            self.story.tell(f"no rules: {answer.complaint}")
        return answer.data

    def _write(self, data: dict[str, Any], rules: dict[str, Any] | None, server: str, people: dict[str, str]) -> None:
        from analysis.report import write_report, write_text
        from analysis.verdict import verdict

        start = float(data["capture"]["first_time"] or 0)
        write_report(Read(data), self.report, rules, marks(read_story(self.report), start))
        names = {address: name for name, address in {**people, "server": server}.items()}
        write_text(self.report / "verdict.json", json.dumps(verdict(data)))
        write_text(self.report / "talk.json", json.dumps(talk(data, server, names)))
        write_text(self.report / "seen.json", json.dumps(seen(data, rules, _before(self.report / "seen.json"))))


def _before(path: Path) -> list[dict[str, Any]]:
    """The findings of the looks so far; none where the file is not there or not ours."""
    try:
        found = json.loads(path.read_bytes())["findings"]
        return [one for one in found if isinstance(one["id"], str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def seen(data: dict[str, Any], rules: dict[str, Any] | None, before: list[dict[str, Any]]) -> dict[str, Any]:
    """Findings and rules in short: what the live page lists; the report has everything.

    A finding stays on the list when a later look, at more traffic, no longer makes it: `now` is False then. A beacon
    that the wall has silenced is one.
    """
    keys = ("id", "detector", "severity", "confidence", "title", "explanation", "packets", "frame_count", "command")
    findings = {one["id"]: {**one, "now": False} for one in before}
    for finding in data["findings"]:
        row = {key: finding.get(key) for key in keys} | {"now": True}
        findings[finding["id"]] = row | {"accountable": (finding["accountable"] or {}).get("address")}
    return {
        "packets": data["capture"]["packets"],
        "drops": dropped(data),
        "findings": list(findings.values())[:MAX_FINDINGS],
        "rules": [
            {key: rule.get(key) for key in ("id", "action", "source", "description", "hits", "collateral")}
            for rule in (rules or {}).get("policy", {}).get("rules", [])[:100]
        ],
        "proof": (rules or {}).get("proof"),
    }


def dropped(data: dict[str, Any]) -> int | None:
    """Packets that the sniffer saw and could not write; None until a file is finished: then they stand at its end."""
    told = [one["drops"] for one in data["capture"]["interfaces"] if one.get("drops") is not None]
    return sum(told) if told else None


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
            analyst.story.tell(f"cannot go on: {error.strerror or error}")


def _ticks(every_s: float, seconds: float | None) -> Iterator[float]:
    """Moments `every_s` apart, or farther where a look takes long; the first comes at once."""
    began = time.monotonic()
    while seconds is None or time.monotonic() - began < seconds:
        start = time.monotonic()
        yield start
        took = time.monotonic() - start
        time.sleep(max(0.2, every_s - took, REST * took if took > every_s else 0.0))
