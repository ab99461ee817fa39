"""Connection states are the kernel's: the table of first packets, answers, time-outs, and drops that keep no entry.

The kernel itself answers the same packets in test_proof.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import firewall_packets as fp
import numpy as np
import pytest
from firewall_packets import ACK, FIN, PSH, RST, SECOND, SYN, URG

from firewall.conntrack import ESTABLISHED, NEW, REPLY, Tracker
from firewall.headers import read
from firewall.traffic import Conversations

WORDS = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "unknown", "ESTABLISHED")
A, B = "10.0.0.1", "192.0.2.5"
A6, B6 = "2001:db8::1", "2001:db8::2"
ECE = 64


def states(packets: Sequence[bytes], *, times: Sequence[int] | None = None, drop: Sequence[int] = (), clock: bool = True) -> list[str]:  # fmt: skip
    """The states of packets in order; `drop`: positions that would be dropped if NEW."""
    headers, _ = read(fp.batch(packets, times=times))
    conversations = Conversations()
    marked = conversations.update(headers, fp.batch(packets).data)
    dropped = np.isin(np.arange(len(packets)), drop).astype(np.int64)
    found = Tracker(clock).states(marked, headers.flags, headers.time_ns, dropped, conversations.count)
    return [WORDS[s] for s in found.tolist()]


def there(flags: int, size: int = 0) -> bytes:
    return fp.tcp(A, 1024, B, 80, flags, size)


def back(flags: int, size: int = 0) -> bytes:
    return fp.tcp(B, 80, A, 1024, flags, size)


FIRST = {
    "SYN": (there(SYN), "NEW"),
    "ACK, mid-stream": (there(ACK), "NEW"),
    "PSH ACK, mid-stream": (there(PSH | ACK, 5), "NEW"),
    "SYN ACK": (there(SYN | ACK), "INVALID"),
    "FIN ACK": (there(FIN | ACK), "INVALID"),
    "FIN": (there(FIN), "INVALID"),
    "RST": (there(RST), "INVALID"),
    "RST ACK": (there(RST | ACK), "INVALID"),
    "null": (there(0), "INVALID"),
    "SYN RST": (there(SYN | RST), "INVALID"),
    "SYN FIN": (there(SYN | FIN), "INVALID"),
    "FIN PSH URG": (there(FIN | PSH | URG), "INVALID"),
    "ECE only": (there(ECE), "INVALID"),
    "UDP": (fp.udp(A, 5000, B, 53), "NEW"),
    "echo request": (fp.icmp(A, B, 8), "NEW"),
    "timestamp request": (fp.icmp(A, B, 13), "NEW"),
    "orphan echo reply": (fp.icmp(A, B, 0), "INVALID"),
    "unreachable about nobody": (fp.icmp(A, B, 3, 1, body=fp.udp(B, 1, A, 2)), "INVALID"),
    "redirect about nobody": (fp.icmp(A, B, 5, 1, body=fp.udp(B, 1, A, 2)), "INVALID"),
    "IGMP": (fp.ip(A, B, 2, bytes(8)), "NEW"),
    "ESP": (fp.ip(A, B, 50, bytes(16)), "NEW"),
    "SCTP: not modelled": (fp.ip(A, B, 132, bytes(12)), "unknown"),
    "ICMPv6 echo request": (fp.icmp(A6, B6, 128), "NEW"),
    "ICMPv6 orphan echo reply": (fp.icmp(A6, B6, 129), "INVALID"),
    "neighbour solicitation": (fp.icmp(A6, B6, 135), "UNTRACKED"),
    "router advertisement": (fp.icmp(A6, B6, 134), "UNTRACKED"),
    "MLD report": (fp.icmp(A6, B6, 143), "UNTRACKED"),
    "ICMPv6 redirect": (fp.icmp(A6, B6, 137), "INVALID"),
    "packet too big about nobody": (fp.icmp(A6, B6, 2, body=fp.udp(B6, 1, A6, 2)), "INVALID"),
}


@pytest.mark.parametrize("name", FIRST)
def test_first_packets(name: str) -> None:
    """What a first packet of each kind is (reference: Linux 6.x defaults, tcp_loose=1)."""
    packet, expected = FIRST[name]

    assert states([packet]) == [expected]


THEN = {
    "handshake and data": ([there(SYN), back(SYN | ACK), there(ACK), there(PSH | ACK, 9), back(ACK)], ["NEW"] + ["ESTABLISHED"] * 4),
    "refused, tried again": ([there(SYN), back(RST | ACK), there(SYN)], ["NEW", "ESTABLISHED", "NEW"]),
    "SYN resent": ([there(SYN), there(SYN)], ["NEW", "NEW"]),
    "mid-stream, both sides": ([there(ACK), back(ACK), there(ACK)], ["NEW", "ESTABLISHED", "ESTABLISHED"]),
    "echo": ([fp.icmp(A, B, 8), fp.icmp(B, A, 0)], ["NEW", "ESTABLISHED"]),
    "echo of another id": ([fp.icmp(A, B, 8), fp.icmp(B, A, 0, ident=8)], ["NEW", "INVALID"]),
    "UDP answer": ([fp.udp(A, 5000, B, 53), fp.udp(B, 53, A, 5000)], ["NEW", "ESTABLISHED"]),
    "fragmentation needed about it": ([there(SYN), fp.icmp("10.0.0.254", A, 3, 4, body=there(SYN)[:28])], ["NEW", "RELATED"]),
    "too big about it": ([fp.udp(A6, 5000, B6, 53), fp.icmp(B6, A6, 2, body=fp.udp(A6, 5000, B6, 53))], ["NEW", "RELATED"]),
    "error with a cut quote": ([there(SYN), fp.icmp("10.0.0.254", A, 3, 4, body=there(SYN)[:20])], ["NEW", "INVALID"]),
}  # fmt: skip


@pytest.mark.parametrize("name", THEN)
def test_what_follows(name: str) -> None:
    """States of a short exchange."""
    packets, expected = THEN[name]

    assert states(packets) == expected


def test_a_dropped_packet_makes_no_entry() -> None:
    """The answer to a dropped request is an orphan; a dropped SYN stays NEW each time."""
    assert states([fp.icmp(A, B, 8), fp.icmp(B, A, 0)], drop=[0]) == ["NEW", "INVALID"]
    assert states([there(SYN), there(SYN), back(SYN | ACK)], drop=[0, 1]) == ["NEW", "NEW", "INVALID"]


def test_udp_times_out() -> None:
    """30 s without an answer: at 0, 60, 61 (answer), 150 s the states are NEW NEW ESTABLISHED NEW."""
    there_, back_ = fp.udp(A, 5000, B, 53), fp.udp(B, 53, A, 5000)
    times = [0, 60 * SECOND, 61 * SECOND, 150 * SECOND]

    assert states([there_, there_, back_, there_], times=times) == ["NEW", "NEW", "ESTABLISHED", "NEW"]
    assert states([there_, there_, back_, there_], times=times, clock=False) == ["NEW", "NEW", "ESTABLISHED", "ESTABLISHED"]  # fmt: skip


def test_udp_stream_lives_longer() -> None:
    """Two ways for more than two seconds is a stream: 120 s."""
    there_, back_ = fp.udp(A, 5000, B, 53), fp.udp(B, 53, A, 5000)
    times = [0, SECOND, 4 * SECOND, 100 * SECOND]

    assert states([there_, back_, there_, there_], times=times)[-1] == "ESTABLISHED"


def test_the_table_outlives_a_chunk() -> None:
    """A conversation cut between two chunks is one conversation."""
    conversations, tracker = Conversations(), Tracker()
    found = []
    for packet in (there(SYN), back(SYN | ACK)):
        batch = fp.batch([packet])
        headers, _ = read(batch)
        marked = conversations.update(headers, batch.data)
        found += tracker.states(
            marked, headers.flags, headers.time_ns, np.zeros(1, np.int64), conversations.count
        ).tolist()

    assert [WORDS[s] for s in found] == ["NEW", "ESTABLISHED"]


def test_packets_that_go_back_are_told() -> None:
    """REPLY is ESTABLISHED against the direction that opened: by TCP, by UDP, and after the opener's packet was dropped."""
    packets = [there(SYN), back(SYN | ACK), there(ACK), fp.udp(A, 5000, B, 53), fp.udp(B, 53, A, 5000)]
    conversations = Conversations()
    batch = fp.batch(packets)
    headers, _ = read(batch)
    marked = conversations.update(headers, batch.data)
    found = Tracker().states(marked, headers.flags, headers.time_ns, np.zeros(5, np.int64), conversations.count)

    assert found.tolist() == [NEW, REPLY, ESTABLISHED, NEW, REPLY]
