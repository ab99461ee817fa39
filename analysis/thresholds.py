"""Thresholds of detectors: declared beside their detector, each with unit and source, and set by one TOML file.

In: a frozen dataclass per detector whose fields are made with `limit`. Out: the same with values from a settings
file (`[detector-name]` tables), checked for name and type; and the file with all defaults as text. Must not know any
detector: the table of them comes in as an argument.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, replace
from typing import Any, TypeVar

from analysis.errors import AnalysisError
from analysis.findings import Number

T = TypeVar("T")
NAME_WIDTH = 28  # columns of `name = value` before its comment in the printed file


def limit(default: float, unit: str, source: str) -> Any:
    """A dataclass field: a threshold with its unit and where the number is from."""
    return field(default=default, metadata={"unit": unit, "source": source})


def measured(limits: Any, name: str, value: float | int | str) -> Number:
    """A measured value beside the threshold `name` of `limits`."""
    for declared in fields(limits):
        if declared.name == name:
            return Number(
                value,
                declared.metadata.get("unit", ""),
                getattr(limits, name),
                declared.metadata.get("source", ""),
            )
    raise KeyError(name)


def configured(defaults: T, values: Mapping[str, Any], where: str) -> T:
    """`defaults` with the values of one table. Raises AnalysisError for an unknown name or a wrong type."""
    known = {declared.name: declared for declared in fields(defaults)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise AnalysisError(f"{where}: got {name}, expected one of {', '.join(known) or 'nothing'}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise AnalysisError(f"{where}.{name}: got {value!r}, expected a number of at least 0")
    return replace(defaults, **values)  # type: ignore[type-var]


def parse(text: str, where: str, detectors: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The tables of a settings file. Raises AnalysisError where it is no TOML or names an unknown detector."""
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


def printed(detectors: Mapping[str, Any]) -> str:
    """All defaults as a settings file: name -> thresholds instance."""
    parts = [
        "# Thresholds of the detectors: every value is the default, with its unit and source.\n"
        "# Copy what you want to change into a file of your own and pass it to `tapwall analyze --thresholds FILE`.\n"
    ]
    for name, limits in detectors.items():
        declared = fields(limits)
        if not declared:
            continue
        parts.append(f"\n[{name}]\n")
        for one in declared:
            assert one.default is not MISSING
            setting = f"{one.name} = {one.default!r}"
            parts.append(f"{setting:<{NAME_WIDTH}} # {one.metadata['unit']}; {one.metadata['source']}\n")
    return "".join(parts)
