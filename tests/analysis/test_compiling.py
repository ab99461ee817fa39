"""Kernels are compiled by others, once, and nothing that goes wrong there stops an analysis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis import compiling, kernel, run, warm

ROOT = Path(__file__).parents[2]
# Prints the notice's place (stderr) and the names of kernels that this process itself compiled.
ANALYSE = """
import sys
from analysis import compiling
compiling.choose(0)
from numba.core import event
with event.install_recorder("numba:compile") as recorded:
    from analysis import json_out, run
    import io
    for path in sys.argv[1:]:
        json_out.write_json(run.analyse([path]), io.BytesIO())
print(sorted({e.data["dispatcher"].py_func.__qualname__ for _, e in recorded.buffer}))
"""


def script(folder: Path, text: str) -> str:
    """A program in place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`_fill` of an empty folder with another program in place of Python; returns the marks that it leaves."""

    def call(program: str) -> list[str]:
        monkeypatch.setattr(sys, "executable", program)
        compiling._fill(str(tmp_path))
        return sorted(path.name for path in tmp_path.glob("compiled-*"))

    return call


def test_compilers_that_fail_are_not_asked_again(fill: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They leave the kernels to whoever needs them; the next run neither waits nor says anything."""
    program = script(tmp_path, "echo x >> $(dirname $0)/started; exit 1")

    assert fill(program) == [f"compiled-{kernel.sources_digest()}"]
    assert fill(program) == [f"compiled-{kernel.sources_digest()}"]
    assert len((tmp_path / "started").read_text().split()) == min(2, compiling.cores())
    assert capsys.readouterr() == ("", compiling.NOTICE)


def test_one_core_has_one_compiler(fill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both shares."""
    monkeypatch.setattr(compiling, "cores", lambda: 1)
    fill(script(tmp_path, "echo $* >> $(dirname $0)/started"))

    assert (tmp_path / "started").read_text() == "-P -m analysis.warm reading counting\n"


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc"])
def test_what_cannot_be_written_or_started_is_no_error(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision is made all the same."""
    monkeypatch.setattr(kernel, "_enabled", None)
    monkeypatch.setattr(kernel, "choose", lambda packets: True)
    monkeypatch.setattr(kernel, "cache_folder", lambda: folder)
    monkeypatch.setattr(sys, "executable", "/nonexistent")

    assert compiling.choose(10**6)


def test_an_interrupt_ends_the_compilers(fill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is left, and the next run tries again."""
    started: list[subprocess.Popen[bytes]] = []

    def wait(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if not started:
            started.append(process)
            raise KeyboardInterrupt
        return ordinary(process, timeout)

    ordinary = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", wait)

    with pytest.raises(KeyboardInterrupt):
        fill(script(tmp_path, "exec sleep 100"))
    assert started[0].returncode is not None
    assert not list(tmp_path.glob("compiled-*"))


@pytest.mark.parametrize("make", [warm.pcap, warm.pcapng])
def test_what_kernels_are_tried_on_is_a_capture(make: Any, tmp_path: Path) -> None:
    """Every packet is read and known: HTTP with a long answer, unknown bytes, an ICMP error."""
    path = tmp_path / "capture"
    path.write_bytes(make(warm.packets()))
    found = run.analyse([str(path)]).to_json()

    paths = {row["path"]: row["packets"] for row in found["hierarchy"]}
    assert found["capture"]["packets"] == len(warm.packets())
    assert paths["eth/ip/tcp/http"] >= 1 and paths["eth/ip/tcp/data"] >= 1 and paths["eth/ip/icmp"] == 1


@pytest.mark.slow
def test_afterwards_nothing_is_left_to_compile(tmp_path: Path) -> None:
    """With an empty cache two processes compile every kernel that real captures of both formats need."""
    captures = [str(path) for path in sorted((ROOT / "captures").glob("*.pcap*"))]
    converted = tmp_path / "own.pcapng"
    converted.write_bytes(warm.pcapng(warm.packets()))
    env = {
        **os.environ, "TAPWALL_JIT": "on", "XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": "", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ANALYSE, *captures, str(converted)], env=env, capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("[]\n", compiling.NOTICE)
