"""Text from other people, made harmless for a terminal: the chat's one escape, used where the client decodes a frame.

In: any `str`. Out: a `str` in which whatever could act on a terminal, hide, or re-order its neighbours is visible
instead: C0, DEL and C1 controls (an ESC is what OSC 52, OSC 8 and CSI 2J begin with), bidi controls, zero-width and other
format characters, lone surrogates, private use (kitty draws pictures over U+10EEEE). Rich's and Textual's `Text` let all
of them through, so this comes first and `Text` second. The only controls left are newline and, in message text, tab.

It knows nothing of markup, frames or screens: callers still must not hand the result to a markup parser.
"""

import unicodedata
from functools import lru_cache
from typing import Final

TEXT_LIMIT: Final = 16 * 1024  # characters: the server's cap for one message, so nothing honest is cut
LINE_LIMIT: Final = 200  # lines of one message: about four screens; a paste of 16 KiB newlines must not scroll all away
NAME_LIMIT: Final = 255  # characters of a name, topic or error: what a file system takes for a file name
MARKS_LIMIT: Final = 8  # combining marks on one letter; Tibetan and pointed Hebrew need up to 5, "zalgo" uses dozens
CUT: Final = "…"

# ASCII's own names of the C0 controls (ECMA-48, 8.3)
_C0: Final = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)  # fmt: skip

_BIDI: Final = {
    "\u061c": "ALM", "\u200e": "LRM", "\u200f": "RLM",
    "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF", "\u202d": "LRO", "\u202e": "RLO",
    "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI", "\u2069": "PDI",
}  # fmt: skip

# Format characters that ordinary writing needs: joiners (Persian, emoji families) and the Arabic number signs.
_JOINERS: Final = frozenset("\u200c\u200d")
_ARABIC_SIGNS: Final = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)

# Blank although they are letters, marks or symbols (UTS #39 "default ignorable"): harmless in a sentence, a trick in a name.
_BLANKS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")


def safe_text(text: str, limit: int = TEXT_LIMIT, lines: int = LINE_LIMIT) -> str:
    """Message text: newline and tab stay, everything else that could act on a terminal is shown. Idempotent.

    `limit` is in characters, `lines` in lines; what is cut off ends in an ellipsis.
    """
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    text = text.replace("\r\n", "\n")
    if lines and text.count("\n") >= lines:
        text = "\n".join([*text.split("\n", lines)[: lines - 1], CUT])
    return _cut(_marks_capped(map(_in_text, text[: limit + 1])), limit)


def safe_name(text: str, limit: int = NAME_LIMIT) -> str:
    """A name, topic, file name, type or error text: one line, with zero-width and blank characters shown as well. Idempotent."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    return _cut(_marks_capped(map(_in_name, text[: limit + 1])), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + CUT


def _marks_capped(shown: "map[str]") -> str:
    """Join, dropping combining marks beyond MARKS_LIMIT on one letter: stacked marks paint over the lines above."""
    out: list[str] = []
    marks = 0
    for piece in shown:
        marks = marks + 1 if len(piece) == 1 and unicodedata.category(piece) in ("Mn", "Me") else 0
        if marks <= MARKS_LIMIT:
            out.append(piece)
    return "".join(out)


@lru_cache(maxsize=4096)  # the characters of one language at a time; a flood of odd ones evicts itself
def _in_text(char: str) -> str:
    if char in "\n\t" or char in _JOINERS:
        return char
    return _shown(char)


@lru_cache(maxsize=4096)
def _in_name(char: str) -> str:
    if char in _JOINERS or char in _BLANKS or "\ufe00" <= char <= "\ufe0f":  # variation selectors
        return _code_point(char)
    if unicodedata.category(char) == "Zs" and char != " ":  # look-alike spaces: "admin\u00a0" is not "admin"
        return _code_point(char)
    return _shown(char)


def _shown(char: str) -> str:
    """The character itself if it can do no harm, else a visible stand-in made of harmless characters."""
    point = ord(char)
    if point < 0x20:
        return f"‹{_C0[point]}›"  # not ␛ and its kin: many terminals' fonts lack them, and screen readers skip them
    if point < 0x7F:
        return char
    if point == 0x7F:
        return "‹DEL›"
    if char in _BIDI:
        return f"‹{_BIDI[char]}›"
    category = unicodedata.category(char)
    if category in ("Cc", "Cs", "Co", "Zl", "Zp") or (category == "Cf" and char not in _ARABIC_SIGNS):
        return _code_point(char)
    if point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF or 0xE0000 <= point <= 0xE0FFF:  # non-characters, tags
        return _code_point(char)
    return char


def _code_point(char: str) -> str:
    return f"‹U+{ord(char):04X}›"
