"""Every scene of tests/cases through the whole analysis, and the measured page that is made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cases import RESULTS, Case, Found, all_cases, analysed, complaint, counted, page, told

from analysis.detect import DETECTORS

CASES = all_cases()
LEAST = 2  # cases that must fire, and that must stay silent, for every detector


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """Scene -> what was found, each analysed once in this process."""
    folder = tmp_path_factory.mktemp("cases")
    return {case.id: told(analysed(case, folder)) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, results: dict[str, Found]) -> None:
    """The detector reports what the scene holds, or stays silent; in silent scenes nobody else raises an alarm."""
    assert complaint(case, results[case.id]) == ""


def test_every_detector_has_cases_of_both_kinds() -> None:
    """At least two that must fire and two that must stay silent, and no folder of a detector that is not there."""
    fire = Counter(case.detector for case in CASES if case.must_fire)
    quiet = Counter(case.detector for case in CASES if not case.must_fire)
    names = [detector.NAME for detector in DETECTORS]
    assert [name for name in names if fire[name] < LEAST or quiet[name] < LEAST] == []
    assert sorted({case.detector for case in CASES} - set(names)) == []
    assert [case.id for case in CASES if not case.origin] == []


def test_results_page_is_what_is_measured(results: dict[str, Found]) -> None:
    """results.md (and so docs/findings.md) holds today's numbers: run `python tests/cases/measure.py` when it moves."""
    assert RESULTS.read_text(encoding="utf-8") == page(results, CASES)


def _case(must_fire: bool, severity: str) -> Case:
    return Case("flood", "x", lambda wire: None, must_fire, severity, "", (), 1, ())


@pytest.mark.parametrize(
    ("case", "found", "good"),
    [
        (_case(True, "medium"), [("flood", "medium", "t")], True),
        (_case(True, "medium"), [("flood", "low", "t")], False),
        (_case(True, "medium"), [("sweep", "high", "t")], False),
        (_case(False, ""), [], True),
        (_case(False, ""), [("flood", "info", "t")], False),
        (_case(False, "low"), [("flood", "low", "t")], True),
        (_case(False, "low"), [("flood", "medium", "t")], False),
        (_case(False, ""), [("sweep", "low", "t")], True),
        (_case(False, ""), [("sweep", "medium", "t")], False),
    ],
)
def test_what_counts_as_expected(case: Case, found: Found, good: bool) -> None:
    """Too weak, too loud or somebody else's alarm are complaints."""
    assert (complaint(case, found) == "") is good


def test_precision_counts_alarms_that_no_scene_holds() -> None:
    """Two scenes of floods; the sweep detector cries in one of them."""
    cases = [_case(True, "medium"), Case("flood", "y", lambda wire: None, False, "", "", (), 1, ())]
    counts = counted({"flood/x": [("flood", "high", "t")], "flood/y": [("sweep", "medium", "t")]}, cases)
    assert (counts["flood"].precision, counts["flood"].recall) == (1.0, 1.0)
    assert (counts["sweep"].precision, counts["sweep"].recall, counts["sweep"].wrong) == (0.0, None, 1)


def _by_subject(analysis: Any, at_least: int = 0) -> set[tuple[str, str]]:
    return {(f.detector, f.subject) for f in analysis.findings if f.severity >= at_least}


def test_other_traffic_never_removes_a_finding(tmp_path: Path) -> None:
    """A scan, a brute force and a beacon are found alone and among each other and web traffic, in any order of files."""
    from traffic import Wire

    from analysis.run import analyse

    wanted, paths = set(), []
    for name in ("port-scan/syn-scan", "brute-force/ssh", "beacon/exact", "surge/download"):
        case = next(case for case in CASES if case.id == name)
        wire = Wire(case.id)
        case.script(wire)
        paths.append(wire.write(tmp_path / f"{len(paths)}.pcap"))
        wanted |= _by_subject(analyse([paths[-1]]), 2)
    assert len(wanted) >= 3
    together = analyse(paths)
    assert wanted <= _by_subject(together, 2)
    assert _by_subject(together) == _by_subject(analyse(paths[::-1]))


def test_ids_are_stable(tmp_path: Path) -> None:
    """The same capture gives the same ids."""
    case = next(case for case in CASES if case.id == "arp-spoofing/both-sides")
    first, second = ([f.id for f in analysed(case, tmp_path).findings] for _ in range(2))
    assert first and first == second


def test_findings_hold_what_the_contract_says(results: dict[str, Found], tmp_path: Path) -> None:
    """Every finding has its texts, numbers with thresholds, a filter, a command and confidence within 0 and 1."""
    for name in ("port-scan/syn-scan", "flood/forged-syns", "dns-tunnel/iodine", "link-attack/mac-flooding"):
        case = next(case for case in CASES if case.id == name)
        for finding in analysed(case, tmp_path).findings:
            shown = finding.to_json("a capture.pcap")
            for text in ("title", "explanation", "benign_explanation", "advice", "filter"):
                assert shown[text], (name, text)
            assert 0 < shown["confidence"] <= 0.99 and shown["numbers"]
            assert shown["frames"] == sorted(set(shown["frames"]))[:100] and shown["frame_count"] == shown["packets"]
            assert shown["command"].startswith("tshark ") and "'a capture.pcap'" in shown["command"]
