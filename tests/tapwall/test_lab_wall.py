"""The lab's wall: which proposals it takes, what it counts, and that nothing it counted is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tapwall.lab.run import Answer
from tapwall.lab.story import Story, read_story
from tapwall.lab.tally import Total, counters, restored
from tapwall.lab.wall import Wall, answers, blocks, rules_only, sources

SAVED = """*filter
:TAPWALL-IN - [0:0]
[1008:59724] -A INPUT -j TAPWALL-IN
[850:51000] -A TAPWALL-IN -s 10.0.0.4/32 -m comment --comment "tw-a0 10.0.0.4 tried 107 TCP ports" -j DROP
[6:416] -A TAPWALL-IN -s 10.0.0.6/32 -m comment --comment "tw-55 permitted" -j RETURN
[7:7] -A OTHER -s 10.0.0.6/32 -m comment --comment "not ours" -j DROP
"""


def test_counters_are_read_from_our_own_chains_only() -> None:
    """Rules of TAPWALL chains become rows; hooks and other people's chains do not."""
    assert counters(SAVED) == [
        {"rule": "tw-a0 10.0.0.4 tried 107 TCP ports", "action": "DROP", "packets": 850, "bytes": 51000},
        {"rule": "tw-55 permitted", "action": "PERMIT", "packets": 6, "bytes": 416},
    ]


def row(packets: int, text: str = "tw-a0 seen", action: str = "DROP") -> dict[str, Any]:
    """A counted rule of 60 bytes a packet."""
    return {"rule": text, "action": action, "packets": packets, "bytes": 60 * packets}


@pytest.mark.parametrize(
    ("reads", "packets"),
    [
        ([[row(5)], [row(9)]], 9),
        ([[row(9)], [row(2)]], 11),  # loaded again
        ([[row(9)], [], [row(2)]], 11),  # a new network, then the rules
        ([[row(9)], [row(2)], [row(1)]], 12),  # twice
        ([[row(9)], [row(12, "tw-a0 seen more often")]], 12),  # the description grew
    ],
)
def test_what_was_counted_once_stays_counted(reads: list[list[dict[str, Any]]], packets: int) -> None:
    """The total of a rule never shrinks, whatever happens to the kernel's own counter; also over a restart."""
    total = Total()
    for rows in reads:
        total.read(rows)
        total = restored(json.loads(json.dumps(total.to_json())))
    (counted,) = total.rows()

    assert (counted["packets"], counted["bytes"]) == (packets, 60 * packets)


def test_a_replaced_rule_keeps_its_line() -> None:
    """A rule that no longer stands is told with what it stopped."""
    total = Total()
    total.read([row(9)])
    total.read([row(1, "tw-b0 other")])

    assert [(one["rule"], one["packets"], one["stands"]) for one in total.rows()] == [
        ("tw-b0 other", 1, True),
        ("tw-a0 seen", 9, False),
    ]


@pytest.mark.parametrize(
    "text", ["null", "[]", '{"now": []}', '{"now": {"a": 1}}', '{"gone": {"a": {"packets": "x"}}}']
)
def test_totals_of_somebody_else_are_left_out(text: str) -> None:
    """A counters file that is not ours restores nothing."""
    assert restored(json.loads(text)).rows() == []


POLICY = '[[rule]]\nid = "tw-1"\naction = "DROP"\ndirection = "in"\nsource = ["10.0.0.4"]\n'


def test_the_same_rules_made_again_are_no_news() -> None:
    """Evidence and time of making do not count; another address does; a policy that only permits blocks nothing."""
    again = POLICY.replace("[[rule]]", "created = 7\n[[rule]]") + '[[rule.evidence]]\nfinding = "f"\n'

    assert rules_only(again) == rules_only(POLICY)
    assert rules_only(POLICY.replace("10.0.0.4", "10.0.0.5")) != rules_only(POLICY)
    assert not blocks(POLICY.replace("DROP", "PERMIT"))
    assert not blocks("not toml [")
    assert sources(rules_only(POLICY)) == {"10.0.0.4"}


class Commands:
    """Stands in for the product's commands: answers as told, and remembers what was run."""

    def __init__(self, **different: Any) -> None:
        self.proof: dict[str, Any] = {"available": True, "packets": 9, "rules": 1, "equal": 1, "different": []}
        self.proof["not_comparable"] = []
        self.proof |= different
        self.loaded = Answer(0, None, "rules are kept")
        self.ran: list[str] = []

    def __call__(self, *words: str, say: str = "") -> Answer:
        self.ran.append(words[1])
        if words[1] == "prove":
            return Answer(1 if self.proof["different"] else 0, self.proof, "")
        return self.loaded if words[1] == "apply" else Answer(0, None, "")


@pytest.fixture
def wall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wall:
    """A wall before its first look, with a proposal; the chat answers, the kernel counts nothing."""
    monkeypatch.setattr("tapwall.lab.wall.answers", lambda address: True)
    monkeypatch.setattr(Wall, "count", lambda self: None)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "policy.toml").write_text(POLICY)
    return Wall(tmp_path, tmp_path, Story(tmp_path, "wall"))


def said(wall: Wall) -> list[str]:
    """The lines that it told."""
    return [event["what"] for event in read_story(wall.report)]


def test_rules_are_proved_before_they_stand(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proof, then load, once; the same proposal again is left alone; the moment is marked once."""
    commands = Commands()
    monkeypatch.setattr("tapwall.lab.wall.tapwall", commands)
    wall.look()
    wall.look()

    assert commands.ran == ["prove", "apply"]
    assert [line.split(":")[0] for line in said(wall)] == ["proved", "the rules stand"]
    wall.policy.write_text(POLICY + POLICY.replace("10.0.0.4", "10.0.0.5").replace("tw-1", "tw-2"))
    wall.look()
    assert [event["mark"] for event in read_story(wall.report) if event["mark"]] == ["rules stand"]


def test_rules_that_count_differently_are_not_applied(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof that fails is told, and nothing is loaded."""
    commands = Commands(different=[{"rule": "tw-1"}], equal=0)
    monkeypatch.setattr("tapwall.lab.wall.tapwall", commands)
    wall.look()
    wall.look()

    assert commands.ran == ["prove"]
    assert said(wall) == ["not applied: 1 rules count differently in a kernel"]


def test_rules_with_a_rate_are_told_as_such(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that depends on the clock is neither equal nor different: it is named, and the rules may stand."""
    monkeypatch.setattr("tapwall.lab.wall.tapwall", Commands(rules=3, equal=2, not_comparable=["tw-2"]))
    wall.look()

    assert "2 of 3 rules equal" in said(wall)[0]
    assert "1 depend on the clock" in said(wall)[0]
    assert said(wall)[1].startswith("the rules stand")


def test_rules_behind_which_the_chat_is_silent_go_back(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """If people cannot be heard any more, the rules are undone."""
    commands = Commands()
    monkeypatch.setattr("tapwall.lab.wall.tapwall", commands)
    monkeypatch.setattr("tapwall.lab.wall.answers", lambda address: False)
    wall.look()

    assert commands.ran == ["prove", "apply", "undo"]
    assert wall.applied == ""


def test_a_proposal_that_blocks_less_changes_nothing(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked intruder shows nothing any more: that takes no rule away. One that blocks more is taken."""
    commands = Commands()
    monkeypatch.setattr("tapwall.lab.wall.tapwall", commands)
    wall.look()
    wall.policy.write_text(POLICY.replace("10.0.0.4", "10.0.0.5"))
    wall.look()
    wall.look()

    assert commands.ran == ["prove", "apply"]
    assert said(wall)[-1] == "keeps the rules that stand: the new proposal blocks less"
    wall.policy.write_text(POLICY + POLICY.replace("10.0.0.4", "10.0.0.5").replace("tw-1", "tw-2"))
    wall.look()
    assert commands.ran == ["prove", "apply", "prove", "apply"]


def test_a_first_proposal_is_watched(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hold is told and kept; a wall that was killed after its rules stood puts them up again at once."""
    commands = Commands()
    monkeypatch.setattr("tapwall.lab.wall.tapwall", commands)
    wall.hold_s = 60
    wall.look()
    assert commands.ran == []
    assert said(wall) == ["rules are proposed; watches for 60 s what they would stop"]

    wall.story.tell("earlier", mark="rules stand")
    Wall(wall.captures, wall.report, wall.story, hold_s=60).look()
    assert commands.ran == ["prove", "apply"]


def test_a_proof_that_did_not_come_about_is_tried_again(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that was rotated away while it was read is no verdict; the complaint is told once."""
    answers_ = [Answer(2, None, "no such file"), Answer(2, None, "no such file")]
    commands = Commands()
    monkeypatch.setattr(
        "tapwall.lab.wall.tapwall", lambda *words, **say: answers_.pop() if answers_ else commands(*words)
    )
    for _ in range(3):
        wall.look()

    assert commands.ran == ["prove", "apply"]
    assert [line.split(":")[0] for line in said(wall)] == ["no proof yet", "proved", "the rules stand"]


def test_a_port_without_listener_is_no_answer() -> None:
    """The chat is asked by a connection."""
    assert not answers(("127.0.0.1", 1), within_s=0)
