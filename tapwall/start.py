"""Where every command starts and ends: as little as can be before the work, nothing after it.

`tapwall analyze CAPTURE...` without options is answered before Click would have loaded; all else is cli.py's.
"""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn


def _start_light() -> None:
    """What a short run would pay for and not use: a fifth of the time that a capture of a thousand packets takes.

    The threads of numpy's linear algebra (nothing here multiplies matrices), and searches for cyclic garbage among
    the objects of imported modules, every 700 new ones.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(50_000, 20, 20)


def is_plain(words: Sequence[str]) -> bool:
    """True for `analyze` and captures, without any option: what Click would make of it is known."""
    return len(words) > 1 and words[0] == "analyze" and not any(word.startswith("-") and word != "-" for word in words)


def _leave(code: int) -> NoReturn:
    """Exit without taking the interpreter apart object by object, which takes 10 ms and has no effect outside.

    What was registered for the end is done. Where threads still run, or the last output fails, Python ends as usual.
    """
    if threading.active_count() == 1:
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            with suppress(BrokenPipeError):  # the reader of our output has seen enough
                sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def main() -> NoReturn:
    """Entry point. Exit codes: 0 fine, 1 findings at or above --fail-on, 2 bad input or usage, 130 interrupted."""
    _start_light()
    words = sys.argv[1:]
    if is_plain(words) and "_TAPWALL_COMPLETE" not in os.environ:
        from analysis.answer import plainly

        _leave(plainly(words[1:]))
    from tapwall.cli import run

    _leave(run())
