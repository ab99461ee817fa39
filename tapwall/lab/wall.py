"""The wall: proves the proposed rules, applies them in the network it stands in, confirms, and counts.

In: `rules/policy.toml` as the analyst writes it, and the captures it was made from. Out: the rules, loaded here by
`tapwall firewall apply` (with its way back), `counters.json` for the page, and a line of the story for each step. A
policy is applied only after every rule of it counted the same in a kernel of its own as in the replay. The lab's
people must still be heard after the load: if the chat does not answer, the rules are not confirmed and go back.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapwall.lab.run import tapwall
from tapwall.lab.story import Story

CHAT = ("127.0.0.1", 1234)
COUNTED = re.compile(r"^\[(\d+):(\d+)\] -A (\S*TAPWALL\S*) (.*)$", re.I)
TARGETS = (("-j DROP", "DROP"), ("-j REJECT", "REJECT"), ("-j ACCEPT", "PERMIT"), ("-j RETURN", "PERMIT"))
COMMENT = re.compile(r'--comment "?((?:[^"\\]|\\.)*)"?(?: -[jgm]|$)')


@dataclass(slots=True)
class Wall:
    """One wall. `applied` is the text of the policy that stands."""

    captures: Path
    report: Path
    story: Story
    hold_s: float = 0.0  # how long a proposal is watched before it is applied: the class sees what it would stop
    proposed: float | None = None
    applied: str = ""
    refused: str = ""
    marked: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def policy(self) -> Path:
        """Where the analyst leaves the policy."""
        return self.report / "rules" / "policy.toml"

    def look(self) -> None:
        """Apply the policy if it is new and drops something; then count."""
        try:
            text = self.policy.read_text(encoding="utf-8")
        except OSError:
            return
        if blocks(text) and rules_only(text) not in (self.applied, self.refused) and self._held():
            self._stand_up(text)
        if self.applied:
            self.count()

    def _held(self) -> bool:
        """Has the first proposal been watched for long enough?"""
        now = time.monotonic()
        if self.proposed is None:
            self.proposed = now
            if self.hold_s:
                self.story.tell(
                    f"rules are proposed; watches for {self.hold_s:g} s what they would stop", look="report.html#rules"
                )
        return now - self.proposed >= self.hold_s

    def _stand_up(self, text: str) -> None:
        """Prove, apply, confirm. Whatever fails is told and not tried again with the same policy."""
        self.refused = rules_only(text)
        captures = [str(path) for path in sorted(self.captures.glob("*.pcapng"))]
        proof = tapwall("firewall", "prove", str(self.policy), *captures, "--json")
        if proof.data is None or proof.code == 2:
            return self.story.tell(f"no proof: {proof.complaint}")
        if not proof.data["available"]:
            self.story.tell(f"simulated only: {proof.data['reason']}")
        elif proof.data["different"]:
            return self.story.tell(f"not applied: {len(proof.data['different'])} rules count differently in a kernel")
        else:
            self.story.tell(
                f"proved: {proof.data['equal']} of {proof.data['rules']} rules equal over {proof.data['packets']} packets in a kernel of its own",
                look="rules/rules.v4",
            )
        loaded = tapwall(
            "firewall", "apply", str(self.policy), "--confirm-within", "60s", "--state", "/tmp/wall", say="yes\n"
        )
        kept = loaded.code == 0 and ("kept" in loaded.complaint or "already loaded" in loaded.complaint)
        if not kept or not answers(CHAT):
            tapwall("firewall", "undo", "--state", "/tmp/wall")
            return self.story.tell(f"not applied: {loaded.complaint or 'the chat did not answer behind the rules'}")
        self.applied = rules_only(text)
        number = len(blocked(text))
        self.story.tell(
            f"the rules stand: {number} block{'s' * (number != 1)}, the chat answers",
            look="rules/rules.v4",
            mark="" if self.marked else "rules stand",
        )
        self.marked = True
        return None

    def count(self) -> None:
        """Read the kernel's counters and leave them for the page."""
        from analysis.report import write_text

        done = subprocess.run(["iptables-save", "-c", "-t", "filter"], capture_output=True, text=True, check=False)
        self.rows = counters(done.stdout)
        write_text(self.report / "counters.json", json.dumps({"time": time.time(), "rules": self.rows}))


def answers(address: tuple[str, int], timeout_s: float = 3.0) -> bool:
    """Does the chat still take connections?"""
    try:
        socket.create_connection(address, timeout_s).close()
    except OSError:
        return False
    return True


def blocked(text: str) -> list[dict[str, Any]]:
    """The rules of a policy file that drop or reject."""
    import tomllib

    try:
        rules = tomllib.loads(text).get("rule", [])
    except tomllib.TOMLDecodeError:
        return []
    return [rule for rule in rules if str(rule.get("action", "")).upper() in ("DROP", "REJECT")]


def blocks(text: str) -> bool:
    """Does the policy block anything?"""
    return bool(blocked(text))


def rules_only(text: str) -> str:
    """The policy's blocks without their evidence: the same blocks made again from a longer capture are no news."""
    told = ("description", "evidence", "ttl_s", "created")
    rows = [{key: value for key, value in rule.items() if key not in told} for rule in blocked(text)]
    return json.dumps(rows, sort_keys=True, default=str)


def counters(saved: str) -> list[dict[str, Any]]:
    """Rows {rule, action, packets, bytes} from `iptables-save -c`, one a rule of ours: its lines summed by comment."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in saved.splitlines():
        found = COUNTED.match(line)
        comment = COMMENT.search(line)
        action = next((word for target, word in TARGETS if target in line), None)
        if found is None or comment is None or action is None:
            continue
        name = comment.group(1).replace("\\", "")
        row = rows.setdefault((name, action), {"rule": name, "action": action, "packets": 0, "bytes": 0})
        row["packets"] += int(found.group(1))
        row["bytes"] += int(found.group(2))
    return list(rows.values())


def watch(wall: Wall, every_s: float, seconds: float | None) -> None:
    """Look every `every_s` seconds, for `seconds` (None: until stopped)."""
    wall.story.tell("waits for rules", look=str(wall.policy))
    began = time.monotonic()
    while seconds is None or time.monotonic() - began < seconds:
        try:
            wall.look()
        except OSError as error:
            wall.story.tell(f"cannot go on: {error.strerror}")
        time.sleep(every_s)
