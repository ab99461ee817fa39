"""`join`, `send`, `bot`, `admin`: what one does under a name at somebody's server.

Options in, one visit, result out. What a person must be asked (a secret, whether a certificate is the right one) is asked here;
going there, entering the room and leaving is in visit.py. Only Click and the standard library are imported at the top.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from chat.client import Client
    from chat.link import Address, Login
    from chat.login.visit import Work
    from chat.slash import Desk

Function = TypeVar("Function", bound=Callable[..., Any])


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


@click.command()
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

    _visit(who, work, room, downloads)


@click.command()
@server_options
@login_options
@click.option("--room", default="lobby", metavar="ROOM", help="Room to speak in.")
@click.option("--file", "path", type=click.Path(path_type=Path), metavar="PATH", help="Send a file as well.")
@click.argument("text", required=False)
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

    _visit(who, work, room)


@click.command()
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

    _visit(who, work, "", downloads, patience)


@click.command()
@server_options
@login_options
@click.option("--room", default="", metavar="ROOM", help="Room that it is about.")
@click.option("--target", default="", metavar="NAME", help="Person, address or file that it is about.")
@click.option("--value", default="", help="Value, as docs/wire.md says.")
@click.option("--text", default="", help="Text: topic, reason.")
@click.option("--seconds", default=0, metavar="S", help="Duration; 0 for good.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("action")
def admin(action: str, as_json: bool, room: str, target: str, value: str, text: str, seconds: int, **who: Any) -> None:
    """Run one command of the administration table (docs/wire.md).

    \b
    Example:
      tapwall chat admin rooms --user alice
      tapwall chat admin ban --login password --user op --target 203.0.113.0/24 --seconds 3600
    """
    from chat.errors import ChatError
    from chat.safe_text import safe_name, safe_text
    from chat.slash import LISTS

    async def work(client: "Client", desk: "Desk") -> None:
        result = await client.admin(action, room=room, target=target, value=value, text=text, seconds=seconds)
        rows = [{safe_name(key): safe_name(cell) for key, cell in row.items()} for row in result.rows]
        if as_json:
            click.echo(json.dumps({"ok": result.ok, "text": safe_text(result.text) or None, "rows": rows}))
        else:
            nothing = "nothing" if action in LISTS else "done"
            said = [safe_text(result.text)] if result.text else []
            click.echo("\n".join([*said, *("\t".join(row.values()) for row in rows)]) or nothing)
        if not result.ok:
            raise ChatError(f"{action}: {safe_name(result.text)}")

    _visit(who, work)


def _visit(
    who: dict[str, Any], work: "Work", room: str = "", downloads: Path | None = None, patience_s: float = 0.0
) -> None:
    """The visit that the options describe."""
    from chat.login import visit

    place = visit.Place(_login(who), _address(who), room, downloads or Path.home() / "Downloads", patience_s)
    visit.visit(place, work)


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
