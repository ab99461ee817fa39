"""QUIC: packet boundaries inside a datagram, and the handshake that an Initial packet carries in the open.

In: UDP payloads. Out: the sizes of the coalesced packets (RFC 9000 12.2), and the ClientHello and ServerHello of a
connection, reassembled from CRYPTO frames. Initial packets are encrypted with keys that follow from the packet itself
(RFC 9001 5.2; version 2: RFC 9369; drafts 29-34), so a name can be read without any secret; nothing behind them can.
`cryptography` is imported when the first Initial is opened. This file knows no flow and no port.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from analysis.named_tuples import NamedTuple
from analysis.protocols import tls
from analysis.protocols.tls_session import expand_label

VERSION_1, VERSION_2 = 0x00000001, 0x6B3343CF
INITIAL, ZERO_RTT, HANDSHAKE, RETRY, NEGOTIATION, SHORT = range(6)

_SALTS = {
    "1": bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),  # RFC 9001 5.2
    "2": bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),  # RFC 9369 3.3.1
    "29": bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899"),  # drafts 29 to 32
    "23": bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502"),  # drafts 23 to 28
}

_VARIANTS = (0x51303530, 0x54303530, 0x54303531, 0xFACEB001, 0xFACEB002, 0xFACEB00E)  # Q050 T050 T051, Facebook's

MAX_CRYPTO_BYTES = 65_536  # of one direction's handshake; a ClientHello with many keys is below 4 kB
MAX_CHUNKS = 64  # CRYPTO frames kept while one is missing
MAX_FRAMES = 512  # frames read in one packet (clients scatter a hello over dozens of them)
MAX_FAILURES = 4  # Initials that do not open, after which the connection is left alone


class Header(NamedTuple):
    """One packet of a datagram. `size` reaches to the next packet; offsets count from the packet's first byte."""

    kind: int
    version: int
    dcid: bytes
    scid: bytes
    number_at: int  # where the protected packet number begins; 0 where there is none
    size: int


def known_version(version: int) -> bool:
    """True for versions that a first packet may have: 1, 2, drafts, Google's and Facebook's variants, reserved ones."""
    return (
        version in (VERSION_1, VERSION_2, *_VARIANTS)
        or 0xFF00000B <= version <= 0xFF0000FF
        or version & 0x0F0F0F0F == 0x0A0A0A0A  # RFC 9000 15: versions that force a negotiation
    )


def _salt(version: int) -> bytes | None:
    if version == VERSION_1 or version in (0xFF000021, 0xFF000022):
        return _SALTS["1"]
    if version == VERSION_2:
        return _SALTS["2"]
    if 0xFF00001D <= version <= 0xFF000020:
        return _SALTS["29"]
    if 0xFF000017 <= version <= 0xFF00001C:
        return _SALTS["23"]
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and the offset behind it (RFC 9000 16); (-1, at) where it is cut."""
    if at >= len(data):
        return -1, at
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return -1, at
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def long_header(data: bytes) -> Header | None:
    """Read the long header at the start of `data` (RFC 9000 17.2); None where its fields do not fit."""
    size = len(data)
    if size < 7 or data[0] < 0x80:
        return None
    version = int.from_bytes(data[1:5], "big")
    dcid_end = 6 + data[5]
    if dcid_end >= size:
        return None
    scid_end = dcid_end + 1 + data[dcid_end]
    if scid_end > size or data[5] > 20 or data[dcid_end] > 20:
        return None
    dcid, scid = data[6:dcid_end], data[dcid_end + 1 : scid_end]
    if version == 0:
        return Header(NEGOTIATION, version, dcid, scid, 0, size)
    kind = data[0] >> 4 & 3
    if version == VERSION_2:
        kind = (kind - 1) & 3  # RFC 9369 3.2: 1 is Initial, 0 is Retry
    if kind == RETRY:
        return Header(RETRY, version, dcid, scid, 0, size)
    at = scid_end
    if kind == INITIAL:
        token, at = _varint(data, at)
        if token < 0 or at + token > size:
            return None
        at += token
    length, at = _varint(data, at)
    if length < 0:
        return None
    return Header(kind, version, dcid, scid, at, min(at + length, size))


def packet_sizes(data: bytes, length: int) -> list[int]:
    """Sizes of the QUIC packets of a datagram of `length` bytes, of which `data` was captured. Sums to len(data)."""
    sizes: list[int] = []
    at, end = 0, len(data)
    while at < end and len(sizes) < 64:
        rest = data[at:] if at else data
        header = long_header(rest) if rest[0] & 0x80 else None
        size = header.size if header is not None and at + header.size <= end else end - at
        sizes.append(max(size, 1))
        at += sizes[-1]
    if at < end:
        sizes[-1] += end - at
    return sizes


# -- Initial keys (RFC 9001 5) -------------------------------------------------------------------------------------


class Keys(NamedTuple):
    """AES-128-GCM key, nonce base and header protection key of one direction."""

    key: bytes
    iv: bytes
    hp: bytes


def initial_keys(version: int, dcid: bytes) -> tuple[Keys, Keys] | None:
    """Keys of (client, server) for Initial packets of a connection whose first destination id was `dcid`."""
    salt = _salt(version)
    if salt is None:
        return None
    secret = hmac.digest(salt, dcid, hashlib.sha256)
    prefix = b"quicv2 " if version == VERSION_2 else b"quic "
    keys = []
    for label in (b"client in", b"server in"):
        side = expand_label("sha256", secret, label, 32)
        sizes = (b"key", 16), (b"iv", 12), (b"hp", 16)
        keys.append(Keys(*(expand_label("sha256", side, prefix + name, size) for name, size in sizes)))
    return keys[0], keys[1]


def open_packet(packet: bytes, number_at: int, keys: Keys) -> bytes | None:
    """Remove header protection and decrypt one Initial (RFC 9001 5.3, 5.4); None where its tag does not fit."""
    if number_at + 20 > len(packet):
        return None
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sample = packet[number_at + 4 : number_at + 20]
    # One block of the block cipher itself is what RFC 9001 5.4.3 asks for; ECB is no mode of operation here.
    mask = Cipher(algorithms.AES(keys.hp), modes.ECB()).encryptor().update(sample)
    first = packet[0] ^ (mask[0] & 0x0F)
    number_size = (first & 3) + 1
    number = bytes(a ^ b for a, b in zip(packet[number_at : number_at + number_size], mask[1:]))
    header = bytes([first]) + packet[1:number_at] + number
    nonce = (int.from_bytes(keys.iv, "big") ^ int.from_bytes(number, "big")).to_bytes(12, "big")
    try:
        plain: bytes = AESGCM(keys.key).decrypt(nonce, packet[number_at + number_size :], header)
    except InvalidTag:
        return None
    return plain


def crypto_frames(plain: bytes) -> list[tuple[int, bytes]]:
    """The CRYPTO frames of an Initial's payload as (offset, bytes); other frames are stepped over (RFC 9000 19)."""
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(plain)
    for _ in range(MAX_FRAMES):
        while at < end and plain[at] == 0:  # PADDING
            at += 1
        if at >= end:
            break
        kind = plain[at]
        at += 1
        if kind == 1:  # PING
            continue
        if kind == 6:
            offset, at = _varint(plain, at)
            size, at = _varint(plain, at)
            if offset < 0 or size < 0 or at + size > end:
                break
            found.append((offset, plain[at : at + size]))
            at += size
        elif kind in (2, 3):
            at = _skip_ack(plain, at, kind == 3)
            if at < 0:
                break
        else:  # CONNECTION_CLOSE ends a packet; others are not allowed in an Initial
            break
    return found


def _skip_ack(plain: bytes, at: int, ecn: bool) -> int:
    """The offset behind an ACK frame (RFC 9000 19.3), -1 where it is cut or absurd."""
    ranges = 0
    for field in range(4):
        value, at = _varint(plain, at)
        if value < 0:
            return -1
        if field == 2:
            ranges = value
    for _ in range(2 * min(ranges, MAX_FRAMES) + (3 if ecn else 0)):
        value, at = _varint(plain, at)
        if value < 0:
            return -1
    return at


class Crypto:
    """One direction's handshake bytes, put in order."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._waiting: dict[int, bytes] = {}

    def add(self, offset: int, chunk: bytes) -> None:
        """Take a CRYPTO frame; what overlaps is kept as first seen, what leaves a gap waits (bounded)."""
        if offset + len(chunk) > MAX_CRYPTO_BYTES:
            return
        if len(self._waiting) < MAX_CHUNKS:
            known = self._waiting.get(offset, b"")
            if len(chunk) > len(known):
                self._waiting[offset] = chunk
        moved = True
        while moved:
            moved = False
            for start in sorted(self._waiting):
                if start > len(self.data):
                    break
                piece = self._waiting.pop(start)
                self.data += piece[len(self.data) - start :]
                moved = True


class Connection:
    """The open part of one QUIC connection: feed it datagrams until `done`, then read `client` and `server`.

    Side 0 is the sender of the first datagram fed, side 1 the other one.
    """

    __slots__ = ("_crypto", "_failures", "_keys", "client", "client_side", "done", "server", "version")

    def __init__(self) -> None:
        self.version = 0
        self.client: tls.ClientHello | None = None
        self.server: tls.ServerHello | None = None
        self.client_side = 0
        self.done = False
        self._keys: tuple[Keys, Keys] | None = None
        self._crypto = (Crypto(), Crypto())
        self._failures = 0

    def feed(self, data: bytes, side: int) -> bool:
        """Read the Initial packets of a datagram. True where this completed the ClientHello or the ServerHello."""
        changed = False
        at = 0
        while at < len(data) and data[at] & 0x80 and not self.done:
            packet = data[at:]
            header = long_header(packet)
            if header is None:
                break
            if header.kind == INITIAL:
                changed |= self._initial(packet[: header.size], header, side)
            at += max(header.size, 1)
        return changed

    def _initial(self, packet: bytes, header: Header, side: int) -> bool:
        plain = self._open(packet, header, side)
        if plain is None:
            self._failures += 1
            self.done = self._failures >= MAX_FAILURES
            return False
        from_client = side == self.client_side
        crypto = self._crypto[0 if from_client else 1]
        for offset, chunk in crypto_frames(plain):
            crypto.add(offset, chunk)
        message: Any
        for _, message in tls.messages(bytes(crypto.data)):
            if from_client and self.client is None:
                self.client = tls.client_hello(message)
                return self.client is not None
            if not from_client and self.server is None:
                answer = tls.server_hello(message)
                if answer is not None and not answer.retry:
                    self.server = answer
                    self.done = self.client is not None
                    return True
        return False

    def _open(self, packet: bytes, header: Header, side: int) -> bytes | None:
        if self._keys is not None:
            plain = open_packet(packet, header.number_at, self._keys[0 if side == self.client_side else 1])
            if plain is not None or side != self.client_side:
                return plain
        # The first Initial, or the one that answers a Retry: its destination id makes the keys.
        keys = initial_keys(header.version, header.dcid)
        plain = open_packet(packet, header.number_at, keys[0]) if keys is not None else None
        if plain is not None:
            self._keys, self.client_side, self.version = keys, side, header.version
        return plain
