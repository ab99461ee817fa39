"""Scenes of answers that nobody asked for, and of answers that somebody did."""

from cases import fires, silent
from payloads import TXT, dns_answer, dns_query, ntp
from traffic import ACK, RST, SYN, Wire

VICTIM = "203.0.113.80"


@fires(title="DNS answers")
def dns_reflection(wire: Wire) -> None:
    """Open resolvers answer with large TXT records: 40 sources, 400 answers, no question in the capture."""
    for number in range(400):
        answer = dns_answer("big.example.org", TXT, ("x" * 900,))
        wire.udp(f"45.9.8.{number % 40 + 1}", 53, VICTIM, 30_000 + number % 7, answer, at=number / 400)


@fires(title="NTP answers")
def ntp_monlist(wire: Wire) -> None:
    """Monlist answers of 440 bytes from 30 time servers (CVE-2013-5211)."""
    for number in range(600):
        wire.udp(f"45.9.8.{number % 30 + 1}", 123, VICTIM, 80, bytes((0xD7, number % 80, 3, 42)) + bytes(436), at=number / 300)  # fmt: skip


@fires(title="memcached answers")
def memcached(wire: Wire) -> None:
    """memcached answers of 1,400 bytes from 20 servers."""
    for number in range(300):
        wire.udp(f"45.9.8.{number % 20 + 1}", 11211, VICTIM, 4444, bytes(8) + b"VALUE a 0 1400\r\n" + bytes(1376), at=number / 300)  # fmt: skip


@fires(title="reflected")
def one_strong_reflector(wire: Wire) -> None:
    """A single CLDAP server sends 600 large answers in two seconds to a host that never asked."""
    for number in range(600):
        wire.udp("45.9.8.7", 389, VICTIM, 50_000, b"0\x84\0\0\x0b\xb8" + bytes(1300), at=number / 300)


@fires(title="never asked for")
def backscatter(wire: Wire) -> None:
    """SYN+ACK and RST of 100 flooded servers, answers to SYNs that somebody sent in this address's name."""
    for number in range(200):
        flags = SYN | ACK if number % 2 else RST | ACK
        wire.tcp(f"45.9.{number % 100}.8", 80, VICTIM, 1024 + number, flags, at=0.1 * number, seq=5, ack=1)


@silent()
def resolver_at_work(wire: Wire) -> None:
    """A resolver asks 60 name servers and gets answers."""
    for number in range(240):
        name = f"n{number}.example.org"
        wire.asked("10.0.0.53", f"45.9.8.{number % 60 + 1}", 53, dns_query(name), dns_answer(name, 1, ("1.2.3.4",)), at=number / 50)  # fmt: skip


@silent()
def time_from_many_servers(wire: Wire) -> None:
    """An NTP client polls 12 servers of a pool every 16 s."""
    for number in range(120):
        wire.asked("10.0.0.9", f"45.9.8.{number % 12 + 1}", 123, ntp(3), ntp(4), at=1.6 * number, sport=123)


@silent()
def late_answers(wire: Wire) -> None:
    """The capture begins between question and answer: nine late answers of three resolvers."""
    for number in range(9):
        wire.udp(f"10.0.0.{number % 3 + 1}", 53, "10.0.0.9", 40_000 + number, dns_answer(f"n{number}.example.org", 1, ("1.2.3.4",)), at=0.1 * number)  # fmt: skip
    for number in range(60):
        name = f"m{number}.example.org"
        wire.asked("10.0.0.9", "10.0.0.1", 53, dns_query(name), dns_answer(name, 1, ("1.2.3.4",)), at=2 + number / 10)


@silent()
def printer_discovery(wire: Wire) -> None:
    """One search for printers and media servers is answered by eight devices (SSDP, mDNS)."""
    wire.udp("10.0.0.9", 50_000, "239.255.255.250", 1900, b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n")  # fmt: skip
    for number in range(40):
        wire.udp(f"10.0.0.{20 + number % 8}", 1900, "10.0.0.9", 50_000, b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\n\r\n", at=0.1 + 0.05 * number)  # fmt: skip


@fires(title="UDP port 80")
def unknown_amplifier(wire: Wire) -> None:
    """Datagrams from port 80 of 60 hosts (a new amplifier): 300 packets to one that never asked."""
    for number in range(300):
        wire.udp(f"45.9.8.{number % 60 + 1}", 80, VICTIM, 40_000 + number % 9, bytes(900), at=number / 200)


@fires(title="monlist")
def misused_time_server(wire: Wire) -> None:
    """Our own time server answers monlist requests with 100 packets each."""
    for number in range(3):
        wire.udp(VICTIM, 40_000 + number, "10.0.0.123", 123, bytes((0x17, 0, 3, 42)) + bytes(4), at=number)
        for part in range(60):
            wire.udp("10.0.0.123", 123, VICTIM, 40_000 + number, bytes((0xD7, part, 3, 42)) + bytes(436), at=number + 0.002 * part)  # fmt: skip


@fires(title="amplifies DNS")
def resolver_abused(wire: Wire) -> None:
    """An open resolver of ours is asked for the same large name 100 times a second, in somebody's name."""
    for number in range(600):
        wire.asked(VICTIM, "10.0.0.5", 53, dns_query("big.example.org", 255, number), dns_answer("big.example.org", TXT, ("x" * 250,) * 8, number), at=number / 100, sport=4444)  # fmt: skip


@silent()
def resolver_with_many_questions(wire: Wire) -> None:
    """A mail gateway asks its resolver for 100 different names a second and gets long answers."""
    for number in range(600):
        name = f"m{number}.example{number % 90}.org"
        wire.asked("10.0.0.9", "10.0.0.5", 53, dns_query(name, TXT, number), dns_answer(name, TXT, ("x" * 250,) * 2, number), at=number / 100, sport=5353)  # fmt: skip


@fires(title="CoAP")
def things_answer(wire: Wire) -> None:
    """Things on the internet answer over CoAP: 60 sources, 100 answers, no question in the capture."""
    for number in range(100):
        wire.udp(f"45.9.{number % 60}.7", 5683, VICTIM, 8080, bytes(900), at=number / 100)
