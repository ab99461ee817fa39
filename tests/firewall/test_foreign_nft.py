"""What `nft -j list ruleset` prints, as a program; what the model does not know is unknown."""

from __future__ import annotations

import json
from typing import Any

import firewall_packets as fp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.errors import ReadError
from firewall.foreign_nft import read
from firewall.program import Hook, Verdict
from firewall.simulate import Simulator

A, B = "10.0.0.1", "192.0.2.5"
HTTP, DNS, PING = fp.tcp(A, 1024, B, 80), fp.udp(A, 5000, B, 53), fp.icmp(A, B, 8)


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


SET = {
    "set": {
        "family": "inet",
        "table": "t",
        "name": "bad",
        "type": "ipv4_addr",
        "elem": [A, {"prefix": {"addr": "203.0.113.0", "len": 24}}, {"elem": {"val": "203.0.113.9", "timeout": 60}}],
    }
}


def ruleset(*expressions: Any, family: str = "inet", kind: str = "filter", verdict: Any = None) -> str:
    """One chain at the forward hook with one rule."""
    chain = {
        "family": family,
        "table": "t",
        "name": "c",
        "type": kind,
        "hook": "forward",
        "prio": 0,
        "policy": "accept",
    }
    verdict = {"drop": None} if verdict is None else verdict
    rule = {"family": family, "table": "t", "chain": "c", "expr": [*expressions, {"counter": {"packets": 0, "bytes": 0}}, verdict]}  # fmt: skip
    return json.dumps({"nftables": [{"metainfo": {}}, {"chain": chain}, SET, {"rule": rule}]})


RULES: dict[str, tuple[list[Any], tuple[bool | None, bool | None, bool | None]]] = {
    "source": ([match(payload("ip", "saddr"), A)], (True, True, True)),
    "not the source": ([match(payload("ip", "saddr"), A, "!=")], (False, False, False)),
    "prefix": ([match(payload("ip", "daddr"), {"prefix": {"addr": "192.0.2.0", "len": 24}})], (True, True, True)),
    "range": ([match(payload("ip", "saddr"), {"range": ["10.0.0.0", "10.0.0.9"]})], (True, True, True)),
    "anonymous set": ([match(payload("tcp", "dport"), {"set": [80, {"range": [8000, 8010]}]})], (True, False, False)),
    "named set": ([match(payload("ip", "saddr"), "@bad")], (True, True, True)),
    "a set that is not there": ([match(payload("ip", "saddr"), "@gone")], (None, None, None)),
    "either transport": ([match(payload("th", "dport"), 53)], (False, True, False)),
    "protocol": ([match({"meta": {"key": "l4proto"}}, "udp")], (False, True, False)),
    "ICMP": ([match(payload("icmp", "type"), "echo-request")], (False, False, True)),
    "flags": ([match({"&": [payload("tcp", "flags"), ["syn", "ack", "rst", "fin"]]}, "syn")], (True, False, False)),
    "state": ([match({"ct": {"key": "state"}}, ["new", "untracked"], "in")], (True, True, True)),
    "family": ([match({"meta": {"key": "nfproto"}}, "ipv6")], (False, False, False)),
    "interface": ([match({"meta": {"key": "iifname"}}, "eth0")], (None, None, None)),
    "mark": ([match({"meta": {"key": "mark"}}, 1)], (None, None, None)),
    "comparison": ([match(payload("tcp", "dport"), 100, "<")], (None, None, None)),
    "concatenation": ([match({"concat": [payload("ip", "saddr"), payload("tcp", "dport")]}, "@bad")], (None, None, None)),
    "something new": ([{"wormhole": {"to": "mars"}}], (None, None, None)),
    "log goes on": ([{"log": {"prefix": "x"}}, match(payload("ip", "saddr"), A)], (True, True, True)),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_rules(name: str) -> None:
    """Each expression is yes, no or unknown."""
    expressions, expected = RULES[name]
    verdicts = Simulator(read(ruleset(*expressions))).update(fp.batch([HTTP, DNS, PING]))
    found = [None if doubt else bool(drop) for drop, doubt in zip(verdicts.dropped, verdicts.doubtful)]

    assert tuple(found) == expected


@pytest.mark.parametrize(
    ("verdict", "dropped", "doubtful"),
    [({"accept": None}, False, False), ({"reject": {"type": "tcp reset"}}, True, False), ({"vmap": {}}, False, True), ({"queue": None}, False, True), ({"jump": {"target": "nowhere"}}, False, False)],
)  # fmt: skip
def test_verdicts(verdict: Any, dropped: bool, doubtful: bool) -> None:
    """Reject stops, verdict maps and queues may do either."""
    verdicts = Simulator(read(ruleset(verdict=verdict))).update(fp.batch([HTTP]))

    assert (bool(verdicts.dropped[0]), bool(verdicts.doubtful[0])) == (dropped, doubtful)


def test_chains() -> None:
    """Hook, priority, policy and family; nat and other families are noted."""
    program = read(ruleset())
    nat = read(ruleset(kind="nat"))
    arp = read(ruleset(family="arp"))

    assert [(b.hook, b.priority, b.policy, b.family) for b in program.bases] == [
        (Hook.FORWARD, 0, Verdict.ACCEPT, None)
    ]
    assert not nat.bases and "nat" in nat.notes[0]
    assert not arp.bases and "arp" in arp.notes[0]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"nftables": 7}', '{"nftables": [{"chain": {}}]}', '{"nftables": [{"rule": {"family": 1}}]}', "[" * 100_000, '{"nftables": [{"chain": []}]}', '{"nftables": [{"chain": null}]}'])  # fmt: skip
def test_broken_files(text: str) -> None:
    """One line, never a traceback: wrong shapes and JSON without end."""
    with pytest.raises(ReadError, match=r"^x: ") as caught:
        read(text, "x")
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.sampled_from(["inet", "t", "c", "drop", "@bad", "saddr", "ip", A, "==", "in", "tcp", "dport", "state", ""]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["match", "left", "right", "op", "payload", "meta", "key", "ct", "protocol", "field", "set", "elem", "val", "&", "range", "prefix", "addr", "len", "limit", "rate", "per", "burst", "jump", "target", "drop", "concat"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=120)
@given(st.lists(JSON, max_size=4), JSON, JSON)
def test_any_json_is_a_program_or_one_error(expressions: list[Any], chain: Any, rule: Any) -> None:
    """Whatever stands where an expression is expected: unknown, or one error; what was read can be run."""
    good = json.loads(ruleset())["nftables"]
    good[-1]["rule"]["expr"] = expressions
    for items in (good, [*good, {"chain": chain}, {"rule": rule}]):
        try:
            program = read(json.dumps({"nftables": items}), "x")
        except ReadError:
            continue
        Simulator(program).update(fp.batch([HTTP]))
