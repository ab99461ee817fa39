"""Regular expressions that are compiled when they are first asked: a small capture needs few of them.

In: what `re.compile` takes. Out: what may be used as a compiled pattern. Compiling all expressions of dissectors and
detectors takes 40 ms, as long as dissecting a thousand packets.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Waiting:
    """Stands for a pattern: its methods become attributes at first use, so that later calls cost nothing more."""

    def __init__(self, source: str | bytes, flags: int) -> None:
        self._source, self._flags = source, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._source, self._flags), name)  # `re` itself keeps what it compiled
        setattr(self, name, found)
        return found


def pattern(source: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`; raises `re.error` only at first use."""
    return cast("re.Pattern[AnyStr]", _Waiting(source, flags))
