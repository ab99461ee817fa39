"""Payloads of the corpus, damaged: every protocol file meets bytes that were its own a moment ago.

The first packets of every pcap file of the corpus are changed at random places behind their link header, cut and put
into one capture a file. All stages run over them, interpreted (where a read outside a packet is an IndexError) and
compiled; nothing may be raised, every row must hold what rows promise, and both ways must give the same columns.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from capture_files import Packet, pcap

from analysis import kernel, layers
from analysis.capture import open_captures
from analysis.columns import MAX_LAYERS

CORPUS = Path(__file__).parents[3] / "shared" / "captures" / "corpus"
PACKETS = 80  # of each capture
ROUNDS = 2  # differently damaged
BEHIND = 34  # bytes of Ethernet and IPv4 that mostly stay as they are, so that damage reaches the protocols
NASTY = (0, 1, 2, 0x0A, 0x0D, 0x20, 0x30, 0x41, 0x7F, 0x80, 0xFE, 0xFF)

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures/corpus"),
    pytest.mark.timeout(900),
]


def stored(path: Path) -> tuple[int, list[tuple[int, bytes]]]:
    """Link type and the first packets of a little-endian pcap file; nothing of other files."""
    data = path.read_bytes()
    if data[:4] != b"\xd4\xc3\xb2\xa1":
        return 0, []
    link = struct.unpack_from("<I", data, 20)[0] & 0xFFFF
    at, found = 24, []
    while at + 16 <= len(data) and len(found) < PACKETS:
        seconds, fraction, kept, _ = struct.unpack_from("<IIII", data, at)
        found.append((seconds * 10**9 + fraction * 1000, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return link, found


def damaged(chance: random.Random, packet: bytes) -> bytes:
    """A few bytes changed, sometimes a piece left out, repeated or cut off."""
    octets = bytearray(packet)
    for _ in range(chance.choice((0, 1, 2, 6))):
        if len(octets) > BEHIND:
            low = 0 if chance.random() < 0.05 else BEHIND
            octets[chance.randrange(low, len(octets))] = chance.choice(NASTY) if chance.random() < 0.7 else chance.randrange(256)  # fmt: skip
    fate = chance.random()
    if fate < 0.1 and len(octets) > BEHIND:
        del octets[chance.randrange(BEHIND, len(octets)) :]
    elif fate < 0.15 and len(octets) > BEHIND + 8:
        at = chance.randrange(BEHIND, len(octets) - 4)
        octets[at:at] = octets[at : at + chance.randrange(1, 40)]
    return bytes(octets)


def captures() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every damaged capture; the same each time."""
    for path in sorted(CORPUS.glob("*.pcap")):
        link, packets = stored(path)
        for number in range(ROUNDS if packets else 0):
            chance = random.Random(f"{path.name} {number}")
            made = []
            for time_ns, data in packets:
                changed = damaged(chance, data)
                wire = len(changed) + (chance.randrange(200) if chance.random() < 0.1 else 0)
                made.append(Packet(time_ns, changed, wire))
            yield f"{path.name} {number}", pcap(made, link=link)


def digest(path: str) -> str:
    """What all stages made of a capture. Every row is checked on the way."""
    from analysis.pipeline import Pipeline

    total = hashlib.sha256()
    pipeline = Pipeline()
    with open_captures([path]) as capture:
        for batch in pipeline.batches(capture):
            packets = batch.packets
            assert int(packets.n_layers.max(initial=0)) <= MAX_LAYERS
            assert int(packets.layers.max(initial=0)) < len(layers.NAMES)
            assert bool((packets.layer_bytes >= 0).all())
            assert bool((packets.cap_len <= packets.frame_len).all())
            for name in ("layers", "layer_bytes", "layer_pdus", "n_layers", "analysis", "flow", "direction", "fault"):
                total.update(np.ascontiguousarray(getattr(packets, name)).tobytes())
    return total.hexdigest()


COMPILED = """
import sys
sys.path[:0] = {paths!r}
import test_mutated_corpus as this
from analysis import kernel
kernel.choose(0)
for line in sys.stdin:
    print(this.digest(line.rstrip("\\n")), flush=True)
"""


def test_damaged_payloads_are_rows_either_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No exception, rows that hold, the same columns interpreted and compiled."""
    kernel.choose(0)
    assert not kernel.enabled()
    files, found = [], []
    for at, (name, data) in enumerate(captures()):
        path = tmp_path / f"{at}.pcap"
        path.write_bytes(data)
        files.append((name, str(path)))
        try:
            found.append(digest(str(path)))
        except Exception as error:
            pytest.fail(f"{name}: {type(error).__name__}: {error}")
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    source = COMPILED.format(paths=[str(here), str(root), str(root / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, "-c", source],
        input="".join(f"{path}\n" for _, path in files),
        capture_output=True,
        text=True,
        env={**os.environ, "TAPWALL_JIT": "on"},
        timeout=600,
        check=False,
    )
    compiled = done.stdout.split()
    with capsys.disabled():
        print(f"\n{len(files)} damaged captures of up to {PACKETS} packets, interpreted and compiled")

    assert done.returncode == 0, done.stderr[-2000:]
    assert [name for (name, _), one, other in zip(files, found, compiled, strict=True) if one != other] == []
