"""The same answer however a capture is cut: chunks of any size, and files that are parts of one, on the whole corpus.

One thing is allowed to differ: a conversation that begins with unknown bytes and shows its protocol later. Its earlier
segments are named again, as Wireshark's second pass does, but only within a batch; in an earlier batch they stay `data`.
"""

from __future__ import annotations

import csv
import functools
import struct
from pathlib import Path
from typing import Any

import pytest

from analysis import kernel, run
from analysis.capture import open_captures
from analysis.errors import AnalysisError

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"
LARGEST = 3_000  # packets: interpreted kernels, so the small captures of all kinds rather than the few large ones
LATE_SHARE = 0.05  # of the captures hold a conversation that is named late
MAGICS = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\xa1\xb2\x3c\x4d": ">",
}

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures/corpus"),
    pytest.mark.timeout(900),
]


def captures() -> list[Path]:
    """Captures of the corpus with 2 to LARGEST packets."""
    with open(CORPUS / "manifest.csv") as file:
        rows = list(csv.DictReader(file))
    return [CORPUS / row["file"] for row in rows if 2 <= int(row["packets"] or 0) <= LARGEST]


def difference(name: str, one: dict[str, Any] | str, other: dict[str, Any] | str) -> str | None:
    """What differs: None, the name of a capture with late names (see above), or the name and the parts."""
    if one == other:
        return None
    if isinstance(one, str) or isinstance(other, str):
        return f"{name}: error"
    parts = [part for part in one if one[part] != other[part]]
    late = {row["path"]: row["packets"] for row in one["hierarchy"]}
    late = {path: n for path, n in late.items() if "data" not in path.split("/")}
    known = {row["path"] for row in other["hierarchy"]}
    renamed = set(parts) <= {"hierarchy", "findings"} and set(late) <= known
    return name if renamed else f"{name}: {', '.join(parts)}"


def judge(differences: list[str | None]) -> None:
    """Nothing differs but late names, and those in few captures."""
    found = [text for text in differences if text is not None]

    assert [text for text in found if ":" in text] == []
    assert len(found) <= LATE_SHARE * len(differences), found
    assert len(differences) > 20


def answer(*paths: Path) -> dict[str, Any] | str:
    """The analysis without what a clock or a file name says; the error's text where it cannot be read."""
    try:
        found = run.analyse([str(path) for path in paths]).to_json()
    except AnalysisError as error:
        return str(error)
    del found["timing"]
    for name in ("files", "interfaces"):
        del found["capture"][name]
    for finding in found["findings"]:
        del finding["command"]  # names the file
    return found


def test_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 7 packets give the tables and findings of one chunk."""
    kernel.choose(0)
    differences = []
    for capture in captures()[::3]:
        whole = answer(capture)
        with monkeypatch.context() as patched:
            patched.setattr(run, "open_captures", functools.partial(open_captures, chunk_packets=7))
            differences.append(difference(capture.name, whole, answer(capture)))
    judge(differences)


def halves(capture: Path, folder: Path) -> tuple[Path, Path] | None:
    """A classic pcap cut between two records into two files; None for other formats and for damaged ones."""
    data = capture.read_bytes()
    order = MAGICS.get(data[:4])
    if order is None:
        return None
    starts, at = [], 24
    while at + 16 <= len(data):
        starts.append(at)
        at += 16 + int(struct.unpack_from(order + "I", data, at + 8)[0])
    if at != len(data) or len(starts) < 2:
        return None
    middle = starts[len(starts) // 2]
    first, second = folder / "first.pcap", folder / "second.pcap"
    first.write_bytes(data[:middle])
    second.write_bytes(data[:24] + data[middle:])
    return first, second


def test_split_files_are_the_whole(tmp_path: Path) -> None:
    """Two halves analysed together give what the whole gives, where its times do not run backwards."""
    kernel.choose(0)
    differences = []
    for capture in captures()[1::3]:
        parts = halves(capture, tmp_path)
        whole = answer(capture)
        if parts is None or isinstance(whole, str) or not whole["capture"]["time_ordered"]:
            continue
        differences.append(difference(capture.name, whole, answer(*parts)))
    judge(differences)
