"""The door to the kernel: it says why it is shut, and what runs behind it touches nothing outside."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from firewall import namespace
from firewall.errors import KernelError


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    """`refused` is asked once a process."""
    namespace.refused.cache_clear()


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No unshare, no proof: the reason is one line."""
    monkeypatch.setattr(namespace.shutil, "which", lambda name, path=None: None)

    assert namespace.refused() == "not installed: unshare, ip"
    assert namespace.missing_tools(["nft"]) == ["nft"]
    with pytest.raises(KernelError, match="not installed"):
        namespace.run([])
    namespace.refused.cache_clear()


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where user namespaces are forbidden the kernel's words are passed on."""

    def refuse(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "unshare: unshare failed: Operation not permitted\n")

    monkeypatch.setattr(namespace.subprocess, "run", refuse)
    monkeypatch.setattr(namespace.shutil, "which", lambda name, path=None: f"/bin/{name}")

    assert namespace.refused() == "user namespaces are refused here (unshare: unshare failed: Operation not permitted)"
    namespace.refused.cache_clear()


def test_the_sandbox_does_not_start_by_mistake() -> None:
    """Without the word of a job it ends before it touches a link."""
    done = subprocess.run([sys.executable, str(namespace.SANDBOX)], input=json.dumps({"steps": [{"argv": ["true"]}]}), capture_output=True, text=True, check=False)  # fmt: skip

    assert done.returncode != 0 and "not in a namespace" in done.stderr


@pytest.mark.root
@pytest.mark.skipif(namespace.refused() is not None, reason=f"no namespace: {namespace.refused()}")
def test_steps() -> None:
    """Each command with its input; the first that fails ends the job; a missing program is an answer, not a crash."""
    answer = namespace.run([{"argv": ["cat"], "input": "x"}, {"argv": ["false"], "may_fail": True}, {"argv": ["no-such-tool"]}, {"argv": ["cat"]}])  # fmt: skip
    found = [(step["rc"], step["out"]) for step in answer["steps"]]

    assert found == [(0, "x"), (1, ""), (127, "")]
