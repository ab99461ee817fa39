"""What a packet filter sees of each packet: the outermost IP header and the transport header behind it, as columns.

In: `analysis.columns.Batch` (bytes and packet columns). Out: `Headers`, one row per packet that has an outer IP header
and would reach a rule. Inner layers of tunnels are not looked at: a firewall on the path does not see them either.
Fields that a packet lacks are -1. Must not know rules; judges nothing.

Sources: RFC 791 3.1, RFC 8200 3-4, RFC 9293 3.1; what the kernel refuses before any rule: ip_rcv, ipv6_rcv.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.columns import Batch

Array = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Headers.transport: what can be said of the fields above IP
WHOLE, NONE, SHORT, CUT = range(
    4
)  # NONE: later fragment, or no such header; SHORT: the datagram ends; CUT: the capture
ETHERNET = 1
MINIMUM = {1: 8, 6: 20, 17: 8, 33: 12, 58: 8, 132: 12, 136: 8}  # bytes a match module wants (xt_tcpudp, xt_multiport …)
EXTENSIONS = (0, 43, 44, 51, 60)  # ipv6_ext_hdr(); 59 ("no next header") ends the chain
EXTENSIONS_MAX = 16  # a chain longer than this is answered as cut: the kernel walks on, an attacker pays for it
NOT_REACHING = (
    "not_ip",
    "bad_ip_header",
    "bad_checksum",
    "truncated",
    "impossible_address",
)  # why a packet meets no rule at all


class Headers(NamedTuple):
    """n packets; every column int64[n]. Addresses are two words as in analysis.columns."""

    row: Array  # row in Batch.packets
    number: Array  # frame number
    time_ns: Array
    start: Array  # first byte of the outer IP header in Batch.data
    captured: Array  # bytes of the IP packet that the capture holds
    length: Array  # bytes of the IP packet, as counters count them
    family: Array  # 4 or 6
    src_hi: Array
    src_lo: Array
    dst_hi: Array
    dst_lo: Array
    proto: Array  # behind extension headers; -1 where the chain is cut
    ttl: Array
    fragment: Array  # 0 whole, 1 first fragment, 2 later fragment
    transport: Array  # WHOLE, NONE, SHORT, CUT
    transport_at: Array  # offset in Batch.data, -1 none
    payload_at: Array  # first byte behind the IP headers; of a fragment: behind its fragment header
    sport: Array
    dport: Array
    icmp: Array  # type * 256 + code
    flags: Array  # TCP flags, 9 bits
    icmp_id: Array  # identifier of echo and its kin
    src_mac: Array  # 48 bits, -1 where the link layer is not Ethernet
    flow: Array  # Packets.flow, -1 none; the fragments of a datagram share one


def read(batch: Batch) -> tuple[Headers, dict[str, int]]:
    """The headers of a batch, and how many packets meet no rule, by reason (NOT_REACHING)."""
    p = batch.packets
    data = batch.data
    lost = {"not_ip": int(np.count_nonzero(p.ip_start < 0))}
    rows = np.flatnonzero(p.ip_start >= 0).astype(np.int64)
    start = p.ip_start[rows].astype(np.int64)
    end = p.start[rows].astype(np.int64) + p.cap_len[rows]
    rows, start, end = _keep((end - start >= 20) & (start >= p.start[rows]), rows, start, end, lost, "truncated")
    version = u8(data, start) >> 4
    whole = (version == 4) | ((version == 6) & (end - start >= 40))
    rows, start, end = _keep(whole, rows, start, end, lost, "bad_ip_header")
    version = u8(data, start) >> 4

    wire = p.frame_len[rows].astype(np.int64) - (start - p.start[rows])
    four = version == 4
    header = np.where(four, (u8(data, start) & 15) * 4, 40)
    stated = np.where(four, u16(data, start + 2), u16(data, start + 4) + 40)
    length = np.where((stated == 0) | (~four & (stated == 40) & (u8(data, start + 6) == 6)), wire, stated)  # offload
    good = (header >= 20) & (length >= header) & (end - start >= header)
    keep = good & (length <= wire)
    checksum = np.ones(len(rows), bool)
    at4 = np.flatnonzero(four & good)
    checksum[at4] = _checksum_good(data, start[at4], header[at4])
    lost["bad_ip_header"] += int(np.count_nonzero(~good))
    lost["truncated"] += int(np.count_nonzero(good & ~keep))
    lost["bad_checksum"] = int(np.count_nonzero(keep & ~checksum))
    keep &= checksum
    refused = keep & ~four & _refused6(data, start)
    lost["impossible_address"] = int(np.count_nonzero(refused))
    keep &= ~refused
    rows, start, end, length, header = (a[keep] for a in (rows, start, end, length, header))
    return _fields(batch, rows, start, end, length, header, four[keep]), lost


def _keep(
    keep: Mask, rows: Array, start: Array, end: Array, lost: dict[str, int], reason: str
) -> tuple[Array, Array, Array]:
    lost[reason] = lost.get(reason, 0) + int(np.count_nonzero(~keep))
    return rows[keep], start[keep], end[keep]


def _fields(batch: Batch, rows: Array, start: Array, end: Array, length: Array, header: Array, four: Mask) -> Headers:
    p, data = batch.packets, batch.data
    words = [_address_words(data, start, four, offset4, offset6) for offset4, offset6 in ((12, 8), (16, 24))]
    proto, at, offset, more, payload_at = _walk(data, start, end, header, four)
    fragment = np.where(offset > 0, 2, np.where(more, 1, 0))
    captured = np.minimum(end - start, length)
    need = _minimum(proto)
    room, seen = start + length - at, start + captured - at
    transport = np.full(len(rows), WHOLE, np.int64)
    transport[(need == 0) | (fragment == 2)] = NONE
    transport[(transport == WHOLE) & (seen < need)] = CUT
    transport[(transport == CUT) & (room < need)] = SHORT
    transport[proto < 0] = np.where(room[proto < 0] > seen[proto < 0], CUT, SHORT)
    ok = transport == WHOLE
    some = ok | (transport == SHORT)  # of a datagram that ends early, nft still reads what is there
    ported = some & np.isin(proto, (6, 17, 33, 132, 136))
    icmp = some & ((proto == 1) | (proto == 58))
    tcp = some & (proto == 6)
    n = len(rows)
    src_mac = np.full(n, -1, np.int64)
    ether = (p.link_type[rows] == ETHERNET) & (start - p.start[rows] >= 14)
    mac_at = p.start[rows][ether].astype(np.int64) + 6
    src_mac[ether] = sum((u8(data, mac_at + i) << (40 - 8 * i) for i in range(6)), np.zeros(len(mac_at), np.int64))
    return Headers(
        rows,
        p.number[rows].astype(np.int64),
        p.time_ns[rows].astype(np.int64),
        start,
        captured,
        length,
        np.where(four, 4, 6),
        words[0][0],
        words[0][1],
        words[1][0],
        words[1][1],
        proto,
        np.where(four, u8(data, start + 8), u8(data, start + 7)),
        fragment,
        transport,
        np.where(transport == NONE, -1, at),
        payload_at,
        _where(ported & (seen >= 2), data, at),
        _where(ported & (seen >= 4), data, at + 2),
        _where(icmp & (seen >= 2), data, at),
        _where(tcp & (seen >= 14), data, at + 12, 0x1FF),
        _where(icmp & (seen >= 6), data, at + 4),
        src_mac,
        _flows(p.flow[rows].astype(np.int64), data, start, four & (fragment > 0), proto),
    )


def _flows(flow: Array, data: Array, start: Array, fragments: Mask, proto: Array) -> Array:
    """Flows per packet; IPv4 fragments of a datagram share that of the last one, where it was put together."""
    at = np.flatnonzero(fragments)
    if not len(at):
        return flow
    sides = [(u16(data, start[at] + i) << 16) | u16(data, start[at] + i + 2) for i in (12, 16)]
    key = np.stack([*sides, (u16(data, start[at] + 4) << 8) | proto[at]], axis=1)
    _, inverse = np.unique(key, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    last = np.zeros(int(inverse.max()) + 1, np.int64)
    np.maximum.at(last, inverse, np.arange(len(at)))
    out = flow.copy()
    out[at] = flow[at[last[inverse]]]
    return out


def _walk(data: Array, start: Array, end: Array, header: Array, four: Mask) -> tuple[Array, Array, Array, Mask, Array]:
    """(protocol, transport offset, fragment offset, more-fragments bit, start of what is fragmented)."""
    proto = np.where(four, u8(data, start + 9), u8(data, start + 6))
    at = start + header
    word = u16(data, start + 6)
    offset = np.where(four, word & 0x1FFF, 0)
    more = four & (word & 0x2000 > 0)
    payload_at = np.full(len(start), -1, np.int64)
    active = np.flatnonzero(~four & np.isin(proto, EXTENSIONS))
    for _ in range(EXTENSIONS_MAX):
        if not len(active):
            break
        here = at[active]
        cut = here + 8 > end[active]
        proto[active[cut]] = -1
        active, here = active[~cut], here[~cut]
        kind, units = proto[active], u8(data, here + 1)
        is_fragment = kind == 44
        word = u16(data, here + 2)
        offset[active[is_fragment]] = (word >> 3)[is_fragment]
        payload_at[active[is_fragment]] = here[is_fragment] + 8
        more[active[is_fragment]] = (word & 1 > 0)[is_fragment]
        size = np.where(is_fragment, 8, np.where(kind == 51, (units + 2) * 4, (units + 1) * 8))
        proto[active] = u8(data, here)
        at[active] = here + size
        later = is_fragment & (word >> 3 > 0)
        bad = later & np.isin(proto[active], EXTENSIONS)  # an extension header in a later fragment cannot be walked
        proto[active[bad]] = -1
        active = active[~later & np.isin(proto[active], EXTENSIONS)]
    proto[active] = -1
    return proto, at, offset, more, np.where(payload_at < 0, at, payload_at)


def _address_words(data: Array, start: Array, four: Mask, offset4: int, offset6: int) -> tuple[Array, Array]:
    high, low = np.zeros(len(start), np.int64), np.zeros(len(start), np.int64)
    at = start[four] + offset4
    low[four] = (u16(data, at) << 16) | u16(data, at + 2)
    at = start[~four] + offset6
    for words, shift in ((high, 0), (low, 8)):
        value = np.zeros(len(at), np.uint64)
        for i in range(4):
            value = (value << np.uint64(16)) | u16(data, at + shift + 2 * i).astype(np.uint64)
        words[~four] = value.view(np.int64)
    return high, low


def _checksum_good(data: Array, start: Array, header: Array) -> Mask:
    """True where the IPv4 header checksum is right, or zero (left to the network card, as captures of a sender show)."""
    total = np.zeros(len(start), np.int64)
    for i in range(0, 60, 2):
        inside = header > i
        total[inside] += u16(data, start[inside] + i)
    folded = (total & 0xFFFF) + (total >> 16)
    folded = (folded & 0xFFFF) + (folded >> 16)
    right: Mask = (folded == 0xFFFF) | (u16(data, start + 10) == 0)
    return right


def _refused6(data: Array, start: Array) -> Mask:
    """Addresses that ipv6_rcv throws away on a real link: ::1, a multicast or v4-mapped source, multicast scope 0 or 1."""
    multicast = u8(data, start + 24) == 0xFF
    scope = u8(data, start + 25) & 15
    out: Mask = (u8(data, start + 8) == 0xFF) | (multicast & (scope < 2))
    for at in (8, 24):
        head = sum((u16(data, start + at + i) for i in range(0, 10, 2)), np.zeros(len(start), np.int64))
        middle, tail = u16(data, start + at + 10), u16(data, start + at + 12)
        loop = (head + middle + tail == 0) & (u16(data, start + at + 14) == 1)
        out |= loop | ((head == 0) & (middle == 0xFFFF) & (at == 8))
    return out


def _minimum(proto: Array) -> Array:
    need = np.zeros(256, np.int64)
    for number, size in MINIMUM.items():
        need[number] = size
    return np.where(proto < 0, 0, need[np.clip(proto, 0, 255)])


def _where(mask: Mask, data: Array, at: Array, bits: int = 0xFFFF) -> Array:
    out = np.full(len(at), -1, np.int64)
    out[mask] = u16(data, at[mask]) & bits
    return out


def u8(data: Array, at: Array) -> Array:
    """Bytes at offsets; offsets outside the buffer give 0 (callers mask what they must not use)."""
    inside = (at >= 0) & (at < len(data))
    if inside.all():
        return data[at].astype(np.int64)
    out = np.zeros(len(at), np.int64)
    out[inside] = data[at[inside]]
    return out


def u16(data: Array, at: Array) -> Array:
    return (u8(data, at) << 8) | u8(data, at + 1)
