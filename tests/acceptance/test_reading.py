"""Reading against Wireshark: every packet's number, lengths and time, on every capture of the shared corpus."""

from __future__ import annotations

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from analysis.capture import estimate_packets, open_captures
from analysis.columns import NO_TIME
from analysis.errors import CaptureError

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures/corpus"),
]

MANIFEST = list(csv.DictReader((CORPUS / "manifest.csv").read_text().splitlines())) if CORPUS.is_dir() else []
# tshark refuses a file for its link type; we read its packets and say that the link type is unknown.
REFUSED = "record data that TShark doesn't support"


@pytest.mark.parametrize("row", MANIFEST, ids=lambda row: row["file"])
def test_every_packet_is_as_wireshark_has_it(row: dict[str, str]) -> None:
    """Number, length on the wire, captured length, time; the digest and size of the file; one fault where it is cut."""
    path, oracle = CORPUS / row["file"], CORPUS / "oracle" / row["file"]
    with open_captures([str(path)]) as capture:
        chunks = list(capture.chunks())
    assert (capture.files[0].sha256, capture.files[0].bytes) == (row["sha256"], int(row["bytes"]))
    meta = json.loads((oracle / "meta.json").read_text())
    if REFUSED in meta["error"] and row["file_type"] != "pcapng":
        assert capture.packets >= int(row["packets"])
        return
    assert capture.packets == int(row["packets"])
    if meta["exit"] != 0:  # tshark saw damage, or its own output of strange fields broke: the number is all we compare
        assert sum(capture.faults.values()) == (0 if row["tshark_exit"] == "0/0" else 1)
        return
    with gzip.open(oracle / "frames.tsv.gz", "rt") as lines:
        expected = [
            (
                int(f["frame_len"]),
                int(f["cap_len"]),
                int(Decimal(f["time_epoch"]) * 10**9) if f["time_epoch"] else NO_TIME,
            )
            for f in csv.DictReader(lines, delimiter="\t")
        ]
    columns = [
        np.concatenate([getattr(c, k) for c in chunks]).tolist() if chunks else []
        for k in ("frame_len", "cap_len", "time_ns")
    ]
    assert list(zip(*columns)) == expected


def test_estimates_choose_rightly() -> None:
    """Within a factor of four for all captures of 1,000 packets and more."""
    for row in MANIFEST:
        packets = int(row["packets"])
        if packets >= 1000:
            assert 0.25 < estimate_packets([str(CORPUS / row["file"])]) / packets < 4, row["file"]


@pytest.mark.slow
def test_cuts_of_real_captures_never_raise(tmp_path: Path) -> None:
    """Fifty cuts of each small capture: the rows are a beginning of the whole file's rows."""
    for row in MANIFEST:
        octets = (CORPUS / row["file"]).read_bytes()
        if not 24 < len(octets) <= 20_000:
            continue
        with open_captures([str(CORPUS / row["file"])]) as capture:
            whole = [n for chunk in capture.chunks() for n in chunk.frame_len.tolist()]
        for size in range(0, len(octets), max(1, len(octets) // 50)):
            cut = tmp_path / "cut"
            cut.write_bytes(octets[:size])
            try:
                with open_captures([str(cut)]) as capture:
                    rows = [n for chunk in capture.chunks() for n in chunk.frame_len.tolist()]
            except CaptureError as error:
                assert "\n" not in str(error)
            else:
                assert rows == whole[: len(rows)]
