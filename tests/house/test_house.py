"""The house: every module says what it is for, captures have provenance, docs name what exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("chat", "analysis", "firewall", "tapwall")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if path.stat().st_size > 1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_opens_with_its_purpose(path: Path) -> None:
    """Each module begins with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_every_capture_has_a_line_of_provenance() -> None:
    """captures/README.md names each capture of the folder."""
    listed = (ROOT / "captures" / "README.md").read_text(encoding="utf-8")
    captures = [path.name for path in (ROOT / "captures").iterdir() if ".pcap" in path.name]

    assert captures
    assert [name for name in captures if f"`{name}`" not in listed] == []


def test_captures_can_be_made_again(tmp_path: Path) -> None:
    """captures/make.py gives the bytes that lie in the folder."""
    subprocess.run([sys.executable, str(ROOT / "captures" / "make.py"), str(tmp_path)], check=True, capture_output=True)

    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ROOT / "captures" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/design.md"])
def test_documents_point_at_files_that_exist(page: str) -> None:
    """Relative links of the documents lead somewhere."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)

    assert [t for t in targets if not ((ROOT / page).parent / t).exists()] == []
