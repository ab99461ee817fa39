"""The full-screen chat client: events of the `Client` to widgets, keys and typed lines to commands.

In: a started `Client`, a room, a download folder. Out: what the person sees and does; `run_terminal` returns when they leave, and
raises what ended the session. One task reads events; they are drawn a batch at a time, so a flood costs a redraw every 50 ms.
It opens no socket and decodes no picture itself.
"""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from PIL import Image
from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Footer, Input, OptionList, Static

from chat import events, slash
from chat.client import Client
from chat.errors import ChatError
from chat.events import Event, Message
from chat.lines import event_line, size_text
from chat.preview import HEAD_BYTES, PreviewError, make_preview, read_header
from chat.safe_text import safe_name, safe_text
from chat.slash import Desk, Quit
from chat.terminal.completion import Choices
from chat.terminal.screens import FilePicker, HelpWindow, Question, SearchWindow
from chat.terminal.state import RoomState
from chat.terminal.views import Entry, MemberList, MessageLine, RoomList, RoomLog, Transfers, log_id

BATCH_S: Final = (
    0.05  # events are drawn at most this often: a person sees no difference, a flood costs 20 redraws a second
)
FEW: Final = 5  # people who come and go at once are worth a line each; a class that enters is not
PAGE: Final = 60  # messages fetched when scrolling back: a screen and a half
THEMES: Final = (
    "textual-dark",
    "nord",
    "gruvbox",
    "dracula",
    "tokyo-night",
    "solarized-dark",
    "textual-light",
    "solarized-light",
    "textual-ansi",
)
CHAT_KEYS: Final = frozenset({"help", "room", "unread", "pick", "get", "search", "members", "newest"})
Result = TypeVar("Result")
ImageMaker = Callable[[Image.Image], Widget]


class ChatApp(App[None]):
    """One person in front of a screen."""

    CSS = """
    #head { height: 1; background: $primary; color: $text; padding: 0 1; }
    #head.lost { background: $error; }
    RoomList { width: 22; border: none; background: $surface; padding: 0; scrollbar-size-vertical: 1; }
    MemberList { width: 20; padding: 0 1; background: $surface; scrollbar-size-vertical: 1; }
    .log { align-vertical: bottom; padding: 0 1; scrollbar-size-vertical: 1; }
    .day, .gap { color: $text-muted; text-align: center; }
    .marker { color: $error; border-top: dashed $error; height: 1; }
    .note { color: $text-muted; text-style: italic; }
    .mention { background: $warning 25%; }
    .picture { width: auto; height: auto; margin: 0 0 0 6; }
    #transfers { height: auto; max-height: 6; }
    #transfers Horizontal { height: 1; }
    #transfers .name { width: 40; }
    Entry { border: tall $primary; height: 3; }
    Question, FilePicker, SearchWindow, HelpWindow { align: center middle; }
    .window { width: 80%; height: 80%; border: thick $primary; background: $surface; padding: 1 2; }
    .window.small { width: 60; height: auto; }
    .-narrow RoomList, .-narrow MemberList { display: none; }
    .-middle RoomList, .-middle MemberList { width: 14; }
    #found { height: 1fr; } #around { height: 1fr; border-top: solid $primary; }
    """
    TITLE = "tapwall chat"
    COMMAND_PALETTE_BINDING = "f2"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "help"),
        Binding("ctrl+n", "room(1)", "next room", priority=True),
        Binding("ctrl+p", "room(-1)", "previous room", priority=True, show=False),
        Binding("f8", "unread", "unread"),
        Binding("ctrl+o", "pick", "send file", priority=True),
        Binding("f6", "get", "get file"),
        Binding("ctrl+f", "search", "search", priority=True),
        Binding("f3", "members", "members"),
        Binding("f4", "theme", "theme"),
        Binding("f7", "quiet", "bell", show=False),
        Binding("pageup", "scroll(-1)", "older", show=False, priority=True),
        Binding("pagedown", "scroll(1)", "newer", show=False, priority=True),
        Binding("escape", "newest", "newest", show=False),
        Binding("ctrl+z", "suspend_process", "to the shell", show=False, priority=True),
        Binding("ctrl+q", "quit", "leave", priority=True),
    ]

    def __init__(self, client: Client, room: str, folder: Path, image: ImageMaker | None, address: str) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [
            (0, "-narrow"),
            (60, "-middle"),
            (90, "-wide"),
        ]  # columns -> class for the style sheet
        self.client = client
        self.desk = Desk(client, room, folder, transferring=self._transferring)
        self.rooms: dict[str, RoomState] = {}
        self.failure: Exception | None = None
        self._image, self._address = image, address
        self._state_text = "connecting"
        self._bell_on = True
        self._loading: set[str] = set()
        self._members_asked: set[str] = set()  # rooms of which somebody typed /members: the answer comes as an event

    # --- life ----------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Head, rooms | messages | members, transfers, input, keys."""
        yield Static(id="head")
        with Horizontal():
            yield RoomList(id="rooms")
            with Vertical():
                yield ContentSwitcher(id="logs")
            yield MemberList(id="members")
        yield Transfers()
        yield Entry(self._choices)
        yield Footer(show_command_palette=False)

    @property
    def base(self) -> Screen[object]:
        """The chat itself, whatever window stands on top of it."""
        return self.screen_stack[0]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the chat do nothing while a window is on top of it."""
        return action not in CHAT_KEYS or len(self.screen_stack) == 1

    def on_mount(self) -> None:
        """Begin to read events and what is typed."""
        self.base.query_one(Entry).focus()
        self.app_resume_signal.subscribe(self, lambda _: self.call_after_refresh(self.base.refresh_bindings))
        self._start(self._live())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the keys and the drawing."""
        self.run_worker(self._while_shown(work))

    async def _while_shown(self, work: Coroutine[Any, Any, None]) -> None:
        """Work under way when the window is taken down misses the widgets that it was for: that is no mistake."""
        try:
            await work
        except Exception:
            if self.screen_stack and self.base.query("#head"):
                raise

    async def _live(self) -> None:
        """Events until the session ends; what ended it is for the caller of `run_terminal`."""
        waiting: list[Event] = []
        reading = asyncio.ensure_future(anext(self.client))
        try:
            while True:
                done, _ = await asyncio.wait([reading], timeout=BATCH_S if waiting else None)
                if done:
                    waiting.append(reading.result())
                    reading = asyncio.ensure_future(anext(self.client))
                if waiting and (not done or len(waiting) >= PAGE):
                    batch, waiting = waiting, []
                    await self._draw(batch)
        except StopAsyncIteration:
            self.exit()
        except ChatError as error:
            self.failure = error
            self.exit()
        finally:
            reading.cancel()

    async def _draw(self, batch: list[Event]) -> None:
        """Neighbouring messages of one room are added together."""
        run: list[Message] = []
        for event in batch:
            if isinstance(event, Message) and (not run or run[0].room == event.room):
                run.append(event)
                continue
            await self._messages(run)
            run = [event] if isinstance(event, Message) else []
            if not run:
                await self._other(event)
        await self._messages(run)
        self._draw_lists()

    async def _messages(self, run: list[Message]) -> None:
        if not run:
            return
        room, log = await self._room(run[0].room)
        looking = room.name == self.desk.room and self.app_focus and len(self.screen_stack) == 1
        called = False
        for message in run:
            called |= room.received(message, self.client.account, looking)
            if message.file:
                self.desk.seen(message.file)
        await log.add(run)
        if called and self._bell_on:
            self.bell()
            self.notify(f"{run[-1].sender}: {run[-1].text[:80]}", title=room.title(self.client.account), markup=False)

    async def _other(self, event: Event) -> None:
        match event:
            case events.Connected():
                self._state_text = f"● {event.account} on {event.server}"
            case events.Disconnected():
                self._state_text = f"○ {event.reason}" + (
                    f"; again in {event.retry_s:.1f} s" if event.retry_s is not None else ""
                )
            case events.Joined():
                await self._entered(event)
            case events.Left():
                await self._left(event)
            case events.Members():
                (await self._room(event.room))[0].listed(event)
                if event.room in self._members_asked:
                    self._members_asked.discard(event.room)
                    await self._note(event_line(event, self.client.account))
            case events.Presence():
                room, log = await self._room(event.room)
                news = room.changed(event)
                if len(news.joined) + len(news.left) <= FEW and (line := event_line(news, self.client.account)):
                    await log.note(Text(line))
            case events.Gap():
                await (await self._room(event.room))[1].gap(event)
            case events.FileOffered():
                self.desk.seen(event.file)
                if event.sender != self.client.account:
                    _, log = await self._room(event.room)
                    await log.note(Text(event_line(event, self.client.account)), arriving=event.file.file_id)
            case events.Notice() | events.Failure():
                if isinstance(event, events.Notice) and event.kind == "topic" and event.room in self.rooms:
                    self.rooms[event.room].topic = event.text
                await self._note(event_line(event, self.client.account))
        self._draw_head()

    # --- rooms ---------------------------------------------------------------------------------------------------

    async def _room(self, name: str) -> tuple[RoomState, RoomLog]:
        """The state and the log of a room, made when first heard of."""
        switcher = self.base.query_one("#logs", ContentSwitcher)
        if name not in self.rooms:
            self.rooms[name] = RoomState(name)
            await switcher.mount(log := RoomLog(name, lambda: self.client.account))
            log.display = False
        if not self.desk.room:
            self.desk.room = name
        return self.rooms[name], switcher.query_one("#" + log_id(name), RoomLog)

    async def _entered(self, event: events.Joined) -> None:
        room, log = await self._room(event.room)
        room.topic, room.count = event.topic, event.members
        if not event.again:
            room.read_seq = event.seq
            # beside the events: while the line is broken the answer waits, and that must be seen meanwhile
            self._start(self._older(event.room, event.seq + 1))
        if self.desk.room.startswith("@") and self.desk.room.casefold() not in self.rooms:
            self.desk.room = event.room
        if event.room == self.desk.room or self.desk.room not in self.rooms:
            await self._look_at(event.room)
        elif event.private:
            await log.note(Text(f"* {room.title(self.client.account)}"))

    async def _left(self, event: events.Left) -> None:
        self.rooms.pop(event.room, None)
        with contextlib.suppress(Exception):
            await self.base.query_one("#" + log_id(event.room), RoomLog).remove()
        if self.desk.room == event.room:
            self.desk.room = ""
            if self.rooms:
                await self._look_at(next(iter(self.rooms)))
        await self._note(event_line(event, self.client.account))

    async def _look_at(self, name: str) -> None:
        """Show a room: the marker stands where reading stopped, and nothing is unread any more."""
        room, log = await self._room(name)
        self.desk.room = name
        if room.unread:
            await log.mark_read(room.read_seq)
        room.looked_at(log.last_seq)
        self.base.query_one("#logs", ContentSwitcher).current = log.id
        log.anchor()
        self._draw_lists()

    async def _older(self, name: str, before: int | None = None) -> None:
        """Fetch the page before a message, else before the oldest one on the screen."""
        room, log = await self._room(name)
        if name in self._loading or not room.more:
            return
        self._loading.add(name)
        try:
            page, room.more = await self.client.history(name, before=before or log.oldest_seq, limit=PAGE)
        except ChatError as error:
            await self._note(f"! {error}")
            return
        finally:
            self._loading.discard(name)
        for message in page:
            if message.file:
                self.desk.seen(message.file)
        await log.add_older(page)
        room.more = room.more and bool(page)

    @on(RoomLog.OlderWanted)
    def older_wanted(self, event: RoomLog.OlderWanted) -> None:
        """Scrolled to the top."""
        self._start(self._older(event.room))

    @on(OptionList.OptionSelected, "#rooms")
    async def room_chosen(self, event: OptionList.OptionSelected) -> None:
        """A room was clicked."""
        if event.option.id:
            await self._look_at(event.option.id)
        self.base.query_one(Entry).focus()

    # --- typing --------------------------------------------------------------------------------------------------

    @on(Input.Submitted, "#entry")
    def typed(self, event: Input.Submitted) -> None:
        """A line: done in the background, so that a slow answer stops nobody from typing."""
        if event.value.strip():
            self._start(self._obey(event.value))

    async def _obey(self, line: str) -> None:
        waiting = await self._say_later(line) if not self.client.online and not line.startswith("/") else None
        try:
            name, rest = slash.parse(line)
            if name == "quit":
                raise Quit
            if name == "help":
                self._window(HelpWindow())
                return
            if name == "members":
                self._members_asked.add(self.desk.room)
            for answer in await slash.carry_out(self.desk, name, rest):
                await self._answered(answer)
        except Quit:
            await self.action_quit()
        except ChatError as error:
            await self._note(f"! {safe_name(str(error), 500)}", "red")
        finally:
            if waiting is not None and waiting.is_attached:
                await waiting.remove()

    async def _say_later(self, line: str) -> Widget | None:
        """Show what waits for the connection, until it is said."""
        if self.desk.room not in self.rooms:
            return None
        return await (await self._room(self.desk.room))[1].note(
            Text(f"… {safe_text(line, 300, 3)} (waits for the connection)")
        )

    async def _answered(self, answer: slash.Answer) -> None:
        if answer.text:
            await self._note(answer.text)
        match answer.data:
            case {"event": "entered", "room": str(room)}:
                await self._look_at(room)
            case {"event": "saved", "path": str(path), "file_id": str(file_id)}:
                await self._show_image(Path(path), file_id)

    @on(Entry.Pasted)
    def pasted(self, event: Entry.Pasted) -> None:
        """Several lines become one message, or a file where a message cannot hold them; after a question."""
        text = event.text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")  # many terminals paste returns
        lines, size = text.count("\n") + 1, len(text.encode(errors="replace"))
        most = self.client.limits.text_bytes if self.client.limits else size
        question = f"Send these {lines} lines as one message?"
        if size > most:
            question = f"Send these {lines} lines as a file? They are {size_text(size)}, a message is {size_text(most)} at most."

        def answer(yes: bool | None) -> None:
            if yes and size > most:
                self._start(self._send_as_file(text + "\n"))
            elif yes:
                self._start(self._obey("/" + text if text.startswith("/") else text))

        self._window(Question(f"{question}\n\n{safe_text(text, 300, 8)}"), answer)

    async def _send_as_file(self, text: str) -> None:
        with tempfile.TemporaryDirectory(prefix="tapwall-") as folder:
            path = Path(folder) / "pasted.txt"
            path.write_text(text, encoding="utf-8", errors="replace")
            await self._obey(f"/send {path}")

    def _choices(self) -> Choices:
        room = self.rooms.get(self.desk.room)
        return Choices(
            list(slash.COMMANDS),
            list(self.rooms),
            list(room.people) if room else (),
            [one.name for one in self.desk.files.values()],
        )

    async def _note(self, text: str, style: str = "") -> None:
        """A line in the room being looked at; before there is one, in a corner."""
        if not text:
            return
        if self.desk.room in self.rooms:
            await (await self._room(self.desk.room))[1].note(Text(text, style=style))
        else:
            self.notify(text, markup=False)

    # --- files ---------------------------------------------------------------------------------------------------

    def _transferring(self, name: str, done: int, size: int) -> None:
        self.base.query_one(Transfers).show(name, done, size)

    @on(MessageLine.FileChosen)
    def file_clicked(self, event: MessageLine.FileChosen) -> None:
        """A file in the log was clicked."""
        self._start(self._obey(f"/get {event.file_id}"))

    async def _show_image(self, path: Path, file_id: str) -> None:
        """Draw a saved file below its message if it is a picture."""
        if self._image is None or not await asyncio.to_thread(_is_picture, path):
            return
        try:
            preview = await asyncio.to_thread(make_preview, path)
        except PreviewError as error:
            await self._note(f"! {safe_name(str(error), 500)}")
            return
        _, log = await self._room(self.desk.room)
        await log.show_image(file_id, preview, self._image)

    # --- keys ----------------------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """F1."""
        self._window(HelpWindow())

    async def action_room(self, step: int) -> None:
        """The next or previous room of the list."""
        names = [room.name for room in sorted(self.rooms.values(), key=lambda room: (room.direct, room.name))]
        if self.desk.room in names:
            await self._look_at(names[(names.index(self.desk.room) + step) % len(names)])

    async def action_unread(self) -> None:
        """The room that calls loudest."""
        room = max(self.rooms.values(), key=lambda room: (room.mentions, room.unread), default=None)
        if room and room.unread:
            await self._look_at(room.name)

    def action_pick(self) -> None:
        """Choose a file to send."""

        def chosen(path: Path | None) -> None:
            if path is not None:
                self._start(self._obey(f"/send {path}"))

        self._window(FilePicker(Path.cwd()), chosen)

    def action_get(self) -> None:
        """Receive the latest file."""
        self._start(self._obey("/get"))

    def action_search(self) -> None:
        """Open the search."""

        async def find(words: str) -> list[Message]:
            return (await self.client.history(query=words, limit=100))[0]

        async def around(message: Message) -> list[Message]:
            return (await self.client.history(message.room, before=message.seq + 8, limit=15))[0]

        self._window(SearchWindow(find, around))

    def action_members(self) -> None:
        """Member list on or off."""
        members = self.base.query_one(MemberList)
        members.display = not members.display  # also overrides what a narrow screen hides

    def action_theme(self) -> None:
        """The next theme."""
        at = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(at + 1) % len(THEMES)]
        self.notify(self.theme, timeout=1.5)

    def action_quiet(self) -> None:
        """Bell and pop-ups on or off."""
        self._bell_on = not self._bell_on
        self.notify("bell on" if self._bell_on else "bell off", timeout=1.5)

    async def action_scroll(self, step: int) -> None:
        """A page up or down, while the cursor stays in the input line."""
        if isinstance(self.screen.focused, Entry) and self.desk.room in self.rooms:
            _, log = await self._room(self.desk.room)
            if step < 0 and log.scroll_y <= 0:
                self._start(self._older(self.desk.room))
            (log.scroll_page_up if step < 0 else log.scroll_page_down)(animate=False)
        elif self.screen.focused is not None:
            (self.screen.focused.scroll_page_up if step < 0 else self.screen.focused.scroll_page_down)(animate=False)

    async def action_newest(self) -> None:
        """To the end of the log."""
        if self.desk.room in self.rooms:
            _, log = await self._room(self.desk.room)
            log.scroll_end(animate=False)
            log.anchor()

    def _window(self, window: Screen[Result], answered: Callable[[Result | None], None] | None = None) -> None:
        """Put a window on top; when it closes, the person is back in the room."""

        def closed(answer: Result | None) -> None:
            if answered is not None:
                answered(answer)
            self._start(self._back())

        self.push_screen(window, closed)

    def on_app_focus(self) -> None:
        """The terminal's window has the keyboard again."""
        self._start(self._back())

    async def _back(self) -> None:
        """The room is being looked at again: what came meanwhile gets the marker, and is read now."""
        if self.rooms.get(self.desk.room) and self.rooms[self.desk.room].unread:
            await self._look_at(self.desk.room)

    # --- drawing -------------------------------------------------------------------------------------------------

    def _draw_lists(self) -> None:
        self.base.query_one(RoomList).show(self.rooms.values(), self.desk.room, self.client.account)
        room = self.rooms.get(self.desk.room)
        if room is not None:
            self.base.query_one(MemberList).show(room, self.client.account)
        self._draw_head()

    def _draw_head(self) -> None:
        room = self.rooms.get(self.desk.room)
        head = self.base.query_one("#head", Static)
        place = room.title(self.client.account) if room else ""
        topic = f" │ {room.topic}" if room and room.topic else ""
        where = f" ({self._address})" if self.client.online else ""
        head.update(Text(f"{place}{topic}  {self._state_text}{where}", no_wrap=True, overflow="ellipsis"))
        head.set_class(not self.client.online, "lost")


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return read_header(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


async def run_terminal(client: Client, room: str, folder: Path, image: ImageMaker | None) -> None:
    """Show the client until the person leaves. Raises what ended the session, if something did."""
    app = ChatApp(client, room, folder, image, str(client.address))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(
        signal.SIGTERM, app.exit
    )  # else the shell is left with the screen and the mouse of the chat
    try:
        await app.run_async()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    if app.failure is not None:
        raise app.failure
