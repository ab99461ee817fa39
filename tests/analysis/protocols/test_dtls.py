"""DTLS that is opened: records made here by the formulas of the RFCs, with the ciphers of another library."""

from __future__ import annotations

import hmac
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from hypothesis import given
from hypothesis import strategies as st
from udp_batches import Sent, batch, path

from analysis.facts import Facts
from analysis.protocols.datagrams import DatagramNaming

CLIENT, SERVER = ("10.0.0.1", 40_000), ("10.0.0.2", 5684)
CLIENT_RANDOM, SERVER_RANDOM, MASTER = bytes(range(32)), bytes(range(32, 64)), b"m" * 48
KEY_LOG = f"CLIENT_RANDOM {CLIENT_RANDOM.hex()} {MASTER.hex()}\n".encode()
GET = b"\x40\x01\x00\x01\xb1a"  # CoAP: GET /a
CONTENT = b"\x60\x45\x00\x01\xc0\xff{}"  # 2.05, text, a payload


def record(kind: int, epoch: int, number: int, body: bytes) -> bytes:
    """RFC 6347 4.1."""
    return struct.pack(">BHH", kind, 0xFEFD, epoch) + number.to_bytes(6, "big") + len(body).to_bytes(2, "big") + body


def message(kind: int, number: int, body: bytes) -> bytes:
    """RFC 6347 4.2.2, in one piece."""
    size = len(body).to_bytes(3, "big")
    return bytes((kind,)) + size + number.to_bytes(2, "big") + bytes(3) + size + body


def key_block(size: int) -> bytes:
    """RFC 5246 6.3 and 5."""
    seed, made = b"key expansion" + SERVER_RANDOM + CLIENT_RANDOM, b""
    step = seed
    while len(made) < size:
        step = hmac.digest(MASTER, step, "sha256")
        made += hmac.digest(MASTER, step + seed, "sha256")
    return made[:size]


def sealed(side: int, number: int, text: bytes, cipher: AESCCM | AESGCM, iv: bytes) -> bytes:
    """A record of application data of epoch 1 (RFC 6655 3, RFC 5288 3)."""
    explicit = b"\0\1" + number.to_bytes(6, "big")
    bound = explicit + b"\x17\xfe\xfd" + len(text).to_bytes(2, "big")
    return record(23, 1, number, explicit + cipher.encrypt(iv + explicit, text, bound))


def handshake(suite: int) -> list[Sent]:
    """Both hellos, the server's in a datagram with another message."""
    client = b"\xfe\xfd" + CLIENT_RANDOM + b"\0\0\0\2" + suite.to_bytes(2, "big") + b"\1\0"
    server = b"\xfe\xfd" + SERVER_RANDOM + b"\0" + suite.to_bytes(2, "big") + b"\0"
    return [
        Sent(record(22, 0, 0, message(1, 0, client)), *CLIENT, *SERVER),
        Sent(record(22, 0, 0, message(2, 0, server)) + record(22, 0, 1, message(14, 1, b"")), *SERVER, *CLIENT),
    ]


@pytest.mark.parametrize(
    ("suite", "cipher"),
    [
        (0xC0A8, lambda key: AESCCM(key, tag_length=8)),
        (0xC0A4, lambda key: AESCCM(key, tag_length=16)),
        (0x009C, AESGCM),
    ],
)
def test_records_are_opened_in_any_order(suite: int, cipher: type[AESCCM] | type[AESGCM]) -> None:
    """A record brings its number: what was lost or came late does not matter. CoAP by its port, the rest as data."""
    block = key_block(40)
    client, server = cipher(block[:16]), cipher(block[16:32])
    sent = [
        *handshake(suite),
        Sent(sealed(0, 7, GET, client, block[32:36]), *CLIENT, *SERVER),
        Sent(sealed(1, 2, CONTENT, server, block[36:40]), *SERVER, *CLIENT),
        Sent(sealed(0, 3, GET, client, block[32:36]), *CLIENT, *SERVER),
        Sent(sealed(0, 8, GET, server, block[32:36]), *CLIENT, *SERVER),  # not its key
    ]
    facts = Facts()
    made = batch(*sent)._replace(secrets=KEY_LOG)
    DatagramNaming(facts).update(made)
    assert [path(made, row) for row in range(6)] == [
        "dtls", "dtls", "dtls/coap", "dtls/coap/data-text-lines", "dtls/coap", "dtls"
    ]  # fmt: skip
    assert [hello.keyed for hello in facts.tls] == [True]

    closed = batch(*sent)
    DatagramNaming(facts).update(closed)
    assert [path(closed, row) for row in range(6)] == ["dtls"] * 6


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80)), max_size=6), st.integers(0, 3))
def test_whatever_is_sent_is_dtls_or_not(sent: list[tuple[bool, bytes]], epoch: int) -> None:
    """Damaged hellos, sealed records that nobody sealed: layers, never an exception."""
    made = handshake(0x002F)
    for from_client, body in sent:
        ends = (*CLIENT, *SERVER) if from_client else (*SERVER, *CLIENT)
        made += [Sent(record(22 + (len(body) & 1), epoch, 5, body), *ends), Sent(body or b"\x16", *ends)]
    named = batch(*made)._replace(secrets=KEY_LOG)
    DatagramNaming(Facts()).update(named)
    assert [path(named, row) for row in range(2)] == ["dtls", "dtls"]
