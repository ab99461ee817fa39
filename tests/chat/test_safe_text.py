"""No string of a peer can act on a terminal, hide, or re-order its neighbours."""

import io
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from chat.safe_text import LINE_LIMIT, MARKS_LIMIT, NAME_LIMIT, TEXT_LIMIT, safe_name, safe_text

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

TRICKS = {
    "clipboard write": ("\x1b]52;c;ZXZpbA==\x07", "‹ESC›]52;c;ZXZpbA==‹BEL›"),
    "window title": ("\x1b]0;root\x1b\\", "‹ESC›]0;root‹ESC›\\"),
    "false link": ("\x1b]8;;http://evil\x1b\\bank\x1b]8;;\x1b\\", "‹ESC›]8;;http://evil‹ESC›\\bank‹ESC›]8;;‹ESC›\\"),
    "clear screen": ("\x1b[2J", "‹ESC›[2J"),
    "C1 CSI": ("\x9b2J", "‹U+009B›2J"),
    "C1 OSC": ("\x9d52;c;eA==\x9c", "‹U+009D›52;c;eA==‹U+009C›"),
    "kitty graphics": ("\x1b_Ga=d\x1b\\", "‹ESC›_Ga=d‹ESC›\\"),
    "kitty placeholder": ("\U0010eeee", "‹U+10EEEE›"),
    "carriage return over the line": ("good\rbad", "good‹CR›bad"),
    "Windows line end": ("a\r\nb", "a\nb"),
    "backspace": ("a\bb", "a‹BS›b"),
    "delete": ("a\x7fb", "a‹DEL›b"),
    "right-to-left override": ("\u202egpj.exe", "‹RLO›gpj.exe"),
    "isolate": ("a\u2067b\u2069c", "a‹RLI›b‹PDI›c"),
    "zero-width space": ("ad\u200bmin", "ad‹U+200B›min"),
    "byte order mark": ("\ufeffx", "‹U+FEFF›x"),
    "line separator": ("a\u2028b", "a‹U+2028›b"),
    "next line": ("a\x85b", "a‹U+0085›b"),
    "invisible tags": ("x\U000e0041", "x‹U+E0041›"),
    "lone surrogate": ("\ud800", "‹U+D800›"),
    "newline and tab stay": ("a\n\tb", "a\n\tb"),
    "joiners of writing stay": ("می‌خواهم 👨‍👩‍👧", "می‌خواهم 👨‍👩‍👧"),
    "markup is not our business": ("[bold red]x[/]", "[bold red]x[/]"),
    "letters of the world stay": ("Zoë Ωμέγα 日本 שלום", "Zoë Ωμέγα 日本 שלום"),
}


@pytest.mark.parametrize(("raw", "expected"), TRICKS.values(), ids=TRICKS.keys())
def test_tricks_are_shown(raw: str, expected: str) -> None:
    """Each known trick becomes visible characters; ordinary writing stays as it is."""
    assert safe_text(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a\nb", "a‹LF›b"),
        ("a\tb", "a‹HT›b"),
        ("adm\u200din", "adm‹U+200D›in"),
        ("admin\u00a0", "admin‹U+00A0›"),
        ("a\u3164", "a‹U+3164›"),
        ("x\ufe0f", "x‹U+FE0F›"),
        ("x" * 300, "x" * (NAME_LIMIT - 1) + "…"),
        ("Grüße 2.txt", "Grüße 2.txt"),
    ],
)
def test_names_are_one_line_with_nothing_invisible(raw: str, expected: str) -> None:
    """A name shows newlines, joiners, blank letters and odd spaces too."""
    assert safe_name(raw) == expected


def test_length_lines_and_stacked_marks_are_capped() -> None:
    """A message can neither be endless, nor scroll everything away, nor paint over the lines above."""
    assert len(safe_text("é" * (TEXT_LIMIT + 5))) == TEXT_LIMIT
    assert len(safe_text("x" * (TEXT_LIMIT + 5))) == TEXT_LIMIT
    assert safe_text("\n" * 5000).count("\n") == LINE_LIMIT - 1
    assert len(safe_text("e" + "\u0301" * 100)) == 1 + MARKS_LIMIT


HOSTILE = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from("\x1b\x9b\x9d\x07\r\n\t\x00\x7f\u202e\u2066\u200b\u200d\ud800\U0010eeee\u0301[]"),
    )
)


def dangerous(text: str, allowed: str) -> set[str]:
    """The characters of a text that could act on a terminal or its neighbours."""
    return {
        char
        for char in text
        if char not in allowed and (unicodedata.category(char) in ("Cc", "Cs", "Co", "Zl", "Zp") or char in BIDI)
    }


@given(HOSTILE)
def test_nothing_dangerous_is_left(raw: str) -> None:
    """Whatever comes in, no control (but newline and tab), no bidi control and no surrogate comes out."""
    assert dangerous(safe_text(raw), "\n\t") == set()
    assert dangerous(safe_name(raw), "") == set()


@given(HOSTILE)
def test_twice_is_once(raw: str) -> None:
    """Escaping what was escaped changes nothing, so a second boundary does no harm."""
    assert safe_text(safe_text(raw)) == safe_text(raw)
    assert safe_name(safe_name(raw)) == safe_name(raw)


@given(HOSTILE)
def test_rendered_and_logged_output_is_clean(raw: str) -> None:
    """What Rich renders and what a log handler writes holds no ESC, C1 or lone bidi override, and always encodes."""
    screen, log = io.StringIO(), io.StringIO()
    Console(file=screen, width=60, no_color=True, legacy_windows=False).print(Text(safe_text(raw)))
    record = logging.LogRecord("chat", logging.INFO, "x", 1, "%s", (safe_name(raw),), None)
    handler = logging.StreamHandler(log)
    handler.emit(record)

    for written in (screen.getvalue(), log.getvalue()):
        assert dangerous(written, "\n\t") == set()
        written.encode()
