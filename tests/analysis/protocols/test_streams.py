"""TCP reassembly: which frame shows which unit, as Wireshark decides it."""

from __future__ import annotations

import random

import pytest
from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers
from analysis.protocols.streams import (
    KEEP_ALIVE,
    KEPT_BYTES,
    OUT_OF_ORDER,
    RETRANSMISSION,
    SPURIOUS,
    Span,
    deliver_next,
)

FAST = 2
RECORD = b"\x17\x03\x03\x00\x64" + bytes(100)  # a TLS record of 105 bytes


def test_a_unit_in_one_segment_is_shown_there() -> None:
    """The layer has the bytes of the segment."""
    assert Talk(443).sized(CLIENT, RECORD) == [(layers.TLS, 105)]


def test_the_frame_that_completes_a_unit_shows_it_whole() -> None:
    """First and middle pieces are bare TCP; the last frame has the length of the whole unit."""
    talk = Talk(443)
    assert [talk.sized(CLIENT, piece) for piece in (RECORD[:40], RECORD[40:80], RECORD[80:])] == [
        [],
        [],
        [(layers.TLS, 105)],
    ]


def test_what_follows_in_the_same_segment_is_a_unit_of_its_own() -> None:
    """The end of one record and a whole one behind it: two PDUs."""
    talk = Talk(443)
    assert talk.say(CLIENT, RECORD[:50]) == ""
    assert talk.sized(CLIENT, RECORD[50:] + RECORD) == [(layers.TLS, 105), (layers.TLS, 105)]


def test_a_header_across_segments_waits_for_the_next_segment() -> None:
    """Three bytes of a record header do not tell its length."""
    talk = Talk(443)
    assert talk.say(CLIENT, RECORD[:3]) == ""
    assert talk.sized(CLIENT, RECORD[3:]) == [(layers.TLS, 105)]


def test_a_start_behind_a_whole_unit_keeps_the_layer_of_the_whole_one() -> None:
    """The layer takes all bytes that were handed over, the open record's too."""
    talk = Talk(443)
    assert talk.sized(CLIENT, RECORD + RECORD[:20]) == [(layers.TLS, 125)]
    assert talk.sized(CLIENT, RECORD[20:]) == [(layers.TLS, 105)]


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        (SPURIOUS | RETRANSMISSION, ""),
        (RETRANSMISSION, ""),
        (OUT_OF_ORDER, ""),
        (FAST | RETRANSMISSION, "tls"),
        (KEEP_ALIVE, "data"),
    ],
)
def test_tcp_analysis_decides_whether_a_segment_is_dissected(analysis: int, expected: str) -> None:
    """Repeats are bare, keep-alives are data, fast retransmissions bring new bytes."""
    assert Talk(443).say(CLIENT, RECORD, analysis=analysis) == expected


def test_a_segment_out_of_order_fills_its_place() -> None:
    """The late middle piece is bare, and so is the end that came before it."""
    talk = Talk(443)
    assert talk.say(CLIENT, RECORD[:40]) == ""
    assert talk.at(CLIENT, 1080, RECORD[80:]) == []
    assert talk.at(CLIENT, 1040, RECORD[40:80]) == [(layers.TLS, 105)]


def test_the_start_of_a_unit_sent_again_is_bare() -> None:
    """The same piece twice opens nothing new."""
    talk = Talk(443)
    talk.say(CLIENT, RECORD[:40])
    assert talk.at(CLIENT, 1000, RECORD[:40]) == []
    assert talk.at(CLIENT, 1040, RECORD[40:]) == [(layers.TLS, 105)]


def test_a_middle_piece_sent_again_after_the_end_is_refused() -> None:
    """Wireshark's reassembly reports an error, but for what TCP analysis knows as a plain retransmission."""
    talk = Talk(443)
    for piece in (RECORD[:40], RECORD[40:80], RECORD[80:]):
        talk.say(CLIENT, piece)
    assert talk.at(CLIENT, 1040, RECORD[40:80]) == [(layers.MALFORMED, 0)]
    assert talk.at(CLIENT, 1040, RECORD[40:80], analysis=RETRANSMISSION | FAST) == [(layers.MALFORMED, 0)]
    assert talk.at(CLIENT, 1040, RECORD[40:80], analysis=RETRANSMISSION) == []
    assert talk.at(CLIENT, 1000, RECORD[:40], analysis=OUT_OF_ORDER) == []  # its beginning is known


def test_a_plain_retransmission_completes_nothing() -> None:
    """Wireshark hands it to nobody; a fast one, or one out of order, fills the unit."""
    for analysis, expected in ((RETRANSMISSION, []), (RETRANSMISSION | FAST, [(layers.TLS, 105)]), (OUT_OF_ORDER, [])):
        talk = Talk(443)
        talk.say(CLIENT, RECORD[:40])
        assert talk.at(CLIENT, 1040, RECORD[40:], analysis=analysis) == expected


def test_behind_a_gap_everything_begins_anew() -> None:
    """The piece behind a lost segment is handed to the dissector as it is."""
    talk = Talk(443)
    assert talk.client(RECORD) == "tls"
    assert talk.say(CLIENT, RECORD, skip=1000) == "tls"


def test_sequence_numbers_wrap() -> None:
    """The server's numbers pass 2^32 inside a unit."""
    talk = Talk(443)
    big = b"\x17\x03\x03\x10\x00" + bytes(4096)
    assert talk.sized(SERVER, big[:200]) == []
    assert talk.sized(SERVER, big[200:3000]) == []
    assert talk.sized(SERVER, big[3000:]) == [(layers.TLS, 4101)]


def test_a_cut_segment_is_dissected_alone() -> None:
    """What the capture did not store cannot be waited for."""
    assert Talk(443).say(CLIENT, RECORD, cut=60) == "tls/_ws.short"
    assert Talk(443).say(CLIENT, RECORD, cut=102) == "tls/_ws.short"


def test_reset_and_unknown_are_data() -> None:
    """A connection that nobody knows is data in every segment."""
    talk = Talk(40_000)
    assert [talk.client(b"\x00\x01\x02\x03 hello"), talk.server(b"\xfe\xfd")] == ["data", "data"]


def test_a_span_keeps_a_bounded_part() -> None:
    """Bytes beyond the bound are counted, not kept."""
    span = Span(0, 10 * KEPT_BYTES, False)
    for at in range(0, 4 * KEPT_BYTES, KEPT_BYTES):
        span.put(at, bytes(KEPT_BYTES))
    assert (len(span.data), span.filled) == (KEPT_BYTES, 4 * KEPT_BYTES)


def test_pieces_behind_a_gap_wait_in_any_order() -> None:
    """They are joined when the gap is filled; the first bytes at a place win."""
    span = Span(0, 9, False)
    span.put(6, b"ghi")
    span.put(3, b"def")
    span.put(3, b"XXX")
    span.put(0, b"abc")
    assert bytes(span.data) == b"abcdefghi"


@pytest.mark.parametrize("seed", range(20))
def test_the_short_way_shows_what_the_long_way_shows(seed: int) -> None:
    """Pieces of records in order, after gaps, before the end and twice: `deliver_next` agrees, or leaves it to `deliver`."""
    dice = random.Random(seed)
    stream = b"".join(b"\x17\x03\x03" + (n := dice.randrange(1, 400)).to_bytes(2, "big") + bytes(n) for _ in range(60))
    long, short = Talk(443), Talk(443)
    at, taken = 0, 0
    while at < len(stream):
        size = dice.randrange(1, 500)
        piece, seq = stream[at : at + size], (0xFFFFF000 + at) & 0xFFFFFFFF
        found = deliver_next(short.stream, CLIENT, seq, piece, 1, 1000, 24)
        taken += found is not None
        if found is None:
            found = short.at(CLIENT, seq, piece)
        assert found == long.at(CLIENT, seq, piece)
        at += dice.choice((size, size, size, size + 100, -50 if at > 50 else size))
    assert taken > 10
