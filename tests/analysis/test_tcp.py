"""TCP analysis: each rule of Wireshark has a case; the slow twin and any chunking give the same flags."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_frames import ACK, FIN, PSH, RST, SYN, Made, batches, tcp
from slow_twins import slow_tcp

from analysis.columns import TCP_FLAGS
from analysis.flows import FlowTable
from analysis.tcp import TcpAnalysis

A, B = ("10.0.0.1", 40000), ("10.0.0.2", 80)
MS = 1_000_000
BEGIN = 1000 * MS  # not 0: to Wireshark a SYN at time 0 was not seen


def analysed(frames: Sequence[Made], chunk: int = 10_000) -> tuple[list[frozenset[str]], TcpAnalysis, FlowTable]:
    """Flags of every frame."""
    table = FlowTable()
    tcp_analysis = TcpAnalysis(table)
    found = []
    for batch in batches(frames, chunk):
        table.update(batch)
        tcp_analysis.update(batch)
        for bits in batch.packets.analysis.tolist():
            found.append(frozenset(name for i, name in enumerate(TCP_FLAGS) if bits >> i & 1))
    return found, tcp_analysis, table


def a(
    ms: float, flags: int = ACK, *, seq: int, ack: int = 501, length: int = 0, window: int = 100, scale: int = -1
) -> Made:
    """A segment from a to b."""
    return tcp(BEGIN + int(ms * MS), A, B, flags, seq=seq, ack=ack, length=length, window=window, scale=scale)


def b(ms: float, flags: int = ACK, *, seq: int, ack: int, length: int = 0, window: int = 100, scale: int = -1) -> Made:
    """A segment from b to a."""
    return tcp(BEGIN + int(ms * MS), B, A, flags, seq=seq, ack=ack, length=length, window=window, scale=scale)


def handshake(scale: int = -1, rtt_ms: float = 10) -> list[Made]:
    """a opens with number 100, b answers with 500."""
    return [
        a(0, SYN, seq=100, ack=0, scale=scale),
        b(rtt_ms / 2, SYN | ACK, seq=500, ack=101, scale=scale),
        a(rtt_ms, seq=101),
    ]


CASES: dict[str, tuple[list[Made], str]] = {
    "the first gap after an acknowledgement of something unseen is filled fast": (
        [
            *handshake(),
            b(20, seq=501, ack=237),  # nobody saw 101 to 236
            a(25, PSH | ACK, seq=101, length=136),
            b(26, seq=1949, ack=237, length=1448),
            b(27, seq=501, ack=237, length=1448),
        ],
        "fast_retransmission retransmission",
    ),
    "out of order within 3 ms where the SYN came at time 0": (
        [
            tcp(0, A, B, SYN, seq=100),
            tcp(1000, B, A, SYN | ACK, seq=500, ack=101),
            tcp(2000, A, B, ACK, seq=101, ack=501),
            tcp(3000, A, B, ACK, seq=101, ack=501, length=16),
            tcp(5_000, A, B, ACK, seq=101, ack=501, length=32),
        ],
        "out_of_order",
    ),
    "a plain transfer has no flag": ([*handshake(), a(20, seq=101, length=50), b(21, seq=501, ack=151)], ""),
    "SYN again": ([a(0, SYN, seq=100, ack=0), a(1000, SYN, seq=100, ack=0)], "retransmission"),
    "data again, late": ([*handshake(), a(20, seq=101, length=50), a(400, seq=101, length=50)], "retransmission"),
    "data again after its acknowledgement": (
        [*handshake(), a(20, seq=101, length=50), b(21, seq=501, ack=151), a(400, seq=101, length=50)],
        "retransmission spurious_retransmission",
    ),
    "an early segment comes soon after a later one": (
        [*handshake(), a(20, seq=151, length=50), a(21, seq=101, length=50)],
        "out_of_order",
    ),
    "the same, later than the initial round trip": (
        [*handshake(rtt_ms=2), a(20, seq=151, length=50), a(23, seq=101, length=50)],
        "retransmission",
    ),
    "without a handshake the round trip counts as 3 ms": (
        [a(19, seq=101, length=1), a(20, seq=152, length=50), a(22.9, seq=102, length=50)],
        "out_of_order",
    ),
    "two duplicate ACKs, then the missing segment": (
        [
            *handshake(),
            a(20, seq=151, length=50),
            b(21, seq=501, ack=101, window=100),
            b(22, seq=501, ack=101, window=100),
            b(23, seq=501, ack=101, window=100),
            a(50, seq=101, length=50),
        ],
        "retransmission",  # 27 ms after the last duplicate: too late for a fast one
    ),
    "fast retransmission within 20 ms": (
        [
            *handshake(),
            a(20, seq=151, length=50),
            b(31, seq=501, ack=101),
            b(32, seq=501, ack=101),
            b(33, seq=501, ack=101),
            a(40, seq=101, length=50),
        ],
        "fast_retransmission retransmission",
    ),
    "a hole": ([*handshake(), a(20, seq=151, length=40)], "lost_segment"),
    "an RST beyond the hole is no loss": ([*handshake(), a(20, RST, seq=151)], ""),
    "an acknowledgement of what nobody saw": ([*handshake(), b(20, seq=501, ack=300, window=99)], "ack_lost_segment"),
    "the same acknowledgement again": (
        [*handshake(), b(20, seq=501, ack=101), b(21, seq=501, ack=101)],
        "duplicate_ack",
    ),
    "window 0": ([*handshake(), b(20, seq=501, ack=101, window=0)], "zero_window"),
    "one byte into a closed window": (
        [*handshake(), b(20, seq=501, ack=101, window=0), a(30, seq=101, length=1)],
        "zero_window_probe",
    ),
    "the answer to that": (
        [
            *handshake(),
            b(20, seq=501, ack=101, window=0),
            a(30, seq=101, length=1),
            b(31, seq=501, ack=101, window=0),
        ],
        "zero_window zero_window_probe_ack",
    ),
    "the window opens": (
        [*handshake(), b(20, seq=501, ack=101, window=0), b(21, seq=501, ack=101, window=50)],
        "window_update",
    ),
    "the window is filled to its last byte": (
        [*handshake(), b(20, seq=501, ack=101, window=60), a(21, seq=101, length=60)],
        "window_full",
    ),
    "scaled windows": (
        [*handshake(scale=2), b(20, seq=501, ack=101, window=15), a(21, seq=101, length=60)],
        "window_full",
    ),
    "without a handshake scaling is unknown, and no window is full": (
        [b(0, seq=500, ack=100, window=60), b(1, seq=500, ack=101, window=60), a(2, seq=101, ack=500, length=60)],
        "",
    ),
    "keep-alive": ([*handshake(), a(20, seq=101, length=5), b(21, seq=501, ack=106), a(9000, seq=105)], "keep_alive"),
    "the answer to a keep-alive": (
        [
            *handshake(),
            a(20, seq=101, length=5),
            b(21, seq=501, ack=106),
            a(9000, seq=105),
            b(9001, seq=501, ack=106),
        ],
        "keep_alive_ack",
    ),
    "sequence numbers wrap": (
        [
            a(0, seq=2**32 - 10, length=20),
            a(1000, seq=10, length=20),
            a(2000, seq=2**32 - 10, length=20),
        ],
        "retransmission",
    ),
    "a FIN again": ([*handshake(), a(20, FIN | ACK, seq=101), a(400, FIN | ACK, seq=101)], "retransmission"),
}


@pytest.mark.parametrize("name", CASES)
def test_flags_of_the_last_frame(name: str) -> None:
    """The rule gives its flags to the last frame of the case."""
    frames, expected = CASES[name]
    found, _, _ = analysed(frames)

    assert set(expected.split()) == found[-1]


@pytest.mark.parametrize("name", CASES)
def test_slow_twin_agrees_on_every_case(name: str) -> None:
    """Kernel and twin agree on every frame of every case."""
    frames, _ = CASES[name]

    assert slow_tcp(frames) == analysed(frames)[0]


def test_totals() -> None:
    """Flagged segments are counted over all."""
    frames = [a(0, SYN, seq=100, ack=0), a(1000, SYN, seq=100, ack=0), a(2000, SYN, seq=100, ack=0)]
    _, tcp_analysis, _ = analysed(frames)

    assert tcp_analysis.counts()["retransmission"] == 2


SEGMENT = st.builds(
    lambda from_a, gap, flags, seq, ack, length, window, scale: (from_a, gap, flags, seq, ack, length, window, scale),
    st.booleans(),
    st.sampled_from([0, 1, 5, 25, 400]),
    st.sampled_from([ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, ACK, ACK]),
    st.sampled_from([2**32 - 6, 2**32 - 4, 100, 101, 102, 110, 120, 121]),
    st.sampled_from([2**32 - 4, 100, 101, 102, 110, 120, 121, 130]),
    st.sampled_from([0, 0, 1, 9, 10, 20]),
    st.sampled_from([0, 9, 10, 20]),
    st.sampled_from([-1, 0, 2]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(SEGMENT, max_size=30), st.integers(1, 31))
def test_equals_the_slow_twin_in_any_chunks(
    steps: list[tuple[bool, int, int, int, int, int, int, int]], chunk: int
) -> None:
    """Any exchange in any chunks: the flags of a separate, slow account of the same rules."""
    now, frames = 0, []
    for from_a, gap, flags, seq, ack, length, window, scale in steps:
        now += gap
        side = a if from_a else b
        frames.append(
            side(now, flags, seq=seq, ack=ack, length=length, window=window, scale=scale if flags & SYN else -1)
        )

    assert slow_tcp(frames) == analysed(frames, chunk)[0]


def test_retransmission_contains_fast_and_spurious() -> None:
    """A fast or spurious retransmission always carries the plain flag as well."""
    for frames, _ in CASES.values():
        for flags in analysed(frames)[0]:
            assert not flags & {"fast_retransmission", "spurious_retransmission"} or "retransmission" in flags
