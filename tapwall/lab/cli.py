"""`tapwall lab …`: the services of the lab, one command each, as docker-compose.yml starts them."""

from __future__ import annotations

from pathlib import Path

import click

REPORT = click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/report"),
    show_default=True,
    help="Folder that all services share.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """Play the lab's services: intruder, drop, analyst, wall, web."""


@lab.command()
@click.argument("target")
@click.option("--port", default=1234, show_default=True, help="Port of the chat.")
@click.option("--interface", default="eth0", show_default=True, help="Interface of the ARP games.")
@click.option("--after", default=20.0, show_default=True, metavar="SECONDS", help="Wait before the first round.")
@click.option("--pause", default=25.0, show_default=True, metavar="SECONDS", help="Wait between rounds.")
@click.option("--rounds", default=2, show_default=True, help="How often everything is tried.")
@click.option("--seed", default=1, show_default=True, help="Seed of ports, guesses and jitter.")
@REPORT
def intruder(
    target: str, port: int, interface: str, after: float, pause: float, rounds: int, seed: int, report: Path
) -> None:
    """Misbehave against TARGET, a private or loopback address, bounded in time and rate.

    \b
    Example:
      tapwall lab intruder server --after 20 --rounds 2
    """
    import asyncio
    import time

    from tapwall.lab.intruder import NotTheLab, misbehave
    from tapwall.lab.story import Story

    story = Story(report, "intruder")
    for turn in range(rounds):
        time.sleep(after if turn == 0 else pause)
        story.tell(f"round {turn + 1} of {rounds} begins")
        try:
            asyncio.run(misbehave(target, port, interface, 60.0, story.tell, seed + turn))
        except NotTheLab as error:
            raise click.UsageError(str(error)) from error
        except OSError as error:
            story.tell(f"gives up: {error.strerror or error}")
    story.tell("goes away")


@lab.command()
@click.option("--port", default=4444, show_default=True, help="Port to listen on.")
def drop(port: int) -> None:
    """Listen for the intruder's beacon.

    \b
    Example:
      tapwall lab drop --port 4444
    """
    import asyncio

    from tapwall.lab.intruder import listen

    asyncio.run(listen(port))


@lab.command()
@click.option(
    "--captures", type=click.Path(path_type=Path, file_okay=False), default=Path("/captures"), show_default=True
)
@click.option("--every", default=8.0, show_default=True, metavar="SECONDS", help="How often to look.")
@click.option("--seconds", type=float, default=None, help="Stop after so long (default: never).")
@click.option("--protect", default="", metavar="HOST", help="The server: its name or address.")
@click.option("--permit", multiple=True, metavar="NET_OR_HOST", help="People who must not be cut off.")
@REPORT
def analyst(
    captures: Path, every: float, seconds: float | None, protect: str, permit: tuple[str, ...], report: Path
) -> None:
    """Analyse captures as they grow; write the report and the rules.

    \b
    Example:
      tapwall lab analyst --captures /captures --report /report --protect server
    """
    from tapwall.lab.analyst import Analyst, watch
    from tapwall.lab.names import addresses
    from tapwall.lab.story import Story

    server = addresses((protect,))[0] if protect else ""
    watch(Analyst(captures, report, Story(report, "analyst"), server, tuple(addresses(permit))), every, seconds)


@lab.command()
@click.option(
    "--captures", type=click.Path(path_type=Path, file_okay=False), default=Path("/captures"), show_default=True
)
@click.option("--every", default=2.0, show_default=True, metavar="SECONDS", help="How often to look and to count.")
@click.option("--seconds", type=float, default=None, help="Stop after so long (default: never).")
@click.option(
    "--hold",
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="Watch a first proposal so long before applying it.",
)
@REPORT
def wall(captures: Path, every: float, seconds: float | None, hold: float, report: Path) -> None:
    """Prove the proposed rules, apply them here, confirm, and count what they stop.

    \b
    Example:
      tapwall lab wall --captures /captures --report /report
    """
    from tapwall.lab.story import Story
    from tapwall.lab.wall import Wall, watch

    watch(Wall(captures, report, Story(report, "wall"), hold_s=hold), every, seconds)


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
    click.echo(f"listening on http://{host}:{server.server_address[1]}")
    server.serve_forever()


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("lab"),
    show_default=True,
    help="Captures and report.",
)
@click.option("--seconds", default=200.0, show_default=True, metavar="SECONDS", help="How long the lab stays up.")
@click.option("--port", default=8080, show_default=True, help="Port of the page on 127.0.0.1; 0 picks one.")
@click.option("--quiet", is_flag=True, help="Without intruder and wall.")
@click.option("--inside", is_flag=True, hidden=True, help="We are in the namespace already.")
def demo(folder: Path, seconds: float, port: int, quiet: bool, inside: bool) -> None:
    """Play the lab's story without Docker, in network namespaces of this machine.

    \b
    Example:
      tapwall demo --folder lab --seconds 200
    """
    import signal
    import sys

    from tapwall import demo as stage

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if inside:
        try:
            stage.inside(folder.resolve(), seconds, not quiet)
        except KeyboardInterrupt:
            sys.exit(130)
        return
    try:
        sys.exit(stage.play(folder.resolve(), seconds, port, not quiet))
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror or error}") from error
