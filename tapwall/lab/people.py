"""What the people noticed: messages delivered and their delay, before and after the rules stood.

In: the lines that the people's bots wrote ({"time", "from", "delay_s"} a delivered message). Out: counts and
percentiles for the time before and after a moment. Pure but for `read_deliveries`.
"""

from __future__ import annotations

import json
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


def before_and_after(deliveries: list[dict[str, Any]], moment: float | None) -> dict[str, dict[str, Any]]:
    """{"before": …, "after": …}; with no moment yet everything is before."""
    before = [d["delay_s"] for d in deliveries if moment is None or d["time"] < moment]
    after = [d["delay_s"] for d in deliveries if moment is not None and d["time"] >= moment]
    return {"before": asdict(summarise(before)), "after": asdict(summarise(after))}


def read_deliveries(folder: Path) -> list[dict[str, Any]]:
    """All deliveries that the people logged below `folder` (*.jsonl); lines that are none are left out."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as log:
            text = log.read(MAX_LOG)
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if (
                isinstance(row, dict)
                and isinstance(row.get("time"), (int, float))
                and isinstance(row.get("delay_s"), (int, float))
            ):
                found.append(row)
    return found
