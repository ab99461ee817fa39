"""What guards the chat: the table of docs/chat.md names tests that exist, and the server fetches nothing for anybody."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = {
    f"{path.stem}::{node.name}"
    for path in (ROOT / "tests" / "chat").rglob("test_*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
}
FETCHERS = {"urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib", "xmlrpc"}


def rows() -> list[tuple[str, list[str]]]:
    """Each threat of the table with the tests that it names."""
    section = (
        (ROOT / "docs" / "chat.md").read_text(encoding="utf-8").partition("## What guards it")[2].partition("\n## ")[0]
    )
    found = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    return [(cells[1].strip(), re.findall(r"`(test_\w+(?:::test_\w+)?)`", cells[3])) for cells in found[1:]]


def test_every_threat_has_its_tests() -> None:
    """A row without a test, or a test that is gone, fails here."""
    assert len(rows()) >= 12
    assert [threat for threat, tests in rows() if not tests] == []
    named = [name for _, tests in rows() for name in tests]
    assert [
        name for name in named if name not in TESTS and not any(test.startswith(name + "::") for test in TESTS)
    ] == []


@pytest.mark.parametrize("path", sorted((ROOT / "chat").rglob("*.py")), ids=lambda path: path.stem)
def test_nobody_can_make_the_chat_fetch_a_link(path: Path) -> None:
    """No module of the chat imports a client of another protocol: there is no link preview to turn against a network."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])

    assert imported & FETCHERS == set()
