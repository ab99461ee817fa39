"""`tapwall rules`: from captures to rules that were replayed, proved and explained.

Only Click and the standard library are imported at the top. stdout is the result (a table, or JSON), stderr is talk;
0 fine, 1 where the proof differs, 2 bad input or usage.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firewall.cli import SETTINGS, one_line_errors

if TYPE_CHECKING:
    from tapwall.pipeline import RulesResult

LEVELS = ("info", "low", "medium", "high", "critical")
WIDE = 34  # columns of a description before it is folded
ROOMY = 140  # columns of a terminal that has room for every measured number; elsewhere JSON and the report have them
VANTAGES = ("host", "router", "docker", "span")


@click.command(context_settings=SETTINGS)
@click.argument("captures", nargs=-1, required=True)
@click.option("--permit", multiple=True, metavar="NET", help="Never block this network.")
@click.option("--contain", multiple=True, metavar="HOST", help="Cut this host off, both ways; what keeps a network alive stays.")  # fmt: skip
@click.option(
    "--protect", multiple=True, metavar="HOST[:PORT]", help="Limit new connections per source to this service."
)
@click.option("--widen", multiple=True, metavar="NET", help="Block this whole prefix where an address in it is to be blocked.")  # fmt: skip
@click.option("--permit-learned", is_flag=True, help="Allow what the capture shows (findings left out), drop the rest.")
@click.option("--vantage", type=click.Choice(VANTAGES), help="Where the rules will stand (else derived).")
@click.option("--own", multiple=True, metavar="ADDR", help="Address of the machine that the rules will stand on (else derived).")  # fmt: skip
@click.option("--severity", type=click.Choice(LEVELS), default="medium", help="Least severity of a finding that gets a rule.")  # fmt: skip
@click.option("--ttl", default="24h", metavar="DUR", help="How long a block lives.")
@click.option("--compare", multiple=True, metavar="RULES", help="Replay these rules as well (policy.toml, iptables-save, nft -j).")  # fmt: skip
@click.option("--no-proof", is_flag=True, help="Simulate only, leave the kernel out.")
@click.option("--keylog", metavar="FILE", help="Key log (SSLKEYLOGFILE): look into the TLS sessions whose secrets it holds.")  # fmt: skip
@click.option("--force", is_flag=True, help="Insist on rules that cut protected traffic.")
@click.option("-o", "folder", metavar="DIR", help="Write all files and the report here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@one_line_errors
def rules(
    captures: tuple[str, ...],
    folder: str | None,
    as_json: bool,
    no_proof: bool,
    compare: tuple[str, ...],
    keylog: str | None,
    **options: Any,
) -> None:
    """Make firewall rules from captures, replay and prove them.

    Findings and your decisions become the narrowest rules that suffice. Each is replayed over the same capture (what it
    stops, what else it would cut) and proved in a private kernel namespace where one is to be had.

    \b
    Example:
      tapwall rules capture.pcapng --permit 192.168.0.0/16 -o rules/
    """
    from firewall.essentials import session_of
    from tapwall.pipeline import make_rules

    result = make_rules(
        _files(captures),
        _decisions(options),
        session=session_of(os.environ.get("SSH_CONNECTION", "")),
        created=int(time.time()),
        with_proof=not no_proof,
        compare=[(path, Path(path).read_text(encoding="utf-8", errors="replace")) for path in compare],
        keylog=keylog,
    )
    if folder is not None:
        _write(result, Path(folder))
    _show_json(result) if as_json else _show(result)
    sys.exit(1 if result.proof is not None and result.proof.available and result.proof.different else 0)


def _decisions(options: dict[str, Any]) -> Any:
    from analysis.findings import Severity
    from firewall.durations import seconds
    from firewall.errors import RuleError
    from firewall.generate import Decisions, service
    from firewall.rules import TTL_MAX_S, Vantage
    from firewall.sets import AddrSet

    for name in ("permit", "contain", "protect", "widen", "own"):
        for text in options[name]:
            try:
                service(text) if name == "protect" else AddrSet.parse(text)
            except RuleError as error:
                raise RuleError(f"--{name}: {error}") from error
    return Decisions(
        permit=options["permit"],
        contain=options["contain"],
        protect=options["protect"],
        widen=options["widen"],
        own=options["own"],
        severity=Severity[options["severity"].upper()],
        ttl_s=seconds(options["ttl"], TTL_MAX_S),
        vantage=Vantage(options["vantage"]) if options["vantage"] else None,
        permit_learned=options["permit_learned"],
        force=options["force"],
    )


def _files(captures: tuple[str, ...]) -> list[str]:
    from firewall.errors import ReadError

    if "-" in captures:
        raise ReadError("-: a capture is read several times here, expected a file")
    return list(captures)


def _write(result: RulesResult, folder: Path) -> None:
    """All files of the policy, and the report as HTML and Markdown."""
    from analysis.report import write_report
    from firewall.apply import write_files
    from firewall.page import markdown, summary

    data = result.to_json()
    data["lines"] = summary(data)  # what report.md says below the table
    write_files({**result.files, "report.md": markdown(data)}, folder)
    write_report(result.analysis, folder, data)
    click.echo(f"written: {folder / 'report.html'} and {len(result.files) + 1} files beside it", err=True)


def _show_json(result: RulesResult) -> None:
    import json

    click.echo(json.dumps(result.to_json(), ensure_ascii=True))


def _show(result: RulesResult) -> None:
    """A table on a terminal, tab-separated lines elsewhere; then what a person has to know besides."""
    from firewall.page import summary
    from firewall.render import table

    rows = table.rows(result.policy["rules"])
    if sys.stdout.isatty():
        _draw(rows)
    else:
        click.echo("\t".join(table.COLUMNS))
        for row in rows:
            click.echo("\t".join(row))
    for line in summary(result.to_json()):
        click.echo(line, err=not sys.stdout.isatty())


def _draw(rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from firewall.render import table

    console = Console(no_color=bool(os.environ.get("NO_COLOR")) or None)
    left_out = {"Id"} if console.width >= ROOMY else {"Id", "Bytes", "Conversations", "Prevented", "Expires"}
    shown = [at for at, name in enumerate(table.COLUMNS) if name not in left_out]
    drawn = Table(title="Rules, replayed over this capture", title_justify="left")
    for at in shown:
        name = table.COLUMNS[at]
        wide = WIDE if name == "Description" and console.width >= ROOMY else None  # the heads fold before the words do
        drawn.add_column(name, justify="right" if name in table.NUMBERS else "left", overflow="fold", min_width=wide)
    for row in rows:
        drawn.add_row(*(Text(row[at]) for at in shown))
    console.print(drawn if rows else Text("No rule is proposed: no finding calls for one, and nothing was decided."))
