"""The one door to numba: what it decides, and that compiled kernels are checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUT_OF_BOUNDS = """
import sys, numpy as np
from analysis.kernel import choose
assert choose(0) == (sys.argv[1] == "on")
sys.path.insert(0, sys.argv[2])
import hostile_kernel
array = np.zeros(4, dtype=np.uint8)
for call in (hostile_kernel.direct, hostile_kernel.through):
    try:
        call(array, 4)
    except IndexError:
        continue
    raise SystemExit("read out of bounds")
assert ("numba" in sys.modules) == (sys.argv[1] == "on")
"""
KERNELS = '''"""Two kernels that read where they are told."""
from analysis.kernel import kernel


@kernel
def direct(array, i):
    return int(array[i])


@kernel
def through(array, i):
    return direct(array, i) + 1
'''


def run(setting: str, code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter with TAPWALL_JIT set."""
    env = {**os.environ, "TAPWALL_JIT": setting, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code, setting, *arguments], capture_output=True, text=True, env=env)


@pytest.mark.parametrize("setting", ["on", "off"])
def test_out_of_bounds_read_is_an_index_error(setting: str, tmp_path: Path) -> None:
    """A kernel, and a function it calls, raise IndexError instead of reading what lies behind an array."""
    (tmp_path / "hostile_kernel.py").write_text(KERNELS)

    done = run(setting, OUT_OF_BOUNDS, str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"), NUMBA_CACHE_DIR="")

    assert (done.returncode, done.stderr) == (0, "")


DECISIONS = [("auto", 9_999, False), ("auto", 10_000, True), ("on", 0, True), ("off", 10**9, False)]


@pytest.mark.parametrize(("setting", "packets", "expected"), DECISIONS)
def test_size_decides_unless_told(setting: str, packets: int, expected: bool, tmp_path: Path) -> None:
    """auto compiles from 10,000 packets on; on and off override it."""
    code = f"from analysis.kernel import choose; assert choose({packets}) is {expected}"

    assert run(setting, code, XDG_CACHE_HOME=str(tmp_path)).returncode == 0


def test_an_unknown_setting_is_refused() -> None:
    """TAPWALL_JIT=maybe says what it expects."""
    done = run("maybe", "from analysis.kernel import choose; choose(1)")

    assert "TAPWALL_JIT: got 'maybe', expected on, off or auto" in done.stderr


def test_a_read_only_cache_is_copied(tmp_path: Path) -> None:
    """Kernels shipped in a folder that cannot be written are copied to one that can."""
    if os.getuid() == 0:
        pytest.skip("root can write everywhere")
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "kernel.nbi").write_bytes(b"index")
    shipped.chmod(0o555)
    code = "import os; from analysis.kernel import choose; choose(0); print(os.listdir(os.environ['NUMBA_CACHE_DIR']))"

    done = run("on", code, XDG_CACHE_HOME=str(tmp_path / "cache"), NUMBA_CACHE_DIR=str(shipped))

    assert done.stdout.strip() == "['kernel.nbi']"
