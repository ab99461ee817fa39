"""Datagrams are put together as Linux does, before any rule of a stateful program sees them."""

from __future__ import annotations

from collections.abc import Sequence

import firewall_packets as fp
import pytest
from firewall_packets import SECOND

from firewall.fragments import QUEUES_MAX, TIMEOUT_NS, Defragmenter
from firewall.headers import read

A, B = "10.0.0.1", "192.0.2.5"
HEAD = bytes((4, 0, 0, 53, 0, 72, 0, 0))  # UDP 1024 -> 53
BODY = HEAD + bytes(64)


def piece(first: int, end: int, *, more: bool, ident: int = 1) -> bytes:
    """Bytes first to end of the datagram."""
    return fp.ipv4(A, B, 17, BODY[first:end], offset=first // 8, more=more, ident=ident)


def whole(packets: Sequence[bytes], times: Sequence[int] | None = None) -> list[tuple[int, int]]:
    """(length, destination port) of what rules see."""
    batch = fp.batch(packets, times=times)
    headers, _ = read(batch)
    seen = Defragmenter().apply(headers, batch.data)
    return list(zip(seen.length.tolist(), seen.dport.tolist()))


FULL = [(92, 53)]  # 20 + 72 bytes, one packet
TRAINS = {
    "in order": ([piece(0, 24, more=True), piece(24, 48, more=True), piece(48, 72, more=False)], FULL),
    "last first": ([piece(48, 72, more=False), piece(24, 48, more=True), piece(0, 24, more=True)], FULL),
    "one twice": ([piece(0, 24, more=True), piece(0, 24, more=True), piece(24, 72, more=False)], FULL),
    "without its first": ([piece(24, 48, more=True), piece(48, 72, more=False)], []),
    "without its middle": ([piece(0, 24, more=True), piece(48, 72, more=False)], []),
    "overlapping": ([piece(0, 32, more=True), piece(24, 72, more=False)], []),
    "overlapping, then sent again": ([piece(0, 24, more=True), piece(16, 40, more=True), piece(0, 24, more=True), piece(24, 72, more=False)], FULL),
    "two datagrams at once": ([piece(0, 24, more=True), piece(0, 24, more=True, ident=2), piece(24, 72, more=False, ident=2)], FULL),
    "no fragment at all": ([fp.udp(A, 1024, B, 53)], [(32, 53)]),
    "beyond the largest packet": ([piece(0, 24, more=True), fp.ipv4(A, B, 17, bytes(64), offset=8190)], []),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINS)
def test_trains(name: str) -> None:
    """Whole datagrams reach the rules once, the rest never."""
    packets, expected = TRAINS[name]

    assert whole(packets) == expected


def test_too_late_is_another_datagram() -> None:
    """Thirty seconds, then what waited is forgotten."""
    packets = [piece(0, 24, more=True), piece(24, 72, more=False)]

    assert whole(packets, [0, TIMEOUT_NS]) == FULL
    assert whole(packets, [0, TIMEOUT_NS + SECOND]) == []


def test_a_train_may_be_cut_between_chunks() -> None:
    """What waits outlives a chunk."""
    defragmenter = Defragmenter()
    seen = []
    for packet in TRAINS["in order"][0]:
        batch = fp.batch([packet])
        seen += defragmenter.apply(read(batch)[0], batch.data).length.tolist()

    assert seen == [92]


def test_a_flood_of_lone_fragments_is_bounded() -> None:
    """Beyond the limit the oldest is forgotten."""
    defragmenter = Defragmenter()
    packets = [fp.ipv4(f"10.{n >> 14}.{n >> 7 & 127}.{n & 127}", B, 17, bytes(8), more=True) for n in range(QUEUES_MAX + 50)]  # fmt: skip
    batch = fp.batch(packets)
    defragmenter.apply(read(batch)[0], batch.data)

    assert len(defragmenter._queues) == QUEUES_MAX
