"""Loads in portions, for a namespace of one's own: a transaction there ends at net.core.wmem_max (212,992 bytes: some
500 rules or 3,500 set elements), because a user without privileges gets no larger netlink buffer.

In: a program, or the text of a restore file. Out: steps for `namespace.run`. The files for a real load stay one
transaction; here nobody looks while it fills. Must not run anything.
"""

from __future__ import annotations

from typing import Any

from firewall.program import Program
from firewall.render import nftables

WHOLE = 40_000  # characters that load at once whatever they say
RULES, ELEMENTS = 150, 2000  # of a portion


def nft_steps(program: Program, table: str) -> list[dict[str, Any]]:
    """The table at once where it is small; else its sets and chains, then elements and rules in portions."""
    text = "\n".join(nftables.table_lines(program, table)) + "\n"
    parts = [text] if len(text) < WHOLE else nftables.portions(program, table, rules=RULES, elements=ELEMENTS)
    return [{"argv": ["nft", "-f", "-"], "input": part} for part in parts]


def restore_steps(command: str, text: str) -> list[dict[str, Any]]:
    """A restore file of one table at once where it is small; else its chains first, then its rules in portions."""
    parts = [text] if len(text) < WHOLE else list(_restore_parts(text))
    return [{"argv": [f"{command}-restore", "-n"], "input": part} for part in parts]


def _restore_parts(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    table = next(line for line in lines if line.startswith("*"))
    declared = [line for line in lines if line.startswith(":")]
    rules = [line for line in lines if line.startswith("-A ")]
    portions = [declared, *(rules[n : n + RULES] for n in range(0, len(rules), RULES))]
    return ["\n".join([table, *portion, "COMMIT", ""]) for portion in portions]
