"""The fuzz target runs a little with every suite, and would say so if something broke."""

import importlib.util
import random
from pathlib import Path

import pytest

from chat.errors import WireError

_spec = importlib.util.spec_from_file_location("fuzz_wire", Path(__file__).with_name("fuzz_wire.py"))
assert _spec is not None and _spec.loader is not None
fuzz_wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz_wire)


@pytest.mark.parametrize(("target", "inputs"), [("codec", 600), ("core", 300)])
def test_damaged_frames_break_nothing(target: str, inputs: int) -> None:
    """Frames with bytes changed, put in, dropped and doubled: frames, answers or WireError, nothing else."""
    tried, found = fuzz_wire.hunt([getattr(fuzz_wire, target)], random.Random(2026), lambda done: done < inputs)

    assert (tried, found) == (inputs, b"")


def test_the_inputs_reach_beyond_the_header() -> None:
    """Most inputs have a frame that is read, many have one that is not: else nothing would be tested."""
    rng, read, refused = random.Random(7), 0, 0
    for _ in range(300):
        decoder = fuzz_wire.Decoder(fuzz_wire.wire.FROM_CLIENT, fuzz_wire.OPEN)
        try:
            read += bool(decoder.feed(fuzz_wire.mutate(rng)))
        except WireError as error:
            refused += 1
            read += bool(error.frames)

    assert read > 150 and refused > 100


def test_what_breaks_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that cannot bear an odd length is caught, with the input."""

    def odd(data: bytes) -> None:
        if len(data) % 2:
            raise IndexError("odd")

    tried, found = fuzz_wire.hunt([odd], random.Random(1), lambda done: done < 100)

    assert tried < 100 and len(found) % 2 == 1
    assert "IndexError: odd" in capsys.readouterr().err
