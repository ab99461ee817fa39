"""Scenes of matches with the shipped list, and of near misses. The list holds fingerprints only."""

from cases import fires, silent
from payloads import client_hello, extension, handshake, record, server_hello, tls
from traffic import Wire

ME, OUTSIDE = "10.0.0.9", "203.0.113.66"


def _old_hello(ciphers: tuple[int, ...], extensions: bytes) -> bytes:
    """A TLS 1.0 hello as old Windows libraries make it."""
    suites = b"".join(one.to_bytes(2, "big") for one in ciphers)
    body = b"\x03\x01" + bytes(32) + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\x01\0"
    return record(22, handshake(1, body + len(extensions).to_bytes(2, "big") + extensions), 0x0301)


TRICKBOT = (47, 53, 5, 10, 49171, 49172, 49161, 49162, 50, 56, 19, 4)
GROUPS = extension(10, b"\0\x04\0\x17\0\x18") + extension(11, b"\x01\0")


@fires("low", title="matches")
def listed_fingerprint(wire: Wire) -> None:
    """The ClientHello of an old Windows library that TrickBot used: JA3 769,47-53-…,65281-10-11,23-24,0."""
    hello = _old_hello(TRICKBOT, extension(65281, b"\0") + GROUPS)
    wire.talk(ME, OUTSIDE, 449, [("c", hello), ("s", server_hello(0x0301, 47))])


@fires("low", title="matches")
def listed_fingerprint_with_name(wire: Wire) -> None:
    """The same library with a server name: JA3 769,47-53-…,65281-0-10-11,23-24,0 (Tofsee)."""
    name = b"www.example.net"
    server_name = extension(0, (len(name) + 3).to_bytes(2, "big") + b"\0" + len(name).to_bytes(2, "big") + name)
    hello = _old_hello(TRICKBOT, extension(65281, b"\0") + server_name + GROUPS)
    wire.talk(ME, OUTSIDE, 443, [("c", hello), ("s", server_hello(0x0301, 47))])


@silent()
def modern_browser(wire: Wire) -> None:
    """Hellos of a modern client."""
    for number in range(5):
        wire.talk(ME, f"198.51.100.{number + 1}", 443, tls(f"s{number}.example.org", tls13=True))


@silent()
def one_cipher_more(wire: Wire) -> None:
    """The listed library with one suite more: another fingerprint."""
    hello = _old_hello((*TRICKBOT, 255), GROUPS)
    wire.talk(ME, OUTSIDE, 443, [("c", hello), ("s", server_hello(0x0301, 47)), ("c", client_hello("a.example")[:0])])
