"""Scenes of even steps, by malware and by what keeps time for good reasons."""

from cases import fires, silent
from payloads import dns_answer, dns_query, ntp, tls
from traffic import Wire

ME, MASTER = "10.0.0.9", "203.0.113.66"


def _beacon(wire: Wire, every: float, jitter: float, count: int, data: tuple[tuple[str, int], ...] = (("c", 200), ("s", 120))) -> None:  # fmt: skip
    at = 0.0
    for _ in range(count):
        wire.talk(ME, MASTER, 443, tls("", data=data), at=at)
        at += every * (1 + jitter * (2 * wire.random.random() - 1))


@fires(title="every 30")
def exact(wire: Wire) -> None:
    """Every 30 s a short connection of the same size, for half an hour."""
    _beacon(wire, 30, 0, 60)


@fires(title="every")
def with_jitter(wire: Wire) -> None:
    """Every 60 s with 20 % jitter (Cobalt Strike's setting), for an hour."""
    _beacon(wire, 60, 0.2, 60)


@fires(title="every")
def with_more_jitter(wire: Wire) -> None:
    """The same with 30 %."""
    _beacon(wire, 60, 0.3, 60)


@silent()
def time_service(wire: Wire) -> None:
    """NTP every 64 s."""
    for number in range(40):
        wire.asked(ME, "198.51.100.123", 123, ntp(3), ntp(4), at=64.0 * number, sport=123)


@silent()
def local_broadcasts(wire: Wire) -> None:
    """A television announces itself every 6 s by broadcast (UDP 15600), a power-line adapter every 2 s."""
    for number in range(100):
        wire.udp("10.0.0.20", 15_600, "10.0.0.255", 15_600, bytes(35), at=6.0 * number)
        wire.frame(bytes(46), 0x88E1, "02:00:00:00:00:20", "ff:ff:ff:ff:ff:ff", at=2.048 * number)


@silent(at_most="low")
def update_check(wire: Wire) -> None:
    """A browser asks its update service every two minutes: named as such, low at most."""
    name = "update.googleapis.com"
    wire.asked(ME, "10.0.0.1", 53, dns_query(name), dns_answer(name, 1, (MASTER,)), at=0)
    for number in range(30):
        wire.talk(ME, MASTER, 443, tls(name, data=(("c", 200), ("s", 400))), at=1 + 120.0 * number)


@silent()
def person_reading(wire: Wire) -> None:
    """A person reads a site: 40 connections within 20 minutes, in bursts and pauses."""
    at = 0.0
    for _ in range(40):
        wire.talk(ME, "198.51.100.9", 443, tls("news.example.org", data=(("c", wire.random.randint(200, 3000)), ("s", wire.random.randint(900, 30_000)))), at=at)  # fmt: skip
        at += wire.random.expovariate(1 / 30) + (200 if wire.random.random() < 0.1 else 0)


@silent()
def keep_alives(wire: Wire) -> None:
    """One connection with a keep-alive every 10 s: packets in even steps, but no new connections."""
    wire.talk(ME, "198.51.100.9", 5222, [("c", b" "), ("s", b" ")] * 60, rtt=5, close="")


@silent()
def resent_syns(wire: Wire) -> None:
    """A dead server is tried every 20 s; each attempt repeats its SYN."""
    for number in range(30):
        wire.unanswered(ME, "10.0.0.80", 7000, (0, 1, 2, 3), at=20.0 * number)


@silent("low")
def health_checks_inside(wire: Wire) -> None:
    """A load balancer asks a server inside every two seconds whether it lives."""
    for number in range(100):
        wire.talk("10.0.0.2", "10.0.3.1", 8080, [("c", b"GET /health HTTP/1.0\r\n\r\n"), ("s", b"HTTP/1.0 200 OK\r\n\r\n")], at=2.0 * number)  # fmt: skip
