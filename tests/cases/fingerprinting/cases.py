"""Scenes of probes for a system's kind, and of segments that are merely broken."""

from cases import fires, silent
from payloads import request, response
from traffic import ACK, FIN, PSH, RST, SYN, URG, Wire

ME, TARGET = "10.0.0.66", "10.0.0.5"


def _probes(wire: Wire, source: str = ME) -> None:
    for number in range(6):
        wire.tcp(source, 50_000 + number, TARGET, 80, SYN, seq=number, options=b"\x03\x03\x0a\x01\x02\x04\x05\xb4")
        wire.tcp(TARGET, 80, source, 50_000 + number, SYN | ACK, ack=number + 1)
        wire.tcp(source, 50_000 + number, TARGET, 80, RST, seq=number + 1)
        wire.wait(0.1)
    wire.tcp(source, 50_010, TARGET, 80, 0)
    wire.tcp(source, 50_011, TARGET, 80, SYN | FIN | URG | PSH)
    wire.tcp(source, 50_012, TARGET, 80, ACK, ack=1)
    wire.tcp(source, 50_013, TARGET, 1, SYN)
    wire.tcp(source, 50_014, TARGET, 1, ACK, ack=1)
    wire.tcp(source, 50_015, TARGET, 1, FIN | PSH | URG)


@fires()
def nmap_system_detection(wire: Wire) -> None:
    """nmap -O: six SYNs, no flags, SYN+FIN+PSH+URG, ACKs, FIN+PSH+URG, two pings, 300 bytes `C` by UDP."""
    _probes(wire)
    wire.ping(ME, TARGET, sequence=295, id=1, data=bytes(120))
    wire.ping(ME, TARGET, sequence=296, id=2, data=bytes(150))
    wire.udp(ME, 50_020, TARGET, 33_000, b"C" * 300)


@fires()
def without_udp_probe(wire: Wire) -> None:
    """The same where a filter dropped the datagram: impossible segments of three kinds within a second."""
    _probes(wire, "203.0.113.7")


@silent()
def broken_box(wire: Wire) -> None:
    """A broken middle box sends segments without flags, always the same, among honest connections."""
    for number in range(5):
        wire.talk(ME, TARGET, 80, [("c", request()), ("s", response())], at=1.0 * number)
        wire.tcp("10.0.0.7", 50_000, TARGET, 80, 0, at=1.0 * number + 0.5)


@silent()
def ordinary_closing(wire: Wire) -> None:
    """Connections that end by FIN+PSH+ACK, by RST and half-closed."""
    for number in range(8):
        wire.talk(ME, TARGET, 80, [("c", request()), ("s", response())], at=1.0 * number, close=("fin", "rst", "")[number % 3])  # fmt: skip
    wire.tcp(ME, 40_001, TARGET, 80, FIN | PSH | ACK, at=9, seq=7, ack=7)
