"""`python -m firewall`: the firewall's commands without installing anything."""

from firewall.cli import cli

cli(prog_name="python -m firewall")
