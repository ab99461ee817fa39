"""tapwall's own chat on the wire: recognised by its header on any port, so that the lab can study its own traffic.

In: bytes of a connection. Out: a `tapwall` layer per frame and a `Chat` fact. Header, 12 bytes, big endian: magic `TW`,
version, type, flags, channel, length of the body (docs/wire.md).
"""

from __future__ import annotations

from analysis import layers
from analysis.facts import Chat
from analysis.patterns import pattern
from analysis.protocols.framing import Framing
from analysis.protocols.pdu import Pdu, framed

HEADER = 12
MAGIC = b"TW"
LONGEST_BODY = 1 << 24
AUTH = 0x03
SECRET = pattern(rb'"mechanism":"(?:password|token|register)"')  # guests and resumed sessions guess nothing
USER = pattern(rb'"user":"((?:[^"\\]|\\.){1,64})"')


def starts(data: bytes) -> bool:
    """A header whose version and length can be."""
    return (
        len(data) >= HEADER
        and data[:2] == MAGIC
        and 1 <= data[2] <= 15
        and int.from_bytes(data[8:12], "big") <= LONGEST_BODY
    )


def _frame(pdu: Pdu) -> None:
    pdu.add(layers.TAPWALL)
    if len(pdu.data) >= HEADER:
        kind = pdu.data[3]
        user = tried(pdu.data) if kind == AUTH else ""
        fact = Chat(pdu.number, pdu.time_ns, pdu.stream.flow, kind, pdu.direction == 0, user, pdu.length)
        pdu.stream.facts.add("chat", fact)


def tried(data: bytes) -> str:
    """The name for which an AUTH frame brings a secret, as it stands in the JSON; "" where it brings none."""
    user = USER.search(data)
    return user[1].decode("utf-8", "replace") if user and SECRET.search(data) else ""


def dissect(pdu: Pdu) -> bool:
    """Frames of the chat; refuses another magic."""
    if pdu.length >= 2 and pdu.data[:2] != MAGIC:
        return False
    return framed(pdu, HEADER, Framing(HEADER, 8, 4, "big", HEADER).size, _frame)
