"""AES-128 for the few QUIC Initial packets of a small capture: importing `cryptography` takes longer than opening them.

In: keys, blocks, nonces. Out: encrypted blocks, and what AES-GCM protected, or None where the tag does not fit (FIPS 197;
NIST SP 800-38D). Keys of Initial packets follow from the packets themselves: nothing here is secret, so nothing needs to
take the same time for every key. Never for anything else; quic.py goes to the library where packets are many.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from analysis.columns import Array

_BLOCK, _ROUNDS = 16, 10
_POLYNOMIAL = 0xE1 << 120  # x^128 + x^7 + x^2 + x + 1 in GCM's bit order (SP 800-38D 6.3)
# ShiftRows (FIPS 197 5.1.2): where the byte comes from that row r of column c takes, and its part of the table
_SHIFTED = np.array([4 * ((c + r) % 4) + r for c in range(4) for r in range(4)])
_PART = np.array([256 * r for _ in range(4) for r in range(4)])


class _Tables(NamedTuple):
    """The S-box as bytes and as an array, and SubBytes with MixColumns in one: uint32[1024], a column by row and byte."""

    box: bytes
    substitute: Array
    mix: Array


@lru_cache(1)
def _tables() -> _Tables:
    substitute = np.zeros(256, np.uint8)
    power, inverse = 1, 1
    for _ in range(255):  # 3 generates the field: `power` runs through it upwards, `inverse` downwards
        power ^= (power << 1) ^ (0x11B if power & 0x80 else 0)
        for step in (1, 2, 4):
            inverse ^= inverse << step
        inverse = inverse & 0xFF ^ (0x09 if inverse & 0x80 else 0)
        turned = inverse | inverse << 8
        substitute[power] = (turned ^ turned >> 7 ^ turned >> 6 ^ turned >> 5 ^ turned >> 4) & 0xFF ^ 0x63
    substitute[0] = 0x63
    once = substitute.astype(np.uint32)
    twice = once << 1 ^ np.where(once & 0x80, 0x11B, 0).astype(np.uint32)
    column = twice | once << 8 | once << 16 | (twice ^ once) << 24
    turns = [column << 8 * row | column >> (32 - 8 * row) if row else column for row in range(4)]
    return _Tables(substitute.tobytes(), substitute, np.concatenate(turns).astype(np.uint32))


def _round_keys(key: bytes) -> Array:
    """uint32[11, 4] little-endian: the key schedule (FIPS 197 5.2)."""
    box = _tables().box
    words = [int.from_bytes(key[at : at + 4], "little") for at in range(0, _BLOCK, 4)]
    constant = 1
    for index in range(4, 4 * (_ROUNDS + 1)):
        word = words[-1]
        if index % 4 == 0:
            turned = (word >> 8 | word << 24) & 0xFFFFFFFF
            word = int.from_bytes(turned.to_bytes(4, "little").translate(box), "little") ^ constant
            constant = constant << 1 ^ (0x11B if constant & 0x80 else 0)
        words.append(words[-4] ^ word)
    return np.array(words, np.uint32).reshape(-1, 4)


def encrypt(key: bytes, blocks: bytes) -> bytes:
    """Each of the 16-byte blocks encrypted by itself (FIPS 197 5.1)."""
    _, substitute, mix = _tables()
    keys = _round_keys(key)
    state = np.frombuffer(blocks, "<u4").reshape(-1, 4) ^ keys[0]
    for number in range(1, _ROUNDS):
        taken = state.view(np.uint8).take(_SHIFTED, axis=1) + _PART
        columns = mix.take(taken)
        state = columns[:, 0::4] ^ columns[:, 1::4] ^ columns[:, 2::4] ^ columns[:, 3::4] ^ keys[number]
    last = substitute.take(state.view(np.uint8).take(_SHIFTED, axis=1))
    return bytes((last.view(np.uint32) ^ keys[_ROUNDS]).tobytes())


def gcm_decrypt(key: bytes, nonce: bytes, protected: bytes, associated: bytes) -> bytes | None:
    """What was protected with a 12-byte nonce, the tag behind it (SP 800-38D 7.2); None where the tag does not fit."""
    text, tag = protected[:-_BLOCK], protected[-_BLOCK:]
    count = -(-len(text) // _BLOCK)
    counters = b"".join([nonce + number.to_bytes(4, "big") for number in range(1, count + 2)])
    stream = encrypt(key, bytes(_BLOCK) + counters)
    lengths = (8 * len(associated)).to_bytes(8, "big") + (8 * len(text)).to_bytes(8, "big")
    digest = _ghash(stream[:_BLOCK], _padded(associated) + _padded(text) + lengths)
    if len(tag) < _BLOCK or digest ^ int.from_bytes(stream[_BLOCK : 2 * _BLOCK], "big") != int.from_bytes(tag, "big"):
        return None
    return bytes(np.frombuffer(text, np.uint8) ^ np.frombuffer(stream, np.uint8, len(text), 2 * _BLOCK))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)


def _ghash(subkey: bytes, data: bytes) -> int:
    """The polynomial hash of whole blocks (SP 800-38D 6.4), a byte at a time."""
    products = [0] * 256  # of a byte, as the first of a block, with the subkey
    product = int.from_bytes(subkey, "big")
    for bit in range(8):
        products[0x80 >> bit] = product
        product = product >> 1 ^ (_POLYNOMIAL if product & 1 else 0)
    for byte in range(1, 256):
        low = byte & -byte
        products[byte] = products[low] ^ products[byte ^ low]
    fold = _folds()
    found = 0
    for at in range(0, len(data), _BLOCK):
        block = (found ^ int.from_bytes(data[at : at + _BLOCK], "big")).to_bytes(_BLOCK, "little")
        found = 0
        for byte in block:  # the last byte of the block first
            found = found >> 8 ^ fold[found & 0xFF] ^ products[byte]
    return found


@lru_cache(1)
def _folds() -> list[int]:
    """What the eight lowest bits become when they are shifted out."""
    folds = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        folds.append(value)
    return folds
