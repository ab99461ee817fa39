"""Write docs/cli.md and docs/findings.md from the program itself; with --check, say whether they are up to date.

`python docs/generate.py [--check]`. cli.md is made of every command's help, findings.md of the detectors' files.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def commands(group: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command below `group` with its help text as printed at 100 columns."""
    import click

    assert isinstance(group, click.Command)
    context = click.Context(group, info_name=" ".join(path), max_content_width=100, terminal_width=100)
    yield path, group.get_help(context)
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield from commands(command, (*path, name))


def cli_page() -> str:
    """docs/cli.md."""
    from tapwall.cli import cli

    parts = ["# The command line\n\nMade by `make docs-write` from the program's own help; do not edit.\n"]
    for path, text in commands(cli, ("tapwall",)):
        lines = "\n".join(line.rstrip() for line in text.splitlines())
        parts.append(f"\n{'#' * min(4, len(path) + 1)} {' '.join(path)}\n\n```text\n{lines}\n```\n")
    return "".join(parts)


def pages() -> dict[str, str]:
    """Name -> text of every generated page."""
    from analysis.findings_page import findings_page, settings_file

    measured = HERE.parent / "tests" / "cases" / "results.md"  # written by the cases' own test
    results = measured.read_text(encoding="utf-8") if measured.exists() else ""
    return {
        "cli.md": cli_page(),
        "findings.md": findings_page() + results,
        "../analysis/thresholds.toml": settings_file(),
    }


def main() -> int:
    """Write or check; 1 if a page is not up to date."""
    check = "--check" in sys.argv[1:]
    stale = False
    for name, text in pages().items():
        target = HERE / name
        old = target.read_text(encoding="utf-8") if target.exists() else ""
        if old == text:
            continue
        if check:
            stale = True
            sys.stdout.writelines(
                difflib.unified_diff(old.splitlines(True), text.splitlines(True), name, "made now", n=1)
            )
            print(f"\ndocs/{name} is not up to date: run `make docs-write`")
        else:
            target.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return int(stale)


if __name__ == "__main__":
    raise SystemExit(main())
