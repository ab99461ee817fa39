"""Shims between Ethernet and what it carries: service chains, provider backbones, ring redundancy, MACsec, mirrors.

In: a `Walk` behind the ethertype, IP protocol or UDP port that named the shim. Out: its layer, and the inner frame or
packet for the kernel to go on with.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.decode import state, wlan, wpan
from analysis.decode.state import LEAF, TRAILER
from analysis.decode.walker import Walk

NSH_NEXT = {1: state.IPV4, 2: state.IPV6, 3: state.ETHERNET, 5: state.MPLS}


def _tagged(layer: int, size: int) -> Callable[[Walk], None]:
    """A tag of `size` bytes whose last two are the ethertype of what follows."""

    def dissect(walk: Walk) -> None:
        kind = walk.u16(size - 2)
        walk.layer(layer, size)
        walk.s[TRAILER] = -1
        walk.go(state.ETHERTYPE, kind)

    return dissect


def _before(layer: int, size: int, code: int) -> Callable[[Walk], None]:
    """A header of `size` bytes, always before the same."""

    def dissect(walk: Walk) -> None:
        walk.layer(layer, size)
        walk.s[TRAILER] = -1
        walk.go(code)

    return dissect


def service_header(walk: Walk) -> None:
    """NSH (RFC 8300 2.2): 0 version, flags, TTL, length in words (6 bits) | 2 metadata type | 3 next protocol."""
    size, following = (walk.u8(1) & 0x3F) * 4, walk.u8(3)
    walk.layer(layers.NSH, max(size, 8))
    _go_on(walk, following)


def _go_on(walk: Walk, following: int) -> None:
    """What IANA's NSH next protocol numbers name; VXLAN-GPE uses the same."""
    walk.s[TRAILER] = -1
    walk.go(state.NSH if following == 4 else NSH_NEXT.get(following, LEAF + layers.DATA))


def generic_vxlan(walk: Walk) -> None:
    """VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe): 0 flags | 3 next protocol | 4 network id."""
    following = walk.u8(3)
    walk.layer(layers.VXLAN, 8)
    _go_on(walk, following)


def sniffer(walk: Walk) -> None:
    """TZSP: 0 version | 1 type | 2 encapsulation (2) | tags of number, length, value; 0 pads, 1 ends."""
    kind, encapsulation = walk.u8(1), walk.u16(2)
    size = 4
    if kind not in (0, 1):  # keep-alive, port opener: nothing inside
        walk.rest(layers.TZSP)
        return
    while (tag := walk.u8(size)) != 1:
        size += 1 if tag == 0 else 2 + walk.u8(size + 1)
    walk.layer(layers.TZSP, size + 1)
    walk.s[TRAILER] = -1
    walk.go({1: state.ETHERNET, 18: state.LINK}.get(encapsulation, LEAF + layers.DATA), 105)


def secured(walk: Walk) -> None:
    """MACsec (802.1AE 9.3): 0 flags (0x20: an 8-byte channel id; 0x0c: encrypted, changed) | 2 packet number; behind
    the data, 16 bytes of integrity check, which belong to no layer."""
    flags = walk.u8(0)
    size = 14 if flags & 0x20 else 6
    encrypted = flags & 0x0C
    kind = 0 if encrypted else walk.u16(size)
    walk.need(size + 16)
    walk.name(layers.MACSEC, size if encrypted else size + 2)
    walk.skip(size if encrypted else size + 2)
    inner = walk.left - 16
    walk.s[TRAILER] = -1
    walk.s[state.END] -= 16
    walk.s[state.LIMIT] = min(walk.s[state.LIMIT], walk.s[state.END])
    if encrypted or inner <= 0:
        walk.data_rest()
    else:
        walk.go(state.ETHERTYPE, kind)


def backbone(walk: Walk) -> None:
    """802.1ah: 0 service tag (4) | 4 customer addresses (12) | ethertype (2)."""
    kind = walk.u16(16)
    walk.layer(layers.IEEE8021AH, 18)
    walk.s[TRAILER] = -1
    walk.go(state.ETHERTYPE, kind)


def switch_link(walk: Walk) -> None:
    """Cisco ISL: 0 group (5), type (4 bits), user | 6 source (6) | 12 length behind it (2) | 14 SNAP | 20 VLAN (2) | ...: 26
    bytes before the Ethernet frame with its checksum."""
    kind, size = walk.u8(5) >> 4, walk.u16(12)
    walk.need(26)
    if size:
        walk.trim(14 + size)
    walk.layer(layers.ISL, 26)
    walk.go(state.ETHERNET if kind == 0 else LEAF + layers.DATA)


def timestamped(walk: Walk) -> None:
    """Arista: 0 subtype (2) | 2 version (2): 64 bits of time (x10) or 48 (x20) | ethertype (2)."""
    subtype, version = walk.u16(0), walk.u16(2)
    size = 2
    if subtype == 1:
        size = {0x10: 12, 0x110: 12, 0x20: 10, 0x120: 10}.get(version, 0)
        if not size:
            walk.rest(layers.AVSP)
            return
    kind = walk.u16(size)
    walk.name(layers.AVSP, walk.left)
    walk.skip(size + 2)
    walk.s[TRAILER] = -1
    walk.go(state.ETHERTYPE, kind)


def wireless_tunnel(walk: Walk) -> None:
    """CAPWAP data (RFC 5415 4.3): 0 version, type (4 bits each; 1: DTLS) | 1 header length in words (5 bits), radio (5),
    binding (5), then T native frame, F fragment, L, W, M, K keep-alive | 4 fragment (4) | ..."""
    kind, flags = walk.u8(0) & 15, walk.u8(1) << 16 | walk.u16(2)
    walk.need(8)
    walk.name(layers.CAPWAP_DATA, walk.left)
    size, binding, native = (flags >> 19) * 4, flags >> 9 & 31, flags & 0x100
    if kind == 1:
        walk.skip(4)
        walk.rest(layers.DTLS)
        return
    if flags & 0x88 or size < 8:  # a fragment, a keep-alive
        return
    walk.skip(size)
    walk.s[TRAILER] = -1
    if not native:
        walk.go(state.ETHERNET)
    elif binding == 1:
        wlan.frame(walk, 0, swapped=True)
    else:
        walk.data_rest()


DISSECTORS: dict[int, Callable[[Walk], None]] = {
    state.NSH: service_header,
    state.VXLAN_GPE: generic_vxlan,
    state.TZSP: sniffer,
    state.MACSEC: secured,
    state.BACKBONE: backbone,
    state.ETAG: _tagged(layers.ETAG, 8),
    state.HSR: _tagged(layers.HSR, 6),
    state.CB_TAG: _tagged(layers.IEEE8021CB, 6),
    state.META_DATA: _tagged(layers.CMD, 8),
    state.ETHERIP: _before(layers.ETHERIP, 2, state.ETHERNET),
    state.ISL: switch_link,
    state.FABRIC_PATH: _before(layers.CFP, 16, state.ETHERNET),
    state.TIMESTAMPED: timestamped,
    state.CAPWAP: wireless_tunnel,
    state.SENSOR: wpan.with_checksum,
}
