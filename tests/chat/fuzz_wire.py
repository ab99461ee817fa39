"""Fuzz target of the chat's wire: any bytes from a stranger or from somebody who is logged in.

    python tests/chat/fuzz_wire.py [--seconds 60] [--seed 1]

The one exception that may come out of the codec is WireError, and however the bytes are cut the frames before it are the
same; out of the server's core (session and hub) comes none at all. Anything else is printed with the input that causes it,
exit code 1. `codec` and `core` are entry points in the manner of libFuzzer, so atheris can drive them as well.
"""

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from chat_world import World

from chat import wire
from chat.commands import ACTIONS
from chat.decoder import CLIENT, OPEN, Caps, Decoder, Frame
from chat.errors import WireError

FILE = "00112233445566778899aabbccddeeff"
SEEDS = [
    wire.encode(body)
    for body in (
        wire.Hello([1], "x"), wire.Auth("guest", user="ann"), wire.Join("lobby"), wire.Join("@bob", after=3), wire.Part("lobby"),
        wire.Send("lobby", "i", "text"), wire.Send("lobby", "j", "new", edits=1), wire.Send("@ann+bob", "k", deletes=1),
        wire.History("lobby", before=9, limit=3), wire.History(query="from:ann in:lobby x"), wire.Resume([wire.RoomSeq("lobby", 1)]),
        wire.Offer("r", "a.png", 3, "0" * 64, "lobby", "image/png"), wire.Fetch("f", FILE, 1, 2), wire.MembersAsk("lobby"),
        wire.Admin("ban", room="lobby", target="bob", seconds=9), wire.Admin("set", room="r", value="history_days=3"),
        wire.Admin("create", room="r", value="private"), wire.Admin("role", room="r", target="bob", value="owner"), wire.Ping(7),
    )
]  # fmt: skip
WORDS = [b"lobby", b"@bob", b"@ann+bob", b"\\ud800", b"\\u0000", b"null", b"true", b"[]", b"{}", b"-1", b"1e400", b'"', b"9007199254740992", b"0.5", b"\xff", b"TW\x01"]  # fmt: skip

WORDS_OF = {
    str: ["lobby", "r", "@bob", "@ann+bob", "@", "", "bob", "x" * 300, "\n\u202e", "1", "private", "from:ann x", FILE, "0" * 64],
    list: [[], [1], [{"room": "lobby", "seq": 1}], [{"room": "@bob", "seq": 2**53 - 1}] * 3],
    int: [0, 1, 2, 2**53 - 1, None],
}  # fmt: skip
ODD = [-1, 0.5, None, True, {}, [None]]


def codec(data: bytes) -> None:
    """One direction of a connection, in one piece and cut: the same frames, then perhaps the same WireError."""
    for table, caps in ((wire.FROM_CLIENT, OPEN), (wire.FROM_SERVER, CLIENT), (wire.FROM_CLIENT, Caps(64, 64))):
        whole = _read(data, len(data) or 1, table, caps)
        for step in (1, 13):
            if (cut := _read(data, step, table, caps)) != whole:
                raise AssertionError(f"in pieces of {step}: {cut}, in one: {whole}")


def _read(data: bytes, step: int, table: dict[int, type[wire.Body]], caps: Caps) -> tuple[list[Frame], str]:
    decoder, frames = Decoder(table, caps), list[Frame]()
    for at in range(0, len(data), step):
        try:
            frames += decoder.feed(data[at : at + step])
        except WireError as error:
            return frames + error.frames, error.code
    return frames, ""


def core(data: bytes) -> None:
    """What a guest who is logged in sends, with somebody else in the room: answers, an ERROR or the door; and the other
    one can still talk."""
    world = World()
    eve, bob = world.join("ann", "bob")
    eve.feed(data)
    world.pass_time(1.1)
    if bob.say(wire.Send("lobby", "alive", "x")).take(wire.Ack) == [] and not bob.take(wire.Parted):
        raise AssertionError("bob cannot talk any more")


def made(rng: random.Random) -> bytes:
    """A whole frame with values of the right kind in its fields, now and then an odd one."""
    kind = rng.choice([kind for kind in wire.FROM_CLIENT if kind != wire.Type.DATA])
    body = {}
    for name, annotation in wire.FROM_CLIENT[kind].__annotations__.items():
        sort = str if annotation is str else list if str(annotation).startswith("list") else int
        value = rng.choice(ODD if rng.random() < 0.03 else WORDS_OF[sort])
        body |= {name: value if value is not None or "None" in str(annotation) else 0}
    if kind == wire.Type.ADMIN and rng.random() < 0.9:
        body["action"] = rng.choice(sorted(ACTIONS))
    content = json.dumps(body).encode()
    return wire.HEADER.pack(wire.MAGIC, wire.VERSION, kind, rng.choice([0, 0, 0, 1]), 0, len(content)) + content


def mutate(rng: random.Random) -> bytes:
    """Some frames: whole ones with odd values, and damaged ones: bytes changed, words put in, pieces dropped or doubled,
    lengths mostly repaired."""
    frames = []
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.6:
            frames.append(made(rng))
            continue
        frame = bytearray(rng.choice(SEEDS))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 6])):
            at = rng.randrange(len(frame) + 1)
            match rng.randrange(4):
                case 0:
                    frame[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    frame[at:at] = rng.choice(WORDS)
                case 2:
                    del frame[at : at + rng.randint(1, 8)]
                case _:
                    frame[at:at] = frame[at : at + rng.randint(1, 40)]
        if rng.random() < 0.7 and len(frame) >= wire.HEADER.size:
            frame[:4] = bytes([*b"TW\x01", rng.choice([*wire.FROM_CLIENT, rng.randrange(256)]) if rng.random() < 0.2 else frame[3]])  # fmt: skip
            frame[8:12] = (len(frame) - wire.HEADER.size).to_bytes(4)
        frames.append(bytes(frame))
    return b"".join(frames)


def hunt(targets: list[Callable[[bytes], None]], rng: random.Random, more: Callable[[int], bool]) -> tuple[int, bytes]:
    """Try inputs while `more(tried)`; how many were tried, and the one that broke something (empty: none)."""
    tried = 0
    while more(tried):
        data = mutate(rng)
        tried += 1
        for target in targets:
            try:
                target(data)
            except Exception:
                traceback.print_exc()
                return tried, data
    return tried, b""


def main() -> None:
    """Run for a while."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    end = time.monotonic() + asked.seconds
    tried, found = hunt([codec, core], random.Random(asked.seed), lambda _: time.monotonic() < end)
    print(f"{tried} inputs, {'one breaks it: ' + found.hex() if found else 'none breaks it'}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
