"""chat.transfer: chunks one after another, the credit window, ranges; two ends joined in memory, with faults."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import wire
from chat.errors import TransferError
from chat.transfer import Intake, Outlet, crc32c, ranges

ID = "ab" * 16


def chunk(offset: int, payload: bytes, file_id: str = ID, crc: int | None = None) -> wire.Data:
    return wire.Data(file_id, offset, crc32c(payload) if crc is None else crc, payload)


def test_crc32c_is_castagnoli() -> None:
    """The check value of RFC 3720: 123456789 -> e3069283."""
    assert crc32c(b"123456789") == 0xE3069283


# what comes at offset 4 of a 10-byte file in chunks of 4 -> code
BAD_CHUNKS = [
    (chunk(4, b"abcd", file_id="00" * 16), "bad-file"),
    (chunk(0, b"abcd"), "bad-offset"),
    (chunk(8, b"ab"), "bad-offset"),
    (chunk(4, b"abcd", crc=1), "bad-crc"),
    (chunk(4, b""), "bad-file"),
    (chunk(4, b"abcde"), "bad-file"),
]


@pytest.mark.parametrize(("data", "code"), BAD_CHUNKS)
def test_a_bad_chunk_is_named(data: wire.Data, code: str) -> None:
    """Another file, another place, damaged, empty, too long."""
    intake = Intake(ID, 10, offset=4, chunk=4)

    with pytest.raises(TransferError) as error:
        intake.check(data)

    assert error.value.code == code
    assert error.value.offset == (4 if code in {"bad-offset", "bad-crc"} else None)


def test_what_follows_a_bad_chunk_is_dropped_in_silence_until_the_right_one_comes() -> None:
    """A sender had seven more chunks under way: one ERROR, not eight."""
    intake = Intake(ID, 40, chunk=4)
    with pytest.raises(TransferError):
        intake.check(chunk(0, b"abcd", crc=1))

    assert [intake.check(chunk(at, b"abcd")) for at in (4, 8, 12)] == [False, False, False]
    assert intake.check(chunk(0, b"abcd"))
    intake.took(4)
    with pytest.raises(TransferError):
        intake.check(chunk(12, b"abcd"))


def test_a_sender_that_ignores_the_credit_is_cut() -> None:
    """The window bounds what may be on the way."""
    intake = Intake(ID, 100, chunk=4, credit=2)
    for at in (0, 4, 8, 12):
        assert intake.check(chunk(at, b"abcd"))
        intake.took(4)  # credit is granted here: the window moves on

    assert intake.offset == 16
    intake.offset, intake._granted = 0, 8
    intake.offset = 8
    with pytest.raises(TransferError, match="ahead"):
        intake.check(chunk(8, b"abcd"))


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 6), st.integers(0, 2**32), st.floats(0, 0.4))
def test_two_ends_finish_over_a_faulty_line(size: int, piece: int, credit: int, seed: int, faults: float) -> None:
    """Chunks are damaged, lost behind a break, sent twice: with the offsets of the errors every byte arrives once."""
    rng = random.Random(seed)
    content = rng.randbytes(size)
    intake = Intake(ID, size, chunk=piece, credit=credit)
    outlet = Outlet(ID, 0, size, chunk=piece, window=piece * credit)
    got = bytearray()
    for _ in range(200_000):
        if intake.complete:
            break
        count = outlet.next(size)
        if count == 0:
            outlet.rewind(intake.offset)  # nothing in flight and nothing allowed: the line broke, a new ACCEPT
            outlet.window = intake.offset + piece * credit
            intake._granted = outlet.window
            continue
        data = chunk(outlet.offset, content[outlet.offset : outlet.offset + count])
        outlet.sent(count)
        if rng.random() < faults:
            data = (
                wire.Data(ID, data.offset, data.crc ^ 1, data.payload) if rng.random() < 0.5 else chunk(0, content[:1])
            )
        try:
            if intake.check(data):
                got += data.payload
                credit_frame = intake.took(len(data.payload))
                if credit_frame:
                    outlet.credited(credit_frame)
        except TransferError as error:
            if error.offset is not None:
                outlet.rewind(error.offset)
                outlet.window = error.offset + piece * credit

    assert bytes(got) == content


def test_an_outlet_sends_what_has_arrived_in_whole_chunks() -> None:
    """Cut-through: only whole chunks of what is there, the first one up to the border, the last one short."""
    outlet = Outlet(ID, 3, 10, chunk=4)
    sizes = []
    for available in (3, 4, 7, 8, 9, 10):
        count = outlet.next(available)
        sizes.append(count)
        outlet.sent(count)

    assert sizes == [0, 1, 0, 4, 0, 2]
    assert outlet.complete


@pytest.mark.parametrize(
    ("offset", "length", "expected"), [(0, 0, (0, 10)), (3, 4, (3, 7)), (3, 99, (3, 10)), (9, 0, (9, 10))]
)
def test_ranges(offset: int, length: int, expected: tuple[int, int]) -> None:
    """Length 0 is to the end; beyond it is cut."""
    assert ranges(10, offset, length) == expected


@pytest.mark.parametrize("offset", [10, 11, 2**53])
def test_a_range_behind_the_end_is_refused(offset: int) -> None:
    """There is nothing to send; an empty file alone may be fetched from 0."""
    with pytest.raises(TransferError):
        ranges(10, offset, 0)
    assert ranges(0, 0, 0) == (0, 0)
