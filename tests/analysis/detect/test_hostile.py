"""Scenes with broken bytes: detectors raise nothing, whatever a peer sent."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cases import all_cases
from traffic import Wire

from analysis.run import analyse

CASES = all_cases()
MOST_PACKETS = 400


@pytest.mark.parametrize("seed", range(6))
def test_broken_scenes_raise_nothing(seed: int, tmp_path: Path) -> None:
    """A third of the packets of some scenes get other bytes, some are cut; every finding still has its JSON form."""
    dice = random.Random(seed)
    wire = Wire(str(seed))
    for case in dice.sample([case for case in CASES if case.link == 1], 12):
        scene = Wire(case.id)
        case.script(scene)
        for at, data, size in scene.packets[:MOST_PACKETS]:
            broken = bytearray(data)
            if broken and dice.random() < 0.3:
                for _ in range(dice.randrange(1, 6)):
                    broken[dice.randrange(len(broken))] = dice.choice((0, 255, dice.randrange(256)))
                if dice.random() < 0.2:
                    del broken[dice.randrange(len(broken)) :]
            wire.packets.append((at, bytes(broken), max(size, len(broken))))
    analysis = analyse([wire.write(tmp_path / "a.pcap")])
    assert analysis.capture["packets"] == len(wire.packets)
    assert [finding.id for finding in analysis.findings] == [finding.to_json()["id"] for finding in analysis.findings]
