"""Thresholds of detectors: declared beside their detector, each with unit and source, and set by one TOML file.

In: a class per detector, of `Limits`, whose attributes are made with `limit`. Out: an object of it with values from a
settings file (`[detector-name]` tables), checked for name and type; and the file with all defaults as text. Must not
know any detector: the table of them comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

from analysis.errors import AnalysisError
from analysis.findings import Number
from analysis.named_tuples import NamedTuple

NAME_WIDTH = 28  # columns of `name = value` before its comment in the printed file


class Limit(NamedTuple):
    """One threshold as it is declared: its default with its unit and where the number is from."""

    default: float
    unit: str
    source: str


class Limits:
    """Base of a detector's thresholds: every attribute made with `limit` has its default unless it is told otherwise.

    Not a dataclass: forty of those cost 25 ms at each start, these one.
    """

    DECLARED: ClassVar[Mapping[str, Limit]] = {}

    def __init_subclass__(cls) -> None:
        cls.DECLARED = {name: value for name, value in vars(cls).items() if isinstance(value, Limit)}

    def __init__(self, **values: float) -> None:
        if unknown := values.keys() - self.DECLARED.keys():
            raise TypeError(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(self.DECLARED)}")
        vars(self).update({name: values.get(name, one.default) for name, one in self.DECLARED.items()})

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name}: thresholds do not change")


T = TypeVar("T", bound=Limits)


def limit(default: float, unit: str, source: str) -> Any:
    """An attribute of `Limits`: a threshold with its unit and where the number is from."""
    return Limit(default, unit, source)


def measured(limits: Limits, name: str, value: float | int | str) -> Number:
    """A measured value beside the threshold `name` of `limits`."""
    declared = limits.DECLARED[name]
    return Number(value, declared.unit, getattr(limits, name), declared.source)


def configured(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Thresholds with the values of one table. Raises AnalysisError for an unknown name or a wrong type."""
    known = kind.DECLARED
    for name, value in values.items():
        if name not in known:
            raise AnalysisError(f"{where}: got {name}, expected one of {', '.join(known) or 'nothing'}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise AnalysisError(f"{where}.{name}: got {value!r}, expected a number of at least 0")
    return kind(**values)


def parse(text: str, where: str, detectors: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The tables of a settings file. Raises AnalysisError where it is no TOML or names an unknown detector."""
    import tomllib

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AnalysisError(f"{where}: {error}, expected TOML") from error
    for name, table in tables.items():
        if name not in detectors or not isinstance(table, dict):
            raise AnalysisError(f"{where}: got [{name}], expected a table named after a detector")
    return tables


def changes(extra: Mapping[str, Any], detectors: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
    """Changed thresholds: from the file `thresholds_file` names, else from `thresholds`, else none.

    Raises AnalysisError where the file cannot be read or says what no detector knows.
    """
    path = extra.get("thresholds_file")
    if path is None:
        given: Mapping[str, Mapping[str, Any]] = extra.get("thresholds", {})
        return given
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read(), str(path), detectors)
    except (OSError, UnicodeDecodeError) as error:
        raise AnalysisError(f"thresholds {path}: {error}, expected a TOML file") from error


def printed(detectors: Mapping[str, type[Limits]]) -> str:
    """All defaults as a settings file: name -> class of thresholds."""
    parts = [
        "# Thresholds of the detectors: every value is the default, with its unit and source.\n"
        "# Copy what you want to change into a file of your own and pass it to `tapwall analyze --thresholds FILE`.\n"
    ]
    for name, limits in detectors.items():
        if not limits.DECLARED:
            continue
        parts.append(f"\n[{name}]\n")
        for attribute, one in limits.DECLARED.items():
            setting = f"{attribute} = {one.default!r}"
            parts.append(f"{setting:<{NAME_WIDTH}} # {one.unit}; {one.source}\n")
    return "".join(parts)
