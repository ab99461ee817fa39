"""Conversations, endpoints and properties, from frames made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_frames import ACK, SYN, Made, batches, tcp, udp

from analysis.addresses import address_texts
from analysis.columns import NO_TIME
from analysis.flows import FlowTable
from analysis.stats.conversations import SHOWN, Conversations
from analysis.stats.endpoints import Endpoints
from analysis.stats.properties import PropertyCounter, unix_seconds

S, MS = 1_000_000_000, 1_000_000
A, B = ("10.0.0.1", 40000), ("10.0.0.2", 80)


def tables(frames: list[Made], names: dict[str, list[str]] | None = None) -> tuple[Conversations, Endpoints]:
    """Both tables of the frames; `names` by address."""
    table = FlowTable()
    for batch in batches(frames):
        table.update(batch)
    flows, texts = table.finish(), address_texts(table.addresses())
    by_id = {texts.index(text): known for text, known in (names or {}).items()}
    return Conversations(flows, texts, by_id, frames[0].time_ns if frames else 0), Endpoints(flows, texts, by_id)


def test_a_conversation_by_direction() -> None:
    """Packets and bytes by direction, start relative to frame 1, rates over the whole row."""
    frames = [udp(S, ("10.0.0.9", 1), B), tcp(3 * S, A, B, SYN, seq=1, length=46), tcp(5 * S, B, A, ACK, seq=9, ack=48)]
    (row,) = tables(frames)[0].kind_to_json("tcp")

    assert row == {
        "a": "10.0.0.1",
        "b": "10.0.0.2",
        "a_port": 40000,
        "b_port": 80,
        "packets": 2,
        "bytes": 154,
        "packets_ab": 1,
        "bytes_ab": 100,
        "packets_ba": 1,
        "bytes_ba": 54,
        "start_s": 2.0,
        "duration_s": 2.0,
        "bits_per_s_ab": 400,  # 100 B * 8 / 2 s
        "bits_per_s_ba": 216,
        "stream": 0,
        "state": "OTH",
    }


@pytest.mark.parametrize(("duration_ns", "rate"), [(5 * MS, None), (5 * MS + 1, 134_399)])
def test_short_conversations_have_no_rate(duration_ns: int, rate: int | None) -> None:
    """Up to 5 ms the rate is blank; 84 bytes in 5.000001 ms are 134,399.97 bit/s, cut to an integer."""
    (row,) = tables([udp(0, A, B, 0), udp(duration_ns, A, B, 0)])[0].kind_to_json("udp")

    assert row["bits_per_s_ab"] == rate


def test_conversations_without_time_have_no_start() -> None:
    """Packets without time stamp count, but nothing is said of when."""
    (row,) = tables([udp(NO_TIME, A, B)])[0].kind_to_json("udp")

    assert (row["packets"], row["start_s"], row["duration_s"]) == (1, None, None)


def test_endpoints_by_port() -> None:
    """A TCP or UDP endpoint is an address with a port; a frame to itself counts as sent and received."""
    frames = [udp(0, A, B), udp(1, B, A), udp(2, A, A)]
    rows = {(row["address"], row["port"]): row for row in tables(frames)[1].kind_to_json("udp")}

    assert (rows[A]["tx_packets"], rows[A]["rx_packets"], rows[A]["packets"]) == (2, 2, 4)
    assert (rows[B]["tx_packets"], rows[B]["rx_packets"]) == (1, 1)


def test_names_of_the_capture_stand_beside_addresses() -> None:
    """Rows of named addresses carry the names, others have no such key."""
    conversations, endpoints = tables([udp(0, A, B), udp(1, A, ("10.0.0.3", 9))], {"10.0.0.2": ["web.test"]})

    assert [row.get("names") for row in conversations.kind_to_json("ip")] == [{"a": [], "b": ["web.test"]}, None]
    assert [row.get("names") for row in endpoints.kind_to_json("ip")] == [None, ["web.test"], None]


HOSTS = st.sampled_from([("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 1), ("10.0.0.3", 80)])
FRAMES = st.lists(
    st.builds(lambda a, b, n, ms: udp(ms * MS, a, b, n), HOSTS, HOSTS, st.integers(0, 99), st.integers(0, 99)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_sums_of_conversations_and_endpoints(frames: list[Made]) -> None:
    """A->B and B->A add up per row; rows add up to the frames; sent = received = conversations; the same addresses."""
    conversations, endpoints = tables(frames)
    for kind in SHOWN:
        rows, ends = conversations.kind_to_json(kind), endpoints.kind_to_json(kind)
        total = (sum(row["packets"] for row in rows), sum(row["bytes"] for row in rows))
        assert all(row["packets_ab"] + row["packets_ba"] == row["packets"] for row in rows)
        for side in ("tx", "rx"):
            assert total == (sum(e[f"{side}_packets"] for e in ends), sum(e[f"{side}_bytes"] for e in ends))
        both = {(row[side], row.get(f"{side}_port")) for row in rows for side in ("a", "b")}
        assert both == {(end["address"], end.get("port")) for end in ends}
        if kind in ("eth", "ip", "udp"):
            assert total == (len(frames), sum(len(frame.data) for frame in frames))


@settings(max_examples=50, deadline=None)
@given(FRAMES)
def test_a_capture_appended_to_itself_doubles(frames: list[Made]) -> None:
    """The same frames once more with other addresses: twice the rows, packets and bytes."""
    shifted = [
        udp(
            f.time_ns,
            (f.source.replace("10.", "11.", 1), f.source_port),
            (f.destination.replace("10.", "11.", 1), f.destination_port),
            len(f.data) - 42,
        )
        for f in frames
    ]
    once, twice = tables(frames)[0].kind_to_json("udp"), tables(frames + shifted)[0].kind_to_json("udp")

    assert len(twice) == 2 * len(once)
    assert sum(row["bytes"] for row in twice) == 2 * sum(row["bytes"] for row in once)


def test_data_frames_of_tables() -> None:
    """Each table is a data frame on request."""
    conversations, endpoints = tables([udp(0, A, B)])

    assert conversations.to_pandas("udp")["b"].tolist() == ["10.0.0.2"]
    assert conversations.to_pandas("tcp").empty
    assert conversations.to_pandas("tcp").columns.tolist() == conversations.to_pandas("udp").columns.tolist()
    assert endpoints.to_pandas("udp")["port"].tolist() == [40000, 80]


def test_names_are_a_column_whichever_row_has_them() -> None:
    """The first row without a name does not take the column from the others."""
    frames = [udp(0, A, B), udp(1, ("10.0.0.3", 9), ("10.0.0.4", 9))]
    conversations, endpoints = tables(frames, {"10.0.0.4": ["d.example"]})
    assert conversations.to_pandas("ip")["names"].tolist() == [None, {"a": [], "b": ["d.example"]}]
    frame = endpoints.to_pandas("ip")
    assert frame["names"].tolist() == [None, None, None, ["d.example"]]
    assert frame.columns.tolist() == [*endpoints.header("ip"), "names"]


def test_properties() -> None:
    """Span is from the smallest to the largest time; untimed packets count, but not in the span."""
    frames = [udp(5 * S, A, B, 0), udp(2 * S, A, B, 0), udp(NO_TIME, A, B, 0), udp(7 * S, A, B, 0)]
    one, two = PropertyCounter(), PropertyCounter()
    for counter, some in ((one, frames[:2]), (two, frames[2:])):
        for batch in batches(some):
            counter.update(batch)
    one.merge(two)
    found = one.finish()

    assert (found.packets, found.wire_bytes, found.duration_s) == (4, 168, 5.0)
    assert (found.frame_1_ns, found.first_ns, found.last_ns) == (5 * S, 2 * S, 7 * S)
    assert found.to_json()["packets_per_s"] == 4 / 5
    assert found.to_pandas()["packets"].tolist() == [4]


def test_empty_and_timeless_captures_have_no_rates() -> None:
    """Nothing is divided by a span of nothing."""
    for frames in ([], [udp(NO_TIME, A, B)], [udp(S, A, B), udp(S, B, A)]):
        counter = PropertyCounter()
        for batch in batches(frames):
            counter.update(batch)
        found = counter.finish().to_json()
        assert (found["packets"], found["packets_per_s"]) == (len(frames), None)


@pytest.mark.parametrize(
    ("ns", "seconds"), [(None, None), (1_748_953_887_179_495_000, 1748953887.179495), (-1, -1e-09), (0, 0.0)]
)
def test_unix_seconds(ns: int | None, seconds: float | None) -> None:
    """A time is the float nearest to its decimal digits."""
    assert unix_seconds(ns) == seconds
