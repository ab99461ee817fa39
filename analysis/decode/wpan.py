"""IEEE 802.15.4 with and without checksum or TAP header, and the ZigBee layers inside.

In: a `Walk` at the capture header. Out: `wpan` with the whole frame but its checksum (as Wireshark counts it), then the
ZigBee network, application support and cluster layers, each with all that is left; secured ones end the walk.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.decode.state import END, LIMIT
from analysis.decode.walker import Walk

BEACON, DATA, ACK, COMMAND = range(4)  # IEEE 802.15.4 7.2.1.1: frame type
VERSION_2015 = 2
NO_SEQUENCE, ELEMENTS = 0x0100, 0x0200  # bits of the control field
EXTENDED = 3  # address mode: 8 bytes
PAYLOAD_FOLLOWS, NOTHING_FOLLOWS = 0x7E, 0x7F  # ids of the header elements that end the list
LAST_ELEMENT = 15  # id of the payload element that ends the list


def with_checksum(walk: Walk) -> None:
    """LINKTYPE_IEEE802_15_4_WITHFCS."""
    _drop(walk, 2)
    frame(walk)


def without_checksum(walk: Walk) -> None:
    """LINKTYPE_IEEE802_15_4_NOFCS."""
    frame(walk)


def tap(walk: Walk) -> None:
    """LINKTYPE_IEEE802_15_4_TAP: 0 version | 2 length (2) | records: type (2), length (2), value padded to 4; type 0 is the checksum's kind."""
    size = walk.le16(2)
    checksum = 0
    at = 4
    while at + 4 <= min(size, walk.left):
        kind, length = walk.le16(at), walk.le16(at + 2)
        if kind == 0 and length >= 1:
            checksum = {0: 0, 1: 2, 2: 4}.get(walk.u8(at + 4), 0)
        at += 4 + (length + 3) // 4 * 4
    walk.layer(layers.WPAN_TAP, size)
    _drop(walk, checksum)
    frame(walk)


def _drop(walk: Walk, size: int) -> None:
    s = walk.s
    s[LIMIT] -= min(size, walk.wire_left)
    s[END] = min(s[END], s[LIMIT])


def frame(walk: Walk) -> None:
    """IEEE 802.15.4 7.2: 0 control (2, little endian) | 2 sequence | addressing | security | information elements | payload."""
    walk.name(layers.WPAN, walk.left)
    control = walk.le16(0)
    kind, version = control & 7, control >> 12 & 3
    newer = version == VERSION_2015
    size = 2 if newer and control & NO_SEQUENCE else 3
    size += _addressing_2015(control) if newer else _addressing(control)
    walk.skip(size)
    if control & 8 and kind != ACK:  # secured: nothing to read behind it
        walk.data_rest()
        return
    if newer and control & ELEMENTS and not _elements(walk):
        return
    if kind == BEACON and not newer:
        _beacon(walk)
    elif kind in (BEACON, DATA) and walk.left:
        _payload(walk)


def _addressing(control: int) -> int:
    """Size of the address fields: a network id and an address (2 or 8 bytes) each, the second id left out if compressed."""
    destination, source = control >> 10 & 3, control >> 14 & 3
    size = {2: 4, 3: 10}.get(destination, 0) + {2: 4, 3: 10}.get(source, 0)
    return size - 2 if control & 0x40 and destination and source else size


def _addressing_2015(control: int) -> int:
    """As `_addressing`, by table 7-2 of IEEE 802.15.4-2020: which of two network ids are there."""
    destination, source = control >> 10 & 3, control >> 14 & 3
    compressed = bool(control & 0x40)
    if destination and source:
        networks = (not compressed) if destination == source == EXTENDED else 2 - compressed
    elif destination or source:
        networks = not compressed
    else:
        networks = compressed
    return {2: 2, 3: 8}.get(destination, 0) + {2: 2, 3: 8}.get(source, 0) + 2 * networks


def _elements(walk: Walk) -> bool:
    """7.4.2: header elements: length (7 bits), id (8), 0 | content; then payload elements: length (11), id (4), 1 | content.

    Returns whether a payload may follow. A terminating header element has no content.
    """
    while walk.left >= 2:
        head = walk.le16(0)
        number, length = head >> 7 & 0xFF, head & 0x7F
        walk.skip(2)
        if number in (PAYLOAD_FOLLOWS, NOTHING_FOLLOWS):
            if length:
                walk.cut(0)
                return False
            break
        walk.skip(length)
    else:
        return False
    while number == PAYLOAD_FOLLOWS and walk.left >= 2:
        head = walk.le16(0)
        walk.skip(2 + (head & 0x7FF))
        if head >> 11 & 15 == LAST_ELEMENT:
            break
    return True


def _beacon(walk: Walk) -> None:
    """7.3.1: superframe (2) | guaranteed slots (1 + 3 each, + 1) | pending addresses (1 + ...) | ZigBee's payload."""
    walk.skip(2)
    slots = walk.u8(0) & 7
    walk.skip(1 + (1 + 3 * slots if slots else 0))
    pending = walk.u8(0)
    walk.skip(1 + (pending & 7) * 2 + (pending >> 4 & 7) * 8)
    if walk.left == 15 and walk.u8(0) == 0:
        walk.rest(layers.ZBEE_BEACON)
    elif walk.left:
        walk.data_rest()


def _payload(walk: Walk) -> None:
    """ZigBee's network frame is told by its control field: version 1 to 3 (bits 2-5), type data, command or inter-PAN."""
    head = walk.le16(0) if walk.left >= 2 else 0
    kind, version = head & 3, head >> 2 & 15
    if version == 0 or version > 3 or kind == 2 or (kind != 3 and walk.left < 8):
        walk.data_rest()
        return
    walk.name(layers.ZBEE_NWK, walk.left)
    if kind == 3:
        walk.skip(2)
        _application(walk)
        return
    size = 8
    if kind == 0 or kind == 1:
        size += 8 * (head >> 11 & 1) + 8 * (head >> 12 & 1)
    if head & 0x0100:
        size += 1
    if head & 0x0400 and walk.left > size:  # source route: count, index, addresses
        size += 2 + 2 * walk.u8(size)
    if head & 0x0200 or kind == 1:  # secured, or a command of its own
        walk.done()
        return
    walk.skip(size)
    _application(walk)


def _application(walk: Walk) -> None:
    """ZigBee APS: 0 control (type, delivery) ...; unsecured data of a profile carry a cluster frame."""
    if not walk.left:
        walk.done()
        return
    walk.name(layers.ZBEE_APS, walk.left)
    control = walk.u8(0)
    kind, delivery = control & 3, control >> 2 & 3
    if control & 0x20 or kind in (1, 2):
        walk.done()
        return
    if kind == 3:  # inter-PAN: 1 group if delivered to one | cluster (2), profile (2)
        size = 1 + (2 if delivery == 3 else 0) + 4
    else:  # destination endpoint or group | cluster (2), profile (2) | source endpoint | counter
        size = 1 + (2 if delivery == 3 else 1) + 4 + 1 + 1
    profile = walk.le16(size - 2 - (0 if kind == 3 else 2))
    walk.skip(size)
    if profile == 0:
        walk.rest(layers.ZBEE_ZDP)
    else:
        walk.rest(layers.ZBEE_ZCL)


LINKS: dict[int, Callable[[Walk], None]] = {195: with_checksum, 230: without_checksum, 283: tap}
