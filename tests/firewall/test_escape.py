"""What a peer wrote is harmless where it is drawn: rule comment, HTML, Markdown, CSV, terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firewall.escape import COMMENT_MAX, cell_csv, cell_html, cell_markdown, comment, visible

HOSTILE = {
    "line break": "x\n-A INPUT -j ACCEPT",
    "carriage return": "x\rCOMMIT",
    "quote": 'x" -j ACCEPT --comment "y',
    "backslash": "x\\",
    "shell": "$(reboot) `reboot` ; reboot | sh",
    "here-document end": "\nTAPWALL_END\nreboot\n",
    "nft block": '" } chain y { drop }',
    "script": "</td></table><script>alert(1)</script>",
    "escape sequence": "\x1b]0;owned\x07\x9b31m",
    "bidi": "\u202egnp.exe\u2066",
    "markdown": "|x|[y](javascript:z)<b>",
    "formula": "=cmd|' /C calc'!A0",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_comment_keeps_a_small_charset(name: str) -> None:
    """Nothing that means anything to iptables, nft or a shell is left."""
    assert re.fullmatch(r"[A-Za-z0-9 ._:/-]*", comment(HOSTILE[name]))


@given(st.text(max_size=600), st.integers(10, 255))
def test_comment_never_exceeds_its_limit(text: str, most: int) -> None:
    """The kernel's tools cut longer ones silently."""
    assert len(comment(text, most).encode()) <= most <= COMMENT_MAX


@given(st.text())
def test_visible_is_one_printable_line(text: str) -> None:
    """No control, no bidi mark, no second line, and no surrogate that an encoder would refuse."""
    shown = visible(text)

    shown.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]", shown)
    assert len(shown.splitlines()) <= 1


@given(st.text())
def test_html_cells_hold_text_only(text: str) -> None:
    """No tag, no end of an attribute."""
    assert not set(cell_html(text)) & set("<>\"'")


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_cells_break_no_table(name: str) -> None:
    """No bare pipe, no tag, no link, no second line."""
    shown = cell_markdown(HOSTILE[name])

    assert not re.search(r"(?<!\\)[|<>\[\]`]", shown)
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_cells_are_no_formula(text: str) -> None:
    """A spreadsheet shows the text."""
    assert cell_csv(text) == f"'{text}"


def test_plain_words_stay_as_they_are() -> None:
    """Escaping changes only what it must."""
    text = "10.0.0.5 tried 47 passwords"

    assert [f(text) for f in (comment, visible, cell_html, cell_markdown, cell_csv)] == [text] * 5
