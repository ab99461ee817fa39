"""What people and programs can type, and what the wire gets from it."""

import asyncio
import time
from pathlib import Path

import pytest
from live_chat import live_server, until

from chat import events, slash
from chat.client import Client
from chat.errors import ChatError
from chat.events import File
from chat.slash import COMMANDS, CommandError, Desk, admin_fields, duration_s, parse, parse_json, shown_cell


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hello", ("say", "hello")),
        ("  indented", ("say", "  indented")),
        ("//etc/passwd", ("say", "/etc/passwd")),
        ("/join dev", ("join", "dev")),
        ("/send  my cat.png ", ("send", "my cat.png")),
        ("/quit", ("quit", "")),
        ('{"command": "x"}', ("say", '{"command": "x"}')),
    ],
)
def test_lines_of_people(line: str, expected: tuple[str, str]) -> None:
    """A slash begins a command, two slashes say one, everything else is text; braces are text to people."""
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hello", ("say", "hello", None)),
        ("/join dev", ("join", "dev", None)),
        ('{"command": "say", "text": "hi", "room": "dev"}', ("say", "hi", "dev")),
        ('{"text": "hi"}', ("say", "hi", None)),
        ('{"command": "join", "room": "dev"}', ("join", "dev", "dev")),
        ('{"command": "history", "argument": "5"}', ("history", "5", None)),
    ],
)
def test_lines_of_programs(line: str, expected: tuple[str, str, str | None]) -> None:
    """Programs may write JSON objects or the lines of people."""
    assert parse_json(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "/nonsense",
        "/\x1b[2J",
        '{"command": "nonsense"}',
        '{"command": 5}',
        '{"command": ["say"]}',
        '{"text": 5}',
        '{"room": 5}',
        "{oops",
        "[" * 9999,
    ],
)
def test_bad_lines_are_said(line: str) -> None:
    """What cannot be understood is a CommandError in one safe line, or plain text."""
    if line.startswith(("/", "{")):
        with pytest.raises(CommandError) as caught:
            parse_json(line)
        assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    else:
        assert parse_json(line)[0] == "say"


@pytest.mark.parametrize(
    ("name", "rest", "expected"),
    [
        ("kick", "bob too loud", {"room": "den", "target": "bob", "text": "too loud"}),
        ("kick", "bob", {"room": "den", "target": "bob"}),
        ("ban", "bob 10m spam and more", {"room": "den", "target": "bob", "seconds": 600, "text": "spam and more"}),
        ("ban", "203.0.113.0/24 spam", {"room": "den", "target": "203.0.113.0/24", "text": "spam"}),
        ("topic", "new plans today", {"room": "den", "text": "new plans today"}),
        ("role", "bob moderator", {"room": "den", "target": "bob", "value": "moderator"}),
        ("create", "lab private A place", {"room": "lab", "value": "private", "text": "A place"}),
        ("close", "lab", {"room": "lab"}),
        ("mute", "bob 2h", {"room": "den", "target": "bob", "seconds": 7200}),
        ("rooms", "", {}),
        ("whois", "bob", {"target": "bob"}),
    ],
)
def test_administration_becomes_fields(name: str, rest: str, expected: dict[str, str | int]) -> None:
    """Words go into the fields of ADMIN in the table's order, the last takes the rest, the room is the present one."""
    assert admin_fields(name, rest, "den") == expected


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("7d", 604800),
        ("0", 0),
        ("spam", None),
        ("1y", None),
        ("9" * 30, None),
        ("-5", None),
    ],
)
def test_durations(word: str, seconds: int | None) -> None:
    """Seconds, minutes, hours, days; anything else is no duration."""
    assert duration_s(word) == seconds


def file(number: int) -> File:
    return File(f"{number:032x}", f"f{number}.png", 10, "0" * 64, "image/png", f"f{number}.png")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("until", "0", "for good"),
        ("until", "86400", time.strftime("%Y-%m-%d %H:%M", time.localtime(86400))),
        ("until", "9" * 40, "9" * 40),
        ("until", "soon", "soon"),
        ("target", "0", "0"),
    ],
)
def test_times_are_shown_as_people_read_them(key: str, value: str, shown: str) -> None:
    """A ban's end is a day and a time; what is none stays as it is."""
    assert shown_cell(key, value) == shown


def test_files_are_found_by_number_name_id_or_as_the_latest() -> None:
    """/get means what people mean; unknown ones are said."""
    desk = Desk(Client("ann"), "lobby", Path())
    with pytest.raises(CommandError, match="no file was seen"):
        desk.find("")
    for number in (1, 2, 3):
        desk.seen(file(number))

    assert [desk.find(which).name for which in ("", "1", "f2.png", f"{2:032x}")] == [
        "f3.png",
        "f1.png",
        "f2.png",
        "f2.png",
    ]
    with pytest.raises(CommandError, match="no file"):
        desk.find("9")


def test_every_command_has_help_and_can_be_carried_out() -> None:
    """The table is complete: a command is ours, or has the wire's fields."""
    assert all(command.help and (name in slash._OWN or command.fields) for name, command in COMMANDS.items())


def test_a_session_of_commands(tmp_path: Path) -> None:
    """Join, speak, look, search, make and administer a room, and leave, as typed."""

    async def scene() -> None:
        async with (
            live_server(tmp_path) as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]),
        ):
            desk = Desk(ann, "lobby", tmp_path / "in")

            async def typed(line: str) -> list[slash.Answer]:
                return await slash.carry_out(desk, *parse(line))

            assert (await typed("hello world"))[0].data["event"] == "sent"
            assert "<ann> hello world" in (await typed("/history"))[0].text
            assert (await typed("/search world"))[0].data["messages"][0]["text"] == "hello world"
            assert (await typed("/files"))[0].data["files"] == []
            await typed("/join den")
            assert desk.room == "den"
            await typed("/topic plans")
            assert (await until(ann, events.Notice, kind="topic")).room == "den"
            assert "den" in (await typed("/rooms"))[0].text
            assert (await typed("/bans"))[0].text == "/bans: nothing"
            assert "/join" in (await typed("/help"))[0].text
            await typed("/msg bob psst")
            assert desk.room == "@ann+bob"
            await typed("/room lobby")
            await typed("/part lobby")
            await until(ann, events.Left, room="lobby")
            for wrong in ("/join", "/room nowhere", "/edit x y", "/get", "/kick nobody"):
                with pytest.raises(ChatError):
                    await typed(wrong)
            with pytest.raises(slash.Quit):
                await typed("/quit")

    asyncio.run(asyncio.wait_for(scene(), 280))
