"""Foreign nftables rules: what `nft -j list ruleset` prints, as a program.

In: JSON text. Out: a `Program`: filter chains with their hooks and priorities, rules with their text for people. What
the model knows becomes conditions; everything else (verdict maps, concatenations, marks) is "unknown" with its words,
which the simulator answers with doubt, never with "no". nat chains are left out and noted. Must not know packets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from firewall.errors import ReadError, RuleError
from firewall.program import Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import STATES, TCP_FLAG_BITS, Rate, protocol_number
from firewall.sets import AddrSet, PortSet, canonical

FAMILIES: dict[str, int | None] = {"ip": 4, "ip6": 6, "inet": None}
HOOKS = {hook.value: hook for hook in Hook}
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
SIDES = {"saddr": "src", "daddr": "dst"}
PORTS = {"sport": "sport", "dport": "dport"}
PORTED = {"tcp": 6, "udp": 17, "udplite": 136, "sctp": 132, "dccp": 33}
PER = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
ICMP_TYPES = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
    "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
    "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
    "address-mask-request": 17, "address-mask-reply": 18,
}  # fmt: skip
ICMP6_TYPES = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128,
    "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
    "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136, "nd-redirect": 137, "mld2-listener-report": 143,
}  # fmt: skip
PASSING = frozenset(
    {"counter", "log", "mangle", "comment", "meter", "quota", "notrack", "xt", "set", "ct helper", "flow"}
)
ELEMENTS_MAX = 2_000_000


class _Unknown(Exception):
    """An expression outside the model."""


def read(text: str, name: str = "ruleset") -> Program:
    """A program from nft's JSON. Raises ReadError for what is not that."""
    try:
        items = json.loads(text)["nftables"]
        if not isinstance(items, list):
            raise TypeError("nftables is no list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReadError(f"{name}: not nft -j output: {str(error)[:120]}") from error
    try:
        return _program([i for i in items if isinstance(i, dict)])
    except (RuleError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReadError(f"{name}: {type(error).__name__}: {str(error)[:160]}") from error


def _program(items: list[dict[str, Any]]) -> Program:
    sets: dict[str, tuple[Any, ...]] = {}
    chains: dict[str, list[Line]] = {}
    bases: list[Base] = []
    notes: list[str] = []
    for item in items:
        if "set" in item or "map" in item:
            found = item.get("set") or item.get("map")
            elements = found.get("elem", []) if isinstance(found, dict) else []
            if isinstance(found, dict) and len(elements) <= ELEMENTS_MAX:
                sets[f"{found['family']}/{found['table']}/{found['name']}"] = tuple(elements)
        if "chain" in item:
            _chain(item["chain"], chains, bases, notes)
    for item in items:
        if "rule" in item:
            rule = item["rule"]
            key = f"{rule['family']}/{rule['table']}/{rule['chain']}"
            if key in chains:
                chains[key].append(_line(rule, sets, f"{rule['family']}/{rule['table']}"))
    return Program(
        {k: tuple(v) for k, v in chains.items()}, tuple(bases), dialect="nft", notes=tuple(dict.fromkeys(notes))
    )


def _chain(chain: dict[str, Any], chains: dict[str, list[Line]], bases: list[Base], notes: list[str]) -> None:
    if chain["family"] not in FAMILIES:
        notes.append(f"family {chain['family']} is not modelled")
        return
    if chain.get("type") in ("nat", "route"):
        notes.append(f"chains of type {chain['type']} are not modelled: addresses are taken as captured")
        return
    key = f"{chain['family']}/{chain['table']}/{chain['name']}"
    chains[key] = []
    if chain.get("hook") in HOOKS:
        priority = chain.get("prio", 0)
        number = priority if isinstance(priority, int) else PRIORITIES.get(str(priority), 0)
        policy = Verdict.DROP if chain.get("policy") == "drop" else Verdict.ACCEPT
        bases.append(Base(key, HOOKS[chain["hook"]], number, policy, FAMILIES[chain["family"]]))


def _line(rule: dict[str, Any], sets: dict[str, tuple[Any, ...]], table: str) -> Line:
    conditions: list[Condition] = []
    verdict, target = Verdict.CONTINUE, ""
    family = FAMILIES.get(rule["family"])
    for expression in rule.get("expr", []):
        kind = next(iter(expression), "")
        body = expression.get(kind)
        if kind in ("accept", "drop", "return", "reject"):
            verdict = {
                "accept": Verdict.ACCEPT,
                "drop": Verdict.DROP,
                "return": Verdict.RETURN,
                "reject": Verdict.REJECT,
            }[kind]
        elif kind in ("jump", "goto"):
            verdict, target = Verdict(kind), f"{table}/{body['target']}"
        elif kind in ("vmap", "queue", "tproxy", "synproxy", "snat", "dnat", "masquerade", "redirect"):
            verdict = Verdict.UNKNOWN
            conditions.append(Condition("unknown", json.dumps(expression)[:80]))
        elif kind == "match":
            try:
                made, of_family = _match(body, sets, table)
                conditions += made
                family = of_family if family is None else family
            except (_Unknown, RuleError, KeyError, TypeError, ValueError, AttributeError):
                conditions.append(Condition("unknown", json.dumps(expression)[:120]))
        elif kind == "limit":
            conditions.append(_limit(body))
        elif kind not in PASSING:
            conditions.append(Condition("unknown", json.dumps(expression)[:80]))
    if any(c.field == "proto" and not c.negate and c.value in (PortSet.of(1), PortSet.of(58)) for c in conditions):
        conditions = [replace(c, field="icmp") if c.field == "sport" else c for c in conditions]  # type and code, raw
    words = str(rule.get("comment") or "") or json.dumps([e for e in rule.get("expr", []) if "counter" not in e])[:200]
    return Line(tuple(conditions), verdict, target, family, "", f"{rule['chain']}: {words}")


def _limit(body: dict[str, Any]) -> Condition:
    rate, per = body.get("rate"), PER.get(str(body.get("per")), 0)
    if type(rate) is not int or rate < 1 or not per or "rate_unit" in body:
        return Condition("unknown", json.dumps(body)[:80])
    return Condition("rate", Rate(rate, per, max(1, int(body.get("burst", 5))), bool(body.get("inv", False)), ()))


def _match(body: dict[str, Any], sets: dict[str, tuple[Any, ...]], table: str) -> tuple[list[Condition], int | None]:
    negate = body["op"] == "!="
    if body["op"] not in ("==", "!=", "in"):
        raise _Unknown
    left, right = body["left"], body["right"]
    values = _values(right, sets, table)
    if "payload" in left:
        return _payload(left["payload"], values, negate)
    if "meta" in left:
        return _meta(left["meta"]["key"], values, negate)
    if "ct" in left and left["ct"].get("key") == "state" and "dir" not in left["ct"]:
        names = frozenset(str(v).upper() for v in values)
        if names - set(STATES):
            raise _Unknown
        return [Condition("state", names, negate)], None
    if "&" in left and left["&"][0] == {"payload": {"protocol": "tcp", "field": "flags"}} and len(values) == 1:
        proto = Condition("proto", PortSet.of(6))
        return [proto, Condition("tcp_flags", (_bits(left["&"][1]), _bits(values[0])), negate)], None
    raise _Unknown


def _payload(payload: dict[str, Any], values: list[Any], negate: bool) -> tuple[list[Condition], int | None]:
    protocol, name = payload.get("protocol"), payload.get("field")
    if protocol in ("ip", "ip6") and name in SIDES:
        family = 4 if protocol == "ip" else 6
        return [Condition(SIDES[name], AddrSet.parse(*(_address(v) for v in values)), negate)], family
    if protocol in PORTED and name in PORTS:
        return [Condition("proto", PortSet.of(PORTED[protocol])), Condition(PORTS[name], _ports(values), negate)], None
    if protocol == "th" and name in PORTS:
        return [Condition(PORTS[name], _ports(values), negate)], None
    if protocol == "ip" and name == "protocol":
        return [Condition("proto", _protocols(values), negate)], 4
    if protocol in ("ip", "ip6") and name in ("ttl", "hoplimit"):
        return [Condition("ttl", _ports(values), negate)], 4 if protocol == "ip" else 6
    if protocol in ("icmp", "icmpv6") and name == "type":
        names = ICMP_TYPES if protocol == "icmp" else ICMP6_TYPES
        ranges = [(low * 256, high * 256 + 255) for low, high in (_span(v, names) for v in values)]
        proto = Condition("proto", PortSet.of(1 if protocol == "icmp" else 58))
        return [proto, Condition("icmp", PortSet(canonical(ranges, 65535)), negate)], 4 if protocol == "icmp" else 6
    if (payload.get("base"), payload.get("offset"), payload.get("len")) == ("th", 0, 16):
        return [Condition("sport", _ports(values), negate)], None
    raise _Unknown


def _meta(key: str, values: list[Any], negate: bool) -> tuple[list[Condition], int | None]:
    if key == "l4proto":
        return [Condition("proto", _protocols(values), negate)], None
    if key == "nfproto" and len(values) == 1 and not negate:
        return [], {"ipv4": 4, "ipv6": 6, 2: 4, 10: 6}[values[0]]
    if key in ("iifname", "iif", "oifname", "oif") and len(values) == 1:
        return [Condition("iif" if key.startswith("iif") else "oif", str(values[0]), negate)], None
    if key == "length":
        return [Condition("length", _ports(values), negate)], None
    if key == "time":
        return [Condition("expires", 0)], None
    raise _Unknown


def _values(right: Any, sets: dict[str, tuple[Any, ...]], table: str) -> list[Any]:
    """The right side as a list of single values, prefixes and ranges."""
    if isinstance(right, str) and right.startswith("@"):
        key = f"{table}/{right[1:]}"
        if key not in sets:
            raise _Unknown
        return _plain(sets[key])
    if isinstance(right, dict) and "set" in right:
        return _plain(right["set"])
    if isinstance(right, list):
        return _plain(right)
    return [right]


def _plain(elements: Iterable[Any]) -> list[Any]:
    return [e["elem"]["val"] if isinstance(e, dict) and "elem" in e else e for e in elements]


def _address(value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        return f"{value['range'][0]}-{value['range'][1]}"
    if not isinstance(value, str):
        raise _Unknown
    return value


def _span(value: Any, names: dict[str, int] | None = None) -> tuple[int, int]:
    if isinstance(value, dict) and "range" in value:
        low, high = (_span(v, names)[0] for v in value["range"])
        return low, high
    if isinstance(value, str) and names is not None and value in names:
        return names[value], names[value]
    if type(value) is int:
        return value, value
    if isinstance(value, str) and value.isdigit():
        return int(value), int(value)
    raise _Unknown


def _ports(values: list[Any]) -> PortSet:
    return PortSet(canonical([_span(v) for v in values], 65535))


def _protocols(values: list[Any]) -> PortSet:
    return PortSet(canonical([(n, n) for n in (protocol_number(v) for v in values)], 255))


def _bits(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if isinstance(value, str):
        return TCP_FLAG_BITS[value.upper()]
    if isinstance(value, list):
        return sum(_bits(v) for v in value)
    if isinstance(value, dict) and "|" in value:
        return sum(_bits(v) for v in value["|"])
    raise _Unknown
