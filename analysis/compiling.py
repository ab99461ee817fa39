"""Kernels on a machine that has not compiled them yet: two processes compile half of them each, and this one waits.

In: the expected number of packets. Out: the decision of `kernel.choose`, and a cache that holds every kernel where they
are compiled. Two cores then need half the time, and the compiler's memory goes with those who used it. A process that
fails does no harm: whoever finds a kernel missing compiles it. Compiled files appear under their names when they are
complete, so an interrupt leaves nothing broken; a second run meanwhile waits for the first.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from analysis import kernel

SHARES = ("reading", "counting")  # of analysis.warm
NOTICE = "tapwall: compiling for this machine, once: up to half a minute\n"


def choose(packets: int) -> bool:
    """Decide, once per process, whether kernels are compiled, and have them compiled. Returns the decision."""
    first = not kernel.decided()
    compiled = kernel.choose(packets)
    folder = kernel.cache_folder()
    if first and folder is not None:
        with suppress(OSError):  # nothing can be written or started: kernels are compiled as they are used
            _fill(folder)
    return compiled


def _fill(folder: str) -> None:
    """Compile all kernels into `folder`, unless that has been tried with the same sources."""
    mark = os.path.join(folder, f"compiled-{kernel.sources_digest()}")
    if os.path.exists(mark):
        return
    import fcntl

    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(mark):
            return
        sys.stderr.write(NOTICE)
        sys.stderr.flush()
        _compile(folder)
        with open(mark, "w"):
            pass


def _compile(folder: str) -> None:
    """A process a core, two at most, each with its shares of the kernels; returns when they have ended."""
    import subprocess

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = (root, os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-P", "-m", "analysis.warm"]
    running: list[subprocess.Popen[bytes]] = []
    nothing = subprocess.DEVNULL
    try:
        for shares in [[share] for share in SHARES] if cores() > 1 else [SHARES]:
            running.append(
                subprocess.Popen([*command, *shares], env=environment, stdin=nothing, stdout=nothing, stderr=nothing)
            )
        for process in running:
            process.wait()
    finally:
        for process in running:
            process.kill()  # none is left but where this process was interrupted
            process.wait()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
