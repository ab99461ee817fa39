"""`tapwall rules` from a capture to files: table, JSON of the contract, proof, and what cannot be used."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import firewall_packets as fp
import pytest
from click.testing import CliRunner, Result

from firewall import namespace
from tapwall.rules_cli import rules

ROOT = Path(__file__).parents[2]
ME, BAD, FRIEND = "192.168.1.5", "203.0.113.9", "198.51.100.7"
FILES = {"policy.toml", "rules.v4", "rules.v6", "rules.nft", "docker-user.sh", "apply.sh", "undo.sh", "report.html", "report.md"}  # fmt: skip


def scan() -> bytes:
    """A port scan of one host from outside, beside somebody's browsing."""
    packets = [p for port in range(1, 400) for p in (fp.tcp(BAD, 40000 + port, ME, port), fp.tcp(ME, port, BAD, 40000 + port, fp.RST | fp.ACK))]  # fmt: skip
    return fp.pcap(packets + [p for n in range(20) for p in fp.talk(ME, 2000 + n, FRIEND, 443)])


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """The scan as a file."""
    path = tmp_path / "scan.pcap"
    path.write_bytes(scan())
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(rules, [str(word) for word in words])


def data(*words: object) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_scanner_is_blocked_without_collateral(capture: Path) -> None:
    """Finding, narrowest rule, replay: all of it stopped, nobody else met."""
    found = data(capture, "--no-proof")
    drops = [r for r in found["policy"]["rules"] if r["action"] == "DROP"]
    stopped = {f["id"]: f for f in found["replay"]["findings"]}

    assert [(r["source"], r["destination"], r["collateral"], r["ttl_s"]) for r in drops] == [(BAD, ME, 0, 86400)]
    assert all(stopped[f]["stopped"] == stopped[f]["packets"] > 700 for r in drops for f in r["findings"])
    assert found["proof"] is None


def test_keys_of_the_contract(capture: Path) -> None:
    """outputs.md: policy, replay, anomalies, proof, files."""
    found = data(capture, "--no-proof", "--vantage", "router", "--ttl", "1h")

    assert {"policy", "replay", "anomalies", "proof", "files"} <= set(found)
    assert {r["ttl_s"] for r in found["policy"]["rules"] if r["action"] == "DROP"} == {3600}
    assert found["policy"]["vantage"] == "router" and found["vantage_why"] == "as asked"
    assert set(found["files"]) == FILES - {"report.html", "report.md"}


def test_all_files(capture: Path, tmp_path: Path) -> None:
    """-o writes every file of the contract; scripts can be run; the page has the table and no script of a peer."""
    result = run(capture, "--no-proof", "-o", tmp_path / "out")
    folder = tmp_path / "out"

    assert result.exit_code == 0
    assert {path.name for path in folder.iterdir()} >= FILES
    assert all((folder / name).stat().st_mode & 0o100 for name in ("apply.sh", "undo.sh", "docker-user.sh"))
    assert BAD in (folder / "report.html").read_text() and BAD in (folder / "report.md").read_text()


def test_a_table_for_people(capture: Path) -> None:
    """Tab-separated where nobody looks, columns of the contract first; what else matters on stderr."""
    result = run(capture, "--no-proof")
    head, first = result.stdout.splitlines()[:2]

    assert head.split("\t")[:6] == ["Action", "Source IP", "Destination IP", "Protocol", "Port", "Description"]
    assert first.split("\t")[:3] == ["DROP", BAD, ME]
    assert "vantage: host (derived" in result.stderr and "simulated only" in result.stderr


@pytest.mark.parametrize(("name", "blocked"), [("office-quiet.pcap", False), ("office-intruder.pcap", True)])
def test_our_own_captures(name: str, blocked: bool) -> None:
    """An office as every day gets no block; the one with the intruder does, and every blocked finding is stopped."""
    found = data(ROOT / "captures" / name, "--no-proof")
    drops = [r for r in found["policy"]["rules"] if r["action"] == "DROP"]
    called = {f for r in drops for f in r["findings"]}

    assert bool(drops) == blocked
    assert all(f["stopped"] >= 0.95 * f["packets"] for f in found["replay"]["findings"] if f["id"] in called)


def test_permit_and_contain(capture: Path) -> None:
    """A permitted network is never blocked; a contained host is cut off both ways."""
    permitted = data(capture, "--no-proof", "--permit", "203.0.113.0/24")
    contained = data(capture, "--no-proof", "--contain", ME)

    assert not [r for r in permitted["policy"]["rules"] if r["action"] == "DROP"]
    assert [r["source"] for r in permitted["policy"]["rules"] if r["action"] == "PERMIT"] == ["203.0.113.0/24"]
    assert [r["description"] for r in contained["policy"]["rules"] if r["action"] == "DROP"] == [f"contain {ME}: from it", f"contain {ME}: to it"]  # fmt: skip


def test_other_rules_beside_ours(capture: Path, tmp_path: Path) -> None:
    """--compare replays somebody's rules over the same capture and says why one is dead."""
    saved = tmp_path / "saved.v4"
    saved.write_text(f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d {ME}/32 -p tcp -m tcp --dport 443 -j DROP\n-A INPUT -s {FRIEND}/32 -p tcp -m tcp --dport 443 -j DROP\nCOMMIT\n")  # fmt: skip
    other = data(capture, "--no-proof", "--compare", saved)["compared"][str(saved)]

    assert other["packets"] == 399 * 2 + 220
    assert [r["hits"] for r in other["rules"]] == [0, 0]
    assert "443 is the remote port here" in other["dead_rules"][1]["why"]


@pytest.mark.root
@pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
def test_proved(capture: Path) -> None:
    """Every rule equal in both dialects."""
    proof = data(capture)["proof"]

    assert (proof["available"], proof["different"]) == (True, [])
    assert proof["equal"] == proof["rules"] >= 1


def test_simulated_only_where_no_namespace_is_to_be_had(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says what was not proved, and why."""
    monkeypatch.setattr(namespace, "refused", lambda: "user namespaces are refused here")
    result = run(capture)

    assert result.exit_code == 0
    assert "proof: simulated only (user namespaces are refused here)" in result.stderr


@pytest.mark.parametrize(
    "words",
    [("--permit", "10.0.0.1/8"), ("--contain", "everybody"), ("--protect", "10.0.0.1:0-99999"), ("--ttl", "forever"), ("--compare", "/nowhere"), ("--widen", "x/y")],
    ids=" ".join,
)  # fmt: skip
def test_impossible_options_are_one_line(capture: Path, words: tuple[str, str]) -> None:
    """Exit 2, one line, nothing on stdout."""
    result = run(capture, "--no-proof", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1


HOSTILE = b'GET /$(reboot)"\';drop|<script>alert(1)</script>\x1b]0;x\x07?q=../../../../etc/passwd HTTP/1.1\r\nHost: "};reboot\r\nUser-Agent: sqlmap/1.7 `id`\r\n\r\n'  # fmt: skip


def requests() -> bytes:
    """An attacker on a web server whose every string is meant for somebody's shell, rule file or browser."""
    packets = []
    for n in range(40):
        there, back = (BAD, 30000 + n, ME, 80), (ME, 80, BAD, 30000 + n)
        data_ = struct.pack(">HHIIBBHHH", 30000 + n, 80, 2, 2, 0x50, fp.PSH | fp.ACK, 1000, 0, 0) + HOSTILE
        packets += [fp.tcp(*there), fp.tcp(*back, fp.SYN | fp.ACK), fp.tcp(*there, fp.ACK), fp.ip(BAD, ME, 6, data_), fp.tcp(*back, fp.ACK)]  # fmt: skip
    return fp.pcap(packets)


def test_a_capture_smuggles_nothing(tmp_path: Path) -> None:
    """Rules, comments, scripts and pages hold no line, command, tag or escape sequence of the attacker's making."""
    path = tmp_path / 'x"; id; $(id) \x1b[31m.pcap'
    path.write_bytes(requests())
    out = tmp_path / "out"
    result = run(path, "--no-proof", "--severity", "info", "-o", out)

    assert result.exit_code == 0, result.stderr
    assert BAD in result.stdout
    assert not {"\x1b", "\x07"} & set(result.stdout + result.stderr)
    for name in ("rules.v4", "rules.v6", "rules.nft", "docker-user.sh", "apply.sh", "undo.sh"):
        text = (out / name).read_text()
        assert not re.search(r"\$\(reboot|`id`|<script|reboot\s*$|\x1b", text, re.M), name
        for line in text.splitlines():
            if BAD in line and "comment" in line:
                assert re.fullmatch(r"[A-Za-z0-9 ._:/-]*", line.split('"')[1]) and line.count('"') == 2, line
    assert "<script>alert(1)" not in (out / "report.html").read_text()
    assert not re.search(r"<script|\x1b", (out / "report.md").read_text())


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_capture_is_no_traceback(tmp_path: Path, damage: str) -> None:
    """Cut in the middle, random bytes between packets, nothing at all: rules for what can be read, or one line."""
    whole = scan()
    text = {"cut": whole[: len(whole) // 2 + 7], "noise": whole[:5000] + bytes(range(256)) * 8 + whole[5000:], "empty": b""}  # fmt: skip
    path = tmp_path / "damaged.pcap"
    path.write_bytes(text[damage])
    result = run(path, "--no-proof", "--json")

    assert result.exit_code in (0, 2), result.exception
    assert result.exit_code == 0 or len(result.stderr.strip().splitlines()) == 1


def test_the_guide_names_options_and_files_that_exist() -> None:
    """Every option, command and module of docs/rules.md is there."""
    from firewall.cli import cli as firewall

    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    commands = [rules, *firewall.commands.values()]
    known = {name for command in commands for parameter in command.params for name in parameter.opts}

    assert set(re.findall(r"`(--[a-z-]+)", text)) <= known
    assert set(re.findall(r"tapwall firewall (\w+)", text)) <= set(firewall.commands)
    assert [path for path in re.findall(r"`((?:firewall|bench)/\w+\.py)`", text) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--permit", "", "--permit: address: got ''"),
        ("--contain", "example.org", "--contain: address: got 'example.org'"),
        ("--protect", "10.0.0.1:0", "--protect: port: got '0', expected 1 to 65535"),
        ("--protect", "[::1", "--protect: address: got '[::1', expected [address]:port"),
        ("--protect", "[::1]80", "--protect: address: got '[::1]80', expected [address]:port"),
        ("--widen", "10.0.0.1/8", "--widen: address: got '10.0.0.1/8'"),
        ("--own", "fe80::1%eth0", "--own: address: got 'fe80::1%eth0'"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(option: str, value: str, words: str, capture: Path) -> None:
    """One line that says which option, and exit code 2."""
    result = run(capture, "--no-proof", option, value)

    assert (result.exit_code, words in result.stderr, result.stderr.count("\n")) == (2, True, 1), result.stderr


def test_lines_below_the_table_say_what_they_are_about(tmp_path: Path) -> None:
    """A finding by its title, and whom else a rule would have met by their addresses."""
    attack = [fp.tcp(BAD, 40000 + port, ME, port) for port in range(1, 400)]
    refusals = [fp.tcp(ME, port, BAD, 40000 + port, fp.RST | fp.ACK) for port in range(1, 400)]
    path = tmp_path / "both.pcap"
    path.write_bytes(fp.pcap([*attack, *refusals, *[p for n in range(20) for p in fp.talk(ME, 2000 + n, FRIEND, 443)]]))
    result = run(path, "--no-proof", "--severity", "critical", "--contain", FRIEND)

    assert f"({BAD} tried 399 TCP ports of {ME}" in result.stderr
    assert re.search(rf"collateral of DROP .*: 20 conversations of no finding: {re.escape(ME)} to {re.escape(FRIEND)} tcp 443", result.stderr)  # fmt: skip
    assert "and 17 more" in result.stderr


def test_the_page_says_what_became_no_rule_and_why(capture: Path, tmp_path: Path) -> None:
    """The notes below the table stand in report.html as in report.md."""
    result = run(capture, "--no-proof", "--severity", "critical", "-o", tmp_path / "rules")
    page = (tmp_path / "rules" / "report.html").read_text(encoding="utf-8")

    assert result.exit_code == 0
    assert "No rule is proposed; why not stands below." in page
    assert "watch: severity" in page and "is below critical" in page
