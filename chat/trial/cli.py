"""`load`, `check`: a server put to the test. Exit code 1 if a delivery is missing or a promise was not kept."""

import json
from typing import Any

import click


@click.command()
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Server; it must be yours.")
@click.option("--port", default=1234, metavar="PORT", type=click.IntRange(1, 65535), help="TCP port of the server.")
@click.option("--spawn", is_flag=True, help="Start a server for the measurement, without rate limits.")
@click.option("--durable/--no-durable", default=True, help="With --spawn: history on disk, or in memory only.")
@click.option("--clients", default=100, metavar="N", type=click.IntRange(1, 20_000), help="Members of the room.")
@click.option("--senders", default=10, metavar="K", type=click.IntRange(1), help="Members that talk.")
@click.option("--seconds", default=10.0, metavar="S", help="How long they talk.")
@click.option("--rate", default=100.0, metavar="R", help="Messages/s of all together; 0: as fast as acknowledged.")
@click.option(
    "--window",
    default=10,
    metavar="W",
    type=click.IntRange(1),
    help="With --rate 0: unacknowledged messages of a sender.",
)
@click.option(
    "--size", default=100, metavar="BYTES", type=click.IntRange(21, 16_000), help="Bytes of a message's text."
)
@click.option("--slow", default=0, metavar="N", type=click.IntRange(0), help="Members that stop reading.")
@click.option("--room", default="load", metavar="ROOM", help="Room to use.")
@click.option(
    "--files", default=0, metavar="N", type=click.IntRange(0), help="Files sent meanwhile, one after the other."
)
@click.option("--file-mb", default=8, metavar="MB", type=click.IntRange(1, 1024), help="Size of each.")
@click.option("--receivers", default=3, metavar="N", type=click.IntRange(0, 100), help="Members that fetch each file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def load(host: str, port: int, spawn: bool, durable: bool, as_json: bool, **plan: Any) -> None:
    """Measure a server under load: deliveries, delay, errors, its CPU and memory.

    \b
    Example:
      tapwall chat load --spawn --clients 100 --senders 10 --rate 0 --seconds 5
      tapwall chat load --port 1234 --clients 50 --rate 20 --json
    """
    import asyncio

    from chat.link import Address
    from chat.trial import load as loading
    from chat.trial.files import FilePlan

    if plan["senders"] + plan["slow"] > plan["clients"]:
        raise click.UsageError("--senders and --slow together are more than --clients")
    files = FilePlan(plan.pop("files"), plan.pop("file_mb") << 20, plan.pop("receivers"), plan["room"])
    planned = loading.Plan(size_bytes=plan.pop("size"), files=files, **plan)
    if spawn:
        from chat.trial.check import spawned_load

        report = asyncio.run(spawned_load(planned, durable))
    else:
        report = loading.run_load(planned, Address(host, port))
    click.echo(json.dumps(report) if as_json else loading.summary(report))
    if report["missing"] or report["errors"] or (report["files"] or {}).get("failures"):
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--rounds", default=20, metavar="N", type=click.IntRange(1), help="Times the server is killed.")
@click.option("--writers", default=4, metavar="N", type=click.IntRange(1), help="People who write.")
@click.option("--readers", default=4, metavar="N", type=click.IntRange(1), help="People who read.")
@click.option("--slow", default=1, metavar="N", type=click.IntRange(0), help="Readers that stall again and again.")
@click.option("--round-seconds", "round_s", default=1.5, metavar="S", help="Most time between two kills.")
@click.option(
    "--file-mb", default=4, metavar="MB", type=click.IntRange(0), help="Size of the files that go up and down; 0: none."
)
@click.option("--seed", default=1, metavar="N", help="Decides when what is broken.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(as_json: bool, file_mb: int, **plan: Any) -> None:
    """Kill a server of its own with signal 9 again and again, and check that it kept its promises.

    \b
    Example:
      tapwall chat check
      tapwall chat check --rounds 3 --json
    """
    import asyncio

    from chat.trial import check as checking

    planned = checking.CheckPlan(file_bytes=file_mb << 20, **plan)
    report = asyncio.run(checking.run_check(planned, lambda line: click.echo(line, err=True)))
    click.echo(json.dumps(report) if as_json else checking.summary(report))
    if not report["ok"]:
        raise click.exceptions.Exit(1)
