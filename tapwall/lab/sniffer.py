"""The sniffer: `tapwall capture` in the server's network, started again as long as the lab runs.

In: an interface, the captures folder, how much to keep. Out: rotating pcapng files and lines of the story: what it
captures, that the disk is full, that there is room again. A full disk ends the capture, not the sniffer; nothing else
of the lab writes to that disk. It must not look into packets.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tapwall.lab.network import Borrowed, leave, stop
from tapwall.lab.story import Story

ROOM_BYTES = 1_000_000  # free on the disk, below which nothing is captured: what is there stays whole
AGAIN_S = 2.0  # between attempts


@dataclass(slots=True)
class Sniffer:
    """One sniffer. `keep` files of `rotate_mb` megabytes, over all its lives."""

    folder: Path
    story: Story
    rotate_mb: int = 16
    keep: int = 8
    borrowed: Borrowed = field(default_factory=Borrowed)
    ready: Path | None = None  # made once a capture runs, or once it was told why none can
    complained: str = ""

    def watch(self, seconds: float | None) -> None:
        """Capture for `seconds` (None: until stopped)."""
        began = time.monotonic()
        while seconds is None or time.monotonic() - began < seconds:
            if self.borrowed.lost():
                leave(self.story)
            if self.is_full():
                self.complain("the disk of the captures is full: nothing is captured until there is room")
                time.sleep(AGAIN_S)
                continue
            self.prune()
            left = None if seconds is None else max(1.0, seconds - (time.monotonic() - began))
            said = self.capture(left)
            if said:
                self.complain(f"the capture ended: {said}")
                time.sleep(AGAIN_S)

    def complain(self, what: str) -> None:
        """Tell a trouble once, not with every attempt."""
        if what != self.complained:
            self.complained = what
            self.story.tell(what, look=str(self.folder))
        self.be_ready()

    def is_full(self) -> bool:
        """Is there no room for captures? dumpcap itself goes on for long before it notices: it buffers."""
        return shutil.disk_usage(self.folder).free < ROOM_BYTES

    def be_ready(self) -> None:
        """Whoever waits for us need not wait any longer."""
        if self.ready is not None:
            self.ready.touch()

    def prune(self) -> None:
        """Delete the oldest captures of earlier lives, so that with those of this one no more than `keep` stand."""
        files = sorted(self.folder.glob("*.pcapng"), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) - self.keep + 1)]:
            with contextlib.suppress(OSError):
                path.unlink()

    def command(self, seconds: float | None) -> list[str]:
        """The capture as a person would start it."""
        words = [sys.executable, "-m", "tapwall", "capture", "-i", self.borrowed.interface]
        words += ["-w", str(self.folder / "lab.pcapng"), "--rotate-mb", str(self.rotate_mb), "--keep", str(self.keep)]
        return words + (["--seconds", f"{seconds:g}"] if seconds is not None else [])

    def capture(self, seconds: float | None) -> str:
        """One capture, to its end; the last line of its complaint, empty where it simply ended."""
        old, told = set(self.folder.glob("*.pcapng")), False
        with tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(self.command(seconds), stdout=subprocess.DEVNULL, stderr=errors)
            try:
                while child.poll() is None:
                    if not told and any(has_bytes(path) for path in set(self.folder.glob("*.pcapng")) - old):
                        told, self.complained = True, ""
                        self.story.tell(f"captures {self.borrowed.interface}", look=str(self.folder))
                        self.be_ready()
                    if self.is_full():
                        return ""
                    time.sleep(0.2)
            finally:
                stop(child)
            errors.seek(0)
            lines = errors.read(100_000).decode("utf-8", "replace").strip().splitlines()
        return (lines or [f"exit code {child.returncode}"])[-1] if child.returncode else ""


def has_bytes(path: Path) -> bool:
    """Has the capture begun to fill the file? Its name may stand before it, and be gone again."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
