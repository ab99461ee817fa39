"""QUIC Initial packets as a sender makes them: frames, header, protection (RFC 9001 5)."""

from __future__ import annotations

from analysis.protocols import quic

# RFC 9001 A.1: the client's destination connection id of the examples.
DCID = bytes.fromhex("8394c8f03e515708")


def seal(header: bytes, number: int, plain: bytes, keys: quic.Keys) -> bytes:
    """Protect a packet with a two-byte number, as a sender would (RFC 9001 5.3, 5.4)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = header + number.to_bytes(2, "big")
    nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(12, "big")
    body = AESGCM(keys.key).encrypt(nonce, plain, head)
    mask = Cipher(algorithms.AES(keys.hp), modes.ECB()).encryptor().update(body[2:18])
    first = bytes([head[0] ^ (mask[0] & 0x0F)])
    return first + head[1:-2] + bytes(a ^ b for a, b in zip(head[-2:], mask[1:3])) + body


def initial(
    plain: bytes, number: int = 0, dcid: bytes = DCID, *, version: int = quic.VERSION_1, server: bool = False
) -> bytes:
    """An Initial packet of either side; the server's carries no destination id."""
    keys = quic.initial_keys(version, DCID if server else dcid)
    assert keys is not None
    kind = 0xC1 if version != quic.VERSION_2 else 0xD1
    ids = b"\0\x02\xab\xcd" if server else bytes([len(dcid)]) + dcid + b"\0"
    length = (0x4000 | len(plain) + 18).to_bytes(2, "big")
    header = bytes([kind]) + version.to_bytes(4, "big") + ids + b"\0" + length
    return seal(header, number, plain, keys[1 if server else 0])


def crypto(offset: int, data: bytes) -> bytes:
    """A CRYPTO frame (RFC 9000 19.6)."""
    return b"\x06" + (0x4000 | offset).to_bytes(2, "big") + (0x4000 | len(data)).to_bytes(2, "big") + data


def client_hello(name: bytes = b"example.org") -> bytes:
    """A ClientHello with a name."""
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    body = len(entry).to_bytes(2, "big") + entry
    extension = b"\0\0" + len(body).to_bytes(2, "big") + body
    hello = (
        b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(extension).to_bytes(2, "big") + extension
    )
    return b"\x01" + len(hello).to_bytes(3, "big") + hello
