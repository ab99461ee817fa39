"""Datagrams against Wireshark: the path of every frame with UDP or an ICMP error, on every capture of the corpus."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from analysis import kernel, layers
from analysis.capture import open_captures

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"
SEED = CORPUS.parent / "seed" / "home-wifi-45s.pcapng"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures/corpus"),
]

JUDGED = ("udp", "udplite", "icmp", "icmpv6")
FRAMES, MEAN = 0.99, 0.96  # equal paths: share of all frames, mean of the captures' shares


def _wanted(name: str) -> dict[int, str]:
    """frame number -> path, of frames with a datagram and no TCP; of captures that tshark read whole."""
    oracle = CORPUS / "oracle" / name
    if json.loads((oracle / "meta.json").read_text())["exit"] != 0:
        return {}
    lines = gzip.decompress((oracle / "frames.tsv.gz").read_bytes()).decode().splitlines()[1:]
    paths = {int(row[0]): row[4] for row in (line.split("\t") for line in lines)}
    return {
        number: path
        for number, path in paths.items()
        if any(layer in JUDGED for layer in path.split("/")) and "tcp" not in path.split("/")
    }


def _named(path: Path) -> tuple[dict[int, str], dict[str, int]]:
    """frame number -> our path, and the PDUs of each layer."""
    from analysis.pipeline import Pipeline

    found: dict[int, str] = {}
    pdus: dict[str, int] = {}
    pipeline = Pipeline()
    with open_captures([str(path)]) as capture:
        for batch in pipeline.batches(capture):
            packets = batch.packets
            for row, number in enumerate(packets.number.tolist()):
                names = [layers.NAMES[layer] for layer in packets.layers[row, : packets.n_layers[row]]]
                found[number] = "/".join(name for name in names if name != "frame")
                for at, name in enumerate(names):
                    pdus[name] = pdus.get(name, 0) + int(packets.layer_pdus[row, at])
    return found, pdus


def test_datagrams_are_named_as_wireshark_names_them() -> None:
    """Path for path; what differs is printed by kind."""
    kernel.choose(0)
    equal = total = 0
    shares: list[float] = []
    misses: dict[tuple[str, str], int] = {}
    for oracle in sorted((CORPUS / "oracle").iterdir()):
        wanted = _wanted(oracle.name)
        if not wanted:
            continue
        found, _ = _named(CORPUS / oracle.name)
        hits = 0
        for number, path in wanted.items():
            got = found.get(number, "")
            hits += got == path
            if got != path:
                misses[path, got] = misses.get((path, got), 0) + 1
        equal, total = equal + hits, total + len(wanted)
        shares.append(hits / len(wanted))
    mean = sum(shares) / len(shares)
    print(f"{equal} of {total} frames ({equal / total:.2%}), mean over {len(shares)} captures {mean:.2%}")
    for (path, got), count in sorted(misses.items(), key=lambda item: -item[1])[:20]:
        print(f"{count:6} {path} | {got}")
    assert equal / total >= FRAMES
    assert mean >= MEAN


def test_the_seeds_quic_is_counted_packet_by_packet() -> None:
    """738 datagrams, 742 PDUs (reference/wireshark-statistics.md, section 15)."""
    kernel.choose(0)
    found, pdus = _named(SEED)
    assert sum(path.endswith("/quic") for path in found.values()) == 738
    assert pdus["quic"] == 742
