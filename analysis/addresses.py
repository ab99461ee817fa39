"""Addresses as text, many at once: dotted IPv4, RFC 5952 IPv6, colon-separated MAC, as Wireshark prints them.

In: the address table. Out: one list of strings, row = address id. Made for tables of 100,000 addresses and more, where
one call a row would cost more than the analysis. IPv6 addresses that embed an IPv4 address are written mixed
(`::ffff:192.0.2.1`, RFC 5952 section 5), as inet_ntop does.
"""

from analysis.columns import Addresses, Array

_OCTET = tuple(map(str, range(256)))
_HEX = tuple(f"{i:02x}" for i in range(256))


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
