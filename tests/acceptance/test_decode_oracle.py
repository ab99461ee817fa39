"""Decoding against Wireshark: the layers of every frame of the shared corpus up to transport, and addresses of endpoints.

The ratchet: measured equality may only rise. A frame is equal if its path is Wireshark's, cut behind the innermost
transport layer (what stands above is the protocols' business, but for tunnels).
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import layers
from analysis.capture import open_captures
from analysis.columns import KINDS, TCP, Batch, address_text
from analysis.decode.frames import Decoder
from analysis.errors import CaptureError

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures/corpus"),
    pytest.mark.timeout(600),
]

MANIFEST = list(csv.DictReader((CORPUS / "manifest.csv").read_text().splitlines())) if CORPUS.is_dir() else []
TRANSPORTS = {"tcp", "udp", "sctp", "dccp", "udplite"}

# Measured when this was written: 178,877 of 178,946 frames, 0.9812 as a mean over captures, 1,407 of 1,411 tables.
FRAMES_EQUAL = 0.9995
CAPTURES_MEAN = 0.980
TABLES_DIFFERENT = 4


def batches(name: str) -> Iterator[Batch]:
    """The chunks of one capture, decoded; none where the file is not readable."""
    try:
        with open_captures([str(CORPUS / name)]) as capture:
            decoder = Decoder()
            for chunk in capture.chunks():
                yield decoder.update(chunk)
    except CaptureError:
        return


def paths(batch: Batch) -> list[str]:
    """Our path of every frame."""
    p = batch.packets
    return ["/".join(layers.NAMES[layer] for layer in row[:n]) for row, n in zip(p.layers, p.n_layers)]


def cut(path: str) -> str:
    """A path up to and with its innermost transport layer."""
    parts = path.split("/")
    ends = [k for k, part in enumerate(parts) if part in TRANSPORTS]
    return "/".join(parts[: ends[-1] + 1]) if ends else path


def test_paths_up_to_transport_are_wiresharks() -> None:
    """Over all frames, and as a mean over captures, so that a capture of a rare link type counts like a long one."""
    equal = frames = 0
    shares = []
    differences: Counter[tuple[str, str]] = Counter()
    for row in MANIFEST:
        with gzip.open(CORPUS / "oracle" / row["file"] / "frames.tsv.gz", "rt") as lines:
            expected = [cut(f["path"]) for f in csv.DictReader(lines, delimiter="\t")]
        got = [cut(path) for batch in batches(row["file"]) for path in paths(batch)]
        pairs = list(zip(expected, got))
        good = sum(a == b for a, b in pairs)
        differences.update(pair for pair in pairs if pair[0] != pair[1])
        equal, frames = equal + good, frames + len(pairs)
        if pairs:
            shares.append(good / len(pairs))
    print(f"\n{equal} of {frames} frames, mean over {len(shares)} captures {np.mean(shares):.4f}")
    for (want, have), times in differences.most_common(20):
        print(f"{times:6} want {want} got {have}")

    assert equal / frames >= FRAMES_EQUAL
    assert float(np.mean(shares)) >= CAPTURES_MEAN


def endpoints(name: str) -> list[dict[tuple[str, ...], list[int]]]:
    """Per kind of tap: address (and port) -> packets and bytes, sent and received."""
    tables: list[dict[tuple[str, ...], list[int]]] = [{} for _ in KINDS]
    for batch in batches(name):
        taps: Any = [column.tolist() for column in batch.taps]
        sizes = batch.packets.frame_len.tolist()
        for packet, kind, s_hi, s_lo, d_hi, d_lo, s_port, d_port, family, *_ in zip(*taps):
            for at, (hi, lo, port) in enumerate(((s_hi, s_lo, s_port), (d_hi, d_lo, d_port))):
                key = (address_text(family, hi, lo), *([str(port)] if kind >= TCP else []))
                counts = tables[kind].setdefault(key, [0, 0, 0, 0])
                counts[2 * at] += 1
                counts[2 * at + 1] += sizes[packet]
    return tables


def test_taps_are_wiresharks_endpoints() -> None:
    """Ethernet, IPv4, IPv6, TCP and UDP: every address and port with its packets and bytes, tunnels included."""
    different = []
    for row in MANIFEST:
        tables = endpoints(row["file"])
        for kind in range(5):
            oracle = CORPUS / "oracle" / row["file"] / f"endpoints_{KINDS[kind]}.tsv"
            if not oracle.exists():
                continue
            lines = [line.split("\t") for line in oracle.read_text().splitlines()[1:]]
            expected = {tuple(x[:-4]): [int(v) for v in x[-4:]] for x in lines}
            if expected != tables[kind]:
                different.append(f"{row['file']} {KINDS[kind]}")
    print("\n" + "\n".join(different))

    assert len(different) <= TABLES_DIFFERENT
