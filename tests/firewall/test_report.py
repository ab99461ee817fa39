"""The report as data and as pages: the keys of the contract, lines of one rule added up, text escaped."""

from __future__ import annotations

import json
from typing import Any

import firewall_packets as fp
import numpy as np
import pytest

from firewall.explain import Explainer
from firewall.lower import lower
from firewall.page import markdown, proof_line, summary
from firewall.report import policy_json, replay_json
from firewall.rules import Action, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet
from firewall.simulate import Simulator

A = AddrSet.parse
ME, BAD = "192.168.1.5", "203.0.113.9"
RULES = (
    Rule(Action.DROP, Match(src=A(BAD)), description="x|<b>\n\x1b[31m"),
    Rule(Action.DROP, Match(dst=A("10.9.9.9"))),
)


def reported() -> tuple[dict[str, Any], dict[str, Any]]:
    """(policy, replay) as JSON."""
    policy = Policy(RULES, vantage=Vantage.SPAN, created=1)
    program = lower(policy).program
    simulator = Simulator(program, findings={"f": np.array([0])})
    packets = fp.talk(BAD, 1024, ME, 22) + fp.talk(BAD, 1025, ME, 80)
    simulator.update(fp.batch(packets, flows=[0] * 11 + [-1] * 11))
    replay, explainer = simulator.finish(), Explainer(simulator.conversations, AddrSet())
    return policy_json(policy, program, replay, explainer), replay_json(program, replay, simulator.conversations, explainer)  # fmt: skip


def test_keys_of_the_contract() -> None:
    """outputs.md: Rule and Replay."""
    policy, replay = reported()

    assert {"default", "vantage", "rules"} <= set(policy)
    assert {"id", "action", "source", "destination", "protocol", "port", "description", "direction", "ttl_s", "findings", "hits", "hit_bytes", "conversations", "collateral"} <= set(policy["rules"][0])  # fmt: skip
    assert {"packets", "matched", "dropped", "permitted", "unknown", "rules", "findings", "default_hits", "dead_rules"} <= set(replay)  # fmt: skip
    assert {"id", "hits", "bytes", "conversations", "prevented_conversations", "collateral", "first_frame", "last_frame"} <= set(replay["rules"][0])  # fmt: skip
    json.dumps([policy, replay], allow_nan=False)


def test_numbers() -> None:
    """Two conversations hit and prevented, one of them collateral, the finding stopped whole."""
    policy, replay = reported()
    rule = policy["rules"][0]

    assert (rule["hits"], rule["conversations"], rule["prevented_conversations"], rule["collateral"]) == (12, 2, 2, 1)
    assert replay["findings"] == [{"id": "f", "packets": 11, "stopped": 11, "dropped": 6}]
    assert [c["port"] for c in replay["rules"][0]["collateral"]] == [80]
    assert [d["rule"] for d in replay["dead_rules"]] == [RULES[1].id]
    assert rule["source"] == BAD and rule["destination"] is None and rule["port"] is None


def data(**values: Any) -> dict[str, Any]:
    """A result as `tapwall rules --json` gives it."""
    policy, replay = reported()
    fields = {"policy": policy, "replay": replay, "anomalies": [], "proof": None, "files": {}, "vantage_why": "as asked\n\x1b]0;x\x07", "advice": [], "refused": [], "problems": [], "compared": {}}  # fmt: skip
    return fields | values


def test_pages_say_the_vantage_and_both_counts() -> None:
    """Matched and prevented apart, vantage named, dead rules with reason; nothing hidden in a line."""
    lines = summary(data())
    text = markdown(data())

    assert lines[0].startswith("vantage: span (as asked\\x0a")
    assert "2 conversations prevented at their first packet" in lines[1]
    assert any(line.startswith("dead rule ") for line in lines)
    assert "simulated only" in lines[-1]
    assert "<b>" not in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (None, "simulated only"), ({"available": False, "reason": "refused"}, "simulated only (refused)"),
        ({"available": True, "equal": 3, "rules": 3, "different": [], "dialects": ["nft"], "sent": 9}, "3 of 3 rules equal"),
        ({"available": True, "equal": 2, "rules": 3, "different": [{}], "dialects": ["nft"], "sent": 9}, "1 differences"),
    ],
)  # fmt: skip
def test_proof_line(proof: dict[str, Any] | None, words: str) -> None:
    """Never more than was proved."""
    assert words in proof_line(proof)
