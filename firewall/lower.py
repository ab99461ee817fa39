"""From the policy to a program: families split, directions made chains, long lists made named sets.

In: a `Policy`. Out: `Lowered`: the program that simulator and renderers share, and the rules that became no line at
all, with the reason (silence would be a hole). What only iptables needs (15 multiport slots, one address a line) is
done by `for_iptables` below, from the same lines, so that dialects cannot drift apart.
Must not know a dialect's words.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import product

from firewall.program import SHORT_HEADERS, Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import (
    PROTOCOL_NAMES,
    WITH_PORTS,
    Action,
    Direction,
    Match,
    Policy,
    Rule,
    Vantage,
    flags_text,
    icmp_text,
    protocol_name,
)
from firewall.sets import PORT_LAST, AddrSet, PortSet, complement

LIST_MAX = 8  # more like addresses become one named set (linear rules cost 29-43 ns a packet each)
MULTIPORT_SLOTS = 15  # xt_multiport: XT_MULTI_PORTS; a range takes two

# Chain names per vantage: (chain, direction that it serves, hooks). Well under the kernel's 28 characters.
CHAINS: dict[Vantage, tuple[tuple[str, frozenset[Direction], tuple[Hook, ...]], ...]] = {
    Vantage.HOST: (
        ("TAPWALL-IN", frozenset({Direction.IN, Direction.ANY}), (Hook.INPUT,)),
        ("TAPWALL-OUT", frozenset({Direction.OUT, Direction.ANY}), (Hook.OUTPUT,)),
    ),
    Vantage.ROUTER: (("TAPWALL-FWD", frozenset(Direction), (Hook.FORWARD,)),),
    Vantage.DOCKER: (("TAPWALL-DOCKER", frozenset(Direction), (Hook.FORWARD,)),),
    Vantage.SPAN: (("TAPWALL", frozenset(Direction), (Hook.INPUT, Hook.OUTPUT, Hook.FORWARD)),),
}
VERDICTS = {
    Action.PERMIT: Verdict.RETURN,  # "no objection": what else stands on the host still decides
    Action.DROP: Verdict.DROP,
    Action.REJECT: Verdict.REJECT,
    Action.LOG: Verdict.CONTINUE,
    Action.COUNT: Verdict.CONTINUE,
}


@dataclass(frozen=True, slots=True)
class Lowered:
    """The program, and the rules without any line: (rule id, reason)."""

    policy: Policy
    program: Program
    empty: tuple[tuple[str, str], ...]


def lower(policy: Policy) -> Lowered:
    """Lower a policy. Lines keep the policy's order; every line names its rule."""
    sets: dict[str, AddrSet] = {}
    timeouts: dict[str, int] = {}
    chains: dict[str, tuple[Line, ...]] = {}
    bases: list[Base] = []
    reached: set[str] = set()
    for name, directions, hooks in CHAINS[policy.vantage]:
        lines: list[Line] = []
        for rule in policy.rules:
            if rule.direction in directions:
                reached.add(rule.id)
                lines.extend(_rule_lines(rule, policy, sets, timeouts))
        if policy.default is Action.DROP:
            lines.append(Line((), Verdict.DROP, rule="default", text="default DROP"))
        chains[name] = tuple(lines)
        for hook in hooks:
            base = f"{hook.value}"
            chains[base] = (*chains.get(base, ()), Line((), Verdict.JUMP, name, text=f"jump {name}"))
            bases.append(Base(base, hook, -10))
    empty = tuple(
        (rule.id, f"direction {rule.direction.value} has no chain at vantage {policy.vantage.value}")
        for rule in policy.rules
        if rule.id not in reached
    )
    return Lowered(policy, Program(chains, tuple(bases), sets, timeouts), empty)


def expires(rule: Rule, policy: Policy) -> int | None:
    """When the rule stops to match (Unix s); None: never, or the policy does not say when it was made."""
    return None if rule.ttl_s is None or policy.created is None else policy.created + rule.ttl_s


def _rule_lines(rule: Rule, policy: Policy, sets: dict[str, AddrSet], timeouts: dict[str, int]) -> list[Line]:
    out = []
    for family in sorted(rule.match.families):
        conditions = _conditions(rule, family, policy, sets, timeouts)
        out.append(
            Line(
                conditions,
                VERDICTS[rule.action],
                family=family,
                rule=rule.id,
                text=describe(rule),
                log=rule.action is Action.LOG,
                reason=rule.description,
            )
        )
    return out


def _conditions(
    rule: Rule, family: int, policy: Policy, sets: dict[str, AddrSet], timeouts: dict[str, int]
) -> tuple[Condition, ...]:
    match, out = rule.match, []
    for name in ("src", "dst"):
        addresses: AddrSet | None = getattr(match, name)
        if addresses is None:
            continue
        part = addresses.only(family)
        negate = name in match.negate
        set_name = ""
        nets = len(part.blocks(family))
        if nets > LIST_MAX or (negate and nets > 1):
            set_name = _set_name(part, family, rule.ttl_s)
            sets[set_name] = part
            if rule.ttl_s is not None:
                timeouts[set_name] = rule.ttl_s
        out.append(Condition(_original(name, policy), part, negate, set_name))
    out.extend(_transport(match, policy))
    for name in ("iif", "oif"):
        if getattr(match, name) is not None:
            out.append(Condition(name, getattr(match, name)))
    if match.states is not None:
        out.append(Condition("state", match.states))
    until = expires(rule, policy)
    if until is not None:  # beside the life of a set's elements, which begins anew with every load
        out.append(Condition("expires", until))
    if match.rate is not None:  # last: a bucket must only count packets that everything else let through
        out.append(Condition("rate", match.rate))
    return tuple(out)


def _transport(match: Match, policy: Policy) -> list[Condition]:
    out = []
    if match.proto is not None:
        out.append(Condition("proto", PortSet.of(match.proto), "proto" in match.negate))
    for name in ("sport", "dport"):
        ports = getattr(match, name)
        if ports is not None:
            out.append(Condition(_original(name, policy), ports, name in match.negate))
    if match.icmp is not None:
        out.append(Condition("icmp", match.icmp))
    if match.tcp_flags is not None:
        out.append(
            Condition("tcp_flags", match.tcp_flags, varies=SHORT_HEADERS)
        )  # later fragments: the renderer's guard
    return out


def _original(name: str, policy: Policy) -> str:
    """Docker translates a published port before its filter chain: there the original destination is meant."""
    return f"orig_{name}" if policy.vantage is Vantage.DOCKER and name in ("dst", "dport") else name


def _set_name(addresses: AddrSet, family: int, ttl_s: int | None) -> str:
    """A name from the content: the same list is the same set, and loading it twice changes nothing. 14 characters."""
    text = f"{addresses.ranges(family)} {ttl_s}"
    return f"tw{family}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def describe(rule: Rule) -> str:
    """The rule's match in one line for a person: "DROP in tcp 10.0.0.5 -> any port 22"."""
    match = rule.match
    words = [rule.action.value, rule.direction.value, protocol_text(match)]
    words += [address_text(match, "src"), "to", address_text(match, "dst"), port_text(match)]
    return " ".join(w for w in words if w)


def address_text(match: Match, side: str) -> str:
    """ "any", "10.0.0.5", "not 10.0.0.0/8"."""
    addresses: AddrSet | None = getattr(match, side)
    if addresses is None:
        return "any"
    return ("not " if side in match.negate else "") + addresses.label()


def protocol_text(match: Match) -> str:
    """ "any", "TCP", "not UDP"."""
    if match.proto is None:
        return "any"
    name = protocol_name(match.proto)
    shown = name.upper() if match.proto in PROTOCOL_NAMES else name
    return ("not " if "proto" in match.negate else "") + shown


def port_text(match: Match) -> str:
    """The port column: destination ports, "from 53" for source ports, ICMP types, flags, states, rate."""
    words = []
    if match.dport is not None:
        words.append(("not " if "dport" in match.negate else "") + match.dport.text())
    if match.sport is not None:
        words.append("from " + ("not " if "sport" in match.negate else "") + match.sport.text())
    if match.icmp is not None:
        words.append(f"type {icmp_text(match.icmp)}")
    if match.tcp_flags is not None:
        words.append(f"flags {flags_text(match.tcp_flags)}")
    if match.states is not None:
        words.append(",".join(sorted(match.states)))
    if match.rate is not None:
        rate = match.rate
        words.append(f"{'above' if rate.above else 'up to'} {rate.packets}/{rate.per_s}s burst {rate.burst}")
    if match.iif is not None:
        words.append(f"via {match.iif}")
    if match.oif is not None:
        words.append(f"out {match.oif}")
    return " ".join(words) or "any"


def for_iptables(lines: tuple[Line, ...], chain: str, family: int) -> dict[str, list[Line]]:
    """Lines of one family as iptables can say them; the chain itself and any helper chains.

    One address a line (or a named set), at most 15 multiport slots, no list of protocols. A line with a rate is never
    split: a bucket in each part would multiply the rate. Its parts jump to a helper chain that holds the bucket once.
    """
    out: dict[str, list[Line]] = {chain: []}
    for at, line in enumerate(lines):
        if line.family not in (None, family):
            continue
        parts = _split(replace(line, family=family))
        rate = line.get("rate")
        if rate is None or len(parts) == 1:
            out[chain].extend(parts)
            continue
        helper = f"{chain}-{at}"
        out[helper] = [replace(line, conditions=(rate,), family=family)]
        for part in parts:
            conditions = tuple(c for c in part.conditions if c.field != "rate")
            out[chain].append(
                replace(part, conditions=conditions, verdict=Verdict.JUMP, target=helper, rule="", log=False, reason="")
            )
    return out


def _split(line: Line) -> list[Line]:
    options = [_alternatives(c) for c in line.conditions]
    return [replace(line, conditions=chosen) for chosen in product(*options)]


def _alternatives(condition: Condition) -> list[Condition]:
    """The conditions whose union is this one and each of which iptables can say."""
    named = condition.set_name and condition.field != "orig_dst"  # conntrack knows no sets: one address a line
    if condition.field in ("src", "dst", "orig_dst") and not named and not condition.negate:
        addresses: AddrSet = condition.value
        family = 4 if addresses.v4 else 6
        return [replace(condition, value=AddrSet.of(family, [b]), set_name="") for b in addresses.blocks(family)]
    if condition.field in ("sport", "dport", "port") and condition.value.slots() > MULTIPORT_SLOTS:
        ranges = complement(condition.value.ranges, PORT_LAST) if condition.negate else condition.value.ranges
        return [replace(condition, value=PortSet(tuple(part)), negate=False) for part in _slots(ranges)]
    if condition.field == "orig_dport" and not condition.negate:  # conntrack takes one port or range
        return [replace(condition, value=PortSet((part,))) for part in condition.value.ranges]
    if condition.field == "icmp":
        return [replace(condition, value=PortSet((part,))) for part in _icmp_parts(condition.value)]
    if condition.field == "proto" and len(condition.value.ranges) > 1 and not condition.negate:
        return [
            replace(condition, value=PortSet.of(p))
            for low, high in condition.value.ranges
            for p in range(low, high + 1)
        ]
    return [condition]


def _slots(ranges: tuple[tuple[int, int], ...]) -> list[list[tuple[int, int]]]:
    parts: list[list[tuple[int, int]]] = [[]]
    room = MULTIPORT_SLOTS
    for low, high in ranges:
        cost = 1 if low == high else 2
        if cost > room:
            parts.append([])
            room = MULTIPORT_SLOTS
        parts[-1].append((low, high))
        room -= cost
    return parts


def _icmp_parts(types: PortSet) -> list[tuple[int, int]]:
    """Whole types where possible, single type/code pairs otherwise: what --icmp-type takes."""
    parts = []
    for low, high in types.ranges:
        at = low
        while at <= high:
            end = at | 255 if at % 256 == 0 and at | 255 <= high else at
            parts.append((at, end))
            at = end + 1
    return parts


def needs_ports(proto: int) -> bool:
    """True for protocols whose ports rules can match."""
    return proto in WITH_PORTS
