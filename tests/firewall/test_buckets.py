"""Token buckets: the counts that a kernel was measured to give."""

from __future__ import annotations

import pytest

from firewall.buckets import Buckets
from firewall.rules import Rate

SECOND = 1_000_000_000
# 50 packets at once (measured on Linux 6.18)
MEASURED = {
    "limit 5/min burst 7": (Rate(5, 60, 7, False, ()), 7),
    "limit 10/s burst 5": (Rate(10, 1, 5, False, ()), 5),
    "hashlimit above 10/s burst 20": (Rate(10, 1, 20, True), 30),
    "hashlimit up to 10/s burst 20": (Rate(10, 1, 20, False), 20),
}


@pytest.mark.parametrize("name", MEASURED)
def test_at_once(name: str) -> None:
    """The bucket starts full, a packet costs one."""
    rate, expected = MEASURED[name]
    bucket = Buckets(rate)

    assert sum(bucket.match((1,), 0) for _ in range(50)) == expected


def test_refill() -> None:
    """Ten a second: after the burst, one more each 100 ms; never more than the burst."""
    bucket = Buckets(Rate(10, 1, 5, False))
    at_once = sum(bucket.match((), 0) for _ in range(9))
    later = sum(bucket.match((), SECOND // 10 * n) for n in range(1, 11))
    after_a_day = sum(bucket.match((), 86400 * SECOND) for _ in range(9))

    assert (at_once, later, after_a_day) == (5, 10, 5)


def test_keys_are_apart_and_time_may_run_back() -> None:
    """Each key has its own bucket; a clock that steps back refills nothing."""
    bucket = Buckets(Rate(1, 60, 1, False))

    assert [bucket.match((1,), 100), bucket.match((2,), 100), bucket.match((1,), 50), bucket.match((2,), 0)] == [
        True,
        True,
        False,
        False,
    ]
