"""A finding: a claim with numbers, its evidence and the harmless explanation beside it.

In: what a detector measured. Out: a frozen `Finding` and its JSON form (outputs.md). Severity comes from impact,
confidence from evidence. The id is a hash of detector, subject and window start, so a re-run gives the same ids.
Must not know any detector, and prints nothing: texts hold what peers sent and are escaped where they are drawn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, field
from enum import IntEnum
from typing import Any, Literal

from analysis.records import Record


class Severity(IntEnum):
    """How much harm the claim means if it is true. info: a fact worth knowing … critical: act now."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """The word of outputs.md: info, low, medium, high or critical."""
        return self.name.lower()


# what follows the noun of a unit: "names for spraying", "packets/s", "ports, at most"; the rest stays as it is
NOUNS = re.compile(r"(?=$|[,/]| (?:a|by|ended|for|from|in|of|on|per|that|to|with|within|without)\b)")
SINGULAR = (("ies", "y"), ("tches", "tch"), ("rches", "rch"), ("sses", "ss"), ("xes", "x"), ("s", ""))


class Accountable(Record):
    """Whose traffic a rule may touch: the address, and the side of the conversations it stands on."""

    address: str
    side: Literal["source", "destination", "both"]


class Number(Record):
    """One measured value beside the threshold it crossed. `source` says where the threshold is from."""

    value: float | int | str
    unit: str = ""
    threshold: float | int | str | None = None
    source: str = ""


def counted(number: int, nouns: str) -> str:
    """A number and what it counts, as people write it: `1 address`, `2 addresses`."""
    return f"{number} {unit_of(number, nouns)}"


def unit_of(value: float | int | str, unit: str) -> str:
    """The unit of a value: as declared, in the plural, or for one thing in the singular (`1 name for spraying`)."""
    if value != 1:
        return unit
    nouns, rest = NOUNS.split(unit, maxsplit=1)
    for plural, singular in SINGULAR:
        if nouns.endswith(plural) and len(nouns) > 2 and " or " not in nouns:
            return nouns.removesuffix(plural) + singular + rest
    return unit


class Finding(Record):
    """One claim. Times are Unix seconds; `frames` the first 100 frame numbers; `flows` rows of Analysis.flows."""

    detector: str
    subject: str  # what makes it this finding and no other: "10.0.0.5>10.0.0.9", stable between runs
    title: str
    severity: Severity
    confidence: float
    accountable: Accountable | None
    hosts: tuple[str, ...]
    first_time: float | None
    last_time: float | None
    packets: int
    bytes: int
    frames: tuple[int, ...]
    frame_count: int
    numbers: dict[str, Number]
    explanation: str
    benign_explanation: str
    filter: str
    advice: str
    attack: tuple[tuple[str, str], ...] = ()
    conversations: tuple[dict[str, Any], ...] = ()
    flows: Sequence[int] = ()
    story: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Stable: the same capture gives the same ids (detector, subject, first time)."""
        text = f"{self.detector}\0{self.subject}\0{self.first_time}"
        return f"{self.detector}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:10]}"

    def to_json(self, capture: str = "CAPTURE") -> dict[str, Any]:
        """The finding as outputs.md lays it down; `capture` is the path named in `command`."""
        import shlex

        numbers = {name: number.value for name, number in self.numbers.items()}
        return {
            "id": self.id,
            "detector": self.detector,
            "title": self.title,
            "severity": self.severity.word,
            "confidence": round(self.confidence, 3),
            "accountable": asdict(self.accountable) if self.accountable else None,
            "hosts": list(self.hosts),
            "conversations": [dict(c) for c in self.conversations],
            "first_time": self.first_time,
            "last_time": self.last_time,
            "packets": self.packets,
            "bytes": self.bytes,
            "frames": list(self.frames[:100]),
            "frame_count": self.frame_count,
            "numbers": numbers,
            "thresholds": {
                name: {"threshold": number.threshold, "unit": number.unit or None, "source": number.source or None}
                for name, number in self.numbers.items()
            },
            "explanation": self.explanation,
            "benign_explanation": self.benign_explanation,
            "attack": [{"id": number, "name": name} for number, name in self.attack],
            "filter": self.filter,
            "command": f"tshark -2 -n -r {shlex.quote(capture)} -Y {shlex.quote(self.filter)}",
            "advice": self.advice,
            "story": self.story,
            **self.extra,
        }


class NotAssessable(Record):
    """A detector that could not judge, why, and what it would need."""

    detector: str
    reason: str
    needs: str
