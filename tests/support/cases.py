"""The cases of the detectors: found in tests/cases, made into captures, analysed, and counted.

A folder is a detector, its `cases.py` holds scripts that write a scene on a `Wire`; each is marked `@fires` or `@silent`
and says in its docstring where the scene is from. `fires`: the detector makes a finding of at least that severity.
`silent`: it makes none above `at_most` (none at all by default), and no other detector one of medium or above, unless it
is named in `also`. A finding of medium or above where a case does not expect it counts against that detector's precision.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traffic import Wire

FOLDER = Path(__file__).parents[1] / "cases"
RESULTS = FOLDER / "results.md"
ORDER = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Case:
    """One scene and what is expected of it. `severity` is the least (fires) or the most ("" none, silent)."""

    detector: str
    name: str
    script: Callable[[Wire], None]
    must_fire: bool
    severity: str
    title: str
    also: tuple[str, ...]
    link: int
    trusted: tuple[str, ...]

    @property
    def id(self) -> str:
        """detector/name."""
        return f"{self.detector}/{self.name}"

    @property
    def origin(self) -> str:
        """Where the scene is from."""
        return " ".join((self.script.__doc__ or "").split())


Script = Callable[[Wire], None]
_COLLECTED: list[tuple[Script, dict[str, Any]]] = []


def fires(severity: str = "medium", title: str = "", also: Iterable[str] = (), link: int = 1) -> Callable[[Script], Script]:  # fmt: skip
    """The detector must report it, at `severity` or above, with `title` in the finding's title."""
    return _marked(must_fire=True, severity=severity, title=title, also=tuple(also), link=link, trusted=())


def silent(at_most: str = "", also: Iterable[str] = (), link: int = 1, trusted: Iterable[str] = ()) -> Callable[[Script], Script]:  # fmt: skip
    """The detector must not report it (above `at_most`)."""
    return _marked(must_fire=False, severity=at_most, title="", also=tuple(also), link=link, trusted=tuple(trusted))


def _marked(**expected: Any) -> Callable[[Script], Script]:
    def mark(script: Script) -> Script:
        _COLLECTED.append((script, expected))
        return script

    return mark


def all_cases() -> list[Case]:
    """Every case, in order of detector and file."""
    found: list[Case] = []
    for path in sorted(FOLDER.glob("*/cases.py")):
        _COLLECTED.clear()
        spec = importlib.util.spec_from_file_location(f"cases_{path.parent.name.replace('-', '_')}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        found += [
            Case(path.parent.name, script.__name__.replace("_", "-"), script, **expected)
            for script, expected in _COLLECTED
        ]
    return found


def made(case: Case, folder: Path) -> str:
    """A case's capture, made in `folder`; returns its path."""
    wire = Wire(case.id, case.link)
    case.script(wire)
    return wire.write(folder / f"{case.detector}-{case.name}.pcap")


def analysed(case: Case, folder: Path) -> Any:
    """The analysis of a case's capture."""
    from analysis.run import Settings, analyse

    return analyse([made(case, folder)], settings=Settings(trusted=case.trusted))


Found = list[tuple[str, str, str]]  # detector, severity, title


def told(analysis: Any) -> Found:
    """What was found, as detector, severity and title."""
    return [(finding.detector, finding.severity.word, finding.title) for finding in analysis.findings]


def complaint(case: Case, found: Found) -> str:
    """Why a result is not what the case expects, "" where it is."""
    mine = [(severity, title) for detector, severity, title in found if detector == case.detector]
    if case.must_fire:
        good = [m for m in mine if _reaches(m[0], case.severity) and case.title in m[1]]
        return "" if good else f"{case.detector} should report {case.title!r} at {case.severity}, found {found}"
    loud = [m for m in mine if not case.severity or ORDER.index(m[0]) > ORDER.index(case.severity)]
    if loud:
        return f"{case.detector} should be silent, found {loud}"
    others = unexpected(case, found)
    return f"nothing else at medium or above should be found, but {others}" if others else ""


def unexpected(case: Case, found: Found) -> Found:
    """Findings of medium or above that a case does not expect."""
    allowed = {*case.also, *([case.detector] if case.must_fire else [])}
    return [one for one in found if one[0] not in allowed and _reaches(one[1], "medium")]


def _reaches(severity: str, least: str) -> bool:
    return ORDER.index(severity) >= ORDER.index(least)


@dataclass
class Count:
    """Results of one detector over all cases."""

    positives: int = 0
    hit: int = 0
    negatives: int = 0
    quiet: int = 0
    wrong: int = 0

    @property
    def precision(self) -> float | None:
        """Share of its findings that a case expects."""
        return self.hit / (self.hit + self.wrong) if self.hit + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of the cases that must fire in which it did."""
        return self.hit / self.positives if self.positives else None


def counted(results: Mapping[str, Found], cases: Iterable[Case]) -> dict[str, Count]:
    """Per detector: hits, silence kept, and findings that no case expects."""
    counts: defaultdict[str, Count] = defaultdict(Count)
    for case in cases:
        found, mine = results[case.id], counts[case.detector]
        good = not complaint(case, found)
        if case.must_fire:
            mine.positives += 1
            mine.hit += good
        else:
            loud = [
                f for f in found if f[0] == case.detector and (not case.severity or not _reaches(case.severity, f[1]))
            ]
            mine.negatives += 1
            mine.quiet += not loud
            mine.wrong += bool(loud)
        for detector in {one[0] for one in unexpected(case, found)} - {case.detector}:
            counts[detector].wrong += 1
    return dict(counts)


def page(results: Mapping[str, Found], cases: list[Case]) -> str:
    """results.md: the table, and every case with its origin."""
    counts = counted(results, cases)
    total = Count(*(sum(getattr(c, name) for c in counts.values()) for name in ("positives", "hit", "negatives", "quiet", "wrong")))  # fmt: skip
    lines = [
        "\n## Measured on the cases\n",
        f"{len(cases)} scenes of `tests/cases`, made by scripts: {total.positives} in which the detector must report something and {total.negatives} hard negatives in",
        "which it must stay silent. *Wrong* counts scenes in which the detector reported something at medium or above (or above what",
        "the scene allows) that the scene does not hold, in the scenes of all detectors. Made scenes show that a rule does what it says;",
        "they say less about captures of the world. Made by `python tests/cases/measure.py`.\n",
        "| detector | must fire | fired | must be silent | silent | wrong | precision | recall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, count in [*sorted(counts.items()), ("all", total)]:
        numbers = " | ".join(str(getattr(count, one)) for one in ("positives", "hit", "negatives", "quiet", "wrong"))
        lines.append(f"| {name} | {numbers} | {_share(count.precision)} | {_share(count.recall)} |")
    lines += ["\n### Scenes\n", "| scene | expected | what it shows |", "|---|---|---|"]
    for case in cases:
        what = (
            f"{case.severity} or above" if case.must_fire else f"{case.severity} at most" if case.severity else "silent"
        )
        lines.append(f"| {case.id} | {what} | {case.origin.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
