"""One TLS session whose secrets are known: its keys, and the plain text of its records.

In: the secrets of a key log, the randoms and the cipher suite of the handshake, then records of both directions in order.
Out: what a record holds, or None where it cannot be opened. TLS 1.2 and before (RFC 5246 6.3, RFC 4346): the key block
from the master secret, with AES in GCM, CCM and CBC and ChaCha20-Poly1305; TLS 1.3 (RFC 8446 7.3): a key an epoch from
the traffic secrets. The ciphers are those of `cryptography`, imported when a secret is first used. Whatever a peer sent,
nothing raises. This file knows no packet and no stream.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import new as new_hash
from typing import Any

from analysis.named_tuples import NamedTuple
from analysis.protocols import tls

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION = 20, 21, 22, 23
KEY_UPDATE = 24  # RFC 8446 4.6.3
TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304
LABELS = (  # by direction: of the client, of the server; an epoch each
    ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"),
    ("SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"),
)
MASTER = "CLIENT_RANDOM"
Open = Callable[[bytes, bytes, bytes], bytes | None]  # nonce, sealed, additional data -> plain text


class Suite(NamedTuple):
    """What a cipher suite means for records: mode (`gcm`, `ccm`, `chacha`, `cbc`), key bytes, hash, tag or MAC bytes."""

    mode: str
    key: int
    hash: str = "sha256"
    tag: int = 16


def _suites() -> dict[int, Suite]:
    """By IANA number; the key exchange does not matter for records."""
    found: dict[int, Suite] = {}
    for suite, numbers in (
        (Suite("gcm", 16), (0x009C, 0x009E, 0x00A0, 0x00A2, 0x00A8, 0x00AA, 0x00AC, 0xC02B, 0xC02D, 0xC02F, 0xC031)),
        (Suite("gcm", 32, "sha384"), (0x009D, 0x009F, 0x00A1, 0x00A3, 0x00A9, 0x00AB, 0x00AD, 0xC02C, 0xC02E, 0xC030,
                                      0xC032, 0x1302)),
        (Suite("gcm", 16), (0x1301,)),
        (Suite("chacha", 32), (0xCCA8, 0xCCA9, 0xCCAA, 0xCCAB, 0xCCAC, 0xCCAD, 0xCCAE, 0x1303)),
        (Suite("ccm", 16), (0xC09C, 0xC09E, 0xC0A4, 0xC0A6, 0xC0AC, 0x1304)),
        (Suite("ccm", 32), (0xC09D, 0xC09F, 0xC0A5, 0xC0A7, 0xC0AD)),
        (Suite("ccm", 16, tag=8), (0xC0A0, 0xC0A2, 0xC0A8, 0xC0AA, 0xC0AE, 0x1305)),
        (Suite("ccm", 32, tag=8), (0xC0A1, 0xC0A3, 0xC0A9, 0xC0AB, 0xC0AF)),
        (Suite("cbc", 16, "sha1", 20), (0x002F, 0x0032, 0x0033, 0x0034, 0x008C, 0xC004, 0xC009, 0xC00E, 0xC013, 0xC018)),
        (Suite("cbc", 32, "sha1", 20), (0x0035, 0x0038, 0x0039, 0x003A, 0x008D, 0xC005, 0xC00A, 0xC00F, 0xC014, 0xC019)),
        (Suite("cbc", 16, "sha256", 32), (0x003C, 0x0040, 0x0067, 0x006C, 0x00AE, 0xC023, 0xC025, 0xC027, 0xC029)),
        (Suite("cbc", 32, "sha256", 32), (0x003D, 0x006A, 0x006B, 0x006D)),
        (Suite("cbc", 32, "sha384", 48), (0x00AF, 0xC024, 0xC026, 0xC028, 0xC02A)),
    ):  # fmt: skip
        found |= dict.fromkeys(numbers, suite)
    return found


SUITES = _suites()


class Session:
    """The keys of both sides (0 client, 1 server) and the records opened so far. `alpn` is what was agreed on."""

    def __init__(self, secrets: dict[str, bytes], client_random: bytes, client: int) -> None:
        """`client`: the direction in which the client sends."""
        self.alpn = ""
        self._client = client
        self._secrets = secrets
        self._client_random = client_random
        self._version = 0
        self._suite: Suite | None = None
        self._block = b""  # TLS 1.2: key block
        self._halves: list[_Half | None] = [None, None]

    def hello(self, server_random: bytes, version: int, cipher: int, alpn: str) -> None:
        """The server has chosen."""
        self._version, self._suite, self.alpn = version, SUITES.get(cipher), alpn
        if self._suite is None or (version == TLS13 and self._suite.mode == "cbc"):
            return
        if version == TLS13:
            self._halves = [self._epoch(side, 0) or self._epoch(side, 1) for side in (0, 1)]
        elif TLS10 <= version <= TLS12 and MASTER in self._secrets:
            seed = server_random + self._client_random
            self._block = _prf(version, self._suite, self._secrets[MASTER], b"key expansion", seed, 256)

    def change(self, direction: int) -> None:
        """A ChangeCipherSpec: before TLS 1.3, what is sent in this direction from now on is sealed."""
        side = direction ^ self._client
        if self._block and self._suite is not None and self._version != TLS13:
            self._halves[side] = _Sealed12(self._version, self._suite, self._block, side)

    def open(self, direction: int, header: bytes, body: bytes) -> tuple[int, bytes] | None:
        """(content type, plain text) of the next record of a direction; None where it stays closed.

        `header`: the five bytes of the record header, `body` the rest, whole.
        """
        side = direction ^ self._client
        half = self._halves[side]
        if half is None or (self._version == TLS13 and header[0] != APPLICATION):
            return None
        plain = half.open(header, body)
        if plain is None and isinstance(half, _Sealed13) and half.epoch == 0:
            after = self._epoch(side, 1)  # its Finished was sealed with the keys of the handshake, this is not
            plain = after.open(header, body) if after is not None else None
            if plain is not None:
                self._halves[side] = after
        if plain is None or self._version != TLS13:
            return None if plain is None else (header[0], plain)
        text = plain.rstrip(b"\0")
        if not text:
            return None
        kind, text = text[-1], text[:-1]
        if kind == HANDSHAKE:
            self._read(self._halves[side], text)
        return kind, text

    def open_numbered(self, direction: int, header: bytes, body: bytes) -> bytes | None:
        """The plain text of a sealed DTLS record, whose number is in its header of 13 bytes (RFC 6347 4.1.2.1)."""
        side = direction ^ self._client
        if self._halves[side] is None:
            self.change(direction)
        half = self._halves[side]
        if not isinstance(half, _Sealed12):
            return None
        half.number = int.from_bytes(header[3:11], "big")
        return half.open(header[:3], body)

    def _read(self, half: _Half | None, text: bytes) -> None:
        """What sealed handshake messages of TLS 1.3 say: the protocol agreed on, a new key."""
        for kind, message in tls.messages(text):
            if kind == tls.ENCRYPTED_EXTENSIONS:
                self.alpn = tls.agreed(message) or self.alpn
            elif kind == KEY_UPDATE and isinstance(half, _Sealed13):
                half.update()

    def _epoch(self, side: int, epoch: int) -> _Sealed13 | None:
        secret = self._secrets.get(LABELS[side][epoch])
        return _Sealed13(self._suite, secret, epoch) if secret and self._suite is not None else None


class _Sealed13:
    """One direction of TLS 1.3 (RFC 8446 5.2, 5.3): the nonce is the number of the record, mixed with an IV."""

    def __init__(self, suite: Suite, secret: bytes, epoch: int) -> None:
        self.epoch = epoch
        self._suite = suite
        self._take(secret)

    def _take(self, secret: bytes) -> None:
        self._secret = secret
        self._iv = expand_label(self._suite.hash, secret, b"iv", 12)
        self._aead = _aead(self._suite, expand_label(self._suite.hash, secret, b"key", self._suite.key))
        self._sequence = 0

    def update(self) -> None:
        """The sender has changed its key (RFC 8446 7.2)."""
        size = new_hash(self._suite.hash).digest_size
        self._take(expand_label(self._suite.hash, self._secret, b"traffic upd", size))

    def open(self, header: bytes, body: bytes) -> bytes | None:
        plain = self._aead(_mixed(self._iv, self._sequence), body, header)
        if plain is not None:
            self._sequence += 1
        return plain


class _Sealed12:
    """One direction of TLS 1.0 to 1.2 with the keys that the key block holds for it (RFC 5246 6.3)."""

    def __init__(self, version: int, suite: Suite, block: bytes, side: int) -> None:
        mac = suite.tag if suite.mode == "cbc" else 0
        iv = {"gcm": 4, "ccm": 4, "chacha": 12, "cbc": 16 if version == TLS10 else 0}[suite.mode]
        self._mac_key = block[side * mac : (side + 1) * mac]
        key = block[2 * mac + side * suite.key :][: suite.key]
        self._iv = block[2 * mac + 2 * suite.key + side * iv :][:iv]
        self._key, self._suite, self._version = key, suite, version
        self._aead = None if suite.mode == "cbc" else _aead(suite, key)
        self.number = 0

    def open(self, header: bytes, body: bytes) -> bytes | None:
        if self._aead is None:
            plain = self._open_cbc(header, body)
        else:
            explicit = 0 if self._suite.mode == "chacha" else 8
            sealed = body[explicit:]
            nonce = self._iv + body[:8] if explicit else _mixed(self._iv, self.number)
            plain = self._aead(nonce, sealed, self._bound(header, len(sealed) - self._suite.tag))
        if plain is not None:
            self.number += 1
        return plain

    def _bound(self, header: bytes, length: int) -> bytes:
        """What is authenticated with the text (RFC 5246 6.2.3.3): sequence number, type, version, length."""
        return self.number.to_bytes(8, "big") + header[:3] + max(length, 0).to_bytes(2, "big")

    def _open_cbc(self, header: bytes, body: bytes) -> bytes | None:
        """Blocks with a MAC inside (RFC 5246 6.2.3.2), or behind them where both sides agreed on it (RFC 7366)."""
        plain = self._decrypted(body)
        if plain and plain[-1] + 1 + self._suite.tag <= len(plain):
            text = plain[: len(plain) - plain[-1] - 1]
            text, mac = text[: -self._suite.tag], text[-self._suite.tag :]
            if self._mac(self._bound(header, len(text)) + text) == mac:
                self._chain(body)
                return text
        sealed, mac = body[: -self._suite.tag], body[-self._suite.tag :]
        if self._mac(self._bound(header, len(sealed)) + sealed) != mac:
            return None
        plain = self._decrypted(sealed)
        self._chain(sealed)
        return plain[: len(plain) - plain[-1] - 1] if plain else None

    def _chain(self, sealed: bytes) -> None:
        if self._version == TLS10:
            self._iv = sealed[-16:]

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self._mac_key, text, self._suite.hash)

    def _decrypted(self, sealed: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        iv, blocks = (self._iv, sealed) if self._version == TLS10 else (sealed[:16], sealed[16:])
        if len(iv) != 16 or not blocks or len(blocks) % 16:
            return b""
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(iv)).decryptor()
        return decryptor.update(blocks) + decryptor.finalize()


_Half = _Sealed12 | _Sealed13


def _aead(suite: Suite, key: bytes) -> Open:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import aead

    cipher: Any
    if suite.mode == "gcm":
        cipher = aead.AESGCM(key)
    elif suite.mode == "ccm":
        cipher = aead.AESCCM(key, tag_length=suite.tag)
    else:
        cipher = aead.ChaCha20Poly1305(key)

    def opened(nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
        if len(nonce) != 12 or len(sealed) < suite.tag:
            return None
        try:
            plain: bytes = cipher.decrypt(nonce, sealed, bound)
        except InvalidTag:
            return None
        return plain

    return opened


def _mixed(iv: bytes, sequence: int) -> bytes:
    return (int.from_bytes(iv, "big") ^ sequence).to_bytes(len(iv), "big")


def expand_label(name: str, secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 7.1, RFC 5869 2.3)."""
    info = size.to_bytes(2, "big") + bytes((6 + len(label),)) + b"tls13 " + label + b"\0"
    made, last, count = b"", b"", 0
    while len(made) < size:
        count += 1
        last = hmac.digest(secret, last + info + bytes((count,)), name)
        made += last
    return made[:size]


def _prf(version: int, suite: Suite, secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """The pseudo-random function (RFC 5246 5; before TLS 1.2 both halves of the secret, RFC 2246 5)."""
    if version == TLS12:
        return _p_hash("sha384" if suite.hash == "sha384" else "sha256", secret, label + seed, size)
    half = (len(secret) + 1) // 2
    one = _p_hash("md5", secret[:half], label + seed, size)
    two = _p_hash("sha1", secret[-half:], label + seed, size)
    return bytes(a ^ b for a, b in zip(one, two, strict=True))


def _p_hash(name: str, secret: bytes, seed: bytes, size: int) -> bytes:
    made, step = b"", seed
    while len(made) < size:
        step = hmac.digest(secret, step, name)
        made += hmac.digest(secret, step + seed, name)
    return made[:size]
