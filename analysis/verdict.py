"""The first thing a reader sees: what happened and how bad it is, in two sentences.

In: the analysis as its JSON form (docs/outputs are keyed alike). Out: plain text, unescaped: names and addresses in
it came from the capture, so whoever draws it escapes it. Pure; the summary and the report share it.
"""

from __future__ import annotations

from typing import Any, Protocol

SEVERITIES = ("critical", "high", "medium", "low", "info")


class HasJson(Protocol):
    """Anything with the JSON form of an analysis."""

    def to_json(self) -> dict[str, Any]:
        """The analysis as docs/outputs describe it."""
        ...


def by_severity(findings: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Findings grouped by severity, worst first, most certain first within one; empty groups are left out."""
    groups = {word: [f for f in findings if f["severity"] == word] for word in SEVERITIES}
    return {word: sorted(group, key=lambda f: -f["confidence"]) for word, group in groups.items() if group}


def verdict(data: dict[str, Any]) -> tuple[str, str]:
    """Two sentences: what the capture holds, and what stands out in it."""
    return _what(data), _how_bad(data)


def _what(data: dict[str, Any]) -> str:
    capture = data["capture"]
    packets = capture["packets"]
    if not packets:
        return "The capture holds no packets."
    hosts = data.get("hosts")  # an overview lists the named ones only
    if hosts is None:
        hosts = len({e["address"] for kind in ("ip", "ipv6") for e in (data.get("endpoints") or {}).get(kind, [])})
    span = capture.get("duration_s")
    text = f"{packets:,} packets ({size_text(capture['data_bytes'])}"
    text += f" in {duration_text(span)})" if span else ")"
    if hosts:
        text += f" between {hosts:,} addresses"
    leaf = [row for row in data.get("hierarchy") or [] if row["end_packets"]]
    if leaf:
        top = max(leaf, key=lambda row: row["end_packets"])
        most = "mostly" if 2 * top["end_packets"] > packets else "most often"
        text += f", {most} {top['name']} ({100 * top['end_packets'] / packets:.0f} % of packets)"
    return text + "."


def _how_bad(data: dict[str, Any]) -> str:
    groups = by_severity(data.get("findings") or [])
    serious = [f for word in ("critical", "high", "medium") for f in groups.get(word, [])]
    open_questions = len(data.get("not_assessable") or [])
    tail = f"; {open_questions} detector{'s' * (open_questions != 1)} could not judge" if open_questions else ""
    if serious:
        first = serious[0]["title"].rstrip(".")
        more = f" (and {len(serious) - 1} more at medium or above)" if len(serious) > 1 else ""
        return f"{first}{more}{tail}."
    if groups:
        count = sum(len(group) for group in groups.values())
        first = next(iter(groups.values()))[0]["title"].rstrip(".")
        return f"Nothing at medium or above; {count} lesser finding{'s' * (count != 1)}, first: {first}{tail}."
    return f"No detector found anything{tail}."


def size_text(size_bytes: float) -> str:
    """A size in SI units as Wireshark writes it: 972 kB, 1.2 MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def duration_text(seconds: float) -> str:
    """A duration for a person: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    parts, rest = [], round(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if rest >= length:
            parts.append(f"{rest // length} {unit}")
            rest %= length
    return " ".join(parts[:2])


def rate_text(bits_per_s: float | None) -> str:
    """A bit rate: 173 kbit/s; a dash where there is none."""
    if bits_per_s is None:
        return "–"
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if bits_per_s < 1000 or unit == "Gbit/s":
            return f"{bits_per_s:.0f} {unit}" if bits_per_s >= 100 else f"{bits_per_s:.3g} {unit}"
        bits_per_s /= 1000
    raise AssertionError("unreachable")
