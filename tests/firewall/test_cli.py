"""The commands as a person runs them: exit codes, JSON of the contract, one line for what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import firewall_packets as fp
import pytest
from click.testing import CliRunner, Result

from firewall import namespace
from firewall.cli import FORMATS, cli

POLICY = """version = 1
vantage = "router"
[[rule]]
action = "DROP"
source = ["203.0.113.9"]
protocol = "tcp"
port = 22
description = "guesses"
"""
SHADOWED = POLICY + '[[rule]]\naction = "PERMIT"\nsource = ["203.0.113.9"]\nprotocol = "tcp"\nport = "22"\ntcp_flags = "SYN/SYN"\n'  # fmt: skip
CUTTING = POLICY + '[[protected]]\nname = "management session"\nsource = ["203.0.113.9"]\nprotocol = "tcp"\n'
SAVED = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 203.0.113.9/32 -j DROP\n-A FORWARD -m geoip --source-country XX -j DROP\nCOMMIT\n"  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a policy, its flawed forms, saved rules and a capture."""
    for name, text in (("policy.toml", POLICY), ("shadowed.toml", SHADOWED), ("cutting.toml", CUTTING), ("saved.v4", SAVED)):  # fmt: skip
        (tmp_path / name).write_text(text)
    packets = fp.talk("203.0.113.9", 1024, "192.168.1.5", 22) + fp.talk("192.168.1.5", 2000, "198.51.100.7", 443)
    (tmp_path / "c.pcap").write_bytes(fp.pcap(packets))
    return tmp_path


def run(*words: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], input=stdin)


def as_json(result: Result) -> Any:
    assert result.stderr == "" or result.stdout.startswith("{")
    return json.loads(result.stdout)


def test_replay(files: Path) -> None:
    """Counters of a policy, and the contract's keys."""
    found = as_json(run("replay", files / "policy.toml", files / "c.pcap", "--json"))

    assert (found["packets"], found["dropped"], found["prevented_conversations"], found["unknown"]) == (22, 6, 1, 0)
    assert [r["hits"] for r in found["rules"]] == [6]


def test_replay_of_foreign_rules(files: Path) -> None:
    """What the model does not know is unknown, not "no match"."""
    found = as_json(run("replay", files / "saved.v4", files / "c.pcap", "--json", "--no-findings", "--host", "10.0.0.1"))  # fmt: skip
    forwarded = as_json(run("replay", "-", files / "c.pcap", "--json", "--no-findings", stdin=SAVED.replace("FORWARD", "INPUT")))  # fmt: skip

    assert found["dropped"] == 0 and found["ways"]["elsewhere"] == 22
    assert forwarded["dropped"] == 6 and forwarded["unknown"] > 0


def test_replay_in_words(files: Path) -> None:
    """A line a rule on stdout, talk on stderr."""
    result = run("replay", files / "policy.toml", files / "c.pcap")

    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1 and "\t6\t" in result.stdout
    assert "22 packets: 6 dropped" in result.stderr


@pytest.mark.parametrize(("name", "code", "words"), [("policy.toml", 0, ""), ("shadowed.toml", 1, "shadowing"), ("cutting.toml", 1, "would cut management session")])  # fmt: skip
def test_check(files: Path, name: str, code: int, words: str) -> None:
    """0 where nothing is wrong, 1 for a rule that is never reached or would lock out."""
    result = run("check", files / name)

    assert result.exit_code == code
    assert words in result.stdout


def test_check_as_json(files: Path) -> None:
    """Anomalies and cuts as rows."""
    found = as_json(run("check", files / "shadowed.toml", "--json"))

    assert [a["kind"] for a in found["anomalies"]] == ["shadowing"]
    assert found["cuts"] == [] and found["rules"] == 2


@pytest.mark.parametrize("form", FORMATS)
def test_render(files: Path, form: str) -> None:
    """Every format is text on stdout that ends in a newline; the rule's reason stands in it."""
    result = run("render", files / "policy.toml", "--to", form)

    assert result.exit_code == 0, result.stderr
    if form == "ipset":
        assert result.stdout == ""  # no list is long enough for a set
    elif form == "ip6tables":
        assert "guesses" not in result.stdout and "COMMIT" in result.stdout
    else:
        assert "guesses" in result.stdout and result.stdout.endswith("\n")


def test_render_again_is_the_same(files: Path) -> None:
    """Written as TOML and read back: the same rules."""
    text = run("render", files / "policy.toml", "--to", "toml").stdout
    (files / "again.toml").write_text(text)

    assert run("render", files / "again.toml", "--to", "toml").stdout == text


def test_a_rule_without_place_is_an_error(files: Path) -> None:
    """A format that leaves a rule out exits 2 and names it."""
    (files / "lost.toml").write_text(POLICY.replace('"router"', '"host"') + 'direction = "forward"\n')
    result = run("render", files / "lost.toml", "--to", "nftables")

    assert result.exit_code == 2 and "no chain at vantage host" in result.stderr


BAD: dict[str, tuple[str, ...]] = {
    "no file": ("check", "nowhere.toml"), "not rules": ("check", "c.pcap"), "foreign where ours is needed": ("check", "saved.v4"), "no capture": ("replay", "policy.toml", "nowhere.pcap"),
    "rules as capture": ("replay", "policy.toml", "policy.toml"), "capture from stdin": ("replay", "policy.toml", "-"), "bad host": ("replay", "policy.toml", "c.pcap", "--host", "nonsense"),
    "bad duration": ("apply", "policy.toml", "--confirm-within", "soon"), "a folder": ("check", "."), "cuts what is protected": ("apply", "cutting.toml"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(files: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, nothing on stdout."""
    monkeypatch.chdir(files)
    result = run(*BAD[name])

    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1 and result.stderr.startswith("tapwall: ")


def test_hostile_names_are_shown_not_sent(files: Path) -> None:
    """A file name or rule text with an escape sequence is printed as text."""
    result = run("check", files / "no\x1b]0;owned\x07.toml")
    rules = '*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m comment --comment "\x1b[31m\u202e" -j DROP\nCOMMIT\n'
    shown = run("replay", "-", files / "c.pcap", "--no-findings", stdin=rules.encode())

    assert "\x1b" not in result.stderr
    assert shown.exit_code == 0 and not {"\x1b", "\u202e"} & set(shown.stdout + shown.stderr)


@pytest.mark.root
@pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
def test_prove(files: Path) -> None:
    """The kernel agrees: exit 0, and the contract's keys."""
    result = run("prove", files / "policy.toml", files / "c.pcap", "--json")
    found = as_json(result)

    assert result.exit_code == 0
    assert (found["available"], found["equal"], found["rules"], found["different"]) == (True, 1, 1, [])
    assert {"reason", "packets"} <= set(found)


def test_prove_where_it_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, claims nothing, and is no failure of the rules."""
    monkeypatch.setattr(namespace, "refused", lambda: "refused here")
    result = run("prove", files / "policy.toml", files / "c.pcap")

    assert result.exit_code == 0
    assert "simulated only: refused here" in result.stderr and result.stdout == ""


def test_debug_shows_the_traceback(files: Path) -> None:
    """--debug lets the error through."""
    assert isinstance(run("check", files / "saved.v4", "--debug").exception, Exception)
    assert not isinstance(run("check", files / "saved.v4", "--debug").exception, SystemExit)
