"""Protocols named a batch at a time, without reading one datagram in Python: floods have one packet a flow.

In: columns of undecided datagrams. Out: which rows are named, with one or two layers. Only what leaves no fact and
whose check is a comparison of few bytes stands here; every row that is left goes through the rules, so this file may
recognise less than they do, never something else.
"""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import Array
from analysis.named_tuples import NamedTuple
from analysis.protocols.datagram_rules import PLAIN

ISAKMP_HEADER = 28

# Ports whose protocol takes every payload of at least this size: port -> (layer, size). As in datagram_rules.
_BY_SIZE = {port: (layer, max(shows, whole)) for port, (layer, shows, whole) in PLAIN.items()} | {
    123: (layers.NTP, 48),
    389: (layers.CLDAP, 1),
    514: (layers.SYSLOG, 1),
    11211: (layers.MEMCACHE, 1),
}
_SSDP, _SSDP_STARTS = 1900, (b"M-SEARCH", b"NOTIFY ", b"HTTP/1.")
_ISAKMP = ((500, 0), (4500, 4))  # port, bytes before the message
AT_ONCE = np.zeros(65_536, bool)  # ports that are known here
AT_ONCE[[*_BY_SIZE, _SSDP, *(port for port, _ in _ISAKMP)]] = True
_LAYER, _LEAST = np.zeros(65_536, np.uint16), np.zeros(65_536, np.int32)  # _BY_SIZE by port
_LAYER[list(_BY_SIZE)], _LEAST[list(_BY_SIZE)] = zip(*_BY_SIZE.values())


class Bulk(NamedTuple):
    """For n rows: the first layer (0: not named here), its bytes, and a second layer that takes the rest (or 0)."""

    first: Array
    size: Array
    second: Array


def _word(data: Array, at: Array) -> Array:
    """Big-endian 32-bit numbers at offsets `at`, all of which have four bytes."""
    found = np.zeros(len(at), np.int64)
    for step in range(4):
        found = found << 8 | data[at + step]
    return found


_ENCRYPTED = 46


def _payloads_fit(data: Array, at: Array, size: Array) -> Array:
    """bool[n]: the payload chains of IKE messages end inside them. As vpn's rule; long chains are left to it."""
    encrypted = (data[at + 17] >> 4 == 1) & (data[at + 19] & 1 > 0)
    kind = np.where(encrypted, 0, data[at + 16])
    here, end = at + ISAKMP_HEADER, at + size
    good = np.ones(len(at), bool)
    for _ in range(16):
        going = np.flatnonzero(good & (kind != 0) & (kind != _ENCRYPTED) & (here + 4 <= end))
        if not len(going):
            break
        where = here[going]
        length = data[where + 2].astype(np.int64) << 8 | data[where + 3]
        good[going] = where + length <= end[going]
        kind[going] = np.where(length >= 4, data[where], 0)
        here[going] = where + length
    return np.asarray(good & ((kind == 0) | (kind == _ENCRYPTED) | (here + 4 > end)))


def name_at_once(data: Array, start: Array, cap: Array, length: Array, port: Array) -> Bulk:
    """Judge n datagrams: payload offset, bytes captured, length by the headers, the lower port that has a rule."""
    whole = cap == length
    first = np.where(whole & (cap >= _LEAST[port]), _LAYER[port], 0).astype(np.uint16)
    second = np.zeros(len(port), np.uint16)
    size = cap.astype(np.int64)
    private = np.flatnonzero(first == layers.NTP)
    first[private[data[start[private]] & 7 == 7]] = 0  # these leave facts
    rows = np.flatnonzero((port == _SSDP) & whole & (cap >= 8))
    head = data[start[rows, None] + np.arange(8)]
    for text in _SSDP_STARTS:
        first[rows[(head[:, : len(text)] == np.frombuffer(text, np.uint8)).all(axis=1)]] = layers.SSDP
    for number, before in _ISAKMP:
        rows = np.flatnonzero((port == number) & whole & (cap >= before + ISAKMP_HEADER))
        if not len(rows):
            continue
        at = start[rows]
        if before:
            rows = rows[_word(data, at) == 0]
            at = start[rows]
        stated = _word(data, at + before + 24)
        fits = (stated >= ISAKMP_HEADER) & (stated <= cap[rows] - before)
        fits[fits] = _payloads_fit(data, at[fits] + before, stated[fits])
        rows = rows[fits]
        if before:
            first[rows], second[rows], size[rows] = layers.UDPENCAP, layers.ISAKMP, before
        else:
            first[rows] = layers.ISAKMP
    return Bulk(first, size, second)


_HEAD = 12  # bytes that decide
_STUN_COOKIE = np.frombuffer(b"\x21\x12\xa4\x42", np.uint8)


def refused_by_heuristics(data: Array, start: Array, cap: Array, promising: Array) -> Array:
    """bool[n]: payloads that no heuristic takes; `promising` are those whose first two bytes one of them begins with.

    Of these only zeros without STUN's cookie, and what looks like RTP, not like QUIC version 1, are refused here. What
    begins with any bytes is RPC, DNS, SIP, and rare forms of RakNet and Google's QUIC.
    """
    refused = cap >= _HEAD
    rows = np.flatnonzero(refused)
    head = data[start[rows, None] + np.arange(_HEAD)]
    byte = head.T
    zeros = (byte[0] == 0) & (head[:, 4:8] != _STUN_COOKIE).any(axis=1)
    media = (byte[0] >= 0x80) & (byte[2] | byte[3] > 0)
    promising = promising[rows] & ~((byte[1] == 0) & (zeros | media))
    call = (head[:, 7:12] == (0, 0, 0, 0, 2)).all(axis=1)
    rpc = (head[:, 4:7] == 0).all(axis=1) & (call | (byte[7] == 1))
    query = (byte[5] == 1) & (head[:, 6:10] == 0).all(axis=1)
    dns = (byte[2] & 0x78 == 0) & (byte[4] == 0) & np.where(byte[2] & 0x80, byte[5] <= 1, query)
    rare = (byte[0] == 0x1C) | ((byte[0] & 0xC9 == 9) & (byte[9] == 0x51))
    taken = promising | rpc | dns | rare
    refused[rows[taken]] = False
    text = rows[(byte[0] > 0x20) & (byte[0] < 0x7F) & ~taken]
    buffer = memoryview(data)  # type: ignore[arg-type]  # an array is a buffer
    spans = zip(start[text].tolist(), np.minimum(cap[text], 2048).tolist())
    refused[text] = [b"SIP/" not in bytes(buffer[at : at + size]) for at, size in spans]
    return refused
