"""docs/images/report.png: the report of our own capture, as headless Chromium draws it.

`python docs/report_picture.py [CHROMIUM]`. Run when the report's look changes, and look at the picture.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1160, 1560  # verdict, graphs and the first finding
COLOURS = 128
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")


def main() -> None:
    """Make the report in a temporary folder, draw it, and keep the picture with few colours."""
    from PIL import Image

    browser = sys.argv[1] if len(sys.argv) > 1 else shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as folder:
        rules = [sys.executable, "-m", "tapwall", "rules", "captures/office-intruder.pcap", "--no-proof"]
        subprocess.run([*rules, "--permit", "192.168.10.0/24", "-o", folder], cwd=ROOT, check=True, capture_output=True)
        shot = Path(folder) / "shot.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *QUIET, f"--user-data-dir={folder}/profile"]
        command += [f"--screenshot={shot}", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars"]
        subprocess.run([*command, f"file://{folder}/report.html"], check=True, capture_output=True)
        Image.open(shot).convert("RGB").quantize(COLOURS).save(TARGET, optimize=True)
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
