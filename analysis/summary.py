"""What `tapwall analyze` prints for a person: one screen that reads like an answer.

In: an analysis (its JSON form) and a text file. Out: a verdict, findings, top protocols and conversations, and what
to look at next. On a terminal rich draws tables; piped output is plain tab-separated lines that grep can use.
Every text from the capture passes `safe_name` first, then `Text`, so that neither escapes nor markup get through.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from analysis.verdict import SEVERITIES, HasJson, by_severity, duration_text, rate_text, size_text, verdict
from chat.safe_text import safe_name

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"critical": "bold white on red", "high": "bold red", "medium": "yellow", "low": "cyan", "info": "dim"}
TOP = 6  # rows per table: the summary fits a screen of 40 lines


def print_summary(analysis: HasJson, out: IO[str]) -> None:
    """Print the summary of `analysis` to `out`: tables on a terminal, tab-separated lines elsewhere."""
    data = analysis.to_json()
    if not getattr(out, "isatty", lambda: False)():
        out.write("".join("\t".join(safe_name(str(cell), 4000) for cell in line) + "\n" for line in plain_lines(data)))
        return
    from rich.console import Console

    _draw(data, Console(file=out, highlight=False))


def plain_lines(data: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The summary as rows of cells, unescaped; the first cell names the kind of row."""
    lines: list[tuple[Any, ...]] = [("verdict", " ".join(verdict(data)))]
    capture = data["capture"]
    lines.append(
        (
            "capture",
            capture["packets"],
            capture["data_bytes"],
            capture["duration_s"],
            ",".join(map(str, capture["link_types"])),
        )
    )
    lines += [("fault", name, count) for name, count in sorted(capture["faults"].items())]
    if "tls" in capture:
        lines.append(("keys", capture["tls"]["keyed"], capture["tls"]["sessions"]))
    for group in by_severity(data["findings"]).values():
        lines += [("finding", f["severity"], f"{f['confidence']:.2f}", f["title"], f["filter"]) for f in group]
    lines += [("not_assessable", n["detector"], n["reason"]) for n in data["not_assessable"]]
    lines += [("protocol", row["path"], row["packets"], row["bytes"], row["end_packets"]) for row in data["hierarchy"]]
    for kind, row in _top_conversations(data, 10):
        lines.append(
            (
                "conversation",
                kind,
                _side(row, "a"),
                _side(row, "b"),
                row["packets"],
                row["bytes"],
                row.get("state") or "",
            )
        )
    return lines


def _side(row: dict[str, Any], side: str) -> str:
    port = row.get(f"{side}_port")
    if port is None:
        return str(row[side])
    return f"[{row[side]}]:{port}" if ":" in row[side] else f"{row[side]}:{port}"


def _top_conversations(data: dict[str, Any], count: int) -> list[tuple[str, dict[str, Any]]]:
    rows = [(kind, row) for kind in ("ip", "ipv6") for row in data["conversations"].get(kind, [])]
    rows = rows or [("eth", row) for row in data["conversations"].get("eth", [])]
    return sorted(rows, key=lambda item: -item[1]["bytes"])[:count]


def _draw(data: dict[str, Any], console: Console) -> None:
    from rich.text import Text

    capture = data["capture"]
    names = ", ".join(safe_name(file["path"]) for file in capture["files"])
    console.print(Text(names, style="bold"))
    for sentence in verdict(data):
        console.print(Text(safe_name(sentence)))
    if capture["faults"]:
        faults = ", ".join(f"{safe_name(name)} {count:,}" for name, count in sorted(capture["faults"].items()))
        console.print(Text(f"Faults in the file: {faults}", style="yellow"))
    if "tls" in capture:
        tls = capture["tls"]
        console.print(Text(f"Keys: secrets of {tls['keyed']:,} of {tls['sessions']:,} TLS sessions were at hand"))
    console.print()
    _draw_findings(data, console)
    _draw_tables(data, console)
    errors = {name: count for name, count in data["tcp_analysis"].items() if count}
    if errors:
        listed = ", ".join(
            f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(errors.items(), key=lambda e: -e[1])
        )
        console.print(Text(f"TCP: {listed}", style="dim"))


def _draw_findings(data: dict[str, Any], console: Console) -> None:
    from rich.text import Text

    shown = 0
    for severity, group in by_severity(data["findings"]).items():
        for finding in group[: max(0, 10 - shown)]:
            line = Text(f"{severity:>8} ", style=STYLES[severity])
            line.append(f" {safe_name(finding['title'])}", style="default")
            line.append(f"  {finding['confidence']:.0%}", style="dim")
            console.print(line)
            shown += 1
    left = len(data["findings"]) - shown
    if left > 0:
        console.print(Text(f"         … and {left} more: --json or -o DIR shows all", style="dim"))
    if data["not_assessable"]:
        listed = "; ".join(f"{n['detector']} ({n['reason']})" for n in data["not_assessable"][:4])
        more = len(data["not_assessable"]) - 4
        tail = f"; and {more} more" if more > 0 else ""
        console.print(Text(f"Not assessable: {safe_name(listed)}{tail}", style="dim"))
    console.print()


def _draw_tables(data: dict[str, Any], console: Console) -> None:
    from rich.columns import Columns

    console.print(Columns([_protocols(data), _conversations(data)], padding=(0, 3)))


def _protocols(data: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("protocol", box=None, header_style="dim", padding=(0, 1))
    for name in ("packets", "%", "bytes"):
        table.add_column(name, justify="right")
    ends = sorted((row for row in data["hierarchy"] if row["end_packets"]), key=lambda row: -row["end_packets"])
    for row in ends[: TOP + 2]:
        share = f"{100 * row['end_packets'] / max(1, data['capture']['packets']):.1f}"
        table.add_row(
            Text(safe_name(row["path"].split("/", 1)[-1])),
            f"{row['end_packets']:,}",
            share,
            size_text(row["end_bytes"]),
        )
    return table


def _conversations(data: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("who talks to whom", box=None, header_style="dim", padding=(0, 1))
    for name in ("packets", "bytes", "rate", "for"):
        table.add_column(name, justify="right")
    names = _names(data)
    for _, row in _top_conversations(data, TOP + 2):
        ends = " ↔ ".join(names.get(row[side], row[side]) for side in ("a", "b"))
        rate = [row[key] for key in ("bits_per_s_ab", "bits_per_s_ba") if row.get(key) is not None]
        table.add_row(
            Text(safe_name(ends)),
            f"{row['packets']:,}",
            size_text(row["bytes"]),
            rate_text(sum(rate) if rate else None),
            duration_text(row["duration_s"] or 0),
        )
    return table


def _names(data: dict[str, Any]) -> dict[str, str]:
    """Address -> 'address (name)' where the capture itself names it."""
    named = {}
    for kind in ("ip", "ipv6"):
        for row in data["endpoints"].get(kind, []):
            if row.get("names"):
                first = row["names"][0]
                named[row["address"]] = f"{row['address']} ({first if isinstance(first, str) else first['name']})"
    return named


assert set(STYLES) == set(SEVERITIES)
