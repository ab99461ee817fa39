"""What the hub wants done: the small vocabulary between the pure core and the server that carries it out.

The counterpart of the bodies in chat/wire.py: those come in, these go out. Effects are carried out in their order.
"""

from typing import Any

from msgspec import Struct

from chat import wire


class Effect(Struct, frozen=True, gc=False):
    """Base of all effects."""


class Reply(Effect, frozen=True):
    """Send the body to one connection."""

    conn: int
    body: wire.Body


class ToRoom(Effect, frozen=True):
    """Send the body to all connections of the room, encoded once. seq: 0 for what history does not know."""

    number: int
    body: wire.Body
    seq: int = 0


class Shown(Effect, frozen=True):
    """What a message that is on disk has for its sender (`ack`, None without an id) and for its room (`body`, None when
    the room is gone or has seen it before)."""

    conn: int
    ack: wire.Ack | None
    number: int = 0
    body: wire.Msg | None = None


class Enter(Effect, frozen=True):
    """The connection gets the room's frames from now on, beginning with what came after `after`. `oldest`: the first
    message that is still kept."""

    conn: int
    room: str
    number: int
    after: int
    seq: int
    oldest: int


class Leave(Effect, frozen=True):
    """The connection gets no more of the room's frames."""

    conn: int
    number: int


class Post(Effect, frozen=True):
    """Put a message on disk, then call Hub.committed. `force`: may change what another wrote."""

    conn: int
    room: str
    sender: str
    id: str
    text: str
    file: wire.FileRef | None = None
    edits: int = 0
    deletes: int = 0
    force: bool = False


class Save(Effect, frozen=True):
    """Change the stored state: `what` is a function of the store, `args` its arguments."""

    what: str
    args: tuple[Any, ...]


class Read(Effect, frozen=True):
    """Read history and reply HISTORY. rooms: name -> the floor below which nothing is shown."""

    conn: int
    ask: wire.History
    rooms: dict[str, int]


class Upload(Effect, frozen=True):
    """An offer that the room allows."""

    conn: int
    sender: str
    ask: wire.Offer
    room: str


class Download(Effect, frozen=True):
    """A fetch; the server checks with Hub.may_read that the file's room allows it."""

    conn: int
    ask: wire.Fetch


class Account(Effect, frozen=True):
    """An account command that needs the password pool or the store; `by` is who asks."""

    conn: int
    by: str
    ask: wire.Admin


class Close(Effect, frozen=True):
    """Close the connection with ERROR."""

    conn: int
    code: str
    text: str


class Delay(Effect, frozen=True):
    """Stop reading from the connection for so long."""

    conn: int
    seconds: float
