"""The seed capture: 45 s of a laptop at home, whose download was once read as an attack. What must be said of it, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.findings import Finding, Severity
from analysis.run import Analysis, analyse

SEED = Path(__file__).parents[2].parent / "shared" / "captures" / "seed" / "home-wifi-45s.pcapng"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not SEED.exists(), reason="needs ../shared/captures/seed"),
]


@pytest.fixture(scope="module")
def seed() -> Analysis:
    """The analysis of the seed."""
    return analyse([str(SEED)])


def by_detector(seed: Analysis, name: str) -> list[Finding]:
    """The findings of one detector."""
    return [finding for finding in seed.findings if finding.detector == name]


def test_nothing_above_low(seed: Analysis) -> None:
    """Two facts worth knowing, no alarm."""
    assert [finding.title for finding in seed.findings if finding.severity > Severity.LOW] == []
    assert sorted(finding.detector for finding in seed.findings) == ["failed-connections", "surge"]


def test_the_surge_is_a_download(seed: Analysis) -> None:
    """Second 31: 746 packets, of which 720 are two QUIC conversations with one peer, opened from inside, named by its SNI."""
    (surge,) = by_detector(seed, "surge")
    assert "second 31" in surge.title and "746 packets" in surge.title
    assert "a download over QUIC from files.oaiusercontent.com" in surge.title
    assert "opened from inside by 192.168.178.25" in surge.title
    assert (surge.packets, surge.severity) == (720, Severity.INFO)
    assert surge.hosts == ("192.168.178.25", "172.64.144.52")
    assert surge.extra["server_names"] == ["files.oaiusercontent.com", "files07.oaiusercontent.com"]
    assert surge.extra["kind"] == "bulk transfer"


def test_seven_syns_are_one_failed_connection(seed: Analysis) -> None:
    """One attempt with no answer: no scan, no beacon, no flood."""
    (failed,) = by_detector(seed, "failed-connections")
    assert "192.168.0.244 TCP port 7000: no answer (1 attempt, 7 SYN)" in failed.title
    assert (failed.packets, failed.frame_count, failed.severity) == (7, 7, Severity.INFO)
    assert failed.numbers["attempts"].value == 1 and failed.numbers["syn_segments"].value == 7


def test_broadcasts_are_no_beacons_and_beacons_need_more_time(seed: Analysis) -> None:
    """HomePlug and UDP 15600 come in even steps; beaconing and long connections cannot be judged in 45 s."""
    reasons = {row.detector: row.reason for row in seed.not_assessable}
    assert by_detector(seed, "beacon") == []
    assert "spans 45 s" in reasons["beacon"] and "spans 45 s" in reasons["long-connection"]


def test_the_first_screen_says_so(seed: Analysis) -> None:
    """Two sentences without an alarm; what could not be judged is counted."""
    from analysis.verdict import verdict

    what, how_bad = verdict(seed.to_json())
    assert "packets" in what
    assert how_bad.startswith("Nothing at medium or above; 2 lesser findings")
    assert f"{len(seed.not_assessable)} detectors could not judge" in how_bad
