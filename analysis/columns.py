"""The schema: what is known of packets, taps and flows, as columns (one numpy array a field).

In: nothing. Out: `Records` (what a reader yields), `Packets` and `Taps` (what decoding fills), `Flows` (what is kept
per conversation), and `Batch` (one chunk on its way through the stages). Named tuples of arrays, so that kernels take
them whole. Docs, JSON and checks are made from the tables below. Nothing here reads a file or decodes a byte.

Conventions. Rows of a chunk are in file order. Positions named `*_start` are absolute offsets into `Batch.data`.
Absent is -1 in signed columns, 0 in counters and bit sets; the tables name the exceptions.
Addresses are two signed 64-bit words (bit patterns): IPv4 is (0, address), a MAC is (0, 48 bits), IPv6 is (high, low).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.named_tuples import NamedTuple
from analysis.records import Record

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = np.ndarray  # types for annotations take 10 ms to import


def different(values: Array) -> Array:
    """Sorted distinct values. As `np.unique`, which takes 20 us for a few and imports numpy.ma (60 ms)."""
    ordered = np.sort(values)
    if len(ordered) < 2:
        return ordered
    first = np.empty(len(ordered), bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def among(values: Array, wanted: Iterable[int]) -> Array:
    """bool: which values are some of a few. As `np.isin`, which takes 50 us for a few and may import numpy.ma."""
    found = np.zeros(values.shape, bool)
    for one in wanted:
        found |= values == one
    return found


def median(values: Array) -> float:
    """The middle value, or the mean of both middle ones. As `np.median`, which imports numpy.ma; NaN of nothing."""
    if not len(values):
        return float("nan")
    half = len(values) // 2
    ordered = np.partition(values, [half - 1, half])
    return float(ordered[half]) if len(values) % 2 else (float(ordered[half - 1]) + float(ordered[half])) / 2


NO_TIME = -(2**63)  # a packet without time stamp (pcapng simple packet block): counted, not in the span
MAX_LAYERS = 24  # layers kept per frame; a frame with more has fault TOO_MANY_LAYERS and keeps the first 24
MAX_TAPS = 12  # addressed layers kept per frame (four tunnels deep); more: fault TOO_MANY_LAYERS

# Kinds of tap: the tables of conversations and endpoints. The first five are outputs.md's, the others serve findings.
ETH, IP, IPV6, TCP, UDP, ICMP, ICMPV6, SCTP = range(8)
KINDS = ("eth", "ip", "ipv6", "tcp", "udp", "icmp", "icmpv6", "sctp")

# Faults of a record or packet, one bit each in Packets.fault; counted by name in `capture.faults`.
FAULTS = (
    "cut_record",  # the file ends inside this record
    "bad_length",  # a length field that cannot be (record or block); reading went on behind it where possible
    "bad_time",  # a time stamp outside the years 1970-2262; kept at the edge
    "unknown_link_type",
    "truncated",  # cap_len < frame_len cut a header short
    "bad_ip_header",
    "bad_transport_header",
    "bad_checksum",  # IPv4 header checksum only; transport checksums are not judged
    "too_many_layers",
    "fragment_overlap",
    "fragment_incomplete",
    "bad_interface",  # a packet of an interface that no block described
)
(
    CUT_RECORD,
    BAD_LENGTH,
    BAD_TIME,
    UNKNOWN_LINK_TYPE,
    TRUNCATED,
    BAD_IP_HEADER,
    BAD_TRANSPORT_HEADER,
    BAD_CHECKSUM,
    TOO_MANY_LAYERS,
    FRAGMENT_OVERLAP,
    FRAGMENT_INCOMPLETE,
    BAD_INTERFACE,
) = (1 << bit for bit in range(12))

# tcp.analysis.*: one bit each in Packets.analysis (names as in Wireshark without the prefix).
TCP_FLAGS = (
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "lost_segment",
    "ack_lost_segment",
    "duplicate_ack",
    "zero_window",
    "zero_window_probe",
    "zero_window_probe_ack",
    "window_full",
    "window_update",
    "keep_alive",
    "keep_alive_ack",
    "reused_ports",
)


class Column(NamedTuple):
    """One field of a table: `dtype` is a numpy type name, `unit` is empty for plain numbers."""

    name: str
    dtype: str
    unit: str
    meaning: str
    absent: int = 0


class Records(NamedTuple):
    """A chunk as a reader yields it: n records in file order, their bytes in one buffer.

    Packet i is data[start[i] : start[i] + cap_len[i]].
    """

    data: Array  # uint8[size]
    start: Array  # int64[n] offset of the packet's first byte in data
    cap_len: Array  # int32[n] bytes stored
    frame_len: Array  # int64[n] bytes on the wire (as the file says)
    time_ns: Array  # int64[n] Unix time in ns, NO_TIME where there is none
    interface: Array  # int32[n] index into Capture.interfaces (global over sections and files)
    link_type: Array  # int32[n] LINKTYPE_ number; negative: no packet, see analysis.origin
    fault: Array  # int32[n] bits of FAULTS
    number: Array  # int64[n] frame number, 1-based over the whole analysis


# Per packet. "innermost" = the last IP or transport layer of the frame (inside tunnels).
PACKET_COLUMNS = (
    Column("number", "int64", "", "frame number, 1-based"),
    Column("time_ns", "int64", "ns", "Unix time; NO_TIME where there is none"),
    Column("start", "int64", "bytes", "first byte of the packet in data"),
    Column("cap_len", "int32", "bytes", "stored length"),
    Column("frame_len", "int64", "bytes", "length on the wire: what every byte count of the tables uses"),
    Column("interface", "int32", "", "index into the capture's interfaces"),
    Column("link_type", "int32", "", "LINKTYPE_ number; negative: a file block that is no packet (analysis.origin)"),
    Column("fault", "int32", "bits", "see FAULTS"),
    Column("n_layers", "uint8", "", "layers used in the three matrices below"),
    Column("n_taps", "uint8", "", "taps of this packet"),
    Column("first_tap", "int32", "", "row of the packet's first tap in Taps; the others follow it", -1),
    Column("ip_start", "int64", "bytes", "OUTERMOST IP header (what a firewall on the path sees)", -1),
    Column("ip_tap", "int32", "", "tap row of the innermost IPv4/IPv6 layer", -1),
    Column(
        "transport_tap", "int32", "", "tap row of the innermost TCP/UDP/SCTP/ICMP layer; -1 for other protocols", -1
    ),
    Column("ip_protocol", "int16", "", "protocol number above the innermost IP layer, behind extension headers", -1),
    Column("ttl", "int16", "", "TTL or hop limit of the innermost IP layer", -1),
    Column("fragment", "int8", "", "0 whole, 1 a fragment, 2 the fragment that completed the datagram"),
    Column(
        "transport_start", "int64", "bytes", "innermost transport header (in reassembled bytes where fragment is 2)", -1
    ),
    Column("payload_start", "int64", "bytes", "first byte above transport (or above the last decoded layer)", -1),
    Column(
        "payload_len",
        "int32",
        "bytes",
        "length by the headers (IP and UDP length fields), Ethernet padding not counted",
    ),
    Column("payload_cap", "int32", "bytes", "how much of it was captured"),
    Column("tcp_seq", "int64", "", "raw sequence number"),
    Column("tcp_ack", "int64", "", "raw acknowledgement field, also without the ACK flag"),
    Column(
        "tcp_flags", "int16", "bits", "FIN 1 SYN 2 RST 4 PSH 8 ACK 16 URG 32 ECE 64 CWR 128 NS 256; -1: not TCP", -1
    ),
    Column("tcp_window", "int32", "", "raw 16-bit window field", -1),
    Column("tcp_scale", "int8", "", "shift of the window scale option of this segment, -1: option absent", -1),
    Column(
        "tcp_options", "int16", "bits", "1 SACK blocks, 2 SACK permitted, 4 time stamps, 8 MSS, 16 options cut or bad"
    ),
    Column("icmp_type", "int16", "", "type of ICMP or ICMPv6", -1),
    Column("icmp_code", "int16", "", "code of ICMP or ICMPv6", -1),
    # filled by later stages
    Column("flow", "int32", "", "row in Flows of transport_tap (else of ip_tap)", -1),
    Column("direction", "int8", "", "0: sent by side a of that flow (sender of its first packet), 1: by side b"),
    Column("analysis", "int32", "bits", "see TCP_FLAGS"),
    Column(
        "last_pdu_bytes",
        "int32",
        "bytes",
        "own bytes of the last PDU where the last layer repeats (End Bytes of the hierarchy count that one only); "
        "filled by whoever appends a repeat (protocols); -1: the last layer stands once",
        -1,
    ),
)
LAYER_MATRICES = (
    Column(
        "layers", "uint16", "", "[n, MAX_LAYERS] layer ids (analysis.layers), outermost first, direct repeats merged"
    ),
    Column("layer_bytes", "int32", "bytes", "[n, MAX_LAYERS] own bytes of the layer, summed over direct repeats"),
    Column("layer_pdus", "uint16", "", "[n, MAX_LAYERS] how often the layer repeats directly (PDUs)"),
)

# Per addressed layer ("tap", as Wireshark taps it for conversations), in packet order, outermost first.
TAP_COLUMNS = (
    Column("packet", "int32", "", "row in Packets"),
    Column("kind", "uint8", "", "see KINDS"),
    Column("src_hi", "int64", "", "source address, high word"),
    Column("src_lo", "int64", "", "source address, low word"),
    Column("dst_hi", "int64", "", "destination address, high word"),
    Column("dst_lo", "int64", "", "destination address, low word"),
    Column("src_port", "int32", "", "TCP/UDP/SCTP port; ICMP: identifier of an echo, else 0; 0 below transport"),
    Column("dst_port", "int32", "", "TCP/UDP/SCTP port; ICMP: type of the request side, else 0; 0 below transport"),
    Column("ip_family", "uint8", "", "4, 6, or 0 for Ethernet: family of the addresses"),
    # filled by flows
    Column("src_id", "int32", "", "row of the source in the address table", -1),
    Column("dst_id", "int32", "", "row of the destination in the address table", -1),
    Column("flow", "int32", "", "row in Flows", -1),
    Column("direction", "int8", "", "0: a to b"),
)

# Per conversation, all kinds in one table, in order of first packet. TCP: one row a stream; UDP: one row a 4-tuple.
FLOW_COLUMNS = (
    Column("kind", "uint8", "", "see KINDS"),
    Column("a_id", "int32", "", "address of the sender of the first packet"),
    Column("b_id", "int32", "", "address of the other side"),
    Column("a_port", "uint16", "", "port of side a"),
    Column("b_port", "uint16", "", "port of side b"),
    Column("stream", "int32", "", "tcp.stream / udp.stream: number within its kind", -1),
    Column("last_number", "int32", "", "frame number of the last packet"),
    Column("first_ns", "int64", "ns", "earliest time (NO_TIME: none)"),
    Column("last_ns", "int64", "ns", "latest time"),
    Column("packets_ab", "int32", "", "frames a to b"),
    Column("packets_ba", "int32", "", "frames b to a"),
    Column("bytes_ab", "int64", "bytes", "frame lengths a to b"),
    Column("bytes_ba", "int64", "bytes", "frame lengths b to a"),
    Column("payload_ab", "int64", "bytes", "payload above transport a to b"),
    Column("payload_ba", "int64", "bytes", "payload above transport b to a"),
    Column(
        "originator",
        "int8",
        "",
        "who opened it: 0 side a, 1 side b (SYN+ACK seen first, or by port where unknown), -1 unknown",
        -1,
    ),
    Column("tcp_flags_ab", "int16", "bits", "union of TCP flags a to b"),
    Column("tcp_flags_ba", "int16", "bits", "union of TCP flags b to a"),
    Column("first_tcp_flags", "int16", "bits", "flags of the first segment", -1),
    Column("state", "uint8", "", "Zeek conn_state, see CONN_STATES"),
    Column("syn_ab", "int32", "", "bare SYN a to b, repeats counted"),
    Column("syn_ba", "int32", "", "bare SYN b to a"),
    Column("synack", "int32", "", "SYN+ACK, either way"),
    Column("icmp_error", "int16", "", "type * 256 + code of an ICMP error that quotes this flow", -1),
    Column("ttl_min", "uint8", "", "smallest TTL a to b, 0 unknown"),
    Column("application", "uint16", "", "layer id of the protocol above transport that named most frames; 0 none"),
)
FLOW_FRAMES = 8  # first frame numbers kept per flow, in Flows.frames

CONN_STATES = ("", "S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH")


class Packets(NamedTuple):
    """n packets of one chunk. Shapes: columns [n], the three layer matrices [n, MAX_LAYERS]. See PACKET_COLUMNS."""

    number: Array
    time_ns: Array
    start: Array
    cap_len: Array
    frame_len: Array
    interface: Array
    link_type: Array
    fault: Array
    n_layers: Array
    n_taps: Array
    first_tap: Array
    ip_start: Array
    ip_tap: Array
    transport_tap: Array
    ip_protocol: Array
    ttl: Array
    fragment: Array
    transport_start: Array
    payload_start: Array
    payload_len: Array
    payload_cap: Array
    tcp_seq: Array
    tcp_ack: Array
    tcp_flags: Array
    tcp_window: Array
    tcp_scale: Array
    tcp_options: Array
    icmp_type: Array
    icmp_code: Array
    flow: Array
    direction: Array
    analysis: Array
    last_pdu_bytes: Array
    layers: Array
    layer_bytes: Array
    layer_pdus: Array


class Taps(NamedTuple):
    """m addressed layers of one chunk, in packet order. See TAP_COLUMNS."""

    packet: Array
    kind: Array
    src_hi: Array
    src_lo: Array
    dst_hi: Array
    dst_lo: Array
    src_port: Array
    dst_port: Array
    ip_family: Array
    src_id: Array
    dst_id: Array
    flow: Array
    direction: Array


class Batch(NamedTuple):
    """One chunk between stages: its bytes (packets first, reassembled datagrams behind them), packets and taps."""

    data: Array  # uint8
    packets: Packets
    taps: Taps
    secrets: bytes = b""  # lines of key logs that came before or among these packets


class FirstFrames(Record):
    """The first frame numbers of flows. Most flows have one packet, which is also their last."""

    last: Array  # int32[flows] number of the last packet
    more: Array  # int32[flows] row in `table` of flows with more packets, else 0
    table: Array  # int32[rows, FLOW_FRAMES]; row 0 is empty

    def __getitem__(self, rows: Any) -> Array:
        """int32[rows, FLOW_FRAMES], 0: unused."""
        more = self.more[rows]
        found: Array = self.table[more].copy()
        found[..., 0] = np.where(more == 0, self.last[rows], found[..., 0])
        return found


class Flows(NamedTuple):
    """All conversations so far, trimmed to their number. See FLOW_COLUMNS; `frames` is [flows, FLOW_FRAMES]."""

    kind: Array
    a_id: Array
    b_id: Array
    a_port: Array
    b_port: Array
    stream: Array
    last_number: Array
    first_ns: Array
    last_ns: Array
    packets_ab: Array
    packets_ba: Array
    bytes_ab: Array
    bytes_ba: Array
    payload_ab: Array
    payload_ba: Array
    originator: Array
    tcp_flags_ab: Array
    tcp_flags_ba: Array
    first_tcp_flags: Array
    state: Array
    syn_ab: Array
    syn_ba: Array
    synack: Array
    icmp_error: Array
    ttl_min: Array
    application: Array
    frames: Array | FirstFrames  # [rows of Flows] -> int32[rows, FLOW_FRAMES], 0: unused


class Addresses(NamedTuple):
    """The address table: row = address id. `family` is 4, 6, or 0 for a MAC."""

    family: Array  # uint8[k]
    hi: Array  # int64[k]
    lo: Array  # int64[k]


def empty_packets(n: int) -> Packets:
    """Packets of n rows, every column at its absent value; layer matrices zero."""
    columns = [np.full(n, c.absent, dtype=c.dtype) for c in PACKET_COLUMNS]
    matrices = [np.zeros((n, MAX_LAYERS), dtype=c.dtype) for c in LAYER_MATRICES]
    return Packets(*[*columns, *matrices])


def empty_taps(m: int) -> Taps:
    """Taps of m rows, every column at its absent value."""
    return Taps(*(np.full(m, c.absent, dtype=c.dtype) for c in TAP_COLUMNS))


def address_text(family: int, hi: int, lo: int) -> str:
    """An address in canonical text: dotted IPv4, RFC 5952 IPv6, colon-separated lower-case MAC."""
    if family == 4:
        return f"{lo >> 24 & 255}.{lo >> 16 & 255}.{lo >> 8 & 255}.{lo & 255}"
    if family == 6:
        import ipaddress

        return str(ipaddress.IPv6Address(((hi & 0xFFFFFFFFFFFFFFFF) << 64) | (lo & 0xFFFFFFFFFFFFFFFF)))
    return ":".join(f"{(lo >> shift) & 255:02x}" for shift in range(40, -1, -8))


def data_frame(columns: dict[str, Any]) -> Any:
    """The columns as a pandas DataFrame: the one place where a table's `to_pandas()` imports pandas."""
    import pandas

    return pandas.DataFrame(columns)
