"""How even events are: RITA's parts on times whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.rhythm import Steps, score, steps_of


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], Steps(0, 0.0, 1.0)),
        ([5.0, 5.0], Steps(0, 0.0, 1.0)),
        ([0.0, 10.0, 20.0, 30.0], Steps(3, 10.0, 0.0)),
        ([0.0, 10.0, 10.0, 18.0, 30.0], Steps(3, 10.0, 0.2)),  # steps 10, 8, 12: differences 0, 2, 2
    ],
)
def test_steps(times: list[float], expected: Steps) -> None:
    """Steps of 0 do not count; jitter is the median difference from the median step."""
    assert steps_of(np.array(times)) == expected


def test_a_clock_has_the_full_score() -> None:
    """Two events in each of the 24 bins, all of a size."""
    times = np.arange(48) * 10.0
    assert score(times, np.full(48, 200), 0.0, 480.0) == pytest.approx(
        {"steps": 1.0, "sizes": 1.0, "histogram": 1.0, "duration": 1.0}
    )


def test_a_burst_in_a_long_capture_has_no_duration() -> None:
    """All events in one of 24 bins: even steps, but a fifth of the histogram's best value at most."""
    found = score(np.arange(20) * 1.0, np.full(20, 200), 0.0, 4800.0)
    assert found["steps"] == 1.0 and found["duration"] == 0.0 and found["histogram"] < 0.2


def test_uneven_steps_lower_the_score() -> None:
    """Steps of 1, 2, 4 … 512 s: quartiles 5, 24, 112 give a skew of 0.64, the median deviation is near the median."""
    times = np.cumsum(2.0 ** np.arange(-1, 10))
    assert score(times, np.full(11, 200), 0.0, float(times[-1]))["steps"] < 0.3
