"""`tapwall lab …`: the services of the lab, one command each, as docker-compose.yml starts them; and `tapwall demo`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def folder(name: str, default: str, text: str) -> Decorator:
    """An option that is a folder."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option(name, type=kind, default=Path(default), show_default=True, help=text)


REPORT = folder("--report", "/report", "Folder that all services share.")
CAPTURES = folder("--captures", "/captures", "Folder of the captures.")
SECONDS = click.option("--seconds", type=float, default=None, help="Stop after so long (default: never).")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """Play the lab's services: opening, intruder, drop, sniffer, analyst, wall, web."""


@lab.command()
@click.option("--server", default="server", show_default=True, metavar="HOST", help="The chat.")
@click.option("--port", default=1234, show_default=True, help="Port of the chat.")
@folder("--data", "/data", "Folder of the chat.")
@CAPTURES
@REPORT
def opening(server: str, port: int, data: Path, captures: Path, report: Path) -> None:
    """Clear away what an earlier lesson left, unless the lab is on.

    \b
    Example:
      tapwall lab opening --server server
    """
    from tapwall.lab.opening import clear, is_on
    from tapwall.lab.story import Story

    if is_on(server, port):
        click.echo("the lab is on already: nothing is cleared away")
        return
    try:
        gone = clear((captures, report, data))
        (report / "people").mkdir(exist_ok=True)
        for name in ("clear", "tls"):
            (data / name).mkdir(exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from error
    Story(report, "opening").tell("the lab opens" + ("; what the last lesson left is cleared away" if gone else ""))


@lab.command()
@click.argument("target")
@click.option("--port", default=1234, show_default=True, help="Port of the chat.")
@click.option("--interface", default="eth0", show_default=True, help="Interface of the ARP games.")
@click.option("--after", default=15.0, show_default=True, metavar="SECONDS", help="Wait before the first round.")
@click.option("--pause", default=10.0, show_default=True, metavar="SECONDS", help="Wait at least, between rounds.")
@click.option(
    "--patience",
    default=240.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait for the rules, at most, between rounds.",
)
@click.option("--rounds", default=2, show_default=True, help="How often everything is tried.")
@click.option("--stay", is_flag=True, help="Stay when all is over: the address is not given to another.")
@REPORT
def intruder(
    target: str,
    port: int,
    interface: str,
    after: float,
    pause: float,
    patience: float,
    rounds: int,
    stay: bool,
    report: Path,
) -> None:
    """Misbehave against TARGET, a private or loopback address, bounded in time and rate.

    \b
    Example:
      tapwall lab intruder server --after 20 --rounds 2
    """
    from tapwall.lab.intruder import NotTheLab, Plan, play
    from tapwall.lab.story import Story

    try:
        play(Story(report, "intruder"), target, port, interface, Plan(after, pause, patience, rounds))
    except NotTheLab as error:
        raise click.UsageError(str(error)) from error
    while stay:
        signal.pause()


@lab.command()
@click.option("--port", default=4444, show_default=True, help="Port to listen on.")
@REPORT
def drop(port: int, report: Path) -> None:
    """Listen for the intruder's beacon.

    \b
    Example:
      tapwall lab drop --port 4444
    """
    import asyncio

    from tapwall.lab.intruder import listen
    from tapwall.lab.story import Story

    asyncio.run(listen(port, Story(report, "drop")))


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--who", default="beside", show_default=True, help="Name in the story.")
@REPORT
def beside(words: tuple[str, ...], who: str, report: Path) -> None:
    """Run another command of ours for as long as the network is there that we share.

    \b
    Example:
      tapwall lab beside --who tls -- chat serve --config tls.toml
    """
    from tapwall.lab.network import Borrowed
    from tapwall.lab.network import beside as run_beside
    from tapwall.lab.story import Story

    _end_with_children()
    sys.exit(run_beside([sys.executable, "-m", "tapwall", *words], Borrowed(), Story(report, who)))


@lab.command()
@click.option("--interface", default="eth0", show_default=True)
@click.option("--rotate-mb", default=16, show_default=True, metavar="MB", help="Begin a new file after so much.")
@click.option("--keep", default=8, show_default=True, metavar="N", help="Files that are kept.")
@click.option(
    "--ready", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Made when others may start."
)
@SECONDS
@CAPTURES
@REPORT
def sniffer(
    interface: str,
    rotate_mb: int,
    keep: int,
    ready: Path | None,
    seconds: float | None,
    captures: Path,
    report: Path,
) -> None:
    """Capture in the server's network; go on after a full disk.

    \b
    Example:
      tapwall lab sniffer --interface eth0 --captures /captures
    """
    from tapwall.lab.network import Borrowed
    from tapwall.lab.sniffer import Sniffer
    from tapwall.lab.story import Story

    _end_with_children()
    Sniffer(captures, Story(report, "sniffer"), rotate_mb, keep, Borrowed(interface), ready).watch(seconds)


@lab.command()
@click.option("--every", default=8.0, show_default=True, metavar="SECONDS", help="How often to look.")
@click.option("--server", default="", metavar="HOST", help="The chat's host: its name or address.")
@click.option("--permit", multiple=True, metavar="[NAME=]NET_OR_HOST", help="People who must not be cut off.")
@SECONDS
@CAPTURES
@REPORT
def analyst(
    every: float, server: str, permit: tuple[str, ...], seconds: float | None, captures: Path, report: Path
) -> None:
    """Analyse captures as they grow; write the report and the rules.

    \b
    Example:
      tapwall lab analyst --captures /captures --report /report --server server
    """
    from tapwall.lab.analyst import Analyst, watch
    from tapwall.lab.names import PATIENCE_S
    from tapwall.lab.story import Story

    _end_with_children()
    analyst = Analyst(captures, report, Story(report, "analyst"), server, permit)
    analyst.book.look_up(PATIENCE_S)
    analyst.people.look_up(PATIENCE_S)
    watch(analyst, every, seconds)


@lab.command()
@click.option("--every", default=2.0, show_default=True, metavar="SECONDS", help="How often to look and to count.")
@click.option("--hold", default=0.0, show_default=True, metavar="SECONDS", help="Watch a first proposal so long.")
@folder("--state", "/tmp/wall", "Where the way back is kept.")
@SECONDS
@CAPTURES
@REPORT
def wall(every: float, hold: float, state: Path, seconds: float | None, captures: Path, report: Path) -> None:
    """Prove the proposed rules, apply them here, confirm, and count what they stop.

    \b
    Example:
      tapwall lab wall --captures /captures --report /report
    """
    from tapwall.lab.story import Story
    from tapwall.lab.wall import Wall, watch

    _end_with_children()
    watch(Wall(captures, report, Story(report, "wall"), hold, state), every, seconds)


@lab.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True)
@REPORT
def web(host: str, port: int, report: Path) -> None:
    """Serve the live page.

    \b
    Example:
      tapwall lab web --port 8080 --report report/
    """
    from tapwall.lab.web import make_server

    try:
        server = make_server(report, host, port)
    except OSError as error:
        raise click.UsageError(f"{host}:{port}: {error.strerror}") from error
    click.echo(f"the page is served on port {server.server_address[1]}")
    server.serve_forever()


def _end_with_children() -> None:
    """SIGTERM ends a service by way of its `finally`s: no command that it runs outlives it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


@click.command()
@click.option(
    "--folder",
    "place",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("lab"),
    show_default=True,
    help="Captures and report; an earlier demo's are cleared away.",
)
@click.option("--seconds", default=240.0, show_default=True, metavar="SECONDS", help="How long the lab stays up.")
@click.option("--hold", default=60.0, show_default=True, metavar="SECONDS", help="Watch the first rules so long.")
@click.option("--port", default=8080, show_default=True, help="Port of the page on 127.0.0.1; 0 picks one.")
@click.option("--quiet", is_flag=True, help="Without intruder and wall.")
@click.option("--inside", is_flag=True, hidden=True, help="We are in the namespace already.")
def demo(place: Path, seconds: float, hold: float, port: int, quiet: bool, inside: bool) -> None:
    """Play the lab's story without Docker, in network namespaces of this machine.

    \b
    Example:
      tapwall demo --folder lab --seconds 240
    """
    from tapwall import demo as stage

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # as Ctrl-C: what was started is ended
    plan = stage.Plan(place.resolve(), seconds, hold, not quiet)
    if inside:
        try:
            stage.inside(plan)
        except KeyboardInterrupt:
            sys.exit(130)
        return
    try:
        sys.exit(stage.play(plan, port))
    except OSError as error:
        raise click.UsageError(f"{place}: {error.strerror or error}") from error
