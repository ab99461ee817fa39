"""A part of the work in a copy of this process, on another core: what needs all tables, and has a small result.

In: a function without arguments, which sees everything as it is now. Out: what it returns, or raises. The copy (fork)
shares memory with this process until one of both writes to it. What both change is the copy's own: nothing comes back
but the result. It ends when this process does.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, NoReturn, TypeVar

from analysis.errors import AnalysisError

Result = TypeVar("Result")


class Forked(Generic[Result]):
    """`work` under way. `close` in any case."""

    def __init__(self, work: Callable[[], Result]) -> None:
        """Raises OSError where the system does not let us."""
        ours, theirs = os.pipe()
        self.process = fork()
        if self.process == 0:
            os.close(ours)
            _answer(work, theirs)
        os.close(theirs)
        self._in = os.fdopen(ours, "rb")

    def result(self) -> Result:
        """Wait for it. Raises what `work` raised, AnalysisError where it was killed."""
        try:
            answer, error = pickle.load(self._in)  # of our own process
        except (EOFError, pickle.UnpicklingError):
            raise AnalysisError("a process of this analysis has ended: killed, or out of memory") from None
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """End it, whatever it is at."""
        self._in.close()
        end(self.process)


def fork() -> int:
    """As os.fork. Python 3.12 warns where other threads are: those of numpy's linear algebra, which nobody asks here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def end(process: int) -> None:
    """End a process that was forked, and wait until it has."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def settle() -> None:
    """The first words of a copy: an interrupt is for the one who asks, and what was there before is never garbage here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # to look at it would copy its memory


def _answer(work: Callable[[], Any], out: int) -> NoReturn:
    """The life of the copy."""
    code = 1
    try:
        settle()
        answer: tuple[Any, Exception | None] = None, None
        try:
            answer = work(), None
        except Exception as error:
            answer = None, error
        with os.fdopen(out, "wb") as pipe:
            pickle.dump(answer, pipe, pickle.HIGHEST_PROTOCOL)
        code = 0
    finally:
        os._exit(code)
