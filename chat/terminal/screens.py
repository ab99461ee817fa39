"""The windows on top of the full-screen client: file picker, search, help, a yes-or-no question.

Each answers by `dismiss`: a path, nothing, a boolean. File names of this machine are made safe too: a folder may hold files that
a stranger named.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DirectoryTree, Input, OptionList, Static
from textual.widgets.option_list import Option

from chat.errors import ChatError
from chat.events import Message
from chat.lines import line_of
from chat.safe_text import safe_name
from chat.slash import COMMANDS
from chat.terminal.views import clock, day_of

Finder = Callable[[str], Awaitable[list[Message]]]
Around = Callable[[Message], Awaitable[list[Message]]]

KEYS = (
    ("Enter", "say it; a line that begins with / is a command"),
    ("Tab", "complete a name, room, command or path; again for the next"),
    ("Up, Down", "what you typed before"),
    ("PageUp, PageDown", "scroll; at the top older messages are fetched"),
    ("End", "the newest messages (when nothing is typed)"),
    ("Ctrl+N, Ctrl+P", "next and previous room"),
    ("F8", "next room with something unread"),
    ("Ctrl+O", "pick a file to send"),
    ("F6", "receive the latest file; or click its line"),
    ("Ctrl+F", "search in all rooms"),
    ("F3", "member list on and off"),
    ("F4", "next theme"),
    ("F7", "bell on and off"),
    ("F1", "this page"),
    ("Escape", "close a window; in the chat: to the newest message"),
    ("Ctrl+Z", "to the shell; `fg` comes back, and nothing is missed"),
    ("Ctrl+Q", "leave"),
)


class Window(ModalScreen[None]):
    """A window that Escape closes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "close")]


class HelpWindow(Window):
    """All keys and commands."""

    def compose(self) -> ComposeResult:
        """Two tables in one text."""
        text = Text().append("Keys\n\n", style="bold")
        for key, what in KEYS:
            text.append(f"  {key:<18}", style="cyan").append(f"{what}\n")
        text.append("\nCommands\n\n", style="bold")
        for name, command in COMMANDS.items():
            text.append(f"  /{name} ", style="cyan").append(command.arguments, style="yellow")
            text.append(f"  {command.help}\n")
        with VerticalScroll(classes="window"):
            yield Static(text)


class Question(ModalScreen[bool]):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("enter", "dismiss(True)", "yes"),
        Binding("n", "dismiss(False)", "no"),
        Binding("escape", "dismiss(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question and the keys."""
        with Vertical(classes="window small"):
            yield Static(Text(self._question), id="question")
            yield Static(Text("\nY yes   N no", style="bold"))


class SafeTree(DirectoryTree):
    """Folders and files, their names made safe to draw."""

    def process_label(self, label: str | Text) -> Text:
        """A name as one safe line."""
        return Text(safe_name(str(label)))


class FilePicker(ModalScreen[Path | None]):
    """Choose a file from the tree, or type its path."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "close")]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def compose(self) -> ComposeResult:
        """The path on top, the tree below."""
        with Vertical(classes="window"):
            yield Static(Text("Send which file? Arrow keys and Enter, or type a path; Escape closes."))
            yield Input(placeholder="path", id="path")
            yield SafeTree(self._folder)

    def on_mount(self) -> None:
        """Begin in the tree."""
        self.query_one(SafeTree).focus()

    @on(DirectoryTree.FileSelected)
    def chosen(self, event: DirectoryTree.FileSelected) -> None:
        """A file of the tree."""
        self.dismiss(event.path)

    @on(Input.Submitted)
    def typed(self, event: Input.Submitted) -> None:
        """A typed path; a folder becomes the tree's root."""
        path = Path(event.value).expanduser()
        if path.is_dir():
            self.query_one(SafeTree).path = path
        elif event.value:
            self.dismiss(path)


class SearchWindow(Window):
    """Search in all joined rooms; a chosen result is shown with its neighbours."""

    def __init__(self, find: Finder, around: Around) -> None:
        super().__init__()
        self._find, self._around = find, around
        self._found: list[Message] = []

    def compose(self) -> ComposeResult:
        """Question, results, the chosen one in its place."""
        with Vertical(classes="window"):
            yield Input(placeholder="words   from:NAME  in:ROOM  since:YYYY-MM-DD", id="query")
            yield OptionList(id="found")
            with VerticalScroll(id="around"):
                yield Static(id="context")

    def on_mount(self) -> None:
        """Begin with the question."""
        self.query_one("#query").focus()

    @on(Input.Submitted)
    async def search(self, event: Input.Submitted) -> None:
        """Ask the server."""
        results = self.query_one("#found", OptionList)
        results.clear_options()
        self._found = []
        if not event.value.strip():
            return
        try:
            self._found = list(reversed(await self._find(event.value)))
        except ChatError as error:
            self.query_one("#context", Static).update(Text(safe_name(str(error)), style="red"))
            return
        results.add_options(
            [Option(self._line(message)) for message in self._found] or [Option(Text("nothing found"), disabled=True)]
        )
        if self._found:
            results.focus()

    @staticmethod
    def _line(message: Message) -> Text:
        line = Text(
            f"{day_of(message.time)} {clock(message.time)} {message.room} ",
            style="dim",
            no_wrap=True,
            overflow="ellipsis",
        )
        return line.append(line_of(message).replace("\n", " "))

    @on(OptionList.OptionSelected)
    async def show(self, event: OptionList.OptionSelected) -> None:
        """The chosen message with what was said before and after."""
        chosen = self._found[event.option_index]
        try:
            neighbours = await self._around(chosen)
        except ChatError as error:
            self.query_one("#context", Static).update(Text(safe_name(str(error)), style="red"))
            return
        text = Text()
        for message in neighbours:
            style = "bold reverse" if message.seq == chosen.seq else ""
            text.append(f"{clock(message.time)} ", style="dim").append(line_of(message) + "\n", style=style)
        self.query_one("#context", Static).update(text)
