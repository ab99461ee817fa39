"""Scenes of data in pings, and of pings."""

from cases import fires, silent
from payloads import request
from traffic import Wire, ip4

ME, OUTSIDE = "10.0.0.9", "203.0.113.66"


@fires(title="inside pings")
def packets_inside(wire: Wire) -> None:
    """icmptunnel, hans: whole IP packets as data, replies with other data."""
    for number in range(40):
        inner = ip4("10.9.9.2", "10.9.9.1", 6, wire.noise(40 + 37 * (number % 9)))
        back = ip4("10.9.9.1", "10.9.9.2", 6, wire.noise(60 + 51 * (number % 7)))
        wire.ping(ME, OUTSIDE, sequence=number, data=inner, reply=back, at=0.3 * number)


@fires(title="inside pings")
def shell(wire: Wire) -> None:
    """A shell over pings (icmpsh): commands in replies, output in requests."""
    for number in range(12):
        said = request("/")[: 20 + 9 * number] if number % 2 else b"uid=0(root) gid=0(root)\n" * (1 + number % 3)
        wire.ping(ME, OUTSIDE, sequence=number, data=said, reply=b"whoami && cat /etc/passwd\n", at=2.0 * number)


@silent()
def ordinary(wire: Wire) -> None:
    """A ping for a minute: a time stamp and counting bytes."""
    for number in range(60):
        data = wire.noise(8) + bytes(8) + bytes(range(0x10, 0x38))
        wire.ping(ME, OUTSIDE, sequence=number, data=data, at=1.0 * number)


@silent()
def path_size(wire: Wire) -> None:
    """A search for the path's MTU: sizes change, the pattern is regular, large ones get no reply."""
    for number in range(20):
        size = 1500 - 40 * number
        wire.ping(ME, OUTSIDE, sequence=number, data=bytes(i & 255 for i in range(size)), reply=b"" if number > 3 else None, at=0.5 * number)  # fmt: skip


@silent()
def windows(wire: Wire) -> None:
    """Windows' ping with the alphabet, some without reply."""
    for number in range(20):
        wire.ping(ME, OUTSIDE, sequence=number, data=b"abcdefghijklmnopqrstuvwabcdefghi", reply=b"" if number % 4 else None, at=1.0 * number)  # fmt: skip
