"""The rule table for people: Action | Source IP | Destination IP | Protocol | Port | Description, then what was measured.

In: rules as `report.rule_json` makes them. Out: rows of plain text, Markdown, an HTML fragment, CSV, JSON. Every text
is escaped here, for the form at hand: descriptions and names come from captures. The terminal form is the rows: the
command line draws them. Must not know policies or replays.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from firewall.escape import cell_csv, cell_html, cell_markdown, visible
from firewall.essentials import KEPT_OPEN

COLUMNS = ("Action", "Source IP", "Destination IP", "Protocol", "Port", "Description", "Hits", "Bytes", "Conversations", "Prevented", "Collateral", "Expires", "Id")  # fmt: skip
NUMBERS = frozenset({"Hits", "Bytes", "Conversations", "Prevented", "Collateral"})
DAY_S, HOUR_S = 86400, 3600


def rows(rules: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Cells as plain text, one row a rule, in the order of COLUMNS."""
    return [[visible(text) for text in _cells(rule)] for rule in rules]


def markdown(rules: Sequence[dict[str, Any]]) -> str:
    """A Markdown table."""
    head = [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "|".join(" ---: " if c in NUMBERS else " --- " for c in COLUMNS) + "|",
    ]
    body = ["| " + " | ".join(cell_markdown(text) for text in _cells(rule)) + " |" for rule in rules]
    return "".join(f"{line}\n" for line in [*head, *body])


def html(rules: Sequence[dict[str, Any]]) -> str:
    """An HTML fragment: one table of class "rules", no script, no style."""
    head = "".join(f"<th>{c}</th>" for c in COLUMNS)
    body = []
    for rule in rules:
        cells = [
            f'<td class="number">{cell_html(text)}</td>' if name in NUMBERS else f"<td>{cell_html(text)}</td>"
            for name, text in zip(COLUMNS, _cells(rule))
        ]
        body.append(f'<tr class="{cell_html(str(rule["action"]).lower())}">{"".join(cells)}</tr>')
    return (
        f'<table class="rules">\n<thead><tr>{head}</tr></thead>\n<tbody>\n' + "\n".join(body) + "\n</tbody>\n</table>\n"
    )


def to_csv(rules: Sequence[dict[str, Any]]) -> str:
    """CSV with a header line (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([cell_csv(text) for text in _cells(rule)] for rule in rules)
    return out.getvalue()


def to_json(rules: Sequence[dict[str, Any]]) -> str:
    """The rules as they are, one JSON array."""
    return json.dumps(list(rules), indent=2, ensure_ascii=True) + "\n"


def _cells(rule: dict[str, Any]) -> list[str]:
    description, why = str(rule["description"]), rule.get("why_dead")
    if why and not description.startswith(KEPT_OPEN):  # a service that nobody used today is no mistake
        description += f" [0 hits: {why}]"
    numbers = [
        str(rule[key]) for key in ("hits", "hit_bytes", "conversations", "prevented_conversations", "collateral")
    ]
    sides = [str(rule[key] or "any") for key in ("action", "source", "destination", "protocol", "port")]
    return [*sides, description, *numbers, lifetime(rule["ttl_s"]), str(rule["id"])]


def lifetime(ttl_s: int | None) -> str:
    """ "never", "24 h", "7 days"."""
    if ttl_s is None:
        return "never"
    if ttl_s % DAY_S == 0 and ttl_s > DAY_S:
        return f"{ttl_s // DAY_S} days"
    if ttl_s % HOUR_S == 0:
        return f"{ttl_s // HOUR_S} h"
    return f"{ttl_s} s"
