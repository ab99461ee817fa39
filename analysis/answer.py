"""What `analyze` does, whoever asks: captures in; summary, JSON, files and an exit code out.

Click is not needed for it: without options, a capture is answered before Click would have loaded (`plainly`).
stdout is the result, stderr is talk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.display_filter import DisplayFilter
    from analysis.run import Analysis

LEVELS = ("info", "low", "medium", "high", "critical")


class Progress:
    """A bar on stderr for captures that take a while; nothing where stderr is no terminal."""

    FROM_BYTES = 64 << 20  # smaller ones are done before a bar would be read

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total` bytes."""
        if not self._shown or total < self.FROM_BYTES:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task("analysing", total=total)
        self._bar.update(self._bar.task_ids[0], completed=done)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def answer(
    captures: Sequence[str],
    *,
    output: str | None = None,
    as_json: bool = False,
    interval: float = 1.0,
    only: tuple[str, ...] | None = None,
    fail_on: str | None = None,
    expression: str | None = None,
    trust: tuple[str, ...] = (),
    intel: str | None = None,
    thresholds: str | None = None,
    keylog: str | None = None,
) -> int:
    """Analyse and print; 1 where a finding is at or above `fail_on`, else 0. The options are those of the command.

    Raises AnalysisError for what cannot be read, OSError for what cannot be written.
    """
    from analysis.quick_numpy import import_numpy

    import_numpy()
    from analysis.run import Settings, analyse

    at_once = as_json and output is None  # else files that cannot be written are said before there is a result
    with Progress() as progress:
        extra = {"thresholds_file": thresholds} if thresholds else {}
        settings = Settings(interval_s=interval, trusted=trust, intel=intel, keylog=keylog, extra=extra)
        judge = not as_json or output is not None or fail_on is not None or only is None or "findings" in only
        analysis = analyse(
            captures,
            settings=settings,
            only=only,
            progress=progress,
            selector=selector(expression),
            judge=judge,
            meanwhile=_begin_json if at_once else None,
        )
    if output is not None:
        _write(analysis, output)
    if as_json:
        from analysis.json_out import write_rest

        if not at_once:
            _begin_json(analysis)
        write_rest(analysis, sys.stdout.buffer)
    else:
        from analysis.run import Overview
        from analysis.summary import print_summary

        print_summary(Overview(analysis), sys.stdout)
    return int(bool(fail_on) and any(f.severity >= LEVELS.index(fail_on or "") for f in analysis.findings))


def _begin_json(analysis: Analysis) -> None:
    from analysis.json_out import write_tables

    write_tables(analysis, sys.stdout.buffer)


def selector(expression: str | None) -> DisplayFilter | None:
    """A display filter of the command line; raises AnalysisError for what is none."""
    if expression is None:
        return None
    from analysis.display_filter import DisplayFilter

    return DisplayFilter(expression)


def _write(analysis: Analysis, output: str) -> None:
    """Everything that -o promises, into one folder."""
    from pathlib import Path

    from analysis.export import write_tables
    from analysis.report import write_report

    folder = Path(output)
    write_tables(analysis, folder)
    sys.stderr.write(f"report: {write_report(analysis, folder)}\n")


def no_more_output() -> None:
    """The reader of our output has seen enough (`| head`): what is still to come goes nowhere."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  closed by the interpreter, after its last flush


def plainly(captures: Sequence[str]) -> int:
    """`analyze CAPTURE...` without options: its exit code. Errors are one line on stderr."""
    from analysis.errors import AnalysisError, one_line

    try:
        return answer(captures)
    except BrokenPipeError:
        no_more_output()
        return 0
    except (AnalysisError, OSError) as error:
        sys.stderr.write(one_line(error))
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
