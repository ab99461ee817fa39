"""Scenes of scans of one host's ports, and of what looks like them."""

from cases import fires, silent
from payloads import tls
from traffic import ACK, FIN, PSH, RST, SYN, URG, Wire, ip4

ME, TARGET, OUTSIDE = "10.0.0.66", "10.0.0.5", "203.0.113.9"


@fires(title="open: 22, 80")
def syn_scan(wire: Wire) -> None:
    """A SYN scan of 120 ports as nmap -sS sends it: closed ports answer RST, two are open and get RST from the scanner."""
    for port in wire.random.sample(range(1, 1024), 120) + [22, 80]:
        sport = wire.port()
        wire.tcp(ME, sport, TARGET, port, SYN, seq=9, window=1024)
        if port in (22, 80):
            wire.tcp(TARGET, port, ME, sport, SYN | ACK, seq=5, ack=10)
            wire.tcp(ME, sport, TARGET, port, RST, seq=10)
        else:
            wire.tcp(TARGET, port, ME, sport, RST | ACK, ack=10)
        wire.wait(0.02)


@fires()
def slow_scan(wire: Wire) -> None:
    """One port every 20 s for half an hour (nmap -T1): 90 ports that a filter drops."""
    for number in range(90):
        wire.unanswered(ME, TARGET, 1000 + 7 * number, (0, 1), at=20.0 * number)


@fires()
def xmas_scan(wire: Wire) -> None:
    """FIN+PSH+URG to 12 ports (nmap -sX): segments that no program sends."""
    for port in (21, 22, 23, 25, 53, 80, 110, 139, 143, 443, 445, 3389):
        wire.tcp(ME, 51000, TARGET, port, FIN | PSH | URG)
        wire.wait(0.3)


@fires()
def ack_scan(wire: Wire) -> None:
    """Bare ACKs to 40 ports (nmap -sA), each answered by RST: maps a filter."""
    for port in range(20, 60):
        wire.tcp(ME, 51000, TARGET, port, ACK, seq=1, ack=1)
        wire.tcp(TARGET, port, ME, 51000, RST, seq=1)
        wire.wait(0.05)


@fires()
def udp_scan(wire: Wire) -> None:
    """UDP to 40 ports (nmap -sU), closed ones answer with ICMP port unreachable."""
    for port in [*range(100, 140)]:
        wire.udp(ME, 51111, TARGET, port, b"")
        quoted = ip4(ME, TARGET, 17, (51111).to_bytes(2, "big") + port.to_bytes(2, "big") + b"\0\x08\0\0")
        wire.icmp(TARGET, ME, 3, 3, bytes(4) + quoted)
        wire.wait(0.8)


@silent()
def browser_with_many_tabs(wire: Wire) -> None:
    """A browser start: 40 TLS connections to 25 servers within seconds, all established."""
    for number in range(40):
        server = f"198.51.100.{10 + number % 25}"
        wire.talk(ME, server, 443, tls(f"site{number % 25}.example.org"), at=0.15 * number)


@silent()
def passive_ftp(wire: Wire) -> None:
    """A mirror run over passive FTP: 60 data connections to as many high ports of one server, all of them used."""
    wire.talk(ME, OUTSIDE, 21, [("s", b"220 ready\r\n"), ("c", b"USER anonymous\r\n"), ("s", b"331 any\r\n"), ("c", b"PASS guest\r\n"), ("s", b"230 in\r\n")], close="")  # fmt: skip
    for number in range(60):
        wire.talk(ME, OUTSIDE, 49_000 + 17 * number, [("s", wire.noise(2000))], at=1 + 0.5 * number)


@silent()
def traceroute(wire: Wire) -> None:
    """A traceroute: UDP to 30 ports in a row with growing TTL."""
    for number in range(30):
        wire.udp(ME, 40_000, "198.51.100.1", 33_434 + number, bytes(24), ttl=1 + number // 3)
        wire.wait(0.1)


@silent()
def midstream_answers(wire: Wire) -> None:
    """The capture begins in the middle: a server's packets to 50 client ports, without any SYN."""
    for number in range(50):
        client = ME
        wire.tcp(TARGET, 443, client, 50_000 + number, PSH | ACK, seq=1, ack=1, data=wire.noise(500))
        wire.tcp(client, 50_000 + number, TARGET, 443, ACK, seq=1, ack=501)
        wire.wait(0.2)


@silent()
def dead_service(wire: Wire) -> None:
    """A program that tries one closed port again and again, 40 times."""
    for number in range(40):
        wire.refused(ME, TARGET, 8080, at=2.0 * number)


@silent()
def service_checks(wire: Wire) -> None:
    """Monitoring that connects to each of 20 services of a server every minute and closes again: all are open, each is asked five times."""
    for minute in range(5):
        for number in range(20):
            wire.talk("10.0.0.3", TARGET, 20 + 7 * number, at=60.0 * minute + number)


@fires()
def scan_over_ipv6(wire: Wire) -> None:
    """A scan of 60 ports over IPv6 from outside that a filter drops; only the scanner's side is in the capture."""
    for number in range(60):
        wire.unanswered("2001:db8::66", "fd00::5", 20 + 3 * number, (0, 1), at=0.2 * number)


@fires(title="60 SCTP ports of 10.0.0.5; open: 2905")
def init_scan(wire: Wire) -> None:
    """nmap -sY: an INIT to 60 ports, closed ones answer ABORT, one takes it up and is told ABORT."""
    for port in range(2900, 2960):
        wire.sctp(ME, 50_000, TARGET, port, 1, wire.noise(16))
        if port == 2905:
            wire.sctp(TARGET, port, ME, 50_000, 2, wire.noise(16 + 240))
            wire.sctp(ME, 50_000, TARGET, port, 6)
        else:
            wire.sctp(TARGET, port, ME, 50_000, 6)
        wire.wait(0.02)


@fires(title="40 SCTP ports")
def init_scan_dropped(wire: Wire) -> None:
    """The same against a filter that answers nothing."""
    for port in range(2900, 2940):
        wire.sctp(ME, 50_000, TARGET, port, 1, wire.noise(16))
        wire.wait(0.5)


@fires(title="256 IP protocols")
def protocol_scan(wire: Wire) -> None:
    """nmap -sO: a packet of every IP protocol with nothing behind its header; most are answered by protocol unreachable."""
    for number in wire.random.sample(range(256), 256):
        wire.ip(ME, TARGET, number, b"")
        if number not in (1, 2, 6, 17, 47):
            wire.icmp(TARGET, ME, 3, 2, bytes(4) + ip4(ME, TARGET, number, bytes(8)))
        wire.wait(0.05)


@fires(title="IP protocols")
def protocol_scan_dropped(wire: Wire) -> None:
    """The same for 20 protocols, and nothing comes back."""
    for number in range(40, 60):
        wire.ip(ME, TARGET, number, b"")
        wire.wait(1)


@silent()
def signalling_links(wire: Wire) -> None:
    """Two signalling points with associations of 20 ports each: data and heartbeats both ways, some seen for two packets only."""
    for number in range(20):
        for turn in range(1 if number % 4 == 0 else 12):
            for chunk, back in ((0, 3), (4, 5)):
                size = 12 if back == 3 else 40
                wire.sctp(ME, 2905 + number, TARGET, 2905 + number, chunk, wire.noise(120 if chunk == 0 else 40), at=5.0 * turn + number)  # fmt: skip
                wire.sctp(TARGET, 2905 + number, ME, 2905 + number, back, wire.noise(size), at=5.0 * turn + number + 0.01)  # fmt: skip


@silent()
def routers_at_work(wire: Wire) -> None:
    """Two routers: OSPF, PIM, VRRP, GRE and ESP between them for minutes, and IGMP."""
    for number in range(200):
        for protocol in (2, 47, 50, 89, 103, 112):
            ends = (ME, TARGET) if number % 2 else (TARGET, ME)
            wire.ip(*ends, protocol, wire.noise(44), at=1.5 * number)


@fires(title="80 hosts together tried 280 TCP ports")
def scan_of_many(wire: Wire) -> None:
    """Eighty hosts outside share the work: each tries three or four ports of one target, 280 in all within minutes."""
    for number in range(280):
        wire.unanswered(f"198.51.100.{number % 80 + 1}", TARGET, 20 + number, (0, 1), at=1.0 * number)


@silent()
def noise_of_the_internet(wire: Wire) -> None:
    """A host outside the wall: a stranger tries one of its ports every second, as a provider's address knows it."""
    for number in range(240):
        wire.unanswered(f"198.51.{number}.7", TARGET, wire.random.randint(1, 10_000), (0,), at=1.0 * number)


@silent()
def peers_that_remember(wire: Wire) -> None:
    """A peer-to-peer client was stopped: two hundred peers go on trying its one port."""
    for number in range(400):
        wire.refused(f"198.51.{number % 200}.7", TARGET, 51_413, at=0.7 * number)
