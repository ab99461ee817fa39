"""The flow table: conversations, directions, streams, port reuse, states, quoted errors."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_frames import ACK, FIN, RST, SYN, Made, batches, ethernet, icmp, ipv4, tcp, udp
from slow_twins import slow_flows

from analysis.addresses import address_texts
from analysis.columns import CONN_STATES, KINDS, NO_TIME, TCP, Batch, Flows
from analysis.flows import REUSED_PORTS, FlowTable

A, B = ("10.0.0.1", 40000), ("10.0.0.2", 80)
MS = 1_000_000


def assigned(frames: Sequence[Made], chunk: int = 10_000) -> tuple[FlowTable, Flows, list[Batch]]:
    """The frames through decoder and flow table."""
    table = FlowTable()
    done = []
    for batch in batches(frames, chunk):
        table.update(batch)
        done.append(batch)
    return table, table.finish(), done


def kinds(flows: Flows, kind: str) -> list[int]:
    """Rows of a kind."""
    return np.flatnonzero(flows.kind == KINDS.index(kind)).tolist()


def talk(*steps: tuple[str, int]) -> list[Made]:
    """A connection from (who, flags) steps: a is the side that is called first."""
    frames, seq = [], {"a": 100, "b": 900}
    for i, (who, flags) in enumerate(steps):
        ends = (A, B) if who == "a" else (B, A)
        ack = seq["b" if who == "a" else "a"] if flags & ACK else 0
        frames.append(tcp(i * MS, *ends, flags, seq=seq[who], ack=ack))
        seq[who] += 1 if flags & (SYN | FIN) else 0
    return frames


STATES = [
    ("S0", [("a", SYN)]),
    ("REJ", [("a", SYN), ("b", RST | ACK)]),
    ("RSTOS0", [("a", SYN), ("a", RST)]),
    ("SH", [("a", SYN), ("a", FIN)]),
    ("S1", [("a", SYN), ("b", SYN | ACK), ("a", ACK)]),
    ("SF", [("a", SYN), ("b", SYN | ACK), ("a", ACK), ("a", FIN | ACK), ("b", FIN | ACK), ("a", ACK)]),
    ("SF", [("a", SYN), ("b", SYN | ACK), ("a", FIN | ACK), ("b", FIN | ACK), ("b", RST)]),
    ("S2", [("a", SYN), ("b", SYN | ACK), ("a", FIN | ACK), ("b", ACK)]),
    ("S3", [("a", SYN), ("b", SYN | ACK), ("b", FIN | ACK), ("a", ACK)]),
    ("RSTO", [("a", SYN), ("b", SYN | ACK), ("a", RST | ACK)]),
    ("RSTR", [("a", SYN), ("b", SYN | ACK), ("b", RST | ACK)]),
    ("RSTRH", [("b", SYN | ACK), ("b", RST)]),
    ("SHR", [("b", SYN | ACK), ("b", FIN | ACK)]),
    ("OTH", [("a", ACK), ("b", ACK)]),
    ("OTH", [("a", SYN), ("a", ACK)]),  # one-sided view: the answer went another way
]


@pytest.mark.parametrize(("state", "steps"), STATES)
def test_connection_state(state: str, steps: list[tuple[str, int]]) -> None:
    """A connection gets Zeek's word for how it went."""
    _, flows, _ = assigned(talk(*steps))
    (row,) = kinds(flows, "tcp")

    assert CONN_STATES[flows.state[row]] == state


def test_side_a_sent_the_first_packet() -> None:
    """Addresses, ports and counters are by side; a is the sender of the first packet, not the client."""
    table, flows, done = assigned(talk(("b", SYN | ACK), ("a", ACK), ("b", ACK)))
    (row,) = kinds(flows, "tcp")
    texts = address_texts(table.addresses())

    assert (texts[flows.a_id[row]], flows.a_port[row]) == ("10.0.0.2", 80)
    assert (flows.packets_ab[row], flows.packets_ba[row]) == (2, 1)
    assert done[0].packets.direction.tolist() == [0, 1, 0]
    assert flows.originator[row] == 1  # whoever got the SYN+ACK opened it


def test_every_layer_has_its_conversation() -> None:
    """A TCP frame counts in Ethernet, IPv4 and TCP; packets refer to the innermost."""
    _, flows, done = assigned([tcp(0, A, B, SYN, seq=5)])

    assert [KINDS[kind] for kind in flows.kind] == ["eth", "ip", "tcp"]
    assert done[0].packets.flow.tolist() == kinds(flows, "tcp")
    assert flows.bytes_ab.tolist() == [54, 54, 54]  # 14 Ethernet + 20 IPv4 + 20 TCP


def test_new_number_in_a_syn_begins_a_new_stream() -> None:
    """A bare SYN with another number reuses the ports: new row, new stream, flagged; a repeat stays."""
    frames = [tcp(0, A, B, SYN, seq=100), tcp(MS, A, B, SYN, seq=100), tcp(2 * MS, A, B, SYN, seq=200)]
    _, flows, done = assigned(frames)
    rows = kinds(flows, "tcp")

    assert flows.stream[rows].tolist() == [0, 1]
    assert flows.syn_ab[rows].tolist() == [2, 1]
    assert [bool(bits & REUSED_PORTS) for bits in done[0].packets.analysis] == [False, False, True]


def test_new_number_in_a_syn_ack_stays_in_its_stream() -> None:
    """A SYN+ACK with another number is flagged, but no new stream."""
    frames = [tcp(i * MS, B, A, SYN | ACK, seq=seq, ack=1) for i, seq in enumerate((500, 700))]
    _, flows, done = assigned(frames)

    assert len(kinds(flows, "tcp")) == 1
    assert [bool(bits & REUSED_PORTS) for bits in done[0].packets.analysis] == [False, True]


def test_a_host_talking_to_itself() -> None:
    """Equal addresses are told apart by ports; equal ports as well are one direction."""
    one, two = ("10.0.0.1", 1), ("10.0.0.1", 2)
    _, flows, done = assigned([udp(0, one, two), udp(1, two, one), udp(2, one, one)])

    assert done[0].packets.direction.tolist() == [0, 1, 0]
    assert flows.packets_ba[kinds(flows, "udp")].tolist() == [1, 0]


def test_echo_request_and_reply_are_one_exchange() -> None:
    """ICMP pairs request and reply by identifier; another identifier is another exchange."""
    body = struct.pack(">HH", 7, 1) + b"ping"
    other = struct.pack(">HH", 8, 1) + b"ping"
    frames = [
        icmp(0, A[0], B[0], 8, 0, body),
        icmp(1, B[0], A[0], 0, 0, body),
        icmp(2, A[0], B[0], 8, 0, other),
    ]
    _, flows, _ = assigned(frames)
    rows = kinds(flows, "icmp")

    assert [(int(flows.packets_ab[r]), int(flows.packets_ba[r])) for r in rows] == [(1, 1), (1, 0)]
    assert [CONN_STATES[flows.state[r]] for r in rows] == ["SF", "S0"]


def test_icmp_error_marks_the_quoted_flow() -> None:
    """Port unreachable is kept with type and code at the flow that it quotes, and counts nowhere else."""
    asked = udp(0, A, ("10.0.0.2", 53))
    quote = asked.data[14:42]
    frames = [asked, icmp(MS, B[0], A[0], 3, 3, bytes(4) + quote)]
    _, flows, _ = assigned(frames)
    (row,) = kinds(flows, "udp")

    assert flows.icmp_error[row] == 3 * 256 + 3
    assert (flows.packets_ab[row], flows.packets_ba[row]) == (1, 0)


@pytest.mark.parametrize("cut", range(28))
def test_cut_quotes_are_no_error(cut: int) -> None:
    """An ICMP error whose quote is cut anywhere marks nothing and raises nothing."""
    asked = udp(0, A, B)
    _, flows, _ = assigned([asked, icmp(1, B[0], A[0], 3, 3, bytes(4) + asked.data[14 : 14 + cut])])

    assert flows.icmp_error[kinds(flows, "udp")].tolist() == [-1]


def test_packets_without_time_do_not_move_the_span() -> None:
    """Earliest and latest time of a flow leave out packets that have none."""
    frames = [udp(NO_TIME, A, B), udp(20, A, B), udp(10, B, A), udp(NO_TIME, B, A)]
    _, flows, _ = assigned(frames)
    (row,) = kinds(flows, "udp")

    assert (flows.first_ns[row], flows.last_ns[row]) == (10, 20)
    assert (flows.frames[row][0], flows.last_number[row]) == (1, 4)


def test_answer_from_a_server_port_tells_the_originator() -> None:
    """A UDP exchange whose first captured packet comes from a service's port was opened by the other side."""
    _, flows, _ = assigned([udp(0, ("10.0.0.2", 53), A), udp(1, ("10.0.0.3", 5000), ("10.0.0.4", 6000))])

    assert flows.originator[kinds(flows, "udp")].tolist() == [1, 0]


def test_many_flows_grow_the_tables() -> None:
    """Tables grow as often as needed: 5,000 ports and 300 hosts keep their rows, streams and addresses."""
    frames = [tcp(i, (f"10.1.{i % 300 // 256}.{i % 300 % 256}", 1024 + i), B, SYN, seq=i + 1) for i in range(5_000)]
    table, flows, _ = assigned(frames + frames)
    rows = kinds(flows, "tcp")

    assert flows.stream[rows].tolist() == list(range(5_000))
    assert flows.packets_ab[rows].tolist() == [2] * 5_000
    assert len(address_texts(table.addresses())) == 2 + 300 + 1  # MACs, sources, destination


HOSTS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
ENDS = st.tuples(HOSTS, st.sampled_from([1, 2, 80]))
SEGMENTS = st.builds(
    lambda ends, flags, seq, ack: tcp(0, *ends, flags, seq=seq, ack=ack),
    st.tuples(ENDS, ENDS),
    st.sampled_from([SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, 0]),
    st.integers(1, 4),
    st.integers(1, 4),
)
FRAMES = st.lists(st.one_of(SEGMENTS, st.builds(lambda ends: udp(0, *ends), st.tuples(ENDS, ENDS))), max_size=60)


@settings(max_examples=150, deadline=None)
@given(FRAMES, st.integers(1, 61))
def test_equals_the_slow_twin_in_any_chunks(frames: list[Made], chunk: int) -> None:
    """Rows, directions, streams and reuse equal a dictionary's, however the capture is cut into chunks."""
    _, flows, done = assigned(frames, chunk)
    slow, expected = slow_flows(frames)
    rows = sorted(kinds(flows, "tcp") + kinds(flows, "udp"))

    got = [
        (rows.index(int(flow)), int(direction), bool(bits & REUSED_PORTS))
        for batch in done
        for flow, direction, bits in zip(batch.packets.flow, batch.packets.direction, batch.packets.analysis)
    ]
    assert expected == got
    assert [flow.packets for flow in slow] == [[int(flows.packets_ab[r]), int(flows.packets_ba[r])] for r in rows]
    assert [flow.bytes for flow in slow] == [[int(flows.bytes_ab[r]), int(flows.bytes_ba[r])] for r in rows]
    assert [(flow.frames + [0] * 8)[:8] for flow in slow] == [flows.frames[r].tolist() for r in rows]


def test_salt_changes_no_row() -> None:
    """The hash's salt decides about places in a table, never about a number."""
    frames = [udp(i, (f"10.0.0.{i % 7}", i % 5), (f"10.0.1.{i % 3}", 53)) for i in range(200)]
    made = []
    for salt in (1, 2**63 - 1):
        table = FlowTable(salt)
        for batch in batches(frames):
            table.update(batch)
        made.append(table.finish())

    rows = np.arange(len(made[0].kind))
    assert np.array_equal(made[0].frames[rows], made[1].frames[rows])
    for name in set(Flows._fields) - {"frames"}:
        assert np.array_equal(getattr(made[0], name), getattr(made[1], name)), name


def test_quoted_ipv6_error() -> None:
    """ICMPv6 port unreachable marks the quoted flow as well."""
    ends = bytes(15) + b"\x01", bytes(15) + b"\x02"
    datagram = struct.pack(">HHHH", 1000, 53, 12, 0) + b"quad"

    def ipv6(payload: bytes, header: int, source: bytes, destination: bytes) -> bytes:
        return struct.pack(">IHBB", 6 << 28, len(payload), header, 64) + source + destination + payload

    asked = ipv6(datagram, 17, *ends)
    error = ipv6(struct.pack(">BBHI", 1, 4, 0, 0) + asked, 58, ends[1], ends[0])
    frames = [Made(ethernet(packet, 0x86DD), i) for i, packet in enumerate((asked, error))]
    _, flows, _ = assigned(frames)

    assert flows.icmp_error[kinds(flows, "udp")].tolist() == [1 * 256 + 4]


def test_fragments_have_an_address_flow_only() -> None:
    """A later fragment has no ports: its packet belongs to the IPv4 conversation."""
    fragment = bytearray(ipv4(b"rest of a datagram", A[0], B[0], 17))
    fragment[6:8] = struct.pack(">H", 100)  # offset 800
    _, flows, done = assigned([Made(ethernet(bytes(fragment)), 0)])

    assert kinds(flows, "udp") == []
    assert done[0].packets.flow.tolist() == kinds(flows, "ip")


# -- streams that only an ICMP error names ---------------------------------------------------------------------------


def _segment_head(source: int, destination: int) -> bytes:
    return source.to_bytes(2, "big") + destination.to_bytes(2, "big") + bytes(8) + b"\x50\x10" + bytes(6)


def _refused(time_ns: int, head: bytes) -> Made:
    quoted = bytes(4) + ipv4(head, "10.0.0.1", "192.0.2.7", 6)
    return icmp(time_ns, "10.0.0.254", "10.0.0.1", 3, 1, quoted)


@pytest.mark.parametrize("chunk", [1, 2, 10_000])
def test_a_stream_that_only_an_error_quotes_has_a_number(chunk: int) -> None:
    """Wireshark counts it; segments that come later, from either side, are that stream's."""
    frames = [
        _refused(1, _segment_head(1234, 443)),
        tcp(2, ("10.0.0.1", 5000), ("10.0.0.2", 80), SYN, seq=1),
        _refused(3, _segment_head(1234, 443)),
        tcp(4, ("192.0.2.7", 443), ("10.0.0.1", 1234), SYN | ACK, seq=9, ack=2),
        tcp(5, ("10.0.0.1", 1234), ("192.0.2.7", 443), ACK, seq=2, ack=10),
        tcp(6, ("10.0.0.1", 5001), ("10.0.0.2", 80), SYN, seq=1),
    ]
    table = FlowTable()
    streams = []
    for batch in batches(frames, chunk):
        table.update(batch)
        flows = table.flows()
        at = batch.taps.kind == TCP
        streams += flows.stream[batch.taps.flow[at]].tolist()
    flows = table.finish()
    row = int(np.flatnonzero((flows.kind == TCP) & (flows.stream == 0))[0])

    assert streams == [1, 0, 0, 2]
    assert (int(flows.a_port[row]), int(flows.packets_ab[row]), int(flows.packets_ba[row])) == (443, 1, 1)
    assert (int(flows.frames[row][0]), int(flows.first_ns[row]), int(flows.last_ns[row])) == (4, 4, 5)


@pytest.mark.parametrize("size", [8, 15])
def test_a_quote_without_the_flags_has_none(size: int) -> None:
    """RFC 792 asks for eight bytes only; Wireshark reads the header's flags before it numbers the stream."""
    frames = [_refused(1, _segment_head(1234, 443)[:size]), tcp(2, ("10.0.0.1", 5000), ("10.0.0.2", 80), SYN, seq=1)]
    table = FlowTable()
    for batch in batches(frames):
        table.update(batch)
    flows = table.finish()

    assert flows.stream[flows.kind == TCP].tolist() == [0]


def test_what_was_only_quoted_is_in_no_table() -> None:
    """Conversations and endpoints show layers of packets; addresses of the quote have no row."""
    from analysis.stats.conversations import Conversations
    from analysis.stats.endpoints import Endpoints

    table = FlowTable()
    for batch in batches([_refused(1, _segment_head(1234, 443))]):
        table.update(batch)
    flows = table.finish()
    texts = address_texts(table.addresses())

    assert Conversations(flows, texts, {}, 0).to_json()["tcp"] == []
    assert Endpoints(flows, texts, {}).to_json()["tcp"] == []
    assert {row["address"] for row in Endpoints(flows, texts, {}).to_json()["ip"]} == {"10.0.0.254", "10.0.0.1"}


def test_a_flood_of_quotes_fits() -> None:
    """Tables grow in time for what errors add to them."""
    frames = [_refused(i, _segment_head(1000 + i, 443)) for i in range(3000)]
    table = FlowTable()
    for batch in batches(frames, 700):
        table.update(batch)

    assert table.n_tcp == 3000


def test_ends_tell_naming_where_the_server_is() -> None:
    """The port that a SYN went to, else the one that a SYN+ACK came from; only conversations with payload, in order."""
    host, ports = "10.0.0.2", {"asked": 80, "answered": 22, "unknown": 23, "silent": 24}
    client = {name: ("10.0.0.1", 1000 + i) for i, name in enumerate(ports)}
    server = {name: (host, port) for name, port in ports.items()}
    frames = [
        tcp(0, client["asked"], server["asked"], SYN),
        tcp(1, server["unknown"], client["unknown"], ACK, length=5),
        tcp(2, client["silent"], server["silent"], SYN),
        tcp(3, server["answered"], client["answered"], SYN | ACK),
        tcp(4, client["answered"], server["answered"], ACK, length=5),
        udp(5, ("10.0.0.1", 53), (host, 53)),
        tcp(6, client["asked"], server["asked"], ACK, length=5),
    ]
    table, flows, done = assigned(frames)
    ends = table.ends(done[0])

    assert ends.flows == len(flows.kind)
    assert [(a, b, at) for _, a, b, at in zip(*(column.tolist() for column in ends[1:]), strict=True)] == [
        (1000, 80, 80), (23, 1002, 0), (22, 1001, 22),
    ]  # fmt: skip
    assert ends.flow.tolist() == sorted(ends.flow.tolist())
