"""Records behave as dataclasses do."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from analysis.records import MutableRecord, Record


class Light(Record):
    """A record."""

    name: str
    size: int = 3
    more: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Heavy:
    """The same as a dataclass."""

    name: str
    size: int = 3
    more: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize("arguments", [("a",), ("a", 1), ("a", 1, {"x": 1})])
def test_a_record_is_as_a_dataclass(arguments: tuple[Any, ...]) -> None:
    """Values, defaults, fields, replace, asdict and the text are the same."""
    light, heavy = Light(*arguments), Heavy(*arguments)

    assert asdict(light) == asdict(heavy)
    assert repr(light) == repr(heavy).replace("Heavy", "Light")
    assert [one.name for one in fields(light)] == [one.name for one in fields(heavy)]
    assert asdict(replace(light, size=9)) == asdict(replace(heavy, size=9))
    assert light == Light(*arguments)
    assert light != Light("b")
    assert light != heavy


def test_each_record_has_a_default_of_its_own() -> None:
    """What a factory makes is not shared."""
    assert Light("a").more is not Light("a").more


def test_a_record_does_not_change() -> None:
    """Attributes are neither set nor deleted; records of hashable values may be keys."""
    light = Light("a")

    with pytest.raises(FrozenInstanceError):
        light.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del light.name
    assert hash(Light("a", more=())) == hash(Light("a", 3, ()))  # type: ignore[arg-type]


def test_a_mutable_record_changes() -> None:
    """Attributes are set, records are compared by what they hold, and are no keys."""

    class Changing(MutableRecord):
        name: str
        size: int = 3

    one, other = Changing("a"), Changing("a", 4)
    assert one != other
    one.size += 1

    assert one == other
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize(("values", "named"), [((), {}), (("a", 1, {}, 2), {}), (("a",), {"weight": 1})])
def test_wrong_arguments_raise(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """A missing, unknown or surplus value is a TypeError that names the class."""
    with pytest.raises(TypeError, match="Light"):
        Light(*values, **named)
