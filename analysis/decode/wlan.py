"""IEEE 802.11: bare frames, and behind radiotap, PPI and Prism headers.

In: a `Walk` at the capture header. Out: layers as Wireshark shows them: capture header, `wlan_radio` (no bytes of its
own), `wlan` with the MAC header, then `wlan.mgt`, LLC, or `data` where the body is encrypted.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.decode import state
from analysis.decode.state import END, LEAF, LIMIT
from analysis.decode.walker import Cut, Walk

FCS_AT_END, PADDED, BAD_FCS = 1, 2, 4  # what a capture header says of the frame

# MAC headers of control frames (IEEE 802.11 9.3.1) by subtype; the others are as long as they are.
# Header bytes of control frames by subtype (IEEE 802.11 9.3.1), as Wireshark counts them; a trigger is header as a whole.
CONTROL_SIZES = {3: 22, 4: 17, 5: 19, 8: 16, 9: 16, 10: 16, 11: 16, 12: 10, 13: 10, 14: 16, 15: 16}


def bare(walk: Walk) -> None:
    """LINKTYPE_IEEE802_11: no capture header."""
    frame(walk, 0)


def radiotap(walk: Walk) -> None:
    """radiotap.org: 0 version | 2 length (2, little endian) | 4 present words (4 each, bit 31: another) | fields."""
    size = walk.le16(2) if walk.left >= 4 else 8
    if size < 8:
        walk.name(layers.RADIOTAP, 0)
        walk.done()
        return
    if size > walk.wire_left:
        walk.name(layers.RADIOTAP, walk.left)
        raise Cut
    flags = _radiotap_flags(walk, size)
    walk.layer(layers.RADIOTAP, size)
    walk.name(layers.WLAN_RADIO, 0)
    frame(walk, flags)


def _radiotap_flags(walk: Walk, size: int) -> int:
    """The field Flags (bit 1) stands behind TSFT (bit 0, 8 bytes, aligned to 8)."""
    present = walk.le32(4)
    at = 8
    word = present
    while word & 0x80000000 and at + 4 <= size:
        word = walk.le32(at)
        at += 4
    if not present & 2:
        return 0
    if present & 1:
        at = (at + 7) // 8 * 8 + 8
    if at >= size:
        return 0
    flags = walk.u8(at)
    return (FCS_AT_END if flags & 0x10 else 0) | (PADDED if flags & 0x20 else 0)


def ppi(walk: Walk) -> None:
    """Per-packet information: 0 version, flags | 2 length (2) | 4 link type (4) | fields: type (2), length (2), value; all little endian."""
    size, link = walk.le16(2), walk.le32(4)
    flags = 0
    at = 8
    while at + 4 <= min(size, walk.left):
        kind, length = walk.le16(at), walk.le16(at + 2)
        if kind == 2 and length >= 10 and at + 14 <= walk.left:  # 802.11-common: 8 flags (2)
            common = walk.le16(at + 12)
            flags = (FCS_AT_END if common & 1 else 0) | (BAD_FCS if common & 4 else 0)
        at += 4 + length
    walk.layer(layers.PPI, size)
    if link == 105:
        walk.name(layers.WLAN_RADIO, 0)
        frame(walk, flags)
    else:
        walk.go(state.LINK, link)


def prism(walk: Walk) -> None:
    """Prism monitor header: 0 message code (4) | 4 length (4, little endian); an AVS header is told by 0x8021100x."""
    if walk.u32(0) & 0xFFFFF000 == 0x80211000:
        size = walk.u32(4)
    else:
        size = walk.le32(4)
    walk.layer(layers.PRISM, min(size, walk.left))
    walk.name(layers.WLAN_RADIO, 0)
    frame(walk, 0)


def frame(walk: Walk, flags: int, *, swapped: bool = False) -> None:
    """IEEE 802.11 9.2.3: 0 frame control (2) | 2 duration (2) | 4 addresses | 22 sequence (2) | address 4, QoS, HT control.

    Access points of some makers send the two bytes of frame control the other way round (`swapped`).
    """
    if flags & BAD_FCS:
        walk.rest(layers.WLAN)
        return
    if flags & FCS_AT_END:
        s = walk.s
        s[LIMIT] -= 4
        s[END] = min(s[END], s[LIMIT])
    control = walk.u16(0) if swapped else walk.le16(0)
    kind, subtype = control >> 2 & 3, control >> 4 & 15
    if kind == 0:
        walk.layer(layers.WLAN, 28 if control & 0x8000 else 24)
        if control & 0x4000:
            _protected(walk)
        else:
            walk.rest(layers.WLAN_MGT)
    elif kind == 1:
        walk.layer(layers.WLAN, min(CONTROL_SIZES.get(subtype, walk.left), max(walk.left, 10)))
        walk.done()
    elif kind == 2:
        _data(walk, control, subtype, flags)
    else:
        walk.rest(layers.WLAN)


def _data(walk: Walk, control: int, subtype: int, flags: int) -> None:
    """A data frame's header, then LLC, aggregated frames, or `data` where it is encrypted."""
    size = 30 if control & 0x0300 == 0x0300 else 24
    aggregate = False
    if subtype & 8:
        if walk.left >= size + 1:
            aggregate = walk.u8(size) & 0x80 != 0
        size += 2
        if control & 0x8000:
            size += 4
    fragment = walk.le16(22) & 15 if walk.left >= 24 else 0
    walk.layer(layers.WLAN, size)
    if flags & PADDED and size % 4:
        walk.skip(min(walk.left, 4 - size % 4))
    if subtype & 4 or not walk.left:
        walk.done()
    elif control & 0x4000:
        _protected(walk)
    elif fragment or control & 0x0400:
        walk.go(LEAF + layers.DATA)
    elif aggregate:
        walk.rest(layers.WLAN_AGGREGATE)
    elif walk.left >= 2 and walk.u16(0) == 0xFFFF:
        walk.go(state.IPX)
    else:
        walk.go(state.LLC)


def _protected(walk: Walk) -> None:
    """WEP's vector (4) and check value (4) belong to nobody; the longer one of TKIP and CCMP (8, bit 5 of byte 3) to `wlan`."""
    if walk.left > 8 and walk.u8(3) & 0x20:
        walk.more(8)
    elif walk.left > 8:
        walk.skip(4)
        s = walk.s
        s[LIMIT] -= 4
        s[END] = min(s[END], s[LIMIT])
    walk.go(LEAF + layers.DATA)


LINKS: dict[int, Callable[[Walk], None]] = {105: bare, 119: prism, 127: radiotap, 163: prism, 192: ppi}
