"""Why a detector could not judge: too short, one-sided, cut or without the traffic it asks for.

In: the evidence. Out: `(reason, needs)` or None. Shared questions of detectors about the capture itself; which of them
a detector asks is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis import columns
from analysis.evidence import Evidence

Blocked = tuple[str, str] | None
HEADERS_ONLY = 96  # bytes; less holds Ethernet, IP and TCP with options and no payload
ONE_SIDED = 0.2  # share of one-way TCP connections above which outcomes say nothing


def nothing(evidence: Evidence, limits: object) -> Blocked:
    """A detector that any capture can answer."""
    return None


def without_fact(kind: str, words: str) -> Callable[[Evidence, object], Blocked]:
    """Not assessable where the capture holds no fact of a kind."""

    def blocked(evidence: Evidence, limits: object) -> Blocked:
        if getattr(evidence.facts, kind):
            return None
        return f"no {words} in this capture", words

    return blocked


def without_transport(evidence: Evidence, limits: object) -> Blocked:
    """Not assessable without a single TCP or UDP conversation."""
    if len(evidence.links.row):
        return None
    return "no TCP, UDP or ICMP conversation in this capture", "a capture with IP traffic"


def one_sided(evidence: Evidence, limits: object) -> Blocked:
    """Not assessable where outcomes of connections were not captured."""
    if (missing := without_transport(evidence, limits)) is not None:
        return missing
    if evidence.one_sided > ONE_SIDED:
        return (
            f"{100 * evidence.one_sided:.0f} % of the TCP connections were captured one way only",
            "both directions of the traffic",
        )
    return None


def without_payload(evidence: Evidence, limits: object) -> Blocked:
    """Not assessable where no packet has a payload, or all were cut behind their headers."""
    if (missing := without_transport(evidence, limits)) is not None:
        return missing
    snaplen = [i.get("snaplen") for i in evidence.capture.get("interfaces", ()) if i.get("snaplen")]
    if snaplen and max(snaplen) <= HEADERS_ONLY:
        return f"packets were cut at {max(snaplen)} bytes", "whole packets"
    return None


def short(evidence: Evidence, seconds: float, what: str) -> Blocked:
    """Not assessable in captures shorter than `seconds`."""
    if evidence.span_s >= seconds:
        return None
    return f"the capture spans {evidence.span_s:.0f} s, {what} needs {seconds:.0f} s", f"at least {seconds:.0f} s"


def no_tcp(evidence: Evidence) -> bool:
    """Whether the capture holds no TCP at all."""
    return not bool(np.any(evidence.links.kind == columns.TCP))
