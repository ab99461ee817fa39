"""Where commands start and end: quick for a capture alone, and the same as through Click."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tapwall.start import is_plain

ROOT = Path(__file__).parents[2]
CAPTURE = str(ROOT / "captures" / "office-quiet.pcap")
MODULES = """
import sys
from tapwall import start
def leave(code): sys.stderr.write(" ".join(sorted(sys.modules))); sys.exit(code)
start._leave = leave
sys.argv = ["tapwall", "analyze", sys.argv[1]]
start.main()
"""
# What a small capture does not need, by what it would cost: the compiler, tables and colours, options, documentation
# and types of numpy, thread pools, settings files, processes, JSON, dates of certificates.
UNUSED = {
    "numba", "pandas", "rich", "click", "numpy.ma", "numpy.typing", "numpy._typing", "numpy._core._add_newdocs",
    "concurrent.futures", "tomllib", "tempfile", "subprocess", "json", "calendar", "uuid", "locale",
}  # fmt: skip


def tapwall(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a fresh process."""
    return subprocess.run([sys.executable, "-m", "tapwall", *words], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        (["analyze", "a.pcap"], True),
        (["analyze", "a.pcap", "b.pcap"], True),
        (["analyze", "-"], True),
        (["analyze"], False),
        (["analyze", "a.pcap", "--json"], False),
        (["analyze", "-h"], False),
        (["analyze", "--", "-a.pcap"], False),
        (["packets", "a.pcap"], False),
        ([], False),
    ],
)
def test_captures_alone_are_plain(words: list[str], plain: bool) -> None:
    """Whatever has an option, and every other command, is Click's."""
    assert is_plain(words) is plain


def test_the_answer_is_the_same_with_and_without_click() -> None:
    """Output and exit code."""
    plain, clicked = tapwall("analyze", CAPTURE), tapwall("analyze", CAPTURE, "--interval", "1")

    assert (plain.returncode, plain.stdout, plain.stderr) == (0, clicked.stdout, "")


def test_errors_are_the_same_with_and_without_click() -> None:
    """One line, exit code 2, control characters made visible."""
    plain, clicked = tapwall("analyze", "/\x1b[31m"), tapwall("analyze", "/\x1b[31m", "--json")

    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr == clicked.stderr == "tapwall: /\\x1b[31m: cannot open: no such file or directory\n"


def test_a_small_capture_loads_no_more_than_it_needs() -> None:
    """Each of these modules would cost a hundredth of the time or more."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES, CAPTURE], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert not UNUSED & set(done.stderr.split())


def test_a_reader_that_leaves_is_no_error() -> None:
    """`tapwall analyze CAPTURE | head -1` ends in silence."""
    with subprocess.Popen(
        [sys.executable, "-m", "tapwall", "analyze", CAPTURE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        talk = process.stderr.read()

    assert (process.returncode, talk) == (0, b"")
