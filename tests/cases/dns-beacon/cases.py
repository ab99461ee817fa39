"""Scenes of programs that wait for orders by DNS, and of names asked for in even steps for good reasons."""

from cases import fires, silent
from payloads import AAAA, A, dns_answer, dns_query, tls
from traffic import Wire

ME, RESOLVER, SITE = "10.0.0.9", "10.0.0.1", "198.51.100.9"
HEX = "0123456789abcdef"


def _ask(wire: Wire, name: str, kind: int, address: str, at: float, asker: str = ME, ttl: int = 1) -> None:
    wire.asked(asker, RESOLVER, 53, dns_query(name, kind), dns_answer(name, kind, (address,), ttl=ttl), at=at)


def _work(wire: Wire, until: float) -> None:
    """The host also reads a site that it looks up."""
    at = 3.0
    while at < until:
        _ask(wire, "www.example.org", A, SITE, at, ttl=300)
        wire.talk(ME, SITE, 443, tls("www.example.org", data=(("c", wire.random.randint(200, 2000)), ("s", 9000))), at=at + 0.1)  # fmt: skip
        at += wire.random.expovariate(1 / 60)


@fires(title="computed names of example.net")
def fresh_names(wire: Wire) -> None:
    """A new computed name every minute with 10 % jitter, answered with 0.0.0.0: no orders."""
    _work(wire, 3600)
    for number in range(60):
        _ask(wire, f"{wire.word(8, HEX)}.{wire.word(8, HEX)}.cs.example.net", A, "0.0.0.0", 60.0 * number + 6 * wire.random.random())  # fmt: skip


@fires(title="computed names of example.net")
def fresh_names_over_aaaa(wire: Wire) -> None:
    """The same by questions for IPv6 addresses every 20 s, two at a time; a number of the implant's and a counter."""
    _work(wire, 900)
    for number in range(45):
        at = 20.0 * number + 4 * wire.random.random()
        for piece in range(2):
            _ask(wire, f"{wire.word(12, HEX)}{piece}.ns1.example.net", AAAA, "2001:db8::8", at + 0.4 * piece)


@fires(title="one computed name of example.net")
def one_name(wire: Wire) -> None:
    """An idle implant asks for the name with its number every 30 s and gets the address that means nothing to do."""
    _work(wire, 2400)
    for number in range(80):
        _ask(wire, "7f3a91c2.cs.example.net", A, "203.0.113.8", 30.0 * number + 3 * wire.random.random())


@fires("low", title="computed names")
def names_only(wire: Wire) -> None:
    """The first scene in a capture that holds nothing but DNS: whether the host connects cannot be seen."""
    for number in range(60):
        _ask(wire, f"{wire.word(8, HEX)}.cs.example.net", A, "203.0.113.8", 60.0 * number + 6 * wire.random.random())


@silent(also=("beacon",))
def time_of_answer_over(wire: Wire) -> None:
    """A program polls its service every 60 s and looks the computed name of its content network up each time."""
    for number in range(40):
        _ask(wire, "d1a2b3c4e5f6.edge.example.net", A, SITE, 60.0 * number, ttl=30)
        wire.talk(ME, SITE, 443, tls("d1a2b3c4e5f6.edge.example.net"), at=60.0 * number + 0.1)


@silent()
def long_connection(wire: Wire) -> None:
    """A program holds one connection open and looks its server's computed name up every five minutes all the same."""
    wire.talk(ME, SITE, 443, [("c", wire.noise(300)), ("s", wire.noise(300))] * 60, rtt=50, close="", at=1)
    for number in range(20):
        _ask(wire, "a7b8c9d0e1.push.example.net", A, SITE, 300.0 * number)


@silent()
def blocked_telemetry(wire: Wire) -> None:
    """A television asks for its maker's statistics every 30 s; the house's filter answers 0.0.0.0."""
    _work(wire, 1200)
    for number in range(40):
        _ask(wire, "statistics.logs.example.net", A, "0.0.0.0", 30.0 * number)


@silent()
def virus_scanner(wire: Wire) -> None:
    """A virus scanner looks hashes up when files are opened: no even steps."""
    _work(wire, 1800)
    at = 0.0
    for _ in range(60):
        _ask(wire, f"{wire.word(32, HEX)}.hash.example.com", A, "127.0.0.3", at)
        at += wire.random.expovariate(1 / 30)


@silent(also=("beacon",))
def resolver_asks_on(wire: Wire) -> None:
    """A resolver in the house: what a telephone behind it asks for goes on to the provider's resolver, and it does other things too."""
    wire.talk(RESOLVER, SITE, 443, tls("update.example.org"), at=2)
    for number in range(60):
        name = f"sensor{number}.a1b2c3d4.example.net"
        for asker, server, later in (("10.0.0.20", RESOLVER, 0.0), (RESOLVER, "198.51.100.53", 0.001)):
            wire.asked(asker, server, 53, dns_query(name), dns_answer(name, A, (SITE,)), at=30.0 * number + later)
        wire.talk("10.0.0.20", SITE, 443, tls("sensor.example.net"), at=30.0 * number + 0.1)
