"""Record the lab's own captures again: `python captures/make_lab.py [FOLDER]`. Live traffic, so never the same bytes.

Runs `tapwall demo` twice (Linux with network namespaces): the people alone for 45 s, and people with intruder for his
first round, no rule in force. Only packets are kept: names of machine, processor and program stay out of the files.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

DEMOS = {
    "lab-quiet.pcap.gz": ("--quiet", "--seconds", "45"),
    "lab-intruder.pcap.gz": ("--seconds", "85", "--hold", "1000"),
}


def record(words: tuple[str, ...], folder: Path) -> bytes:
    """Play a demo in `folder`; its one capture as classic pcap, compressed."""
    lab = folder / "lab"
    command = [sys.executable, "-m", "tapwall", "demo", "--folder", str(lab), "--port", "0", *words]
    subprocess.run(command, check=True)
    (capture,) = (lab / "captures").glob("*.pcapng")
    plain = folder / "plain.pcap"
    subprocess.run(["editcap", "-F", "nsecpcap", str(capture), str(plain)], check=True)
    return gzip.compress(plain.read_bytes(), mtime=0)


def main(folder: Path) -> None:
    """Record every capture of DEMOS below `folder`."""
    for name, words in DEMOS.items():
        with tempfile.TemporaryDirectory() as place:
            data = record(words, Path(place))
        (folder / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
