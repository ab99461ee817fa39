"""report.html: one file that works offline, which a professional could hand to a client.

In: an analysis (its JSON form), optionally the rules of `tapwall rules` (their JSON form). Out: report.html and the
pictures as SVG files in a folder, each written to a temporary name and renamed. The template draws; this file only
prepares what it shows. Everything from the capture passes `safe_name` and then jinja2's HTML escaping; only SVG drawn
by plots.py goes in as markup.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.findings import unit_of
from analysis.verdict import HasJson, by_severity, duration_text, rate_text, size_text, verdict
from chat.safe_text import safe_name

TOP_ROWS = 200  # rows of a table in the page; the CSV beside it has all of them
KINDS = {"eth": "Ethernet", "ip": "IPv4", "ipv6": "IPv6", "tcp": "TCP", "udp": "UDP"}


def write_report(
    analysis: HasJson, folder: Path, rules: dict[str, Any] | None = None, events: Sequence[tuple[float, str]] = ()
) -> Path:
    """Write report.html and the pictures below `folder` (made if missing); returns the page's path.

    `events` are (seconds since the first packet, label) marks in the graphs. Raises OSError where it cannot write.
    """
    from analysis import plots

    data = analysis.to_json()
    drawn = plots.pictures(data, events)
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        write_text(folder / f"{name}.svg", plots.standalone(svg))
    page = folder / "report.html"
    write_text(page, render(data, {name: plots.inline(svg) for name, svg in drawn.items()}, rules))
    return page


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path` and rename it: a reader never sees half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def render(data: dict[str, Any], drawings: dict[str, str], rules: dict[str, Any] | None = None) -> str:
    """The page as HTML text. `drawings` are SVG texts for inlining (plots.inline), by name."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: safe_name(value, 20_000) if type(value) is str else value,
    )
    environment.filters |= {
        "size": size_text,
        "rate": rate_text,
        "duration": lambda s: duration_text(s) if s is not None else "–",
        "count": lambda n: f"{n:,}" if n is not None else "–",
        "clock": _clock,
        "number": _number,
        "unit_of": unit_of,
    }
    files = [file["path"] for file in data["capture"]["files"]]
    capture = " ".join(shlex.quote(Path(name).name) for name in files[:1]) or "CAPTURE"
    return environment.get_template("report.html.j2").render(
        data=data,
        capture=data["capture"],
        title=", ".join(Path(name).name for name in files[:3]) + (" …" if len(files) > 3 else ""),
        verdict=verdict(data),
        groups=by_severity(data["findings"]),
        serious=any(f["severity"] in ("critical", "high", "medium") for f in data["findings"]),
        hierarchy=tree_rows(data),
        kinds={kind: label for kind, label in KINDS.items() if data["conversations"].get(kind)},
        top_rows=TOP_ROWS,
        drawings={name: Markup(svg) for name, svg in drawings.items()},
        rules=rules,
        tshark=f"tshark -2 -n -r {capture}",
        conversations={kind: _heaviest(data["conversations"].get(kind, [])) for kind in KINDS},
        endpoints={kind: _heaviest(data["endpoints"].get(kind, [])) for kind in KINDS},
        names=_name_list,
    )


def tree_rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The hierarchy in tree order with depth, share of packets (percent) and the display filter of each row."""
    rows = []
    total = max(1, data["capture"]["packets"])
    for row in data["hierarchy"]:
        parts = row["path"].split("/")
        depth = 0 if row["path"] == "frame" else len(parts) - (parts[0] == "frame")
        rows.append({**row, "depth": depth, "share": 100 * row["packets"] / total, "filter": parts[-1]})
    return rows


def _heaviest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -row["bytes"])[:TOP_ROWS]


def _name_list(row: dict[str, Any]) -> str:
    names = row.get("names") or []
    if isinstance(names, dict):
        names = [f"{side}: {', '.join(map(str, some))}" for side, some in names.items() if some]
    return ", ".join(name if isinstance(name, str) else name["name"] for name in names[:3])


def _clock(seconds: float | str | None) -> str:
    """Unix seconds as UTC date and time; the number itself where the calendar ends."""
    from datetime import UTC, datetime

    if seconds is None:
        return "–"
    try:
        return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
