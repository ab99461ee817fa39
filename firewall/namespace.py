"""Doors to the kernel that need no root: is a private network namespace to be had, and run a job in one.

In: commands and frames. Out: what they answered. Every run is a fresh namespace (connection entries outlive rules) in
a process of its own, bounded in time. Must not know rules.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from firewall.errors import KernelError

SANDBOX = Path(__file__).with_name("sandbox.py")
TIMEOUT_S = 300
TOOLS = ("unshare", "ip")


@cache
def refused() -> str | None:
    """Why no namespace can be had here, or None. Asked once per process."""
    if not sys.platform.startswith("linux"):
        return f"network namespaces are Linux's, this is {sys.platform}"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        done = subprocess.run(
            [*_unshare(), "ip", "link", "add", "twa0", "type", "veth", "peer", "name", "twb0"],
            capture_output=True, text=True, timeout=20, env=_environment(), check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unshare: {error}"
    return None if done.returncode == 0 else f"user namespaces are refused here ({_line(done.stderr)})"


def missing_tools(names: Sequence[str]) -> list[str]:
    """Which of these programs are not installed."""
    return [name for name in names if shutil.which(name, path=_path()) is None]


def run(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Do a job in a fresh namespace. Raises KernelError where the namespace or its set-up fails."""
    reason = refused()
    if reason:
        raise KernelError(f"namespace: {reason}")
    job = json.dumps({"namespace": True, "steps": list(steps)})
    try:
        done = subprocess.run(
            [*_unshare(), sys.executable, str(SANDBOX)],
            input=job, capture_output=True, text=True, timeout=TIMEOUT_S, env=_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"namespace: no answer within {TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise KernelError(f"namespace: {_line(done.stderr)}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _unshare() -> list[str]:
    return ["unshare", "--user", "--map-root-user", "--net", "--kill-child"]


def _path() -> str:
    """System programs are in sbin, which a user's PATH often lacks."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _path(), "LC_ALL": "C"}


def _line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
