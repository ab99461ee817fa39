"""`tapwall chat ...`: the group of the chat's commands, and what all of them share.

Its commands stand with what they are about: login/cli.py a name at somebody's server, data/cli.py a server of one's own,
trial/cli.py a server put to the test. Only Click and the standard library are imported at the top of each, so that help and
completion answer at once. stdout is the result, stderr is talk; exit 0 fine, 1 a check that does not hold, 2 an error in one line.
"""

import os
import sys
from pathlib import Path

import click

from chat.data.cli import account, backup, cert, config, restore, serve
from chat.errors import ChatError, reason
from chat.login.cli import admin, bot, join, send
from chat.trial.cli import check, load


class ChatProblem(click.ClickException):
    """A line on stderr and exit code 2 (Click's own would be 1, which means a check does not hold)."""

    exit_code = 2


def _keep_traceback(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    ctx.meta["chat.debug"] = wanted


class ChatGroup(click.Group):
    """A group whose commands may raise the package's errors: they become one line; with --debug they keep their traceback."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with --debug beside its own options."""
        help_text = "Show the traceback of an error."
        cmd.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, callback=_keep_traceback, help=help_text)
        )
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except (ChatError, OSError) as error:
            if ctx.meta.get("chat.debug"):
                raise
            about = f"{error.filename}: " if isinstance(error, OSError) and error.filename is not None else ""
            raise ChatProblem(about + reason(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Abort from None
        except BaseException as error:
            if type(error).__name__ == "CancelledError":  # asyncio's: by its name, for help does not need asyncio
                raise click.exceptions.Abort from None
            raise


@click.group(cls=ChatGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """Serve, join and test the chat.

    \b
    Example:
      tapwall chat serve
      tapwall chat join --user alice
    """


for command in (join, send, bot, admin, serve, config, cert, account, backup, restore, load, check):
    cli.add_command(command)


@cli.command()
def dissector() -> None:
    """Print the Wireshark dissector (Lua).

    \b
    Example:
      tapwall chat dissector > tw.lua
      tshark -X lua_script:tw.lua -r capture.pcapng -Y tapwall
    """
    click.echo(Path(__file__).with_name("dissector").joinpath("tw.lua").read_text(encoding="utf-8"), nl=False)


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
