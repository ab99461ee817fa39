"""Captures that nobody tuned anything for, made on the spot and held against the tshark of this machine.

varied_captures packs the samples of many protocols into carriers, loses, repeats, swaps and cuts them; every frame's
path, TCP flags and stream must be tshark's. The shares were measured with 4.0.17 when this was written; they may rise.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import varied_captures
from varied_captures import Capture

from analysis import kernel
from analysis.verify import Report, verify_capture

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.tshark,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark on the PATH"),
    pytest.mark.timeout(600),
]

Make = Callable[[], Iterator[Capture]]

# what -> (captures, least share of equal paths, of equal flags of TCP frames, of equal streams)
SHARES: dict[str, tuple[Make, float, float, float]] = {
    "carriers": (varied_captures.by_carrier, 1.0, 1.0, 1.0),
    "troubles": (varied_captures.by_trouble, 0.99, 1.0, 1.0),
    "corner cases": (varied_captures.corner_cases, 1.0, 0.98, 1.0),  # of data in a SYN Wireshark notes tfo_ack, too
    "cut short": (varied_captures.cut_short, 0.95, 1.0, 1.0),
    "fragments": (varied_captures.in_fragments, 1.0, 1.0, 1.0),
    "interfaces": (varied_captures.several_interfaces, 1.0, 1.0, 1.0),
}


def _version() -> tuple[int, int]:
    said = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@pytest.mark.parametrize("what", SHARES)
def test_varied_captures_are_seen_as_tshark_sees_them(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shares over all frames of the captures of one make; what differs is printed."""
    if _version() != (4, 0):
        pytest.skip(f"names and verdicts change with Wireshark's versions: measured with 4.0, found {_version()}")
    kernel.choose(0)
    make, paths, flags, streams = SHARES[what]
    frames, segments, captures = 0, 0, 0
    equal: Counter[str] = Counter()
    different: Counter[str] = Counter()
    for capture in make():
        report: Report = verify_capture(str(varied_captures.write(capture, tmp_path)), None)
        captures, frames, segments = captures + 1, frames + report.frames, segments + report.tcp_frames
        equal.update(paths=report.paths_equal, flags=report.tcp_flags_equal, streams=report.streams_equal)
        different.update(f"{capture.name}: {row.what} {row.tshark} named {row.tapwall} ×{row.times}" for row in report.differences if row.frames)  # fmt: skip
    with capsys.disabled():
        print(f"\n{what}: {captures} captures, paths {equal['paths']} of {frames} frames, ", end="")
        print(f"flags {equal['flags']} and streams {equal['streams']} of {segments} TCP frames")
        for line, _ in different.most_common(12):
            print(f"  {line}")

    assert frames > 0
    assert equal["paths"] >= paths * frames
    assert equal["flags"] >= flags * segments
    assert equal["streams"] >= streams * segments
