"""Scenes of much data going out."""

from cases import fires, silent
from payloads import dns_answer, dns_query
from traffic import ACK, PSH, SYN, Wire

ME, OUTSIDE = "10.0.0.9", "203.0.113.66"


def _big(wire: Wire, source: str, target: str, port: int, megabytes: float, at: float = 0.0) -> None:
    """A transfer with segments of 60 kB, as captures on a sending host show them, cut to their headers."""
    wire.snap = 120
    size, sport = 60_000, wire.port()
    wire.tcp(source, sport, target, port, SYN, at=at, seq=0)
    wire.tcp(target, port, source, sport, SYN | ACK, at=at + 0.01, seq=0, ack=1)
    for number in range(int(megabytes * 1e6 / size)):
        wire.tcp(source, sport, target, port, PSH | ACK, at=at + 0.02 + 0.05 * number, seq=1 + size * number, ack=1, data=bytes(size))  # fmt: skip
        wire.tcp(target, port, source, sport, ACK, at=at + 0.03 + 0.05 * number, seq=1, ack=1 + size * (number + 1))


@fires(title="sent 30 MB")
def nameless_server(wire: Wire) -> None:
    """30 MB to an address without a name; the host's other peers get kilobytes."""
    for number in range(5):
        wire.talk(ME, f"198.51.100.{number + 1}", 443, [("c", bytes(900)), ("s", bytes(9000))], at=number)
    _big(wire, ME, OUTSIDE, 443, 30, at=10)


@fires(title="sent 25 MB")
def over_odd_port(wire: Wire) -> None:
    """25 MB to port 8888 of an outside host, nothing comes back."""
    _big(wire, ME, OUTSIDE, 8888, 25)


@silent(at_most="low")
def backup_to_a_named_service(wire: Wire) -> None:
    """A backup of 25 MB to a service whose name the capture shows: told, low at most."""
    wire.asked(ME, "10.0.0.1", 53, dns_query("backup.example.org"), dns_answer("backup.example.org", 1, (OUTSIDE,)))
    _big(wire, ME, OUTSIDE, 443, 25, at=1)


@silent()
def download(wire: Wire) -> None:
    """The same volume the other way."""
    _big(wire, OUTSIDE, ME, 50_000, 25)


@silent()
def inside_copy(wire: Wire) -> None:
    """A copy to a file server inside."""
    _big(wire, ME, "10.0.0.5", 445, 25)
