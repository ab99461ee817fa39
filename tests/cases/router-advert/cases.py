"""Scenes of false IPv6 routers and neighbours, and of honest ones."""

import socket

from cases import fires, silent
from payloads import router_advert
from traffic import Wire, mac_bytes, mac_of

ROUTER, ROGUE, ALL = "fe80::1", "fe80::66", "ff02::1"


def _advert(wire: Wire, router: str, at: float, prefix: str = "2001:db8:1::", lifetime: int = 1800, extra: bytes = b"", mac: str = "") -> None:  # fmt: skip
    wire.icmp(router, ALL, 134, 0, router_advert(mac or mac_of(router), prefix, lifetime, extra), at=at)


def _neighbour(wire: Wire, source: str, target: str, mac: str, to: str, at: float, flags: int = 0x60) -> None:
    body = bytes((flags, 0, 0, 0)) + socket.inet_pton(socket.AF_INET6, target) + b"\x02\x01" + mac_bytes(mac)
    message = bytes((136, 0, 0, 0)) + body
    wire.ip(source, to, 58, message, at, ttl=255, via=(mac, mac_of(to)))


@fires(title="second IPv6 router")
def rogue_router(wire: Wire) -> None:
    """fake_router: a second router with a prefix of its own, every 5 s."""
    for number in range(10):
        _advert(wire, ROUTER, 30.0 * number)
        _advert(wire, ROGUE, 30.0 * number + 5, "2001:db8:bad::")


@fires(title="Flood of IPv6 router")
def flood(wire: Wire) -> None:
    """flood_router: 200 routers with as many prefixes in 4 s."""
    for number in range(200):
        _advert(wire, f"fe80::{number + 16:x}", 0.02 * number, f"2001:db8:{number + 16:x}::")


@fires(title="is gone")
def killed_router(wire: Wire) -> None:
    """kill_router: an advertisement in the router's name with lifetime 0 from another MAC."""
    for number in range(4):
        _advert(wire, ROUTER, 30.0 * number)
        _advert(wire, ROUTER, 30.0 * number + 3, lifetime=0, mac="02:66:66:66:66:66")


@fires(title="claims")
def false_neighbour(wire: Wire) -> None:
    """parasite6: advertisements with the override flag give another MAC to an address that its owner also claims."""
    for number in range(8):
        _neighbour(wire, ROUTER, ROUTER, mac_of(ROUTER), "fe80::9", 10.0 * number)
        _neighbour(wire, ROUTER, ROUTER, "02:66:66:66:66:66", "fe80::9", 10.0 * number + 0.5)


@fires(title="Flood of IPv6 neighbour")
def neighbour_flood(wire: Wire) -> None:
    """flood_advertise: 300 advertisements for as many addresses in three seconds."""
    for number in range(300):
        address = f"fe80::{number + 16:x}"
        _neighbour(wire, address, address, mac_of(address), "fe80::9", number / 100)


@silent()
def one_router(wire: Wire) -> None:
    """One router announces every 30 s, hosts look it up."""
    for number in range(20):
        _advert(wire, ROUTER, 30.0 * number)
        _neighbour(wire, ROUTER, ROUTER, mac_of(ROUTER), "fe80::9", 30.0 * number + 1)


@silent()
def two_routers(wire: Wire) -> None:
    """Two routers by design, with the same prefix."""
    for number in range(20):
        _advert(wire, ROUTER, 30.0 * number)
        _advert(wire, "fe80::2", 30.0 * number + 7)


@silent()
def shutdown(wire: Wire) -> None:
    """A router says good-bye itself: lifetime 0 with its own MAC."""
    for number in range(3):
        _advert(wire, ROUTER, 30.0 * number)
    _advert(wire, ROUTER, 100, lifetime=0)
