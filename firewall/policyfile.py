"""policy.toml: the policy as a file that a person can read, change and keep in a repository. In and out.

In: text. Out: a `Policy`; and back, so that reading what was written gives the same policy. Unknown keys, wrong types
and impossible values are errors that name rule and key: a misspelt key must not silently widen a rule.
Must not know files: text in, text out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from firewall.errors import ReadError, RuleError
from firewall.rules import (
    Action,
    Direction,
    Evidence,
    Match,
    Policy,
    Protected,
    Rate,
    Rule,
    Vantage,
    flags_text,
    flags_value,
    icmp_set,
    icmp_text,
    protocol_name,
    protocol_number,
)
from firewall.sets import AddrSet, PortSet

VERSION = 1
TOP = {"version", "default", "vantage", "created", "local", "trusted", "contained", "protected", "rule", "forced"}
MATCH = {"source", "destination", "protocol", "port", "source_port", "icmp", "tcp_flags", "state", "interface_in", "interface_out", "rate", "not"}  # fmt: skip
RULE = MATCH | {"action", "direction", "ttl_s", "description", "evidence", "id"}
NEGATE = {"source": "src", "destination": "dst", "protocol": "proto", "port": "dport", "source_port": "sport"}


def read(text: str, name: str = "policy.toml") -> Policy:
    """A policy from text. Raises ReadError, one line, naming file, rule and key."""
    try:
        top = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReadError(f"{name}: not TOML: {' '.join(str(error).split())[:200]}") from error
    where = "policy"
    try:
        _known(top, TOP, "policy")
        if top.get("version", VERSION) != VERSION:
            raise RuleError(f"version: got {top['version']!r}, expected {VERSION}")
        policy = Policy(
            default=_choice(Action, top.get("default", "PERMIT"), "default"),
            vantage=_choice(Vantage, top.get("vantage", "host"), "vantage"),
            local=AddrSet.parse(*_texts(top.get("local", []), "local")),
            trusted=AddrSet.parse(*_texts(top.get("trusted", []), "trusted")),
            contained=AddrSet.parse(*_texts(top.get("contained", []), "contained")),
            created=_number(top.get("created"), "created"),
            forced=_flag(top.get("forced", False), "forced"),
        )
        rules, protected = [], []
        for at, row in enumerate(_tables(top.get("rule", []), "rule"), 1):
            where = f"rule {at}"
            rules.append(_rule(row))
        for at, row in enumerate(_tables(top.get("protected", []), "protected"), 1):
            where = f"protected {at}"
            protected.append(_protected(row))
        where = "policy"
        return replace(policy, rules=tuple(rules), protected=tuple(protected))
    except RuleError as error:
        raise ReadError(f"{name}: {where}: {error}") from error


def write(policy: Policy) -> str:
    """The policy as text; `read` gives it back."""
    lines = [
        f"version = {VERSION}",
        f"default = {_quote(policy.default.value)}",
        f"vantage = {_quote(policy.vantage.value)}",
    ]
    if policy.created is not None:
        lines.append(f"created = {policy.created}")
    if policy.forced:
        lines.append("forced = true")
    for key, addresses in (("local", policy.local), ("trusted", policy.trusted), ("contained", policy.contained)):
        if addresses:
            lines.append(f"{key} = {_list(addresses.texts())}")
    for rule in policy.rules:
        lines += ["", "[[rule]]", f"id = {_quote(rule.id)}", f"action = {_quote(rule.action.value)}"]
        lines.append(f"direction = {_quote(rule.direction.value)}")
        lines += _match_lines(rule.match)
        if rule.ttl_s is not None:
            lines.append(f"ttl_s = {rule.ttl_s}")
        if rule.description:
            lines.append(f"description = {_quote(rule.description)}")
        for evidence in rule.evidence:
            lines += ["", "[[rule.evidence]]", *_evidence_lines(evidence)]
    for item in policy.protected:
        lines += ["", "[[protected]]", f"name = {_quote(item.name)}", f"exempt = {'true' if item.exempt else 'false'}"]
        lines += _match_lines(item.match)
    return "".join(f"{line}\n" for line in lines)


def _rule(row: Mapping[str, Any]) -> Rule:
    _known(row, RULE, "rule")
    if "action" not in row:
        raise RuleError("action: missing, expected PERMIT, DROP, REJECT, LOG or COUNT")
    return Rule(  # the id is not read: a rule that was edited by hand is another rule
        _choice(Action, row["action"], "action"),
        _match(row),
        _choice(Direction, row.get("direction", "any"), "direction"),
        _number(row.get("ttl_s"), "ttl_s"),
        _text(row.get("description", ""), "description"),
        tuple(_evidence(e) for e in _tables(row.get("evidence", []), "evidence")),
    )


def _protected(row: Mapping[str, Any]) -> Protected:
    _known(row, MATCH | {"name", "exempt"}, "protected")
    return Protected(_text(row.get("name", ""), "name"), _match(row), _flag(row.get("exempt", False), "exempt"))


def _match(row: Mapping[str, Any]) -> Match:
    sides = {key: AddrSet.parse(*_texts(row[key], key)) for key in ("source", "destination") if key in row}
    for key, addresses in sides.items():
        if not addresses:
            raise RuleError(f"{key}: empty list, expected addresses (leave the key out for any)")
    negate = _texts(row.get("not", []), "not")
    if set(negate) - set(NEGATE):
        raise RuleError(f"not: got {sorted(set(negate) - set(NEGATE))}, expected of {', '.join(NEGATE)}")
    return Match(
        src=sides.get("source"),
        dst=sides.get("destination"),
        proto=protocol_number(_word(row["protocol"], "protocol")) if "protocol" in row else None,
        sport=PortSet.parse(_word(row["source_port"], "source_port")) if "source_port" in row else None,
        dport=PortSet.parse(_word(row["port"], "port")) if "port" in row else None,
        icmp=icmp_set(_word(row["icmp"], "icmp")) if "icmp" in row else None,
        tcp_flags=flags_value(_text(row["tcp_flags"], "tcp_flags")) if "tcp_flags" in row else None,
        states=frozenset(s.upper() for s in _texts(row["state"], "state")) if "state" in row else None,
        iif=_text(row["interface_in"], "interface_in") if "interface_in" in row else None,
        oif=_text(row["interface_out"], "interface_out") if "interface_out" in row else None,
        rate=_rate(row["rate"]) if "rate" in row else None,
        negate=frozenset(NEGATE[n] for n in negate),
    )


def _match_lines(match: Match) -> list[str]:
    out = []
    for key, addresses in (("source", match.src), ("destination", match.dst)):
        if addresses is not None:
            out.append(f"{key} = {_list(addresses.texts())}")
    if match.proto is not None:
        out.append(f"protocol = {_quote(protocol_name(match.proto))}")
    for key, ports in (("port", match.dport), ("source_port", match.sport)):
        if ports is not None:
            out.append(f"{key} = {_quote(ports.text())}")
    if match.icmp is not None:
        out.append(f"icmp = {_quote(icmp_text(match.icmp))}")
    if match.tcp_flags is not None:
        out.append(f"tcp_flags = {_quote(flags_text(match.tcp_flags))}")
    if match.states is not None:
        out.append(f"state = {_list(sorted(match.states))}")
    for key, name in (("interface_in", match.iif), ("interface_out", match.oif)):
        if name is not None:
            out.append(f"{key} = {_quote(name)}")
    if match.negate:
        out.append(f"not = {_list(sorted(k for k, v in NEGATE.items() if v in match.negate))}")
    if match.rate is not None:
        rate = match.rate
        above = "true" if rate.above else "false"
        out.append(
            f"rate = {{ packets = {rate.packets}, per_s = {rate.per_s}, burst = {rate.burst}, above = {above}, key = {_list(rate.key)} }}"
        )
    return out


def _rate(row: object) -> Rate:
    if not isinstance(row, dict):
        raise RuleError(f"rate: got {row!r}, expected a table")
    _known(row, {"packets", "per_s", "burst", "above", "key"}, "rate")
    packets, per_s, burst = (_number(row.get(k, d), k) for k, d in (("packets", None), ("per_s", 1), ("burst", 5)))
    if packets is None or per_s is None or burst is None:
        raise RuleError("rate: packets is missing")
    return Rate(
        packets, per_s, burst, _flag(row.get("above", True), "above"), tuple(_texts(row.get("key", ["src"]), "key"))
    )


def _evidence(row: Mapping[str, Any]) -> Evidence:
    _known(row, {"finding", "detector", "severity", "confidence", "frames", "text"}, "evidence")
    frames = row.get("frames", [])
    if not isinstance(frames, list) or not all(type(f) is int for f in frames):
        raise RuleError("frames: expected a list of numbers")
    confidence = row.get("confidence", 0.0)
    if not isinstance(confidence, (int, float)):
        raise RuleError(f"confidence: got {confidence!r}, expected a number")
    words = {k: _text(row.get(k, ""), k) for k in ("finding", "detector", "severity", "text")}
    return Evidence(
        words["finding"], words["detector"], words["severity"], float(confidence), tuple(frames), words["text"]
    )


def _evidence_lines(evidence: Evidence) -> list[str]:
    out = [f"{k} = {_quote(getattr(evidence, k))}" for k in ("finding", "detector", "severity", "text")]
    return [*out, f"confidence = {float(evidence.confidence)!r}", f"frames = [{', '.join(map(str, evidence.frames))}]"]


# Values, each with its key in the message


def _known(row: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    unknown = sorted(set(row) - set(keys))
    if unknown:
        raise RuleError(f"unknown key {unknown[0][:40]!r} in {where}, expected of {', '.join(sorted(keys))}")


def _choice(kind: Any, value: object, key: str) -> Any:
    words = {item.value.lower(): item for item in kind}
    if not isinstance(value, str) or value.lower() not in words:
        raise RuleError(f"{key}: got {str(value)[:40]!r}, expected {', '.join(item.value for item in kind)}")
    return words[value.lower()]


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise RuleError(f"{key}: got {str(value)[:40]!r}, expected text")
    return value


def _word(value: object, key: str) -> str:
    if type(value) is int:
        return str(value)
    return _text(value, key)


def _texts(value: object, key: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise RuleError(f"{key}: got {str(value)[:40]!r}, expected a list of texts")
    return value


def _tables(value: object, key: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise RuleError(f"{key}: expected [[{key}]] tables")
    return value


def _number(value: object, key: str) -> int | None:
    if value is not None and type(value) is not int:
        raise RuleError(f"{key}: got {str(value)[:40]!r}, expected a whole number")
    return value


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise RuleError(f"{key}: got {str(value)[:40]!r}, expected true or false")
    return value


def _list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(_quote(t) for t in texts) + "]"


def _quote(text: str) -> str:
    """A TOML basic string: every control, bidi and non-ASCII character as an escape."""
    if text.isascii() and text.isprintable() and not {'"', "\\"} & set(text):
        return f'"{text}"'
    out = []
    for char in text:
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif 32 <= code < 127:
            out.append(char)
        elif 0xD800 <= code < 0xE000:  # a lone surrogate has no TOML form
            out.append("\\uFFFD")
        else:
            out.append(f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}")
    return '"' + "".join(out) + '"'
