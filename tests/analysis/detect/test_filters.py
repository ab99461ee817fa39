"""A finding's filter, run by tshark over the scene, selects exactly the packets that were counted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cases import Case, all_cases, analysed

pytestmark = [
    pytest.mark.tshark,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]
CASES = [case for case in all_cases() if case.must_fire]
ONE = list({case.detector: case for case in reversed(CASES)}.values())  # scene a detector
ALL_OF = ("raw-flood", "flood", "sweep", "link-attack", "tunnel", "amplification")  # filters by address and protocol
CHOSEN = [case for case in CASES if case in ONE or case.detector in ALL_OF]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.id)
def test_the_filter_selects_what_was_counted(case: Case, tmp_path: Path) -> None:
    """As many frames, and every frame that the finding names is among them."""
    analysis = analysed(case, tmp_path)
    for finding in analysis.findings:
        if finding.detector != case.detector:
            continue
        command = [
            "tshark",
            "-2",
            "-n",
            "-r",
            analysis.path,
            "-Y",
            finding.filter,
            "-T",
            "fields",
            "-e",
            "frame.number",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
        assert done.returncode == 0, (finding.filter, done.stderr)
        numbers = {int(line) for line in done.stdout.split()}
        assert set(finding.frames) <= numbers, finding.filter
        assert len(numbers) == finding.frame_count, (finding.title, finding.filter)
