"""Scenes of DHCP misused, and of many clients."""

from cases import fires, silent
from payloads import (
    AAAA,
    ADVERTISE6,
    DHCP_ACK,
    DISCOVER,
    OFFER,
    REPLY6,
    REQUEST,
    REQUEST6,
    SOLICIT6,
    dhcp,
    dhcp6,
    dns_answer,
    dns_query,
    router_advert,
)
from traffic import Wire, mac_of

SERVER, ROGUE = "10.0.0.1", "10.0.0.66"
SERVER6, ROGUE6, SERVERS6 = "fe80::1", "fe80::66", "ff02::1:2"


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


def _lease6(wire: Wire, number: int, server: str, at: float, dns: str, offered: str) -> None:
    client, mac = f"fe80::1:{number + 1}", f"02:00:00:00:06:{number:02x}"
    for later, ask, tell in ((0.0, SOLICIT6, ADVERTISE6), (0.1, REQUEST6, REPLY6)):
        wire.udp(client, 546, SERVERS6, 547, dhcp6(ask, mac, xid=number), at + later)
        answer = dhcp6(tell, mac, xid=number, server_mac=mac_of(server), offered=offered, dns=dns)
        wire.udp(server, 547, client, 546, answer, at + later + 0.01)


def _lookup(wire: Wire, number: int, server: str, answers: dict[str, str], at: float) -> None:
    for name, address in answers.items():
        wire.asked(
            f"fe80::1:{number + 1}", server, 53, dns_query(name, AAAA), dns_answer(name, AAAA, (address,)), at=at
        )
        at += 0.2


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


@fires("high", title="(mitm6)")
def ipv6_name_server(wire: Wire) -> None:
    """mitm6: the only DHCPv6 server leases link-local addresses, names itself name server and answers for the domain's hosts."""
    for number in range(4):
        _lease6(wire, number, ROGUE6, 10.0 * number, ROGUE6, f"fe80::7:{number + 1}")
        names = ("wpad.corp.example", "files.corp.example", "dc1.corp.example")
        _lookup(wire, number, ROGUE6, dict.fromkeys(names, ROGUE6), 10.0 * number + 1)


@fires("high", title="(mitm6)")
def ipv6_name_server_for_all(wire: Wire) -> None:
    """The same with leases of a made-up network; whatever domain is asked for has the attacker's address."""
    for number in range(4):
        _lease6(wire, number, ROGUE6, 10.0 * number, ROGUE6, f"fd00:66::{number + 1}")
        names = ("www.example.org", "mail.example.net", "bank.example.com", "intranet.corp.example")
        _lookup(wire, number, ROGUE6, dict.fromkeys(names, ROGUE6), 10.0 * number + 1)


@fires("high", title="second DHCPv6 server")
def ipv6_rogue_server(wire: Wire) -> None:
    """A second DHCPv6 server races the first one for the same clients, with another name server."""
    for number in range(3):
        _lease6(wire, number, SERVER6, 20.0 * number, "fd00::53", f"fd00::1:{number + 1}")
        _lease6(wire, number, ROGUE6, 20.0 * number + 0.003, ROGUE6, f"fd00::1:{number + 1}")


@silent()
def home_router(wire: Wire) -> None:
    """A home router: it announces a prefix, leases addresses, names its link-local address name server and answers for itself."""
    for number in range(4):
        wire.icmp(SERVER6, "ff02::1", 134, 0, router_advert(mac_of(SERVER6)), at=10.0 * number)
        _lease6(wire, number, SERVER6, 10.0 * number + 1, SERVER6, f"2001:db8:1::{number + 16:x}")
        _lookup(wire, number, SERVER6, {"router.example": SERVER6, "www.example.org": "2001:db8:9::1", "mail.example.net": "2001:db8:8::1"}, 10.0 * number + 2)  # fmt: skip


@silent()
def small_business_server(wire: Wire) -> None:
    """One server is domain controller, files, DHCPv6 and name server; another host is the router."""
    own = "fd00::5"
    names = {f"{name}.corp.example": own for name in ("dc1", "files", "wpad", "_ldap._tcp", "intranet")}
    for number in range(4):
        wire.icmp(SERVER6, "ff02::1", 134, 0, router_advert(mac_of(SERVER6)), at=10.0 * number)
        _lease6(wire, number, own, 10.0 * number + 1, own, f"fd00::1:{number + 1}")
        _lookup(wire, number, own, names | {"www.example.org": "2001:db8:9::1", "mail.example.net": "2001:db8:8::1"}, 10.0 * number + 2)  # fmt: skip
