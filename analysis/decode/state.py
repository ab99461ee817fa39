"""The decoder's notepad for one packet: a flat list of integers that every layer's function reads and writes.

In: nothing. Out: the slots' names, and the small functions that write them (`add_layer`, `tap`, `trim`, `cut`).
A layer's function takes `(data, s)`: it reads its header at `s[AT]`, notes layer, tap and fields, moves `s[AT]` behind
the header and leaves in `s[NEXT]` who goes on. Only frames.py knows the columns that the slots end up in.
Compiled, `s` is an int64 array and `data` a uint8 array; interpreted, `s` is a list and `data` a memoryview, because
indexing a numpy array from Python costs ten times as much. Either way an item read from them behaves as an integer
in sums and products; shifting a raw byte to the left is the one thing that differs, so it is never done.
"""

from __future__ import annotations

from typing import Any

from analysis import layers
from analysis.columns import MAX_LAYERS, MAX_TAPS, TOO_MANY_LAYERS, TRUNCATED
from analysis.kernel import inner_kernel as kernel
from analysis.kernel import typed_kernel

Data = Any  # uint8 array (compiled) or memoryview (interpreted)
State = Any  # int64 array (compiled) or list (interpreted)
Tables = Any  # int16 array (compiled) or list (interpreted)

# Who goes on. Below LEAF: a function of the kernel. LEAF + id: one layer that takes all that is left.
# ODD + n: not a matter of the kernel; frames.py asks the table of slow dissectors.
(
    DONE,
    ETHERNET,
    ETHERTYPE,
    VLAN,
    IPV4,
    IPV6,
    TRANSPORT,
    TCP,
    UDP,
    ICMP,
    ICMPV6,
    SCTP,
    DCCP,
    UDPLITE,
    ARP,
    LLC,
    MPLS,
    PPPOES,
    PPP,
    SLL,
    SLL2,
    NULL,
    RAW,
    IP_ANY,
    GRE,
    AH,
    VXLAN,
    GENEVE,
    GTP,
    TEREDO,
    EXTENSIONS,
) = range(31)
OWNED = 999  # a UDP port whose protocol stands above the kernel's: nothing to walk
LEAF = 1000
ODD = 4000
(
    FRAGMENTED,
    LINK,
    SNAP,
    COOKED,
    NULL_PPP,
    PSEUDO_WIRE,
    GRE_ODD,
    ERSPAN,
    SLOW,
    LOOPBACK,
    PROFINET,
    OSI,
    NETBIOS,
    IPX,
    CHUNKS,
    GRE_UDP,
    AYIYA,
    L2TP,
    L2TP3,
    VNTAG,
    EAPOL,
    LLC_ODD,
    MAC_CONTROL,
    ISATAP,
    WLAN,
    PPP_BRIDGE,
    TZSP,
    CAPWAP,
    LISP,
    MPLS_UDP,
    PPPOED,
    LLDP,
    NSH,
    VXLAN_GPE,
    MACSEC,
    BACKBONE,
    ETAG,
    HSR,
    CB_TAG,
    META_DATA,
    ETHERIP,
    ISL,
    FABRIC_PATH,
    TIMESTAMPED,
    SENSOR,
    PIM,
    CLOCK,
) = range(ODD, ODD + 47)

# The walk: where it stands (absolute offsets into data).
AT = 0  # next byte to read
END = 1  # behind the last captured byte of the current layer's content
LIMIT = 2  # behind its last byte on the wire, by the lengths of the headers so far
NEXT = 3  # who goes on
TYPE = 4  # the number that NEXT is looked up by: ethertype or IP protocol
TRAILER = 5  # layer slot of the Ethernet header that a trim counts its padding to, -1 none
SRC_HI, SRC_LO, DST_HI, DST_LO, FAMILY = 6, 7, 8, 9, 10  # innermost IP addresses
FRAGMENT_ID, FRAGMENT_OFFSET, FRAGMENT_MORE = 11, 12, 13  # of the fragment that defragmentation is asked to take
FRAGMENT_LEN = 14  # its payload by the length field, also where the frame is shorter
STEPS = 15  # layers walked, so that no chain of headers is endless

# Results, grouped by the dtype of their column; frames.py copies each group in one loop.
FIRST64 = 16
IP_START, TRANSPORT_START, PAYLOAD_START, TCP_SEQ, TCP_ACK = range(FIRST64, FIRST64 + 5)
FIRST32 = FIRST64 + 5
FAULT, FIRST_TAP, IP_TAP, TRANSPORT_TAP, PAYLOAD_LEN, PAYLOAD_CAP, TCP_WINDOW = range(FIRST32, FIRST32 + 7)
FIRST16 = FIRST32 + 7
IP_PROTOCOL, TTL, TCP_FLAGS, TCP_OPTIONS, ICMP_TYPE, ICMP_CODE = range(FIRST16, FIRST16 + 6)
FIRST8 = FIRST16 + 6
FRAGMENT, TCP_SCALE = range(FIRST8, FIRST8 + 2)
FIRST_U8 = FIRST8 + 2
N_LAYERS, N_TAPS = range(FIRST_U8, FIRST_U8 + 2)
LAST = FIRST_U8 + 2
NAMES64 = ("ip_start", "transport_start", "payload_start", "tcp_seq", "tcp_ack")
NAMES32 = ("fault", "first_tap", "ip_tap", "transport_tap", "payload_len", "payload_cap", "tcp_window")
NAMES16 = ("ip_protocol", "ttl", "tcp_flags", "tcp_options", "icmp_type", "icmp_code")
NAMES8 = ("fragment", "tcp_scale")
NAMES_U8 = ("n_layers", "n_taps")

# The three layer matrices' rows, then the taps: kind, four address words, two ports, family.
LAYERS = LAST
BYTES = LAYERS + MAX_LAYERS
PDUS = BYTES + MAX_LAYERS
TAPS = PDUS + MAX_LAYERS
TAP_SIZE = 8
SIZE = TAPS + MAX_TAPS * TAP_SIZE

# Rows of the one table of numbers that kernels look up. First codes: who owns the number, 0 nobody.
T_ETHERTYPE = 0  # 65536 entries
T_PROTOCOL = 65536  # 256 entries: IP protocol numbers
T_PORT = 65792  # 65536 entries: UDP ports of tunnels
T_SAP = 131328  # 256 entries: LLC service access points
T_PPP = 131584  # 65536 entries: PPP protocol numbers
# Then sizes by layer id: the bytes without which Wireshark does not show the layer, and those without which it is
# malformed.
T_SHOWN = 197120  # 1024 entries
T_LEAST = 198144  # 1024 entries
TABLE_SIZE = 199168

MAX_STEPS = 64  # headers walked in one frame; the deepest real tunnels have a dozen


@kernel
def u16(data: Data, at: int) -> int:
    """Two bytes, big endian; the caller has tested the bounds (as for the readers below)."""
    return data[at] * 256 + data[at + 1]  # type: ignore[no-any-return]


@kernel
def u32(data: Data, at: int) -> int:
    """Four bytes, big endian, 0 to 2^32 - 1."""
    return data[at] * 16777216 + data[at + 1] * 65536 + data[at + 2] * 256 + data[at + 3]  # type: ignore[no-any-return]


@kernel
def s64(data: Data, at: int) -> int:
    """Eight bytes, big endian, as a signed bit pattern (an IPv6 address word)."""
    high = u32(data, at)
    if high >= 0x80000000:
        high -= 0x100000000
    return high * 0x100000000 + u32(data, at + 4)


@typed_kernel("int64(int64[::1], int64, int64)")
def add_layer(s: State, layer: int, size: int) -> int:
    """Note one layer of `size` own bytes (a direct repeat counts as one more PDU). Returns its slot, -1 if full."""
    n = s[N_LAYERS]
    if n > 0 and s[LAYERS + n - 1] == layer:
        s[BYTES + n - 1] += size
        s[PDUS + n - 1] += 1
        return n - 1  # type: ignore[no-any-return]
    if n >= MAX_LAYERS:
        s[FAULT] |= TOO_MANY_LAYERS
        return -1
    s[LAYERS + n] = layer
    s[BYTES + n] = size
    s[PDUS + n] = 1
    s[N_LAYERS] = n + 1
    return n  # type: ignore[no-any-return]


@typed_kernel("int64(int64[::1], int64, int64, int64, int64)")
def tap(s: State, kind: int, src_port: int, dst_port: int, family: int) -> int:
    """Note one addressed layer with the addresses in s[SRC_HI..DST_LO]. Returns its number in the packet, -1 if full."""
    n = s[N_TAPS]
    if n >= MAX_TAPS:
        s[FAULT] |= TOO_MANY_LAYERS
        return -1
    at = TAPS + n * TAP_SIZE
    s[at] = kind
    s[at + 1] = s[SRC_HI]
    s[at + 2] = s[SRC_LO]
    s[at + 3] = s[DST_HI]
    s[at + 4] = s[DST_LO]
    s[at + 5] = src_port
    s[at + 6] = dst_port
    s[at + 7] = family
    s[N_TAPS] = n + 1
    return n  # type: ignore[no-any-return]


@kernel
def trim(s: State, limit: int) -> None:
    """The content ends at `limit`, says a length field; what stands behind it is the Ethernet layer's trailer."""
    if limit < s[LIMIT]:
        if limit < s[END]:
            if s[TRAILER] >= 0:
                s[BYTES + s[TRAILER]] += s[END] - limit
            s[END] = limit
        s[LIMIT] = limit
    s[TRAILER] = -1


@kernel
def forget_transport(s: State) -> None:
    """No transport layer and payload yet: at the start, and where a tunnel's inner IP header begins."""
    s[TRANSPORT_START] = -1
    s[TRANSPORT_TAP] = -1
    s[PAYLOAD_START] = -1
    s[PAYLOAD_LEN] = 0
    s[PAYLOAD_CAP] = 0
    s[TCP_FLAGS] = -1
    s[ICMP_TYPE] = -1


@typed_kernel("none(int64[::1], int64, int64, int64)")
def cut(s: State, layer: int, shown: int, fault: int) -> None:
    """A header does not fit: `_ws.short` where the capture cut it, `_ws.malformed` where the sender did.

    Wireshark shows the layer itself only if the `shown` bytes that its dissector reads first are there; `layer` is
    NONE where it has been noted before. A fragment that was not reassembled ends in `_ws.unreassembled`.
    """
    left = max(0, s[END] - s[AT])
    if layer != layers.NONE and left >= shown:
        add_layer(s, layer, left)
    if s[END] < s[LIMIT]:
        s[FAULT] |= TRUNCATED
        add_layer(s, layers.SHORT, 0)
    elif s[FRAGMENT] == 1:
        add_layer(s, layers.UNREASSEMBLED, 0)
    else:
        s[FAULT] |= fault
        add_layer(s, layers.MALFORMED, 0)
    s[NEXT] = DONE


@kernel
def leaf(s: State, layer: int, tables: Tables) -> None:
    """A layer that takes all that is left; one whose header does not fit, or that the capture cut, says so."""
    left = max(0, s[END] - s[AT])
    if layer == layers.DATA:
        data_leaf(s, left)
        return
    if left < tables[T_SHOWN + layer]:
        cut(s, layers.NONE, 0, 0)
    elif left < tables[T_LEAST + layer] or s[END] < s[LIMIT]:
        cut(s, layer, 0, 0)
    elif layer != layers.NONE:
        add_layer(s, layer, left)
    s[NEXT] = DONE


@kernel
def data_leaf(s: State, left: int) -> None:
    """Bytes that nobody knows: `data`, cut or not. Nothing is no layer."""
    s[NEXT] = DONE
    if left == 0:
        return
    s[PAYLOAD_START] = s[AT]
    s[PAYLOAD_LEN] = s[LIMIT] - s[AT]
    s[PAYLOAD_CAP] = left
    add_layer(s, layers.DATA, left)
