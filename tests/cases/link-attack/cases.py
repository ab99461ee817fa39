"""Scenes of attacks on the link, and of links at work."""

import struct

from cases import fires, silent
from payloads import request, response
from traffic import Wire, mac_bytes

BRIDGES, AP, STATION = "01:80:c2:00:00:00", "02:aa:aa:aa:aa:01", "02:bb:bb:bb:bb:01"


def _spanning(wire: Wire, source: str, priority: int, at: float, flags: int = 0, root: str = "") -> None:
    """A configuration BPDU (IEEE 802.1D 9.3.1) whose root is the sender, or `root`."""
    bridge = priority.to_bytes(2, "big") + mac_bytes(root or source)
    body = b"\0\0\0\0" + bytes((flags,)) + bridge + bytes(4) + priority.to_bytes(2, "big") + mac_bytes(source)
    body += b"\x80\x01\0\0\x14\0\x02\0\x0f\0"
    wire.frame(b"\x42\x42\x03" + body + bytes(8), 3 + len(body), source, BRIDGES, at)


def _changed(wire: Wire, source: str, at: float) -> None:
    wire.frame(b"\x42\x42\x03\0\0\0\x80" + bytes(39), 7, source, BRIDGES, at)


def _wlan(wire: Wire, kind: int, target: str, source: str, network: str, body: bytes, at: float) -> None:
    """A management frame without capture header."""
    head = bytes((kind, 0, 0x3A, 1)) + mac_bytes(target) + mac_bytes(source) + mac_bytes(network) + b"\0\0"
    wire.put(head + body, at)


def _beacon(wire: Wire, network: str, name: str, at: float) -> None:
    body = bytes(8) + b"\x64\0\x11\x04" + bytes((0, len(name))) + name.encode() + b"\x01\x04\x82\x84\x8b\x96"
    _wlan(wire, 0x80, "ff:ff:ff:ff:ff:ff", network, network, body, at)


def _discovery(wire: Wire, source: str, at: float) -> None:
    """A CDP frame with a device's name."""
    name = f"switch-{source[-5:]}".encode()
    body = b"\x02\xb4\0\0\0\x01" + struct.pack(">H", 4 + len(name)) + name
    wire.frame(b"\xaa\xaa\x03\0\0\x0c\x20\0" + body, 8 + len(body), source, "01:00:0c:cc:cc:cc", at)


def _standby(wire: Wire, router: str, operation: int, state: int, priority: int, at: float) -> None:
    body = bytes((0, operation, state, 3, 10, priority, 1, 0)) + b"cisco\0\0\0" + bytes((10, 0, 0, 254))
    wire.udp(router, 1985, "224.0.0.2", 1985, body, at, ttl=1)


@fires(title="thrown off", link=105)
def deauthentication(wire: Wire) -> None:
    """aireplay-ng -0: 128 deauthentications in the access point's name within two seconds."""
    for number in range(128):
        _wlan(wire, 0xC0, STATION, AP, AP, b"\x07\0", number / 64)


@fires(title="false Wi-Fi networks", link=105)
def beacon_flood(wire: Wire) -> None:
    """mdk3 b: 400 networks that do not exist within four seconds."""
    for number in range(400):
        _beacon(wire, f"02:cc:00:00:{number >> 8:02x}:{number & 255:02x}", f"net{number}", number / 100)


@fires(title="root is contested")
def root_takeover(wire: Wire) -> None:
    """Yersinia claims the root with priority 0; the true root answers each time."""
    for number in range(20):
        _spanning(wire, "02:00:00:00:00:01", 32_768, 2.0 * number)
        _spanning(wire, "02:66:66:66:66:66", 0, 2.0 * number + 1)


@fires(title="topology changes")
def topology_changes(wire: Wire) -> None:
    """200 topology change notifications in four seconds."""
    for number in range(200):
        _changed(wire, "02:66:66:66:66:66", number / 50)


@fires(title="CDP")
def discovery_flood(wire: Wire) -> None:
    """Yersinia floods CDP: 150 devices that do not exist."""
    for number in range(150):
        _discovery(wire, f"02:dd:00:00:{number:02x}:01", number / 50)


@fires("high", title="standby address")
def standby_coup(wire: Wire) -> None:
    """A coup with priority 255 in HSRP; the router that was active goes on, and both say that they are it."""
    for number in range(6):
        _standby(wire, "10.0.0.2", 0, 16, 100, 3.0 * number)
    _standby(wire, "10.0.0.66", 1, 4, 255, 18)
    for number in range(6):
        _standby(wire, "10.0.0.66", 0, 16, 255, 19 + 3.0 * number)
        _standby(wire, "10.0.0.2", 0, 16, 100, 20 + 3.0 * number)


@fires(title="MAC flooding")
def mac_flooding(wire: Wire) -> None:
    """macof: 1,200 frames from as many MACs in two seconds."""
    from traffic import ip4

    for number in range(1200):
        source = ":".join(f"{wire.random.getrandbits(8) & (0xFE if i == 0 else 0xFF):02x}" for i in range(6))
        target = ":".join(f"{wire.random.getrandbits(8) & (0xFE if i == 0 else 0xFF):02x}" for i in range(6))
        packet = ip4(f"1.{number & 255}.2.3", f"4.{number & 255}.5.6", 6, bytes(20))
        wire.frame(packet, 0x0800, source, target, at=number / 600)


@silent(link=105)
def roaming(wire: Wire) -> None:
    """A dense house: 30 networks with beacons, three stations that leave."""
    for number in range(300):
        _beacon(wire, f"02:cc:00:00:00:{number % 30:02x}", f"net{number % 30}", number / 100)
    for number in range(3):
        _wlan(wire, 0xC0, AP, f"02:bb:bb:bb:bb:0{number}", AP, b"\x03\0", 1.0 + number)


@silent()
def switches_start(wire: Wire) -> None:
    """Two switches start: each claims the root once, the better one stays, one topology change."""
    _spanning(wire, "02:00:00:00:00:02", 32_768, 0)
    for number in range(1, 20):
        _spanning(wire, "02:00:00:00:00:01", 4096, 2.0 * number)
    _changed(wire, "02:00:00:00:00:02", 3)


@silent()
def failover(wire: Wire) -> None:
    """A standby router takes over when the active one is silent."""
    for number in range(6):
        _standby(wire, "10.0.0.2", 0, 16, 110, 3.0 * number)
    for number in range(6):
        _standby(wire, "10.0.0.3", 0, 16, 100, 30 + 3.0 * number)


@silent()
def neighbours(wire: Wire) -> None:
    """Two switches announce themselves by CDP every minute; hosts work."""
    for number in range(20):
        _discovery(wire, f"02:dd:00:00:00:0{number % 2}", 30.0 * number)
        wire.talk(f"10.0.0.{number + 9}", "198.51.100.9", 80, [("c", request()), ("s", response())], at=30.0 * number)


@silent()
def tree_for_each_vlan(wire: Wire) -> None:
    """Per-VLAN spanning tree: VLAN 1 and 5 have roots of their own, told in turn by priority with the VLAN in it."""
    for number in range(20):
        _spanning(wire, "02:00:00:00:00:01", 32_768 + 1, 2.0 * number)
        _spanning(wire, "02:00:00:00:00:02", 32_768 + 5, 2.0 * number + 0.1)


@fires(title="root is contested")
def takeover_of_a_vlan(wire: Wire) -> None:
    """The same, and somebody claims to be the root of VLAN 5 with a lower priority."""
    for number in range(20):
        _spanning(wire, "02:00:00:00:00:01", 32_768 + 1, 2.0 * number)
        _spanning(wire, "02:00:00:00:00:02", 32_768 + 5, 2.0 * number + 0.1)
        _spanning(wire, "02:66:66:66:66:66", 5, 2.0 * number + 1)
