"""The JSON form of an analysis, written straight from columns where tables are large.

In: an `Analysis`, a binary stream. Out: exactly what `json.dumps(analysis.to_json())` means, as one line. Small
analyses (interpreted kernels) go that way; large ones write conversations and endpoints by `rows`, without an object
a row. The layout itself is outputs.md's and lives in `run` and `stats`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from analysis import kernel
from analysis.columns import CONN_STATES, NO_TIME, Array
from analysis.rows import INTEGER, OPTIONAL, SECONDS, TEXT, Pool, Value, pool, render
from analysis.stats.conversations import SHOWN

if TYPE_CHECKING:
    from analysis.run import Analysis

LATE = ("findings", "not_assessable", "timing")  # the last parts, in this order
ROWS_AT_ONCE = 1 << 17  # conversations whose columns exist together


def write_json(analysis: Analysis, out: IO[bytes]) -> None:
    """Write the JSON object and a line feed."""
    write_tables(analysis, out)
    write_rest(analysis, out)


def write_tables(analysis: Analysis, out: IO[bytes]) -> None:
    """Begin: all that does not depend on findings, which may still be looked for. Small analyses are written at the end."""
    if kernel.enabled():
        out.writelines(early_parts(analysis))


def write_rest(analysis: Analysis, out: IO[bytes]) -> None:
    """What remains behind `write_tables`."""
    out.writelines(late_parts(analysis) if kernel.enabled() else [_dumps(analysis.to_json())])
    out.write(b"\n")


def early_parts(analysis: Analysis) -> Iterator[bytes]:
    """The beginning of the object in pieces, from columns: whatever stands before LATE, each with its comma."""
    makers = analysis.makers()
    large: dict[str, Callable[[str], Iterator[bytes]]] = {}
    if "conversations" in makers or "endpoints" in makers:
        address = pool(analysis.texts)
        named = _names(analysis)
        large = {
            "conversations": lambda kind: _conversations(analysis, kind, address, named),
            "endpoints": lambda kind: _endpoints(analysis, kind, address, named),
        }
    yield b"{"
    for part, make in makers.items():
        if part in LATE:
            continue
        yield _dumps(part) + b": "
        if part in large:
            yield from _tables(large[part])
        else:
            yield _dumps(make())
        yield b", "


def late_parts(analysis: Analysis) -> Iterator[bytes]:
    """The end of the object: findings, and the timing, which is always there."""
    late = {part: make() for part, make in analysis.makers().items() if part in LATE}
    yield _dumps(late).removeprefix(b"{")


def _dumps(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _tables(rows: Callable[[str], Iterator[bytes]]) -> Iterator[bytes]:
    """{kind: [rows]}; a row ends in a comma, which the last one loses."""
    for i, kind in enumerate(SHOWN):
        yield (b"{" if i == 0 else b", ") + _dumps(kind) + b": ["
        last = b""
        for chunk in rows(kind):
            yield last
            last = chunk
        yield last.removesuffix(b",") + b"]"
    yield b"}"


def _names(analysis: Analysis) -> tuple[Array, Pool]:
    """The number of each address's JSON list of names, and a pool of those lists; list 0 is that of the nameless."""
    by_id = analysis.conversations.names
    number = np.zeros(len(analysis.texts) + 1, dtype=np.int32)
    number[list(by_id)] = np.arange(1, len(by_id) + 1)
    return number, pool(["[]", *map(json.dumps, by_id.values())])


def _conversations(analysis: Analysis, kind: str, address: Pool, names: tuple[Array, Pool]) -> Iterator[bytes]:
    rows = analysis.conversations.rows(kind)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        columns = analysis.conversations.columns(kind, rows[first : first + ROWS_AT_ONCE])
        yield from _conversation_rows(columns, address, names)


def _conversation_rows(columns: dict[str, Array], address: Pool, names: tuple[Array, Pool]) -> Iterator[bytes]:
    untimed = columns["start_ns"] == NO_TIME
    values = [Value(TEXT, columns["a_id"], address), Value(TEXT, columns["b_id"], address)]
    pieces = ['{"a": "', '", "b": "']
    quote = '", '
    for name, column in columns.items():
        if name in ("a_id", "b_id"):
            continue
        shown = f"{name[:-3]}_s" if name in ("start_ns", "duration_ns") else name
        pieces.append(f'{quote}"{shown}": ')
        quote = ", "
        if shown != name:
            values.append(Value(SECONDS, np.where(untimed, NO_TIME, column)))
        elif name == "state":
            values.append(Value(TEXT, column, pool([json.dumps(word or None) for word in CONN_STATES])))
        else:
            values.append(Value(OPTIONAL if name.startswith("bits") else INTEGER, column))
    number, lists = names
    of_a, of_b = number[columns["a_id"]], number[columns["b_id"]]
    either = (of_a | of_b) > 0
    if either.any():
        for text, of_side in ((', "names": {"a": ', of_a), (', "b": ', of_b)):
            values += [_switch(either, text), Value(TEXT, np.where(either, of_side, -1), lists)]
            pieces += ["", ""]
        values.append(_switch(either, "}"))
        pieces.append("")
    yield from render([*pieces, "},"], values)


def _endpoints(analysis: Analysis, kind: str, address: Pool, names: tuple[Array, Pool]) -> Iterator[bytes]:
    columns = analysis.endpoints.columns(kind)
    ids = columns.pop("address_id")
    if not len(ids):
        return
    values = [Value(TEXT, ids, address), *(Value(INTEGER, column) for column in columns.values())]
    pieces = ['{"address": "', *(f', "{name}": ' for name in columns)]
    pieces[1] = f'"{pieces[1]}'
    number, lists = names
    named = number[ids] > 0
    if named.any():
        values += [_switch(named, ', "names": '), Value(TEXT, np.where(named, number[ids], -1), lists)]
        pieces += ["", ""]
    yield from render([*pieces, "},"], values)


def _switch(on: Array, text: str) -> Value:
    """`text` in the rows where `on` is set, nothing in the others."""
    return Value(TEXT, np.where(on, 0, -1), pool([text]))
