"""Durations as people write them."""

from __future__ import annotations

import pytest

from firewall.durations import seconds
from firewall.errors import RuleError


@pytest.mark.parametrize(
    ("text", "expected"), [("60s", 60), ("90m", 5400), ("24h", 86400), ("7d", 604800), ("30", 30), (" 1H ", 3600)]
)
def test_read(text: str, expected: int) -> None:
    """Seconds, minutes, hours, days; no unit is seconds."""
    assert seconds(text, 10**6) == expected


@pytest.mark.parametrize("text", ["", "s", "0", "-1s", "1w", "1.5h", "１s", "8d", "9" * 400])
def test_refused(text: str) -> None:
    """Nonsense, nothing and too long are one error."""
    with pytest.raises(RuleError, match="duration: got"):
        seconds(text, 604800)
