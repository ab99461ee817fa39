"""x"""

from collections.abc import Callable

from analysis.decode.walker import Walk

DISSECTORS: dict[int, Callable[[Walk], None]] = {}
