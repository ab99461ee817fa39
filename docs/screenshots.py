"""Makes the pictures of docs/chat.md: a small scene between three people, drawn by the real client against a real server.

Use: `python docs/screenshots.py` in the repository; writes docs/images/chat-*.svg. Only names, words and times are made up.
"""

import asyncio
import contextlib
import math
import os
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from live_chat import live_server  # noqa: E402

from chat.client import Client  # noqa: E402
from chat.link import Address  # noqa: E402
from chat.terminal.app import ChatApp  # noqa: E402
from chat.terminal.views import Entry, image_widget  # noqa: E402

IMAGES = ROOT / "docs" / "images"
TALK = [
    ("bob", "morning! did the capture from last night finish?"),
    ("alice", "yes: 41 million packets, and one host that talks every 60 s to the same address"),
    ("carol", "a beacon? [bold]send the picture[/bold] please, ann"),
    ("carol", "\x1b]0;owned\x07 <- this tried to rename your window"),
    ("bob", "ann: and the rules?"),
]


def graph() -> Image.Image:
    """A picture like one that people would send: an I/O graph."""
    picture = Image.new("RGB", (480, 200), (16, 24, 40))
    for x in range(480):
        level = 60 + 30 * math.sin(x / 23) + 12 * math.sin(x / 5) + (90 if x % 80 < 4 else 0)
        for y in range(200 - int(min(level, 190)), 200):
            shade = int(255 * (200 - y) / 200)
            picture.putpixel((x, y), (80, 120 + shade // 3, 255 - shade // 2) if x % 80 >= 4 else (240, 80, 60))
    return picture


async def main() -> None:
    """Play the scene and draw it three times."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.AsyncExitStack() as stack:
            server = contextlib.AsyncExitStack()
            address = await server.enter_async_context(live_server(Path(folder) / "data", server__name="lab"))
            people = {
                name: await stack.enter_async_context(Client(name, address, ["lab"]))
                for name in ("alice", "bob", "carol")
            }
            await people["alice"].admin("topic", room="lab", text="network lab, group 3")
            await stack.enter_async_context(sitting(people, address, Path(folder), server))


@contextlib.asynccontextmanager
async def sitting(people: dict[str, Client], address: Address, folder: Path, server: contextlib.AsyncExitStack):  # type: ignore[no-untyped-def]
    """Ann at the screen."""
    async with Client("ann", address, ["lab", "lobby"]) as ann:
        os.environ["HOME"] = str(folder)
        app = ChatApp(ann, "lab", folder / "Downloads", image_widget("halfcell"), "lab:1234")
        async with app.run_test(size=(112, 34)) as pilot:
            await pilot.pause(0.5)
            for name, text in TALK:
                await people[name].send("lab", text)
                await pilot.pause(0.1)
            path = folder / "io-graph.png"
            graph().save(path)
            await people["alice"].send_file("lab", path)
            await pilot.pause(0.5)
            await pilot.press("f6")
            await pilot.pause(1.5)
            direct = await people["bob"].join("@ann")
            await people["bob"].send(direct.room, "lunch?")
            await people["carol"].join("lobby")
            await people["carol"].send("lobby", "anybody here?")
            await pilot.pause(7)  # the notification goes
            app.query_one(Entry).value = "one drop rule, proved on the same capt"
            await pilot.pause(0.2)
            save(app, "chat-room")
            await pilot.press("ctrl+f")
            await pilot.pause(0.3)
            await pilot.press(*"beacon", "enter")
            await pilot.pause(0.5)
            await pilot.press("home", "enter")
            await pilot.pause(0.5)
            save(app, "chat-search")
            await pilot.press("escape")
            await server.aclose()
            await pilot.pause(1.0)
            save(app, "chat-reconnect")
            yield


def save(app: ChatApp, name: str) -> None:
    """Write the screen as SVG, with fonts of the reader's machine instead of ones from the net."""
    drawn = app.export_screenshot(title="tapwall chat", simplify=True)
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    (IMAGES / f"{name}.svg").write_text(drawn, encoding="utf-8")


asyncio.run(main())
