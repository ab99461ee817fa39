"""Commands of the firewall: check, replay, prove, render, apply, undo, diff. `python -m firewall` runs them.

Only Click and the standard library are imported at the top. stdout is the result, stderr is talk; 0 fine, 1 a check
that does not hold (differences, lock-out, rolled back), 2 bad input or usage, in one line (--debug: the traceback).
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from firewall.foreign import Loaded
    from firewall.rules import Policy
    from firewall.sets import AddrSet

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
FORMATS = ("iptables", "ip6tables", "ipset", "nftables", "docker", "toml", "json", "csv", "markdown", "html", "text")
BACKENDS = ("iptables", "nft")


class InputError(click.ClickException):
    """What a user can put right: one line, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """One line on stderr, nothing hidden in it."""
        from firewall.escape import visible

        click.echo(f"tapwall: {visible(self.format_message())}", err=True)


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the packages' errors into one line and exit code 2; --debug lets them through."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def run(*args: Any, debug: bool, **options: Any) -> Any:
        from analysis.errors import AnalysisError
        from firewall.errors import FirewallError

        try:
            return command(*args, **options)
        except (AnalysisError, FirewallError, OSError) as error:
            if debug:
                raise
            raise InputError(str(error)) from None

    return run


JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
HOST = click.option("--host", "hosts", multiple=True, metavar="ADDR", help="Own address of the machine with the rules (else derived).")  # fmt: skip
STATE = click.option("--state", default="/var/lib/tapwall", metavar="DIR", help="Where backups and tokens are kept.")
BACKEND = click.option("--backend", type=click.Choice(BACKENDS), default="iptables", help="What loads the rules.")
FORCE = click.option("--force", is_flag=True, help="Insist on rules that cut protected traffic.")


@click.group(context_settings=SETTINGS)
def cli() -> None:
    """Check, replay, prove, render and apply firewall rules.

    \b
    Example:
      tapwall firewall replay <(iptables-save) capture.pcapng
    """


@cli.command()
@click.argument("rules")
@JSON
@one_line_errors
def check(rules: str, as_json: bool) -> None:
    """Look for rules without effect, rules in conflict and lock-outs.

    RULES is a policy.toml. Exit code 1 where a drop would cut protected traffic or a rule is never reached.

    \b
    Example:
      tapwall firewall check policy.toml
    """
    from firewall import anomalies, lockout

    policy = _policy(rules)
    found = anomalies.find(policy)
    cut = [{"rule": rule.id, "cuts": name} for rule, name in lockout.cuts(policy)]
    bad = bool(cut) or any(a.kind == "shadowing" for a in found)
    if as_json:
        _print_json({"rules": len(policy.rules), "anomalies": [a.to_json() for a in found], "cuts": cut})
    else:
        for a in found:
            _print_row(a.kind, a.rule, ",".join(a.others) or "-", a.text)
        for row in cut:
            _print_row("cuts", row["rule"], "-", f"would cut {row['cuts']}")
        _talk(f"{len(policy.rules)} rules, {len(found)} anomalies, {len(cut)} lock-outs")
    sys.exit(1 if bad else 0)


@cli.command()
@click.argument("rules")
@click.argument("captures", nargs=-1, required=True)
@HOST
@click.option("--interface", metavar="NAME", help="Interface the capture was taken on, for -i and -o matches.")
@click.option("--findings/--no-findings", default=True, help="Also judge how much of each finding is stopped.")
@JSON
@one_line_errors
def replay(
    rules: str, captures: tuple[str, ...], hosts: tuple[str, ...], interface: str | None, findings: bool, as_json: bool
) -> None:
    """Ask what rules would have done with a capture.

    RULES is a policy.toml, or what iptables-save, ip6tables-save or nft -j list ruleset prints. A match that the model
    does not know is unknown, never guessed.

    \b
    Example:
      iptables-save | tapwall firewall replay - capture.pcapng
    """
    loaded = _load(rules)
    paths = _captures(captures, rules)
    members = _members(paths) if findings else {}
    result, _ = _replay(loaded, paths, hosts, interface, members)
    if as_json:
        _print_json(result)
        return
    for row in result["rules"]:
        why = (
            f"0 hits: {row['why_dead']}"
            if row["why_dead"]
            else f"{row['conversations']} conversations, {row['prevented_conversations']} prevented"
        )
        _print_row(row["id"] or "-", row["hits"], row["bytes"], row["text"], why)
    _talk(
        f"{result['packets']} packets: {result['dropped']} dropped, {result['permitted']} permitted, {result['unknown']} unknown, {result['default_hits']} by default; {len(result['dead_rules'])} dead rules"
    )
    for note in result["notes"]:
        _talk(f"note: {note}")


@cli.command()
@click.argument("rules")
@click.argument("captures", nargs=-1, required=True)
@HOST
@click.option("--dialect", type=click.Choice(BACKENDS), multiple=True, help="Only these (else both).")
@JSON
@one_line_errors
def prove(
    rules: str, captures: tuple[str, ...], hosts: tuple[str, ...], dialect: tuple[str, ...], as_json: bool
) -> None:
    """Load rules in a private kernel namespace, replay the packets, compare the counters.

    Needs no root where unprivileged user namespaces are allowed. Exit code 1 where a counter differs.

    \b
    Example:
      tapwall firewall prove policy.toml capture.pcapng
    """
    from analysis import run
    from firewall.prove import prove as prove_rules

    loaded = _load(rules)
    paths = _captures(captures, rules)
    proof = prove_rules(
        loaded.program, run.batches(paths), local=_local(loaded, paths, hosts), dialects=dialect or None
    )
    if as_json:
        _print_json(proof.to_json())
    elif not proof.available:
        _talk(f"simulated only: {proof.reason}")
    else:
        click.echo(
            f"{proof.equal} of {proof.rules} rules equal in packets and bytes ({', '.join(proof.dialects)}; {proof.sent} packets)"
        )
        for row in proof.different:
            _print_row("different", row["dialect"], row["rule"], row["simulated"], row["kernel"], row["cause"] or "-")
        for name in proof.not_comparable:
            _print_row("not comparable", name, "depends on real time")
        for note in proof.notes:
            _talk(f"note: {note}")
    sys.exit(1 if proof.available and proof.different else 0)


@cli.command()
@click.argument("policy")
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="What to write.")
@one_line_errors
def render(policy: str, form: str) -> None:
    """Write a policy for a firewall, or as a table for people, on stdout.

    \b
    Example:
      tapwall firewall render policy.toml --to nftables
    """
    click.echo(_rendered(_policy(policy), form), nl=False)


@cli.command()
@click.argument("policy")
@click.argument("saved", required=False)
@BACKEND
@one_line_errors
def diff(policy: str, saved: str | None, backend: str) -> None:
    """Compare a policy with what is loaded, or with a saved ruleset.

    Both sides as the kernel prints them, so spelling makes no difference. Exit code 1 where they differ.

    \b
    Example:
      tapwall firewall diff policy.toml saved-rules.txt
    """
    from firewall.apply import diff as compare

    lines = compare(_policy(policy), backend, _text(saved) if saved else None)
    for line in lines:
        _print_row(line)
    _talk("no difference" if not lines else f"{len(lines)} lines of difference")
    sys.exit(1 if lines else 0)


@cli.command()
@click.argument("policy")
@BACKEND
@click.option("--confirm-within", default="60s", metavar="DUR", help="Go back unless confirmed within this time; 0 keeps at once.")  # fmt: skip
@STATE
@FORCE
@one_line_errors
def apply(policy: str, backend: str, confirm_within: str, state: str, force: bool) -> None:
    """Load a policy on this machine: test, backup, load, confirm or roll back.

    The way back is armed before anything is loaded and survives a lost connection. A policy that is loaded already
    changes nothing.

    \b
    Example:
      tapwall firewall apply policy.toml --confirm-within 60s
    """
    from firewall import apply as edge
    from firewall import namespace
    from firewall.durations import seconds
    from firewall.lockout import refuse_cuts

    wanted = _policy(policy)
    wait_s = 0 if confirm_within.strip() in ("0", "0s") else seconds(confirm_within, 86400)
    if not (force or wanted.forced):
        refuse_cuts(wanted)
    if namespace.refused() is None:
        edge.try_load(wanted, backend)
        if not edge.diff(wanted, backend) and edge.hooked(wanted, backend):
            _talk("already loaded: nothing was changed")
            return
    else:
        _talk(f"not tested before loading: {namespace.refused()}")
    sys.exit(edge.apply(wanted, backend=backend, confirm_s=wait_s, state=Path(state)))


@cli.command()
@STATE
@one_line_errors
def undo(state: str) -> None:
    """Remove tapwall's rules from this machine, and nothing else.

    \b
    Example:
      tapwall firewall undo
    """
    from firewall import apply as edge

    sys.exit(edge.undo(Path(state)))


# What the commands share


def _text(path: str) -> str:
    """A rules file; - is stdin. Bytes that are no UTF-8 are shown, never sent on."""
    if path == "-":
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    return Path(path).read_bytes().decode("utf-8", "replace")


def _load(path: str) -> Loaded:
    from firewall.foreign import load

    return load(_text(path), path)


def _policy(path: str) -> Policy:
    from firewall.errors import ReadError

    loaded = _load(path)
    if loaded.policy is None:
        raise ReadError(f"{path}: {loaded.form} rules, expected a policy.toml")
    return loaded.policy


def _captures(captures: tuple[str, ...], rules: str) -> list[str]:
    from firewall.errors import ReadError

    if "-" in captures:
        raise ReadError(
            "-: a capture is read more than once here, expected a file" if rules != "-" else "-: given twice"
        )
    return list(captures)


def _local(loaded: Loaded, paths: list[str], hosts: tuple[str, ...]) -> AddrSet:
    """Own addresses: as given, as the policy says, or as the capture shows."""
    from analysis import run
    from firewall.rules import Vantage
    from firewall.sets import AddrSet
    from firewall.survey import Surveyor

    if hosts:
        return AddrSet.parse(*hosts)
    if loaded.policy is not None:
        if loaded.policy.local or loaded.policy.vantage is not Vantage.HOST:
            return loaded.policy.local if loaded.policy.vantage is Vantage.HOST else AddrSet()
    surveyor = Surveyor({})
    for batch in run.batches(paths):
        surveyor.update(batch)
    survey = surveyor.finish()
    _talk(
        f"own address: {survey.own.label()} ({survey.own_why})"
        if survey.own
        else f"everything is taken as forwarded: {survey.own_why}"
    )
    return survey.own


def _members(paths: list[str]) -> dict[str, Any]:
    from analysis import run
    from firewall.stops import finding_flows

    analysis = run.analyse(paths)
    return finding_flows(analysis.findings, analysis.flows, analysis.texts)


def _replay(
    loaded: Loaded, paths: list[str], hosts: tuple[str, ...], interface: str | None, members: dict[str, Any]
) -> tuple[dict[str, Any], AddrSet]:
    from analysis import run
    from firewall.explain import Explainer
    from firewall.report import replay_json
    from firewall.simulate import Simulator

    local = _local(loaded, paths, hosts)
    simulator = Simulator(loaded.program, local=local, findings=members, interface=interface)
    for batch in run.batches(paths):
        simulator.update(batch)
    explainer = Explainer(simulator.conversations, local)
    result = replay_json(loaded.program, simulator.finish(), simulator.conversations, explainer)
    result["local"] = list(local.texts())
    return result, local


def _rendered(policy: Policy, form: str) -> str:
    from firewall.errors import UnsupportedError
    from firewall.files import RENDERERS
    from firewall.files import render as render_form
    from firewall.lower import lower
    from firewall.policyfile import write
    from firewall.render import table
    from firewall.report import rule_json

    if form == "toml":
        return write(policy)
    if form in RENDERERS:
        artifact = render_form(lower(policy), form)
        for rule, why in artifact.unsupported:
            raise UnsupportedError(rule, form, why)
        return artifact.text
    rows = [rule_json(rule, None, (), None) for rule in policy.rules]
    if form == "text":
        return "".join("\t".join(row) + "\n" for row in [list(table.COLUMNS), *table.rows(rows)])
    return {"json": table.to_json, "csv": table.to_csv, "markdown": table.markdown, "html": table.html}[form](rows)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=True))


def _print_row(*cells: object) -> None:
    """Plain tab-separated cells, nothing hidden in them."""
    from firewall.escape import visible

    click.echo("\t".join(visible(str(cell)) for cell in cells))


def _talk(text: str) -> None:
    from firewall.escape import visible

    click.echo(visible(text), err=True)
