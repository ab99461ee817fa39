"""docs/findings.md and the settings file, written from the detectors' own files.

In: the table of detectors (docstring, name, thresholds). Out: Markdown, and TOML with every threshold. Nothing is
written here; docs/generate.py does. A detector without docstring or with a threshold without unit is a programmer's
error and raises.
"""

from __future__ import annotations

from typing import Any

from analysis import severity, thresholds
from analysis.detect import DETECTORS
from analysis.stories import RESTATES, SAME

INTRODUCTION = f"""# Findings

Made by `make docs-write` from the detectors' files; do not edit.

A finding is a claim with numbers: what was measured, the threshold it crossed and where that threshold is from, the
frames, a display filter, the harmless explanation and the number that would decide between the two. The fields are laid
down in [outputs.md](outputs.md); a source of "tapwall" is this project's own judgement, tried on labelled captures. Every detector ends as *finding*, *nothing found* or *not assessable (reason)*.

## How sure, how bad

**Confidence** is 1 - (1 - w1)(1 - w2)… over the pieces of evidence, each with a weight: how often it alone would be
right. At most {severity.CERTAIN}. The terms stand in the finding (`confidence_terms`). A measured value weighs more the
further it is above its threshold (a logarithmic scale, full weight at ten times the threshold unless the file says otherwise).

**Severity** is the impact that the claim would have if it is true, one step lower below a confidence of
{severity.DOUBTFUL}, two steps below {severity.WEAK}, and one more for a trusted host (`--trust NET`). It is lowered, never hidden.

| severity | what it means |
|---|---|
| critical | somebody else is in control, or has what gives control |
| high | an attack that works if the target is open to it, or its effect |
| medium | an attempt, a search or a habit that needs an explanation |
| low | an exposure or a fault to put right |
| info | a fact worth knowing |

**One cause, one finding.** A finding is dropped where another one explains at least {100 * SAME:.0f} % of its
conversations: """


def findings_page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    parts.append("; ".join(f"{name} explains {', '.join(weaker)}" for name, weaker in RESTATES.items()) + ".\n")
    parts.append(
        "\n**Stories.** Findings of medium and above with the same accountable host and of different kinds carry the same"
        " `story`, in order of time.\n\n## Settings\n\nEvery threshold stands in `analysis/thresholds.toml`; a file with"
        " some of them changed is given with `tapwall analyze --thresholds FILE`. `--intel FILE` adds addresses, networks, names and"
        " JA3 or JA4 fingerprints to the shipped list, one `value what` a line.\n\n## Detectors\n"
    )
    parts += [section(detector) for detector in DETECTORS]
    return "".join(parts)


def section(detector: Any) -> str:
    """One detector: what its file says and its thresholds."""
    lines = (detector.__doc__ or "").strip().splitlines()
    if not lines:
        raise ValueError(f"{detector.__name__}: no docstring, expected one")
    title, text = lines[0].rstrip("."), "\n".join(lines[1:]).strip()
    rows = "".join(
        f"| {name} | {one.default:g} | {one.unit} | {one.source} |\n"
        for name, one in detector.Thresholds.DECLARED.items()
    )
    return f"\n### {detector.NAME}\n\n{title}.\n\n{text}\n\n| threshold | default | unit | source |\n|---|---|---|---|\n{rows}"


def settings_file() -> str:
    """All thresholds with their defaults as TOML."""
    return thresholds.printed({detector.NAME: detector.Thresholds for detector in DETECTORS})
