"""What the analysis raises: one base, few leaves, each message one line (what, where, got, expected).

    AnalysisError           anything a user can put right; the command line prints it and exits with 2
      CaptureError          a file or stream that cannot be read as a capture
      LiveError             an interface that cannot be sniffed, or a file that cannot be written

A strange packet is never an error: it sets a bit of `analysis.columns.FAULTS` in its row and is counted.
"""

from __future__ import annotations


class AnalysisError(Exception):
    """Base of everything that the analysis raises on purpose."""


class CaptureError(AnalysisError):
    """A file or stream that is no capture, or that cannot be opened or read."""


class LiveError(AnalysisError):
    """Live capture that cannot start or go on: no such interface, no permission, a bad filter, a full disk."""


def one_line(error: Exception) -> str:
    """What a user reads of an error, on stderr; control characters of file names are made visible."""
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(error))
    return f"tapwall: {text}\n"
