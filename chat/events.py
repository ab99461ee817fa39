"""What a client tells its caller: small frozen events made from the server's frames, safe to print.

In: bodies of `chat.wire`. Out: the dataclasses below, or a JSON-ready dict of one (`as_json`, the lines of `join --json`).
This is the boundary where every string of a peer passes `safe_text` or `safe_name`; what was really sent stays in
`Message.raw` and `File.raw_name` for programs that compare, never for a screen. No socket, clock or screen here.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from chat import wire
from chat.safe_text import safe_name, safe_text

_FILE_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Connected:
    """Logged in, for the first time or again. `account` is the name others see."""

    account: str
    server: str
    guest: bool
    again: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone; the client tries again in `retry_s` seconds, or never (None)."""

    reason: str
    retry_s: float | None


@dataclass(frozen=True, slots=True)
class Joined:
    """We are in a room. `seq` is its last message, `members` how many are there."""

    room: str
    seq: int
    role: str
    topic: str
    members: int
    private: bool
    read_only: bool
    again: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """We are no longer in a room. reason: left, kicked, banned, closed."""

    room: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a room. role: owner, moderator, member."""

    name: str
    role: str = "member"
    muted: bool = False
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """Who is in a room; in a large one `people` is empty and `count` alone is true."""

    room: str
    count: int
    people: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """What changed in a room since the last such event."""

    room: str
    count: int
    joined: tuple[Person, ...]
    changed: tuple[Person, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be fetched. `name` is for people, `raw_name` as it was sent."""

    file_id: str
    name: str
    size_bytes: int
    sha256: str
    mime: str
    raw_name: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message; `seq` counts within its room, `time` is Unix seconds. `edits` or `deletes` name the seq they change."""

    room: str
    seq: int
    time: float
    sender: str
    text: str
    raw: str
    id: str = ""
    file: File | None = None
    edits: int = 0
    deletes: int = 0
    edited: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages first..last of a room cannot be had any more."""

    room: str
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class FileOffered:
    """Somebody is sending a file to a room; it may be fetched while it arrives."""

    room: str
    sender: str
    file: File


@dataclass(frozen=True, slots=True)
class Notice:
    """What the system has to say. kind: topic, role, kick, ban, mute, room, server."""

    kind: str
    text: str
    room: str
    actor: str
    target: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that belongs to no call of ours. `code` is a word of docs/wire.md."""

    code: str
    text: str


Event = Connected | Disconnected | Joined | Left | Members | Presence | Message | Gap | FileOffered | Notice | Failure


def message(body: wire.Msg) -> Message:
    """The event of a MSG, live or from history."""
    return Message(
        room=safe_name(body.room),
        seq=body.seq,
        time=body.ts / 1000,
        sender=safe_name(body.sender),
        text=safe_text(body.text),
        raw=body.text,
        id=safe_name(body.id),
        file=file_of(body.file) if body.file else None,
        edits=body.edits,
        deletes=body.deletes,
        edited=body.edited,
        deleted=body.deleted,
    )


def file_of(body: wire.FileRef) -> File | None:
    """The event's file; None if its id or hash are not what they must be: both become part of requests and file names."""
    if not _FILE_ID.fullmatch(body.file_id) or not _SHA256.fullmatch(body.sha256):
        return None
    return File(body.file_id, safe_name(body.name), body.size, body.sha256, safe_name(body.mime, 100), body.name)


def joined(body: wire.Joined, again: bool) -> Joined:
    """The event of a JOIN from the server."""
    return Joined(
        safe_name(body.room),
        body.seq,
        safe_name(body.role),
        safe_name(body.topic),
        body.count,
        body.private,
        body.read_only,
        again,
    )


def event_of(body: wire.Body) -> Event | None:
    """The event of any other body that is of interest to a caller by itself; None for the rest."""
    match body:
        case wire.Parted():
            return Left(safe_name(body.room), safe_name(body.reason), safe_name(body.text))
        case wire.Members():
            return Members(safe_name(body.room), body.count, _people(body.members))
        case wire.Presence():
            left = tuple(safe_name(name) for name in body.left)
            return Presence(safe_name(body.room), body.count, _people(body.joined), _people(body.changed), left)
        case wire.Offered():
            file = file_of(body.file)
            return FileOffered(safe_name(body.room), safe_name(body.sender), file) if file else None
        case wire.Notice():
            return Notice(
                safe_name(body.kind),
                safe_text(body.text),
                safe_name(body.room),
                safe_name(body.actor),
                safe_name(body.target),
            )
        case wire.Error():
            return Failure(safe_name(body.code), safe_name(body.text))
        case wire.Gap():
            return Gap(safe_name(body.room), body.first, body.last, safe_name(body.reason))
    return None


def _people(members: list[wire.Member]) -> tuple[Person, ...]:
    return tuple(Person(safe_name(one.name), safe_name(one.role), one.muted, one.guest) for one in members)


def as_json(event: Event) -> list[dict[str, Any]]:
    """The `--json` objects of an event; a Presence is one object a person. Keys are a contract (docs/chat.md)."""
    match event:
        case Message():
            return [_message_json(event)]
        case Joined():
            return [
                {"event": "joined", "room": event.room, "user": None, "seq": event.seq, "role": event.role,
                 "topic": event.topic or None, "members": event.members, "again": event.again}
            ]  # fmt: skip
        case Left():
            return [
                {"event": "left", "room": event.room, "user": None, "reason": event.reason, "text": event.text or None}
            ]
        case Members():
            people = [
                {"name": one.name, "role": one.role, "muted": one.muted, "guest": one.guest} for one in event.people
            ]
            return [{"event": "members", "room": event.room, "count": event.count, "members": people}]
        case Presence():
            came = [
                {"event": "joined", "room": event.room, "user": one.name, "members": event.count}
                for one in event.joined
            ]
            roles = [
                {"event": "role", "room": event.room, "user": one.name, "role": one.role, "muted": one.muted}
                for one in event.changed
            ]
            went = [{"event": "left", "room": event.room, "user": name, "members": event.count} for name in event.left]
            return [*came, *roles, *went]
        case FileOffered():
            return [{"event": "file_offered", "room": event.room, "from": event.sender, **file_json(event.file)}]
        case Gap():
            return [
                {"event": "gap", "room": event.room, "first": event.first, "last": event.last, "reason": event.reason}
            ]
        case Notice():
            return [
                {"event": "notice", "kind": event.kind, "text": event.text, "room": event.room or None,
                 "by": event.actor or None, "target": event.target or None}
            ]  # fmt: skip
        case Failure():
            return [{"event": "error", "code": event.code, "text": event.text}]
        case Connected():
            return [
                {
                    "event": "connected",
                    "user": event.account,
                    "server": event.server,
                    "guest": event.guest,
                    "again": event.again,
                }
            ]
        case Disconnected():
            return [{"event": "disconnected", "reason": event.reason, "retry_s": event.retry_s}]


def _message_json(event: Message) -> dict[str, Any]:
    base: dict[str, Any] = {
        "event": "message",
        "room": event.room,
        "seq": event.seq,
        "from": event.sender,
        "text": event.text,
        "time": event.time,
    }
    if event.file:
        base |= {"event": "file", **file_json(event.file)}
    if event.edits or event.deletes:
        base |= {"event": "edited" if event.edits else "deleted", "target": event.edits or event.deletes}
    if event.edited or event.deleted:
        base |= {"edited": event.edited, "deleted": event.deleted}
    return base


def file_json(file: File) -> dict[str, Any]:
    """The keys of a file in `--json`."""
    return {
        "file_id": file.file_id,
        "name": file.name,
        "size": file.size_bytes,
        "sha256": file.sha256,
        "mime": file.mime or None,
    }
