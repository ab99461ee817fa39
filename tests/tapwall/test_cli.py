"""The command line as a whole: quick to answer, documented, and honest in its exit codes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import click
import pytest

from tapwall.cli import cli

HEAVY = (
    "numpy",
    "numba",
    "pandas",
    "matplotlib",
    "scapy",
    "pyshark",
    "pyarrow",
    "rich",
    "textual",
    "jinja2",
    "msgspec",
)


def loaded_after(code: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter after `code`."""
    script = f"import sys\n{code}\nsys.stderr.write(' '.join(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


HELP = "from click.testing import CliRunner\nfrom tapwall.cli import cli\nassert CliRunner().invoke(cli, ['--help']).exit_code == 0"
COMPLETE = (
    "import os\nos.environ.update(_TAPWALL_COMPLETE='bash_complete', COMP_WORDS='tapwall fire', COMP_CWORD='1')\n"
    "from tapwall.cli import cli\ntry:\n    cli.main(prog_name='tapwall')\nexcept SystemExit:\n    pass"
)


@pytest.mark.parametrize("code", [HELP, COMPLETE], ids=["help", "completion"])
def test_help_and_completion_load_nothing_heavy(code: str) -> None:
    """Help and a press of Tab import Click and the standard library, no more."""
    assert not loaded_after(code) & set(HEAVY)


def test_help_is_quicker_than_half_of_pandas() -> None:
    """`tapwall --help` answers in under half of the time that importing pandas takes (best of three, same run)."""

    def best(*command: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best("-m", "tapwall", "--help") < best("-c", "import pandas") / 2


def walk(group: click.Command, path: tuple[str, ...] = ("tapwall",)) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every visible command below `group`."""
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if not command.hidden:
                yield from walk(command, (*path, name))


def test_every_command_has_help_and_an_example() -> None:
    """Each command's help has a first sentence, and each leaf an Example."""
    bare = []
    for path, command in walk(cli):
        text = command.help or ""
        if not text.strip() or (not isinstance(command, click.Group) and "Example" not in text):
            bare.append(" ".join(path))

    assert bare == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "/nonexistent/no.pcap"],
        ["nonsense"],
        ["analyze"],
        ["rules", "/nonexistent/no.pcap"],
        ["packets", "/etc/hostname"],
    ],
    ids=" ".join,
)
def test_bad_input_is_exit_2_and_no_traceback(arguments: list[str]) -> None:
    """What cannot be used is told on stderr, exit code 2, stdout stays empty."""
    done = subprocess.run([sys.executable, "-m", "tapwall", *arguments], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
