"""What a renderer returns: the text, the command that loads it, and what could not be said.

Shared by the dialects; knows none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from firewall.lower import Lowered


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file for one tool. `unsupported`: rules that became no line, with the reason; silence would be a hole."""

    text: str
    loads_with: tuple[str, ...]
    unsupported: tuple[tuple[str, str], ...]


def header(lowered: Lowered, loads_with: str, more: list[str]) -> list[str]:
    """Comment lines for the top of a rule file. Nothing of a capture stands here."""
    policy = lowered.policy
    lines = [
        f"tapwall rules, vantage {policy.vantage.value}, {len(policy.rules)} rules, default {policy.default.value}",
        f"load with: {loads_with}",
        *more,
        *(f"no line for {rule}: {why}" for rule, why in lowered.empty),
    ]
    return [f"# {line}" for line in lines]
