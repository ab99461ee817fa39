"""Protocols against Wireshark: the path of every frame on every capture of the corpus, and the seed's hierarchy rows.

The scores are taken as the project states them: over the frames of captures that tshark reads whole, once over all
frames and once as a mean over captures, for the path cut behind the first layer above transport and for the whole path.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import kernel, layers
from analysis.capture import open_captures
from analysis.errors import AnalysisError

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"
SEED = CORPUS.parent / "seed" / "home-wifi-45s.pcapng"

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures/corpus"),
]

FIRST_FRAMES, FIRST_MEAN = 0.999, 0.99  # asked for: 0.98, 0.92
WHOLE_FRAMES, WHOLE_MEAN = 0.996, 0.98  # asked for: 0.94, 0.88
TRANSPORTS = ("tcp", "udp", "udplite", "sctp", "icmp", "icmpv6")


def cut(path: str) -> str:
    """The path up to the first layer above transport."""
    parts = path.split("/")
    for at, part in enumerate(parts):
        if part in TRANSPORTS:
            return "/".join(parts[: at + 2])
    return path


def ours(path: Path) -> list[str]:
    """The path of every frame, as the pipeline names it."""
    from analysis.pipeline import Pipeline

    found = []
    with open_captures([str(path)]) as capture:
        for batch in Pipeline().batches(capture):
            packets = batch.packets
            for count, row in zip(packets.n_layers.tolist(), packets.layers.tolist()):
                found.append("/".join(layers.NAMES[layer] for layer in row[:count]))
    return found


def corpus() -> Iterator[tuple[str, list[str]]]:
    """Captures that tshark reads whole: name and Wireshark's paths."""
    for folder in sorted((CORPUS / "oracle").iterdir()):
        if json.loads((folder / "meta.json").read_text())["exit"] == 0:
            lines = gzip.decompress((folder / "frames.tsv.gz").read_bytes()).decode().splitlines()[1:]
            yield folder.name, [line.split("\t")[4] for line in lines]


def test_paths_are_wiresharks(capsys: pytest.CaptureFixture[str]) -> None:
    """Shares of equal paths; what differs is printed by kind, and the captures where most differs."""
    kernel.choose(0)
    frames = whole = first = 0
    whole_of, first_of = [], []
    misses: Counter[tuple[str, str]] = Counter()
    worst = []
    for name, wanted in corpus():
        if not wanted:
            continue
        try:
            found = ours(CORPUS / name)
        except AnalysisError:
            found = []
        equal = sum(a == b for a, b in zip(wanted, found))
        started = sum(cut(a) == cut(b) for a, b in zip(wanted, found))
        misses.update((cut(a), cut(b)) for a, b in zip(wanted, found) if a != b)
        frames, whole, first = frames + len(wanted), whole + equal, first + started
        whole_of.append(equal / len(wanted))
        first_of.append(started / len(wanted))
        worst.append((equal / len(wanted), name))
    scores = (
        first / frames,
        sum(first_of) / len(first_of),
        whole / frames,
        sum(whole_of) / len(whole_of),
    )
    with capsys.disabled():
        print(f"\npaths of {frames} frames in {len(whole_of)} captures")
        print("first layer above transport: {:.4f} of frames, {:.4f} mean over captures".format(*scores[:2]))
        print("whole path:                  {:.4f} of frames, {:.4f} mean over captures".format(*scores[2:]))
        for (want, got), count in misses.most_common(25):
            print(f"{count:6}  {want}  named  {got}")
        for share, name in sorted(worst)[:15]:
            print(f"{share:6.3f}  {name}")
    assert scores[0] >= FIRST_FRAMES
    assert scores[1] >= FIRST_MEAN
    assert scores[2] >= WHOLE_FRAMES
    assert scores[3] >= WHOLE_MEAN


@pytest.mark.skipif(not SEED.is_file(), reason="needs ../shared/captures/seed")
def test_tls_of_the_seed_has_the_windows_numbers() -> None:
    """114 frames and PDUs, 195,655 bytes: records count where they are complete, with their whole length."""
    from analysis.pipeline import Pipeline

    kernel.choose(0)
    frames = size = pdus = 0
    with open_captures([str(SEED)]) as capture:
        for batch in Pipeline().batches(capture):
            here = batch.packets.layers == layers.TLS
            frames += int(here.any(axis=1).sum())
            size += int(batch.packets.layer_bytes[here].sum())
            pdus += int(batch.packets.layer_pdus[here].sum())
    assert (frames, size, pdus) == (114, 195_655, 114)
