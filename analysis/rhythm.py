"""How even some events are: steps between them, their sizes, their spread over a capture. RITA's beacon score.

In: sorted times in seconds, sizes. Out: numbers from 0 to 1. Bowley's skew is taken as 0 where the quartiles differ by
less than 5 % of the median: RITA's fixed 10 s would call every fast beacon symmetric. Knows no detector, no threshold.
Reference: RITA v5.
"""

from __future__ import annotations

import numpy as np

from analysis.columns import Array, median
from analysis.named_tuples import NamedTuple

BINS = 24  # RITA: histogram over the span of the data
FLAT = 0.05  # quartiles nearer than this share of the median are no skew


class Steps(NamedTuple):
    """Steps above 0 between events: how many, their median in seconds, and the median deviation as a share of it."""

    number: int
    interval_s: float
    jitter: float


def steps_of(times: Array) -> Steps:
    """The steps of sorted times."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return Steps(0, 0.0, 1.0)
    interval = median(steps)
    return Steps(len(steps), interval, median(np.abs(steps - interval)) / interval)


def score(times: Array, sizes: Array, begin_s: float, span_s: float) -> dict[str, float]:
    """RITA's four parts, each 0 to 1: `steps`, `sizes`, `histogram`, `duration`. `times` are sorted seconds."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    place = np.clip(((times - begin_s) / max(span_s, 1e-9) * BINS).astype(np.int64), 0, BINS - 1)
    heights = np.bincount(place, minlength=BINS)
    return {
        "steps": _even(steps, 1.0),
        "sizes": _even(sizes.astype(float), 0.0),
        "histogram": _histogram(heights),
        "duration": _duration(heights, times, span_s),
    }


def _even(values: Array, default: float) -> float:
    """Mean of 1 - |Bowley skew| and (median - MAD) / median."""
    low, middle, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    skew = 0.0
    if high - low > FLAT * middle and middle not in (low, high):
        skew = (low + high - 2 * middle) / (high - low)
    spread = median(np.abs(values - middle))
    dispersion = max(0.0, (middle - spread) / middle) if middle >= 1 else default
    if 0 < middle < 1:
        dispersion = max(0.0, (middle - spread) / middle)
    return (1 - abs(skew) + dispersion) / 2


def _histogram(heights: Array) -> float:
    mean = float(heights.mean())
    steady = max(0.0, 1 - float(heights.std()) / mean) if mean else 0.0
    if np.count_nonzero(heights) < 11:
        return steady
    width = int(np.ceil(0.05 * heights.max()))
    counts = np.sort(np.bincount(heights // max(width, 1)))[::-1]
    return max(steady, min(1.0, float(counts[:2].sum()) / (BINS - 1)))


def _duration(heights: Array, times: Array, span_s: float) -> float:
    if np.count_nonzero(heights) < 6:
        return 0.0
    coverage = float(times[-1] - times[0]) / span_s if span_s else 0.0
    around = np.concatenate((heights, heights)) > 0
    runs = np.diff(np.flatnonzero(np.concatenate(([True], ~around, [True])))) - 1
    return min(1.0, max(coverage, min(BINS, int(runs.max())) / 12))
