"""The full-screen client, driven by keys against a real server: what a person sees after what others do."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from live_chat import live_server, until
from PIL import Image
from textual import events as ui
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from chat.client import Client
from chat.events import Message
from chat.link import Address
from chat.terminal.app import THEMES, ChatApp
from chat.terminal.screens import FilePicker, HelpWindow, Question, SearchWindow
from chat.terminal.views import Entry, HalfBlocks, MemberList, MessageLine, RoomList, RoomLog, Separator, image_widget

PATIENCE_S = 200.0  # for something to appear; a busy machine needs seconds


class Desk:
    """A running app with its pilot, and helpers to look and type."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for something to become true on the screen."""
        for _ in range(int(PATIENCE_S / 0.05)):
            if true():
                return
            await self.pilot.pause(0.05)
        raise AssertionError(f"did not come true; on the screen: {self.rooms()} {self.head()} {self.texts()}")

    async def type(self, text: str) -> None:
        """Put a line in the input and press Enter."""
        self.app.query_one(Entry).value = text
        await self.pilot.press("enter")

    @property
    def log(self) -> RoomLog:
        """The room being looked at."""
        return next(log for log in self.app.base.query(RoomLog) if log.room == self.app.desk.room)

    def texts(self) -> list[str]:
        """What stands in the log, line by line."""
        return (
            [str(widget.render()) for widget in self.log.query(Static)] if self.app.desk.room in self.app.rooms else []
        )

    def sees(self, text: str) -> Callable[[], bool]:
        return lambda: any(text in line for line in self.texts())

    def head(self) -> str:
        return str(self.app.base.query_one("#head", Static).render())

    def rooms(self) -> list[str]:
        listed = self.app.base.query_one(RoomList)
        return [str(listed.get_option_at_index(n).prompt) for n in range(listed.option_count)]


@contextlib.asynccontextmanager
async def sitting(address: Address, folder: Path, user: str = "ann", room: str = "lobby") -> AsyncIterator[Desk]:
    """Somebody in front of the full-screen client."""
    async with Client(user, address, [room]) as client:
        app = ChatApp(client, room, folder / "in", image_widget("halfcell"), str(address))
        async with app.run_test(size=(110, 30)) as pilot:
            desk = Desk(app, pilot)
            await desk.until(lambda: room in app.rooms and "●" in desk.head())
            yield desk


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one scene."""
    asyncio.run(asyncio.wait_for(scene(), 280))


def test_two_people_see_each_other(tmp_path: Path) -> None:
    """What is typed is heard, what others say appears, with names in the member list, and in the log where they are asked for."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["lobby"]) as bob,
            sitting(address, tmp_path) as ann,
        ):
            await bob.send("lobby", "hello ann")
            await ann.until(ann.sees("hello ann"))
            await ann.type("hello bob")
            await ann.until(ann.sees("hello bob"))

            assert ann.log.query(".mention").last(MessageLine).said.text == "hello ann"
            assert [one.text for one in (await bob.history("lobby"))[0]] == ["hello ann", "hello bob"]
            await ann.until(lambda: "bob" in str(ann.app.query_one(MemberList).query_one(Static).render()))
            await ann.type("/members")
            await ann.until(ann.sees("* lobby: ann bob"))

    play(scene)


def test_nothing_of_a_peer_acts_on_the_screen(tmp_path: Path) -> None:
    """Escape sequences, markup and direction tricks in texts, names of files and topics are shown as characters."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["den"]) as bob,
            sitting(address, tmp_path, room="den") as ann,
        ):
            await bob.send("den", "\x1b]52;c;eA==\x07\x9b2J \u202eevil [bold red]loud[/bold red] [/]")
            await bob.admin("topic", room="den", text="[blink]topic[/]")
            await ann.until(ann.sees("‹ESC›]52"))
            await ann.until(lambda: "[blink]topic[/]" in ann.head())

            assert ann.sees("‹RLO›evil [bold red]loud[/bold red] [/]")()
            drawn = ann.app.export_screenshot()
            assert not set(drawn) & {"\x1b", "\x9b", "\x07", "\u202e"}

    play(scene)


def test_unread_rooms_call_and_a_marker_shows_where_reading_stopped(tmp_path: Path) -> None:
    """Messages elsewhere are counted, and how many of them mention one; going there clears them and shows the marker behind the last read."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["lobby", "den"]) as bob,
            sitting(address, tmp_path) as ann,
        ):
            await bob.send("lobby", "before")
            await ann.until(ann.sees("before"))
            await ann.type("/join den")
            await ann.until(lambda: ann.app.desk.room == "den")
            await bob.send("lobby", "unseen")
            await bob.send("lobby", "ann: look here")
            await ann.until(lambda: any(line.startswith(" lobby @1 2") for line in ann.rooms()))
            await ann.pilot.press("f8")
            await ann.until(lambda: ann.app.desk.room == "lobby")

            assert ann.rooms() == [" den", "▸lobby"]
            children = list(ann.log.children)
            marker = next(
                index
                for index, widget in enumerate(children)
                if isinstance(widget, Separator) and widget.has_class("marker")
            )
            assert isinstance(children[marker - 1], MessageLine) and children[marker - 1].said.text == "before"
            await ann.pilot.press("ctrl+n")
            await ann.until(lambda: ann.app.desk.room == "den")

    play(scene)


def test_scrolling_back_fetches_history(tmp_path: Path) -> None:
    """The newest are on the screen; paging up brings older ones until the first, each once and in order."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d", rates__message_burst=1000) as address,
            Client("bob", address, ["lobby"]) as bob,
        ):
            await asyncio.gather(*(bob.send("lobby", f"message {number}") for number in range(150)))
            async with sitting(address, tmp_path) as ann:
                await ann.until(lambda: len(ann.log.query(MessageLine)) == 60)
                for _ in range(40):
                    await ann.pilot.press("pageup")
                    await ann.pilot.pause(0.05)
                    if len(ann.log.query(MessageLine)) == 150:
                        break
                seqs = [line.said.seq for line in ann.log.query(MessageLine)]

                assert seqs == list(range(1, 151))

    play(scene)


def test_a_picture_is_fetched_and_shown(tmp_path: Path) -> None:
    """A sent picture is a line; F6 receives it, the file is saved and drawn under its line."""

    async def scene() -> None:
        file = io.BytesIO()
        Image.new("RGB", (64, 48), (200, 30, 30)).save(file, "PNG")
        (tmp_path / "red.png").write_bytes(file.getvalue())
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["lobby"]) as bob,
            sitting(address, tmp_path) as ann,
        ):
            await bob.send_file("lobby", tmp_path / "red.png")
            await ann.until(ann.sees("▣ red.png"))
            await ann.pilot.press("f6")
            await ann.until(lambda: ann.log.query(".picture"))
            await ann.until(lambda: ann.log.query_one(HalfBlocks)._lines)

            assert (tmp_path / "in" / "red.png").read_bytes() == file.getvalue()
            children = list(ann.log.children)
            picture = children.index(ann.log.query(".picture").first())
            assert isinstance(children[picture - 1], MessageLine) and children[picture - 1].said.file
            assert not ann.sees("is sending")()
            cells = [segment for line in ann.log.query_one(HalfBlocks)._lines for segment in line]
            assert len(cells) == 48 * 18  # 64 x 48 pixels: 18 rows are 36 pixels, 48 wide
            assert {segment.text for segment in cells} == {"▀"}
            assert {str(segment.style) for segment in cells} == {"#c81e1e on #c81e1e"}

    play(scene)


def test_a_file_is_picked_and_sent(tmp_path: Path) -> None:
    """Ctrl+O opens the picker; a typed path is sent."""

    async def scene() -> None:
        (tmp_path / "notes.txt").write_text("notes")
        async with live_server(tmp_path / "d") as address, sitting(address, tmp_path) as ann:
            await ann.pilot.press("ctrl+o")
            await ann.until(lambda: isinstance(ann.app.screen, FilePicker))
            picker = ann.app.screen.query_one("#path", Input)
            picker.focus()
            picker.value = str(tmp_path / "notes.txt")
            await ann.pilot.press("enter")
            await ann.until(ann.sees("▣ notes.txt"))

    play(scene)


def test_search_finds_and_shows_neighbours(tmp_path: Path) -> None:
    """Ctrl+F asks the server; a chosen result is shown among what was said round it."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["lobby"]) as bob,
            sitting(address, tmp_path) as ann,
        ):
            for text in ("first", "the needle", "after"):
                await bob.send("lobby", text)
            await ann.until(ann.sees("after"))
            await ann.pilot.press("ctrl+f")
            await ann.until(lambda: isinstance(ann.app.screen, SearchWindow))
            ann.app.screen.query_one("#query", Input).value = "needle"
            await ann.pilot.press("enter")
            found = ann.app.screen.query_one("#found", OptionList)
            await ann.until(lambda: found.option_count == 1 and found.has_focus)
            await ann.pilot.press("home", "enter")
            context = ann.app.screen.query_one("#context", Static)
            await ann.until(lambda: "after" in str(context.render()))

            assert "first" in str(context.render())
            await ann.pilot.press("escape")
            await ann.until(lambda: not isinstance(ann.app.screen, SearchWindow))

    play(scene)


def test_the_chat_goes_on_under_a_window(tmp_path: Path) -> None:
    """While help is open messages arrive, count as unread and are there afterwards; the chat's keys open no second window."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["lobby"]) as bob,
            sitting(address, tmp_path) as ann,
        ):
            await ann.pilot.press("f1")
            await ann.until(lambda: isinstance(ann.app.screen, HelpWindow))
            await bob.send("lobby", "are you reading?")
            bob.drop()
            await ann.until(ann.sees("are you reading?"))
            await ann.pilot.press("ctrl+f", "f1", "ctrl+n")

            assert len(ann.app.screen_stack) == 2
            assert ann.app.rooms["lobby"].unread == 1
            await ann.pilot.press("escape")
            await ann.until(lambda: ann.app.rooms["lobby"].unread == 0)
            await ann.type("now I am")
            await ann.until(ann.sees("now I am"))

    play(scene)


def test_keys_right_behind_enter_are_of_the_next_line(tmp_path: Path) -> None:
    """Keys that a slow line brings all at once: nothing is lost, nothing is said twice, what was mistyped is mended."""

    async def scene() -> None:
        async with live_server(tmp_path / "d") as address, sitting(address, tmp_path) as ann:
            entry = ann.app.query_one(Entry)
            for number in range(20):
                for key in (*"linx", "backspace", *f"e{number:02}", "enter"):
                    ann.app.post_message(ui.Key(key, key if len(key) == 1 else None))
            await ann.until(ann.sees("line19"))

            assert [line.split()[-1] for line in ann.texts() if "line" in line] == [f"line{n:02}" for n in range(20)]
            assert entry.value == ""

    play(scene)


def test_the_newest_is_in_view_after_history_came(tmp_path: Path) -> None:
    """Who enters a room with a long history sees what is said from then on."""

    async def scene() -> None:
        async with live_server(tmp_path / "d") as address, Client("bob", address, ["lobby"]) as bob:
            for number in range(80):
                await bob.send("lobby", f"before {number} " + "word " * 60)
            async with sitting(address, tmp_path) as ann:
                await ann.until(ann.sees("before 79"))
                await ann.until(lambda: ann.log.max_scroll_y > 0 and ann.log.is_vertical_scroll_end)
                for number in range(40):
                    await bob.send("lobby", f"after {number}")
                await ann.until(ann.sees("after 39"))
                await ann.until(lambda: ann.log.is_vertical_scroll_end)

    play(scene)


def test_pasting_lines_asks_first(tmp_path: Path) -> None:
    """Several pasted lines are one message, and only after yes; no sends nothing; a command among them is only text."""

    async def scene() -> None:
        async with live_server(tmp_path / "d") as address, sitting(address, tmp_path) as ann:
            for answer, text in (("n", "never\nsaid"), ("y", "/quit\nis text")):
                ann.app.query_one(Entry).post_message(ui.Paste(text))
                await ann.until(lambda: isinstance(ann.app.screen, Question))
                await ann.pilot.press(answer)
            await ann.until(ann.sees("/quit\nis text"))

            assert not ann.sees("never")()

    play(scene)


def test_pasted_lines_are_counted_and_too_many_become_a_file(tmp_path: Path) -> None:
    """Lines that a terminal pastes with carriage returns are lines; what no message can hold is offered as a file."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d", limits__text_bytes=1000) as address,
            sitting(address, tmp_path) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):
            ann.app.query_one(Entry).post_message(ui.Paste("one\rtwo\r\nthree"))
            await ann.until(lambda: isinstance(ann.app.screen, Question))
            assert "these 3 lines as one message" in str(ann.app.screen.query_one("#question", Static).render())
            await ann.pilot.press("y")
            assert (await until(bob, Message)).text == "one\ntwo\nthree"

            ann.app.query_one(Entry).post_message(ui.Paste("a line\r" * 10_000))
            await ann.until(lambda: isinstance(ann.app.screen, Question))
            assert "these 10000 lines as a file" in str(ann.app.screen.query_one("#question", Static).render())
            await ann.pilot.press("y")
            file = (await until(bob, Message)).file
            assert file is not None and file.name == "pasted.txt"
            assert (await bob.fetch(file, tmp_path / "bob")).read_text() == "a line\n" * 10_000

    play(scene)


def test_tab_completes_and_up_recalls(tmp_path: Path) -> None:
    """Tab finishes a name, again takes the next; Up brings the last line back."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "d") as address,
            Client("bob", address, ["lobby"]),
            Client("bonnie", address, ["lobby"]),
            sitting(address, tmp_path) as ann,
        ):
            entry = ann.app.query_one(Entry)
            await ann.until(lambda: {"bob", "bonnie"} <= set(ann.app.rooms["lobby"].people))
            await ann.pilot.press("b", "o", "tab")
            assert entry.value == "bob: "
            await ann.pilot.press("tab")
            assert entry.value == "bonnie: "
            await ann.pilot.press("x", "enter", "up")
            assert entry.value == "bonnie: x"
            await ann.pilot.press("down")
            assert entry.value == ""

    play(scene)


def test_a_restart_of_the_server_is_shown_and_survived(tmp_path: Path) -> None:
    """The head line says that the line is lost and when it is back; what was typed meanwhile is shown as waiting, and arrives."""

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as server:
            address = await server.enter_async_context(live_server(tmp_path / "d"))
            async with sitting(address, tmp_path) as ann:
                await server.aclose()
                await ann.until(lambda: "○" in ann.head())
                await ann.type("said in the dark")
                await ann.until(ann.sees("said in the dark (waits for the connection)"))
                async with live_server(tmp_path / "d", address.port):
                    await ann.until(lambda: [line for line in ann.texts() if line.endswith("said in the dark")])
                    await ann.until(lambda: "●" in ann.head() and not ann.sees("waits for")())

    play(scene)


def test_events_that_come_while_the_window_closes_are_no_crash(tmp_path: Path) -> None:
    """Its widgets are gone, older messages were asked for, and the server says that it stops."""

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as server:
            address = await server.enter_async_context(live_server(tmp_path / "d"))
            async with sitting(address, tmp_path) as ann:
                ann.app.rooms["lobby"].more = True
                await ann.app.base.query("*").remove()
                ann.app.older_wanted(RoomLog.OlderWanted("lobby"))
                await server.aclose()
                await ann.until(lambda: not ann.app.workers or all(one.is_finished for one in ann.app.workers))

    play(scene)


def test_help_lists_keys_and_commands_themes_and_lists_change(tmp_path: Path) -> None:
    """F1 shows all keys and commands, F3 hides the members, F4 takes the next theme, a mistake is said in the log."""

    async def scene() -> None:
        async with live_server(tmp_path / "d") as address, sitting(address, tmp_path) as ann:
            await ann.pilot.press("f1")
            await ann.until(lambda: isinstance(ann.app.screen, HelpWindow))
            text = str(ann.app.screen.query_one(Static).render())
            assert "Ctrl+F" in text and "/remove-file" in text
            await ann.pilot.press("escape")
            await ann.pilot.press("f3")
            assert not ann.app.query_one(MemberList).display
            before = ann.app.theme
            await ann.pilot.press("f4")
            assert ann.app.theme != before and ann.app.theme in THEMES
            await ann.type("/nonsense")
            await ann.until(ann.sees("no such command"))
            await ann.type("/kick nobody-here")
            await ann.until(lambda: any(line.startswith("! ") and "nonsense" not in line for line in ann.texts()))

    play(scene)


def test_a_flood_does_not_freeze_the_screen(tmp_path: Path) -> None:
    """Seven hundred messages are drawn in batches; the newest are there, the number of lines stays bounded."""

    async def scene() -> None:
        async with (
            live_server(
                tmp_path / "d",
                rates__messages_per_s=0.0,
                rates__account_messages_per_s=0.0,
                rates__address_messages_per_s=0.0,
            ) as address,
            Client("bob", address, ["lobby"]) as bob,
            sitting(address, tmp_path) as ann,
        ):
            for batch in range(7):
                await asyncio.gather(*(bob.send("lobby", f"flood {batch * 100 + number}") for number in range(100)))
            await ann.until(ann.sees("flood 699"))
            await ann.until(lambda: len(ann.log.children) <= 600)

    play(scene)


@pytest.mark.parametrize("from_the_start", [True, False])
def test_an_answer_that_does_not_come_stops_neither_events_nor_keys(
    from_the_start: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While older messages are asked for and do not come, messages arrive, keys work, and a broken line is shown."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as server:
            address = await server.enter_async_context(live_server(tmp_path / "d"))
            if from_the_start:
                monkeypatch.setattr(Client, "history", never)
            async with sitting(address, tmp_path) as ann:
                await ann.until(lambda: from_the_start or not ann.app._loading)
                monkeypatch.setattr(Client, "history", never)
                ann.app.rooms["lobby"].more = True
                await ann.pilot.press("pageup")
                await ann.type("still here")
                await ann.until(ann.sees("still here"))
                await server.aclose()
                await ann.until(lambda: "○" in ann.head())

    play(scene)
