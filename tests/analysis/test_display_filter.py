"""Display filters over packets made by hand: each expression selects what a plain look at the packets selects."""

from __future__ import annotations

from pathlib import Path

import pytest
from capture_files import Packet, pcap
from hypothesis import given, settings
from hypothesis import strategies as st
from made_frames import ACK, FIN, PSH, RST, SYN, Made, ethernet, icmp, ipv4, tcp, udp

from analysis import kernel
from analysis.display_filter import DEEPEST, LONGEST, DisplayFilter, FilterError
from analysis.filter_fields import FIELDS
from analysis.packets import packet_rows

A, B, C = ("10.0.0.1", 40000), ("10.0.0.2", 80), ("192.0.2.9", 53)
QUERY = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01"
SECOND = 10**9


def _dns(time_ns: int) -> Made:
    head = (40001).to_bytes(2, "big") + b"\x00\x35" + (8 + len(QUERY)).to_bytes(2, "big") + b"\x00\x00"
    return Made(ethernet(ipv4(head + QUERY, A[0], C[0], 17)), time_ns, A[0], C[0], 40001, 53)


def _request(time_ns: int, seq: int) -> Made:
    made = tcp(time_ns, A, B, PSH | ACK, seq=seq, ack=5001, length=len(HTTP))
    return made._replace(data=made.data[: -len(HTTP)] + HTTP)


HTTP = b"GET /login?a=1 HTTP/1.1\r\nHost: intranet\r\n\r\n"
FRAMES = [
    tcp(0, A, B, SYN, seq=1000, scale=7),
    tcp(SECOND, B, A, SYN | ACK, seq=5000, ack=1001),
    _request(2 * SECOND, 1001),
    _request(3 * SECOND, 1001),  # again
    tcp(4 * SECOND, B, A, ACK, seq=5001, ack=1001 + len(HTTP), window=0),
    tcp(5 * SECOND, B, A, RST, seq=5001),
    udp(6 * SECOND, A, ("192.0.2.9", 9999), 30),
    _dns(7 * SECOND),
    # C cannot be reached: the error quotes the datagram that was sent
    icmp(8 * SECOND, "10.0.0.254", A[0], 3, 1, bytes(4) + ipv4(b"\x9c\x41\x00\x35\x00\x1c\x00\x00", A[0], C[0], 17)),
    Made(ethernet(b"\x00\x01\x08\x00\x06\x04\x00\x01" + bytes(20), 0x0806), 9 * SECOND),
    tcp(10 * SECOND, A, ("10.0.0.2", 443), FIN | ACK, seq=7, ack=7),
]

# expression -> frame numbers, 1-based
CASES: dict[str, list[int]] = {
    "tcp": [1, 2, 3, 4, 5, 6, 11],
    "udp": [7, 8, 9],
    "arp": [10],
    "frame": list(range(1, 12)),
    "not ip": [10],
    "!tcp and !udp": [10],
    "dns or arp": [8, 10],
    "tcp xor ip": [7, 8, 9],
    "ip.addr == 10.0.0.2": [1, 2, 3, 4, 5, 6, 11],
    "ip.src == 10.0.0.2": [2, 5, 6],
    "ip.dst eq 192.0.2.0/24": [7, 8, 9],  # the error quotes it
    "ip.addr != 10.0.0.1": [],
    "ip.addr !== 10.0.0.1": [1, 2, 3, 4, 5, 6, 7, 8, 9, 11],
    "!(ip.addr == 10.0.0.2)": [7, 8, 9, 10],
    "ip.addr != 10.0.0.2": [7, 8, 9],
    "ip.src > 10.0.0.1 and tcp": [2, 5, 6],
    "eth.src == 02:00:00:00:00:01 && arp": [10],
    "tcp.port == 443": [11],
    "tcp.port in {443, 1..79}": [11],
    "tcp.srcport == 80": [2, 5, 6],
    "udp.dstport == 53": [8, 9],
    "tcp.flags.syn == 1": [1, 2],
    "tcp.flags & 0x12": [1, 2, 3, 4, 5, 11],
    "tcp.flags & 0x12 == 0x12": [2],
    "tcp.flags.reset == true": [6],
    "tcp.flags.fin": [1, 2, 3, 4, 5, 6, 11],
    "tcp.len > 0": [3, 4],
    "tcp.stream == 1": [11],
    "tcp.analysis.flags": [4, 5],
    "tcp.analysis.retransmission": [4],
    "tcp.analysis.zero_window": [5],
    "tcp.window_size_value < 1000": [5],
    "frame.number >= 10": [10, 11],
    "frame.time_relative > 8.5": [10, 11],
    "frame.time_epoch <= 1": [1, 2],
    "frame.len == 0x2a": [10],
    'frame contains "HTTP/1.1"': [3, 4],
    'tcp contains "intranet"': [3, 4],
    "tcp.payload contains 47:45:54": [3, 4],
    'frame matches "get /LOGIN\\?a"': [3, 4],
    'http.request.method == "GET"': [3],
    'http.host contains "tra"': [3],
    'http.request.uri matches "^/login"': [3],
    'dns.qry.name == "www.example.org"': [8],
    "dns.flags.response == 0": [8],
    "icmp.type == 3 && icmp.code == 1": [9],
    "ip.ttl == 64 and frame.number < 3": [1, 2],
    "ip.proto == 17": [7, 8],
    "udp.length == 38": [7],
    "(tcp or udp) and not (ip.src == 10.0.0.1)": [2, 5, 6],
    'frame.protocols contains "udp:dns"': [8],
    "tcp.port === 80": [],
    "ipv6.addr == ::/0": [],
}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The frames as a file."""
    path: Path = tmp_path_factory.mktemp("filter") / "made.pcap"
    path.write_bytes(pcap([Packet(frame.time_ns, frame.data) for frame in FRAMES], magic=0xA1B23C4D))
    return str(path)


def selected(path: str, expression: str) -> list[int]:
    """Frame numbers that a filter lets through."""
    kernel.choose(0)
    return [number for chunk in packet_rows([path], ("number",), DisplayFilter(expression)) for number in chunk[0]]


@pytest.mark.parametrize("expression", CASES)
def test_a_filter_selects_what_it_says(capture: str, expression: str) -> None:
    """The meaning that Wireshark 4.0 gives each expression."""
    assert selected(capture, expression) == CASES[expression]


@pytest.mark.parametrize("expression", ["tcp", "ip.addr == 10.0.0.2", "dns", "tcp.analysis.flags", "frame.len > 60"])
def test_a_filter_and_its_complement_are_the_capture(capture: str, expression: str) -> None:
    """No packet is lost and none comes twice."""
    both = selected(capture, expression) + selected(capture, f"not ({expression})")

    assert sorted(both) == list(range(1, len(FRAMES) + 1))


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "got nothing"),
        ("nix", "got 'nix' at column 1"),
        ("tcp.nix == 1", "got 'tcp.nix'"),
        ("tcp.port ==", "got the end at column 12"),
        ("tcp.port == x", "expected a number"),
        ("tcp.port == 99999999999999999999999", "below 2^62"),
        ("ip.addr == 300.1.1.1", "expected an IPv4 address for ip.addr"),
        ("ip.addr == fe80::1", "expected an IPv4 address"),
        ("eth.src == 1:2", "expected a MAC address"),
        ("(tcp", "expected ')'"),
        ("tcp)", "expected 'and', 'or' or the end"),
        ("tcp udp", "expected 'and', 'or' or the end"),
        ("tcp == 1", "a protocol has no value"),
        ("tcp.port in 80", "expected '{'"),
        ("tcp.port in {80", "expected '}'"),
        ("tcp.port contains 80", "is no text and no bytes"),
        ('http.host matches "("', "expected a regular expression"),
        ('frame contains "a', "expected a field, value or operator"),
        ("frame contains 0x47", "expected a"),
        ("frame.time_relative > soon", "expected seconds"),
        ("ip.addr & 3", "has no bits"),
        ("!" * (DEEPEST + 1) + "tcp", "levels"),
        ("tcp " + "or tcp " * LONGEST, "characters"),
    ],
)
def test_what_is_no_filter_is_said_in_one_line(expression: str, said: str) -> None:
    """Where, what was there, what was expected."""
    with pytest.raises(FilterError) as caught:
        DisplayFilter(expression)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


WORDS = st.sampled_from(
    ["tcp", "ip.addr", "==", "!=", "10.0.0.1", "(", ")", "&&", "or", "not", "in", "{", "}", ",", "..", '"a"', "80",
     "matches", "contains", "&", "0x2", "frame.len", "http.host", "tcp.flags", "frame", "02:00:00:00:00:01", "eth.addr"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=9).map(" ".join) | st.text(max_size=40))
@settings(max_examples=600, deadline=None)
def test_any_text_is_a_filter_or_an_error(text: str) -> None:
    """Nothing but FilterError comes out, and what parses can be applied."""
    try:
        DisplayFilter(text)
    except FilterError:
        return


def test_a_filter_works_across_chunks(capture: str) -> None:
    """Relative time counts from frame 1, whatever the batch; the same packets pass."""
    from analysis.capture import open_captures
    from analysis.packets import rows_of

    for size in (1, 2, 5):
        with open_captures([capture], chunk_packets=size) as opened:
            chosen = DisplayFilter("frame.time_relative > 2.5 && tcp.analysis.flags or http")
            found = [number for chunk in rows_of(opened, ("number",), chosen) for number in chunk[0]]

        assert found == [3, 4, 5], size


def test_the_document_names_every_field() -> None:
    """docs/display-filter.md has a row for each field, and no other."""
    text = (Path(__file__).parents[2] / "docs" / "display-filter.md").read_text()
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    fields = {name for name in FIELDS if not name.startswith("tcp.analysis.") or name == "tcp.analysis.flags"}

    assert rows == fields | {"tcp.analysis.…"}
    assert all(
        f"`{name.removeprefix('tcp.analysis.')}`" in text
        for name in FIELDS
        if name[:13] == "tcp.analysis." != name[:-5]
    )
