"""The sweep over thresholds: what a changed threshold does to recall and to wrong findings is counted as it is."""

from pathlib import Path

import pytest
from traffic import ACK, RST, SYN, Wire

from analysis.detect import port_scan
from analysis.evidence import gather
from analysis.findings import Severity
from analysis.run import analyse
from bench.thresholds import Judged, captures, outcome, swept


def _scan(ports: int, path: Path) -> str:
    wire = Wire("scan")
    for port in range(1, ports + 1):
        wire.tcp("10.0.0.66", 50_000, "10.0.0.5", port, SYN, seq=1)
        wire.tcp("10.0.0.5", port, "10.0.0.66", 50_000, RST | ACK, ack=2)
        wire.wait(0.1)
    return wire.write(path)


@pytest.fixture
def judged(tmp_path: Path) -> list[Judged]:
    """A scan of 20 ports that must be told, and 10 refused ports that must not."""
    return [
        Judged(str(n), gather(analyse([_scan(n, tmp_path / f"{n}.pcap")], judge=False), ()), "port-scan", fire, least)
        for n, fire, least in ((20, True, Severity.MEDIUM), (10, False, Severity.INFO))
    ]


@pytest.mark.parametrize(("ports", "fired", "wrong"), [(15, 1, 0), (30, 0, 0), (7, 1, 1)])
def test_an_outcome_counts_recall_and_wrong_findings(judged: list[Judged], ports: int, fired: int, wrong: int) -> None:
    """A threshold that is too high loses the scan; one that is too low accuses the refused ports."""
    found = outcome(port_scan, {"ports": ports}, judged)

    assert (fired, 1, wrong, 1) == (found.fired, found.must, found.wrong, found.silent)


def test_a_cliff_is_where_a_little_more_or_less_changes_the_outcome(judged: list[Judged]) -> None:
    """15 ports lie well between the 10 and the 20 of these scenes."""
    rows = {row["threshold"]: row for row in swept(port_scan, judged)}

    assert not rows["ports"]["cliff"]
    assert rows["ports"]["outcomes"][2.0].fired == 0
    assert set(rows) == set(port_scan.Thresholds.DECLARED)


def test_labelled_captures_count_as_attacks_and_benign_ones(tmp_path: Path) -> None:
    """A file that is not there, or whose label says neither, is left out."""
    _scan(20, tmp_path / "a.pcap")
    _scan(3, tmp_path / "b.pcap")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\na.pcap,attack:scan\nb.pcap,benign\nc.pcap,benign\nb.pcap,unknown\n")

    found = outcome(port_scan, {}, list(captures(tmp_path, labels)))

    assert (found.attacks, found.wrong, found.silent) == (1, 0, 1)
