"""Scenes of floods, and of traffic that is fast without being one."""

from cases import fires, silent
from payloads import request, response
from traffic import Wire

VICTIM, ATTACKER = "203.0.113.80", "10.0.0.66"


def _address(wire: Wire) -> str:
    return f"{wire.random.randint(1, 99)}.{wire.random.randint(0, 255)}.{wire.random.randint(0, 255)}.{wire.random.randint(1, 254)}"


@fires(title="keeps")
def slowloris(wire: Wire) -> None:
    """Slowloris: 60 connections to a web server, each with a request that never ends, a header line every 10 s."""
    for number in range(60):
        line = b"X-a: b\r\n"
        said = [("c", b"GET / HTTP/1.1\r\nHost: victim\r\n")] + [("c", line)] * 4
        wire.talk(ATTACKER, VICTIM, 80, said, at=0.1 * number, close="", rtt=10)


@silent()
def long_polls(wire: Wire) -> None:
    """A browser holds 6 connections open for a minute and waits for news; the requests are complete and answered."""
    for number in range(6):
        said = [("c", request("/poll")), ("s", response())] * 4
        wire.talk("10.0.0.7", "198.51.100.9", 80, said, at=0.1 * number, close="", rtt=5)


@fires(title="keeps")
def slow_post(wire: Wire) -> None:
    """R-U-Dead-Yet: 40 forms whose body comes a byte at a time."""
    for number in range(40):
        head = b"POST /form HTTP/1.1\r\nHost: victim\r\nContent-Length: 100000\r\n\r\n"
        wire.talk(ATTACKER, VICTIM, 80, [("c", head)] + [("c", b"a")] * 6, at=0.05 * number, close="", rtt=8)


@silent()
def server_hangs(wire: Wire) -> None:
    """A server hangs: 30 clients wait for the answer to a complete request, each with one connection."""
    for number in range(30):
        wire.talk(f"10.0.1.{number + 1}", VICTIM, 80, [("c", request()), ("w", b""), ("w", b"")], at=0.1 * number, close="", rtt=15)  # fmt: skip
