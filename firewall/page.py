"""The firewall report for people: the lines below the table, and report.md.

In: the JSON form of a result (outputs.md). Out: lines of plain text, or Markdown; every text is escaped here. The HTML
page is the analysis report's, which shows the same JSON. Must not know how rules are made.
"""

from __future__ import annotations

from typing import Any

from analysis.findings import counted
from firewall.escape import cell_markdown, visible
from firewall.essentials import KEPT_OPEN
from firewall.render import table

TITLE_SHOWN = 90  # characters of a finding's title in a line
NAMED = 3  # conversations that are named in a line
SHOWN = 20  # notes of one kind; the JSON has all


def summary(data: dict[str, Any]) -> list[str]:
    """What a person has to know besides the table, one line each."""
    replay, policy = data["replay"], data["policy"]
    out = [
        f"vantage: {policy['vantage']} ({data['vantage_why']}), default {policy['default']}",
        f"replay: {replay['packets']} packets, {replay['dropped']} dropped, {replay['permitted']} permitted, {replay['unknown']} unknown; {counted(replay['prevented_conversations'], 'conversations')} prevented at their first packet",
    ]
    out += [
        f"finding {_named(data, f['id'])}: {f['stopped']} of {f['packets']} packets stopped"
        for f in replay["findings"][:SHOWN]
        if f["stopped"]
    ]
    out += [_collateral(row) for row in replay["rules"] if row["collateral_conversations"]][:SHOWN]
    open_ = {
        r["id"] for r in policy["rules"] if r["description"].startswith(KEPT_OPEN)
    }  # meant for the day they are needed
    dead = [d for d in replay["dead_rules"] if d["rule"] not in open_]
    out += [f"dead rule {d['text']}: {d['why']}" for d in dead[:SHOWN]]
    for name, other in data["compared"].items():
        out.append(
            f"{name}: {other['dropped']} of {other['packets']} packets dropped, {len(other['dead_rules'])} dead rules"
        )
        out += [f"{name}: dead rule {d['text']}: {d['why']}" for d in other["dead_rules"][:SHOWN]]
    out += [f"advice on {_named(data, n['finding'])}: {n['text']}" for n in data["advice"][:SHOWN]]
    out += [f"refused: {n['text']}" for n in data["refused"][:SHOWN]]
    told = [
        a for a in data["anomalies"] if not open_ & {a["rule"], *a["others"]}
    ]  # a permit in front of a block is meant so
    out += [f"{a['kind']} {a['rule']}: {a['text']}" for a in told[:SHOWN]]
    out += [f"not rendered: {problem}" for problem in data["problems"][:SHOWN]]
    out.append(proof_line(data["proof"]))
    return [visible(line) for line in out]


def _named(data: dict[str, Any], finding: str | None) -> str:
    """A finding by its id and what it says."""
    title = data.get("titles", {}).get(finding, "")
    words = title if len(title) <= TITLE_SHOWN else f"{title[:TITLE_SHOWN].rpartition(' ')[0]} …"
    return f"{finding or 'your decisions'}{f' ({words})' if words else ''}"


def _collateral(row: dict[str, Any]) -> str:
    """Whom else a rule would have met, by the first conversations."""
    some = ", ".join(
        f"{c['source']} to {c['destination']} {c['protocol']}{f' {port}' if (port := c['port']) else ''}"
        for c in row["collateral"][:NAMED]
    )
    count = row["collateral_conversations"]
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return f"collateral of {row['text']}: {count} conversation{'s' * (count != 1)} of no finding: {some}{more}"


def proof_line(proof: dict[str, Any] | None) -> str:
    """One line on the proof."""
    if proof is None:
        return "proof: not asked for, or no rules: simulated only"
    if not proof["available"]:
        return f"proof: simulated only ({proof['reason']})"
    different = f", {len(proof['different'])} differences" if proof["different"] else ""
    return f"proof: {proof['equal']} of {proof['rules']} rules equal in packets and bytes in a real kernel ({', '.join(proof['dialects'])}, {proof['sent']} packets){different}"


def markdown(data: dict[str, Any]) -> str:
    """report.md: the table, then the same lines."""
    lines = [
        "# Firewall report",
        "",
        table.markdown(data["policy"]["rules"]),
        "Hits are packets of this capture. *Prevented* are conversations whose first packet would have been dropped;",
        "*collateral* are conversations of no finding that a rule would have met.",
        "",
        *(f"- {cell_markdown(line)}" for line in summary(data)),
    ]
    return "".join(f"{line}\n" for line in lines)
