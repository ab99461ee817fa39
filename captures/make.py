"""Make the captures of this folder again: `python captures/make.py [FOLDER]`. Same bytes every time (fixed seed).

The people, hosts and names are invented; addresses are documentation ranges (RFC 5737, RFC 3849) and private space.
Nothing was captured from anybody's network. captures/README.md says what each file shows.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

START = 1_790_000_000.0  # 2026-09-21 13:33:20 UTC: the office day of the captures
GATEWAY, RESOLVER = "192.168.10.1", "192.168.10.1"
LAPTOP, DESKTOP, PRINTER, SERVER = "192.168.10.21", "192.168.10.22", "192.168.10.40", "192.168.10.5"
INTRUDER = "203.0.113.66"
WEB = {"www.example.org": "198.51.100.10", "cdn.example.net": "198.51.100.77", "mail.example.com": "198.51.100.25"}

Timed = tuple[float, Packet]


def mac(address: str) -> str:
    """A locally administered MAC made from an IPv4 address; everything outside is behind the gateway's."""
    inside = address.startswith("192.168.10.")
    last = int(address.rsplit(".", 1)[1]) if inside else 1
    return f"02:00:c0:a8:0a:{last:02x}"


def frame(source: str, destination: str, payload: Packet, ttl: int = 64) -> Packet:
    """An Ethernet frame from `source` to `destination`."""
    return Ether(src=mac(source), dst=mac(destination)) / IP(src=source, dst=destination, ttl=ttl) / payload


class Connection:
    """One TCP connection that writes itself as timed packets: handshake, data both ways, close."""

    def __init__(self, rng: random.Random, client: str, server: str, port: int, at: float, rtt: float = 0.02) -> None:
        self.rng, self.client, self.server, self.port, self.at, self.rtt = rng, client, server, port, at, rtt
        self.client_port = rng.randrange(49152, 65535)
        self.client_seq, self.server_seq = rng.randrange(2**32), rng.randrange(2**32)
        self.packets: list[Timed] = []

    def _send(
        self, from_client: bool, flags: str, data: bytes = b"", options: list[tuple[str, object]] | None = None
    ) -> None:
        seq, ack = (self.client_seq, self.server_seq) if from_client else (self.server_seq, self.client_seq)
        ports = (self.client_port, self.port) if from_client else (self.port, self.client_port)
        ends = (self.client, self.server) if from_client else (self.server, self.client)
        segment = TCP(
            sport=ports[0], dport=ports[1], seq=seq, ack=ack if "A" in flags else 0, flags=flags, window=64240
        )
        segment.options = options or []
        ttl = 64 if ends[0].startswith("192.168.") else 52
        self.packets.append((self.at, frame(*ends, segment / Raw(data) if data else segment, ttl)))
        moved = (len(data) + ("S" in flags) + ("F" in flags)) % 2**32
        if from_client:
            self.client_seq = (self.client_seq + moved) % 2**32
        else:
            self.server_seq = (self.server_seq + moved) % 2**32

    def open(self) -> Connection:
        """The three-way handshake."""
        options: list[tuple[str, object]] = [("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]
        self._send(True, "S", options=options)
        self.at += self.rtt
        self._send(False, "SA", options=options)
        self.at += 0.0002
        self._send(True, "A")
        return self

    def say(self, data: bytes, from_client: bool = True, pause: float = 0.001) -> Connection:
        """Send `data` in full-size segments, acknowledged every second one."""
        self.at += pause + (self.rtt / 2 if not from_client else 0)
        for number, i in enumerate(range(0, len(data), 1460)):
            self._send(from_client, "PA" if i + 1460 >= len(data) else "A", data[i : i + 1460])
            self.at += 0.0001
            if number % 2:
                self._send(not from_client, "A")
        self._send(not from_client, "A")
        return self

    def close(self, reset: bool = False) -> list[Timed]:
        """FIN both ways, or RST by the server; the packets so far."""
        self.at += 0.001
        if reset:
            self._send(False, "RA")
            return self.packets
        self._send(True, "FA")
        self.at += self.rtt
        self._send(False, "FA")
        self.at += 0.0002
        self._send(True, "A")
        return self.packets


def lookup(rng: random.Random, client: str, name: str, at: float) -> list[Timed]:
    """A DNS question and its answer."""
    port, number = rng.randrange(49152, 65535), rng.randrange(65536)
    question = UDP(sport=port, dport=53) / DNS(id=number, rd=1, qd=DNSQR(qname=name))
    answer = DNS(id=number, qr=1, rd=1, ra=1, qd=DNSQR(qname=name), an=DNSRR(rrname=name, ttl=300, rdata=WEB[name]))
    return [
        (at, frame(client, RESOLVER, question)),
        (at + 0.012, frame(RESOLVER, client, UDP(sport=53, dport=port) / answer)),
    ]


def client_hello(rng: random.Random, name: str) -> bytes:
    """A TLS 1.2/1.3 ClientHello record with SNI (RFC 8446 4.1.2, RFC 6066 3)."""
    host = name.encode()
    sni = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    versions = b"\x04\x03\x04\x03\x03"
    groups, signatures = b"\x00\x04\x00\x1d\x00\x17", b"\x00\x04\x04\x03\x08\x04"
    extensions = b"".join(
        struct.pack("!HH", kind, len(body)) + body
        for kind, body in (
            (0, sni),
            (10, groups),
            (11, b"\x01\x00"),
            (13, signatures),
            (43, versions),
            (16, b"\x00\x0c\x02h2\x08http/1.1"),
        )
    )
    ciphers = b"\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f"
    hello = b"\x03\x03" + rng.randbytes(32) + b"\x20" + rng.randbytes(32)
    hello += struct.pack("!H", len(ciphers)) + ciphers + b"\x01\x00" + struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + len(hello).to_bytes(3, "big") + hello
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


def server_hello(rng: random.Random) -> bytes:
    """A TLS 1.3 ServerHello, change cipher spec and one encrypted record."""
    extensions = b"\x00\x2b\x00\x02\x03\x04"
    hello = b"\x03\x03" + rng.randbytes(32) + b"\x20" + rng.randbytes(32) + b"\x13\x01\x00"
    hello += struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x02" + len(hello).to_bytes(3, "big") + hello
    return (
        b"\x16\x03\x03" + struct.pack("!H", len(handshake)) + handshake + b"\x14\x03\x03\x00\x01\x01" + record(rng, 900)
    )


def record(rng: random.Random, size: int) -> bytes:
    """TLS application data records of `size` random bytes in total."""
    out = b""
    while size > 0:
        part = min(size, 16_000)
        out += b"\x17\x03\x03" + struct.pack("!H", part) + rng.randbytes(part)
        size -= part
    return out


def browse(rng: random.Random, client: str, name: str, at: float, download: int) -> list[Timed]:
    """One HTTPS visit: look-up, handshake, a request and `download` bytes."""
    visit = Connection(rng, client, WEB[name], 443, at + 0.02).open()
    visit.say(client_hello(rng, name)).say(server_hello(rng), from_client=False)
    visit.say(record(rng, 400)).say(record(rng, download), from_client=False)
    return lookup(rng, client, name, at) + visit.close()


def scan(rng: random.Random, at: float) -> Iterator[Timed]:
    """The intruder tries 60 ports of the server: 22 and 80 answer, the others are refused."""
    for n, port in enumerate(rng.sample(range(1, 1024), 58) + [22, 80]):
        seq, source_port, t = rng.randrange(2**32), rng.randrange(40000, 60000), at + n * 0.05
        yield t, frame(INTRUDER, SERVER, TCP(sport=source_port, dport=port, seq=seq, flags="S", window=1024), 49)
        answer = TCP(sport=port, dport=source_port, seq=rng.randrange(2**32), ack=(seq + 1) % 2**32, window=64240)
        answer.flags = "SA" if port in (22, 80) else "RA"
        yield t + 0.0003, frame(SERVER, INTRUDER, answer)
        if port in (22, 80):
            reset = TCP(sport=source_port, dport=port, seq=(seq + 1) % 2**32, flags="R", window=0)
            yield t + 0.03, frame(INTRUDER, SERVER, reset, 49)


def guess(rng: random.Random, at: float) -> Iterator[Timed]:
    """The intruder tries 20 passwords against the server's FTP; each is refused."""
    for n in range(20):
        login = Connection(rng, INTRUDER, SERVER, 21, at + n * 0.9, rtt=0.03).open()
        login.say(b"220 files ready\r\n", from_client=False).say(b"USER admin\r\n")
        login.say(b"331 Password required for admin\r\n", from_client=False).say(b"PASS guess%02d\r\n" % n)
        login.say(b"530 Login incorrect\r\n", from_client=False, pause=0.2)
        yield from login.close()


def quiet(rng: random.Random) -> Iterator[Timed]:
    """What every office network does by itself: ARP for the gateway, pings of the printer."""
    for n in range(12):
        at = START + n * 10 + rng.random()
        who = rng.choice((LAPTOP, DESKTOP))
        ask = ARP(op=1, hwsrc=mac(who), psrc=who, pdst=GATEWAY)
        yield at, Ether(src=mac(who), dst="ff:ff:ff:ff:ff:ff") / ask
        say = ARP(op=2, hwsrc=mac(GATEWAY), psrc=GATEWAY, hwdst=mac(who), pdst=who)
        yield at + 0.0004, Ether(src=mac(GATEWAY), dst=mac(who)) / say
        yield at + 2, frame(DESKTOP, PRINTER, ICMP(type=8, id=7, seq=n) / Raw(b"tapwall!" * 4))
        yield at + 2.001, frame(PRINTER, DESKTOP, ICMP(type=0, id=7, seq=n) / Raw(b"tapwall!" * 4))


def unanswered(rng: random.Random, at: float) -> Iterator[Timed]:
    """The desktop asks a service that is not there: seven SYNs of one attempt, no answer."""
    seq = rng.randrange(2**32)
    for wait in (0, 1, 2, 4, 6, 8, 10):
        yield at + wait, frame(DESKTOP, "192.168.10.99", TCP(sport=51515, dport=7000, seq=seq, flags="S", window=64240))


def office_day() -> list[Timed]:
    """Two minutes of an office: browsing, a large download, a dead service, an intruder who scans and guesses."""
    rng = random.Random(20260921)
    packets = list(quiet(rng))
    for n in range(14):
        name = rng.choice(("www.example.org", "mail.example.com"))
        packets += browse(rng, rng.choice((LAPTOP, DESKTOP)), name, START + 3 + n * 8, rng.randrange(4_000, 40_000))
    packets += browse(rng, LAPTOP, "cdn.example.net", START + 31, 520_000)
    packets += unanswered(rng, START + 20)
    packets += scan(rng, START + 60)
    packets += guess(rng, START + 70)
    return packets


def quiet_day() -> list[Timed]:
    """The same office without intruder and dead service: nothing to find."""
    rng = random.Random(7)
    packets = list(quiet(rng))
    for n in range(14):
        packets += browse(
            rng, rng.choice((LAPTOP, DESKTOP)), "www.example.org", START + 3 + n * 8, rng.randrange(4_000, 40_000)
        )
    return packets


CAPTURES = {"office-intruder.pcap": office_day, "office-quiet.pcap": quiet_day}


def main(folder: Path) -> None:
    """Write every capture of CAPTURES below `folder`, packets sorted by time, microseconds."""
    for name, make in CAPTURES.items():
        with PcapWriter(str(folder / name), sync=False, endianness="<") as out:
            for at, packet in sorted(make(), key=lambda timed: timed[0]):
                packet.time = round(at, 6)
                out.write(packet)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
