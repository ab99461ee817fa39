"""`serve`, `config`, `cert`, `account`, `backup`, `restore`: what one does with a server and a data folder of one's own."""

import contextlib
import sys
from pathlib import Path
from typing import Any, TextIO

import click

folder_option = click.option(
    "--data", default="chat-data", metavar="DIR", type=click.Path(path_type=Path), help="Data folder of the server."
)


@click.command()
@click.option(
    "--host", default=None, metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1, or the configuration's."
)
@click.option(
    "--port", default=None, metavar="PORT", type=click.IntRange(0, 65535), help="TCP port; 0 picks one. Default: 1234."
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration (tapwall chat config prints one).",
)
@click.option("--data", default=None, metavar="DIR", help="Folder of database, files and certificate.")
def serve(host: str | None, port: int | None, config_file: Path | None, data: str | None) -> None:
    """Run a server. Prints `listening on HOST:PORT` when it is ready.

    \b
    Example:
      tapwall chat serve
      tapwall chat serve --host 0.0.0.0 --config chat.toml --data /var/lib/tapwall
    """
    from chat import config, process

    given = {"server.host": host, "server.port": port, "server.data": data}
    options = {name: value for name, value in given.items() if value is not None}

    def ready(address: process.Address) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody reads it: a server serves all the same
            click.echo(f"listening on {address.host}:{address.port}")
            sys.stdout.flush()
        if address.fingerprint:
            click.echo(f"certificate {address.fingerprint}", err=True)
        if address.metrics_port >= 0:
            click.echo(f"metrics on port {address.metrics_port}", err=True)

    process.serve(config.load(config_file, options), ready, lambda: config.load(config_file, options))


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def config(file: Path | None) -> None:
    """Print the configuration with all defaults, or check FILE and print what it means.

    \b
    Example:
      tapwall chat config > chat.toml
      tapwall chat config chat.toml
    """
    from chat import config as settings

    click.echo(settings.text(settings.load(file)), nl=False)


@click.command()
@folder_option
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="Host name or address in a new certificate; may be repeated."
)
def cert(data: Path, names: tuple[str, ...]) -> None:
    """Make the server's certificate if there is none, and print its fingerprint.

    \b
    Example:
      tapwall chat cert --name chat.example.org
    """
    from chat import tls

    if names and (data / "cert.pem").exists():
        click.echo(f"{data} has a certificate; --name is for a new one", err=True)
    path, _ = tls.ensure(data, names)
    click.echo(tls.fingerprint(path))


@click.command()
@folder_option
@click.option("--operator", is_flag=True, help="The account may administer the whole server.")
@click.option(
    "--secret-file",
    type=click.File("r"),
    metavar="FILE",
    help="File with the password; - is stdin. Else it is asked for.",
)
@click.argument("name")
def account(data: Path, operator: bool, secret_file: TextIO | None, name: str) -> None:
    """Make an account while the server is not running: the first operator.

    \b
    Example:
      tapwall chat account --operator anna
    """
    import time

    from chat.data import account as making

    if secret_file:
        secret = secret_file.readline(4096).rstrip("\n")
    else:
        secret = click.prompt(f"password of {name}", hide_input=True, confirmation_prompt=True, err=True)

    making.make(data, name, secret, time.time(), operator)
    click.echo(f"made the account {name}{', an operator' if operator else ''}", err=True)


@click.command()
@folder_option
@click.argument("target", type=click.Path(path_type=Path))
def backup(data: Path, target: Path) -> None:
    """Copy the database and all files to the new folder TARGET; the server may be running.

    \b
    Example:
      tapwall chat backup --data /var/lib/tapwall backup-2026-11-22
    """
    from chat.data import backup as copying

    _manifest(copying.backup(data, target), "kept", target)


@click.command()
@click.option("--data", default="chat-data", metavar="DIR", type=click.Path(path_type=Path), help="New data folder.")
@click.argument("source", type=click.Path(path_type=Path))
def restore(data: Path, source: Path) -> None:
    """Make a data folder from a backup, every file checked.

    \b
    Example:
      tapwall chat restore --data /var/lib/tapwall backup-2026-11-22
    """
    from chat.data import backup as copying

    _manifest(copying.restore(source, data), "restored", data)


def _manifest(manifest: dict[str, Any], done: str, where: Path) -> None:
    missing = manifest["missing"]
    click.echo(f"{done} the database and {len(manifest['files'])} files in {where}", err=True)
    if missing:
        click.echo(f"{len(missing)} files were not there any more", err=True)
