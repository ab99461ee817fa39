"""Commands of the analysis: analyze, packets, verify, capture. `python -m analysis` runs them without installing.

Only Click and the standard library are imported at the top: help and completion answer before numpy would have loaded.
stdout is the result, stderr is talk; 0 fine, 1 a finding at or above --fail-on (or a check that does not hold), 2 bad
input or usage, in one line (--debug shows the traceback).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from analysis.answer import LEVELS, answer, no_more_output, selector
from analysis.errors import AnalysisError, one_line

PARTS = ("capture", "hierarchy", "conversations", "endpoints", "io", "tcp_analysis", "packet_lengths", "findings")
SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


class InputError(click.ClickException):
    """What a user can put right: one line, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """One line on stderr."""
        click.echo(one_line(self), nl=False, err=True)


def _one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the package's errors into one line and exit code 2; --debug lets them through."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def run(*args: Any, debug: bool, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except BrokenPipeError:
            no_more_output()
            raise click.exceptions.Exit(0) from None
        except (AnalysisError, OSError) as error:
            if debug:
                raise
            raise InputError(str(error)) from None

    return run


@click.group(context_settings=SETTINGS)
def cli() -> None:
    """Analyse network captures: Wireshark's statistics, findings, live capture.

    \b
    Example:
      python -m analysis analyze capture.pcapng --json
    """


_keylog = click.option(
    "--keylog", metavar="FILE", help="Key log (SSLKEYLOGFILE): look into the TLS sessions whose secrets it holds."
)


def _parts(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    for part in parts:
        if part not in PARTS:
            raise click.BadParameter(f"got {part!r}, expected some of {', '.join(PARTS)}")
    return parts


@cli.command(context_settings=SETTINGS)
@click.argument("captures", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("-o", "--output", metavar="DIR", help="Also write report, pictures, findings.json, CSV and Parquet.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--interval", default=1.0, metavar="S", type=click.FloatRange(min=1e-6), help="Bins of the I/O graph.")
@click.option("--only", callback=_parts, metavar="PART,...", help=f"Leave out other parts. Of: {', '.join(PARTS)}.")
@click.option("--fail-on", type=click.Choice(LEVELS), help="Exit with 1 if a finding is at or above this level.")
@click.option("--filter", "expression", metavar="EXPR", help="Analyse only packets that a display filter selects.")
@click.option("--trust", multiple=True, metavar="NET", help="Network that is never accused; may be repeated.")
@click.option(
    "--intel", metavar="FILE", help="File of addresses, networks, names and fingerprints known to be bad, one a line."
)
@click.option("--thresholds", metavar="FILE", help="TOML file with changed thresholds of detectors.")
@_keylog
@_one_line_errors
def analyze(
    captures: tuple[str, ...],
    output: str | None,
    as_json: bool,
    interval: float,
    only: tuple[str, ...] | None,
    fail_on: str | None,
    expression: str | None,
    trust: tuple[str, ...],
    intel: str | None,
    thresholds: str | None,
    keylog: str | None,
) -> None:
    """Analyse captures: what happened, is it bad.

    Several captures are one analysis, merged by time; `-` is stdin. With --filter the tables are those of the selected
    packets, as if nothing else had been captured; frame numbers stay those of the file.

    \b
    Example:
      tapwall analyze capture.pcapng
      tapwall analyze monday.pcap tuesday.pcap.gz -o report/ --fail-on high
    """
    code = answer(
        captures,
        output=output,
        as_json=as_json,
        interval=interval,
        only=only,
        fail_on=fail_on,
        expression=expression,
        trust=trust,
        intel=intel,
        thresholds=thresholds,
        keylog=keylog,
    )
    if code:
        raise click.exceptions.Exit(code)


def _fields(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


@cli.command(context_settings=SETTINGS)
@click.argument("arguments", nargs=-1, required=True, metavar="CAPTURE... [EXPR]")
@click.option("--fields", callback=_fields, metavar="A,B,...", help="Columns to print, in this order.")
@click.option("--tsv", is_flag=True, help="Tab-separated with a header line (the default away from a terminal).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a list of packets.")
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="Stop after N packets.")
@click.option("-w", "--write", "path", metavar="FILE", help="Write the packets to a new pcapng file instead.")
@click.option("--detail", metavar="N", type=click.IntRange(min=1), help="Show frame N in full (needs tshark).")
@_keylog
@_one_line_errors
def packets(
    arguments: tuple[str, ...],
    fields: tuple[str, ...] | None,
    tsv: bool,
    as_json: bool,
    limit: int | None,
    path: str | None,
    detail: int | None,
    keylog: str | None,
) -> None:
    """Print one line a packet: layers, stream, TCP flags.

    EXPR is a display filter in Wireshark's syntax: the last argument, where it is no file.

    \b
    Example:
      tapwall packets capture.pcapng 'tcp.analysis.flags && ip.addr == 10.0.0.0/8'
      tapwall packets capture.pcapng --fields number,source,destination,path --limit 20
      tapwall packets capture.pcapng dns -w dns.pcapng
      tapwall packets capture.pcapng --detail 7
    """
    from analysis.quick_numpy import import_numpy

    import_numpy()
    from analysis.packets import DEFAULT_FIELDS, FIELDS, packet_rows

    del tsv  # what is printed anyway; the flag says that a script relies on it
    captures, expression = _captures_and_filter(arguments)
    names = fields or DEFAULT_FIELDS
    for name in names:
        if name not in FIELDS:
            raise click.BadParameter(f"got {name!r}, expected some of {', '.join(FIELDS)}", param_hint="--fields")
    if detail is not None:
        _show_detail(captures, detail, keylog)
        return
    chosen = selector(expression)
    if path is not None:
        from analysis.packet_writer import PacketWriter

        if any(os.path.exists(name) and os.path.exists(path) and os.path.samefile(name, path) for name in captures):
            raise InputError(f"{path}: is the capture that is read, expected another file for -w")
        with PacketWriter(path) as writer:
            for _ in packet_rows(captures, (), chosen, limit=limit, writer=writer, keylog=keylog):
                pass
        click.echo(f"{writer.packets} packets written to {path}", err=True)
        return
    _print_rows(packet_rows(captures, names, chosen, limit=limit, keylog=keylog), names, as_json)


def _captures_and_filter(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """The last of several arguments is a filter unless it is a file or stdin."""
    if len(arguments) > 1 and arguments[-1] != "-" and not os.path.exists(arguments[-1]):
        return arguments[:-1], arguments[-1]
    return arguments, None


def _show_detail(captures: tuple[str, ...], number: int, keylog: str | None) -> None:
    """One frame through tshark."""
    from analysis.dissect import detail

    if len(captures) != 1 or captures[0] == "-":
        raise click.UsageError("--detail shows a frame of one capture file")
    if not os.path.exists(captures[0]):
        raise InputError(f"{captures[0]}: no such file")
    for line in detail(captures[0], number, keylog):
        sys.stdout.write(line + "\n")


def _print_rows(chunks: Iterable[list[list[Any]]], names: tuple[str, ...], as_json: bool) -> None:
    """Lines with a header, or one JSON object."""
    from analysis.packets import tsv_lines

    shown: list[dict[str, Any]] = []
    header = "" if as_json else "\t".join(names) + "\n"  # not before the capture could be read
    for chunk in chunks:
        sys.stdout.write(header)
        header = ""
        if as_json:
            shown += [dict(zip(names, row)) for row in zip(*chunk)]
        else:
            sys.stdout.write(tsv_lines(chunk))
    sys.stdout.write(header)  # of a capture without packets
    if as_json:
        import json

        sys.stdout.write(json.dumps({"packets": shown}) + "\n")


@cli.command(context_settings=SETTINGS)
@click.argument("captures", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("--oracle", metavar="DIR", help="Read Wireshark's answers from DIR instead of running tshark.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_keylog
@_one_line_errors
def verify(captures: tuple[str, ...], oracle: str | None, as_json: bool, keylog: str | None) -> None:
    """Run tshark beside us and print every difference.

    Exit code 1 if a table differs.

    \b
    Example:
      tapwall verify capture.pcapng
    """
    from analysis.verify import Report, lines, verify_capture

    reports: list[Report] = [verify_capture(path, oracle, keylog) for path in captures]
    if as_json:
        import json

        shown = [report.to_json() for report in reports]
        sys.stdout.write(json.dumps(shown[0] if len(shown) == 1 else {"captures": shown}) + "\n")
    else:
        for report in reports:
            sys.stdout.write("".join(f"{line}\n" for line in lines(report)))
    if any(not report.equal for report in reports):
        raise click.exceptions.Exit(1)


@cli.command(context_settings=SETTINGS)
@click.option("-i", "--interface", required=True, metavar="IFACE", help="Interface to listen on.")
@click.option("-w", "--write", "path", default="capture.pcapng", metavar="FILE", help="File to write.")
@click.option("--bpf", default="", metavar="EXPR", help="Capture filter (BPF syntax).")
@click.option(
    "--rotate-mb", metavar="MB", type=click.FloatRange(min=0, min_open=True), help="New file after so many MB."
)
@click.option("--keep", metavar="N", type=click.IntRange(min=1), help="Keep the newest N files of a rotation.")
@click.option("--seconds", metavar="S", type=click.FloatRange(min=0, min_open=True), help="Stop after so long.")
@click.option(
    "--findings", is_flag=True, help="Print findings while capturing, each once, and again when ten times larger."
)
@click.option(
    "--every",
    default=30.0,
    metavar="S",
    type=click.FloatRange(min=1),
    help="Seconds between judgements for --findings.",
)
@click.option("--severity", type=click.Choice(LEVELS), default="low", help="Least severity that --findings prints.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --findings one a line before it.")
@_one_line_errors
def capture(
    interface: str,
    path: str,
    bpf: str,
    rotate_mb: float | None,
    keep: int | None,
    seconds: float | None,
    findings: bool,
    every: float,
    severity: str,
    as_json: bool,
) -> None:
    """Capture live traffic into rotating files.

    Ends after --seconds or with Ctrl-C; says how many packets the system had to drop. With --findings the newest ten
    files are judged together, every so often and at the end: rotation bounds what that costs.

    \b
    Example:
      tapwall capture -i eth0 -w office.pcapng --rotate-mb 100 --keep 10
      tapwall capture -i eth0 --rotate-mb 20 --keep 10 --findings
    """
    import json

    from analysis.live import record
    from analysis.live_findings import LiveFindings, line

    if findings:
        with LiveFindings(lambda row: click.echo(json.dumps(row) if as_json else line(row)), every, severity) as judge:
            summary = record(interface, path, bpf, rotate_mb, keep, seconds, begun=judge.begun)
        if judge.trouble:
            click.echo(f"findings: {judge.trouble}", err=True)
    else:
        summary = record(interface, path, bpf, rotate_mb, keep, seconds)
    if as_json:
        sys.stdout.write(json.dumps(summary._asdict()) + "\n")
    else:
        drops = "unknown" if summary.drops is None else summary.drops
        click.echo(f"{summary.packets} packets, {drops} dropped, {', '.join(summary.files)}")


def main() -> None:
    """Entry point of `python -m analysis`; an interrupt exits with 130, as shells expect."""
    try:
        code = cli.main(standalone_mode=False, prog_name="python -m analysis")
    except click.exceptions.Abort:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
