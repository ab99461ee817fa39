"""Scenes of scans of one host's ports, and of what looks like them."""

from cases import fires, silent
from payloads import tls
from traffic import ACK, FIN, PSH, RST, SYN, URG, Wire

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
    from traffic import ip4

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
