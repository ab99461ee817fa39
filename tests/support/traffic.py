"""A wire to write scenes on: hosts that connect, ask, answer and stay silent, packet by packet, with times.

For the cases of the detectors (tests/cases). Everything is made from a seed, so a case is the same in every run; nothing
of the analysis is used here. Times are seconds from the scene's beginning. Checksums of IPv4 are right, others are 0.
"""

from __future__ import annotations

import random
import socket
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from capture_files import Packet, pcap

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
TCP, UDP, ICMP, ICMPV6, GRE, SCTP = 6, 17, 1, 58, 47, 132
BEGIN_S = 1_700_000_000  # 2023-11-14 22:13:20 UTC
SEGMENT = 1400  # bytes of payload a segment
Said = tuple[str, bytes]  # ("c" or "s", payload); ("w", b"") waits a while


class Wire:
    """Packets of one scene. `clock` is where the next packet goes unless a time is given."""

    def __init__(self, seed: str = "", link: int = 1) -> None:
        self.random = random.Random(seed)
        self.link = link
        self.clock = 0.0
        self.gap = 0.0005  # seconds between packets of one exchange
        self.snap = 0  # bytes kept of a frame, 0 all of them
        self.packets: list[tuple[float, bytes, int]] = []  # time, bytes, length on the wire
        self._port = 40_000

    def write(self, path: Path) -> str:
        """The scene as a pcap file with nanoseconds; returns its path."""
        ordered = sorted(self.packets, key=lambda packet: packet[0])
        made = [Packet(BEGIN_S * 10**9 + round(at * 1e9), data, size) for at, data, size in ordered]
        path.write_bytes(pcap(made, magic=0xA1B23C4D, link=self.link))
        return str(path)

    # ---- frames

    def put(self, data: bytes, at: float | None = None) -> None:
        """One frame as it is."""
        if at is None:
            at = self.clock
            self.clock += self.gap
        self.packets.append((at, data[: self.snap] if self.snap else data, len(data)))

    def frame(self, payload: bytes, ethertype: int, source: str, target: str, at: float | None = None) -> None:
        """An Ethernet frame."""
        head = mac_bytes(target) + mac_bytes(source) + ethertype.to_bytes(2, "big")
        self.put(head + payload, at)

    def ip(
        self, source: str, target: str, protocol: int, payload: bytes, at: float | None = None, *, ttl: int = 64,
        via: tuple[str, str] | None = None, fragment: int = 0, id: int = 0,
    ) -> None:  # fmt: skip
        """An IPv4 or IPv6 packet between hosts whose MACs follow from their addresses (or `via`: source, target MAC)."""
        sender, receiver = via or (mac_of(source), mac_of(target))
        if ":" in source:
            self.frame(ip6(source, target, protocol, payload, ttl), 0x86DD, sender, receiver, at)
        else:
            self.frame(ip4(source, target, protocol, payload, ttl, fragment, id), 0x0800, sender, receiver, at)

    def tcp(
        self, source: str, sport: int, target: str, dport: int, flags: int, at: float | None = None, *, seq: int = 0,
        ack: int = 0, data: bytes = b"", window: int = 64_240, ttl: int = 64, options: bytes = b"", urgent: int = 0,
    ) -> None:  # fmt: skip
        """One segment."""
        words = (5 + len(options) // 4) << 4
        head = struct.pack(
            ">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words, flags, window, 0, urgent
        )
        self.ip(source, target, TCP, head + options + data, at, ttl=ttl)

    def udp(self, source: str, sport: int, target: str, dport: int, data: bytes, at: float | None = None, *, ttl: int = 64) -> None:  # fmt: skip
        """One datagram."""
        self.ip(source, target, UDP, struct.pack(">HHHH", sport, dport, 8 + len(data), 0) + data, at, ttl=ttl)

    def sctp(self, source: str, sport: int, target: str, dport: int, chunk: int, value: bytes = b"", at: float | None = None) -> None:  # fmt: skip
        """One packet with one chunk (RFC 9260 3): 1 INIT, 2 INIT ACK, 4 HEARTBEAT, 5 its answer, 6 ABORT."""
        head = struct.pack(">HHIIBBH", sport, dport, 0 if chunk == 1 else 7, 0, chunk, 0, 4 + len(value))
        self.ip(source, target, SCTP, head + value, at)

    def icmp(self, source: str, target: str, kind: int, code: int, body: bytes, at: float | None = None) -> None:
        """One message; `body` begins with the four bytes behind the checksum."""
        protocol = ICMPV6 if ":" in source else ICMP
        self.ip(source, target, protocol, struct.pack(">BBH", kind, code, 0) + body, at)

    def arp(
        self, operation: int, mac: str, address: str, target: str, target_mac: str = "00:00:00:00:00:00",
        at: float | None = None, to: str | None = None,
    ) -> None:  # fmt: skip
        """An ARP packet: 1 asks everybody for `target`, 2 tells `target` that `address` is at `mac`."""
        body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + mac_bytes(mac) + socket.inet_aton(address)
        body += mac_bytes(target_mac) + socket.inet_aton(target)
        whom = to or ("ff:ff:ff:ff:ff:ff" if operation == 1 else target_mac)
        self.frame(body + bytes(18), 0x0806, mac, whom, at)

    # ---- exchanges

    def port(self) -> int:
        """A new client port."""
        self._port = 40_000 if self._port >= 65_000 else self._port + 1
        return self._port

    def wait(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.clock += seconds

    def talk(
        self, client: str, server: str, port: int, said: Iterable[Said] = (), *, at: float | None = None, sport: int = 0,
        close: str = "fin", rtt: float = 0.01, handshake: bool = True,
    ) -> int:  # fmt: skip
        """A TCP connection: handshake, what both say, and its end ("fin", "rst" by the server, "" stays open).

        Returns the client's port. With `at` the clock of the scene stays where it is.
        """
        kept, sport = self.clock, sport or self.port()
        if at is not None:
            self.clock = at
        seq, ack = self.random.getrandbits(31), self.random.getrandbits(31)
        if handshake:
            self.tcp(client, sport, server, port, SYN, seq=seq, options=b"\x02\x04\x05\xb4")
            self.clock += rtt
            self.tcp(server, port, client, sport, SYN | ACK, seq=ack, ack=seq + 1, options=b"\x02\x04\x05\xb4")
            self.tcp(client, sport, server, port, ACK, seq=seq + 1, ack=ack + 1)
        seq, ack = seq + 1, ack + 1
        for side, data in said:
            if side == "w":
                self.clock += rtt
            for first in range(0, len(data), SEGMENT):
                piece = data[first : first + SEGMENT]
                if side == "c":
                    self.tcp(client, sport, server, port, PSH | ACK, seq=seq, ack=ack, data=piece)
                    seq += len(piece)
                else:
                    self.tcp(server, port, client, sport, PSH | ACK, seq=ack, ack=seq, data=piece)
                    ack += len(piece)
            if data:
                self.clock += rtt
                ends = (server, port, client, sport) if side == "c" else (client, sport, server, port)
                self.tcp(*ends, ACK, seq=ack if side == "c" else seq, ack=seq if side == "c" else ack)
        if close == "fin":
            self.tcp(client, sport, server, port, FIN | ACK, seq=seq, ack=ack)
            self.tcp(server, port, client, sport, FIN | ACK, seq=ack, ack=seq + 1)
            self.tcp(client, sport, server, port, ACK, seq=seq + 1, ack=ack + 1)
        elif close == "rst":
            self.tcp(server, port, client, sport, RST | ACK, seq=ack, ack=seq)
        if at is not None:
            self.clock = kept
        return sport

    def refused(self, client: str, server: str, port: int, at: float | None = None) -> None:
        """A SYN that is answered by RST."""
        at, sport = self._at(at), self.port()
        seq = self.random.getrandbits(31)
        self.tcp(client, sport, server, port, SYN, at, seq=seq)
        self.tcp(server, port, client, sport, RST | ACK, at + 0.001, ack=seq + 1)

    def unanswered(self, client: str, server: str, port: int, repeats: Sequence[float] = (0, 1, 3, 7), at: float | None = None) -> None:  # fmt: skip
        """One attempt: the same SYN again and again, no answer."""
        at, sport = self._at(at), self.port()
        seq = self.random.getrandbits(31)
        for later in repeats:
            self.tcp(client, sport, server, port, SYN, at + later, seq=seq)

    def asked(self, client: str, server: str, port: int, question: bytes, answer: bytes | None, at: float | None = None, sport: int = 0) -> None:  # fmt: skip
        """A datagram and its answer (None: there is none)."""
        at, sport = self._at(at), sport or self.port()
        self.udp(client, sport, server, port, question, at)
        if answer is not None:
            self.udp(server, port, client, sport, answer, at + 0.004)

    def ping(
        self, client: str, server: str, *, sequence: int = 1, id: int = 77, data: bytes | None = None,
        reply: bytes | None = b"", at: float | None = None,
    ) -> None:  # fmt: skip
        """An echo and its reply; `reply` b"" repeats the data, None: no reply."""
        at = self._at(at)
        data = bytes(range(0x10, 0x48)) if data is None else data
        ask, tell = (128, 129) if ":" in client else (8, 0)
        head = struct.pack(">HH", id, sequence)
        self.icmp(client, server, ask, 0, head + data, at)
        if reply is not None:
            self.icmp(server, client, tell, 0, head + (reply or data), at + 0.003)

    def _at(self, at: float | None) -> float:
        if at is None:
            at = self.clock
            self.clock += self.gap
        return at

    # ---- data

    def noise(self, size: int) -> bytes:
        """Bytes that look encrypted."""
        return self.random.randbytes(size)

    def word(self, length: int, letters: str = "abcdefghijklmnopqrstuvwxyz0123456789") -> str:
        """Letters at random."""
        return "".join(self.random.choice(letters) for _ in range(length))


def ip4(source: str, target: str, protocol: int, payload: bytes, ttl: int = 64, fragment: int = 0, id: int = 0) -> bytes:  # fmt: skip
    """An IPv4 packet; `fragment` is the word of flags and offset."""
    head = bytearray(struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), id, fragment, ttl, protocol, 0))
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack(">10H", bytes(head)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (0xFFFF - total).to_bytes(2, "big")
    return bytes(head) + payload


def ip6(source: str, target: str, following: int, payload: bytes, hops: int = 64) -> bytes:
    """An IPv6 packet."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack(">IHBB", 0x60000000, len(payload), following, hops) + ends + payload


def mac_bytes(text: str) -> bytes:
    """A MAC as bytes."""
    return bytes.fromhex(text.replace(":", ""))


def mac_of(address: str) -> str:
    """The MAC of a host of a scene: the router's for addresses outside 10/8, 172.16/12 and 192.168/16."""
    if address in ("255.255.255.255", "0.0.0.0") or address.endswith(".255"):
        return "ff:ff:ff:ff:ff:ff"
    if address.startswith(("224.", "239.")):
        return "01:00:5e:" + socket.inet_aton(address)[1:].hex(":")
    if address.startswith("ff") and ":" in address:
        return "33:33:" + socket.inet_pton(socket.AF_INET6, address)[12:].hex(":")
    if not address.startswith(("10.", "172.16.", "192.168.", "169.254.", "fe80", "fd")):
        return ROUTER
    return "02:" + zlib.crc32(address.encode()).to_bytes(4, "big").hex(":") + ":01"


ROUTER = "02:00:00:00:fe:01"  # whoever is outside comes through it
