"""Scenes of one question to many hosts, and of hosts that have many friends."""

import socket

from cases import fires, silent
from payloads import A, dns_answer, dns_query, nbns_answer, nbns_query, request, response, tls
from traffic import ACK, FIN, RST, SYN, Wire

ME, MAC = "10.0.0.66", "02:66:66:66:66:66"


@fires(title="pinged 60 hosts")
def ping_sweep(wire: Wire) -> None:
    """nmap -sn over a network: 60 hosts pinged within 6 s, 5 answer."""
    for number in range(60):
        wire.ping(ME, f"10.0.1.{number + 1}", reply=b"" if number % 12 == 0 else None, at=0.1 * number)


@fires(title="TCP port 445")
def worm(wire: Wire) -> None:
    """A worm tries port 445 of 200 addresses outside; nobody answers."""
    for number in range(200):
        target = f"{wire.random.randint(11, 99)}.{number}.{wire.random.randint(0, 255)}.9"
        wire.tcp(ME, wire.port(), target, 445, SYN, at=0.05 * number, seq=number)


@fires(title="UDP port 5060")
def sip_sweep(wire: Wire) -> None:
    """A SIP scanner sends OPTIONS to 40 hosts, two answer."""
    for number in range(40):
        wire.asked(ME, f"10.0.1.{number + 1}", 5060, b"OPTIONS sip:100@x SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n" if number % 20 == 0 else None, at=0.1 * number, sport=5060)  # fmt: skip


@fires(title="by ARP for 100 addresses")
def arp_sweep(wire: Wire) -> None:
    """arp-scan of a /24: 100 addresses in 4 s, 3 exist."""
    for number in range(100):
        wire.arp(1, MAC, ME, f"10.0.0.{number + 100}", at=0.04 * number)
        if number % 40 == 0:
            wire.arp(2, f"02:00:00:00:00:{number:02x}", f"10.0.0.{number + 100}", ME, MAC, at=0.04 * number + 0.001)


@silent()
def router_refreshes_arp(wire: Wire) -> None:
    """A router asks for the 30 hosts of its network, one after the other; all but two answer."""
    for number in range(30):
        wire.arp(1, "02:00:00:00:fe:01", "10.0.0.1", f"10.0.0.{number + 10}", at=2.0 * number)
        if number > 1:
            wire.arp(2, f"02:00:00:00:00:{number:02x}", f"10.0.0.{number + 10}", "10.0.0.1", "02:00:00:00:fe:01", at=2.0 * number + 0.001)  # fmt: skip


@silent()
def many_web_servers(wire: Wire) -> None:
    """A browser with many tabs: 60 servers on port 443, all answer."""
    for number in range(60):
        wire.talk(ME, f"198.51.100.{number + 1}", 443, tls(f"s{number}.example.org", data=(("c", 300), ("s", 900))), at=0.2 * number)  # fmt: skip


@silent()
def peer_to_peer(wire: Wire) -> None:
    """A peer-to-peer client: 80 peers on 80 different ports, a third of them gone."""
    for number in range(80):
        peer, port = f"{20 + number}.9.{number}.7", 6881 + 137 * number
        if number % 3 == 0:
            wire.unanswered(ME, peer, port, (0, 1, 3), at=0.3 * number)
        else:
            wire.talk(ME, peer, port, [("c", b"\x13BitTorrent protocol" + bytes(48)), ("s", b"\x13BitTorrent protocol" + bytes(48))], at=0.3 * number)  # fmt: skip


@silent()
def voip_media(wire: Wire) -> None:
    """A conference server sends voice to 20 participants, who answer."""
    for number in range(20):
        for packet in range(20):
            wire.udp(ME, 10_000 + 2 * number, f"10.0.2.{number + 1}", 4000, wire.noise(160), at=0.02 * packet)
            wire.udp(f"10.0.2.{number + 1}", 4000, ME, 10_000 + 2 * number, wire.noise(160), at=0.02 * packet + 0.01)


@fires(title="spam bot")
def spam(wire: Wire) -> None:
    """A bot delivers mail to 25 servers within two minutes."""
    for number in range(25):
        said = [("s", b"220 mx\r\n"), ("c", b"EHLO pc\r\n"), ("s", b"250 mx\r\n"), ("c", b"MAIL FROM:<a@b.example>\r\n"), ("s", b"250 ok\r\n")]  # fmt: skip
        wire.talk(ME, f"198.51.100.{number + 1}", 25, said, at=4.0 * number)


@silent()
def mail_server(wire: Wire) -> None:
    """A mail server delivers to 25 others and gets mail itself."""
    for number in range(25):
        said = [("s", b"220 mx\r\n"), ("c", b"EHLO mail\r\n"), ("s", b"250 mx\r\n")]
        wire.talk("10.0.0.25", f"198.51.100.{number + 1}", 25, said, at=4.0 * number)
        wire.talk(f"198.51.100.{number + 100}", "10.0.0.25", 25, said, at=4.0 * number + 1)


@fires(title="floods the segment")
def arp_flood(wire: Wire) -> None:
    """One card asks for the gateway 200 times a second."""
    for number in range(600):
        wire.arp(1, MAC, ME, "10.0.0.1", at=number / 200)


@silent()
def browser_without_way_out(wire: Wire) -> None:
    """The line is down behind the router: 25 servers that were looked up by name do not answer the browser."""
    for number in range(25):
        name, server = f"www.site{number}.example", f"198.51.100.{number + 1}"
        wire.asked(ME, "10.0.0.1", 53, dns_query(name), dns_answer(name, A, (server,)), at=1.2 * number)
        wire.unanswered(ME, server, 443, (0, 1, 3), at=1.2 * number + 0.1)


@fires(title="IPv6 neighbours")
def neighbour_sweep(wire: Wire) -> None:
    """A host solicits 60 addresses of its IPv6 network within some seconds; two exist."""
    for number in range(1, 61):
        target = socket.inet_pton(socket.AF_INET6, f"fd00::{number:x}")
        wire.icmp(
            "fd00::66", f"ff02::1:ff00:{number:x}", 135, 0, bytes(4) + target + b"\x01\x01" + bytes(6), at=0.1 * number
        )
        if number in (7, 9):
            wire.icmp(f"fd00::{number:x}", "fd00::66", 136, 0, b"\x60\0\0\0" + target + b"\x02\x01" + bytes(6), at=0.1 * number + 0.01)  # fmt: skip


@silent()
def neighbours_at_work(wire: Wire) -> None:
    """A server solicits the 30 clients that it talks to; all answer."""
    for number in range(1, 31):
        target = socket.inet_pton(socket.AF_INET6, f"fd00::{number:x}")
        wire.icmp(
            "fd00::66", f"ff02::1:ff00:{number:x}", 135, 0, bytes(4) + target + b"\x01\x01" + bytes(6), at=0.5 * number
        )
        wire.icmp(f"fd00::{number:x}", "fd00::66", 136, 0, b"\x60\0\0\0" + target + b"\x02\x01\2\0\0\0\0" + bytes((number,)), at=0.5 * number + 0.01)  # fmt: skip


@fires(title="UDP port 123")
def time_servers_wanted(wire: Wire) -> None:
    """Somebody searches a network for time servers that can be abused: a question of mode 7 to 40 hosts, no answer."""
    for number in range(40):
        wire.udp(ME, wire.port(), f"198.51.100.{number + 1}", 123, b"\x17\0\x03\x2a" + bytes(4), at=0.05 * number)


@fires(title="SCTP port 36412")
def base_stations_wanted(wire: Wire) -> None:
    """Somebody searches a provider's network for the mobile core's control port (S1AP): an INIT to 60 hosts."""
    for number in range(60):
        wire.sctp("10.0.0.66", 50_000, f"10.0.3.{number + 1}", 36_412, 1, wire.noise(16))
        wire.wait(0.1)


@silent()
def core_at_work(wire: Wire) -> None:
    """The mobile core and its 40 base stations: a heartbeat each and its answer, no more in a short capture."""
    for number in range(40):
        body = wire.noise(16)
        wire.sctp("10.0.0.2", 36_412, f"10.0.3.{number + 1}", 36_412, 4, body, at=0.5 * number)
        wire.sctp(f"10.0.3.{number + 1}", 36_412, "10.0.0.2", 36_412, 5, body, at=0.5 * number + 0.02)


@fires(title="UDP port 53 of 60 hosts")
def resolvers_wanted(wire: Wire) -> None:
    """Somebody outside searches a network for open resolvers: version.bind of 60 hosts, two answer."""
    for number in range(60):
        answer = dns_answer("version.bind", 16, ("9.18",)) if number in (5, 40) else None
        wire.asked("203.0.113.66", f"10.0.5.{number + 1}", 53, dns_query("version.bind", 16), answer, at=0.1 * number)


@fires(title="UDP port 137 of 60 hosts")
def names_wanted(wire: Wire) -> None:
    """nbtscan: the NetBIOS names of 60 addresses in a row, six exist."""
    for number in range(60):
        answer = nbns_answer("PC", f"10.0.5.{number + 1}") if number % 10 == 0 else None
        wire.asked("10.0.0.66", f"10.0.5.{number + 1}", 137, nbns_query("*"), answer, at=0.1 * number, sport=137)


@silent()
def resolver_without_way_out(wire: Wire) -> None:
    """The line is down behind a resolver: it asks 30 name servers in turn, and none answers; the house goes on asking it."""
    for number in range(60):
        wire.asked("10.0.0.20", "10.0.0.1", 53, dns_query(f"host{number}.example.org"), None, at=2.0 * number)
        wire.asked("10.0.0.1", f"198.51.100.{number % 30 + 1}", 53, dns_query(f"host{number}.example.org"), None, at=2.0 * number + 0.001)  # fmt: skip


@silent()
def visitors_looked_up(wire: Wire) -> None:
    """A Windows web server asks each of its 40 visitors for its NetBIOS name; nobody tells."""
    for number in range(40):
        visitor = f"198.51.100.{number + 1}"
        wire.talk(visitor, "10.0.0.5", 80, [("c", request()), ("s", response())], at=5.0 * number)
        wire.asked("10.0.0.5", visitor, 137, nbns_query("*"), None, at=5.0 * number + 0.1, sport=137)


@fires(title="pinged 80 hosts")
def slow_pings(wire: Wire) -> None:
    """A ping every half minute for forty minutes, each to another address that nobody has."""
    for number in range(80):
        wire.ping("10.0.0.66", f"10.0.7.{number + 1}", reply=None, at=30.0 * number)


@fires(title="TCP port 445 of 80 hosts")
def slow_worm(wire: Wire) -> None:
    """The same with SYNs to port 445."""
    for number in range(80):
        wire.unanswered("10.0.0.66", f"10.0.7.{number + 1}", 445, (0, 1), at=30.0 * number)


@fires("low", title="asked by ARP for 100 addresses")
def slow_arp_sweep(wire: Wire) -> None:
    """An ARP request every six seconds, each for another address of the network."""
    for number in range(100):
        wire.arp(1, "02:66:66:66:66:66", "10.0.0.66", f"10.0.0.{number + 100}", at=6.0 * number)


@fires(title="TCP port 80 of 60 hosts")
def fin_sweep(wire: Wire) -> None:
    """FIN alone to port 80 of sixty hosts: nothing comes back, whether they are there or not."""
    for number in range(60):
        wire.tcp("10.0.0.66", 50_000, f"10.0.7.{number + 1}", 80, FIN, at=0.2 * number)


@fires(title="TCP port 80 of 60 hosts")
def ack_sweep(wire: Wire) -> None:
    """nmap -sn -PA: a bare ACK to sixty hosts; those that are there answer RST."""
    for number in range(60):
        wire.tcp("10.0.0.66", 50_000, f"10.0.7.{number + 1}", 80, ACK, at=0.2 * number, seq=1, ack=1)
        if number % 4 == 0:
            wire.tcp(f"10.0.7.{number + 1}", 80, "10.0.0.66", 50_000, RST, at=0.2 * number + 0.01, seq=1)


@silent()
def keep_alives_one_way(wire: Wire) -> None:
    """A short capture of what a host sends: a keep-alive to each of thirty servers, whose answers are not in it."""
    for number in range(30):
        wire.tcp("10.0.0.9", 50_000 + number, f"198.51.100.{number + 1}", 443, ACK, at=1.0 * number, seq=1, ack=1)


@silent()
def machines_switched_off(wire: Wire) -> None:
    """Monitoring pings eighty machines every ten minutes for an hour; at night most are switched off."""
    for number in range(480):
        wire.ping("10.0.0.3", f"10.0.7.{number % 80 + 1}", reply=None if number % 5 else b"", at=30.0 * number, id=number % 80)  # fmt: skip
