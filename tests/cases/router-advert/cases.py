"""Scenes of false IPv6 routers and neighbours, and of honest ones."""

import socket

from cases import fires, silent
from payloads import router_advert
from traffic import Wire, mac_bytes, mac_of

ROUTER, ROGUE, ALL = "fe80::1", "fe80::66", "ff02::1"


def _advert(wire: Wire, router: str, at: float, prefix: str = "2001:db8:1::", lifetime: int = 1800, preference: int = 0, mac: str = "", told: str = "") -> None:  # fmt: skip
    card = mac or mac_of(router)
    body = router_advert(told or card, prefix, lifetime, preference=preference)
    wire.ip(router, ALL, 58, bytes((134, 0, 0, 0)) + body, at, ttl=255, via=(card, mac_of(ALL)))


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


@fires(title="joined later and asks to be preferred")
def same_prefix(wire: Wire) -> None:
    """A rogue with the true router's prefix and a high preference (RFC 4191), so that hosts choose it; it joins after minutes."""
    for number in range(20):
        _advert(wire, ROUTER, 30.0 * number)
        if number >= 10:
            _advert(wire, ROGUE, 30.0 * number + 5, preference=1)


@fires(title="that fe80::1 is gone")
def same_prefix_and_kill(wire: Wire) -> None:
    """The rogue has the router's prefix and says in its name, and with its link-layer option, that it is gone."""
    for number in range(8):
        _advert(wire, ROUTER, 30.0 * number)
        _advert(wire, ROUTER, 30.0 * number + 3, lifetime=0, mac=mac_of(ROGUE), told=mac_of(ROUTER))
        _advert(wire, ROGUE, 30.0 * number + 4)


@fires(title="In the name of the IPv6 router fe80::1")
def in_the_routers_name(wire: Wire) -> None:
    """Another card repeats the router's advertisements under its address, with its own MAC in the option."""
    for number in range(8):
        _advert(wire, ROUTER, 30.0 * number)
        _advert(wire, ROUTER, 30.0 * number + 2, mac="02:66:66:66:66:66")


@fires("low", title="joined later")
def switched_on_later(wire: Wire) -> None:
    """A second router with the same prefix joins after minutes and asks for nothing: a spare one, or a quiet rogue."""
    for number in range(20):
        _advert(wire, ROUTER, 30.0 * number)
        if number >= 10:
            _advert(wire, ROGUE, 30.0 * number + 5)


@silent("low")
def spare_router(wire: Wire) -> None:
    """The same by design: told, but as no more than worth a look."""
    for number in range(40):
        _advert(wire, ROUTER, 10.0 * number)
        if number >= 10:
            _advert(wire, "fe80::2", 10.0 * number + 5)


@silent("info")
def preferred_by_design(wire: Wire) -> None:
    """Two routers from the start, the main one with a high preference."""
    for number in range(20):
        _advert(wire, "fe80::2", 30.0 * number)
        _advert(wire, ROUTER, 30.0 * number + 7, preference=1)


@silent()
def failover(wire: Wire) -> None:
    """The first router falls silent, the standby one takes over with the same prefix."""
    for number in range(10):
        _advert(wire, ROUTER, 30.0 * number)
    for number in range(10, 20):
        _advert(wire, "fe80::2", 30.0 * number)


@silent()
def virtual_router(wire: Wire) -> None:
    """VRRP for IPv6: the virtual router joins with its virtual MAC, later it moves between two machines."""
    for number in range(20):
        _advert(wire, ROUTER, 30.0 * number)
        if number >= 5:
            _advert(wire, "fe80::5", 30.0 * number + 1, mac="00:00:5e:00:02:05")


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
