"""What a person can type: the table of slash commands, and carrying one out through a `Client`.

In: one line of input. Out: `Answer`s, each with a line for people and an object for programs. Shared by the full-screen client,
the line client and `--json`, so that a command means the same everywhere. It draws nothing and reads no keyboard.
"""

import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chat import events
from chat.client import Client
from chat.errors import ChatError
from chat.events import File, Message
from chat.lines import line_of, size_text
from chat.safe_text import safe_name, safe_text

FILES_KEPT: Final = 200  # files of messages that /get can name; older ones are found by /history
LINE_BYTES: Final = 64 << 10  # of one line of input: more than the longest message


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command: its arguments as people read them, its help, and for administration the wire's fields in order."""

    arguments: str
    help: str
    fields: tuple[str, ...] = ()  # of ADMIN; a last "text" or "value" takes the rest of the line


COMMANDS: Final[dict[str, Command]] = {
    "join": Command("ROOM", "enter a room and talk there"),
    "part": Command("[ROOM]", "leave a room"),
    "room": Command("ROOM", "talk in another room that you are in"),
    "msg": Command("NAME [TEXT]", "direct conversation with somebody"),
    "send": Command("FILE", "send a file or picture to the room"),
    "get": Command("[NUMBER|NAME]", "receive a file that was sent; without an argument the latest"),
    "files": Command("", "the files that were sent"),
    "history": Command("[COUNT]", "older messages of the room"),
    "search": Command("WORDS", "find messages: words, from:NAME, in:ROOM, since:YYYY-MM-DD"),
    "members": Command("", "who is in the room"),
    "edit": Command("SEQ TEXT", "replace the text of your message"),
    "delete": Command("SEQ", "take a message back"),
    "rooms": Command("", "the rooms of the server", ("-",)),
    "topic": Command("TEXT", "what the room is about", ("room", "text")),
    "create": Command("ROOM [private,read-only] [TOPIC]", "make a room", ("+room", "value", "text")),
    "invite": Command("NAME", "let somebody into a private room", ("room", "target")),
    "kick": Command("NAME [REASON]", "put somebody out", ("room", "target", "text")),
    "ban": Command("NAME|ADDRESS [DURATION] [REASON]", "keep somebody out: 10m, 2h, 7d, 0 for good", ("room", "target", "seconds", "text")),
    "unban": Command("NAME|ADDRESS", "let somebody in again", ("room", "target")),
    "bans": Command("", "who is banned", ("room",)),
    "mute": Command("NAME [DURATION]", "let somebody only read", ("room", "target", "seconds")),
    "unmute": Command("NAME", "let somebody speak again", ("room", "target")),
    "role": Command("NAME owner|moderator|member", "give somebody a role", ("room", "target", "value")),
    "set": Command("KEY=VALUE", "change the room: private, read_only, history_days, history_messages", ("room", "value")),
    "close": Command("ROOM", "remove a room with its messages", ("+room",)),
    "whois": Command("NAME", "about somebody", ("target",)),
    "password": Command("NEW", "change your password", ("value",)),
    "audit": Command("[ROWS]", "what was administered", ("room", "value")),
    "remove-file": Command("FILE_ID", "remove a file", ("target",)),
    "help": Command("", "this list"),
    "quit": Command("", "leave the chat"),
}  # fmt: skip


# administration that only looks: no rows are "nothing", not "done"
LISTS: Final = frozenset({"rooms", "bans", "audit"})


class CommandError(ChatError):
    """The line cannot be carried out as it was typed."""


class Quit(Exception):
    """The person wants to leave."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command: `text` for people (safe to print), `data` for `--json`."""

    text: str
    data: dict[str, Any]


Transferring = Callable[[str, int, int], None]  # file name, bytes done, bytes in all


@dataclass(slots=True)
class Desk:
    """Where one person sits: the client, the room they talk in, the download folder, the files they have seen."""

    client: Client
    room: str
    folder: Path
    transferring: Transferring = lambda name, done, size: None
    files: OrderedDict[str, File] = field(default_factory=OrderedDict)

    def seen(self, file: File) -> None:
        """Remember a file for /get."""
        self.files[file.file_id] = file
        while len(self.files) > FILES_KEPT:
            self.files.popitem(last=False)

    def find(self, which: str) -> File:
        """The file meant by a number of /files, a name, an id, or nothing (the latest). CommandError if there is none."""
        listed = list(self.files.values())
        if not which and listed:
            return listed[-1]
        if which.isascii() and which.isdigit() and 0 < int(which) <= len(listed):
            return listed[int(which) - 1]
        found = [one for one in listed if which and which in (one.file_id, one.name)]
        if not found:
            raise CommandError(
                f"no file {safe_name(which)!r} was seen; /files lists them" if which else "no file was seen yet"
            )
        return found[-1]


def parse(line: str) -> tuple[str, str]:
    """A typed line as (command, rest). Text is the command `say`; `//x` says `/x`. CommandError for an unknown command."""
    if not line.startswith("/"):
        return "say", line
    if line.startswith("//"):
        return "say", line[1:]
    name, _, rest = line[1:].partition(" ")
    if name not in COMMANDS:
        raise CommandError(f"/{safe_name(name)}: no such command; /help lists them")
    return name, rest.strip()


def parse_json(line: str) -> tuple[str, str, str | None]:
    """A line of a program: `{"command": "say", "text": ..., "room": ...}`, or the same lines that people type."""
    if not line.lstrip().startswith("{"):
        return *parse(line), None
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"a command line is no JSON: {error}") from None
    name, room = given.get("command", "say"), given.get("room")
    arguments = given.get("text", given.get("argument", ""))
    if not isinstance(name, str) or (name not in COMMANDS and name != "say"):
        raise CommandError(f"command: got {safe_name(str(name))!r}, expected say or one of {', '.join(COMMANDS)}")
    if not isinstance(arguments, str) or not isinstance(room, str | None):
        raise CommandError("text and room of a command are strings")
    if name == "join" and room and not arguments:
        arguments = room
    return name, arguments, room


async def carry_out(desk: Desk, name: str, rest: str, room: str | None = None) -> list[Answer]:
    """Do what a parsed line says, in `room` or where the person talks. ChatError with the reason if it cannot be done."""
    room = room or desk.room
    if name in _OWN:
        return await _OWN[name](desk, rest, room)
    return [await _administer(desk, name, rest, room)]


async def _say(desk: Desk, rest: str, room: str) -> list[Answer]:
    if not room:
        raise CommandError("you are in no room; /join ROOM")
    ack = await desk.client.send(room, rest)
    return [
        Answer("", {"event": "sent", "room": safe_name(ack.room), "seq": ack.seq, "time": ack.ts / 1000, "id": ack.id})
    ]


async def _join(desk: Desk, rest: str, room: str) -> list[Answer]:
    joined = await desk.client.join(_needed(rest, "join"))
    desk.room = joined.room
    return [Answer("", {"event": "entered", "room": joined.room})]


async def _part(desk: Desk, rest: str, room: str) -> list[Answer]:
    leaving = rest or room
    await desk.client.part(leaving)
    if leaving == desk.room:
        desk.room = next((other for other in desk.client.rooms if other != leaving), "")
    return [Answer("", {"event": "leaving", "room": safe_name(leaving)})]


async def _room(desk: Desk, rest: str, room: str) -> list[Answer]:
    wanted = rest.lstrip("#")
    if wanted not in desk.client.rooms:
        raise CommandError(f"you are not in {safe_name(wanted)!r}; /join it first")
    desk.room = wanted
    return [Answer(f"you talk in {safe_name(wanted)}", {"event": "entered", "room": safe_name(wanted)})]


async def _msg(desk: Desk, rest: str, room: str) -> list[Answer]:
    name, _, text = _needed(rest, "msg").partition(" ")
    joined = await desk.client.join("@" + name.lstrip("@"))
    desk.room = joined.room
    entered = Answer("", {"event": "entered", "room": joined.room})
    return [entered, *(await _say(desk, text.strip(), joined.room) if text.strip() else [])]


async def _send(desk: Desk, rest: str, room: str) -> list[Answer]:
    path = Path(_needed(rest, "send").strip("\"'")).expanduser()
    shown = safe_name(path.name)
    sent = await desk.client.send_file(room, path, lambda done, size: desk.transferring(shown, done, size))
    return [
        Answer(
            f"sent {shown}",
            {
                "event": "file_sent",
                "room": room,
                "file_id": sent.file_id,
                "name": shown,
                "size": sent.size,
                "sha256": sent.sha256,
            },
        )
    ]


async def _get(desk: Desk, rest: str, room: str) -> list[Answer]:
    file = desk.find(rest)
    path = await desk.client.fetch(file, desk.folder, lambda done, size: desk.transferring(file.name, done, size))
    return [Answer(f"saved {_from_home(path)}", {"event": "saved", "path": str(path), **events.file_json(file)})]


def _from_home(path: Path) -> str:
    """A path as people write it. Safe: the folder is the person's own, the name went through `local_name`."""
    home = Path.home()
    return safe_name(f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path), 500)


async def _files(desk: Desk, rest: str, room: str) -> list[Answer]:
    listed = list(desk.files.values())
    lines = [f"{number:3}  {size_text(one.size_bytes):>8}  {one.name}" for number, one in enumerate(listed, 1)]
    return [
        Answer(
            "\n".join(lines) or "no files were seen yet",
            {"event": "files", "files": [events.file_json(one) for one in listed]},
        )
    ]


async def _history(desk: Desk, rest: str, room: str) -> list[Answer]:
    count = int(rest) if rest.isascii() and rest.isdigit() else 20
    page, more = await desk.client.history(room, limit=min(max(count, 1), 200))
    return [_page(desk, page, more, {"event": "history", "room": room})]


async def _search(desk: Desk, rest: str, room: str) -> list[Answer]:
    page, more = await desk.client.history(query=_needed(rest, "search"), limit=50)
    return [_page(desk, page, more, {"event": "found", "query": safe_text(rest)})]


def _page(desk: Desk, page: list[Message], more: bool, data: dict[str, Any]) -> Answer:
    for message in page:
        if message.file:
            desk.seen(message.file)
    lines = [f"{one.room} {one.seq}  {line_of(one)}" for one in page]
    rows = [row for one in page for row in events.as_json(one)]
    return Answer("\n".join(lines) or "nothing", {**data, "messages": rows, "more": more})


async def _members(desk: Desk, rest: str, room: str) -> list[Answer]:
    await desk.client.ask_members(room)
    return []  # the list comes as an event


async def _edit(desk: Desk, rest: str, room: str) -> list[Answer]:
    seq, _, text = rest.partition(" ")
    ack = await desk.client.send(room, text, edits=_seq(seq))
    return [
        Answer("", {"event": "sent", "room": safe_name(ack.room), "seq": ack.seq, "time": ack.ts / 1000, "id": ack.id})
    ]


async def _delete(desk: Desk, rest: str, room: str) -> list[Answer]:
    ack = await desk.client.send(room, "", deletes=_seq(rest))
    return [
        Answer("", {"event": "sent", "room": safe_name(ack.room), "seq": ack.seq, "time": ack.ts / 1000, "id": ack.id})
    ]


async def _help(desk: Desk, rest: str, room: str) -> list[Answer]:
    lines = [f"/{name} {command.arguments}".ljust(46) + command.help for name, command in COMMANDS.items()]
    return [Answer("\n".join(lines), {"event": "help", "commands": list(COMMANDS)})]


async def _quit(desk: Desk, rest: str, room: str) -> list[Answer]:
    raise Quit


_OWN: Final[dict[str, Callable[[Desk, str, str], Awaitable[list[Answer]]]]] = {
    "say": _say, "join": _join, "part": _part, "room": _room, "msg": _msg, "send": _send, "get": _get, "files": _files,
    "history": _history, "search": _search, "members": _members, "edit": _edit, "delete": _delete, "help": _help, "quit": _quit,
}  # fmt: skip


async def _administer(desk: Desk, name: str, rest: str, room: str) -> Answer:
    result = await desk.client.admin(name, **admin_fields(name, rest, room))
    if not result.ok:
        raise CommandError(f"/{name}: {safe_name(result.text)}")
    rows = [{safe_name(key): safe_name(value) for key, value in row.items()} for row in result.rows]
    lines = ["  ".join(f"{key} {shown_cell(key, value)}" for key, value in row.items() if value) for row in rows]
    text = (
        "\n".join([*([safe_text(result.text)] if result.text else []), *lines])
        or f"/{name}: {'nothing' if name in LISTS else 'done'}"
    )
    return Answer(text, {"event": "done", "command": name, "text": safe_text(result.text) or None, "rows": rows})


def shown_cell(key: str, value: str) -> str:
    """A cell for people: seconds since 1970 as a time here, 0 as for good. What a server says instead stays as it is."""
    if key not in ("until", "ts") or re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,9})?", value) is None:
        return value
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(float(value))) if float(value) else "for good"


def admin_fields(name: str, rest: str, room: str) -> dict[str, str | int]:
    """The fields of ADMIN from the rest of a line, as the table says. `room` is the present one unless the line names it."""
    fields = [one for one in COMMANDS[name].fields if one != "-"]
    given: dict[str, str | int] = {}
    if fields[:1] == ["room"]:
        given["room"] = room
        fields = fields[1:]
    for number, one in enumerate(fields):
        last = number == len(fields) - 1
        word, _, tail = (rest, "", "") if last else rest.partition(" ")
        if one == "seconds":
            seconds = duration_s(word) if word else 0
            if seconds is None:  # no duration: it is the reason already
                continue
            given[one] = seconds
        elif word:
            given[one.removeprefix("+")] = word
        rest = tail.strip()
    return given


def duration_s(word: str) -> int | None:
    """Seconds of `90`, `90s`, `10m`, `2h`, `7d`; None if it is no duration."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", word)
    return int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else None


def _needed(rest: str, name: str) -> str:
    if not rest:
        raise CommandError(f"/{name} {COMMANDS[name].arguments}: {COMMANDS[name].help}")
    return rest


def _seq(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 2**53):
        raise CommandError(f"got {safe_name(word)!r}, expected the number of a message")
    return int(word)
