"""A rule set as a packet meets it: base chains on hooks, chains of lines, each line conditions and a verdict.

Both our lowered policies and foreign rules (iptables-save, nft -j) become a `Program`; the simulator runs it, the
renderers print it, the anomalies are found in it. A condition that the model does not know keeps its text in the
field "unknown" and is answered "unknown", never "no match".
Must not know how packets are stored, nor any dialect's words beyond the text it keeps for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from firewall.sets import AddrSet


class Verdict(Enum):
    """What a line does with a packet that matches."""

    ACCEPT = "accept"  # ends this base chain; a later base chain can still drop
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"  # to the caller; in a base chain: its policy
    JUMP = "jump"
    GOTO = "goto"  # as jump, but its end returns to the caller's caller
    CONTINUE = "continue"  # counts, logs, marks: the next line is tried
    UNKNOWN = "unknown"  # a target that the model does not know: may stop the packet or not


class Hook(Enum):
    """Where a base chain stands; a packet passes the hooks of its way in this order."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


# Way of a packet, as seen from the machine with the rules -> hooks that it passes, in order.
WAYS = {
    "in": (Hook.PREROUTING, Hook.INPUT),
    "out": (Hook.OUTPUT, Hook.POSTROUTING),
    "forward": (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING),
}
WAY_NAMES = tuple(WAYS)  # a packet's way is stored as an index into this

TRACKED = ("state", "orig_dst", "orig_dport")  # conditions that ask connection tracking
FIELDS = (
    "src", "dst", "orig_dst",  # AddrSet
    "proto", "sport", "dport", "port", "orig_dport",  # PortSet; port: either side (multiport --ports)
    "icmp",  # PortSet of type * 256 + code
    "length", "ttl",  # PortSet; length: bytes of the IP packet
    "tcp_flags",  # (mask, value)
    "fragment",  # True: second or later fragment
    "state",  # frozenset of rules.STATES
    "rate",  # rules.Rate
    "iif", "oif",  # interface name, "+" or "*" last: prefix; a capture rarely knows: unknown
    "expires",  # Unix s: matches until then; always true in a replay
    "unknown",  # text of what the model does not know
)  # fmt: skip
SHORT_HEADERS, FRAGMENTS = 1, 2  # Condition.varies
STATIC_FIELDS = frozenset(FIELDS) - {"rate", "state"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One test on a packet. `set_name`: the named set that a renderer should use for the value. `varies`: where iptables'
    backends answer differently (xt_tcpudp; since 1.8.8 nft's own loads): SHORT_HEADERS, or FRAGMENTS as well."""

    field: str
    value: Any
    negate: bool = False
    set_name: str = ""
    varies: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One rule of a chain; `family` 4, 6 or None for both. `text` is what a person is shown, never parsed again."""

    conditions: tuple[Condition, ...] = ()
    verdict: Verdict = Verdict.CONTINUE
    target: str = ""  # chain of a JUMP or GOTO
    family: int | None = None
    rule: str = ""  # id of the policy rule it came from
    text: str = ""
    log: bool = False
    reason: str = ""  # why the rule exists; renderers put it in a comment, escaped

    def get(self, name: str) -> Condition | None:
        """The first condition on a field."""
        return next((c for c in self.conditions if c.field == name), None)


@dataclass(frozen=True, slots=True)
class Base:
    """A chain that the kernel calls at a hook. Lower priority runs first. `policy` decides where no line did."""

    chain: str
    hook: Hook
    priority: int = 0
    policy: Verdict = Verdict.ACCEPT
    family: int | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A whole rule set. `sets` are the named sets with more than a few addresses, `notes` what was not modelled."""

    chains: Mapping[str, tuple[Line, ...]]
    bases: tuple[Base, ...]
    sets: Mapping[str, AddrSet] = field(default_factory=dict)
    timeouts: Mapping[str, int] = field(default_factory=dict)  # set -> seconds an element lives
    dialect: str = "iptables"  # or "nft": they differ on headers cut short
    notes: tuple[str, ...] = ()

    def lines(self) -> list[tuple[str, int, Line]]:
        """Every line with its chain and position, in order of chains."""
        return [(name, at, line) for name, lines in self.chains.items() for at, line in enumerate(lines)]

    def uses(self, name: str) -> bool:
        """True where some line has a condition on this field."""
        return any(c.field == name for lines in self.chains.values() for line in lines for c in line.conditions)
