"""Scenes of connections that stay open for hours."""

from cases import fires, silent
from traffic import Wire

ME, OUTSIDE = "10.0.0.9", "203.0.113.66"


@fires("info", title="open for at least 6")
def nameless(wire: Wire) -> None:
    """Six hours to an address that the capture gives no name, a few bytes every ten minutes."""
    wire.talk(ME, OUTSIDE, 8443, [("c", b"ping" * 8), ("s", b"pong" * 8)] * 20, rtt=600)


@fires("info", title="open for at least 5")
def cut_by_the_capture(wire: Wire) -> None:
    """Five hours, still open when the capture ends."""
    wire.talk(ME, OUTSIDE, 22, [("c", wire.noise(40)), ("s", wire.noise(40))] * 15, rtt=600, close="")


@silent()
def hour(wire: Wire) -> None:
    """An hour in a capture of five: too short to mention."""
    wire.talk(ME, OUTSIDE, 443, [("c", b"a"), ("s", b"b")] * 6, rtt=300)
    wire.ping(ME, "10.0.0.1", at=18_000)


@silent()
def file_server_all_day(wire: Wire) -> None:
    """A workstation keeps its inside file server open all day."""
    wire.talk(ME, "10.0.0.5", 445, [("c", b"a" * 40), ("s", b"b" * 40)] * 30, rtt=600)
