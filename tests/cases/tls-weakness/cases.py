"""Scenes of weak TLS, and of TLS as it should be."""

from cases import fires, silent
from payloads import made_certificate, tls
from traffic import Wire

ME, OUTSIDE = "10.0.0.9", "198.51.100.9"


@fires("low", title="TLS 1.0 was chosen")
def old_version(wire: Wire) -> None:
    """The server chooses TLS 1.0 though the client offers 1.2."""
    wire.talk(ME, OUTSIDE, 443, tls(version=0x0301, cipher=0xC014, offered=0x0303))


@fires("medium", title="SSL 3.0 was chosen")
def very_old_version(wire: Wire) -> None:
    """SSL 3.0 (RFC 7568: not to be used)."""
    wire.talk(ME, OUTSIDE, 443, tls(version=0x0300, cipher=0x0035))


@fires("low", title="RC4")
def weak_cipher(wire: Wire) -> None:
    """RC4 (RFC 7465)."""
    wire.talk(ME, OUTSIDE, 443, tls(cipher=0x0005))


@fires("low", title="expired")
def expired(wire: Wire) -> None:
    """A certificate that ended ten days before the packet's time."""
    wire.talk(ME, OUTSIDE, 443, tls(der=made_certificate(days=90, start=-100)))


@silent()
def strong(wire: Wire) -> None:
    """TLS 1.2 and 1.3 with good ciphers and certificates."""
    wire.talk(ME, OUTSIDE, 443, tls())
    wire.talk(ME, OUTSIDE, 443, tls(tls13=True))


@silent()
def weak_offer(wire: Wire) -> None:
    """The client offers RC4 and 3DES among others; the server chooses well."""
    wire.talk(ME, OUTSIDE, 443, tls(cipher=0xC02F, offered=0x0303))


@silent(at_most="info")
def device_inside(wire: Wire) -> None:
    """A printer inside with a self-signed certificate."""
    wire.talk(ME, "10.0.0.20", 443, tls("printer.local", made_certificate("CN=printer", "CN=printer", 3000)))
