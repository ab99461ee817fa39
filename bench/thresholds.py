"""How much each threshold of a detector matters: `python -m bench.thresholds [NAME ...] [--captures FOLDER --labels CSV] [--json]`.

Every threshold is multiplied by FACTORS in turn, the others stay, and its detector judges again: the scenes of
tests/cases (those of the detector that must fire, and all silent ones), and labelled captures where a folder is given
(`file` and `label` columns; a label that begins with `attack`, or `benign`). *Recall* is the share of scenes that must fire in
which it does; *wrong* counts silent scenes, and benign captures, in which it says medium or more (high or more for
captures). A threshold stands at a cliff where a fifth more or less changes either; it is marked with `!`.
Captures are analysed once, detectors run again and again over their tables.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from cases import Case, all_cases, made  # noqa: E402

from analysis import watchlist  # noqa: E402
from analysis.detect import DETECTORS, Detector  # noqa: E402
from analysis.evidence import Evidence, gather  # noqa: E402
from analysis.findings import Finding, Severity  # noqa: E402
from analysis.hosts import trusted_networks  # noqa: E402

FACTORS = (0.5, 0.8, 1.0, 1.25, 2.0)
NEAR = (0.8, 1.25)  # as far as that a threshold may move without any change


@dataclass(frozen=True, slots=True)
class Judged:
    """Something to judge, and what is expected: the least severity that counts, and whether it must be reached."""

    name: str
    evidence: Evidence
    detector: str  # "" any: a labelled capture
    must_fire: bool
    severity: Severity


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one setting: what fired of what must, what is wrong of what must stay silent, attacks seen in captures."""

    fired: int
    must: int
    wrong: int
    silent: int
    attacks: int


def scenes(folder: Path) -> Iterator[Judged]:
    """The scenes of tests/cases; `folder` takes their captures."""
    from analysis.run import analyse

    for case in all_cases():
        analysis = analyse([made(case, folder)], judge=False)
        evidence = gather(analysis, trusted_networks(case.trusted), watchlist.shipped())
        yield Judged(case.id, evidence, case.detector, case.must_fire, _least(case))


def _least(case: Case) -> Severity:
    """What a scene wants of its own detector, or what is too loud in it."""
    if case.must_fire:
        return Severity[case.severity.upper()]
    return Severity(Severity[case.severity.upper()] + 1) if case.severity else Severity.INFO


def captures(folder: Path, labels: Path) -> Iterator[Judged]:
    """Labelled captures: attacks, and benign ones in which nothing may be high."""
    from analysis.run import analyse

    with open(labels, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path, label = folder / row["file"], row["label"]
            attack = label.startswith("attack")
            if path.exists() and (attack or label == "benign"):
                evidence = gather(analyse([str(path)], judge=False), (), watchlist.shipped())
                yield Judged(row["file"], evidence, "", attack, Severity.MEDIUM if attack else Severity.HIGH)


def outcome(detector: Detector, values: dict[str, float], all_judged: Iterable[Judged]) -> Outcome:
    """One detector with some thresholds changed, over everything that says something about it."""
    limits = detector.Thresholds(**values)
    fired = must = wrong = silent = attacks = 0
    for one in all_judged:
        own, labelled = one.detector == detector.NAME, one.detector == ""
        if one.must_fire and not own and not labelled:
            continue
        worst = max((finding.severity for finding in _asked(detector, one.evidence, limits)), default=-1)
        least = one.severity if own or labelled else Severity.MEDIUM
        if labelled and one.must_fire:
            attacks += worst >= least
        elif one.must_fire:
            must, fired = must + 1, fired + (worst >= least)
        else:
            silent, wrong = silent + 1, wrong + (worst >= least)
    return Outcome(fired, must, wrong, silent, attacks)


def _asked(detector: Detector, evidence: Evidence, limits: Any) -> Iterable[Finding]:
    return () if detector.blocked(evidence, limits) is not None else detector.detect(evidence, limits)


def swept(detector: Detector, all_judged: list[Judged]) -> Iterator[dict[str, Any]]:
    """A row for each threshold: its default, and the outcome at every factor."""
    usual = outcome(detector, {}, all_judged)
    for name, declared in detector.Thresholds.DECLARED.items():
        results = {
            factor: usual if factor == 1.0 else outcome(detector, {name: _scaled(declared.default, factor)}, all_judged)
            for factor in FACTORS
        }
        yield {
            "detector": detector.NAME,
            "threshold": name,
            "default": declared.default,
            "cliff": any(results[factor] != usual for factor in NEAR),
            "outcomes": results,
        }


def _scaled(value: float, factor: float) -> float:
    """Counts stay whole, and move by at least one."""
    if not isinstance(value, int):
        return value * factor
    moved = round(value * factor)
    return moved if moved != value or factor == 1.0 else max(0, value + (1 if factor > 1 else -1))


def line(row: dict[str, Any]) -> str:
    """One threshold as a person reads it: recall and wrong findings at each factor."""
    cells = [f"{o.fired}/{o.must} {o.wrong}" + (f" {o.attacks}" if o.attacks else "") for o in row["outcomes"].values()]
    return (
        f"{'!' if row['cliff'] else ' '} {row['detector'] + '.' + row['threshold']:<38}{row['default']:>12g}  "
        + "".join(f"{cell:>14}" for cell in cells)
    )


def main() -> int:
    """Print the sweep; always 0: a cliff is to be looked at, it is no failure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="detectors (default: all)")
    parser.add_argument("--captures", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judged = list(scenes(Path(folder)))
        if given.captures and given.labels:
            judged += captures(given.captures, given.labels)
        if not given.as_json:
            print(f"{'threshold (fired/must wrong [attack captures])':<40}{'default':>12}  " + "".join(f"{f'x {f:g}':>14}" for f in FACTORS))  # fmt: skip
        for detector in DETECTORS:
            if given.names and detector.NAME not in given.names:
                continue
            for row in swept(detector, judged):
                if given.as_json:
                    row["outcomes"] = {f"{f:g}": {n: getattr(o, n) for n in Outcome.__slots__} for f, o in row["outcomes"].items()}  # fmt: skip
                print(json.dumps(row) if given.as_json else line(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
