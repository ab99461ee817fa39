"""Scenes of floods, and of traffic that is fast without being one."""

from cases import fires, silent
from traffic import ACK, FIN, GRE, PSH, RST, Wire

VICTIM, ATTACKER = "203.0.113.80", "10.0.0.66"


def _address(wire: Wire) -> str:
    return f"{wire.random.randint(1, 99)}.{wire.random.randint(0, 255)}.{wire.random.randint(0, 255)}.{wire.random.randint(1, 254)}"


@fires(title="TCP flood")
def ack_flood(wire: Wire) -> None:
    """2,400 bare ACKs in 3 s from 600 forged addresses: segments of connections that do not exist."""
    for number in range(2400):
        source = f"45.{number % 600 // 256}.{number % 256}.7"
        wire.tcp(source, wire.random.randint(1024, 65_000), VICTIM, 80, ACK, at=number / 800, seq=number, ack=5)


@fires(title="TCP flood")
def reset_flood(wire: Wire) -> None:
    """RST and FIN segments at 900 a second from one host with changing ports, no answers."""
    for number in range(2700):
        wire.tcp(ATTACKER, 1024 + number, VICTIM, 22, RST if number % 2 else FIN | ACK, at=number / 900)


@fires(title="without ports")
def gre_flood(wire: Wire) -> None:
    """GRE packets at 1,000 a second from 50 addresses (Mirai's GRE flood); the protocol has no ports."""
    for number in range(3000):
        wire.ip(f"45.9.8.{number % 50 + 1}", VICTIM, GRE, b"\0\0\x08\0" + bytes(64), at=number / 1000)


@fires(title="fragments")
def fragment_flood(wire: Wire) -> None:
    """Fragments that never complete, 800 a second from 60 forged addresses."""
    for number in range(2400):
        wire.ip(f"45.9.8.{number % 60 + 1}", VICTIM, 17, bytes(400), at=number / 800, fragment=0x2000 | 50, id=number)


@silent()
def midstream_bulk(wire: Wire) -> None:
    """A capture that begins inside a fast transfer: segments without handshake, both ways, from one connection."""
    for number in range(2500):
        wire.tcp("10.0.0.7", 50_000, "198.51.100.9", 443, PSH | ACK, at=number / 1000, seq=100 * number, ack=7, data=bytes(100))  # fmt: skip
        if number % 2:
            wire.tcp("198.51.100.9", 443, "10.0.0.7", 50_000, ACK, at=number / 1000 + 0.0001, seq=7, ack=100 * number)


@fires(title="smurf")
def smurf_requests(wire: Wire) -> None:
    """Pings to broadcast in the victim's name: 50 a second (CERT CA-1998-01)."""
    for number in range(150):
        wire.icmp(VICTIM, "10.0.0.255", 8, 0, bytes(60), at=number / 50)


@silent()
def tunnel_at_work(wire: Wire) -> None:
    """A GRE tunnel between two routers, 700 packets a second, both ways."""
    for number in range(1400):
        ends = ("198.51.100.1", VICTIM) if number % 2 else (VICTIM, "198.51.100.1")
        wire.ip(*ends, GRE, b"\0\0\x88\x0b" + bytes(200), at=number / 700)


@silent()
def fragmented_files(wire: Wire) -> None:
    """NFS over UDP: blocks of 8 kB in six fragments each, asked for and answered."""
    for number in range(100):
        wire.udp("10.0.0.9", 800, "10.0.0.5", 2049, bytes(120), at=number / 50)
        body = bytes((8, 1, 3, 32)) + (8200).to_bytes(2, "big") + b"\0\0" + bytes(8192)
        for piece in range(6):
            data = body[1480 * piece : 1480 * (piece + 1)]
            wire.ip("10.0.0.5", "10.0.0.9", 17, data, at=number / 50 + 0.001 * (piece + 1), fragment=(0x2000 if piece < 5 else 0) | 185 * piece, id=number + 1)  # fmt: skip


@fires(title="TCP flood")
def data_to_a_web_server(wire: Wire) -> None:
    """Segments with data to port 443 of no connection, each of another forged address."""
    for number in range(500):
        source = f"{20 + number % 90}.{number % 250}.7.{number % 240 + 1}"
        wire.tcp(
            source, 1024 + number, "203.0.113.80", 443, PSH | ACK, seq=number, ack=1, data=bytes(900), at=number / 600
        )
