"""What the import contracts cannot see: calls that need no import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORES = [
    *(ROOT / "chat" / name for name in ("wire.py", "decoder.py", "limits.py", "session.py", "transfer.py", "hub.py")),
    *(
        ROOT / "analysis" / name
        for name in (
            "columns.py",
            "layers.py",
            "facts.py",
            "findings.py",
            "pcap.py",
            "pcapng.py",
            "growing.py",
            "address_table.py",
            "flow_rows.py",
            "flow_columns.py",
            "derived.py",
            "flows.py",
            "tcp.py",
            "verdict.py",
        )
    ),
    *(ROOT / "firewall" / name for name in ("rules.py", "lower.py", "generate.py", "simulate.py", "anomalies.py")),
    *sorted((ROOT / "analysis" / "decode").glob("*.py")),
    *sorted((ROOT / "analysis" / "stats").glob("*.py")),
]
BANNED = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


@pytest.mark.parametrize("path", CORES, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_touches_no_file_and_no_screen(path: Path) -> None:
    """A pure core calls neither open, print nor input, and runs no text as code."""
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert not calls & BANNED
