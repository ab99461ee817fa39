"""Tables as files: CSV and Parquet of every table, and the findings as JSON.

In: the tables of an analysis and a folder. Out: files, each written under a temporary name and then renamed, so that a reader never
sees half of one. Parquet goes through pyarrow from the columns; CSV is written here. The only module besides
`columns` that knows data frames' libraries; both are imported when they are needed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.findings import Finding, NotAssessable
    from analysis.stats.conversations import Conversations
    from analysis.stats.endpoints import Endpoints
    from analysis.stats.hierarchy import Hierarchy
    from analysis.stats.iograph import IoGraph
    from analysis.stats.lengths import Lengths


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
    written = [_replace(folder / "findings.json", _findings(analysis))]
    for name, rows in tables(analysis):
        written.append(_replace(folder / f"{name}.csv", _csv(rows)))
        written.append(_replace(folder / f"{name}.parquet", _parquet(rows)))
    return written


def tables(analysis: Tables) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(name, rows) of every table, in the order of outputs.md; every row has the same keys."""
    yield "hierarchy", analysis.hierarchy.to_json()
    for kind, rows in analysis.conversations.to_json().items():
        yield f"conversations_{kind}", [_flat(row) for row in rows]
    for kind, rows in analysis.endpoints.to_json().items():
        yield f"endpoints_{kind}", [_flat(row) for row in rows]
    graph = analysis.io.to_json()
    series = [name for name, value in graph.items() if isinstance(value, list)]
    values = zip(*(graph[name] for name in series))
    yield "io", [{"time_s": i * graph["interval_s"], **dict(zip(series, row))} for i, row in enumerate(values)]
    yield "packet_lengths", analysis.lengths.to_json()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its names as one text: a cell holds one value."""
    names = row.get("names")
    if isinstance(names, dict):
        names = [*names["a"], *names["b"]]
    return {**row, "names": "; ".join(names) if names else None}


def _findings(analysis: Tables) -> bytes:
    found = {
        "findings": [finding.to_json(analysis.path) for finding in analysis.findings],
        "not_assessable": [
            {"detector": row.detector, "reason": row.reason, "needs": row.needs} for row in analysis.not_assessable
        ],
    }
    return (json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")


def _csv(rows: list[dict[str, Any]]) -> bytes:
    """RFC 4180 with a header line. A cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if rows:
        writer.writerow(rows[0])
        writer.writerows([_harmless(value) for value in row.values()] for row in rows)
    return text.getvalue().encode("utf-8", "replace")


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def _replace(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name beside it, then rename. Raises AnalysisError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise AnalysisError(f"{path}: cannot write: {(error.strerror or str(error)).lower()}") from None
    return path
