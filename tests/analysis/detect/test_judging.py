"""Severity, confidence, trust, stories and settings: the judgement that all detectors share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cases import all_cases
from payloads import rpc_talk
from traffic import RST, SYN, Wire

from analysis import domains, severity
from analysis.detect import DETECTORS, surge
from analysis.errors import AnalysisError
from analysis.findings import Finding, Severity
from analysis.findings_page import findings_page, section, settings_file
from analysis.run import Settings, analyse
from analysis.stories import RESTATES, told

CASES = {case.id: case for case in all_cases()}


def finding(detector: str, flows: tuple[int, ...] = (), level: Severity = Severity.MEDIUM, **more: Any) -> Finding:
    """A finding with little in it."""
    values: dict[str, Any] = {
        "detector": detector, "subject": "a>b", "title": "t", "severity": level, "confidence": 0.6, "accountable": None,
        "hosts": (), "first_time": 1.0, "last_time": 2.0, "packets": 1, "bytes": 1, "frames": (1,), "frame_count": 1, "numbers": {},
        "explanation": "e", "benign_explanation": "b", "filter": "f", "advice": "a", "flows": flows,
    }  # fmt: skip
    return Finding(**(values | more))


def test_more_evidence_never_lowers_confidence() -> None:
    """1 - (1 - w1)(1 - w2), at most 0.99, 0 without evidence; weights outside 0..1 are held inside."""
    assert severity.confidence({}) == 0
    assert severity.confidence({"a": 0.5, "b": 0.5}) == 0.75
    assert severity.confidence({"a": 1.7}) == severity.CERTAIN
    assert severity.confidence({"a": 0.5, "b": -3}) == 0.5


@pytest.mark.parametrize(("value", "weight"), [(9, 0), (10, 0.5), (100, 0.9), (1e9, 0.9), (0, 0), (-1, 0)])
def test_a_value_weighs_more_the_further_it_is_above(value: float, weight: float) -> None:
    """Nothing below the threshold, `least` at it, `most` at ten times."""
    assert severity.margin(value, 10) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("impact", "sure", "trusted", "expected"),
    [
        (Severity.HIGH, 0.5, False, Severity.HIGH),
        (Severity.HIGH, 0.49, False, Severity.MEDIUM),
        (Severity.HIGH, 0.24, False, Severity.LOW),
        (Severity.HIGH, 0.9, True, Severity.MEDIUM),
        (Severity.INFO, 0.1, True, Severity.INFO),
    ],
)
def test_doubt_and_trust_lower_severity(impact: Severity, sure: float, trusted: bool, expected: Severity) -> None:
    """One step below one half, two below a quarter, one for trust; never below info."""
    assert severity.judge(impact, sure, trusted) is expected


def test_trust_lowers_and_never_hides(tmp_path: Path) -> None:
    """The same scan from a trusted network: still there, one step lower, and it says so."""
    wire = Wire("trust")
    CASES["port-scan/syn-scan"].script(wire)
    path = wire.write(tmp_path / "a.pcap")
    (plain,) = analyse([path]).findings
    (trusted,) = analyse([path], settings=Settings(trusted=("10.0.0.64/26",))).findings
    assert (plain.severity, trusted.severity) == (Severity.MEDIUM, Severity.LOW)
    assert trusted.id == plain.id and trusted.extra["trusted"] is True and "trusted" not in plain.extra


@pytest.mark.parametrize("text", ["here", "10.0.0.0/33", "::/x"])
def test_a_trusted_network_that_is_none(text: str, tmp_path: Path) -> None:
    """One line that names the value."""
    path = Wire().write(tmp_path / "a.pcap")
    with pytest.raises(AnalysisError, match="trust: got"):
        analyse([path], settings=Settings(trusted=(text,)))


def test_a_restatement_is_dropped_and_another_cause_is_kept() -> None:
    """A surge whose conversations are a flood's goes; one of other conversations stays."""
    flood = finding("flood", (1, 2, 3))
    kept = told([finding("surge", (1, 2, 3), Severity.INFO), flood, finding("surge", (7, 8), Severity.INFO)])
    assert [(one.detector, one.flows) for one in kept] == [("flood", (1, 2, 3)), ("surge", (7, 8))]


def test_no_two_detectors_explain_each_other() -> None:
    """Else both would vanish; and every name of the table is a detector."""
    names = {detector.NAME for detector in DETECTORS}
    assert {name for name, weaker in RESTATES.items() for name in (name, *weaker)} <= names
    assert [(a, b) for a, weaker in RESTATES.items() for b in weaker if a in RESTATES.get(b, ())] == []


def test_scan_guessing_and_movement_are_one_story(tmp_path: Path) -> None:
    """Three findings of one intruder carry the same story, in order of time; another host's finding has none."""
    wire = Wire("story")
    for port in range(1, 60):
        wire.tcp("10.0.0.66", 50_000, "10.0.0.5", port, SYN, at=0.05 * port)
        wire.tcp("10.0.0.5", port, "10.0.0.66", 50_000, RST, at=0.05 * port + 0.001)
    for number in range(20):
        said = [
            ("s", b"220 x\r\n"),
            ("c", b"USER a\r\n"),
            ("s", b"331 x\r\n"),
            ("c", b"PASS b\r\n"),
            ("s", b"530 no\r\n"),
        ]
        wire.talk("10.0.0.66", "10.0.0.5", 21, said, at=10 + number)
    wire.talk("10.0.0.66", "10.0.0.5", 49_154, rpc_talk("367abb81-9844-35f1-ad32-98f038001003", (15, 12, 19)), at=60)
    for number in range(30):
        wire.ping("10.0.0.77", f"10.0.1.{number + 1}", reply=None, at=number)
    findings = analyse([wire.write(tmp_path / "a.pcap")]).findings
    stories = {finding.detector: finding.story for finding in findings if finding.severity >= Severity.MEDIUM}
    text = "10.0.0.66: port-scan → brute-force → lateral-movement"
    assert stories == {"port-scan": text, "brute-force": text, "lateral-movement": text, "sweep": None}


def test_thresholds_come_from_a_file(tmp_path: Path) -> None:
    """A higher limit silences the scan; a wrong name or value is one line."""
    wire = Wire("limits")
    CASES["port-scan/xmas-scan"].script(wire)
    path, own = wire.write(tmp_path / "a.pcap"), tmp_path / "own.toml"
    own.write_text("[port-scan]\nstealth_ports = 40\nports = 40\nmixed_ports = 40\n[fingerprinting]\nports = 1\n")
    assert analyse([path], settings=Settings(extra={"thresholds_file": str(own)})).findings == ()
    for text in (
        "[port-scan]\nprots = 4\n",
        "[port-scan]\nports = -1\n",
        "[port-scan]\nports = 'x'\n",
        "[nobody]\n",
        "x",
    ):
        own.write_text(text)
        with pytest.raises(AnalysisError):
            analyse([path], settings=Settings(extra={"thresholds_file": str(own)}))


def test_own_intelligence_names_addresses_and_domains(tmp_path: Path) -> None:
    """A file with an address: the scan's source is found by it; a line that is nothing names file and line."""
    wire = Wire("intel")
    CASES["tls-c2/web-sites"].script(wire)
    path, own = wire.write(tmp_path / "a.pcap"), tmp_path / "own.txt"
    own.write_text("# list: our list 2026-11-01\n198.51.100.9 a test\ns3.example.org another\n")
    found = [f for f in analyse([path], settings=Settings(intel=str(own))).findings if f.detector == "intel"]
    assert sorted(f.title for f in found) == [
        "10.0.0.9 matches a listed address 198.51.100.9 of a test", "10.0.0.9 matches a listed name s3.example.org of another",
    ]  # fmt: skip
    assert all("our list 2026-11-01" in f.explanation for f in found)
    own.write_text("198.51.100.9 fine\nnot a value at all!\n")
    with pytest.raises(AnalysisError, match="line 2"):
        analyse([path], settings=Settings(intel=str(own)))


def test_every_threshold_has_unit_and_source_and_stands_in_page_and_file() -> None:
    """The page is made of the detectors' files."""
    page, settings = findings_page(), settings_file()
    for detector in DETECTORS:
        assert section(detector) in page and f"[{detector.NAME}]" in settings
        for name, one in detector.Thresholds.DECLARED.items():
            assert one.unit and one.source
            assert f"| {name} |" in section(detector)


def test_thresholds_do_not_change() -> None:
    """A value is given when thresholds are made, by its name, and stays."""
    limits = surge.Thresholds(z=4.0)

    assert (limits.z, limits.times) == (4.0, 2.0)
    with pytest.raises(AttributeError):
        limits.z = 3.0
    with pytest.raises(TypeError, match="nonsense"):
        surge.Thresholds(nonsense=1.0)


@pytest.mark.parametrize("word", ["stackoverflow", "deutschewelle", "githubusercontent", "windowsupdate", "przyklad"])
def test_words_are_not_generated(word: str) -> None:
    """Names that people chose, in several languages."""
    assert not domains.generated(word)


@pytest.mark.parametrize("word", ["xkqvbzrtpw", "a7f3c9e1b2d4", "qzxwvkjhgfds", "ofwjqzmbeyxk"])
def test_random_letters_are(word: str) -> None:
    """Names that a program chose."""
    assert domains.generated(word)


@pytest.mark.parametrize(
    ("name", "registered"),
    [("a.b.example.co.uk", "example.co.uk"), ("www.example.org.", "example.org"), ("x.duckdns.org", "x.duckdns.org"), ("host", "host")],
)  # fmt: skip
def test_registered_domains(name: str, registered: str) -> None:
    """By a short list of second levels and hosters."""
    assert domains.registered(name) == registered
