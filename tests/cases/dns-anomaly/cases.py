"""Scenes of DNS that should not be, and of DNS that only looks so."""

from cases import fires, silent
from payloads import AXFR, SIG, A, dns_answer, dns_query
from traffic import Wire

ME, RESOLVER = "10.0.0.9", "10.0.0.1"


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


@fires("high", title="forged DNS")
def two_answers(wire: Wire) -> None:
    """A forger on the path answers first, the server 20 ms later: the same id, other addresses."""
    for number in range(4):
        name, at = f"bank{number}.example.org", 3.0 * number
        wire.udp(ME, 40_000 + number, RESOLVER, 53, dns_query(name, id=number), at=at)
        wire.udp(RESOLVER, 53, ME, 40_000 + number, dns_answer(name, A, ("203.0.113.66",), id=number, ttl=60), at=at + 0.002)  # fmt: skip
        wire.udp(RESOLVER, 53, ME, 40_000 + number, dns_answer(name, A, ("198.51.100.7",), id=number), at=at + 0.02)


@fires("high", title="SIGRed")
def oversized_signature(wire: Wire) -> None:
    """An answer near 64 kB for a SIG record, over TCP (CVE-2020-1350)."""
    ask = _framed(dns_query("9.evil.example", SIG))
    answer = dns_answer("9.evil.example", SIG, (bytes(65_000),))
    wire.talk(ME, "203.0.113.66", 53, [("c", ask), ("s", _framed(answer))])


@fires(title="guesses")
def cache_poisoning(wire: Wire) -> None:
    """Kaminsky's way: a burst of answers with guessed ids to one resolver for one zone, before the true one."""
    for number in range(300):
        answer = dns_answer(f"x{number // 100}.bank.example", A, ("203.0.113.66",), id=7 * number)
        wire.udp("198.51.100.53", 53, RESOLVER, 33_333, answer, at=0.001 * number)
    for number in range(3):
        wire.udp(RESOLVER, 33_333, "198.51.100.53", 53, dns_query(f"x{number}.bank.example", id=99), at=0.1 * number)


@fires("low", title="zone")
def zone_transfer(wire: Wire) -> None:
    """A stranger asks for the whole zone (AXFR) and gets it."""
    answer = dns_answer("example.org", AXFR, tuple(bytes(60) for _ in range(40)))
    wire.talk("203.0.113.66", RESOLVER, 53, [("c", _framed(dns_query("example.org", AXFR))), ("s", _framed(answer))])


@silent()
def repeated_answer(wire: Wire) -> None:
    """A question is repeated and answered twice with the same addresses in another order."""
    for number, values in enumerate((("1.2.3.4", "1.2.3.5"), ("1.2.3.5", "1.2.3.4"))):
        wire.udp(ME, 40_000, RESOLVER, 53, dns_query("www.example.org"), at=number)
        wire.udp(RESOLVER, 53, ME, 40_000, dns_answer("www.example.org", A, values), at=number + 0.02)


@silent()
def round_robin(wire: Wire) -> None:
    """The same name is asked twice within seconds, with its own id each time, and moves on in a pool of addresses."""
    for number in range(6):
        wire.asked(ME, RESOLVER, 53, dns_query("pool.example.org", id=number), dns_answer("pool.example.org", A, (f"203.0.113.{number}",), id=number), at=number)  # fmt: skip


@silent()
def signed_answer(wire: Wire) -> None:
    """A DNSSEC answer of 4 kB over TCP."""
    answer = dns_answer("example.org", 48, (bytes(2000), bytes(2000)))
    wire.talk(ME, RESOLVER, 53, [("c", _framed(dns_query("example.org", 48))), ("s", _framed(answer))])


@fires(title="random names of example.com")
def water_torture(wire: Wire) -> None:
    """A botnet asks our resolver for names of one domain that do not exist, each once."""
    for number in range(600):
        ask = dns_query(f"{wire.word(12)}.www.example.com", A, number)
        wire.udp(f"10.1.{number % 40}.9", 20_000 + number, RESOLVER, 53, ask, at=0.01 * number)


@silent(also=("dns-tunnel",))
def telemetry_of_many(wire: Wire) -> None:
    """Forty hosts report to a vendor under names of their own; every name has an address."""
    for number in range(600):
        name = f"h{number}.telemetry.example.com"
        wire.asked(f"10.1.{number % 40}.9", RESOLVER, 53, dns_query(name, A, number), dns_answer(name, A, ("198.51.100.9",), number), at=0.05 * number)  # fmt: skip
