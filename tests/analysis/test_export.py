"""Tables as files: both formats hold the same rows, cells are harmless, nothing is left half written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas
import pyarrow.parquet
import pytest
from capture_files import Packet, pcap
from made_frames import SYN, tcp, udp

from analysis import export
from analysis.errors import AnalysisError
from analysis.run import Analysis, analyse

A, B = ("10.0.0.1", 40000), ("10.0.0.2", 80)


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """An analysis of three frames; one address has a name that a spreadsheet would run."""
    frames = [tcp(0, A, B, SYN, seq=1), udp(10**9, A, B), udp(2 * 10**9, B, A)]
    path = tmp_path / "c.pcap"
    path.write_bytes(pcap([Packet(frame.time_ns, frame.data) for frame in frames]))
    found = analyse([str(path)])
    assert isinstance(found.conversations.names, dict)
    found.conversations.names[found.texts.index("10.0.0.2")] = ["=cmd|' /C calc'!A0"]
    return found


def test_csv_and_parquet_hold_every_row(tmp_path: Path, analysis: Analysis) -> None:
    """Each table is there twice, with the rows and columns of the JSON form."""
    written = {path.name for path in export.write_tables(analysis, tmp_path / "out")}
    for name, header, blocks in export.tables(analysis):
        rows = [row for block in blocks for row in block]
        assert {f"{name}.csv", f"{name}.parquet"} <= written
        table = pyarrow.parquet.read_table(tmp_path / "out" / f"{name}.parquet")
        with open(tmp_path / "out" / f"{name}.csv", newline="") as file:
            lines = list(csv.reader(file))
        assert table.num_rows == len(rows) == len(lines) - 1, name
        assert lines[0] == list(header) == table.column_names
        assert all(list(row) == list(header) for row in rows)


def test_a_table_without_rows_has_its_columns_and_their_types(tmp_path: Path, analysis: Analysis) -> None:
    """Who reads an empty table with pandas gets an empty frame, whose columns add up with those of other captures."""
    export.write_tables(analysis, tmp_path)
    for kind, full in (("conversations_ipv6", "conversations_ip"), ("endpoints_ipv6", "endpoints_ip")):
        empty = pyarrow.parquet.read_schema(tmp_path / f"{kind}.parquet")
        assert empty.equals(pyarrow.parquet.read_schema(tmp_path / f"{full}.parquet"))
        assert pandas.read_csv(tmp_path / f"{kind}.csv").columns.tolist() == empty.names


def test_types_do_not_depend_on_the_first_rows(
    tmp_path: Path, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are written in portions; a column that is empty in the first has its type all the same."""
    monkeypatch.setattr("analysis.stats.conversations.BLOCK_ROWS", 1)
    monkeypatch.setattr("analysis.stats.endpoints.BLOCK_ROWS", 1)
    export.write_tables(analysis, tmp_path)
    ends = pyarrow.parquet.read_table(tmp_path / "endpoints_ip.parquet")

    assert ends["names"].to_pylist() == [None, "=cmd|' /C calc'!A0"]
    assert ends["address"].to_pylist() == ["10.0.0.1", "10.0.0.2"]
    types = pyarrow.parquet.read_schema(tmp_path / "conversations_tcp.parquet")
    assert [str(types.field(name).type) for name in ("bits_per_s_ab", "names")] == ["int64", "string"]


def test_cells_that_a_spreadsheet_would_run_are_harmless(tmp_path: Path, analysis: Analysis) -> None:
    """A name from the capture that begins like a formula gets an apostrophe in CSV, and is as it was in Parquet."""
    export.write_tables(analysis, tmp_path)

    assert "'=cmd" in (tmp_path / "conversations_ip.csv").read_text()
    names = pyarrow.parquet.read_table(tmp_path / "conversations_ip.parquet")["names"].to_pylist()
    assert names == ["=cmd|' /C calc'!A0"]


def test_findings_json(tmp_path: Path, analysis: Analysis) -> None:
    """findings.json has the findings and what could not be judged."""
    export.write_tables(analysis, tmp_path)
    found = json.loads((tmp_path / "findings.json").read_text())

    assert {*found} == {"findings", "not_assessable"}


def test_a_failed_write_leaves_nothing(tmp_path: Path, analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last step fails, no temporary file stays, and the error is one line of ours."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export.os, "replace", refuse)
    with pytest.raises(AnalysisError, match="no space left"):
        export.write_tables(analysis, tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []
