"""Addresses as text, many at once: dotted IPv4, RFC 5952 IPv6, colon-separated MAC, as Wireshark prints them.

In: the address table. Out: strings by address id. `AddressTexts` makes them when they are asked for, for a table of a
million addresses is 60 MB as strings; `address_texts` makes all of a table at once, without a call a row. IPv6
addresses that embed an IPv4 address are written mixed (`::ffff:192.0.2.1`, RFC 5952 section 5), as inet_ntop does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from analysis.columns import Addresses, Array

ROWS_AT_ONCE = 8192  # texts that exist together while all are walked
MOST_ASKED = 65_536  # texts of single addresses that are kept
_OCTET = tuple(map(str, range(256)))
_HEX = tuple(f"{i:02x}" for i in range(256))


class AddressTexts(Sequence[str]):
    """The texts of an address table, by id, each made when it is asked for."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._asked: dict[int, str] = {}  # detectors ask for the same few thousand again and again

    def __len__(self) -> int:
        return len(self._addresses.family)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if at.__class__ is slice:
            return address_texts(Addresses(*(column[at] for column in self._addresses)))
        text = self._asked.get(at)  # type: ignore[arg-type]
        return text if text is not None else self._made(at)  # type: ignore[arg-type]

    def _made(self, at: int) -> str:
        family, high, low = self._addresses
        text = _text(int(family[at]), int(high[at]), int(low[at]))
        if len(self._asked) < MOST_ASKED:
            self._asked[at] = text
        return text

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), ROWS_AT_ONCE):
            yield from self[first : first + ROWS_AT_ONCE]

    def of(self, ids: Array) -> list[str]:
        """The texts of many addresses."""
        return address_texts(Addresses(*(column[ids] for column in self._addresses)))

    def ids(self, wanted: Iterable[str]) -> dict[str, int]:
        """The ids of those of some texts that are in the table."""
        texts = set(wanted)
        words = np.sort(np.array([word for word in map(_low_word, texts) if word is not None], np.int64))
        if not len(words):
            return {}
        low = self._addresses.lo
        rows = np.flatnonzero(words[np.minimum(np.searchsorted(words, low), len(words) - 1)] == low)
        return {text: row for text, row in zip(self.of(rows), rows.tolist()) if text in texts}


def _low_word(text: str) -> int | None:
    """The lower 64 bits of an address in text form, signed; None where it is none."""
    try:
        word = int(ipaddress.ip_address(text)) & 0xFFFFFFFFFFFFFFFF
    except ValueError:
        try:
            word = int(text.replace(":", ""), 16) if len(text) == 17 else -1
        except ValueError:
            return None
        return word if 0 <= word < 1 << 48 else None
    return word - (1 << 64) if word >> 63 else word


def _text(family: int, high: int, low: int) -> str:
    """One address in canonical text."""
    if family == 4:
        return f"{_OCTET[low >> 24 & 255]}.{_OCTET[low >> 16 & 255]}.{_OCTET[low >> 8 & 255]}.{_OCTET[low & 255]}"
    return ipv6_text(high, low) if family == 6 else ":".join([_HEX[low >> shift & 255] for shift in range(40, -1, -8)])


def address_texts(addresses: Addresses) -> list[str]:
    """Canonical text of every address, in order of id."""
    texts = [""] * len(addresses.family)
    for family, write in ((4, _ipv4), (6, _ipv6), (0, _mac)):
        rows = (addresses.family == family).nonzero()[0]
        if len(rows):
            for row, text in zip(rows.tolist(), write(addresses.hi[rows], addresses.lo[rows])):
                texts[row] = text
    return texts


def _ipv4(_: Array, low: Array) -> list[str]:
    words = low.tolist()
    o = _OCTET
    return [f"{o[w >> 24 & 255]}.{o[w >> 16 & 255]}.{o[w >> 8 & 255]}.{o[w & 255]}" for w in words]


def _mac(_: Array, low: Array) -> list[str]:
    x = _HEX
    return [
        f"{x[w >> 40 & 255]}:{x[w >> 32 & 255]}:{x[w >> 24 & 255]}:{x[w >> 16 & 255]}:{x[w >> 8 & 255]}:{x[w & 255]}"
        for w in low.tolist()
    ]


def _ipv6(high: Array, low: Array) -> list[str]:
    return [ipv6_text(h, w) for h, w in zip(high.tolist(), low.tolist())]


def ipv6_text(high: int, low: int) -> str:
    """One IPv6 address from its two 64-bit words (RFC 5952 4 and 5)."""
    groups = [high >> shift & 0xFFFF for shift in (48, 32, 16, 0)] + [
        low >> shift & 0xFFFF for shift in (48, 32, 16, 0)
    ]
    best, length = 0, 1  # a single zero group is not shortened
    at = 0
    while at < 8:
        end = at
        while end < 8 and groups[end] == 0:
            end += 1
        if end - at > length:
            best, length = at, end - at
        at = end + 1
    if best == 0 and (length == 6 or (length == 5 and groups[5] == 0xFFFF)):
        head = "::" if length == 6 else "::ffff:"
        return f"{head}{groups[6] >> 8}.{groups[6] & 255}.{groups[7] >> 8}.{groups[7] & 255}"
    if length == 1:
        return ":".join([f"{group:x}" for group in groups])
    left = ":".join([f"{group:x}" for group in groups[:best]])
    right = ":".join([f"{group:x}" for group in groups[best + length :]])
    return f"{left}::{right}"
