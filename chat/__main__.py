"""`python -m chat`: the chat's commands without the rest of tapwall."""

from chat.cli import main

main()
