"""Durations as people write them: "60s", "90m", "24h", "7d", or plain seconds. Text in, seconds out."""

from __future__ import annotations

from firewall.errors import RuleError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, most: int) -> int:
    """Whole seconds, at least 1. Raises RuleError."""
    word = text.strip().lower()
    unit = UNITS.get(word[-1:], 0)
    number = word[:-1] if unit else word
    if not (number.isascii() and number.isdigit()):
        raise RuleError(f"duration: got {text[:20]!r}, expected a number with s, m, h or d")
    value = int(number) * (unit or 1)
    if not 1 <= value <= most:
        raise RuleError(f"duration: got {text[:20]!r}, expected 1 s to {most} s")
    return value
