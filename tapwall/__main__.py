"""`python -m tapwall`: the same command from a clone."""

from tapwall.cli import main

main()
