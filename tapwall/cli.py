"""The `tapwall` command: mounts the three toolkits' groups and adds the glue's own commands; redefines none.

Start-up is a feature: only Click and the standard library are imported here; a command's modules are imported when it
is called (`LazyGroup`), so that help and completion answer before numpy would have loaded.
"""

import importlib
import sys

import click

VERSION = "0.1.0"

# command -> (module, attribute, first sentence of its help: so that `tapwall --help` imports nothing)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "analyze": ("analysis.cli", "analyze", "Analyse captures: what happened, is it bad."),
    "packets": ("analysis.cli", "packets", "Print one line a packet: layers, stream, TCP flags."),
    "verify": ("analysis.cli", "verify", "Run tshark beside us and print every difference."),
    "capture": ("analysis.cli", "capture", "Capture live traffic into rotating files."),
    "rules": ("tapwall.rules_cli", "rules", "Make firewall rules from captures, replay and prove them."),
    "firewall": ("firewall.cli", "cli", "Check, replay, prove, render and apply rules."),
    "chat": ("chat.cli", "cli", "Serve, join and test the chat."),
    "lab": ("tapwall.lab.cli", "lab", "Play the services of the lab."),
    "demo": ("tapwall.lab.cli", "demo", "Play the whole story without Docker."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their short help stands in COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported now; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, _, short) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="tapwall")
def cli() -> None:
    """Tap the wire, understand what you saw, build the wall, and prove that it stands.

    \b
    Example:
      tapwall analyze capture.pcapng -o report/
      tapwall rules capture.pcapng --permit 192.168.0.0/16
    """


def run() -> int:
    """Run the command of `sys.argv`. 0 fine, 1 findings at or above --fail-on, 2 bad input or usage, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.stderr.write("interrupted\n")
        return 130
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    return code if isinstance(code, int) else 0
