"""Memory grows with conversations, by so many bytes each; whole processes, as on a large capture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FEW, MANY = 100_000, 400_000  # packets, each the first of an IPv4 and of a TCP conversation, from an address of its own
BYTES_EACH = 650  # of a packet: two flows, an address, a TCP stream with one segment, and what detectors need of them

ANALYSE = """
import resource, sys
from analysis.run import analyse
analysis = analyse(sys.argv[1:])
print(len(analysis.flows.kind), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_scan(path: Path, packets: int) -> None:
    """A pcap of SYN segments, one from each of `packets` addresses to the same host, 10 us apart."""
    head = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 60000000 01000000")
    frame = bytes.fromhex(
        "00000000 00000000 36000000 36000000"  # record: time, lengths
        "020000000002 020000000001 0800"
        "4500 0028 0000 4000 40 06 0000 0a000000 0a000001"
        "1000 0050 00000001 00000000 5002 2000 0000 0000"
    )
    rows = np.tile(np.frombuffer(frame, np.uint8), (packets, 1))
    number = np.arange(packets, dtype=np.uint32)
    rows[:, :8] = (
        np.stack((1_700_000_000 + number // 100_000, number % 100_000 * 10), axis=1).astype("<u4").view(np.uint8)
    )
    rows[:, 42:46] = (0x0B000000 + number).astype(">u4").view(np.uint8).reshape(-1, 4)
    path.write_bytes(head + rows.tobytes())


def peak_bytes(path: Path, packets: int) -> int:
    """Peak resident memory of a process that analyses a scan."""
    write_scan(path, packets)
    environment = {**os.environ, "TAPWALL_JIT": "on", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ANALYSE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    flows, peak_kb = map(int, done.stdout.split())

    assert flows == 2 * packets + 1  # and the pair of Ethernet addresses
    return 1024 * peak_kb


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_of_a_conversation(tmp_path: Path) -> None:
    """The difference of two sizes is what conversations take, whatever the process takes before the first."""
    peak_bytes(tmp_path / "warm.pcap", FEW)  # compiles where nobody has
    small, large = (peak_bytes(tmp_path / f"{n}.pcap", n) for n in (FEW, MANY))

    assert (large - small) / (MANY - FEW) < BYTES_EACH
