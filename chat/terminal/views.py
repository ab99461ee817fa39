"""The widgets of the full-screen client: room list, message log, member list, input line, transfers.

In: state and events. Out: what is seen, and a few messages for `app`. They draw; they do not talk to the client.
All text goes through `Text` objects: a plain string would be parsed as markup.
"""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import ClassVar, Final

from PIL import Image
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events as ui
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.geometry import Size
from textual.message import Message as UiMessage
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, OptionList, ProgressBar, Static
from textual.widgets.option_list import Option

from chat.events import Gap, Message, Person
from chat.lines import size_text
from chat.preview import Preview
from chat.terminal.completion import Choices, Completion, complete
from chat.terminal.state import SIGNS, RoomState, mentions

LINES_KEPT: Final = 500  # message widgets of one room; scrolling back fetches older ones again
INPUT_HISTORY: Final = 200
NAME_COLOURS: Final = (
    "cyan",
    "green",
    "magenta",
    "yellow",
    "blue",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
    "bright_yellow",
    "bright_blue",
)
IMAGE_ROWS: Final = 18  # of a picture in the log: two or three fit on a screen


def name_colour(name: str) -> str:
    """The same colour for a name each time, on every machine."""
    return NAME_COLOURS[sum(map(ord, name)) % len(NAME_COLOURS)]


def clock(seconds: float) -> str:
    """Hours and minutes here."""
    return time.strftime("%H:%M", time.localtime(seconds))


def day_of(seconds: float) -> str:
    """The day as a separator shows it."""
    return time.strftime("%A, %d %B %Y", time.localtime(seconds))


class RoomList(OptionList):
    """The rooms: unread as a number, mentions with an @. Choosing one is `OptionList.OptionSelected` with its name as id."""

    can_focus = False

    def show(self, rooms: Iterable[RoomState], current: str, me: str) -> None:
        """Draw all again; there are few."""
        listed = sorted(rooms, key=lambda room: (room.direct, room.name))
        self.clear_options()
        self.add_options([Option(self._line(room, room.name == current, me), id=room.name) for room in listed])
        names = [room.name for room in listed]
        self.highlighted = names.index(current) if current in names else None

    @staticmethod
    def _line(room: RoomState, current: bool, me: str) -> Text:
        style = "bold" if current or room.unread else ""
        line = Text(("▸" if current else " ") + room.title(me), style=style, no_wrap=True, overflow="ellipsis")
        if room.mentions:
            line.append(f" @{room.mentions}", style="bold red")
        if room.unread - room.mentions:
            line.append(f" {room.unread}", style="bold yellow")
        return line


class MemberList(VerticalScroll):
    """Who is in the room, ranks first; in a large room only how many."""

    can_focus = False

    def compose(self) -> ComposeResult:
        """One text: people are many and change often."""
        yield Static(id="people")

    def show(self, room: RoomState, me: str) -> None:
        """Draw the list of a room."""
        text = Text(no_wrap=True, overflow="ellipsis").append(f"{room.count} in {room.title(me)}\n", style="dim")
        for one in room.sorted_people():
            text.append(self._line(one, me))
        self.query_one("#people", Static).update(text)

    @staticmethod
    def _line(one: Person, me: str) -> Text:
        line = Text().append(SIGNS.get(one.role, " "), style="yellow")
        line.append(one.name, style="bold" if one.name == me else name_colour(one.name))
        return line.append((" (muted)" if one.muted else "") + "\n", style="dim")


class MessageLine(Static):
    """One message. Clicking one with a file asks for the file."""

    class FileChosen(UiMessage):
        """The file of a message was clicked."""

        def __init__(self, file_id: str) -> None:
            super().__init__()
            self.file_id = file_id

    def __init__(self, message: Message, me: str) -> None:
        self.said = message
        super().__init__(
            self._text(message, me), classes="mention" if mentions(message.text, me) and message.sender != me else ""
        )
        self._me = me

    @staticmethod
    def _text(message: Message, me: str) -> Text:
        text = Text().append(clock(message.time) + " ", style="dim")
        text.append(
            message.sender, style=f"bold {'reverse ' if message.sender == me else ''}{name_colour(message.sender)}"
        )
        text.append("  ")
        if message.deleted:
            return text.append("taken back", style="dim italic")
        if message.file:
            text.append(f"▣ {message.file.name}", style="underline")
            return text.append(f"  {size_text(message.file.size_bytes)}  click, or /get", style="dim")
        text.append(message.text)
        return text.append(" (edited)", style="dim") if message.edited else text

    def change(self, message: Message) -> None:
        """The message was edited or taken back."""
        self.said = message
        self.update(self._text(message, self._me))

    def on_click(self) -> None:
        """Ask for the file."""
        if self.said.file:
            self.post_message(self.FileChosen(self.said.file.file_id))


class Separator(Static):
    """A line across the log: a new day, or where reading stopped."""

    def __init__(self, label: str, classes: str) -> None:
        super().__init__(Text(f"── {label} ", style="dim"), classes=classes)


class RoomLog(VerticalScroll, inherit_bindings=True):
    """The messages of one room, oldest first; stays at the end until somebody scrolls up."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("end", "end", "newest", show=False)]

    class OlderWanted(UiMessage):
        """Somebody scrolled to the top."""

        def __init__(self, room: str) -> None:
            super().__init__()
            self.room = room

    def __init__(self, room: str, me: Callable[[], str]) -> None:
        super().__init__(id=log_id(room), classes="log")
        self.room, self._me = room, me
        self._lines: dict[int, MessageLine] = {}
        self._arriving: dict[str, Static] = {}
        self._last_day = ""

    def on_mount(self) -> None:
        """Follow the newest."""
        self.anchor()

    @property
    def last_seq(self) -> int:
        """The newest message here."""
        return max(self._lines, default=0)

    async def add(self, messages: Iterable[Message]) -> None:
        """New messages at the end; edits and deletions go to the line they name."""
        widgets: list[Widget] = []
        for message in messages:
            if message.edits or message.deletes:
                self._change(message)
            elif message.seq not in self._lines:
                if day_of(message.time) != self._last_day:
                    self._last_day = day_of(message.time)
                    widgets.append(Separator(self._last_day, "day"))
                line = self._lines[message.seq] = MessageLine(message, self._me())
                widgets.append(line)
                if message.file and message.file.file_id in self._arriving:
                    await self._arriving.pop(message.file.file_id).remove()
        if widgets:
            await self.mount_all(widgets)
            await self._trim()

    async def add_older(self, messages: list[Message]) -> None:
        """A page of history above, without moving what is being read."""
        widgets: list[Widget] = []
        day = ""
        for message in messages:
            if message.seq in self._lines or message.edits or message.deletes:
                continue
            if day_of(message.time) != day:
                day = day_of(message.time)
                widgets.append(Separator(day, "day"))
            line = self._lines[message.seq] = MessageLine(message, self._me())
            widgets.append(line)
        if not widgets:
            return
        below = self.virtual_size.height - self.scroll_y
        following = (
            self.is_anchored and not self._anchor_released
        )  # the end of a log that is just being filled is not known
        await self.mount_all(widgets, before=0)
        self._last_day = self._last_day or day
        if following:  # scroll_to would end that
            self.call_after_refresh(self.anchor)
        else:
            self.call_after_refresh(lambda: self.scroll_to(y=self.virtual_size.height - below, animate=False))

    async def note(self, text: Text, arriving: str = "") -> Widget:
        """A line that is no message: what a command answered, who came; or, until its message is here, a file on its way."""
        line = Static(text, classes="note")
        if arriving:
            self._arriving[arriving] = line
        await self.mount(line)
        await self._trim()
        return line

    async def gap(self, gap: Gap) -> None:
        """Messages that nobody has any more."""
        await self.mount(Separator(f"messages {gap.first} to {gap.last} are gone", "gap"))

    async def mark_read(self, seq: int) -> None:
        """Put the read marker behind message `seq`; away with an older one."""
        await self.query(".marker").remove()
        after = max((one for one in self._lines if one <= seq), default=0)
        if after and after != self.last_seq:
            await self.mount(Separator("new", "marker"), after=self._lines[after])

    async def show_image(self, file_id: str, preview: Preview, widget: Callable[[Image.Image], Widget]) -> None:
        """A picture under the message that brought it, or at the end."""
        picture = widget(Image.frombytes("RGB", (preview.width, preview.height), preview.rgb))
        picture.add_class("picture")
        if not isinstance(picture, HalfBlocks):  # the others fill the height they are given
            picture.styles.height = min(IMAGE_ROWS, max(1, preview.height // 20))
        line = next((one for one in self._lines.values() if one.said.file and one.said.file.file_id == file_id), None)
        await self.mount(picture, after=line)

    def _change(self, message: Message) -> None:
        line = self._lines.get(message.edits or message.deletes)
        if line is not None:
            line.change(changed(line.said, message))

    async def _trim(self) -> None:
        """Forget the oldest while the newest are being read."""
        if len(self.children) > LINES_KEPT and self.is_vertical_scroll_end:
            old = list(self.children[: len(self.children) - LINES_KEPT])
            for widget in old:
                if isinstance(widget, MessageLine):
                    self._lines.pop(widget.said.seq, None)
            await self.remove_children(old)

    @property
    def oldest_seq(self) -> int | None:
        """The oldest message here."""
        return min(self._lines, default=None)

    def watch_scroll_y(self, old: float, new: float) -> None:
        """At the top: ask for older messages."""
        super().watch_scroll_y(old, new)
        if new <= 0 < old:
            self.post_message(self.OlderWanted(self.room))


def changed(before: Message, change: Message) -> Message:
    """A message after its edit or deletion."""
    if change.deletes:
        return replace(before, text="", raw="", deleted=True, file=None)
    return replace(before, text=change.text, raw=change.raw, edited=True)


def log_id(room: str) -> str:
    """A widget id for a room: names have characters that ids have not."""
    return "log-" + room.encode().hex()


class Entry(Input):
    """The line one types in: history with up and down, Tab completes, several pasted lines are asked about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "older", "older input", show=False),
        Binding("down", "newer", "newer input", show=False),
        Binding("tab", "complete", "complete", show=False),
    ]

    class Pasted(UiMessage):
        """Several lines were pasted."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, choices: Callable[[], Choices]) -> None:
        super().__init__(placeholder="message, or /help", id="entry", select_on_focus=False)
        self._choices = choices
        self._typed: list[str] = []
        self._at = 0
        self._offered: Completion | None = None
        self._turn = 0

    def remember(self, line: str) -> None:
        """Keep a line for up and down."""
        if line and (not self._typed or self._typed[-1] != line):
            self._typed = [*self._typed, line][-INPUT_HISTORY:]
        self._at = len(self._typed)

    def action_older(self) -> None:
        """The line before."""
        self._go(self._at - 1)

    def action_newer(self) -> None:
        """The line after; past the last an empty one."""
        self._go(self._at + 1)

    def _go(self, at: int) -> None:
        self._at = min(max(at, 0), len(self._typed))
        self.value = self._typed[self._at] if self._at < len(self._typed) else ""
        self.cursor_position = len(self.value)

    def action_complete(self) -> None:
        """Complete the word before the cursor; again for the next candidate."""
        if self._offered is None:
            self._offered, self._turn = complete(self.value[: self.cursor_position], self._choices()), 0
        if not self._offered.candidates:
            self._offered = None
            return
        offered = self._offered
        chosen = offered.candidates[self._turn % len(offered.candidates)]
        rest = self.value[self.cursor_position :]
        self.value = self.value[: offered.start] + chosen + rest
        self.cursor_position = offered.start + len(chosen)
        self._offered, self._turn = (offered, self._turn + 1) if len(offered.candidates) > 1 else (None, 0)

    async def action_submit(self) -> None:
        """Enter: the line is taken out at once, for keys that came right behind are of the next one."""
        line, self.value = self.value, ""
        self.remember(line)
        self.post_message(self.Submitted(self, line))

    async def _on_key(self, event: ui.Key) -> None:
        """Keys in the order in which they were pressed. By itself a key with an action waits for its turn in the app, while
        letters behind it, which a slow line brings in one piece, are put in at once."""
        if event.key != "tab":
            self._offered = None
        bindings = [] if event.is_printable else self._bindings.key_to_bindings.get(event.key, [])
        for binding in bindings:
            if await self.app.run_action(binding.action, self):
                event.stop()
                event.prevent_default()
                return
        await super()._on_key(event)

    def _on_paste(self, event: ui.Paste) -> None:
        if len(event.text.splitlines()) > 1:
            self.post_message(self.Pasted(event.text))
            event.stop()
            event.prevent_default()
        elif event.text:
            super()._on_paste(event)


class Transfers(Vertical):
    """One line with a bar for each file on its way."""

    def __init__(self) -> None:
        super().__init__(id="transfers")
        self._bars: dict[str, tuple[Horizontal, ProgressBar]] = {}

    def show(self, name: str, done: int, size: int) -> None:
        """A step of a transfer; its line goes when it is done."""
        if done >= size:
            self.drop(name)
            return
        if name not in self._bars:
            bar = ProgressBar(total=max(size, 1), show_eta=True)
            line = Horizontal(Static(Text(f"▣ {name} ", no_wrap=True, overflow="ellipsis"), classes="name"), bar)
            self._bars[name] = (line, bar)
            self.mount(line)
        self._bars[name][1].update(progress=done)

    def drop(self, name: str) -> None:
        """Away with a line."""
        found = self._bars.pop(name, None)
        if found:
            found[0].remove()


class HalfBlocks(Widget):
    """A picture as upper half blocks: two pixels a cell, in every terminal that has colours."""

    def __init__(self, picture: Image.Image) -> None:
        super().__init__()
        self._picture = picture
        self._lines: list[Strip] = []
        self._columns = 0

    def fit(self, columns: int) -> tuple[int, int]:
        """Columns and rows that keep the shape, at most `columns` and IMAGE_ROWS; small pictures are not blown up."""
        width, height = self._picture.size
        wide = max(1, min(columns, width, IMAGE_ROWS * 2 * width // height))
        return wide, max(1, min(IMAGE_ROWS, round(wide * height / width / 2)))

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """As wide as fits."""
        return self.fit(container.width - self.styles.margin.width)[0]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As high as that width asks for."""
        return self.fit(width)[1]

    def render_line(self, y: int) -> Strip:
        """One row of cells."""
        if self._columns != self.size.width:
            self._columns = self.size.width
            self._lines = self._drawn(*self.fit(self._columns))
        return self._lines[y] if y < len(self._lines) else Strip.blank(self._columns)

    def _drawn(self, columns: int, rows: int) -> list[Strip]:
        small = self._picture.resize((columns, rows * 2))
        rgb, row_bytes = small.tobytes(), columns * 3
        lines = []
        for top in range(0, rows * 2 * row_bytes, 2 * row_bytes):
            upper, lower = rgb[top : top + row_bytes], rgb[top + row_bytes : top + 2 * row_bytes]
            colours = (
                (Color.from_rgb(*upper[at : at + 3]), Color.from_rgb(*lower[at : at + 3]))
                for at in range(0, row_bytes, 3)
            )
            lines.append(Strip([Segment("▀", Style(color=above, bgcolor=below)) for above, below in colours], columns))
        return lines


def image_widget(kind: str) -> Callable[[Image.Image], Widget] | None:
    """How pictures are drawn: auto, halfcell, sixel, kitty, off (None). MUST be called before the screen is taken over: `auto`
    asks the terminal what it can."""
    if kind == "off":
        return None
    if kind == "halfcell" or not sys.stdout.isatty():
        return HalfBlocks
    from textual_image import renderable, widget

    best = (
        {renderable.SixelImage: "sixel", renderable.TGPImage: "kitty"}.get(renderable.Image) if kind == "auto" else kind
    )
    chosen = {"sixel": widget.SixelImage, "kitty": widget.TGPImage}.get(best or "")
    return HalfBlocks if chosen is None else lambda picture: chosen(picture)
