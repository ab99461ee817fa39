"""Text that came from a peer or a capture, made harmless for the one place where it is drawn.

In: any string. Out: a comment for rule files, a cell for Markdown, HTML or CSV, or a line for a terminal. Control
characters (C0, C1), bidirectional marks and line separators are shown as \\xNN or \\u{NNNN}, never sent. Rule comments
keep only `[A-Za-z0-9 ._:/-]`, so that no quoting rule of any tool matters. Must not know what the text is about.
"""

from __future__ import annotations

import html
import re

COMMENT_MAX = 255  # xt_comment; longer ones are cut silently by the kernel's tools
NFT_COMMENT_MAX = 127  # NFTNL_UDATA_COMMENT_MAXLEN less the terminator
_NOT_COMMENT = re.compile(r"[^A-Za-z0-9 ._:/-]+")
# C0 and DEL, C1, soft hyphen, zero width and bidi marks, line separators, isolates, byte order mark, interlinear, tags
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def visible(text: str) -> str:
    """For a terminal or any plain text: one line, nothing hidden."""
    return _HIDDEN.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{{{ord(m[0]):04x}}}", text)


def comment(text: str, most: int = COMMENT_MAX) -> str:
    """For a comment in a rule file: a small charset, at most `most` bytes."""
    return _NOT_COMMENT.sub("_", text).strip()[:most].rstrip()


def cell_html(text: str) -> str:
    """For an HTML text node or a quoted attribute."""
    return html.escape(visible(text), quote=True)


def cell_markdown(text: str) -> str:
    """For a cell of a Markdown table: no pipe, no markup, no HTML, no link."""
    return (
        re.sub(r"([\\`*_{}\[\]()<>#+!|~&@])", r"\\\1", visible(text))
        .replace("\\<", "&lt;")
        .replace("\\>", "&gt;")
        .replace("\\&lt;", "&lt;")
    )


def cell_csv(text: str) -> str:
    """For a CSV cell: a spreadsheet must not take it for a formula. Quoting is the CSV writer's."""
    shown = visible(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown
