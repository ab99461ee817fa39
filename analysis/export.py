"""Tables as files: CSV and Parquet of every table, and the findings as JSON.

In: the tables of an analysis and a folder. Out: files, each written under a temporary name and then renamed, so that a reader never
sees half of one; some thousand rows of a large table exist at once. Parquet goes through pyarrow; CSV is written here. The only module besides
`columns` that knows data frames' libraries; both are imported when they are needed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from analysis.errors import AnalysisError
from analysis.stats.conversations import SHOWN
from analysis.stats.hierarchy import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.findings import Finding, NotAssessable
    from analysis.stats.conversations import Conversations
    from analysis.stats.endpoints import Endpoints
    from analysis.stats.hierarchy import Hierarchy
    from analysis.stats.iograph import IoGraph
    from analysis.stats.lengths import Lengths


Rows = list[dict[str, Any]]
TEXTS = ("a", "b", "address", "path", "name", "names", "state")  # columns of text


class Tables(Protocol):
    """What of an analysis is exported; `path` is the capture that commands name."""

    @property
    def path(self) -> str: ...
    @property
    def hierarchy(self) -> Hierarchy: ...
    @property
    def conversations(self) -> Conversations: ...
    @property
    def endpoints(self) -> Endpoints: ...
    @property
    def io(self) -> IoGraph: ...
    @property
    def lengths(self) -> Lengths: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def not_assessable(self) -> Sequence[NotAssessable]: ...


def write_tables(analysis: Tables, folder: Path) -> list[Path]:
    """Write every table of the analysis into `folder` (made if missing); returns the files."""
    written = [folder / "findings.json"]
    with _replaced(written[0]) as file:
        file.write(_findings(analysis))
    for name, header, blocks in tables(analysis):
        paths = folder / f"{name}.csv", folder / f"{name}.parquet"
        with _replaced(paths[0]) as text, _replaced(paths[1]) as columns:
            _write(header, blocks, text, columns)
        written += paths
    return written


def tables(analysis: Tables) -> Iterator[tuple[str, Sequence[str], Iterable[Rows]]]:
    """(name, columns, blocks of rows) of every table, in the order of outputs.md; every row has all columns, in order."""
    yield "hierarchy", Row._fields, [analysis.hierarchy.to_json()]
    for what, table in (("conversations", analysis.conversations), ("endpoints", analysis.endpoints)):
        for kind in SHOWN:
            yield f"{what}_{kind}", [*table.header(kind), "names"], map(_flat, table.blocks(kind))
    graph = analysis.io.to_json()
    series = [name for name, value in graph.items() if isinstance(value, list)]
    rows = [
        {"time_s": i * graph["interval_s"], **dict(zip(series, values))}
        for i, values in enumerate(zip(*(graph[name] for name in series)))
    ]
    yield "io", ["time_s", *series], [rows]
    lengths = analysis.lengths.to_json()
    yield "packet_lengths", list(lengths[0]), [lengths]


def _flat(rows: Rows) -> Rows:
    """Rows with their names as one text: a cell holds one value."""
    flat = []
    for row in rows:
        names = row.get("names")
        if isinstance(names, dict):
            names = [*names["a"], *names["b"]]
        flat.append({**row, "names": "; ".join(names) if names else None})
    return flat


def _findings(analysis: Tables) -> bytes:
    found = {
        "findings": [finding.to_json(analysis.path) for finding in analysis.findings],
        "not_assessable": [
            {"detector": row.detector, "reason": row.reason, "needs": row.needs} for row in analysis.not_assessable
        ],
    }
    return (json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def _write(header: Sequence[str], blocks: Iterable[Rows], text: IO[bytes], columns: IO[bytes]) -> None:
    """The rows as CSV (RFC 4180, a header line) and as Parquet (a row group a block); a table without rows has both."""
    import pyarrow
    from pyarrow import parquet

    lines = io.TextIOWrapper(text, encoding="utf-8", errors="replace", newline="", write_through=True)
    sheet = csv.writer(lines, lineterminator="\r\n")
    sheet.writerow(header)
    made = None
    for rows in filter(None, blocks):
        if made is None:
            made = parquet.ParquetWriter(columns, _schema(pyarrow.Table.from_pylist(rows).schema))
        sheet.writerows([_harmless(value) for value in row.values()] for row in rows)
        made.write_table(pyarrow.Table.from_pylist(rows, schema=made.schema))
    lines.detach()
    if made is None:
        made = parquet.ParquetWriter(columns, _schema(pyarrow.schema([(name, pyarrow.null()) for name in header])))
    made.close()


def _schema(guessed: Any) -> Any:
    """The schema of a table by its first rows; what they leave open has the type that its name says."""
    import pyarrow

    for i, field in enumerate(guessed):
        if pyarrow.types.is_null(field.type):
            real = field.name.endswith("_s") or field.name.startswith("percent_")
            kind = "string" if field.name in TEXTS else "double" if real else "int64"
            guessed = guessed.set(i, pyarrow.field(field.name, kind))
    return guessed


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file under a temporary name beside this one, then renamed. Raises AnalysisError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise AnalysisError(f"{path}: cannot write: {(error.strerror or str(error)).lower()}") from None
