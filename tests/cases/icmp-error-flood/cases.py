"""Scenes of ICMP errors that nobody caused, and of errors that somebody did."""

import struct

from cases import fires, silent
from traffic import UDP, Wire, ip4, ip6

FIREWALL, ATTACKER, SERVER = "10.0.0.5", "203.0.113.66", "10.0.0.9"


def _quote(source: str, target: str, sport: int = 1234, dport: int = 53) -> bytes:
    """The body of an error about a datagram: four unused bytes and its headers."""
    head = struct.pack(">HHHH", sport, dport, 8, 0)
    return bytes(4) + (ip6 if ":" in source else ip4)(source, target, UDP, head)


@fires(title="from 203.0.113.66")
def black_nurse(wire: Wire) -> None:
    """hping3 --icmp -C 3 -K 3: port unreachable, 600 a second from one host, about a datagram that was never sent."""
    for number in range(1800):
        wire.icmp(ATTACKER, FIREWALL, 3, 3, _quote(FIREWALL, "198.51.100.7"), at=number / 600)


@fires(title="addresses")
def forged_senders(wire: Wire) -> None:
    """The same from 1,500 forged addresses, one packet each."""
    for number in range(1500):
        wire.icmp(f"203.0.{number % 100}.{number // 100 + 1}", FIREWALL, 3, 3, _quote(FIREWALL, "198.51.100.7"), at=number / 500)  # fmt: skip


@fires(title="ICMP errors against fd00::5")
def over_ipv6(wire: Wire) -> None:
    """Port unreachable over IPv6 (type 1, code 4), 400 a second."""
    for number in range(1200):
        wire.icmp("2001:db8::66", "fd00::5", 1, 4, _quote("fd00::5", "2001:db8::7"), at=number / 400)


@silent()
def log_server_down(wire: Wire) -> None:
    """A server sends 150 log lines a second to a host whose collector has stopped: each comes back as port unreachable."""
    for number in range(600):
        wire.udp(SERVER, 5514, "10.0.0.7", 514, b"<14>app: line", at=number / 150)
        wire.icmp("10.0.0.7", SERVER, 3, 3, _quote(SERVER, "10.0.0.7", 5514, 514), at=number / 150 + 0.001)


@silent()
def dead_voice_peer(wire: Wire) -> None:
    """A telephone goes on for four seconds after the other side has hung up; the other side answers two packets in three."""
    for number in range(800):
        wire.udp(SERVER, 16_384, "198.51.100.20", 20_000, bytes(172), at=number / 200)
        if number % 3:
            wire.icmp("198.51.100.20", SERVER, 3, 3, _quote(SERVER, "198.51.100.20", 16_384, 20_000), at=number / 200 + 0.02)  # fmt: skip


@silent()
def some_errors(wire: Wire) -> None:
    """A network with a hole: routers report an unreachable host now and then, about packets that are not in the capture."""
    for number in range(120):
        wire.icmp("10.0.0.1", SERVER, 3, 1, _quote(SERVER, f"10.9.9.{number}"), at=3.0 * number)
