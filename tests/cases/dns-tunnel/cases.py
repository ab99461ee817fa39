"""Scenes of data in DNS names, and of many names for good reasons."""

import base64

from cases import fires, silent
from payloads import NULL, TXT, A, dns_alias, dns_answer, dns_query
from traffic import Wire

ME, RESOLVER = "10.0.0.9", "10.0.0.1"


def _ask(wire: Wire, name: str, kind: int, value: str | bytes, at: float) -> None:
    wire.asked(ME, RESOLVER, 53, dns_query(name, kind), dns_answer(name, kind, (value,)), at=at)


def _coded(wire: Wire, size: int) -> str:
    return base64.b32encode(wire.noise(size)).decode().lower().rstrip("=")


@fires("high", title="example.net")
def iodine(wire: Wire) -> None:
    """iodine: long coded labels of one domain, NULL records."""
    for number in range(150):
        name = f"{_coded(wire, 30)}.{_coded(wire, 30)}.t.example.net"
        _ask(wire, name, NULL, wire.noise(200), 0.1 * number)


@fires("high", title="example.net")
def dnscat(wire: Wire) -> None:
    """dnscat2: hexadecimal names, TXT, CNAME and MX in turn."""
    for number in range(120):
        kind = (TXT, 5, 15)[number % 3]
        name = f"{wire.noise(25).hex()}.d.example.net"
        _ask(wire, name, kind, f"{wire.noise(20).hex()}.d.example.net" if kind != TXT else wire.noise(30).hex(), 0.5 * number)  # fmt: skip


@fires(title="example.net")
def slow_exfiltration(wire: Wire) -> None:
    """A file leaves in the names of plain A queries: 130 coded labels of one domain."""
    for number in range(130):
        _ask(wire, f"{_coded(wire, 25)}.x.example.net", A, "203.0.113.1", 2.0 * number)


@fires(title="example.net")
def orders_by_txt(wire: Wire) -> None:
    """A bot asks one name for TXT every 2 s and gets orders."""
    for number in range(60):
        _ask(wire, "cmd.example.net", TXT, wire.noise(60).hex(), 2.0 * number)


@silent()
def content_network(wire: Wire) -> None:
    """A content network: 60 short computed host names, each with addresses."""
    for number in range(60):
        _ask(wire, f"r{number}---sn-{wire.word(6)}.cdn.example.net", A, "203.0.113.1", 0.5 * number)


@silent()
def block_list(wire: Wire) -> None:
    """A mail server asks a block list for 90 reversed addresses."""
    for number in range(90):
        _ask(wire, f"{number}.9.8.203.zen.blocklist.example.org", A, "127.0.0.2", 0.5 * number)


@silent()
def telemetry(wire: Wire) -> None:
    """A virus scanner looks 40 hashes up in its cloud."""
    for number in range(40):
        _ask(wire, f"{wire.noise(16).hex()}.hash.av.example.com", A, "127.0.0.1", 1.0 * number)


@silent()
def mail_checks(wire: Wire) -> None:
    """A mail server reads SPF and DKIM records: TXT of 25 domains."""
    for number in range(25):
        _ask(wire, f"s1._domainkey.mail{number}.org", TXT, "v=DKIM1; k=rsa; p=MIGf", 3.0 * number)


@silent()
def reverse_zone(wire: Wire) -> None:
    """A log server asks for the names of 150 addresses."""
    for number in range(150):
        _ask(wire, f"{number}.0.0.10.in-addr.arpa", 12, f"pc{number}.lab.local", 0.1 * number)


@silent()
def settings_by_txt(wire: Wire) -> None:
    """A program reads its settings from one TXT record, five times a day for a fortnight."""
    for number in range(70):
        _ask(wire, "2.settings.example.net", TXT, "v=2;k=" + "ab" * 40, 17_280.0 * number)


@fires(title="example.net")
def quick_exfiltration(wire: Wire) -> None:
    """A small file leaves in the names of 80 questions for addresses, 48 coded characters each."""
    for number in range(80):
        _ask(wire, f"{_coded(wire, 30)}.t.example.net", A, "203.0.113.1", 0.3 * number)


@fires("high", title="example.net")
def answers_in_aliases(wire: Wire) -> None:
    """A tunnel that asks for addresses only: data comes back as an alias of the same domain."""
    for number in range(40):
        name = f"{wire.noise(25).hex()}.t.example.net"
        wire.asked(ME, RESOLVER, 53, dns_query(name), dns_alias(name, f"{wire.noise(20).hex()}.t.example.net"), at=0.3 * number)  # fmt: skip


@silent()
def long_hashes(wire: Wire) -> None:
    """A virus scanner looks 70 SHA-256 hashes up, in two labels each."""
    for number in range(70):
        hashed = wire.noise(32).hex()
        _ask(wire, f"{hashed[:32]}.{hashed[32:]}.hash.av.example.com", A, "127.0.0.1", 1.0 * number)


@silent()
def aliases_of_a_content_network(wire: Wire) -> None:
    """Sixty hosts of a content network, each an alias of one of its machines."""
    for number in range(60):
        name = f"media-{wire.word(8)}.example.net"
        wire.asked(ME, RESOLVER, 53, dns_query(name), dns_alias(name, f"edge-{wire.word(6)}.example.net"), at=0.5 * number)  # fmt: skip
