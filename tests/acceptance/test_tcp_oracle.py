"""TCP flags and stream numbers of every TCP frame of the corpus against Wireshark's two-pass answer."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from analysis.packets import packet_rows

CORPUS = Path(__file__).parents[2].parent / "shared" / "captures" / "corpus"
SEED = CORPUS.parent / "seed"
FLAGS_EQUAL = 0.997  # of TCP frames, over all captures that tshark reads whole

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures"),
    pytest.mark.timeout(600),
]


def captures() -> list[tuple[Path, Path]]:
    """Captures that tshark read whole, with the folder of its answers."""
    found = []
    with open(CORPUS / "manifest.csv") as manifest:
        for row in csv.DictReader(manifest):
            oracle = CORPUS / "oracle" / row["file"]
            if json.loads((oracle / "meta.json").read_text())["exit"] == 0:
                found.append((CORPUS / row["file"], oracle))
    return found


def compare(capture: Path, oracle: Path, count: Counter[str], examples: Counter[tuple[str, str, str]]) -> None:
    """Count TCP frames, equal flags and equal streams of one capture."""
    ours = {}
    for chunk in packet_rows([str(capture)], ("number", "tcp_stream", "tcp_flags")):
        ours.update({str(number): (stream, flags or "") for number, stream, flags in zip(*chunk, strict=True)})
    with gzip.open(oracle / "frames.tsv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            stream, flags = ours.get(row["number"], (None, ""))
            if row["tcp_stream"] == "":
                count["streams that Wireshark has not"] += stream is not None
                continue
            count["tcp"] += 1
            count["flags"] += flags == row["tcp_flags"]
            count["streams"] += str(stream) == row["tcp_stream"]
            if flags != row["tcp_flags"]:
                examples[capture.name, row["tcp_flags"], flags] += 1


def test_flags_and_streams_of_the_corpus() -> None:
    """At least 99.7 % of TCP frames carry Wireshark's flags, and every stream number of unencrypted frames is equal."""
    count: Counter[str] = Counter()
    examples: Counter[tuple[str, str, str]] = Counter()
    for capture, oracle in captures():
        compare(capture, oracle, count, examples)
    print(f"TCP frames {count['tcp']}: flags equal {count['flags']}, streams equal {count['streams']}")
    print(f"most frequent differences: {examples.most_common(10)}")

    assert count["tcp"] > 100_000
    assert count["flags"] >= FLAGS_EQUAL * count["tcp"]
    # 5 frames differ: TCP inside WireGuard, which Wireshark decrypted with the secrets that the capture brings
    assert count["streams"] >= 0.9999 * count["tcp"]
    assert count["streams that Wireshark has not"] <= 0.0005 * count["tcp"]


def test_flags_and_streams_of_the_seed() -> None:
    """Every TCP frame of the seed capture is equal."""
    count: Counter[str] = Counter()
    compare(SEED / "home-wifi-45s.pcapng", SEED / "oracle", count, Counter())

    assert count["tcp"] == count["flags"] == count["streams"] == 345
