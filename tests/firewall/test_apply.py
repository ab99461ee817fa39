"""Loading and the way back, for real: in a namespace of one's own, byte for byte. Nothing outside it is touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import firewall_packets as fp
import pytest
from hypothesis import HealthCheck, given, settings

from firewall import apply, namespace
from firewall.errors import KernelError
from firewall.files import all_files
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}"),
    pytest.mark.skipif(
        bool(namespace.missing_tools(("iptables-restore", "nft", "ipset"))), reason="iptables, nft or ipset missing"
    ),
]
A = AddrSet.parse
POLICY = Policy(
    (
        Rule(Action.DROP, Match(src=A("203.0.113.9", "2001:db8::9"), proto=6, dport=PortSet.of(22)), Direction.IN, 3600, "a"),
        Rule(Action.DROP, Match(src=A(*(f"198.51.100.{n}" for n in range(1, 60, 2)))), Direction.IN, 3600, "b"),
        Rule(Action.REJECT, Match(dst=A("203.0.113.0/24")), Direction.OUT),
    ),
    vantage=Vantage.HOST,
    created=2_000_000_000,
)  # fmt: skip
OTHER = Policy((Rule(Action.DROP, Match(src=A("192.0.2.1")), Direction.IN),), vantage=Vantage.HOST)
SAVING = [["iptables-save"], ["ip6tables-save"], ["nft", "list", "ruleset"], ["ipset", "save"]]
# somebody's own rules, chains, sets and tables, in both dialects
FOREIGN = [
    {"argv": ["ipset", "restore"], "input": "create mine hash:net\nadd mine 10.9.0.0/16\n"},
    {"argv": ["iptables-restore"], "input": "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:MINE - [0:0]\n-A INPUT -j MINE\n-A MINE -m set --match-set mine src -j DROP\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth9 -j MASQUERADE\nCOMMIT\n"},
    {"argv": ["nft", "-f", "-"], "input": "table inet mine {\n chain c {\n  type filter hook input priority 5\n  ip saddr 10.8.0.0/16 drop\n }\n}\n"},
]  # fmt: skip


def write(folder: Path, policy: Policy = POLICY) -> Path:
    """The files of a policy."""
    apply.write_files(all_files(policy)[0], folder)
    return folder


def shell(folder: Path, script: str, backend: str, *, confirm_s: int = 0, answer: str = "", **step: Any) -> dict[str, Any]:  # fmt: skip
    """A script of the folder as a step inside the namespace."""
    words = [f"TAPWALL_STATE={folder / 'state'}", f"TAPWALL_BACKEND={backend}", f"TAPWALL_CONFIRM_S={confirm_s}"]
    return {"argv": ["env", *words, "sh", str(folder / script)], "input": answer, **step}


def saves() -> list[dict[str, Any]]:
    return [{"argv": argv, "may_fail": True} for argv in SAVING]


def run(*steps: Any) -> list[dict[str, Any]]:
    """All steps in one fresh namespace; their answers."""
    return list(namespace.run([s for part in steps for s in (part if isinstance(part, list) else [part])])["steps"])


def plain(answers: list[dict[str, Any]]) -> list[str]:
    """What was saved, without counters and the tools' own time stamps."""
    kept = []
    for answer in answers:
        lines = [line for line in answer["out"].splitlines() if not line.startswith("#")]
        kept.append("\n".join(re.sub(r"\[\d+:\d+\]|packets \d+ bytes \d+| expires \w+", "", line) for line in lines))
    return kept


def unordered(answers: list[dict[str, Any]]) -> list[list[str]]:
    """The same with lines sorted: nft lists chains in the order in which they were made."""
    return [sorted(text.splitlines()) for text in plain(answers)]


@pytest.mark.parametrize("backend", ["iptables", "nft"])
@pytest.mark.parametrize("foreign", [True, False], ids=["beside others", "alone"])
def test_undo_restores_byte_for_byte(tmp_path: Path, backend: str, foreign: bool) -> None:
    """What iptables-save, ip6tables-save, nft and ipset print is the same before and after."""
    folder = write(tmp_path)
    answers = run(
        FOREIGN if foreign else [], saves(), shell(folder, "apply.sh", backend), saves(), shell(folder, "undo.sh", backend), saves()
    )  # fmt: skip
    skip = len(FOREIGN) if foreign else 0
    before, during, after = plain(answers[skip : skip + 4]), plain(answers[skip + 5 : skip + 9]), plain(answers[skip + 10 :])  # fmt: skip

    assert answers[skip + 4]["rc"] == 0 and answers[skip + 9]["rc"] == 0
    assert before != during and "203.0.113" in "".join(during)
    assert after == before


@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_applying_twice_is_applying_once(tmp_path: Path, backend: str) -> None:
    """No rule, jump or set stands twice."""
    folder = write(tmp_path)
    answers = run(FOREIGN, shell(folder, "apply.sh", backend), saves(), shell(folder, "apply.sh", backend), saves())

    assert plain(answers[4:8]) == plain(answers[9:13])


@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_anything_but_yes_goes_back(tmp_path: Path, backend: str) -> None:
    """To the rules of ours that stood before, not to none."""
    old, new = write(tmp_path / "old", OTHER), write(tmp_path / "new")
    answers = run(
        shell(old, "apply.sh", backend), saves(), shell(new, "apply.sh", backend, confirm_s=60, answer="yes please\n", may_fail=True), saves()
    )  # fmt: skip

    assert answers[5]["rc"] == 1 and "not confirmed" in answers[5]["err"]
    assert unordered(answers[6:10]) == unordered(answers[1:5])
    assert plain(answers[6:8]) == plain(answers[1:3])


def test_yes_keeps(tmp_path: Path) -> None:
    """Confirmed in time, the timer finds the mark and does nothing."""
    folder = write(tmp_path)
    answers = run(shell(folder, "apply.sh", "iptables", confirm_s=1, answer="yes\n"), {"argv": ["sleep", "2"]}, saves())

    assert answers[0]["rc"] == 0 and "kept" in answers[0]["err"]
    assert "TAPWALL-IN" in answers[2]["out"]


@pytest.mark.parametrize(("backend", "hangup"), [("iptables", True), ("nft", False)], ids=["hangup", "end of input"])
def test_nobody_answers(tmp_path: Path, backend: str, hangup: bool) -> None:
    """A connection that was lost, with a hangup or without: the timer, in a session of its own, brings the old rules back."""
    folder = write(tmp_path)
    lost = shell(folder, "apply.sh", backend, confirm_s=2 if hangup else 1, may_fail=True)
    if hangup:  # an open terminal that says nothing, then is gone
        line = 'mkfifo "$0"; sleep 9 >"$0" 2>/dev/null & timeout -s HUP 1 "$@" <"$0"; exit 1'
        lost["argv"] = ["sh", "-c", line, str(folder / "terminal"), *lost["argv"]]
    answers = run(FOREIGN, saves(), lost, saves(), {"argv": ["sleep", "3"]}, saves())

    assert plain(answers[8:12]) != plain(answers[3:7])
    assert plain(answers[13:17]) == plain(answers[3:7])


def test_what_does_not_load_changes_nothing(tmp_path: Path) -> None:
    """The test load in a namespace fails first; what stands is untouched."""
    folder = write(tmp_path)
    (folder / "rules.v4").write_text("*filter\n:TAPWALL-IN - [0:0]\n-A TAPWALL-IN -j NOWHERE\nCOMMIT\n")
    answers = run(FOREIGN, saves(), shell(folder, "apply.sh", "iptables", may_fail=True), saves())

    assert answers[7]["rc"] == 1 and "nothing was changed" in answers[7]["err"]
    assert plain(answers[8:12]) == plain(answers[3:7])


def test_half_a_load_goes_back(tmp_path: Path) -> None:
    """Where the second family fails after the first was loaded, the first goes as well."""
    folder = write(tmp_path)
    script = (folder / "apply.sh").read_text().replace("if unshare -n true", "if false")
    (folder / "apply.sh").write_text(script)
    (folder / "rules.v6").write_text("*filter\n-A TAPWALL-IN -j NOWHERE\nCOMMIT\n")
    answers = run(FOREIGN, saves(), shell(folder, "apply.sh", "iptables", may_fail=True), saves())

    assert answers[7]["rc"] == 1 and "going back" in answers[7]["err"]
    assert plain(answers[8:12]) == plain(answers[3:7])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["iptables", "nft"])
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(policy=fp.policies(states=True))
def test_any_policy_goes_without_trace(tmp_path_factory: pytest.TempPathFactory, backend: str, policy: Policy) -> None:
    """Applied twice and undone, whatever the policy."""
    folder = write(tmp_path_factory.mktemp("rules"), policy)
    answers = run(
        FOREIGN, saves(), shell(folder, "apply.sh", backend), saves(), shell(folder, "apply.sh", backend), saves(),
        shell(folder, "undo.sh", backend), saves(),
    )  # fmt: skip

    assert plain(answers[8:12]) == plain(answers[13:17])
    assert plain(answers[18:22]) == plain(answers[3:7])


@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_diff_is_of_meaning_not_of_spelling(backend: str) -> None:
    """The kernel's own print of the same policy is no difference; another policy is, rule by rule."""
    loaded = "\n".join(apply.normalised(POLICY, backend))
    if backend == "iptables":
        loaded = "*filter\n" + loaded + "\nCOMMIT\n"

    assert apply.diff(POLICY, backend, loaded) == []
    assert any(line.startswith("-") and "203.0.113" in line for line in apply.diff(OTHER, backend, loaded))


def test_try_load_names_what_the_kernel_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is one line."""
    files, problems = all_files(POLICY)
    monkeypatch.setattr(apply, "all_files", lambda policy: ({**files, "rules.v4": "*filter\n-A X -j NOWHERE\nCOMMIT\n"}, problems))  # fmt: skip
    with pytest.raises(KernelError, match="test load: ") as caught:
        apply.try_load(POLICY, "iptables")
    assert "\n" not in str(caught.value)


def test_dockers_chain(tmp_path: Path) -> None:
    """The script loads in front of Docker's own rules, twice is once, undo leaves Docker's chain as it was."""
    one, two = A("192.0.2.1"), A("192.0.2.1", "192.0.2.7")
    rules = (
        Rule(Action.DROP, Match(src=A("203.0.113.9"), dst=two, proto=6, dport=PortSet.parse("80,443,8000-8010")), ttl_s=60),
        Rule(Action.DROP, Match(src=A("203.0.113.10"), dst=one, negate=frozenset({"dst"}))),
        Rule(Action.DROP, Match(src=A("2001:db8::9"), proto=17)),
    )  # fmt: skip
    folder = write(tmp_path, Policy(rules, vantage=Vantage.DOCKER, created=2_000_000_000))
    docker = [{"argv": [f"{command}-restore"], "input": "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\nCOMMIT\n"} for command in ("iptables", "ip6tables")]  # fmt: skip
    script = {"argv": ["sh", str(folder / "docker-user.sh")]}
    answers = run(docker, saves(), script, saves(), script, saves(), shell(folder, "undo.sh", "iptables"), saves())

    assert [a["err"] for a in answers if a["rc"]] == []
    loaded = plain(answers[7:11])
    assert "-A DOCKER-USER -j TAPWALL-DOCKER\n-A DOCKER-USER -j RETURN" in loaded[0]
    assert loaded[0].count("--ctorigdst ") == 7  # two addresses by three ports or ranges, and the negated one
    assert plain(answers[12:16]) == loaded
    assert plain(answers[17:21]) == plain(answers[2:6])
