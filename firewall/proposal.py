"""What goes into making a policy and what comes out: the analyst's decisions, the notes, the proposal.

Data only, shared by `generate` and `blocks`. Must not know how rules are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from analysis.findings import Severity
from firewall.ladder import Rung
from firewall.rules import Direction, Policy, Vantage

DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the analyst said. `widen`: wider blocks that were asked for; `own`: addresses of the machine that the rules
    will stand on; `force`: insist on refused rules."""

    permit: tuple[str, ...] = ()
    contain: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    widen: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    severity: Severity = Severity.MEDIUM
    ttl_s: int = DAY_S
    vantage: Vantage | None = None
    permit_learned: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something that did not become a rule: advice, or a refusal, with the reason."""

    finding: str | None
    address: str | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"finding": self.finding, "address": self.address, "text": self.text}


@dataclass
class Proposal:
    """The policy and everything that led to it."""

    policy: Policy
    vantage_why: str
    advice: list[Note] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)
    ladders: dict[str, list[Rung]] = field(default_factory=dict)  # rule id -> rungs


def direction(vantage: Vantage, *, out: bool) -> Direction:
    """IN or OUT on a host, FORWARD on a router and in front of containers, ANY where the place is not known."""
    if vantage is Vantage.HOST:
        return Direction.OUT if out else Direction.IN
    return Direction.ANY if vantage is Vantage.SPAN else Direction.FORWARD
