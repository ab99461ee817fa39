"""What the people noticed: messages delivered and their delay, before the intruder, during, and after the rules stood.

In: the lines that the people's bots wrote ({"time", "from", "delay_s"} a delivered message) and the story's two
moments. Out: counts and percentiles of the three spans. Pure but for `read_deliveries`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_LOG = 4_000_000  # bytes read of one person's log: some 40,000 deliveries


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Messages that arrived in a span: how many, and their delay in milliseconds (None without any)."""

    count: int
    median_ms: float | None
    p99_ms: float | None


def summarise(delays_s: list[float]) -> Deliveries:
    """Count, median and 99th percentile (nearest rank) of delays in seconds."""
    if not delays_s:
        return Deliveries(0, None, None)
    ranked = sorted(delays_s)

    def at(share: float) -> float:
        return round(1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))], 2)

    return Deliveries(len(ranked), at(0.5), at(0.99))


def spans(deliveries: list[dict[str, Any]], attack: float | None, rules: float | None) -> dict[str, dict[str, Any]]:
    """{"before": …, "during": …, "after": …}: until `attack`, from there until `rules`, from there on.

    A moment that has not come yet lies in the future.
    """
    stood = math.inf if rules is None else rules
    began = min(stood, math.inf if attack is None else attack)
    split: dict[str, list[float]] = {"before": [], "during": [], "after": []}
    for one in deliveries:
        span = "before" if one["time"] < began else "during" if one["time"] < stood else "after"
        split[span].append(one["delay_s"])
    return {span: asdict(summarise(delays)) for span, delays in split.items()}


def read_deliveries(folder: Path) -> list[dict[str, Any]]:
    """All deliveries that the people logged below `folder` (*.jsonl); lines that are none are left out."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            with path.open("rb") as log:
                text = log.read(MAX_LOG)
        except OSError:
            continue
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and all(_is_number(row.get(key)) for key in ("time", "delay_s")):
                found.append(row)
    return found


def _is_number(value: Any) -> bool:
    """A finite number (JSON of Python also knows NaN and Infinity)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
