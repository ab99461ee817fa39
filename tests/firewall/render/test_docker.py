"""The script for Docker's own chain: hooked in front, never declared, and refused where it is missing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from firewall.files import render
from firewall.lower import lower
from firewall.rules import Action, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet

A = AddrSet.parse
RULE = Rule(
    Action.DROP, Match(src=A("203.0.113.9"), dst=A("192.0.2.1"), proto=6, dport=PortSet.of(80)), description="scan\n$(id)"
)  # fmt: skip


def script(*rules: Rule) -> str:
    """docker-user.sh of a policy that was made for a host."""
    return render(lower(Policy(rules or (RULE,), vantage=Vantage.HOST)), "docker").text


def test_docker_user_is_never_declared() -> None:
    """A chain that exists before Docker starts makes Docker skip its own jump: the host would be open."""
    text = script()

    assert ":DOCKER-USER" not in text and "-N DOCKER-USER" not in text and "-F DOCKER-USER" not in text
    assert "-I DOCKER-USER -j TAPWALL-DOCKER" in text


def test_published_ports_are_matched_as_the_client_sent_them() -> None:
    """Translation comes before the filter chain."""
    text = script()

    assert "--ctorigdst 192.0.2.1" in text and "--ctorigdstport 80" in text
    assert "--dport 80" not in text


def test_a_shell_reads_it_and_runs_nothing_of_the_capture() -> None:
    """It parses, and what a peer wrote stands in a quoted here-document only, in a small charset."""
    text = script()

    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    assert "$(id)" not in text
    assert all(m == "'TAPWALL_END'" for m in re.findall(r"<<(\S+)", text))
    assert [line for line in text.splitlines() if "scan" in line] == [
        line for line in text.splitlines() if line.startswith("-A TAPWALL-DOCKER") and "203.0.113.9" in line
    ]


@pytest.mark.parametrize("have", ["none", "both"])
def test_refuses_without_docker(tmp_path: Path, have: str) -> None:
    """Without the chain nothing is loaded and the exit code says so; with it the rules are loaded and hooked once."""
    log = tmp_path / "log"
    answer = 'case "$*" in *"-L DOCKER-USER"*) exit %d ;; *"-C DOCKER-USER"*) exit 1 ;; esac\nexit 0\n'
    for name in ("iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "ipset"):
        tool = tmp_path / name
        tool.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n' + answer % (1 if have == "none" else 0))
        tool.chmod(0o755)
    done = subprocess.run(
        ["sh"], input=script(), text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=False
    )
    calls = log.read_text()

    assert done.returncode == (1 if have == "none" else 0)
    assert ("iptables-restore" in calls) == (have == "both")
    assert calls.count("iptables -w -I DOCKER-USER -j TAPWALL-DOCKER") == (1 if have == "both" else 0)
