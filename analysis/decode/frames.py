"""Records to Packets and Taps: one walk per packet through its headers, by kernels, and the rare rest by Python.

In: `Records` (bytes and their index). Out: `Batch`: packets with layers, taps and header fields; reassembled datagrams
stand behind the chunk's bytes. `Decoder` carries only unfinished IP datagrams from chunk to chunk.
Where a layer is none of the kernel's own (code from `ODD`) the packet waits with its notepad and the kernel takes the
next one. Then `slow.py` handles that one layer of every packet that waits and the kernel goes on with them; in the end
the taps are put into packet order. It knows no flow, no stream, no protocol above transport.
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
from analysis.kernel import compiles, lean_kernel
from analysis.kernel import inner_kernel as kernel

Columns = Any  # arrays (compiled) or memoryviews (interpreted)

PADS = 1024  # packets that wait at once for Python; between them and it the interpreter lock changes hands once


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

    The arrays are flat: a column behind the other, in the matrices a packet behind the other. Columns of TCP and ICMP
    hold their absent values already and are written for such packets only.
    """
    p64, p32, p16, p8, u8 = packets
    count = s[N_TAPS]
    n = len(p8) // len(NAMES8)
    second = n + i
    third = n + second
    fourth = n + third
    fifth = n + fourth
    p64[i] = s[IP_START]
    p64[second] = s[TRANSPORT_START]
    p64[third] = s[PAYLOAD_START]
    p32[i] = s[FAULT]
    p32[second] = n_taps if count > 0 else -1
    p32[third] = s[IP_TAP] + n_taps if s[IP_TAP] >= 0 else -1
    p32[fourth] = s[TRANSPORT_TAP] + n_taps if s[TRANSPORT_TAP] >= 0 else -1
    p32[fifth] = min(s[PAYLOAD_LEN], 0x7FFFFFFF)  # a frame may claim 4 GiB
    p32[n + fifth] = s[PAYLOAD_CAP]
    p16[i] = s[IP_PROTOCOL]
    p16[second] = s[TTL]
    p8[i] = s[FRAGMENT]
    u8[i] = s[N_LAYERS]
    u8[second] = count
    if s[TCP_FLAGS] >= 0:
        p64[fourth] = s[TCP_SEQ]
        p64[fifth] = s[TCP_ACK]
        p32[2 * n + fifth] = s[TCP_WINDOW]
        p16[third] = s[TCP_FLAGS]
        p16[fourth] = s[TCP_OPTIONS]
        p8[second] = s[TCP_SCALE]
    elif s[ICMP_TYPE] >= 0:
        p16[fifth] = s[ICMP_TYPE]
        p16[n + fifth] = s[ICMP_CODE]
    ids, sizes, pdus = matrices
    at = i * MAX_LAYERS
    for k in range(s[N_LAYERS]):
        ids[at + k] = s[LAYERS + k]
        sizes[at + k] = s[BYTES + k]
        pdus[at + k] = s[PDUS + k]
    t64, t32, t8 = taps
    room = len(t8) // 2
    for k in range(count):
        at = TAPS + k * TAP_SIZE
        row = n_taps + k
        t32[row] = i
        t8[row] = s[at]
        t64[row] = s[at + 1]
        t64[room + row] = s[at + 2]
        t64[2 * room + row] = s[at + 3]
        t64[3 * room + row] = s[at + 4]
        t32[room + row] = s[at + 5]
        t32[2 * room + row] = s[at + 6]
        t8[room + row] = s[at + 7]
    return n_taps + count  # type: ignore[no-any-return]


@kernel
def layers_of(data: Any, s: Any, tables: Any) -> None:
    """Walk one packet from s[NEXT] to its end (s[NEXT] = DONE) or to a layer that needs Python (s[NEXT] >= ODD)."""
    while s[NEXT] != DONE:
        code = s[NEXT]
        if code >= ODD:
            return
        s[STEPS] += 1
        if s[STEPS] > MAX_STEPS:
            s[FAULT] |= TOO_MANY_LAYERS
            s[NEXT] = DONE
            return
        if code == state.ETHERNET:
            ethernet(data, s, tables)
        elif code == state.IPV4:
            ipv4(data, s, tables)
        elif code == state.TCP:
            tcp(data, s)
        elif code == state.UDP:
            udp(data, s, tables)
        elif code >= LEAF:
            leaf(s, code - LEAF, tables)
        elif code == state.TRANSPORT:
            protocol_owner(s, tables)
        elif code == state.ETHERTYPE:
            ethertype(s, tables)
        elif code == state.IPV6:
            ipv6(data, s)
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
        elif code == EXTENSIONS:
            extensions(data, s)
        else:
            s[NEXT] = DONE


@lean_kernel
def walk(
    first: int,
    data: Any,
    records: Any,
    links: Any,
    tables: Any,
    pads: Any,
    waiting: Any,
    n_waiting: int,
    packets: Any,
    taps: Any,
    n_taps: int,
) -> tuple[int, int, int]:
    """Decode packets from `first` on, or, where some wait, go on with those.

    A packet that comes to a layer for Python keeps its notepad pads[k], its number goes to waiting[k], and the next
    packet takes the pad behind it. Returns (next packet, taps so far, packets that wait); it is short of the end
    where no pad is left, or no room for another packet's taps. A call with `n_waiting` packets begins none: those of
    them that come to their end leave -1 in `waiting`; the caller has made room for their taps.
    """
    columns, matrices = packets
    for k in range(n_waiting):
        if waiting[k] >= 0:
            s = pads[k]
            layers_of(data, s, tables)
            if s[NEXT] == DONE:
                n_taps = store(s, waiting[k], n_taps, columns, matrices, taps)
                waiting[k] = -1
    if n_waiting > 0:
        return first, n_taps, n_waiting
    start, cap_len, frame_len, link_type, fault = records
    room = len(taps[2]) // 2 - MAX_TAPS
    i = first
    while i < start.shape[0] and n_waiting < len(pads) and n_taps <= room:
        s = pads[n_waiting]
        kind = link_type[i]
        s[TYPE] = kind
        begin(s, start[i], cap_len[i], frame_len[i], fault[i])
        s[NEXT] = links[kind] if 0 <= kind < links.shape[0] else LINK
        layers_of(data, s, tables)
        if s[NEXT] == DONE:
            n_taps = store(s, i, n_taps, columns, matrices, taps)
        else:
            waiting[n_waiting] = i
            n_waiting += 1
        i += 1
    return i, n_taps, n_waiting


def _flat(*blocks: Array) -> tuple[Array, ...]:
    return tuple(block.reshape(-1) for block in blocks)  # views


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

    def reserve(self, taps: int) -> None:
        """Room for `taps` taps and those of one packet more."""
        while self.room < taps + MAX_TAPS:
            self.t64, self.t32, self.t8 = (
                np.concatenate((t, np.empty_like(t)), axis=1) for t in (self.t64, self.t32, self.t8)
            )
            self.room *= 2

    def sort_taps(self, n_taps: int) -> None:
        """Put the taps into the order of their packets: those of packets that waited came behind later ones."""
        packet = self.t32[0, :n_taps]
        if n_taps < 2 or bool((packet[1:] >= packet[:-1]).all()):
            return
        order = np.argsort(packet, kind="stable")
        for block in (self.t64, self.t32, self.t8):
            block[:, :n_taps] = block[:, order]
        counts = self.u8[NAMES_U8.index("n_taps")].astype(np.int32)
        first = self.p32[NAMES32.index("first_tap")]
        moved = np.where(counts > 0, np.cumsum(counts, dtype=np.int32) - counts - first, 0)
        for name in ("first_tap", "ip_tap", "transport_tap"):
            column = self.p32[NAMES32.index(name)]
            column[column >= 0] += moved[column >= 0]

    def columns(self) -> tuple[Array, ...]:
        return _flat(self.p64, self.p32, self.p16, self.p8, self.u8)

    def matrices(self) -> tuple[Array, ...]:
        return _flat(self.ids, self.sizes, self.pdus)

    def taps(self) -> tuple[Array, ...]:
        return _flat(self.t64, self.t32, self.t8)


def _memory(array: Any) -> memoryview:
    return memoryview(array)


def _view(arrays: tuple[Array, ...]) -> tuple[Any, ...]:
    """The arrays as the kernel wants them: themselves when compiled, else memoryviews (ten times quicker to index)."""
    if compiles(__name__):
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
        # For the kernel: itself where that is compiled, else the quickest to read, unless every datagram makes a copy.
        self.view: Any = shown if compiles(__name__) else self.octets if self._own else shown.tobytes()

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


def _own_bytes(records: Records) -> Records:
    """The records with their own bytes only: a window of the file may hold those of several chunks."""
    if not records.cap_len.any():
        return records
    first, end = int(records.start.min()), int((records.start + records.cap_len).max())
    return records._replace(data=records.data[first:end], start=records.start - first)


class Decoder:
    """Decodes chunks in order; one per capture (or per part of it that is decoded alone)."""

    def __init__(self, pads: int | None = None) -> None:
        """`pads`: packets that may wait at once; interpreted, waiting gains nothing and the default is one."""
        tables = numbers()
        links = np.full(300, LINK, dtype=np.int16)
        for kind, code in LINKS.items():
            links[kind] = code
        self._tables: Any = tables
        self._links: Any = links
        self.fragments = Fragments()
        self._room = _Room()
        if compiles(__name__):
            self._pads: Any = np.zeros((pads or PADS, state.SIZE), dtype=np.int64)
            self._slots: Any = [_memory(pad) for pad in self._pads]  # the same as Python's dissectors see them
            self._waiting: Any = np.zeros(len(self._pads), dtype=np.int64)
        else:
            self._tables, self._links = tables.tolist(), _memory(links)
            self._pads = self._slots = [[0] * state.SIZE for _ in range(pads or 1)]
            self._waiting = [0] * len(self._pads)

    def update(self, records: Records) -> Batch:
        """Decode one chunk. Never raises for what is in a packet: that becomes a fault bit or a layer of its own."""
        n = len(records.start)
        records = _own_bytes(records)
        chunk = _Bytes(records.data, self._room)
        blocks = _Blocks(n)
        index = _view((records.start, records.cap_len, records.frame_len, records.link_type, records.fault))
        columns = _view(blocks.columns()), _view(blocks.matrices())
        tables, pads, waiting = self._tables, self._pads, self._waiting
        i = n_taps = count = 0
        unfinished: list[int] = []  # pads of packets that wait
        while i < n or unfinished:
            for k in unfinished:
                self._go_on(chunk, self._slots[k])
            blocks.reserve(n_taps + len(unfinished) * MAX_TAPS)
            taps = _view(blocks.taps())
            i, n_taps, count = walk(
                i, chunk.view, index, self._links, tables, pads, waiting, count, columns, taps, n_taps
            )
            unfinished = [k for k in range(count) if waiting[k] >= 0]
            count = count if unfinished else 0
        blocks.sort_taps(n_taps)
        return Batch(chunk.data, _packets(records, blocks), _taps(blocks, n_taps))

    def _go_on(self, chunk: _Bytes, s: Any) -> None:
        """Dissect the one layer that a packet waits at."""
        if s[NEXT] != FRAGMENTED:
            dissect(chunk.octets, s)
            return
        whole = self.fragments.take(chunk.octets, s)
        if whole is None:
            return
        s[AT] = chunk.append(whole)  # the datagram was completed: go on in its reassembled bytes
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
