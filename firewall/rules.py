"""The rule model: what is matched, what is done, why, and for how long. The noun that everybody here agrees on.

In: values from `policyfile`, `generate` or a test. Out: frozen dataclasses whose constructors refuse what cannot be
meant: a port without a transport, a protocol of the other family, an empty or reversed range. Rules are tried in
order and the first match decides. PERMIT means "these rules do not object": it never opens what another firewall on
the host closes. Must not know dialects, captures, clocks or files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import lru_cache
from typing import Any

from firewall.errors import RuleError
from firewall.sets import FAMILIES, AddrSet, PortSet

PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ospf": 89, "sctp": 132, "udplite": 136, "dccp": 33}  # fmt: skip
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
WITH_PORTS = frozenset({6, 17, 33, 132, 136})  # what multiport knows
FAMILY_OF_PROTOCOL = {1: 4, 58: 6}  # the kernel loads the other family's ICMP without a word and never matches it
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")  # conntrack's words, in the simulator's order
TCP_FLAG_BITS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}
NEGATABLE = frozenset({"src", "dst", "sport", "dport", "proto"})
INTERFACE_MAX = 15  # IFNAMSIZ - 1
TTL_MAX_S = 2147483  # an ipset element cannot live longer (24.8 days)


class Action(Enum):
    """What happens to a packet. LOG and COUNT go on to the next rule."""

    PERMIT = "PERMIT"
    DROP = "DROP"
    REJECT = "REJECT"
    LOG = "LOG"
    COUNT = "COUNT"

    @property
    def stops(self) -> bool:
        """True where the packet does not arrive."""
        return self in (Action.DROP, Action.REJECT)


class Direction(Enum):
    """Seen from the machine that loads the rules: to it, from it, through it, or any of the three."""

    IN = "in"
    OUT = "out"
    FORWARD = "forward"
    ANY = "any"


class Vantage(Enum):
    """Where the rules will stand. span: the capture shows others' traffic; the rules are for the named host."""

    HOST = "host"
    ROUTER = "router"
    DOCKER = "docker"
    SPAN = "span"


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: `packets` per `per_s` seconds, `burst` at once. `above`: match what exceeds it, else what fits.

    `key` names what has a bucket of its own: () one for all, or of "src", "dst", "sport", "dport".
    """

    packets: int
    per_s: int = 1
    burst: int = 5
    above: bool = True
    key: tuple[str, ...] = ("src",)

    def __post_init__(self) -> None:
        if self.packets < 1 or self.burst < 1 or self.per_s not in (1, 60, 3600, 86400):
            raise RuleError(
                f"rate: got {self.packets}/{self.per_s}s burst {self.burst}, expected 1 or more per 1, 60, 3600 or 86400 s"
            )
        if set(self.key) - {"src", "dst", "sport", "dport"}:
            raise RuleError(f"rate: key {self.key!r}, expected src, dst, sport, dport")


@dataclass(frozen=True, slots=True)
class Match:
    """Which packets. None is "any". One protocol per match, so that (protocol, port) pairs never multiply."""

    src: AddrSet | None = None
    dst: AddrSet | None = None
    proto: int | None = None
    sport: PortSet | None = None
    dport: PortSet | None = None
    icmp: PortSet | None = None  # type * 256 + code
    tcp_flags: tuple[int, int] | None = None  # (mask, value), bits of TCP_FLAG_BITS
    states: frozenset[str] | None = None
    iif: str | None = None
    oif: str | None = None
    rate: Rate | None = None
    negate: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _check_match(self)

    @property
    def families(self) -> frozenset[int]:
        """The families in which this match can be true at all."""
        left = frozenset(FAMILIES)
        for side in (self.src, self.dst):
            if side is not None:
                left &= side.families
        if self.proto in FAMILY_OF_PROTOCOL and "proto" not in self.negate:
            left &= {FAMILY_OF_PROTOCOL[self.proto]}
        return left

    def key(self) -> dict[str, Any]:
        """A canonical, JSON-ready form: equal matches have equal keys."""
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None or value == frozenset():
                continue
            if isinstance(value, AddrSet):
                value = value.texts()
            elif isinstance(value, PortSet):
                value = value.text()
            elif isinstance(value, frozenset):
                value = sorted(value)
            elif isinstance(value, Rate):
                value = [value.packets, value.per_s, value.burst, value.above, list(value.key)]
            out[item.name] = value
        return out


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a rule exists: the finding, the detector, the frames and the numbers. Texts are the capture's: escape them."""

    finding: str
    detector: str = ""
    severity: str = ""
    confidence: float = 0.0
    frames: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy. `id` is a hash of what it does, so the same rule has the same id in every run."""

    action: Action
    match: Match = field(default_factory=Match)
    direction: Direction = Direction.ANY
    ttl_s: int | None = None
    description: str = ""
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        if self.ttl_s is not None and not 1 <= self.ttl_s <= TTL_MAX_S:
            raise RuleError(f"rule: ttl_s got {self.ttl_s}, expected 1 to {TTL_MAX_S}")

    @property
    def id(self) -> str:
        """ "tw-" and ten hexadecimal digits of the hash of action, match and direction."""
        return _rule_id(self.action, self.match, self.direction)

    @property
    def findings(self) -> tuple[str, ...]:
        """Ids of the findings behind it."""
        return tuple(e.finding for e in self.evidence if e.finding)


@lru_cache(maxsize=4096)
def _rule_id(action: Action, match: Match, direction: Direction) -> str:
    text = json.dumps([action.value, match.key(), direction.value], sort_keys=True)
    return f"tw-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Protected:
    """Traffic that no drop may meet, and the words for it. `exempt`: a service that a PERMIT in front keeps open."""

    name: str
    match: Match
    exempt: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules in order, and what holds where none matches. `created` (Unix s) is when expiry starts to count."""

    rules: tuple[Rule, ...] = ()
    default: Action = Action.PERMIT
    vantage: Vantage = Vantage.HOST
    local: AddrSet = field(default_factory=AddrSet)  # own addresses of the machine that loads the rules
    trusted: AddrSet = field(default_factory=AddrSet)
    contained: AddrSet = field(default_factory=AddrSet)  # hosts cut off on purpose: no trust reaches them
    protected: tuple[Protected, ...] = ()
    created: int | None = None
    forced: bool = False

    def __post_init__(self) -> None:
        if self.default not in (Action.PERMIT, Action.DROP):
            raise RuleError(f"policy: default got {self.default.value}, expected PERMIT or DROP")
        seen: set[str] = set()
        for rule in self.rules:
            if rule.id in seen:
                raise RuleError(f"policy: rule {rule.id} stands twice, expected each rule once")
            seen.add(rule.id)

    def with_rules(self, rules: tuple[Rule, ...]) -> Policy:
        """The same policy with other rules."""
        return replace(self, rules=rules)


def protocol_number(text: str | int) -> int:
    """ "tcp" or "6" to 6. Raises RuleError."""
    word = str(text).strip().lower().replace("ipv6-icmp", "icmpv6")
    if word in PROTOCOLS:
        return PROTOCOLS[word]
    if word.isascii() and word.isdigit() and int(word) < 256:
        return int(word)
    raise RuleError(f"protocol: got {word[:40]!r}, expected a name ({', '.join(PROTOCOLS)}) or 0-255")


def protocol_name(number: int) -> str:
    """6 to "tcp"; a number without a name stays a number."""
    return PROTOCOL_NAMES.get(number, str(number))


def icmp_set(text: str) -> PortSet:
    """ "3", "3/4", "128-129": types, or a type with its code, as type * 256 + code. Raises RuleError."""
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        kind, _, code = part.strip().partition("/")
        types = PortSet.parse(kind).ranges[0]
        if types[1] > 255 or (code and types[0] != types[1]):
            raise RuleError(f"icmp: got {part.strip()!r}, expected type, low-high or type/code")
        if code:
            value = PortSet.parse(code).ranges[0][0]
            if value > 255:
                raise RuleError(f"icmp: got code {value}, expected 0-255")
            found.append((types[0] * 256 + value, types[0] * 256 + value))
        else:
            found.append((types[0] * 256, types[1] * 256 + 255))
    return PortSet(PortSet.parse(",".join(f"{low}-{high}" for low, high in found)).ranges)


def icmp_text(types: PortSet) -> str:
    """The inverse of `icmp_set`."""
    words = []
    for low, high in types.ranges:
        if low % 256 == 0 and high % 256 == 255:
            words.append(str(low // 256) if low // 256 == high // 256 else f"{low // 256}-{high // 256}")
        else:
            words.extend(f"{value // 256}/{value % 256}" for value in range(low, high + 1))
    return ",".join(words)


def flags_value(text: str) -> tuple[int, int]:
    """ "SYN,ACK/SYN" (mask/set, as iptables) to (18, 2). Raises RuleError."""
    mask, _, value = text.upper().partition("/")
    return _flag_bits(mask), _flag_bits(value) if value else _flag_bits(mask)


def flags_text(flags: tuple[int, int]) -> str:
    """The inverse of `flags_value`."""
    return "/".join(",".join(n for n, bit in TCP_FLAG_BITS.items() if part & bit) or "NONE" for part in flags)


def _flag_bits(text: str) -> int:
    if text == "ALL":
        return 63  # as iptables: without ECE and CWR
    bits = 0
    for word in text.split(","):
        if word == "NONE":
            continue
        if word not in TCP_FLAG_BITS:
            raise RuleError(f"tcp_flags: got {word[:20]!r}, expected of {', '.join(TCP_FLAG_BITS)}")
        bits |= TCP_FLAG_BITS[word]
    return bits


def _check_match(match: Match) -> None:
    if (match.sport or match.dport) and (match.proto not in WITH_PORTS or "proto" in match.negate):
        raise RuleError(f"match: ports with protocol {match.proto}, expected tcp, udp, udplite, sctp or dccp")
    if match.icmp and (match.proto not in FAMILY_OF_PROTOCOL or "proto" in match.negate):
        raise RuleError(f"match: icmp types with protocol {match.proto}, expected icmp or icmpv6")
    if match.tcp_flags and (match.proto != 6 or "proto" in match.negate):
        raise RuleError(f"match: tcp_flags with protocol {match.proto}, expected tcp")
    if match.tcp_flags and match.tcp_flags[1] & ~match.tcp_flags[0]:
        raise RuleError(f"match: tcp_flags value {match.tcp_flags[1]} outside its mask {match.tcp_flags[0]}")
    if match.proto is not None and not 1 <= match.proto <= 255:  # "-p 0" is any protocol to iptables: wide open
        raise RuleError(f"match: protocol {match.proto}, expected 1-255 (leave it out for any)")
    if match.states is not None and (not match.states or match.states - set(STATES)):
        raise RuleError(f"match: states {sorted(match.states)}, expected of {', '.join(STATES)}")
    for name in (match.iif, match.oif):
        if name is not None and not _is_interface(name):
            raise RuleError(
                f"match: interface {name[:40]!r}, expected 1-{INTERFACE_MAX} letters, digits, . _ - and a last +"
            )
    if match.negate - NEGATABLE or any(getattr(match, name) is None for name in match.negate):
        raise RuleError(
            f"match: negation of {sorted(match.negate)}, expected of fields that are set ({', '.join(sorted(NEGATABLE))})"
        )
    if not match.families:
        raise RuleError("match: no address family is left, expected source, destination and protocol of one family")


def _is_interface(name: str) -> bool:
    body = name[:-1] if name.endswith("+") else name
    return 1 <= len(name) <= INTERFACE_MAX and all(c.isascii() and (c.isalnum() or c in "._-") for c in body)
