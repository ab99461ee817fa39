"""Canonical sets: ranges of integers, addresses of both families, ports. What rules match and what algebra works on.

In: text as people write it ("10.0.0.0/8", "443,8000-8010") or integers. Out: sorted, disjoint, merged ranges, so that
equal sets are equal values. Exact: nothing is ever widened. A reversed range, host bits behind a prefix and a leading
zero ("010.0.0.1", which the kernel reads as octal) are errors, never a guess.
Must not know rules, captures or dialects.
"""

from __future__ import annotations

import bisect
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from firewall.errors import RuleError

Ranges = tuple[tuple[int, int], ...]  # inclusive, sorted, disjoint, never adjacent

V4_LAST = 2**32 - 1
V6_LAST = 2**128 - 1
PORT_LAST = 65535
FAMILIES = (4, 6)
LAST = {4: V4_LAST, 6: V6_LAST}


def canonical(ranges: Iterable[tuple[int, int]], last: int) -> Ranges:
    """Sorted, merged ranges within 0..last. Raises RuleError for lo > hi or a bound outside."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if not 0 <= low <= high <= last:
            raise RuleError(f"range: got {low}-{high}, expected 0 <= low <= high <= {last}")
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)


def intersect(one: Ranges, two: Ranges) -> Ranges:
    """Values in both."""
    out: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(two):
        low, high = max(one[i][0], two[j][0]), min(one[i][1], two[j][1])
        if low <= high:
            out.append((low, high))
        if one[i][1] < two[j][1]:
            i += 1
        else:
            j += 1
    return tuple(out)


def complement(ranges: Ranges, last: int) -> Ranges:
    """Values of 0..last that are not in `ranges`."""
    out: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        if low > start:
            out.append((start, low - 1))
        start = high + 1
    if start <= last:
        out.append((start, last))
    return tuple(out)


def subtract(one: Ranges, two: Ranges, last: int) -> Ranges:
    """Values of `one` that are not in `two`."""
    return intersect(one, complement(two, last))


def union(one: Ranges, two: Ranges, last: int) -> Ranges:
    """Values in either."""
    return canonical((*one, *two), last)


def contains(ranges: Ranges, value: int) -> bool:
    """True where `value` lies in one of the ranges."""
    at = bisect.bisect_right(ranges, (value, V6_LAST + 1)) - 1
    return at >= 0 and ranges[at][1] >= value


def size(ranges: Ranges) -> int:
    """How many values."""
    return sum(high - low + 1 for low, high in ranges)


@dataclass(frozen=True, slots=True)
class AddrSet:
    """Addresses of both families, as canonical ranges. An empty family is simply absent."""

    v4: Ranges = ()
    v6: Ranges = ()

    @classmethod
    def parse(cls, *texts: str) -> AddrSet:
        """Addresses, prefixes ("10.0.0.0/8") and ranges ("10.0.0.1-10.0.0.9"). Raises RuleError, naming the text."""
        found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for text in texts:
            family, low, high = _parse_address(text.strip())
            found[family].append((low, high))
        return cls(canonical(found[4], V4_LAST), canonical(found[6], V6_LAST))

    @classmethod
    def of(cls, family: int, ranges: Iterable[tuple[int, int]]) -> AddrSet:
        """A set of one family from ranges of integers."""
        ready = canonical(ranges, LAST[family])
        return cls(ready, ()) if family == 4 else cls((), ready)

    @classmethod
    def everything(cls) -> AddrSet:
        """All addresses of both families."""
        return cls(((0, V4_LAST),), ((0, V6_LAST),))

    def ranges(self, family: int) -> Ranges:
        """The ranges of one family."""
        return self.v4 if family == 4 else self.v6

    @property
    def families(self) -> frozenset[int]:
        """Families that have at least one address."""
        return frozenset(f for f in FAMILIES if self.ranges(f))

    def only(self, family: int) -> AddrSet:
        """The part of one family."""
        return AddrSet(self.v4, ()) if family == 4 else AddrSet((), self.v6)

    def __or__(self, other: AddrSet) -> AddrSet:
        return AddrSet(union(self.v4, other.v4, V4_LAST), union(self.v6, other.v6, V6_LAST))

    def __and__(self, other: AddrSet) -> AddrSet:
        return AddrSet(intersect(self.v4, other.v4), intersect(self.v6, other.v6))

    def __sub__(self, other: AddrSet) -> AddrSet:
        return AddrSet(subtract(self.v4, other.v4, V4_LAST), subtract(self.v6, other.v6, V6_LAST))

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __contains__(self, address: object) -> bool:
        try:
            parsed = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        return contains(self.ranges(parsed.version), int(parsed))

    def nets(self, family: int) -> tuple[str, ...]:
        """The smallest list of prefixes that covers exactly this family's addresses; single hosts without "/32"."""
        return _nets(family, self.ranges(family))

    def blocks(self, family: int) -> tuple[tuple[int, int], ...]:
        """The same prefixes as (first, last) integers."""
        return _blocks(family, self.ranges(family))

    def count(self) -> int:
        """How many addresses."""
        return size(self.v4) + size(self.v6)

    def texts(self) -> tuple[str, ...]:
        """Both families as prefixes, IPv4 first."""
        return (*self.nets(4), *self.nets(6))

    def label(self, most: int = 3) -> str:
        """For a person: up to `most` prefixes, then how many more."""
        texts = self.texts()
        if len(texts) <= most:
            return ", ".join(texts)
        return f"{', '.join(texts[:most])} (+{len(texts) - most})"


@dataclass(frozen=True, slots=True)
class PortSet:
    """Ports (or, reused, protocol numbers and ICMP type*256+code) as canonical ranges."""

    ranges: Ranges

    @classmethod
    def parse(cls, text: str | int) -> PortSet:
        """ "443", "80,443,8000-8010" (also with a colon). Raises RuleError for reversed or impossible ranges."""
        found = []
        for part in str(text).split(","):
            low, _, high = part.strip().replace(":", "-").partition("-")
            if not (low.isascii() and low.isdigit() and (not high or (high.isascii() and high.isdigit()))):
                raise RuleError(f"port: got {part.strip()!r}, expected a number, or low-high")
            found.append((int(low), int(high or low)))
        return cls(canonical(found, PORT_LAST))

    @classmethod
    def of(cls, *ports: int) -> PortSet:
        """From single ports."""
        return cls(canonical(((p, p) for p in ports), PORT_LAST))

    def __post_init__(self) -> None:
        if canonical(self.ranges, PORT_LAST) != self.ranges or not self.ranges:
            raise RuleError(f"ports: got {self.ranges!r}, expected sorted, disjoint, non-empty ranges")

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and contains(self.ranges, port)

    def slots(self) -> int:
        """How many of multiport's 15 slots it needs: a range costs two."""
        return sum(1 if low == high else 2 for low, high in self.ranges)

    def text(self, dash: str = "-") -> str:
        """ "80,443,8000-8010"."""
        return ",".join(str(low) if low == high else f"{low}{dash}{high}" for low, high in self.ranges)


def _parse_address(text: str) -> tuple[int, int, int]:
    try:
        if "/" in text:
            net = ipaddress.ip_network(text, strict=True)
            return net.version, int(net.network_address), int(net.broadcast_address)
        if "-" in text:
            first, _, last = text.partition("-")
            low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
            if low.version != high.version or int(low) > int(high):
                raise ValueError("reversed or mixed range")
            return low.version, int(low), int(high)
        address = ipaddress.ip_address(text)
        if getattr(address, "scope_id", None):
            raise ValueError("a zone has no meaning in a rule")
        return address.version, int(address), int(address)
    except ValueError as error:
        raise RuleError(f"address: got {text[:80]!r}, expected an address, prefix or range ({error})") from error


# A large set is asked for its prefixes by every renderer and by its rule's id: they are worked out once.


@lru_cache(maxsize=64)
def _blocks(family: int, ranges: Ranges) -> Ranges:
    out: list[tuple[int, int]] = []
    for low, high in ranges:
        if low == high:
            out.append((low, high))
        else:
            out += _prefixes(low, high, LAST[family])
    return tuple(out)


@lru_cache(maxsize=64)
def _nets(family: int, ranges: Ranges) -> tuple[str, ...]:
    return tuple([_network_text(family, low, high) for low, high in _blocks(family, ranges)])


def _prefixes(low: int, high: int, last: int) -> list[tuple[int, int]]:
    """Cut a range into aligned power-of-two blocks (as ipaddress.summarize_address_range, without its objects)."""
    out = []
    while low <= high:
        step = low & -low if low else last + 1
        while low + step - 1 > high:
            step >>= 1
        out.append((low, low + step - 1))
        low += step
    return out


def _network_text(family: int, low: int, high: int) -> str:
    address = (
        f"{low >> 24}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
        if family == 4
        else str(ipaddress.IPv6Address(low))
    )
    bits = (32 if family == 4 else 128) - (high - low + 1).bit_length() + 1
    return address if low == high else f"{address}/{bits}"
