"""The terminal's answer: one screen for a person, plain lines for a pipe, no escapes from a peer."""

from __future__ import annotations

import io

import pytest
from analysis_json import HOSTILE, Made, analysis_json, finding

from analysis.summary import print_summary
from analysis.verdict import duration_text, rate_text, size_text, verdict


class Terminal(io.StringIO):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_no_control_character_of_a_peer_is_printed(out: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile names are shown, not executed, on a terminal and in a pipe."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    written = out()

    print_summary(Made(analysis_json([finding(title=HOSTILE)])), written)

    assert not set(written.getvalue()) & {"\x1b", "\x07", "\u202e"}
    assert "[red]x[/]" in written.getvalue()


def test_piped_output_is_tab_separated() -> None:
    """Every piped line begins with the kind of row; the finding's line holds its filter."""
    written = io.StringIO()

    print_summary(Made(analysis_json([finding()])), written)

    rows = [line.split("\t") for line in written.getvalue().splitlines()]
    assert {"verdict", "capture", "fault", "finding", "protocol", "conversation", "not_assessable"} == {
        row[0] for row in rows
    }
    assert ["finding", "medium", "0.90", finding()["title"], "ip.src == 10.0.0.9"] in rows


def test_summary_fits_a_screen() -> None:
    """With a hundred findings the terminal summary still has at most 45 lines."""
    written = Terminal()

    print_summary(Made(analysis_json([finding() for _ in range(100)])), written)

    assert written.getvalue().count("\n") <= 45
    assert "90 more" in written.getvalue()


VERDICTS = [
    ([], "No detector found anything; 1 detector could not judge."),
    ([finding("low")], "Nothing at medium or above; 1 lesser finding, first: "),
    ([finding("high"), finding("medium")], "10.0.0.9 tried 60 ports of 10.0.0.5 (and 1 more at medium or above)"),
]


@pytest.mark.parametrize(("findings", "expected"), VERDICTS)
def test_verdict_names_the_worst_first(findings: list[dict[str, object]], expected: str) -> None:
    """The second sentence is the worst finding, or says that there is none."""
    assert verdict(analysis_json(findings))[1].startswith(expected)


def test_units_read_as_wireshark_writes_them() -> None:
    """SI prefixes from 1000 on; durations in at most two units."""
    assert [size_text(n) for n in (0, 999, 1000, 204_660, 972_199)] == ["0 B", "999 B", "1.0 kB", "205 kB", "972 kB"]
    assert [duration_text(s) for s in (0.3478, 45, 200, 7500, 270_000)] == [
        "0.348 s",
        "45 s",
        "3 min 20 s",
        "2 h 5 min",
        "3 d 3 h",
    ]
    assert [rate_text(r) for r in (None, 950, 173_404.14)] == ["–", "950 bit/s", "173 kbit/s"]
