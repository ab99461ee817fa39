"""The capture that the project began from: no content network is blocked, the author's rules are dead, containment holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from firewall import namespace
from firewall.shared import operator
from tapwall.rules_cli import rules

SEED = Path(__file__).parents[3] / "shared" / "captures" / "seed" / "home-wifi-45s.pcapng"
pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(not SEED.exists(), reason="no ../shared/captures/seed")]

# "DROP any -> 192.168.178.25 TCP 443" and "PERMIT 192.168.178.0/24 -> any TCP 80", as the author of the report wrote them
AUTHORS = """*filter
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -d 192.168.178.25/32 -p tcp -m tcp --dport 443 -j DROP
-A OUTPUT -s 192.168.178.0/24 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
"""


def run(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(rules, [str(SEED), *(str(w) for w in words), "--json"])
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_no_content_network_is_blocked() -> None:
    """Browsing is advice at most: no block at all, and none of an address that many share."""
    found = run("--permit", "192.168.178.0/24", "--no-proof")
    blocks = [r for r in found["policy"]["rules"] if r["action"] in ("DROP", "REJECT")]

    assert blocks == []
    assert found["replay"]["dropped"] == 0
    assert operator("172.64.144.52") == "Cloudflare"  # the download of second 31


def test_the_authors_rules_are_dead(tmp_path: Path) -> None:
    """Both, replayed over the capture, with the capture's own numbers: 443 is the remote port, port 80 is absent."""
    saved = tmp_path / "author.v4"
    saved.write_text(AUTHORS)
    other = run("--permit", "192.168.178.0/24", "--no-proof", "--compare", saved)["compared"][str(saved)]

    assert (other["packets"], other["dropped"], [r["hits"] for r in other["rules"]]) == (1163, 0, [0, 0])
    assert "443 is the remote port here: 190 packets come from port 443, none go to it" in other["dead_rules"][0]["why"]
    assert "no packet of this capture has destination port 80" in other["dead_rules"][1]["why"]


@pytest.mark.root
@pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
def test_containment_is_proved() -> None:
    """What would really contain the host: it is cut off both ways but for DNS and its like, and the kernel agrees."""
    found = run("--permit", "192.168.178.0/24", "--contain", "192.168.178.25")
    drops = [r for r in found["policy"]["rules"] if r["action"] == "DROP"]
    proof = found["proof"]

    assert {(r["source"], r["destination"]) for r in drops} == {("192.168.178.25", None), (None, "192.168.178.25")}
    assert found["replay"]["dropped"] == sum(r["hits"] for r in drops) > 1000
    assert (proof["available"], proof["equal"], proof["different"]) == (True, proof["rules"], [])
