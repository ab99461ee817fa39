"""Each detector says why it could not judge, and judges where it can."""

from __future__ import annotations

from pathlib import Path

import pytest
from payloads import tls
from traffic import ACK, PSH, Wire

from analysis.detect import DETECTORS
from analysis.run import analyse

NAMES = {detector.NAME for detector in DETECTORS}
# What a capture of nothing but frames of an unknown kind leaves to judge: the link itself.
LINK_ONLY = {"link-attack"}


def reasons(wire: Wire, folder: Path) -> dict[str, str]:
    """Detector -> why it could not judge."""
    analysis = analyse([wire.write(folder / "a.pcap")])
    return {row.detector: f"{row.reason}; needs {row.needs}" for row in analysis.not_assessable}


def test_nothing_can_be_judged_without_packets(tmp_path: Path) -> None:
    """An empty capture: every detector gives a reason and what it would need."""
    found = reasons(Wire(), tmp_path)
    assert set(found) == NAMES
    assert all(len(text) > 20 for text in found.values())


def test_only_the_link_can_be_judged_without_addresses(tmp_path: Path) -> None:
    """Frames of an experimental ethertype (IEEE 802, 0x88b5)."""
    wire = Wire()
    for _ in range(5):
        wire.frame(bytes(50), 0x88B5, "02:00:00:00:00:01", "02:00:00:00:00:02")
    assert NAMES - set(reasons(wire, tmp_path)) == LINK_ONLY


@pytest.mark.parametrize(
    ("detector", "words"),
    [
        ("beacon", "12 even steps needs 80 s"),
        ("long-connection", "a long connection needs 14400 s"),
        ("surge", "a comparison of seconds needs 10 s"),
        ("slow-requests", "a slow request needs 10 s"),
        ("arp-spoofing", "no ARP packets"),
        ("dhcp-attack", "no DHCP messages"),
        ("dga", "no DNS messages"),
    ],
)
def test_a_short_capture_of_one_connection(detector: str, words: str, tmp_path: Path) -> None:
    """One TLS connection of a second: time and traffic are missing."""
    wire = Wire()
    wire.talk("10.0.0.9", "198.51.100.9", 443, tls())
    assert words in reasons(wire, tmp_path)[detector]


def test_one_direction_says_nothing_about_outcomes(tmp_path: Path) -> None:
    """Only the clients' segments of ten connections: failed connections cannot be judged."""
    wire = Wire()
    for number in range(10):
        for part in range(6):
            wire.tcp("10.0.0.9", 50_000 + number, "198.51.100.9", 443, PSH | ACK, at=2.0 * part, seq=100 * part, data=bytes(100))  # fmt: skip
    found = reasons(wire, tmp_path)
    assert "one way only" in found["failed-connections"] and "one way only" in found["slow-requests"]


def test_traffic_of_the_kind_is_judged(tmp_path: Path) -> None:
    """TLS connections over two minutes: the detectors of TLS, beacons and surges give no reason."""
    wire = Wire()
    for number in range(8):
        wire.talk("10.0.0.9", "198.51.100.9", 443, tls(), at=17.0 * number)
    assert not {"tls-weakness", "tls-c2", "beacon", "surge", "port-scan"} & set(reasons(wire, tmp_path))
