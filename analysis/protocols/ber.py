"""A small bounded reader for ASN.1 BER (X.690 8.1): tags, lengths, integers, object identifiers.

In: bytes. Out: elements as offsets into the same bytes. A length beyond the bytes raises `BerError`; callers catch it
where a message begins. It knows no protocol.
"""

from __future__ import annotations

from collections.abc import Iterator

from analysis.named_tuples import NamedTuple

MAX_ELEMENTS = 512  # children walked of one element


class BerError(ValueError):
    """An element does not fit into the bytes it stands in."""


class Element(NamedTuple):
    """One element: the tag byte (low-tag form only), and where its content begins and ends."""

    tag: int
    start: int
    end: int


def header(data: bytes, at: int, end: int) -> Element:
    """The element that begins at `at`, its end as claimed: it may lie behind `end`. Indefinite lengths reach to `end`."""
    if at + 2 > end:
        raise BerError
    tag, size, start = data[at], data[at + 1], at + 2
    if tag & 0x1F == 0x1F:
        raise BerError
    if size == 0x80:
        return Element(tag, start, end)
    if size > 0x80:
        count = size & 0x7F
        if count > 4 or start + count > end:
            raise BerError
        size = int.from_bytes(data[start : start + count], "big")
        start += count
    return Element(tag, start, start + size)


def element(data: bytes, at: int, end: int) -> Element:
    """The element that begins at `at` and ends no later than `end`, which is no more than the bytes there are."""
    found = header(data, at, end)
    if found.end > end:
        raise BerError
    return found


def children(data: bytes, parent: Element) -> Iterator[Element]:
    """The elements inside a constructed one, at most MAX_ELEMENTS."""
    at = parent.start
    for _ in range(MAX_ELEMENTS):
        if at >= parent.end:
            return
        child = element(data, at, parent.end)
        yield child
        at = child.end


def integer(data: bytes, item: Element) -> int:
    """A signed integer of at most eight bytes; longer ones give 0."""
    body = data[item.start : item.end]
    return int.from_bytes(body, "big", signed=True) if len(body) <= 8 else 0


def text(data: bytes, item: Element, limit: int = 256) -> str:
    """A string type as text."""
    return data[item.start : min(item.end, item.start + limit)].decode("utf-8", "replace")
