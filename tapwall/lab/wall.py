"""The wall: proves the proposed rules, applies them in the network it stands in, confirms, and counts.

In: `rules/policy.toml` as the analyst writes it, and the captures it was made from. Out: the rules, loaded here by
`tapwall firewall apply` (with its way back), `counters.json` for the page, and a line of the story for each step. A
policy is applied only after every rule of it counted the same in a kernel of its own as in the replay. The lab's
people must still be heard after the load: if the chat does not answer, the rules are not confirmed and go back.
What stands is not taken down by a proposal that blocks less: a blocked intruder soon shows nothing any more.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapwall.lab.network import Borrowed, leave
from tapwall.lab.run import tapwall
from tapwall.lab.story import RULES, Story, moment, read_story
from tapwall.lab.tally import Total, counters, restored

CHAT = ("127.0.0.1", 1234)
ANSWER_S = 20.0  # the chat may be busy with a flood


@dataclass(slots=True)
class Wall:
    """One wall. `applied` is the text of the policy that stands, `refused` of the last that was not taken."""

    captures: Path
    report: Path
    story: Story
    hold_s: float = 0.0  # how long a proposal is watched before it is applied: the class sees what it would stop
    state: Path = Path("/tmp/wall")
    proposed: float | None = None
    applied: str = ""
    refused: str = ""
    unproved: str = ""  # why the last proof did not come about
    total: Total = field(default_factory=Total)

    def __post_init__(self) -> None:
        try:
            self.total = restored(json.loads((self.report / "counters.json").read_bytes()).get("total"))
        except (OSError, ValueError, AttributeError):
            self.total = Total()

    @property
    def policy(self) -> Path:
        """Where the analyst leaves the policy."""
        return self.report / "rules" / "policy.toml"

    def look(self) -> None:
        """Apply the policy if it is new and blocks at least what is blocked; then count."""
        try:
            text = self.policy.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        new = blocks(text) and rules_only(text) not in (self.applied, self.refused)
        if new and not sources(self.applied) <= sources(rules_only(text)):
            self.refused = rules_only(text)
            self.story.tell("keeps the rules that stand: the new proposal blocks less", look="rules/policy.toml")
        elif new and self._held():
            self._stand_up(text)
        if self.applied:
            self.count()

    def _held(self) -> bool:
        """Has the first proposal been watched for long enough? Rules that stood once go up again at once."""
        now = time.monotonic()
        if self.proposed is None:
            stood = moment(read_story(self.report), RULES) is not None
            self.proposed = now - self.hold_s if stood else now
            if self.hold_s and not stood:
                self.story.tell(
                    f"rules are proposed; watches for {self.hold_s:g} s what they would stop", look="report.html#rules"
                )
        return now - self.proposed >= self.hold_s

    def _stand_up(self, text: str) -> None:
        """Prove, apply, confirm. What is refused is told and not tried again; a proof that did not come about is."""
        captures = [str(path) for path in sorted(self.captures.glob("*.pcapng"))]
        proof = tapwall("firewall", "prove", str(self.policy), *captures, "--json")
        if proof.data is None or proof.code == 2:
            if proof.complaint != self.unproved:
                self.story.tell(f"no proof yet: {proof.complaint}")
            self.unproved = proof.complaint
            return
        self.refused = rules_only(text)
        if not self._proved(proof.data):
            return
        state = ("--state", str(self.state))
        loaded = tapwall("firewall", "apply", str(self.policy), "--confirm-within", "60s", *state, say="yes\n")
        kept = loaded.code == 0 and ("kept" in loaded.complaint or "already loaded" in loaded.complaint)
        if not kept or not answers(CHAT):
            tapwall("firewall", "undo", *state)
            self.story.tell(f"not applied: {loaded.complaint or 'the chat did not answer behind the rules'}")
            return
        self.applied = rules_only(text)
        number = len(blocked(text))
        again = moment(read_story(self.report), RULES) is not None
        self.story.tell(
            f"the rules stand: {number} block{'s' * (number != 1)}, the chat answers",
            look="rules/rules.v4",
            mark="" if again else RULES,
        )

    def _proved(self, proof: dict[str, Any]) -> bool:
        """Tell how the proof went. True where the rules may be applied: equal, or no kernel to be had for a proof."""
        facts = {key: proof[key] for key in ("available", "packets", "rules", "equal")}
        facts |= {name: len(proof[name]) for name in ("different", "not_comparable")}
        if not proof["available"]:
            self.story.tell(f"simulated only: {proof['reason']}", facts=facts)
        elif proof["different"]:
            number = facts["different"]
            self.story.tell(f"not applied: {number} rules count differently in a kernel", facts=facts)
            return False
        else:
            rates = facts["not_comparable"]
            self.story.tell(
                f"proved: {facts['equal']} of {facts['rules']} rules equal over {facts['packets']} packets in a kernel of its own"
                + (f"; {rates} depend on the clock, and none is different" if rates else ""),
                look="rules/rules.v4",
                facts=facts,
            )
        return True

    def count(self) -> None:
        """Read the kernel's counters and leave them for the page."""
        from analysis.report import write_text

        words = ["iptables-save", "-c", "-t", "filter"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            raise OSError(None, f"iptables-save: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
        self.total.read(counters(done.stdout))
        told = {"time": time.time(), "rules": self.total.rows(), "total": self.total.to_json()}
        write_text(self.report / "counters.json", json.dumps(told))


def answers(address: tuple[str, int], within_s: float = ANSWER_S) -> bool:
    """Does the chat still take connections?"""
    until = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(address, 3.0).close()
            return True
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.5)


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


def sources(rules: str) -> set[str]:
    """Whom the blocks of `rules_only` are against."""
    return {str(source) for rule in json.loads(rules or "[]") for source in rule.get("source", [])}


def watch(wall: Wall, every_s: float, seconds: float | None) -> None:
    """Look every `every_s` seconds, for `seconds` (None: until stopped) or until the network is gone."""
    wall.story.tell("waits for rules", look=str(wall.policy))
    began, borrowed, complained = time.monotonic(), Borrowed(), ""
    while seconds is None or time.monotonic() - began < seconds:
        if borrowed.lost():
            leave(wall.story)
        try:
            wall.look()
            complained = ""
        except (OSError, subprocess.TimeoutExpired) as error:
            what = f"cannot go on: {getattr(error, 'strerror', None) or error}"
            if what != complained:
                wall.story.tell(what)
            complained = what
        time.sleep(every_s)
