"""Scenes of services that do not answer, and of those that do."""

from cases import fires, silent
from payloads import request, response
from traffic import ACK, PSH, SYN, Wire, ip4

ME, SERVER = "192.168.0.10", "192.168.0.244"


@fires("info", title="7 SYN")
def one_attempt_seven_syns(wire: Wire) -> None:
    """One attempt whose SYN is sent seven times within a few seconds: one attempt, no scan, no beacon."""
    wire.unanswered(ME, SERVER, 7000, (0, 1, 2, 3, 4, 5, 7))


@fires("low", title="refused")
def refused(wire: Wire) -> None:
    """A program asks a closed port six times."""
    for number in range(6):
        wire.refused(ME, SERVER, 8080, at=3.0 * number)


@fires("info", title="ICMP")
def prohibited(wire: Wire) -> None:
    """A filter answers with ICMP: administratively prohibited."""
    wire.tcp(ME, 50_000, "198.51.100.9", 25, SYN, seq=1)
    quoted = ip4(ME, "198.51.100.9", 6, (50_000).to_bytes(2, "big") + (25).to_bytes(2, "big") + bytes(4))
    wire.icmp("198.51.100.1", ME, 3, 13, bytes(4) + quoted)


@silent()
def all_answer(wire: Wire) -> None:
    """Ten connections, all served."""
    for number in range(10):
        wire.talk(ME, SERVER, 80, [("c", request()), ("s", response())], at=number)


@silent()
def starts_midstream(wire: Wire) -> None:
    """The capture begins in the middle of three connections."""
    for number in range(3):
        for part in range(5):
            wire.tcp(ME, 50_000 + number, SERVER, 443, PSH | ACK, at=part, seq=100 * part, ack=1, data=bytes(100))
            wire.tcp(SERVER, 443, ME, 50_000 + number, ACK, at=part + 0.1, seq=1, ack=100 * part + 100)


@silent()
def one_sided(wire: Wire) -> None:
    """Only the clients' side was captured: outcomes are unknown, the detector says so."""
    for number in range(6):
        sport = 50_000 + number
        wire.tcp(ME, sport, SERVER, 443, SYN, at=number, seq=1)
        wire.tcp(ME, sport, SERVER, 443, ACK, at=number + 0.1, seq=2, ack=9)
        for part in range(4):
            wire.tcp(ME, sport, SERVER, 443, PSH | ACK, at=number + 0.2 + part, seq=2 + 100 * part, ack=9, data=bytes(100))  # fmt: skip
