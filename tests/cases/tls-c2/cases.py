"""Scenes of encrypted command channels, and of servers with odd certificates."""

from cases import fires, silent
from payloads import made_certificate, tls
from traffic import Wire

ME, MASTER = "10.0.0.9", "203.0.113.66"


@fires(title="as malware makes them")
def throw_away_certificate(wire: Wire) -> None:
    """A self-signed certificate with made-up names on an odd port, no server name, three sessions."""
    name = "CN=qzXwVbNmKp,O=hTrWqPzXc"
    for number in range(3):
        wire.talk(ME, MASTER, 4443, tls("", made_certificate(name, name, 3650)), at=40.0 * number)


@fires(title="as malware makes them")
def template_certificate(wire: Wire) -> None:
    """A remote access tool's template: `AsyncRAT Server`, self-signed, valid for ever, on port 6606."""
    name = "CN=AsyncRAT Server"
    wire.talk(ME, MASTER, 6606, tls("", made_certificate(name, name, 365 * 99), version=0x0301, cipher=0xC014))


@silent()
def nas_in_the_house(wire: Wire) -> None:
    """A storage box inside with its own self-signed certificate."""
    name = "CN=diskstation,O=Synology"
    wire.talk(ME, "10.0.0.20", 5001, tls("diskstation.local", made_certificate(name, name, 7000)))


@silent()
def web_sites(wire: Wire) -> None:
    """Web sites by name with certificates of an authority, TLS 1.2 and 1.3."""
    for number in range(10):
        wire.talk(ME, f"198.51.100.{number + 9}", 443, tls(f"s{number}.example.org", tls13=number % 2 == 0), at=number)


@silent()
def mail_server(wire: Wire) -> None:
    """A small mail server with a self-signed certificate on port 993, called by name."""
    name = "CN=mail.example.org,O=Example"
    wire.talk(ME, "198.51.100.9", 993, tls("mail.example.org", made_certificate(name, name, 365)))


@silent()
def test_servers(wire: Wire) -> None:
    """OpenSSL's default names: on a test server inside, and between two programs of one host."""
    name = "C=AU,ST=Some-State,O=Internet Widgits Pty Ltd"
    wire.talk(ME, "10.0.0.20", 8443, tls("", made_certificate(name, name, 365)))
    wire.talk("127.0.0.1", "127.0.0.1", 9131, tls("", made_certificate("CN=qzXwVbNmKp", "CN=qzXwVbNmKp", 36_500)))


@silent()
def gateway_with_serial_number(wire: Wire) -> None:
    """An office's VPN gateway outside: its certificate names its serial number and is valid for decades."""
    name = "CN=FWF60E4Q16012050,O=Fortinet,OU=FortiGate"
    for number in range(5):
        wire.talk(ME, "198.51.100.9", 10_443, tls("vpn.example.net", made_certificate(name, "CN=support,O=Fortinet", 13_000)), at=4.0 * number)  # fmt: skip
