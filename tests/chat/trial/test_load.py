"""The load generator counts every delivery, tells delays, and says what went wrong."""

import asyncio
import os
from pathlib import Path

import pytest
from live_chat import live_server

from chat.link import Address
from chat.trial import load
from chat.trial.load import LoadError, Plan, find_server, run_load, summary

FREE = {
    "rates__messages_per_s": 0.0,
    "rates__account_messages_per_s": 0.0,
    "rates__address_messages_per_s": 0.0,
    "rates__room_messages_per_s": 0.0,
}


def measured(folder: Path, plan: Plan, **options: object) -> dict[str, object]:
    """A run against a server in this process; the generator works in a thread."""

    async def scene() -> dict[str, object]:
        async with live_server(folder, **options) as address:
            return await asyncio.to_thread(run_load, plan, address)

    return asyncio.run(asyncio.wait_for(scene(), 280))


def test_every_delivery_is_counted(tmp_path: Path) -> None:
    """Everybody gets everything, the senders too: deliveries are members times messages, nothing is missing."""
    report = measured(tmp_path, Plan(clients=20, senders=4, seconds=0.5, rate=0, window=5), **FREE)

    assert report["acked"] == report["sent"] and report["sent"] > 0
    assert report["deliveries"] == 20 * report["sent"]
    assert (report["missing"], report["errors"], report["gaps"]) == (0, {}, 0)
    assert report["delay_ms"]["samples"] == report["deliveries"]
    assert 0 < report["delay_ms"]["p50"] <= report["delay_ms"]["p99"] <= report["delay_ms"]["max"]
    assert report["server"]["pid"] == os.getpid()
    assert "missing 0" in summary(report)


def test_a_rate_is_kept(tmp_path: Path) -> None:
    """With a rate the number of messages follows from it, whatever the server's speed."""
    report = measured(tmp_path, Plan(clients=5, senders=2, seconds=1.0, rate=40.0))

    assert 36 <= report["sent"] <= 40
    assert report["missing"] == 0


def test_members_that_do_not_read_harm_nobody(tmp_path: Path) -> None:
    """Those who read get everything; the stopped ones are not counted as missing."""
    report = measured(tmp_path, Plan(clients=10, senders=2, seconds=0.5, rate=0, size_bytes=2000, slow=2), **FREE)

    assert report["missing"] == 0
    assert report["deliveries"] >= 8 * report["sent"]


def test_refusals_are_errors(tmp_path: Path) -> None:
    """A server that refuses is reported with its words; the run ends all the same."""
    report = measured(tmp_path, Plan(clients=3, senders=2, seconds=0.5, rate=0), limits__text_bytes=50)

    assert report["acked"] == 0 and report["errors"]["too-long"] > 0


def test_who_is_not_let_in_is_said(tmp_path: Path) -> None:
    """Nobody there, or no guests: one line."""
    with pytest.raises(LoadError, match="refused"):
        run_load(Plan(clients=1, senders=1, seconds=0.1), Address("127.0.0.1", 1))
    with pytest.raises(LoadError, match="auth-failed"):
        measured(tmp_path, Plan(clients=2, senders=1, seconds=0.1), server__guests=False)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_frame_cut_anywhere_is_counted_once(cut: int) -> None:
    """The first bytes of a frame may be the last of a read: the count is the same for every cut."""
    stream = (load.MSG + b"\0" * 8 + b'{"x":1}') * 3
    member = load.Member("m", None, None, False)  # type: ignore[arg-type]
    run = load._Run(Plan(clients=1, senders=1), Address(), None)
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    run._read = lambda _: pieces.pop(0)  # type: ignore[method-assign]
    while pieces:
        run._receive(member)
    run.close()

    assert member.received == 3


def test_no_server_is_found_where_none_listens() -> None:
    """A port nobody listens on, or a server on another machine, has no process here."""
    assert find_server(Address("127.0.0.1", 1)) is None
    assert find_server(Address("192.0.2.1", 1234)) is None


def test_percentiles_are_nearest_rank() -> None:
    """Of 1..100 ms the median is 51, the 99th percentile 100."""
    delays = [n * 1_000_000 for n in range(1, 101)]

    assert [load._percentile_ms(delays, share) for share in (0.5, 0.99, 1.0)] == [51.0, 100.0, 100.0]
    assert load._percentile_ms([], 0.5) is None
