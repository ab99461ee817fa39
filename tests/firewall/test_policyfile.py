"""policy.toml: what is written is read back; what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import firewall_packets as fp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.errors import ReadError
from firewall.lower import lower
from firewall.policyfile import RULE, TOP, read, write
from firewall.rules import Action, Evidence, Match, Policy, Protected, Rate, Rule, Vantage, icmp_set
from firewall.sets import AddrSet, PortSet

WRONG = {
    "not TOML": "[[rule",
    "unknown key": '[[rule]]\naction = "DROP"\nsorce = ["10.0.0.1"]',
    "no action": '[[rule]]\nsource = ["10.0.0.1"]',
    "unknown action": '[[rule]]\naction = "BAN"',
    "reversed port range": '[[rule]]\naction = "DROP"\nprotocol = "tcp"\nport = "90-80"',
    "empty source": '[[rule]]\naction = "DROP"\nsource = []',
    "boolean ttl": '[[rule]]\naction = "DROP"\nttl_s = true',
    "octal": '[[rule]]\naction = "DROP"\nsource = ["010.0.0.1"]',
    "next version": "version = 2",
    "rule is no table": "rule = 3",
    "same rule twice": '[[rule]]\naction = "DROP"\n[[rule]]\naction = "DROP"',
}


@settings(deadline=None, max_examples=40)
@given(fp.policies(states=True))
def test_round_trip(policy: Policy) -> None:
    """Any policy is the same after writing and reading, descriptions from hell included."""
    assert read(write(policy)) == policy


def test_round_trip_of_everything() -> None:
    """Every field there is."""
    rate = Rate(10, 60, 20, False, ("src", "dport"))
    match = Match(
        AddrSet.parse("10.0.0.0/8"), AddrSet.parse("192.0.2.1"), 6, PortSet.parse("1-5"), PortSet.parse("80,443"), None, (18, 2),
        frozenset({"NEW"}), "eth+", "wg0", rate, frozenset({"src", "sport"}),
    )  # fmt: skip
    evidence = Evidence("scan-1", "port_scan", "high", 0.75, (1, 2), 'a "quote" \\ \u202e \x1b[31m \U0001f525')
    shield = Protected("DNS", Match(proto=17, dport=PortSet.of(53)), True)
    policy = Policy(
        (Rule(Action.LOG, match, ttl_s=9, description="x\ny", evidence=(evidence,)), Rule(Action.DROP, Match(proto=1, icmp=icmp_set("3/4,8")))),
        Action.DROP, Vantage.DOCKER, AddrSet.parse("10.0.0.1"), AddrSet.parse("::/0"), AddrSet.parse("10.0.0.7"), (shield,), 1_790_000_000, True,
    )  # fmt: skip
    text = write(policy)

    assert read(text) == policy
    assert text.isascii() and "\x1b" not in text


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_one_line(name: str) -> None:
    """The message names the file and is one line."""
    with pytest.raises(ReadError) as caught:
        read(WRONG[name], "p.toml")

    assert str(caught.value).startswith("p.toml: ")
    assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.sampled_from(["DROP", "tcp", "10.0.0.1", "10.0.0.0/8", "010.0.0.1", "80", "80-1", "in", "SYN/SYN", "NEW", "eth0; reboot", "\x1b[31m", "", "x" * 300])
    | st.integers(-1, 2**40) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["packets", "per_s", "burst", "key", "finding", "frames"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
KEYS = sorted(RULE | TOP | {"name", "exempt", "nonsense"})


def toml(value: Any) -> str:
    """A TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return json.dumps(value)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(["rule", "protected", "rule.evidence"]), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)), max_size=4))  # fmt: skip
def test_any_toml_is_a_policy_or_one_line(tables: list[tuple[str, dict[str, Any]]]) -> None:
    """Keys and values of any kind, wherever they stand: a policy, or one line that names file and place."""
    text = "\n".join("\n".join([f"[[{name}]]", *(f"{k} = {toml(v)}" for k, v in row.items())]) for name, row in tables)
    try:
        policy = read(text, "x.toml")
    except ReadError as error:
        assert str(error).startswith("x.toml: ") and "\n" not in str(error)
        return
    lower(policy)
