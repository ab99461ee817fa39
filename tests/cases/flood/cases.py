"""Scenes of floods, and of traffic that is fast without being one."""

from cases import fires, silent
from payloads import request, response, tls
from traffic import ACK, PSH, SYN, Wire

VICTIM, ATTACKER = "203.0.113.80", "10.0.0.66"


def _address(wire: Wire) -> str:
    return f"{wire.random.randint(1, 99)}.{wire.random.randint(0, 255)}.{wire.random.randint(0, 255)}.{wire.random.randint(1, 254)}"


@fires("high", title="SYN flood")
def forged_syns(wire: Wire) -> None:
    """hping3 -S --flood --rand-source: 1,500 SYNs in 5 s from as many addresses, none completed."""
    for number in range(1500):
        wire.tcp(_address(wire), wire.random.randint(1024, 65_000), VICTIM, 80, SYN, at=number / 300, ttl=wire.random.randint(40, 250))  # fmt: skip


@fires(title="SYN flood")
def syns_of_one_host(wire: Wire) -> None:
    """One host opens 300 connections a second and completes none; the victim answers with SYN+ACK."""
    for number in range(1200):
        at, port = number / 300, 1024 + number
        wire.tcp(ATTACKER, port, VICTIM, 443, SYN, at=at)
        wire.tcp(VICTIM, 443, ATTACKER, port, SYN | ACK, at=at + 0.001, ack=1)


@fires(title="UDP flood")
def datagrams_of_many(wire: Wire) -> None:
    """A botnet sends 512-byte datagrams to random ports: 40 sources, 1,000 packets a second, no answers."""
    for number in range(3000):
        wire.udp(f"45.9.8.{number % 40 + 1}", 5000, VICTIM, wire.random.randint(1, 65_000), bytes(128), at=number / 1000)  # fmt: skip


@fires(title="ICMP flood")
def ping_flood(wire: Wire) -> None:
    """ping -f: 400 echoes a second from one host, all answered."""
    for number in range(1600):
        wire.ping(ATTACKER, VICTIM, sequence=number, at=number / 400)


@fires(title="ICMP flood")
def smurf(wire: Wire) -> None:
    """Echo replies of 30 hosts of a network that nobody asked (smurf): 300 a second."""
    for number in range(1200):
        wire.icmp(f"198.51.100.{number % 30 + 1}", VICTIM, 0, 0, bytes(60), at=number / 300)


@fires(title="connections a second")
def connection_flood(wire: Wire) -> None:
    """A load tool opens and closes 100 connections a second to one server for 5 s."""
    for number in range(500):
        wire.talk(ATTACKER, VICTIM, 80, [("c", request()), ("s", response())], at=number / 100, rtt=0.002)


@silent()
def video_stream(wire: Wire) -> None:
    """A one-way video stream: one source, one port, 600 packets a second of one multicast-like feed over unicast: low at most elsewhere."""
    for number in range(1200):
        wire.udp("10.0.0.7", 5004, "10.0.0.8", 5004, wire.noise(200), at=number / 400)


@silent()
def speed_test(wire: Wire) -> None:
    """A speed test: 8 connections, 3 MB down and 1 MB up, all answered."""
    for number in range(8):
        data = (("c", 500), ("s", 380_000), ("c", 120_000), ("s", 200))
        wire.talk("10.0.0.7", "198.51.100.9", 443, tls("speed.example.net", data=data), at=0.05 * number)


@silent()
def dead_server_retries(wire: Wire) -> None:
    """A server is down; 60 clients retry with back-off (1, 2, 4 s)."""
    for number in range(60):
        wire.unanswered(f"10.0.1.{number + 1}", "10.0.0.80", 443, (0, 1, 3, 7), at=0.3 * number)


@silent()
def monitoring_pings(wire: Wire) -> None:
    """Monitoring pings 20 hosts once a second and gets answers."""
    for number in range(600):
        wire.ping("10.0.0.2", f"10.0.0.{10 + number % 20}", sequence=number // 20, at=number / 20)


@fires(title="UDP flood")
def from_low_ports(wire: Wire) -> None:
    """2,000 datagrams from 20 hosts with low source ports to one high port: the target is who gets them."""
    for number in range(2000):
        wire.udp(f"45.9.8.{number % 20 + 1}", 1 + number % 900, VICTIM, 30_000, bytes(64), at=number / 1000)


@fires(title="HTTP flood")
def page_flood(wire: Wire) -> None:
    """A load tool asks for one page 100 times a second over four kept connections."""
    for number in range(4):
        said = [("c", request("/index.html")), ("s", response())] * 80
        wire.talk(ATTACKER, VICTIM, 80, said, at=0.01 * number, rtt=0.015)


@fires(title="SIP")
def invite_flood(wire: Wire) -> None:
    """inviteflood: 600 INVITE in a second over one port pair, no answers."""
    from payloads import sip

    for number in range(600):
        wire.udp(ATTACKER, 9, "10.0.0.60", 5060, sip("INVITE", "pbx", call=f"c{number}"), at=number / 600)


@silent()
def page_with_pictures(wire: Wire) -> None:
    """A page with 120 pictures loads within a second: many paths, each once."""
    for number in range(6):
        said = [part for one in range(20) for part in (("c", request(f"/img/{number}-{one}.png")), ("s", response()))]
        wire.talk("10.0.0.7", "198.51.100.9", 80, said, at=0.02 * number, rtt=0.01)


@silent()
def one_side_of_a_busy_server(wire: Wire) -> None:
    """Only the clients' side of a busy server was captured: 400 connections in two seconds, each completed and used."""
    for number in range(400):
        client, at = f"198.51.{number % 100}.{number % 200 + 1}", number / 200
        wire.tcp(client, 50_000 + number, VICTIM, 443, SYN, at=at, seq=1)
        wire.tcp(client, 50_000 + number, VICTIM, 443, ACK, at=at + 0.02, seq=2, ack=9)
        wire.tcp(client, 50_000 + number, VICTIM, 443, PSH | ACK, at=at + 0.021, seq=2, ack=9, data=bytes(300))


@fires("high", title="many ports")
def syns_to_all_ports(wire: Wire) -> None:
    """SYNs from forged addresses to ports at random: 400 a second."""
    for number in range(1600):
        wire.tcp(_address(wire), wire.random.randint(1024, 65_000), VICTIM, wire.random.randint(1, 65_000), SYN, at=number / 400)  # fmt: skip


@fires(title="HTTP flood: 50 hosts")
def page_flood_of_many(wire: Wire) -> None:
    """Fifty bots ask for one expensive page, each twice a second."""
    for number in range(1000):
        ask = request(f"/search?q={number}")
        wire.talk(f"45.9.8.{number % 50 + 1}", VICTIM, 80, [("c", ask), ("s", response())], at=0.01 * number)


@silent(also=("surge",))
def crowd_of_visitors(wire: Wire) -> None:
    """A page is on the news: 300 visitors load it within three seconds, once each."""
    for number in range(300):
        client = f"45.{number % 9}.8.{number % 250 + 1}"
        wire.talk(client, VICTIM, 80, [("c", request("/news")), ("s", response())], at=0.01 * number)


@fires(title="UDP flood")
def short_forged_datagrams(wire: Wire) -> None:
    """Half a second of a flood with forged senders: 400 datagrams of as many addresses to one port."""
    for number in range(400):
        wire.udp(_address(wire), 1024 + number, VICTIM, 80, bytes(40), at=number / 800)


@silent(also=("surge",))
def peers_of_a_swarm(wire: Wire) -> None:
    """A node of a distributed hash table: 30 new peers a second, most of which get an answer."""
    for number in range(600):
        answer = wire.noise(60) if number % 5 else None
        wire.asked(_address(wire), VICTIM, 6881, b"d1:ad2:id20:" + wire.noise(40), answer, at=number / 30)
