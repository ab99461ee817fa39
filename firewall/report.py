"""The firewall report as data: the policy with what each rule measured, the replay, the dead rules and why.

In: a program with its replay, and for our own policies the policy. Out: dictionaries as outputs.md lays them down, and
the rows of the rule table. Lines of one rule (families, chains) are added up. Must not know how anything is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firewall.explain import Explainer
from firewall.headers import Array
from firewall.ladder import Rung
from firewall.lower import address_text, port_text, protocol_text
from firewall.program import WAY_NAMES, WAYS, Line, Program, Verdict
from firewall.rules import Policy, Rule
from firewall.simulate import COLLATERAL_MAX, Replay
from firewall.traffic import Conversations


@dataclass
class Total:
    """All lines of one rule (or one foreign line), added up."""

    name: str
    text: str
    stops: bool = False
    hits: int = 0
    bytes: int = 0
    maybe: int = 0
    prevented: int = 0
    first: int | None = None
    last: int | None = None
    conversations: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    collateral: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    lines: list[tuple[Line, tuple[int, ...]]] = field(default_factory=list)


def totals(program: Program, replay: Replay) -> dict[str, Total]:
    """Per rule id (foreign lines: chain and text), in order of lines. Jumps that only hook our own chains are left out."""
    out: dict[str, Total] = {}
    reach = _ways_of_chains(program)
    for number, hits in enumerate(replay.lines):
        line = hits.line
        if not line.rule and line.verdict is Verdict.JUMP and not line.conditions and line.text.startswith("jump "):
            continue
        name = line.rule or f"{hits.chain}#{number}"
        total = out.setdefault(name, Total(name, line.text))
        total.stops = total.stops or line.verdict in (Verdict.DROP, Verdict.REJECT)
        total.hits += hits.packets
        total.bytes += hits.bytes
        total.maybe += hits.maybe
        total.prevented += hits.prevented
        total.first = _least(total.first, hits.first_frame, min)
        total.last = _least(total.last, hits.last_frame, max)
        total.conversations = np.union1d(total.conversations, hits.conversations)
        total.collateral = np.union1d(total.collateral, hits.collateral)
        total.lines.append((line, reach.get(hits.chain, ())))
    return out


def replay_json(program: Program, replay: Replay, conversations: Conversations, explainer: Explainer) -> dict[str, Any]:
    """The `Replay` of outputs.md."""
    found = totals(program, replay)
    rows, dead = [], []
    for total in found.values():
        foreign = "#" in total.name
        row: dict[str, Any] = {
            "id": None if foreign else total.name,
            "text": total.text,
            "hits": total.hits,
            "bytes": total.bytes,
            "possible_hits": total.maybe,
            "conversations": len(total.conversations),
            "prevented_conversations": total.prevented,
            "collateral": [conversations.describe(n) for n in total.collateral[:COLLATERAL_MAX].tolist()]
            if total.stops
            else [],
            "collateral_conversations": len(total.collateral) if total.stops else 0,
            "first_frame": total.first,
            "last_frame": total.last,
            "why_dead": None,
        }
        if not total.hits and not total.maybe:
            row["why_dead"] = why_dead(total, explainer)
            dead.append({"rule": total.text if foreign else total.name, "text": total.text, "why": row["why_dead"]})
        rows.append(row)
    return {
        "packets": replay.packets,
        "matched": replay.matched,
        "dropped": replay.dropped,
        "permitted": replay.permitted,
        "unknown": replay.unknown,
        "prevented_conversations": replay.prevented,
        "rules": rows,
        "findings": [
            {"id": f.id, "packets": f.packets, "stopped": f.stopped, "dropped": f.dropped} for f in replay.findings
        ],
        "default_hits": replay.default_hits,
        "dropped_for_short_headers": replay.by_header,
        "dead_rules": dead,
        "not_filtered": {name: count for name, count in replay.lost.items() if count},
        "ways": replay.ways,
        "notes": replay.notes,
    }


def why_dead(total: Total, explainer: Explainer) -> str:
    """The most telling reason of a rule's lines: a wrong side or direction before a plain absence."""
    reasons = list(dict.fromkeys(explainer.why_dead(line, ways) for line, ways in total.lines))
    return min(reasons, key=_telling, default="it has no line here")


def _telling(reason: str) -> int:
    order = (
        "remote port",
        "port they go to",
        "earlier rules",
        "other direction",
        "would match",
        "no packet of this capture has",
    )
    return next((at for at, words in enumerate(order) if words in reason), len(order))


def rule_json(rule: Rule, total: Total | None, rungs: Sequence[Rung], why: str | None) -> dict[str, Any]:
    """The `Rule` of outputs.md."""
    stops = rule.action.stops
    return {
        "id": rule.id,
        "action": rule.action.value,
        "source": _or_none(address_text(rule.match, "src")),
        "destination": _or_none(address_text(rule.match, "dst")),
        "protocol": _or_none(protocol_text(rule.match)),
        "port": _or_none(port_text(rule.match)),
        "description": rule.description,
        "direction": rule.direction.value,
        "ttl_s": rule.ttl_s,
        "findings": list(rule.findings),
        "hits": total.hits if total else 0,
        "hit_bytes": total.bytes if total else 0,
        "conversations": len(total.conversations) if total else 0,
        "prevented_conversations": total.prevented if total else 0,
        "collateral": len(total.collateral) if total and stops else 0,
        "first_frame": total.first if total else None,
        "last_frame": total.last if total else None,
        "why_dead": why,
        "sources": _all(rule, "src"),
        "destinations": _all(rule, "dst"),
        "ladder": [r.to_json() for r in rungs],
    }


def policy_json(
    policy: Policy,
    program: Program,
    replay: Replay,
    explainer: Explainer,
    ladders: Mapping[str, Sequence[Rung]] | None = None,
) -> dict[str, Any]:
    """`policy` of outputs.md: the rules with what they measured."""
    found = totals(program, replay)
    rows = []
    for rule in policy.rules:
        total = found.get(rule.id)
        dead = total is not None and not total.hits and not total.maybe
        why = why_dead(total, explainer) if dead and total is not None else None
        rows.append(rule_json(rule, total, (ladders or {}).get(rule.id, ()), why))
    return {
        "default": policy.default.value,
        "vantage": policy.vantage.value,
        "local": list(policy.local.texts()),
        "trusted": list(policy.trusted.texts()),
        "created": policy.created,
        "protected": [item.name for item in policy.protected],
        "rules": rows,
    }


def _or_none(text: str) -> str | None:
    return None if text == "any" else text


ADDRESSES_LISTED = 1000  # addresses of a side written out in JSON; the policy file has them all


def _all(rule: Rule, side: str) -> list[str] | None:
    addresses = getattr(rule.match, side)
    return None if addresses is None else list(addresses.texts()[:ADDRESSES_LISTED])


def _least(one: int | None, two: int | None, pick: Callable[[int, int], int]) -> int | None:
    if one is None or two is None:
        return two if one is None else one
    return pick(one, two)


def _ways_of_chains(program: Program) -> dict[str, tuple[int, ...]]:
    """Ways that can reach each chain, through any depth of jumps."""
    out: dict[str, set[int]] = {}
    for base in program.bases:
        ways = {number for number, name in enumerate(WAY_NAMES) if base.hook in WAYS[name]}
        todo = [base.chain]
        while todo:
            chain = todo.pop()
            if ways <= out.get(chain, set()):
                continue
            out.setdefault(chain, set()).update(ways)
            todo += [line.target for line in program.chains.get(chain, ()) if line.target]
    return {chain: tuple(sorted(ways)) for chain, ways in out.items()}
