"""The stage as a whole: fast lanes, conversations that turn out to be something, applications, facts in order."""

from __future__ import annotations

import random

import pytest
from tcp_talk import batch_of, paths

from analysis import layers
from analysis.protocols.naming import Naming
from analysis.protocols.streams import FAST, OUT_OF_ORDER, RETRANSMISSION, SPURIOUS

CCS = b"\x14\x03\x03\x00\x01\x01"
SEALED = b"\x17\x03\x03\x00\x2d" + bytes(45)  # 50 bytes


def _stream(flow: int, direction: int, start: int, pieces: list[bytes]) -> list[tuple[int, int, int, bytes, int]]:
    rows = []
    for piece in pieces:
        rows.append((flow, direction, start & 0xFFFFFFFF, piece, 0))
        start += len(piece)
    return rows


def test_sealed_records_are_named_without_a_dissector() -> None:
    """Whole records, pieces, and a piece with the next record behind it, across the wrap of sequence numbers."""
    joined = SEALED * 6
    pieces = [CCS, SEALED, joined[:70], joined[70:80], joined[80:200], joined[200:], SEALED]
    batch, ends = batch_of(_stream(0, 0, 0xFFFFFFF0, pieces), [443])
    naming = Naming()
    naming.update(batch, ends)
    assert paths(batch) == ["tls", "tls", "tls", "", "tls", "tls", "tls"]
    assert batch.packets.layer_bytes[:, 3].tolist() == [6, 50, 70, 0, 50 + 100, 100, 50]
    assert batch.packets.layer_pdus[:, 3].tolist() == [1, 1, 1, 0, 2, 1, 1]
    assert int(batch.packets.last_pdu_bytes[4]) == 100  # the record that ended there is another PDU than the rest
    assert naming.application[:2].tolist() == [layers.TLS, 0]


def test_the_fast_lane_gives_what_the_dissectors_give() -> None:
    """One segment a batch never enters a lane: both ways name the same, with repeats and gaps in between."""
    chance = random.Random(5)
    stream = CCS + b"".join(
        b"\x17\x03\x03" + (n := chance.randrange(1, 900)).to_bytes(2, "big") + bytes(n) for _ in range(80)
    )
    rows = []
    at = 0
    while at < len(stream):
        size = chance.randrange(1, 700)
        rows.append((0, 0, 5000 + at, stream[at : at + size], 0))
        if chance.random() < 0.1:
            rows.append(
                (0, 0, 5000 + at, stream[at : at + size], chance.choice((SPURIOUS, RETRANSMISSION, OUT_OF_ORDER)))
            )
        at += size + (300 if chance.random() < 0.05 else 0)
    together, ends = batch_of(rows, [443])
    Naming().update(together, ends)
    slow = []
    naming = Naming()
    for row in rows:
        alone, ends = batch_of([row], [443])
        naming.update(alone, ends)
        slow += paths(alone)
    assert paths(together) == slow


def test_a_conversation_that_turns_out_to_be_tls_was_tls_before() -> None:
    """The first segments looked like nothing; when a record is recognised they are named again."""
    record = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"
    batch, ends = batch_of(_stream(0, 0, 100, [b"\x00\x01\x02\x09\x00\x07", b"\xf0" * 30, record]), [4444])
    Naming().update(batch, ends)
    assert paths(batch) == ["tls", "tls", "tls"]


def test_unknown_streams_stay_data_until_something_begins() -> None:
    """After some refusals the kernel names the segments; a recognisable start is still seen."""
    rows = _stream(0, 0, 100, [bytes((200, n)) * 9 for n in range(20)] + [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    batch, ends = batch_of(rows, [40_000])
    naming = Naming()
    naming.update(batch, ends)
    naming.finish()
    assert paths(batch)[-1] == "http"
    assert [fact.host for fact in naming.facts.http] == ["a"]


def test_a_request_makes_http_of_what_came_before() -> None:
    """A capture that begins in the middle of an answer: the first segments are hidden, the later ones in a lane."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    rows = [*_stream(0, 1, 100, [b"\x9f\x00body"] * 12), (0, 0, 500, request, 0), (0, 1, 172, b"\x9f\x00body", 0)]
    batch, ends = batch_of(rows, [80])
    Naming().update(batch, ends)
    assert paths(batch) == ["http"] * 14
    assert batch.packets.layer_bytes[:, 3].tolist() == [6] * 12 + [len(request), 6]
    batch, ends = batch_of(rows[:12], [80])
    Naming().update(batch, ends)
    assert paths(batch) == [""] * 12  # nobody asks


def test_a_unit_that_begins_late_covers_what_came_before_it() -> None:
    """The middle of a record arrived first; when its beginning is repeated, the middle was no unit of its own."""
    record = b"\x17\x03\x03\x00\xfb" + bytes(range(100, 200)) + bytes(range(51, 202))
    rows = [
        (0, 0, 100, CCS, 0),
        (0, 0, 206, record[100:200], 0),
        (0, 0, 106, record[:100], RETRANSMISSION | FAST),
        (0, 0, 306, record[200:], 0),
    ]
    for begun in (2, 4):
        batch, ends = batch_of(rows[:begun], [443])
        Naming().update(batch, ends)
        assert paths(batch) == (["tls", "tls"] if begun == 2 else ["tls", "", "", ""])
    again = [(0, 0, 106, record[:100], 0), *rows[1:]]
    batch, ends = batch_of([(0, 0, 100, CCS, 0), *again], [443])
    Naming().update(batch, ends)
    assert paths(batch)[-1] == "tls"  # a repeat begins nothing


def test_long_bodies_pass_in_the_kernel_and_are_whole_in_the_end() -> None:
    """A body of 60 kB: bare frames, then the response with its text; also when batches end inside it."""
    body = bytes(65 + n % 26 for n in range(60_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n"
    answer = head + body
    pieces = [answer[at : at + 1400] for at in range(0, len(answer), 1400)]
    rows = _stream(0, 1, 77, pieces)
    for size in (len(rows), 7):
        naming = Naming()
        found: list[str] = []
        sizes: list[int] = []
        for at in range(0, len(rows), size):
            batch, ends = batch_of(rows[at : at + size], [80])
            naming.update(batch, ends)
            found += paths(batch)
            sizes += batch.packets.layer_bytes[:, 4].tolist()
        assert found == [""] * (len(rows) - 1) + ["http/data-text-lines"]
        assert sizes[-1] == 60_000


@pytest.mark.parametrize("tail", [b"", b"rest"])
@pytest.mark.parametrize("size", [100, 20_000])
def test_a_fin_ends_a_body_without_a_length(size: int, tail: bytes) -> None:
    """HTTP/1.0: the body runs until the server closes, with its last bytes or alone, in this batch or a later one."""
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x" * size
    rows = _stream(0, 1, 77, [answer[at : at + 1400] for at in range(0, len(answer), 1400)])
    rows.append((0, 1, 77 + len(answer), tail, 0))
    for split in (len(rows), len(rows) - 1):
        naming = Naming()
        found: list[str] = []
        sizes: list[int] = []
        for part in (rows[:split], rows[split:]):
            batch, ends = batch_of(part, [80])
            if part and part[-1] is rows[-1]:
                batch.packets.tcp_flags[-1] |= 1
            naming.update(batch, ends)
            found += paths(batch)
            sizes += batch.packets.layer_bytes[:, 4].tolist()
        naming.finish()
        assert found == [""] * (len(rows) - 1) + ["http/data-text-lines"]
        assert sizes[-1] == size + len(tail)
        assert [fact.status for fact in naming.facts.http] == [200]


def test_a_fin_behind_a_gap_ends_nothing() -> None:
    """A byte of the body is missing."""
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    batch, ends = batch_of([(0, 1, 77, answer, 0), (0, 1, 78 + len(answer), b"", 0)], [80])
    batch.packets.tcp_flags[-1] |= 1
    Naming().update(batch, ends)
    assert paths(batch) == ["", ""]


def test_facts_come_in_frame_order() -> None:
    """Flows are walked one after the other; facts are sorted at the end."""
    request = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
    rows = [(n % 2, 0, 100 + 30 * n, request % n, 0) for n in range(6)]
    batch, ends = batch_of(rows, [80, 8080])
    naming = Naming()
    naming.update(batch, ends)
    naming.finish()
    assert [fact.number for fact in naming.facts.http] == [1, 2, 3, 4, 5, 6]


def test_an_announced_data_connection_is_ftp_data() -> None:
    """The control connection names the port of the next connection (RFC 959 3.2)."""
    rows = [
        (0, 1, 10, b"227 Entering Passive Mode (10,0,0,1,200,1)\r\n", 0),
        (1, 1, 10, b"drwxr-xr-x 1 user group 4096 Jan  1 00:00 files\r\n", 0),
        (2, 1, 10, b"\x89PNG\r\n\x1a\n\x00\x00\x00\x00", 0),
    ]
    batch, ends = batch_of(rows, [21, 200 * 256 + 1, 200 * 256 + 2])
    Naming().update(batch, ends)
    assert paths(batch) == ["ftp", "ftp-data/data-text-lines", "data"]


def test_what_is_no_http_passes_in_the_kernel_until_http_begins() -> None:
    """Sealed records on port 80 show nothing, though TLS could begin so; a header line behind them is still seen."""
    pieces = [SEALED] * 9 + [b"\x17\x03\x03: a\r\n", b"ETAG: a\r\n"] + [SEALED] * 9
    rows = _stream(0, 0, 100, pieces)
    together, ends = batch_of(rows, [80])
    Naming().update(together, ends)
    alone = []
    naming = Naming()
    for row in rows:
        batch, ends = batch_of([row], [80])
        naming.update(batch, ends)
        alone += paths(batch)
    assert paths(together) == alone
    assert alone == [""] * 10 + ["http"] + [""] * 9
