"""`tapwall chat ...`: options in, one call, result out. Only Click and the standard library are imported at the top, so that help
and completion answer at once. stdout is the result, stderr is talk; exit 0 fine, 1 a check that does not hold, 2 an error in
one line.
"""

import asyncio
import functools
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from chat.client import Client
    from chat.link import Address, Login
    from chat.slash import Desk

HELP = {"help_option_names": ["-h", "--help"], "show_default": True}
Function = TypeVar("Function", bound=Callable[..., Any])


class ChatProblem(click.ClickException):
    """A line on stderr and exit code 2 (Click's own would be 1, which means a check does not hold)."""

    exit_code = 2


def in_one_line(function: Function) -> Function:
    """The package's errors become one line; with --debug they keep their traceback."""

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        from chat.errors import ChatError

        try:
            return function(*args, **options)
        except (ChatError, OSError) as error:
            if click.get_current_context().find_root().params.get("debug") or os.environ.get("PYTHONDEVMODE"):
                raise
            raise ChatProblem(str(error)) from error
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise click.exceptions.Abort from None

    return run  # type: ignore[return-value]


def server_options(function: Function) -> Function:
    """Where the server is and how far to trust it."""
    for option in reversed([
        click.option("--host", default="127.0.0.1", metavar="HOST", help="Server."),
        click.option("--port", default=1234, metavar="PORT", type=click.IntRange(1, 65535), help="TCP port of the server."),
        click.option("--tls/--no-tls", default=None, help="Encrypt. Default: yes, except to this machine."),
        click.option("--ca", type=click.Path(path_type=Path), metavar="FILE", help="Trust this CA instead of pins."),
        click.option("--trust-new", is_flag=True, help="Pin an unknown server's certificate without asking."),
    ]):  # fmt: skip
        function = option(function)
    return function


def login_options(function: Function) -> Function:
    """Who to be."""
    for option in reversed([
        click.option("--user", default=None, metavar="NAME", help="Name to use. Default: the login name here."),
        click.option("--login", "mechanism", default="guest", type=click.Choice(["guest", "password", "token", "register"]), help="How to log in."),
        click.option("--secret-file", type=click.File("r"), metavar="FILE", help="File with password or token; - is stdin. Else it is asked for."),
        click.option("--invite", default="", metavar="TOKEN", help="Invitation, for --login register."),
    ]):  # fmt: skip
        function = option(function)
    return function


@click.group(context_settings=HELP)
def cli() -> None:
    """Serve, join and test the chat.

    \b
    Example:
      tapwall chat serve
      tapwall chat join --user alice
    """


# --- people --------------------------------------------------------------------------------------------------------


@cli.command()
@server_options
@login_options
@click.option("--room", default="lobby", metavar="ROOM", help="Room to enter.")
@click.option("--plain", is_flag=True, help="Lines instead of the full screen: for pipes and screen readers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line, one command a line on stdin.")
@click.option("--stay", is_flag=True, help="With --plain or --json: go on listening when stdin ends.")
@click.option(
    "--downloads",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Where received files go. Default: ~/Downloads.",
)
@click.option(
    "--images",
    default="auto",
    type=click.Choice(["auto", "halfcell", "sixel", "kitty", "off"]),
    help="How pictures are drawn.",
)
@in_one_line
def join(room: str, plain: bool, as_json: bool, stay: bool, downloads: Path | None, images: str, **who: Any) -> None:
    """Chat: full screen on a terminal, lines or JSON elsewhere.

    \b
    Example:
      tapwall chat join --user alice --room lobby
      echo hello | tapwall chat join --user alice --plain
    """
    screen = not plain and not as_json and all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if screen:
        from chat.terminal.views import image_widget

        image = image_widget(images)  # asks the terminal, so before the loop and the screen

    async def work(client: "Client", desk: "Desk") -> None:
        if screen:
            from chat.terminal.app import run_terminal

            await run_terminal(client, room, desk.folder, image)
        else:
            from chat import plain

            source, out = plain.standard_streams()
            await plain.run_lines(desk, source, out, as_json, stay)

    _with_client(who, room, downloads, work)


@cli.command()
@server_options
@login_options
@click.option("--room", default="lobby", metavar="ROOM", help="Room to speak in.")
@click.option("--file", "path", type=click.Path(path_type=Path), metavar="PATH", help="Send a file as well.")
@click.argument("text", required=False)
@in_one_line
def send(room: str, path: Path | None, text: str | None, **who: Any) -> None:
    """Say one thing or send one file, and leave. TEXT - is stdin.

    \b
    Example:
      tapwall chat send --user build "build 17 is green"
      tapwall chat send --user alice --file cat.png
    """
    if text is None and path is None:
        raise click.UsageError("nothing to send: give a TEXT, --file, or both")
    said = sys.stdin.read(1 << 20).rstrip("\n") if text == "-" else text

    async def work(client: "Client", desk: "Desk") -> None:
        if said is not None:
            ack = await client.send(room, said)
            click.echo(json.dumps({"event": "sent", "room": room, "seq": ack.seq, "time": ack.ts / 1000}))
        if path is not None:
            sent = await client.send_file(room, path)
            click.echo(
                json.dumps(
                    {
                        "event": "file_sent",
                        "room": room,
                        "file_id": sent.file_id,
                        "size": sent.size,
                        "sha256": sent.sha256,
                    }
                )
            )

    _with_client(who, room, None, work)


@cli.command()
@server_options
@login_options
@click.option("--patience", default=60.0, metavar="S", help="Seconds to wait for the server at the start.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Where the files to send are. Default: the script's.",
)
@click.option(
    "--downloads", type=click.Path(path_type=Path), default=None, metavar="DIR", help="Where received files go."
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Append a JSON line for each delivered message.",
)
@click.argument("script", type=click.Path(path_type=Path))
@in_one_line
def bot(
    script: Path, patience: float, folder: Path | None, downloads: Path | None, log: Path | None, **who: Any
) -> None:
    """Play a scripted person: a TOML file of steps (docs/chat.md).

    \b
    Example:
      tapwall chat bot alice.toml --log alice.jsonl
    """
    from chat.bot import Bot, read_script

    played = read_script(script)
    who["user"] = who["user"] or played.user

    async def work(client: "Client", desk: "Desk") -> None:
        for room in played.rooms:
            await client.join(room)
        lines: TextIO | None = log.open("a") if log else None
        try:
            await Bot(client, played, folder or script.parent, desk.folder, sys.stdout, lines).run()
        finally:
            if lines is not None:
                lines.close()

    _with_client(who, "", downloads, work, patience)


@cli.command()
@server_options
@login_options
@click.option("--room", default="", metavar="ROOM", help="Room that it is about.")
@click.option("--target", default="", metavar="NAME", help="Person, address or file that it is about.")
@click.option("--value", default="", help="Value, as docs/wire.md says.")
@click.option("--text", default="", help="Text: topic, reason.")
@click.option("--seconds", default=0, metavar="S", help="Duration; 0 for good.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("action")
@in_one_line
def admin(action: str, as_json: bool, room: str, target: str, value: str, text: str, seconds: int, **who: Any) -> None:
    """Run one command of the administration table (docs/wire.md).

    \b
    Example:
      tapwall chat admin rooms --user alice
      tapwall chat admin ban --login password --user op --target 203.0.113.0/24 --seconds 3600
    """
    from chat.errors import ChatError
    from chat.safe_text import safe_name, safe_text

    async def work(client: "Client", desk: "Desk") -> None:
        result = await client.admin(action, room=room, target=target, value=value, text=text, seconds=seconds)
        rows = [{safe_name(key): safe_name(cell) for key, cell in row.items()} for row in result.rows]
        if as_json:
            click.echo(json.dumps({"ok": result.ok, "text": safe_text(result.text) or None, "rows": rows}))
        else:
            said = [safe_text(result.text)] if result.text else []
            click.echo("\n".join([*said, *("\t".join(row.values()) for row in rows)]) or "done")
        if not result.ok:
            raise ChatError(f"{action}: {safe_name(result.text)}")

    _with_client(who, "", None, work)


def _with_client(
    who: dict[str, Any],
    room: str,
    downloads: Path | None,
    work: "Callable[[Client, Desk], Coroutine[Any, Any, None]]",
    patience_s: float = 0.0,
) -> None:
    """Log in, enter the room, work, leave."""
    from chat.client import Client
    from chat.link import RefusedError
    from chat.slash import Desk

    login, address = _login(who), _address(who)

    async def run() -> None:
        client = Client(login, address, [room] if room else [], patience_s)
        try:
            await client.start()
        except RefusedError as error:
            hint = "; choose another with --user NAME" if error.code in ("bad-name", "name-taken") else ""
            raise ChatProblem(f"{login.user}: {error}{hint}") from error
        try:
            entered = client.rooms[0] if client.rooms else ""
            await work(client, Desk(client, entered, downloads or Path.home() / "Downloads"))
        finally:
            await client.close()

    asyncio.run(run())


def _login(who: dict[str, Any]) -> "Login":
    import getpass

    from chat.link import Login

    user, mechanism, file = who["user"] or getpass.getuser(), who["mechanism"], who["secret_file"]
    if mechanism == "guest":
        return Login(user)
    secret = (
        file.readline(4096).rstrip("\n") if file else click.prompt(f"{mechanism} of {user}", hide_input=True, err=True)
    )
    return Login(user, mechanism, secret, who["invite"])


def _address(who: dict[str, Any]) -> "Address":
    from chat.link import Address, is_loopback
    from chat.pins import Tls, default_pins

    encrypted = who["tls"] if who["tls"] is not None else not is_loopback(who["host"]) or who["ca"] is not None
    confirm = _pin_silently if who["trust_new"] or not sys.stdin.isatty() else _ask_to_pin
    return Address(who["host"], who["port"], Tls(default_pins(), who["ca"], confirm) if encrypted else None)


def _pin_silently(server: str, fingerprint: str) -> bool:
    click.echo(f"{server} is new; its certificate is pinned: {fingerprint}", err=True)
    return True


def _ask_to_pin(server: str, fingerprint: str) -> bool:
    click.echo(f"{server} is new. Its certificate has the fingerprint\n  {fingerprint}", err=True)
    return click.confirm("The operator of the server can tell whether that is right. Trust it from now on?", err=True)


# --- operators -----------------------------------------------------------------------------------------------------


@cli.command()
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
@in_one_line
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
        click.echo(f"listening on {address.host}:{address.port}")
        sys.stdout.flush()
        if address.fingerprint:
            click.echo(f"certificate {address.fingerprint}", err=True)
        if address.metrics_port >= 0:
            click.echo(f"metrics on port {address.metrics_port}", err=True)

    process.serve(config.load(config_file, options), ready, lambda: config.load(config_file, options))


@cli.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@in_one_line
def config(file: Path | None) -> None:
    """Print the configuration with all defaults, or check FILE and print what it means.

    \b
    Example:
      tapwall chat config > chat.toml
      tapwall chat config chat.toml
    """
    from chat import config as settings

    click.echo(settings.text(settings.load(file)), nl=False)


@cli.command()
@click.option(
    "--data", default="chat-data", metavar="DIR", type=click.Path(path_type=Path), help="Data folder of the server."
)
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="Host name or address in a new certificate; may be repeated."
)
@in_one_line
def cert(data: Path, names: tuple[str, ...]) -> None:
    """Make the server's certificate if there is none, and print its fingerprint.

    \b
    Example:
      tapwall chat cert --name chat.example.org
    """
    from chat import tls

    if names and not (data / "cert.pem").exists():
        tls.make(data / "cert.pem", data / "key.pem", [*names, "localhost", "127.0.0.1", "::1"])
    path, _ = tls.ensure(data, names[0] if names else "")
    click.echo(tls.fingerprint(path))


@cli.command()
@click.option(
    "--data", default="chat-data", metavar="DIR", type=click.Path(path_type=Path), help="Data folder of the server."
)
@click.option("--operator", is_flag=True, help="The account may administer the whole server.")
@click.option(
    "--secret-file",
    type=click.File("r"),
    metavar="FILE",
    help="File with the password; - is stdin. Else it is asked for.",
)
@click.argument("name")
@in_one_line
def account(data: Path, operator: bool, secret_file: TextIO | None, name: str) -> None:
    """Make an account while the server is not running: the first operator.

    \b
    Example:
      tapwall chat account --operator anna
    """
    import time

    from chat.accounts import Accounts, Ways
    from chat.store import Store

    if secret_file:
        secret = secret_file.readline(4096).rstrip("\n")
    else:
        secret = click.prompt(f"password of {name}", hide_input=True, confirmation_prompt=True, err=True)

    async def make() -> None:
        loop = asyncio.get_running_loop()
        store = Store(data, loop.call_soon_threadsafe)
        state = store.start()
        accounts = Accounts(store, Ways(), set(state.accounts), set())
        try:
            await accounts.make(name, secret, time.time(), operator=operator)
        finally:
            accounts.stop()
            store.stop()

    asyncio.run(make())
    click.echo(f"made the account {name}{', an operator' if operator else ''}", err=True)


@cli.command()
@click.option(
    "--data", default="chat-data", metavar="DIR", type=click.Path(path_type=Path), help="Data folder of the server."
)
@click.argument("target", type=click.Path(path_type=Path))
@in_one_line
def backup(data: Path, target: Path) -> None:
    """Copy the database and all files to the new folder TARGET; the server may be running.

    \b
    Example:
      tapwall chat backup --data /var/lib/tapwall backup-2026-11-22
    """
    from chat import store

    _manifest(store.backup(data, target), "kept", target)


@cli.command()
@click.option("--data", default="chat-data", metavar="DIR", type=click.Path(path_type=Path), help="New data folder.")
@click.argument("source", type=click.Path(path_type=Path))
@in_one_line
def restore(data: Path, source: Path) -> None:
    """Make a data folder from a backup, every file checked.

    \b
    Example:
      tapwall chat restore --data /var/lib/tapwall backup-2026-11-22
    """
    from chat import store

    _manifest(store.restore(source, data), "restored", data)


def _manifest(manifest: dict[str, Any], done: str, where: Path) -> None:
    missing = manifest.get("missing", [])
    click.echo(f"{done} the database and {len(manifest['files'])} files in {where}", err=True)
    if missing:
        click.echo(f"{len(missing)} files were not there any more", err=True)


# --- teachers and developers ---------------------------------------------------------------------------------------


@cli.command()
def dissector() -> None:
    """Print the Wireshark dissector (Lua).

    \b
    Example:
      tapwall chat dissector > tw.lua
      tshark -X lua_script:tw.lua -r capture.pcapng -Y tapwall
    """
    click.echo(Path(__file__).with_name("dissector").joinpath("tw.lua").read_text(encoding="utf-8"), nl=False)


@cli.command()
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
@in_one_line
def load(host: str, port: int, spawn: bool, durable: bool, as_json: bool, **plan: Any) -> None:
    """Measure a server under load: deliveries, delay, errors, its CPU and memory.

    \b
    Example:
      tapwall chat load --spawn --clients 100 --senders 10 --rate 0 --seconds 5
      tapwall chat load --port 1234 --clients 50 --rate 20 --json
    """
    from chat import load as loading
    from chat.link import Address
    from chat.load_files import FilePlan

    if plan["senders"] + plan["slow"] > plan["clients"]:
        raise click.UsageError("--senders and --slow together are more than --clients")
    files = FilePlan(plan.pop("files"), plan.pop("file_mb") << 20, plan.pop("receivers"), plan["room"])
    planned = loading.Plan(size_bytes=plan.pop("size"), files=files, **plan)
    if spawn:
        from chat.check import spawned_load

        report = asyncio.run(spawned_load(planned, durable))
    else:
        report = loading.run_load(planned, Address(host, port))
    click.echo(json.dumps(report) if as_json else loading.summary(report))
    if report["missing"] or report["errors"] or (report["files"] or {}).get("failures"):
        raise click.exceptions.Exit(1)


@cli.command()
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
@in_one_line
def check(as_json: bool, file_mb: int, **plan: Any) -> None:
    """Kill a server of its own with signal 9 again and again, and check that it kept its promises.

    \b
    Example:
      tapwall chat check
      tapwall chat check --rounds 3 --json
    """
    from chat import check as checking

    planned = checking.CheckPlan(file_bytes=file_mb << 20, **plan)
    report = asyncio.run(checking.run_check(planned, lambda line: click.echo(line, err=True)))
    click.echo(json.dumps(report) if as_json else checking.summary(report))
    if not report["ok"]:
        raise click.exceptions.Exit(1)


def main() -> None:
    """Entry point of `python -m chat`. Exit codes: 0 fine, 1 a check that does not hold, 2 an error, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False, prog_name="python -m chat")
    except click.exceptions.Abort:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
