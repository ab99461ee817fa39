"""Opening captures: pieces, merging, compression, damage at any byte, and the one-line errors."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lz4.frame
import numpy as np
import pytest
import zstandard
from capture_files import Packet, enhanced, interface, option, pcap, pcapng, section
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import capture as capture_module
from analysis.capture import estimate_packets, open_captures
from analysis.errors import CaptureError

Row = tuple[int, int, bytes, int, int]

PACKETS = [Packet(10**9 * (1 + k), bytes([k % 256]) * (k % 90), 90) for k in range(300)]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(*paths: Path | str, chunk_packets: int = 65536) -> tuple[capture_module.Capture, list[Row]]:
    """All rows: (number, time, bytes, length on the wire, interface)."""
    rows: list[Row] = []
    with open_captures([str(p) for p in paths], chunk_packets=chunk_packets) as capture:
        for r in capture.chunks():
            data = r.data.tobytes()
            rows += [
                (n, t, data[s : s + c], f, i) for n, t, s, c, f, i in zip(*(getattr(r, k).tolist() for k in COLUMNS))
            ]
    return capture, rows


COLUMNS = ("number", "time_ns", "start", "cap_len", "frame_len", "interface")


def write(folder: Path, name: str, octets: bytes) -> Path:
    """A file in `folder`."""
    path = folder / name
    path.write_bytes(octets)
    return path


EXPECTED: list[Row] = [(k + 1, p.time_ns, p.data, 90, 0) for k, p in enumerate(PACKETS)]


def test_a_file_and_what_is_known_of_it(tmp_path: Path) -> None:
    """Rows, digest, size, order and progress."""
    octets = pcap(PACKETS)
    capture, rows = read(write(tmp_path, "a.pcap", octets))
    assert rows == EXPECTED
    file = capture.files[0]
    assert (file.format, file.bytes, file.sha256) == ("pcap", len(octets), hashlib.sha256(octets).hexdigest())
    assert (capture.time_ordered, capture.packets) == (True, 300)
    assert (capture.bytes_done, capture.bytes_total) == (len(octets), len(octets))
    assert not capture.faults


@pytest.mark.parametrize("chunk_packets", [1, 2, 7, 299, 300, 301])
@pytest.mark.parametrize("make", [pcap, pcapng])
def test_any_chunk_size_gives_the_same_rows(tmp_path: Path, chunk_packets: int, make) -> None:  # type: ignore[no-untyped-def]
    """Chunks are a matter of memory only."""
    assert read(write(tmp_path, "a", make(PACKETS)), chunk_packets=chunk_packets)[1] == EXPECTED


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_records_across_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make) -> None:  # type: ignore[no-untyped-def]
    """A window smaller than a record grows; records that lie across two windows are whole."""
    monkeypatch.setattr(capture_module, "WINDOW_BYTES", 64)
    monkeypatch.setattr(capture_module, "SMALLEST_WINDOW", 64)
    packets = [*PACKETS[:40], Packet(10**12, bytes(5000), 90), *PACKETS[:3]]
    rows = read(write(tmp_path, "a", make(packets)))[1]
    assert [(t, d) for _, t, d, _, _ in rows] == [(p.time_ns, p.data) for p in packets]


PACKERS = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("name", PACKERS)
def test_compressed_files_are_told_by_their_bytes(tmp_path: Path, name: str) -> None:
    """One member or several in a row; the digest is that of the file as stored."""
    octets, pack = pcap(PACKETS), PACKERS[name]
    for stored in (pack(octets), pack(octets[:1000]) + pack(octets[1000:])):
        capture, rows = read(write(tmp_path, "a.bin", stored))
        assert rows == EXPECTED
        assert capture.files[0].format == f"pcap ({name})"
        assert capture.files[0].sha256 == hashlib.sha256(stored).hexdigest()
        assert not capture.faults


@pytest.mark.parametrize("name", PACKERS)
def test_a_cut_compressed_file_gives_what_it_holds(tmp_path: Path, name: str) -> None:
    """Never a traceback: rows from the beginning, and a fault, or one line."""
    stored = PACKERS[name](pcap(PACKETS))
    for size in range(0, len(stored), 7):
        try:
            capture, rows = read(write(tmp_path, "a", stored[:size]))
        except CaptureError as error:
            assert "\n" not in str(error)
        else:
            assert rows == EXPECTED[: len(rows)]
            assert capture.faults


def test_a_bomb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """24 MB of zeros behind a header, in 24 KB: zero-length records, a window at a time."""
    bomb = write(tmp_path, "a.gz", gzip.compress(pcap([]) + bytes(24 << 20)))
    with open_captures([str(bomb)]) as capture:
        assert max(r.data.nbytes for r in capture.chunks()) <= capture_module.WINDOW_BYTES
        assert capture.packets == (24 << 20) // 16


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_a_cut_at_any_byte_keeps_the_complete_packets(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    """The rows are those whose last byte is there; a cut inside a record is named."""
    packets = PACKETS[:6]
    octets = make(packets)
    header = len(make([]))
    ends = [len(make(packets[:k])) for k in range(7)]
    for size in range(1, len(octets) + 1):
        path = write(tmp_path, "a", octets[:size])
        if size < header and make is pcap:
            with pytest.raises(CaptureError):
                read(path)
            continue
        try:
            capture, rows = read(path)
        except CaptureError:
            assert size < 12
            continue
        whole = sum(end <= size for end in ends[1:])
        assert rows == EXPECTED[:whole]
        block_ends = {*ends, 28} if make is pcapng else {*ends}  # a section header alone is a whole file
        assert capture.faults == ({} if size in block_ends else {"cut_record": 1})


@quick
@given(octets=st.binary(max_size=400))
def test_any_bytes_give_rows_or_one_line(tmp_path: Path, octets: bytes) -> None:
    """Random bytes, also behind good headers."""
    starts = [b"", pcap([]), pcap([], order=">"), pcapng([]), pcapng([], order=">"), section(), b"\x1f\x8b\x08"]
    for start in starts:
        try:
            _, rows = read(write(tmp_path, "a", start + octets))
        except CaptureError as error:
            assert "\n" not in str(error)
        else:
            assert all(len(row[2]) <= len(octets) for row in rows)


@quick
@given(data=st.data())
def test_a_flipped_byte_never_raises(tmp_path: Path, data: st.DataObject) -> None:
    """Any byte of a good file may be wrong."""
    octets = bytearray(data.draw(st.sampled_from([pcap(PACKETS[:5]), pcapng(PACKETS[:5])])))
    at = data.draw(st.integers(12, len(octets) - 1))
    octets[at] = data.draw(st.integers(0, 255))
    read(write(tmp_path, "a", bytes(octets)))


def plain_merge(files: list[list[Packet]]) -> list[tuple[int, bytes]]:
    """The slow twin: always the file whose next packet is earliest, the first of equals."""
    heads = [0] * len(files)
    out: list[tuple[int, bytes]] = []
    while ready := [k for k in range(len(files)) if heads[k] < len(files[k])]:
        k = min(ready, key=lambda k: (files[k][heads[k]].time_ns, k))
        out.append((files[k][heads[k]].time_ns, files[k][heads[k]].data))
        heads[k] += 1
    return out


@quick
@given(
    times=st.lists(st.lists(st.integers(0, 12), max_size=14), min_size=2, max_size=4),
    chunk_packets=st.integers(1, 6),
)
def test_merging_takes_the_earliest_next_packet(tmp_path: Path, times: list[list[int]], chunk_packets: int) -> None:
    """Also with equal times, and with files that run backwards, in chunks of any size."""
    files = [[Packet(t * 1000, bytes([k, n])) for n, t in enumerate(file)] for k, file in enumerate(times)]
    paths = [write(tmp_path, f"{k}.pcap", pcap(file)) for k, file in enumerate(files)]
    capture, rows = read(*paths, chunk_packets=chunk_packets)
    assert [(t, d) for _, t, d, _, _ in rows] == plain_merge(files)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    merged_times = [row[1] for row in rows]
    assert capture.time_ordered == (merged_times == sorted(merged_times))


def test_split_parts_merged_are_the_whole(tmp_path: Path) -> None:
    """Parts in any order of the command line, pcap and pcapng mixed; each file has interfaces of its own."""
    parts = [pcap(PACKETS[:100]), pcapng(PACKETS[100:200]), pcap(PACKETS[200:], order=">")]
    paths = [write(tmp_path, f"{k}", part) for k, part in enumerate(parts)]
    for order in ((0, 1, 2), (2, 0, 1)):
        capture, rows = read(*(paths[k] for k in order), chunk_packets=30)
        assert [row[:4] for row in rows] == [row[:4] for row in EXPECTED]
        assert len(capture.interfaces) == 3
        assert len({row[4] for row in rows}) == 3


def test_comments_keep_their_frame_in_a_merge(tmp_path: Path) -> None:
    """A packet comment is that of the analysis-wide frame number."""
    head = section() + interface(options=option(9, b"\x09"))
    one = head + enhanced(10, b"a") + enhanced(30, b"b", options=option(1, b"third"))
    two = head + enhanced(20, b"c", options=option(1, b"second"))
    capture, _ = read(write(tmp_path, "1", one), write(tmp_path, "2", two))
    assert sorted(capture.comments) == [(2, "second"), (3, "third")]


def test_pseudo_headers_are_not_packet_bytes(tmp_path: Path) -> None:
    """SunATM (123) puts four bytes in front; Wireshark counts neither length with them."""
    _, rows = read(write(tmp_path, "a", pcap([Packet(0, b"headbody", 12)], link=123)))
    assert rows == [(1, 0, b"body", 8, 0)]


ERRORS = [
    ("missing", None, "no such file"),
    ("text", b"no capture at all", "not a capture: got first bytes 6e 6f 20 63"),
    ("bzip2", bz2.compress(b"x"), "not a capture"),
    ("cut", pcap([])[:10], "header is cut"),
    ("packed text", gzip.compress(b"plain text"), "not a capture"),
    ("packed nothing", gzip.compress(b""), "not a capture: got nothing"),
]


@pytest.mark.parametrize(("octets", "message"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_what_is_no_capture_is_one_line(tmp_path: Path, octets: bytes | None, message: str) -> None:
    """What, where, got, expected."""
    path = tmp_path / "x"
    if octets is not None:
        path.write_bytes(octets)
    with pytest.raises(CaptureError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_is_no_capture(tmp_path: Path) -> None:
    """Said by the system, in one line."""
    with pytest.raises(CaptureError, match="is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(("octets", "faults"), [(b"", {"empty_file": 1}), (pcap([]), {}), (section(), {})])
def test_a_capture_of_no_packets(tmp_path: Path, octets: bytes, faults: dict[str, int]) -> None:
    """An empty file (a recording that has just begun) and a header alone are captures of 0 packets."""
    capture, rows = read(write(tmp_path, "a", octets))
    assert (rows, capture.faults) == ([], faults)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads the stream; nothing is known of its size."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(gzip.compress(pcap(PACKETS)))))
    capture, rows = read("-")
    assert rows == EXPECTED
    assert (capture.bytes_total, capture.files[0].sha256) == (0, None)


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_estimates_are_near(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    """From the size and the first records; compressed files by the ratio so far."""
    octets = make(PACKETS * 40)
    plain, packed = write(tmp_path, "a", octets), write(tmp_path, "b", gzip.compress(octets))
    assert 0.8 < estimate_packets([str(plain)]) / 12_000 < 1.2
    assert 0.5 < estimate_packets([str(packed)]) / 12_000 < 2
    assert estimate_packets([str(tmp_path / "missing"), str(tmp_path)]) == 0


SCRIPT = """
import sys, hashlib
from analysis import kernel
kernel.choose(0)
from analysis.capture import open_captures
from analysis.errors import CaptureError
for path in sys.argv[1:]:
    digest = hashlib.sha256()
    try:
        with open_captures([path], chunk_packets=50) as capture:
            for records in capture.chunks():
                for column in records[1:]:
                    digest.update(column.tobytes())
            print(kernel.enabled(), digest.hexdigest(), sorted(capture.faults.items()), file=sys.stdout)
    except CaptureError as error:
        print(kernel.enabled(), error)
"""


@pytest.mark.slow
def test_compiled_and_interpreted_kernels_agree(tmp_path: Path) -> None:
    """Two processes over good, cut and random files: the same columns, bit for bit."""
    noise = np.random.default_rng(7)
    files = [pcap(PACKETS), pcap(PACKETS, order=">"), pcapng(PACKETS), pcapng(PACKETS, order=">", resolution=0x80 | 40)]
    for head in (pcap([]), pcapng([]), section()):
        files += [head + noise.integers(0, 256, 300, dtype=np.uint8).tobytes() for _ in range(5)]
    for octets in files[:4]:
        broken = np.frombuffer(octets, np.uint8).copy()
        broken[noise.integers(100, len(broken), 20)] ^= 0x80
        files.append(broken.tobytes())
    paths = [str(write(tmp_path, f"{k}", octets)) for k, octets in enumerate(files)]
    answers = []
    for setting in ("on", "off"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, *paths],
            env={**os.environ, "TAPWALL_JIT": setting},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        lines = run.stdout.splitlines()
        assert {line.split()[0] for line in lines} == {str(setting == "on")}
        answers.append([line.split(maxsplit=1)[1] for line in lines])
    assert answers[0] == answers[1]
    assert len(answers[0]) == len(files)
