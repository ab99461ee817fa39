"""Work in a copy of this process: its result or its error comes back, and it ends in every case."""

from __future__ import annotations

import os
import signal
import time

import pytest

from analysis.errors import AnalysisError
from analysis.forked import Forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_a_result_comes_back_and_nothing_else() -> None:
    """Larger than a pipe; what the copy changed is its own."""
    kept = [1]

    def work() -> tuple[int, bytes]:
        kept.append(2)
        return len(kept), b"x" * 1_000_000

    forked = Forked(work)
    found = forked.result()
    forked.close()
    assert found == (2, b"x" * 1_000_000)
    assert kept == [1]


def test_an_error_comes_back() -> None:
    """As it was raised there."""
    forked = Forked(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        forked.result()
    forked.close()


@pytest.mark.parametrize("how", ("killed", "cannot be sent"))
def test_no_result_is_one_line(how: str) -> None:
    """A copy that was killed, or whose result is no data, is an error of ours."""

    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    forked = Forked(killed if how == "killed" else lambda: lambda: None)
    with pytest.raises(AnalysisError, match="has ended"):
        forked.result()
    forked.close()


def test_it_is_ended_though_it_would_go_on() -> None:
    """Nobody waits for a copy whose result nobody wants."""
    forked = Forked(lambda: time.sleep(3600))
    forked.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(forked.process, os.WNOHANG)
