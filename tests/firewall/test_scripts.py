"""The scripts parse, hold nothing of a capture or a policy, and name our own chains only."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from firewall.lower import CHAINS
from firewall.rules import Vantage
from firewall.scripts import CONFIRM_S, PREFIX, apply_sh, undo_sh

SCRIPTS = {
    f"{name} {vantage.value}": make(vantage)
    for name, make in (("apply", apply_sh), ("undo", undo_sh))
    for vantage in Vantage
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_can_read_it(name: str) -> None:
    """POSIX syntax, in every vantage."""
    subprocess.run(["sh", "-n"], input=SCRIPTS[name], text=True, check=True, capture_output=True)
    if shutil.which("dash"):
        subprocess.run(["dash", "-n"], input=SCRIPTS[name], text=True, check=True, capture_output=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_table_of_others_is_flushed(name: str) -> None:
    """Chains are flushed and deleted by name, one by one; no whole table, no policy, no full restore."""
    text = SCRIPTS[name]

    assert not re.search(r"iptables(-w)? -F\s*$|-P (INPUT|FORWARD|OUTPUT)|flush ruleset|ipset (flush|destroy)\s*$", text, re.M)  # fmt: skip
    assert all(" -n" in line for line in text.splitlines() if "tables-restore" in line and "<" in line)
    assert "delete table inet tapwall" in text


@pytest.mark.parametrize("vantage", Vantage)
def test_hooks_are_of_this_vantage(vantage: Vantage) -> None:
    """Each base chain once, with the chain that serves it; in front of containers Docker's chain for users."""
    hooks = re.search(r"^hooks='(.*)'$", apply_sh(vantage), re.M)

    assert hooks is not None
    pairs = [pair.split(":") for pair in hooks[1].split()]
    assert {chain for _, chain in pairs} == {chain for chain, _, _ in CHAINS[vantage]}
    assert all(chain.startswith(PREFIX) for _, chain in pairs)
    assert ("DOCKER-USER" in {base for base, _ in pairs}) == (vantage is Vantage.DOCKER)


def test_the_way_back_is_armed_before_the_load() -> None:
    """In a session of its own, so that a lost connection does not end it."""
    text = apply_sh(Vantage.HOST)

    assert text.index("setsid") < text.index('if ! load "$here" hook')
    assert f"TAPWALL_CONFIRM_S:-{CONFIRM_S}" in text
