"""The page: complete, harmless whatever a peer wrote, and readable without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from analysis_json import HOSTILE, Made, analysis_json, finding

from analysis.plots import pictures
from analysis.report import render, write_report, write_text

SEVERITIES = ("info", "low", "medium", "high", "critical")


def test_report_and_pictures_are_written_whole(tmp_path: Path) -> None:
    """The page and its pictures appear under their final names; no temporary file stays."""
    page = write_report(Made(analysis_json([finding()])), tmp_path / "out")

    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bit_rate.svg", "hosts.svg", "io_graph.svg", "packet_lengths.svg", "report.html"]
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_hostile_text_is_escaped_everywhere(tmp_path: Path) -> None:
    """File names, interface names, comments, host names and findings cannot leave their element or act on a terminal."""
    page = write_report(Made(analysis_json([finding(title=HOSTILE, explanation=HOSTILE, filter=HOSTILE)])), tmp_path)

    text = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    assert text.count("<script>") == 1
    assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_page_refers_to_nothing_outside() -> None:
    """The page works offline: no address is fetched."""
    text = render(analysis_json([finding()]), {})

    assert not re.search(r"(src|href)=[\"'](?!#)", text)
    assert "url(" not in text


@pytest.mark.parametrize("severity", SEVERITIES)
def test_each_severity_has_its_place(severity: str) -> None:
    """A finding is shown with its severity, numbers, thresholds and the harmless explanation."""
    text = render(analysis_json([finding(severity)]), {})

    assert f"1 {severity}" in text
    for part in ("distinct ports", "threshold 15", "monitoring host", "T1046", "tshark -r CAPTURE"):
        assert part in text


def test_empty_capture_has_a_page(tmp_path: Path) -> None:
    """A capture of no packets gives a page that says so, without graphs."""
    page = write_report(Made(analysis_json(packets=0)), tmp_path)

    assert "holds no packets" in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("errors", [0, 3])
def test_tcp_errors_stand_in_the_legend_only_where_there_are_some(errors: int) -> None:
    """A series without bars would stand there in the colour of the packets."""
    data = analysis_json([])
    data["io"]["tcp_errors"] = [0, errors, 0]

    assert ("TCP errors" in pictures(data)["io_graph"]) == bool(errors)


@pytest.mark.parametrize("name", ["io_graph", "bit_rate"])
def test_a_capture_of_one_interval_is_not_an_empty_graph(name: str) -> None:
    """A line of one point shows nothing: the only bin is a bar."""
    data = analysis_json([])
    shapes = {}
    for bins in (1, 2):
        data["io"] |= {"packets": [9] * bins, "bytes": [900] * bins, "tcp_errors": [0] * bins}
        shapes[bins] = pictures(data)[name]
    assert shapes[1].count('id="patch_') > shapes[2].count('id="patch_')


def test_rules_stand_in_the_page() -> None:
    """Rules are shown with their measured hits and the proof."""
    rule = {
        "action": "DROP", "source": "10.0.0.9", "destination": None, "protocol": None, "port": None,
        "description": HOSTILE, "hits": 62, "hit_bytes": 3_600, "collateral": [],
    }  # fmt: skip
    policy = {"default": "PERMIT", "vantage": "host", "rules": [rule]}
    proof = {"available": True, "reason": None, "packets": 1_163, "rules": 1, "equal": 1, "different": []}

    text = render(analysis_json(), {}, {"policy": policy, "proof": proof})

    assert "1 of 1 rules counted what the replay predicted" in text
    assert "<b>DROP</b>" in text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """What cannot be written leaves neither half a file nor a temporary one."""
    target = tmp_path / "page.html"
    write_text(target, "old")

    with pytest.raises(TypeError):
        write_text(target, 7)  # type: ignore[arg-type]

    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("page.html", "old")]
