"""Scenes of seconds that stand out, and of traffic that is even."""

from cases import fires, silent
from payloads import dns_answer, dns_query, tls
from traffic import Wire

ME, SERVER = "192.168.0.10", "198.51.100.20"


def _quiet(wire: Wire, seconds: int = 30) -> None:
    for second in range(seconds):
        for part in range(5):
            name = f"n{second}-{part}.example.org"
            at = second + 0.2 * part
            wire.asked(ME, "192.168.0.1", 53, dns_query(name), dns_answer(name, 1, ("198.51.100.7",)), at=at)


@fires("info", title="a download over TLS from files.example.org")
def download(wire: Wire) -> None:
    """A download of 700 kB over TLS in one second of a quiet half minute."""
    _quiet(wire)
    wire.talk(ME, SERVER, 443, tls("files.example.org", data=(("c", 400), ("s", 700_000))), at=12.1)


@fires("info", title="an upload over TLS to backup.example.org")
def upload(wire: Wire) -> None:
    """A backup of 900 kB leaves in one second."""
    _quiet(wire)
    wire.talk(ME, SERVER, 443, tls("backup.example.org", data=(("c", 900_000), ("s", 400))), at=20.1)


@silent()
def even_stream(wire: Wire) -> None:
    """A voice call: 50 packets a second each way for half a minute, no second stands out."""
    for number in range(1500):
        wire.udp(ME, 40_000, SERVER, 30_000, wire.noise(160), at=0.02 * number)
        wire.udp(SERVER, 30_000, ME, 40_000, wire.noise(160), at=0.02 * number + 0.004)


@silent()
def quiet_house(wire: Wire) -> None:
    """Name look-ups only: the busiest second stays below 100 packets."""
    _quiet(wire)
    for part in range(20):
        wire.asked(ME, "192.168.0.1", 53, dns_query(f"x{part}.example.org"), b"\0" * 40, at=15 + 0.01 * part)
