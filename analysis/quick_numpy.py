"""numpy without what only people and type checkers read of it: a quarter less time to import.

numpy attaches its documentation to two thousand objects written in C, and builds its types for annotations, at each
import: 20 ms, where a capture of a thousand packets takes 200. Empty modules stand in their places while numpy is
imported, and are gone afterwards: whoever asks for `numpy.typing` later gets the real one.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

DOCUMENTATION = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")
TYPES = "numpy._typing"


class _Annotation:
    """In place of `NDArray`, of which `numpy.linalg` annotates the fields of its results."""

    def __class_getitem__(cls, item: object) -> type:
        return cls


class _Types(ModuleType):
    """In place of `numpy._typing`; what it does not have is the real module's."""

    NDArray = _Annotation

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop(TYPES, None)
        return getattr(importlib.import_module(TYPES), name)


def import_numpy() -> None:
    """Import numpy, unless somebody has."""
    if "numpy" in sys.modules:
        return
    places = {**{name: ModuleType(name) for name in DOCUMENTATION}, TYPES: _Types(TYPES)}
    sys.modules.update(places)
    try:
        importlib.import_module("numpy")
    finally:
        for name, module in places.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
