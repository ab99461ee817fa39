"""`python -m analysis`: the commands of the analysis from a clone, without installing it."""

from analysis.cli import main

main()
