"""The rule table: the same cells in every form, escaped for each."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from firewall.render import table
from firewall.render.table import COLUMNS

HOSTILE = "<script>|\n=1+1\x1b[31m\u202e"


def rule(**values: Any) -> dict[str, Any]:
    """A rule as report.rule_json makes them."""
    fields: dict[str, Any] = {
        "id": "tw-1", "action": "DROP", "source": "203.0.113.9", "destination": None, "protocol": "TCP", "port": "443",
        "description": "why", "ttl_s": 86400, "hits": 5, "hit_bytes": 300, "conversations": 1, "prevented_conversations": 1,
        "collateral": 0, "why_dead": None,
    }  # fmt: skip
    return fields | values


def test_columns_of_the_contract_come_first() -> None:
    """Action, Source IP, Destination IP, Protocol, Port, Description, then what was measured."""
    assert COLUMNS[:6] == ("Action", "Source IP", "Destination IP", "Protocol", "Port", "Description")
    assert table.rows([rule()]) == [
        ["DROP", "203.0.113.9", "any", "TCP", "443", "why", "5", "300", "1", "1", "0", "24 h", "tw-1"]
    ]


def test_every_form_has_every_cell() -> None:
    """Markdown, HTML and CSV say the same as the rows."""
    cells = table.rows([rule()])[0]

    assert list(csv.reader(io.StringIO(table.to_csv([rule()]))))[1] == cells
    assert re.findall(r"<td[^>]*>([^<]*)</td>", table.html([rule()])) == cells
    assert [c.strip() for c in table.markdown([rule()]).splitlines()[2].strip("|").split("|")] == cells
    assert json.loads(table.to_json([rule()])) == [rule()]


def test_hostile_text_breaks_no_form() -> None:
    """A description of a peer's making is one harmless cell."""
    rows = [rule(description=HOSTILE)]

    assert len(table.markdown(rows).splitlines()) == 3
    assert "<script" not in table.html(rows)
    assert len(list(csv.reader(io.StringIO(table.to_csv(rows))))[1]) == len(COLUMNS)
    assert not re.search("[\x1b\u202e\n]", "".join(table.rows(rows)[0]))


def test_a_dead_rule_says_why() -> None:
    """No hit is a result, with its reason."""
    assert table.rows([rule(why_dead="no such port")])[0][5] == "why [0 hits: no such port]"


@pytest.mark.parametrize(("ttl", "expected"), [(None, "never"), (86400, "24 h"), (604800, "7 days"), (3600, "1 h"), (90, "90 s")])  # fmt: skip
def test_lifetime(ttl: int | None, expected: str) -> None:
    """Words for how long a rule lives."""
    assert table.lifetime(ttl) == expected
