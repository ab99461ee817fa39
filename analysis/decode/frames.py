"""Records to Packets and Taps: one walk per packet through its headers, by kernels, and the rare rest by Python.

In: `Records` (bytes and their index). Out: `Batch`: packets with layers, taps and header fields; reassembled datagrams
stand behind the chunk's bytes. `Decoder` carries only unfinished IP datagrams from chunk to chunk.
The kernel walks until a layer is none of its own (code from `ODD`); then `slow.py` handles that one layer and the kernel
goes on with the same packet, so that taps stay in packet order. It knows no flow, no stream, no protocol above transport.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from analysis.columns import (
    MAX_LAYERS,
    MAX_TAPS,
    PACKET_COLUMNS,
    TAP_COLUMNS,
    TOO_MANY_LAYERS,
    Array,
    Batch,
    Packets,
    Records,
    Taps,
)
from analysis.decode import state
from analysis.decode.defrag import Fragments
from analysis.decode.ip import authentication, extensions, ipv4, ipv6, protocol_owner
from analysis.decode.link import (
    arp,
    ethernet,
    ethertype,
    ip_any,
    llc,
    mpls,
    null,
    ppp,
    pppoe,
    raw,
    sll,
    sll2,
    vlan,
)
from analysis.decode.slow import dissect
from analysis.decode.state import (
    AT,
    BYTES,
    DONE,
    END,
    EXTENSIONS,
    FAMILY,
    FAULT,
    FRAGMENT,
    FRAGMENTED,
    ICMP_CODE,
    ICMP_TYPE,
    IP_PROTOCOL,
    IP_START,
    IP_TAP,
    LAYERS,
    LEAF,
    LIMIT,
    LINK,
    MAX_STEPS,
    N_LAYERS,
    N_TAPS,
    NAMES8,
    NAMES16,
    NAMES32,
    NAMES64,
    NAMES_U8,
    NEXT,
    ODD,
    PAYLOAD_CAP,
    PAYLOAD_LEN,
    PAYLOAD_START,
    PDUS,
    STEPS,
    TAP_SIZE,
    TAPS,
    TCP_ACK,
    TCP_FLAGS,
    TCP_OPTIONS,
    TCP_SCALE,
    TCP_SEQ,
    TCP_WINDOW,
    TRAILER,
    TRANSPORT,
    TRANSPORT_START,
    TRANSPORT_TAP,
    TTL,
    TYPE,
    forget_transport,
    leaf,
)
from analysis.decode.tables import LINKS, numbers
from analysis.decode.transport import dccp, icmp, icmpv6, sctp, tcp, udp, udplite
from analysis.decode.tunnels import geneve, gre, gtp, teredo, vxlan
from analysis.kernel import enabled, lean_kernel
from analysis.kernel import inner_kernel as kernel

Columns = Any  # arrays (compiled) or memoryviews (interpreted)

FULL = -1  # returned by `walk` in s[NEXT]: the tap columns have no room for another packet


@kernel
def begin(s: Any, at: int, cap_len: int, frame_len: int, fault: int) -> None:
    """A clean notepad for the next packet (tap- and layer slots count as empty by their numbers)."""
    s[AT] = at
    s[END] = at + cap_len
    s[LIMIT] = at + max(frame_len, cap_len)
    s[TRAILER] = -1
    s[FAMILY] = 0
    s[STEPS] = 0
    s[FAULT] = fault
    s[N_LAYERS] = 0
    s[N_TAPS] = 0
    s[IP_START] = -1
    s[IP_TAP] = -1
    s[IP_PROTOCOL] = -1
    s[TTL] = -1
    s[FRAGMENT] = 0
    forget_transport(s)


@kernel
def store(s: Any, i: int, n_taps: int, packets: Any, matrices: Any, taps: Any) -> int:
    """Copy the notepad of packet i into the columns. Returns the number of taps so far.

    Columns of TCP and ICMP hold their absent values already and are written for such packets only.
    """
    p64, p32, p16, p8, u8 = packets
    count = s[N_TAPS]
    p64[0, i] = s[IP_START]
    p64[1, i] = s[TRANSPORT_START]
    p64[2, i] = s[PAYLOAD_START]
    p32[0, i] = s[FAULT]
    p32[1, i] = n_taps if count > 0 else -1
    p32[2, i] = s[IP_TAP] + n_taps if s[IP_TAP] >= 0 else -1
    p32[3, i] = s[TRANSPORT_TAP] + n_taps if s[TRANSPORT_TAP] >= 0 else -1
    p32[4, i] = min(s[PAYLOAD_LEN], 0x7FFFFFFF)  # a frame may claim 4 GiB
    p32[5, i] = s[PAYLOAD_CAP]
    p16[0, i] = s[IP_PROTOCOL]
    p16[1, i] = s[TTL]
    p8[0, i] = s[FRAGMENT]
    u8[0, i] = s[N_LAYERS]
    u8[1, i] = count
    if s[TCP_FLAGS] >= 0:
        p64[3, i] = s[TCP_SEQ]
        p64[4, i] = s[TCP_ACK]
        p32[6, i] = s[TCP_WINDOW]
        p16[2, i] = s[TCP_FLAGS]
        p16[3, i] = s[TCP_OPTIONS]
        p8[1, i] = s[TCP_SCALE]
    elif s[ICMP_TYPE] >= 0:
        p16[4, i] = s[ICMP_TYPE]
        p16[5, i] = s[ICMP_CODE]
    ids, sizes, pdus = matrices
    for k in range(s[N_LAYERS]):
        ids[i, k] = s[LAYERS + k]
        sizes[i, k] = s[BYTES + k]
        pdus[i, k] = s[PDUS + k]
    t64, t32, t8 = taps
    for k in range(count):
        at = TAPS + k * TAP_SIZE
        row = n_taps + k
        t32[0, row] = i
        t8[0, row] = s[at]
        t64[0, row] = s[at + 1]
        t64[1, row] = s[at + 2]
        t64[2, row] = s[at + 3]
        t64[3, row] = s[at + 4]
        t32[1, row] = s[at + 5]
        t32[2, row] = s[at + 6]
        t8[1, row] = s[at + 7]
    return n_taps + count  # type: ignore[no-any-return]


@lean_kernel
def walk(
    first: int,
    data: Any,
    records: Any,
    links: Any,
    tables: Any,
    s: Any,
    packets: Any,
    taps: Any,
    n_taps: int,
    half: int,
) -> tuple[int, int]:
    """Decode packets from `first` on; stop at one that needs Python (s[NEXT] >= ODD) or room for taps (s[NEXT] = FULL).

    `half` is 1 where packet `first` was begun before and goes on as its notepad says. Returns (packet, taps so far).
    """
    start, cap_len, frame_len, link_type, fault = records
    columns, matrices = packets
    room = taps[0].shape[1] - MAX_TAPS
    i = first
    while i < start.shape[0]:
        if half == 0:
            if n_taps > room:
                s[NEXT] = FULL
                return i, n_taps
            kind = link_type[i]
            s[TYPE] = kind
            begin(s, start[i], cap_len[i], frame_len[i], fault[i])
            s[NEXT] = links[kind] if 0 <= kind < links.shape[0] else LINK
        half = 0
        while s[NEXT] != DONE:
            code = s[NEXT]
            if code >= ODD:
                return i, n_taps
            s[STEPS] += 1
            if s[STEPS] > MAX_STEPS:
                s[FAULT] |= TOO_MANY_LAYERS
                s[NEXT] = DONE
                break
            if code == state.IPV4:
                ipv4(data, s, tables)
            elif code == state.TRANSPORT:
                protocol_owner(s, tables)
            elif code == state.TCP:
                tcp(data, s)
            elif code == state.UDP:
                udp(data, s, tables)
            elif code == state.ETHERTYPE:
                ethertype(s, tables)
            elif code >= LEAF:
                leaf(s, code - LEAF, tables)
            elif code == state.IPV6:
                ipv6(data, s)
            elif code == state.ETHERNET:
                ethernet(data, s, tables)
            elif code == state.ARP:
                arp(data, s)
            elif code == state.ICMP:
                icmp(data, s)
            elif code == state.ICMPV6:
                icmpv6(data, s)
            elif code == state.VLAN:
                vlan(data, s, tables)
            elif code == state.LLC:
                llc(data, s, tables)
            elif code == state.MPLS:
                mpls(data, s)
            elif code == state.PPPOES:
                pppoe(data, s)
            elif code == state.PPP:
                ppp(data, s, tables)
            elif code == state.SLL:
                sll(data, s)
            elif code == state.SLL2:
                sll2(data, s)
            elif code == state.NULL:
                null(data, s)
            elif code == state.RAW:
                raw(data, s)
            elif code == state.IP_ANY:
                ip_any(data, s)
            elif code == state.SCTP:
                sctp(data, s)
            elif code == state.GRE:
                gre(data, s)
            elif code == state.AH:
                authentication(data, s)
            elif code == state.DCCP:
                dccp(data, s)
            elif code == state.UDPLITE:
                udplite(data, s)
            elif code == state.VXLAN:
                vxlan(data, s)
            elif code == state.GENEVE:
                geneve(data, s)
            elif code == state.GTP:
                gtp(data, s)
            elif code == state.TEREDO:
                teredo(data, s)
            elif code == state.EXTENSIONS:
                extensions(data, s)
            else:
                s[NEXT] = DONE
        n_taps = store(s, i, n_taps, columns, matrices, taps)
        i += 1
    return i, n_taps


class _Blocks:
    """Columns of one chunk, grouped by dtype: a few arrays for the kernel, each row of them one column."""

    def __init__(self, n: int) -> None:
        self.p64 = np.zeros((len(NAMES64), n), dtype=np.int64)
        self.p32 = np.full((len(NAMES32), n), -1, dtype=np.int32)
        self.p16 = np.full((len(NAMES16), n), -1, dtype=np.int16)
        self.p16[NAMES16.index("tcp_options")] = 0
        self.p8 = np.full((len(NAMES8), n), -1, dtype=np.int8)
        self.u8 = np.empty((len(NAMES_U8), n), dtype=np.uint8)
        self.ids = np.zeros((n, MAX_LAYERS), dtype=np.uint16)
        self.sizes = np.zeros((n, MAX_LAYERS), dtype=np.int32)
        self.pdus = np.zeros((n, MAX_LAYERS), dtype=np.uint16)
        self.room = 4 * n + MAX_TAPS
        self.t64: Array = np.empty((4, self.room), dtype=np.int64)
        self.t32: Array = np.empty((3, self.room), dtype=np.int32)
        self.t8: Array = np.empty((2, self.room), dtype=np.uint8)

    def grow(self) -> None:
        """Twice the room for taps."""
        self.t64, self.t32, self.t8 = (
            np.concatenate((t, np.empty_like(t)), axis=1) for t in (self.t64, self.t32, self.t8)
        )

    def columns(self) -> tuple[Array, ...]:
        return self.p64, self.p32, self.p16, self.p8, self.u8

    def matrices(self) -> tuple[Array, ...]:
        return self.ids, self.sizes, self.pdus

    def taps(self) -> tuple[Array, ...]:
        return self.t64, self.t32, self.t8


def _memory(array: Any) -> memoryview:
    return memoryview(array)


def _view(arrays: tuple[Array, ...]) -> tuple[Any, ...]:
    """The arrays as the kernel wants them: themselves when compiled, else memoryviews (ten times quicker to index)."""
    if enabled():
        return arrays
    return tuple(_memory(a) for a in arrays)


class _Room:
    """The buffers that chunks with reassembled datagrams are copied to: used again as soon as nobody looks at them.

    A fresh one for every chunk costs more in page faults than the whole decoding of the chunk. Two serve a caller who
    still holds the batch before.
    """

    def __init__(self) -> None:
        self._buffers: list[Array] = []

    def of(self, size: int) -> Array:
        """A buffer of at least `size` bytes with nobody else's view on it."""
        for k in range(len(self._buffers)):
            if len(self._buffers[k]) >= size and sys.getrefcount(self._buffers[k]) <= 2:  # the list and the call
                return self._buffers[k]
        self._buffers = self._buffers[-1:] + [np.empty(size + size // 4 + 65536, dtype=np.uint8)]
        return self._buffers[-1]


class _Bytes:
    """A chunk's bytes, and behind them the datagrams reassembled in it; copied only when the first of those comes."""

    def __init__(self, data: Array, room: _Room) -> None:
        self._used = len(data)
        self._room = room
        self._own = False
        self._show(np.ascontiguousarray(data))

    def _show(self, data: Array) -> None:
        self._all = data
        shown = data.view()
        shown.flags.writeable = False  # one compiled form, whoever owns the bytes
        self.octets = _memory(shown)  # for Python
        self.view: Any = shown if enabled() else self.octets  # for the kernel

    def append(self, octets: bytes) -> int:
        """Put a datagram behind the bytes. Returns its offset."""
        at = self._used
        need = at + len(octets)
        if not self._own or need > len(self._all):
            larger = self._room.of(need + need // 8)
            larger[:at] = self._all[:at]
            self._own = True
            self._show(larger)
        self._all[at:need] = np.frombuffer(octets, dtype=np.uint8)
        self._used = need
        return at

    @property
    def data(self) -> Array:
        """All bytes so far, read-only."""
        shown = self._all[: self._used]
        shown.flags.writeable = False
        return shown


class Decoder:
    """Decodes chunks in order; one per capture (or per part of it that is decoded alone)."""

    def __init__(self) -> None:
        tables = numbers()
        links = np.full(300, LINK, dtype=np.int16)
        for kind, code in LINKS.items():
            links[kind] = code
        self._tables: Any = tables
        self._links: Any = links
        self._s: Any = np.zeros(state.SIZE, dtype=np.int64)
        self.fragments = Fragments()
        self._room = _Room()
        self._slots: Any = self._s  # the same notepad as Python's dissectors see it
        if enabled():
            self._slots = _memory(self._s)
        else:
            self._tables, self._links, self._s = tables.tolist(), _memory(links), [0] * state.SIZE
            self._slots = self._s

    def update(self, records: Records) -> Batch:
        """Decode one chunk. Never raises for what is in a packet: that becomes a fault bit or a layer of its own."""
        n = len(records.start)
        chunk = _Bytes(records.data, self._room)
        blocks = _Blocks(n)
        index = _view((records.start, records.cap_len, records.frame_len, records.link_type, records.fault))
        columns, matrices, taps = _view(blocks.columns()), _view(blocks.matrices()), _view(blocks.taps())
        s = self._s
        i = n_taps = half = 0
        while True:
            data = chunk.view
            i, n_taps = walk(i, data, index, self._links, self._tables, s, (columns, matrices), taps, n_taps, half)
            if i >= n:
                break
            if s[NEXT] == FULL:
                blocks.grow()
                taps = _view(blocks.taps())
                half = 0
                continue
            half = 1
            if s[NEXT] == FRAGMENTED:
                self._fragment(chunk)
            else:
                dissect(chunk.octets, self._slots)
        return Batch(chunk.data, _packets(records, blocks), _taps(blocks, n_taps))

    def _fragment(self, chunk: _Bytes) -> None:
        """Take one fragment; where it completes its datagram, go on in the reassembled bytes."""
        s = self._slots
        whole = self.fragments.take(chunk.octets, s)
        if whole is None:
            return
        s[AT] = chunk.append(whole)
        s[END] = s[LIMIT] = s[AT] + len(whole)
        s[FRAGMENT] = 2
        s[NEXT] = TRANSPORT
        if s[FAMILY] == 6:  # Wireshark counts the fragment header to the layer in this frame only
            s[BYTES + s[N_LAYERS] - 1] += 8
            s[NEXT] = EXTENSIONS


def _packets(records: Records, blocks: _Blocks) -> Packets:
    columns: dict[str, Array] = {name: getattr(records, name) for name in records._fields if name in Packets._fields}
    for block, names in (
        (blocks.p64, NAMES64),
        (blocks.p32, NAMES32),
        (blocks.p16, NAMES16),
        (blocks.p8, NAMES8),
        (blocks.u8, NAMES_U8),
    ):
        columns.update(zip(names, block, strict=True))
    columns.update(layers=blocks.ids, layer_bytes=blocks.sizes, layer_pdus=blocks.pdus)
    n = len(records.start)
    for column in PACKET_COLUMNS:
        if column.name not in columns:
            columns[column.name] = np.full(n, column.absent, dtype=column.dtype)
    return Packets(**columns)


def _taps(blocks: _Blocks, m: int) -> Taps:
    columns = dict(zip(("src_hi", "src_lo", "dst_hi", "dst_lo"), blocks.t64[:, :m], strict=True))
    columns.update(zip(("packet", "src_port", "dst_port"), blocks.t32[:, :m], strict=True))
    columns.update(zip(("kind", "ip_family"), blocks.t8[:, :m], strict=True))
    for column in TAP_COLUMNS:
        if column.name not in columns:
            columns[column.name] = np.full(m, column.absent, dtype=column.dtype)
    return Taps(**columns)
