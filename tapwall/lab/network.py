"""A network that is not ours: sniffer, wall and drop stand in the server's, which goes when the server's container goes.

A process in a network namespace whose owner has died keeps running beside an interface that is no more, and nobody
sees that it has become useless. So whoever stands in another's network looks after its interface, and ends when that
has vanished: the engine starts it again, in the network that the server has by then.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from tapwall.lab.story import Story

GRACE_S = 4.0  # the owner must be back before we are started again, else the engine gives up on us
LOOK_S = 0.5


@dataclass(slots=True)
class Borrowed:
    """The interface of another's network. `lost` is True once it was there and is no more."""

    interface: str = "eth0"
    seen: bool = False

    def lost(self) -> bool:
        """Look now."""
        there = self.interface in (name for _, name in socket.if_nameindex())
        self.seen = self.seen or there
        return self.seen and not there


def leave(story: Story) -> None:
    """Say why, give the owner time to come back, and end. Raises SystemExit."""
    story.tell("the server's network is gone; comes back with it")
    time.sleep(GRACE_S)
    sys.exit(1)


def beside(words: list[str], borrowed: Borrowed, story: Story) -> int:
    """Run a command for as long as the network is there; its exit code. Raises SystemExit when the network goes."""
    with subprocess.Popen(words) as child:
        try:
            while True:
                try:
                    return child.wait(LOOK_S)
                except subprocess.TimeoutExpired:
                    if borrowed.lost():
                        leave(story)
        finally:
            stop(child)


def stop(child: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """End a child: asked first, as Ctrl-C asks, then at once."""
    for ask in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        child.send_signal(ask)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
