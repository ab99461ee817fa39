"""Scenes of DHCP misused, and of many clients."""

from cases import fires, silent
from payloads import DHCP_ACK, DISCOVER, OFFER, REQUEST, dhcp
from traffic import Wire

SERVER, ROGUE = "10.0.0.1", "10.0.0.66"


def _lease(wire: Wire, mac: str, xid: int, at: float, servers: tuple[str, ...] = (SERVER,)) -> None:
    wire.ip("0.0.0.0", "255.255.255.255", 17, _udp(68, 67, dhcp(DISCOVER, mac, xid=xid)), at, via=(mac, "ff:ff:ff:ff:ff:ff"))  # fmt: skip
    for number, server in enumerate(servers):
        offer = dhcp(OFFER, mac, xid=xid, yours=f"10.0.0.{100 + xid % 100}", server=server, router=server, dns=server)
        wire.udp(server, 67, "255.255.255.255", 68, offer, at=at + 0.01 + 0.005 * number)
    chosen = servers[-1]
    wire.ip("0.0.0.0", "255.255.255.255", 17, _udp(68, 67, dhcp(REQUEST, mac, xid=xid, server=chosen)), at + 0.05, via=(mac, "ff:ff:ff:ff:ff:ff"))  # fmt: skip
    ack = dhcp(DHCP_ACK, mac, xid=xid, yours=f"10.0.0.{100 + xid % 100}", server=chosen, router=chosen, dns=chosen)
    wire.udp(chosen, 67, "255.255.255.255", 68, ack, at=at + 0.06)


def _udp(source: int, target: int, data: bytes) -> bytes:
    return source.to_bytes(2, "big") + target.to_bytes(2, "big") + (8 + len(data)).to_bytes(2, "big") + b"\0\0" + data


def _discover(wire: Wire, mac: str, xid: int, at: float) -> None:
    wire.ip("0.0.0.0", "255.255.255.255", 17, _udp(68, 67, dhcp(DISCOVER, mac, xid=xid)), at, via=(mac, "ff:ff:ff:ff:ff:ff"))  # fmt: skip


@fires("high", title="second DHCP server")
def rogue_server(wire: Wire) -> None:
    """A second server offers itself as router and name server to the same clients."""
    for number in range(3):
        _lease(wire, f"02:00:00:00:00:1{number}", number, 20.0 * number, (SERVER, ROGUE))


@fires(title="being emptied")
def starvation(wire: Wire) -> None:
    """DHCPig, Yersinia: 200 discovers with as many MACs within 10 s."""
    for number in range(200):
        _discover(wire, f"02:aa:{number:02x}:00:00:01", number, 0.05 * number)


@fires(title="floods the DHCP service")
def flood_of_one(wire: Wire) -> None:
    """One MAC sends 300 discovers in 5 s."""
    for number in range(300):
        _discover(wire, "02:aa:00:00:00:01", number, number / 60)


@silent()
def morning(wire: Wire) -> None:
    """Twenty machines are switched on within ten minutes."""
    for number in range(20):
        _lease(wire, f"02:00:00:00:01:{number:02x}", number, 30.0 * number)


@silent()
def two_equal_servers(wire: Wire) -> None:
    """Two servers share the work: both name the same router and name server."""
    for number in range(4):
        mac = f"02:00:00:00:02:{number:02x}"
        _discover(wire, mac, number, 10.0 * number)
        for server in (SERVER, "10.0.0.2"):
            offer = dhcp(OFFER, mac, xid=number, yours="10.0.0.50", server=server, router=SERVER, dns=SERVER)
            wire.udp(server, 67, "255.255.255.255", 68, offer, at=10.0 * number + 0.01)


@silent()
def no_answer(wire: Wire) -> None:
    """A client without server repeats after 4, 8, 16, 32 s."""
    for later in (0, 4, 12, 28, 60, 92):
        _discover(wire, "02:00:00:00:00:09", 7, later)


@fires(title="different addresses")
def address_scan(wire: Wire) -> None:
    """One client asks for ten addresses, one after the other."""
    import socket

    for number in range(10):
        message = dhcp(REQUEST, "02:aa:00:00:00:01", xid=number).replace(b"\xff" + bytes(40), b"\x32\x04" + socket.inet_aton(f"10.0.0.{number + 50}") + b"\xff")  # fmt: skip
        wire.ip("0.0.0.0", "255.255.255.255", 17, _udp(68, 67, message), 3.0 * number, via=("02:aa:00:00:00:01", "ff:ff:ff:ff:ff:ff"))  # fmt: skip
