"""Rules made from the corpus: attacks are stopped without collateral, benign captures get no block at all.

What the figures count. A capture is *blockable* where a finding of severity medium or more has rules, i.e. where somebody
whom a packet filter can name is accountable (or a crowd of senders has one target). Its finding is *stopped* where at
least 95 % of its packets are dropped or belong to conversations whose first packet is. Its rules are *clean* where they
meet no conversation that no finding has to do with. Findings without a rule (ARP, shared addresses, tunnels through the
resolver, a machine that attacks itself) are counted beside, with the advice that they must have.
`python tests/acceptance/test_firewall_corpus.py` prints the table.
"""

from __future__ import annotations

import csv
import ipaddress
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from analysis.findings import Severity
from firewall.generate import Decisions
from tapwall.pipeline import make_rules

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"
pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(not CORPUS.exists(), reason="no ../shared/captures/corpus")]
ENOUGH = 0.95
CLEAN_SHARE = 0.90


@dataclass
class Outcome:
    """One capture: its findings of weight, and what its rules do."""

    file: str
    label: str
    blocks: int = 0
    packets: int = 0  # of findings with a rule
    stopped: int = 0
    collateral: int = 0
    external: bool = False  # somebody outside of all local networks is accountable
    advised: list[str] = field(default_factory=list)  # findings of weight without a rule, and why
    silent: list[str] = field(default_factory=list)  # … and without a word

    @property
    def good(self) -> bool:
        """Stopped and clean."""
        return self.stopped >= ENOUGH * self.packets and not self.collateral


def outcome(file: str, label: str) -> Outcome:
    """Make, replay and judge the rules of one capture."""
    result = make_rules([str(CORPUS / file)], Decisions(), created=1_900_000_000, with_proof=False)
    data = result.to_json()
    out = Outcome(file, label)
    called = set()
    for rule in data["policy"]["rules"]:
        if rule["action"] in ("DROP", "REJECT"):
            out.blocks += 1
            out.collateral += rule["collateral"]
            called |= set(rule["findings"])
    stops = {f["id"]: f for f in data["replay"]["findings"]}
    words = {note["finding"]: note["text"] for note in (*data["advice"], *data["refused"])}
    for finding in result.analysis.findings:
        if finding.severity < Severity.MEDIUM:
            continue
        if finding.id in called:
            out.packets += stops[finding.id]["packets"]
            out.stopped += stops[finding.id]["stopped"]
            out.external |= finding.accountable is None or is_external(finding.accountable.address)
        elif finding.id in words:
            out.advised.append(f"{finding.id}: {words[finding.id]}")
        else:
            out.silent.append(finding.id)
    return out


def is_external(address: str) -> bool:
    """True for an address outside of local networks."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


@cache
def outcomes(label: str) -> tuple[Outcome, ...]:
    """All captures whose label begins so."""
    with (CORPUS / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"].startswith(label)]
    return tuple(outcome(row["file"], row["label"]) for row in rows)


def test_benign_captures_get_no_block() -> None:
    """131 captures of ordinary protocols: not one DROP or REJECT."""
    found = outcomes("benign")

    assert len(found) >= 131
    assert [(o.file, o.blocks) for o in found if o.blocks] == []


def test_attacks_are_stopped_without_collateral() -> None:
    """Of the captures with an external attacker at least 90 % are stopped and clean; of all attacks as well."""
    blocked = [o for o in outcomes("attack") if o.blocks]
    external = [o for o in blocked if o.external]
    share = {name: sum(o.good for o in group) / len(group) for name, group in (("all", blocked), ("external", external))}  # fmt: skip

    assert len(blocked) >= 55 and len(external) >= 20
    assert min(share.values()) >= CLEAN_SHARE, (share, [o.file for o in blocked if not o.good])


def test_a_finding_without_a_rule_has_its_reason() -> None:
    """Advice or a refusal: a finding of weight never goes without a word."""
    assert [(o.file, o.silent) for o in (*outcomes("attack"), *outcomes("benign")) if o.silent] == []


def main() -> None:
    """Print the table."""
    for label in ("attack", "benign"):
        found = outcomes(label)
        blocked = [o for o in found if o.blocks]
        for o in found:
            if o.blocks or o.advised or o.silent:
                share = f"{100 * o.stopped / o.packets:.1f} %" if o.packets else "-"
                sys.stdout.write(f"{o.file}\t{o.label}\tblocks {o.blocks}\tstopped {share}\tcollateral {o.collateral}\t{'external' if o.external else ''}\n")  # fmt: skip
                for words in (*o.advised, *(f"{s}: silent" for s in o.silent)):
                    sys.stdout.write(f"\t{words}\n")
        external = [o for o in blocked if o.external]
        sys.stdout.write(f"{label}: {len(found)} captures, {len(blocked)} with a block, {sum(o.good for o in blocked)} of them stopped and clean; external: {sum(o.good for o in external)} of {len(external)}\n")  # fmt: skip


if __name__ == "__main__":
    main()
