"""What belongs to a flood and what to a scan, where one host does both on the same port."""

from __future__ import annotations

import numpy as np

from analysis.detect.flood import bursts
from analysis.detect.port_scan import PER_PORT, _first_of_each


def test_a_burst_leaves_out_what_came_before_it() -> None:
    """24 guesses 0.6 s apart, then 400 connections in 4 s: the flood is the 400, and at most the guesses of its first 2 s."""
    guesses = np.arange(24) * 600_000_000
    flood = 20_000_000_000 + np.arange(400) * 10_000_000
    inside = bursts(np.concatenate([flood, guesses]), 2.0, 80)

    assert inside[:400].all()
    assert not inside[400:].any()
    assert not bursts(guesses, 2.0, 80).any()
    assert not bursts(guesses[:0], 2.0, 80).any()


def test_a_scan_counts_a_port_a_few_times() -> None:
    """Hundreds of attempts at one port are no scan: of each port the first few stay, in their order."""
    ports = np.array([7] * 300 + [8, 9, 8])
    kept = _first_of_each(ports)

    assert ports[kept].tolist() == [7] * PER_PORT + [8, 9, 8]
    assert kept.tolist() == [0, 1, 2, 3, 4, 300, 301, 302]
