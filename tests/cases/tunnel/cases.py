"""Scenes of networks inside networks, and of traffic without one."""

from cases import fires, silent
from payloads import tls
from traffic import GRE, Wire, ip4, ip6

ME, OUTSIDE = "10.0.0.9", "203.0.113.66"


@fires("info", title="GRE")
def gre(wire: Wire) -> None:
    """A host has a GRE tunnel to the outside: 30 packets with IPv4 inside."""
    for number in range(30):
        inner = ip4("192.168.7.2", "192.168.7.1", 17, b"\x10\0\x20\0\0\x10\0\0" + bytes(8))
        ends = (ME, OUTSIDE) if number % 2 else (OUTSIDE, ME)
        wire.ip(*ends, GRE, b"\0\0\x08\0" + inner, at=0.2 * number)


@fires("info", title="IPv6 in IPv4")
def six_in_four(wire: Wire) -> None:
    """A host has an IPv6 tunnel by protocol 41."""
    for number in range(30):
        inner = ip6("2001:db8::9", "2001:db8:f::1", 17, b"\x10\0\x20\0\0\x10\0\0" + bytes(8))
        wire.ip(ME, OUTSIDE, 41, inner, at=0.2 * number)


@fires("low", title="Teredo")
def teredo(wire: Wire) -> None:
    """A host tunnels IPv6 in UDP to a Teredo relay."""
    for number in range(30):
        inner = ip6("2001:0:cb00:7142::1", "2001:db8:f::1", 17, b"\x10\0\x20\0\0\x10\0\0" + bytes(8))
        wire.udp(ME, 3544, OUTSIDE, 3544, inner, at=0.2 * number)


@silent()
def web(wire: Wire) -> None:
    """Web traffic without a tunnel."""
    for number in range(10):
        wire.talk(ME, "198.51.100.9", 443, tls(), at=number)


@silent()
def one_probe(wire: Wire) -> None:
    """Two packets of Teredo qualification at start-up, no tunnel follows."""
    for number in range(2):
        inner = ip6("fe80::ffff:ffff:ffff", "ff02::2", 58, b"\x85\0\0\0\0\0\0\0")
        wire.udp(ME, 50_000, OUTSIDE, 3544, inner, at=4.0 * number)


@fires("info", title="IPv6 in IPv4", link=101)
def without_link_layer(wire: Wire) -> None:
    """The same tunnel in a capture of a tun interface, where packets begin with IP."""
    for number in range(30):
        inner = ip6("2001:db8::9", "2001:db8:f::1", 17, b"\x10\0\x20\0\0\x10\0\0" + bytes(8))
        wire.put(ip4(ME, OUTSIDE, 41, inner), at=0.2 * number)


@silent(link=101)
def web_without_link_layer(wire: Wire) -> None:
    """Datagrams in a capture without link layer are no tunnel."""
    for number in range(30):
        wire.put(ip4(ME, OUTSIDE, 17, b"\x10\0\x20\0\0\x10\0\0" + bytes(8)), at=0.2 * number)
