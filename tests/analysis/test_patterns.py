"""Regular expressions that are compiled when first asked."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import analysis.detect
import analysis.protocols
from analysis.patterns import _Waiting, pattern


def waiting(value: Any) -> Iterator[_Waiting]:
    """The patterns in a value, however deep in tuples."""
    if isinstance(value, _Waiting):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from waiting(one)


def test_every_pattern_of_the_package_compiles() -> None:
    """What is compiled late is right all the same."""
    found = 0
    for package in (analysis.detect, analysis.protocols):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                for one in waiting(value):
                    found += 1
                    assert one.search is not None

    assert found > 30


def test_a_pattern_works_as_a_compiled_one() -> None:
    """Methods, flags and groups are those of `re.compile`."""
    digits = pattern(r"(\d+)x", re.I)

    assert digits.search("a 12X").group(1) == "12"  # type: ignore[union-attr]
    assert digits.fullmatch("12") is None
    assert digits.findall("1x 2X") == ["1", "2"]


def test_a_wrong_pattern_raises_at_first_use() -> None:
    """`re.error` comes when it is asked."""
    wrong = pattern("(")

    with pytest.raises(re.error):
        wrong.search("text")
