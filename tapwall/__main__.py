"""`python -m tapwall`: the same command from a clone."""

from tapwall.start import main

main()
