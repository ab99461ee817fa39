"""Scenes of protocols away from home, and at home."""

from cases import fires, silent
from payloads import dns_answer, dns_query, request, response, tls
from traffic import Wire

ME, OUTSIDE = "10.0.0.9", "203.0.113.66"
SSH = [("s", b"SSH-2.0-OpenSSH_9.6\r\n"), ("c", b"SSH-2.0-OpenSSH_9.5\r\n"), ("c", bytes(4) + b"\x06\x14" + bytes(60))]


@fires("info", title="speaks SSH on port 443")
def ssh_on_443(wire: Wire) -> None:
    """SSH on the port of HTTPS, to pass a filter."""
    wire.talk(ME, OUTSIDE, 443, SSH)


@fires("low", title="speaks HTTP on port 4444")
def http_on_4444(wire: Wire) -> None:
    """HTTP on a port that remote control tools use, outside."""
    wire.talk(ME, OUTSIDE, 4444, [("c", request()), ("s", response())])


@fires("info", title="on port 53")
def tls_on_53(wire: Wire) -> None:
    """TLS on the port of DNS."""
    wire.talk(ME, OUTSIDE, 53, tls("vpn.example.org"))


@fires("info", title="TLS on port 80")
def tls_on_80(wire: Wire) -> None:
    """TLS on the port of HTTP: some of its sealed bytes pass for a header field."""
    wire.talk(ME, OUTSIDE, 80, [*tls("vpn.example.org"), ("s", b"k\x04\x8f:\xb6\r:\x07"), ("s", b"\x9f" * 40)])


@fires("info", title="DNS on port 5300")
def dns_on_odd_port(wire: Wire) -> None:
    """DNS by UDP to a port of its own (the issue: DNS over odd ports)."""
    for number in range(12):
        name = f"a{number}.example.org"
        wire.asked(ME, OUTSIDE, 5300, dns_query(name, id=number), dns_answer(name, 1, ("198.51.100.7",), id=number), at=number)  # fmt: skip


@silent()
def at_home(wire: Wire) -> None:
    """SSH, HTTP, TLS and DNS on their own ports."""
    wire.talk(ME, OUTSIDE, 22, SSH)
    wire.talk(ME, OUTSIDE, 80, [("c", request()), ("s", response())])
    wire.talk(ME, OUTSIDE, 443, tls())
    wire.asked(ME, "10.0.0.1", 53, dns_query("a.example"), dns_answer("a.example", 1, ("1.2.3.4",)))


@silent()
def usual_second_ports(wire: Wire) -> None:
    """A development server on 8000, a proxy on 3128, mail with TLS on 587."""
    wire.talk(ME, OUTSIDE, 8000, [("c", request()), ("s", response())])
    wire.talk(ME, OUTSIDE, 3128, [("c", request("http://www.example.org/")), ("s", response())])
    wire.talk(ME, OUTSIDE, 587, [("s", b"220 mail ESMTP\r\n"), ("c", b"EHLO a\r\n"), ("s", b"250-mail\r\n250 STARTTLS\r\n"), ("c", b"STARTTLS\r\n"), ("s", b"220 go\r\n"), *tls("mail.example.org")])  # fmt: skip
