"""Streams named in another process: the same names and facts, errors that arrive, and an end in every case."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from tcp_talk import batch_of, paths
from udp_batches import Sent, path
from udp_batches import batch as datagrams

from analysis.columns import Batch
from analysis.errors import AnalysisError
from analysis.facts import Facts
from analysis.flows import Ends
from analysis.protocols.naming import Naming
from analysis.protocols.stream_naming import WRITTEN, StreamNaming
from analysis.stream_process import SLOTS, StreamProcess

REQUEST = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")


@pytest.fixture
def apart() -> Iterator[StreamProcess]:
    process = StreamProcess(Facts())
    yield process
    process.close()


def _batches(n: int) -> list[tuple[Batch, Ends]]:
    """One connection a batch, and one that goes on from batch to batch; batches grow."""
    made = []
    at = 100
    for i in range(n):
        rows = [(0, 0, at, REQUEST % i, 0)] + [(1 + i, 0, 1, b"\xe0" * 3000, 0)] * (1 + 40 * i)
        at += len(REQUEST % i)
        made.append(batch_of(rows, [80, *[4444] * n]))
    return made


def test_another_process_finds_what_this_one_finds(apart: StreamProcess) -> None:
    """More batches than slots, larger than a slot was at first: columns and facts are the same."""
    here = Naming()
    expected = _batches(2 * SLOTS)
    for batch, ends in expected:
        here.update(batch, ends)
    here.finish()
    there = Naming(apart.facts, apart)
    found = []
    for batch, ends in apart.sent(apart.placed(iter(_batches(2 * SLOTS)))):
        there.update(batch, ends)
        found.append((paths(batch), [getattr(batch.packets, name).tolist() for name in WRITTEN]))
    there.finish()

    assert found == [(paths(b), [getattr(b.packets, name).tolist() for name in WRITTEN]) for b, _ in expected]
    assert there.facts == here.facts
    assert len(there.facts.http) == 2 * SLOTS
    assert there.application.tolist() == here.application.tolist()


def test_neither_waits_for_the_other_for_ever(apart: StreamProcess) -> None:
    """Batches with long secrets go to a process that is answering with many facts: more than pipes hold, either way."""
    naming = Naming(apart.facts, apart)
    asked = [(i, 0, 1, b"GET /" + b"x" * 900 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 0) for i in range(300)]
    made = [batch_of(asked, [80] * 300) for _ in range(2 * SLOTS)]
    for batch, ends in apart.sent(apart.placed((b._replace(secrets=b"#" * 200_000), e) for b, e in made)):
        naming.update(batch, ends)
    naming.finish()
    assert len(naming.facts.http) > 300


def test_media_announced_there_are_known_here(apart: StreamProcess) -> None:
    """A session description over TCP says where RTP will be sent over UDP, in whichever process it was read."""
    body = b"v=0\r\nc=IN IP4 10.0.0.9\r\nm=audio 6000 RTP/AVP 0\r\n"
    invite = b"INVITE sip:a SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(body)
    called = [batch_of([(0, 0, 100, invite + body, 0)], [5060])]
    naming = Naming(apart.facts, apart)
    for batch, ends in apart.sent(apart.placed(iter(called))):
        naming.update(batch, ends)
    assert paths(batch) == ["sip"]
    spoken = datagrams(Sent(b"\x80\0" + bytes(30), "10.0.0.1", 7000, "10.0.0.9", 6000))
    naming._datagrams.update(spoken)
    assert path(spoken, 0) == "rtp"


def test_an_error_there_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dissector raises by mistake is not lost in the other process."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("there")

    monkeypatch.setattr(StreamNaming, "update", fail)
    process = StreamProcess(Facts())
    try:
        naming = Naming(process.facts, process)
        with pytest.raises(ZeroDivisionError, match="there"):
            for batch, ends in process.sent(process.placed(iter(_batches(2)))):
                naming.update(batch, ends)
    finally:
        process.close()


def test_a_process_that_was_killed_is_one_line(apart: StreamProcess) -> None:
    """Out of memory, for instance: an error of ours, whether it happens before or after a batch was sent."""
    naming = Naming(apart.facts, apart)
    os.kill(apart.process, signal.SIGKILL)
    with pytest.raises(AnalysisError, match="has ended"):
        for batch, ends in apart.sent(apart.placed(iter(_batches(4)))):
            naming.update(batch, ends)


def test_it_ends_when_nobody_asks_any_more() -> None:
    """In the middle of a capture too; nothing is left that would have to be waited for."""
    process = StreamProcess(Facts())
    next(process.sent(process.placed(iter(_batches(3)))))
    process.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(process.process, os.WNOHANG)
