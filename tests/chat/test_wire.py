"""chat.wire: the vectors of docs/wire.md in both directions, byte at a time, and any bytes in any chunking."""

import itertools
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import wire
from chat.decoder import LOGIN, OPEN, Caps, Decoder, Frame
from chat.errors import WireError

DOC = Path(__file__).parents[2] / "docs" / "wire.md"
FILE = "00112233445566778899aabbccddeeff"

# name -> (body, channel, table of the side that reads it)
BODIES: dict[str, tuple[wire.Body, int, dict[int, type[wire.Body]]]] = {
    "hello": (wire.Hello([1], agent="t"), 0, wire.FROM_CLIENT),
    "auth": (wire.Auth("guest", user="ann"), 0, wire.FROM_CLIENT),
    "auth-ok": (wire.AuthOk("ann", "s", guest=True), 0, wire.FROM_SERVER),
    "send": (wire.Send("lobby", "c1", "hé\n"), 0, wire.FROM_CLIENT),
    "ack": (wire.Ack("c1", "lobby", 1, 2), 0, wire.FROM_SERVER),
    "msg": (wire.Msg("lobby", 1, 2, "ann", "hi", file=wire.FileRef(FILE, "a.png", 3, "0" * 64)), 7, wire.FROM_SERVER),
    "data": (wire.Data(FILE, 5, 6, b"\x00TW\xff"), 0, wire.FROM_CLIENT),
    "empty data": (wire.Data(FILE, 0, 0, b""), 0, wire.FROM_SERVER),
    "joined": (wire.Joined("lobby", 1, 9), 1, wire.FROM_SERVER),
    "resume": (wire.Resume([wire.RoomSeq("lobby", 3)]), 0, wire.FROM_CLIENT),
    "admin": (wire.Admin("kick", room="lobby", target="bob", seconds=5), 0, wire.FROM_CLIENT),
    "result": (wire.AdminResult("rooms", rows=[{"room": "lobby"}]), 0, wire.FROM_SERVER),
}
CAPS = Caps(control=1 << 16, data=1 << 16)


def header(kind: int = 6, length: int = 2, version: int = 1, flags: int = 0, magic: bytes = b"TW") -> bytes:
    return wire.HEADER.pack(magic, version, kind, flags, 0, length)


# name -> (bytes, code of the fault)
FAULTS: dict[str, tuple[bytes, str]] = {
    "HTTP": (b"GET / HTTP/1.1\r\n", "http"),
    "HTTP that starts like us": (b"TRACE / HTTP/1.1\r\n", "http"),
    "TLS": (b"\x16\x03\x01\x02\x00", "bad-magic"),
    "half a verb, then something else": (b"GETX", "bad-magic"),
    "second frame": (header() + b"{}" + b"XX", "bad-magic"),
    "version": (header(version=2), "bad-version"),
    "flags": (header(flags=0x8000), "bad-flags"),
    "unknown type": (header(kind=0x7F), "unknown-frame"),
    "too long": (header(length=(1 << 16) + 1), "oversize"),
    "too long, ignorable": (header(kind=0x7F, flags=1, length=(1 << 16) + 1), "oversize"),
    "DATA without a head": (header(kind=0x32, length=27), "bad-body"),
    "no JSON": (header() + b"{]", "bad-body"),
    "no object": (header() + b"[]", "bad-body"),
    "wrong field type": (header(kind=0x20, length=13) + b'{"room":true}', "bad-body"),
    "negative number": (header(length=12) + b'{"nonce":-1}', "bad-body"),
    "number beyond 2**53": (header(length=26) + b'{"nonce":9999999999999999}', "bad-body"),
    "deep": (header(length=90) + b'{"x":' + b"[" * 40 + b"1" + b"]" * 40 + b"}   ", "bad-body"),
    "bad UTF-8": (header(kind=0x20, length=31) + b'{"room":"r","id":"i","text":"\xff"}'[:31], "bad-body"),
}


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def read(chunks: list[bytes], table: dict[int, type[wire.Body]] = wire.FROM_CLIENT) -> tuple[list[Frame], str]:
    """All frames of the chunks, and the code of the fault that ended them."""
    decoder, frames = Decoder(table, CAPS), []
    for chunk in chunks:
        try:
            frames += decoder.feed(chunk)
        except WireError as error:
            return frames + error.frames, error.code
    return frames, ""


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("step", [1, 5, 4096])
def test_encoded_body_is_read_back(name: str, step: int) -> None:
    """Every body survives encode and feed, in one piece and byte at a time, with a second frame behind it."""
    body, channel, table = BODIES[name]
    data = wire.encode(body, channel) * 2

    frames, fault = read([data[i : i + step] for i in range(0, len(data), step)], table)

    assert ([Frame(wire.TYPE_OF[type(body)], 0, channel, body)] * 2, "") == (frames, fault)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("step", [1, 4096])
def test_fault_has_its_code_however_the_bytes_are_cut(name: str, step: int) -> None:
    """A fault is named the same in one piece and byte at a time, and frames before it are not lost."""
    data, code = FAULTS[name]
    if name not in {"HTTP", "HTTP that starts like us", "TLS", "half a verb, then something else"}:
        data = wire.encode(wire.Ping(4)) + data

    frames, fault = read([data[i : i + step] for i in range(0, len(data), step)])

    assert code == fault
    assert [f.body for f in frames if f.body == wire.Ping(4)] == [wire.Ping(4)] * data.startswith(
        wire.encode(wire.Ping(4))
    )


def test_unknown_ignorable_frame_is_skipped() -> None:
    """A later version may send what we do not know, if it says that we may skip it."""
    data = header(kind=0x7F, flags=wire.IGNORABLE, length=3) + b"\xff\x00[" + wire.encode(wire.Ping(1))

    assert [wire.Ping(1)] == [f.body for f in read([data])[0]]


def test_unknown_field_is_ignored_and_depth_counts_outside_strings_only() -> None:
    """New fields do not break old sides; brackets in a text are text."""
    content = b'{"room":"r","id":"i","text":"' + b"[{" * 50 + b'","new":{"a":[1]}}'
    data = header(kind=0x20, length=len(content)) + content

    assert [wire.Send("r", "i", "[{" * 50)] == [f.body for f in read([data])[0]]


def test_cap_is_checked_on_the_header_and_follows_the_login_state() -> None:
    """Before login 4 KiB and no DATA; the refusal comes before any body byte."""
    decoder = Decoder(wire.FROM_CLIENT, LOGIN)
    with pytest.raises(WireError, match="oversize"):
        decoder.feed(header(length=wire.LOGIN_CAP + 1))
    with pytest.raises(WireError, match="oversize"):
        Decoder(wire.FROM_CLIENT, LOGIN).feed(header(kind=0x32, length=28))
    decoder = Decoder(wire.FROM_CLIENT, LOGIN)
    decoder.caps = OPEN

    assert decoder.feed(header(length=wire.LOGIN_CAP + 1)) == []
    assert wire.HEADER.size == decoder.pending


def test_a_fault_is_final() -> None:
    """After a fault the same fault comes again, and no frame with it."""
    decoder = Decoder(wire.FROM_CLIENT, CAPS)
    with pytest.raises(WireError):
        decoder.feed(wire.encode(wire.Ping()) + b"junk")

    with pytest.raises(WireError, match="bad-magic") as caught:
        decoder.feed(wire.encode(wire.Ping()))
    assert caught.value.frames == []


def test_frames_of_the_other_direction_are_unknown() -> None:
    """A client cannot speak as the server: WELCOME has no place in the server's table."""
    assert read([wire.encode(wire.Notice("x"))])[1] == "unknown-frame"


good = st.sampled_from(
    [wire.encode(body, channel) for body, channel, table in BODIES.values() if table is wire.FROM_CLIENT]
)
rough = st.builds(
    lambda k, f, n, v, rest: wire.HEADER.pack(b"TW", v, k, f, 0, n) + rest,
    st.integers(0, 255), st.sampled_from([0, 1, 2]), st.integers(0, 40) | st.just(2**32 - 1), st.sampled_from([1, 1, 1, 2]), st.binary(max_size=40),
)  # fmt: skip


@given(st.lists(good | rough | st.binary(max_size=30), max_size=6), st.lists(st.integers(0, 2000), max_size=12))
def test_any_bytes_in_any_chunking_give_the_same_frames_or_fault(parts: list[bytes], cuts: list[int]) -> None:
    """Whole, cut anyhow and byte at a time: the same frames, then the same WireError code, and nothing else."""
    data = b"".join(parts)

    whole = read([data])

    assert whole == read(pieces(data, cuts))
    assert whole == read([bytes([byte]) for byte in data])


json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=4), c, max_size=3), max_leaves=8)  # fmt: skip


@given(st.sampled_from(sorted(wire.FROM_CLIENT)), st.dictionaries(st.sampled_from(["room", "text", "id", "versions", "rooms", "seconds", "limit"]), json, max_size=4))  # fmt: skip
def test_any_json_object_is_a_body_or_a_fault(kind: int, fields: dict[str, object]) -> None:
    """Whatever a field holds, the answer is a typed body or bad-body."""
    content = msgspec.json.encode(fields)

    frames, fault = read([header(kind=kind, length=len(content)) + content])

    assert fault in {"", "bad-body"}
    assert all(isinstance(f.body, wire.FROM_CLIENT[kind]) for f in frames)


@given(st.text(max_size=50))
def test_text_is_carried_unchanged(text: str) -> None:
    """Any Unicode text that UTF-8 can carry comes out as it went in."""
    sent = wire.Send("lobby", "c", text)

    assert [sent] == [f.body for f in read([wire.encode(sent)])[0]]


def vectors() -> list[tuple[str, str, str]]:
    """The rows of the table of test vectors in docs/wire.md: direction, JSON or words, hexadecimal bytes."""
    rows = re.findall(r"^\| (c|s) \| `(.+?)` \| `([0-9a-f]+)` \|$", DOC.read_text(), re.MULTILINE)
    assert len(rows) >= 8
    return rows


@pytest.mark.parametrize("row", vectors(), ids=lambda row: row[2][6:8])
def test_vector_of_the_documentation_holds(row: tuple[str, str, str]) -> None:
    """What docs/wire.md prints as bytes is what encode() makes and feed() reads."""
    side, content, data = row[0], row[1], bytes.fromhex(row[2])

    (frame,), fault = read([data], wire.FROM_CLIENT if side == "c" else wire.FROM_SERVER)

    assert fault == ""
    assert data == wire.encode(frame.body, frame.channel)
    if frame.type != wire.Type.DATA:
        assert msgspec.json.decode(content) == msgspec.json.decode(data[12:])
