"""How bad and how sure: the two judgements of a finding as stated functions, the same for every detector.

In: the impact a claim would have if it is true, and the pieces of evidence for it. Out: a confidence between 0 and 1
and a severity. Nothing here knows a detector, a host or a packet.

Confidence. Each piece of evidence has a weight: how often it alone would be right. Independent pieces add up as
1 - (1 - w1)(1 - w2)…, so more evidence never lowers it, and nothing reaches 1.
Severity. The impact, lowered one step where confidence is below 0.5 and two steps below 0.25; a trusted host lowers it
one step more. Nothing is ever hidden: the lowest step is `info`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from analysis.findings import Severity

INFO, LOW, MEDIUM, HIGH, CRITICAL = Severity

DOUBTFUL = 0.5  # below: as likely wrong as right, so one step down
WEAK = 0.25  # below: a hint only, two steps down
CERTAIN = 0.99  # no finding claims more: a capture shows traffic, not intent


def confidence(terms: Mapping[str, float]) -> float:
    """1 - product of (1 - weight) over all terms, at most CERTAIN; 0 without terms."""
    left = math.prod(1.0 - min(max(weight, 0.0), 1.0) for weight in terms.values())
    return min(CERTAIN, 1.0 - left)


def margin(value: float, threshold: float, *, least: float = 0.5, most: float = 0.9, decades: float = 1.0) -> float:
    """The weight of a measured value: `least` at its threshold, `most` where it is 10 ** `decades` times larger."""
    if value <= 0 or threshold <= 0:
        return 0.0
    share = math.log10(value / threshold) / decades
    return least + (most - least) * min(max(share, 0.0), 1.0) if share >= 0 else 0.0


def judge(impact: Severity, sure: float, trusted: bool = False) -> Severity:
    """Severity from impact and confidence; `trusted` hosts are one step milder."""
    steps = (2 if sure < WEAK else 1 if sure < DOUBTFUL else 0) + int(trusted)
    return Severity(max(Severity.INFO, impact - steps))
