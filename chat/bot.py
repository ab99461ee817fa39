"""Scripted people: a TOML file says what a bot says, waits for, sends, and when its line breaks. The lab's people are bots.

In: a script (format in docs/chat.md), a `Client`. Out: one line a step on `out`, and with `log` a JSON line for each delivered
message, {"time", "from", "delay_s"}, from which the lab tells what people noticed. A step that does not come true ends the script
with BotError. It decides nothing by chance: the same script does the same.
"""

import asyncio
import contextlib
import json
import time
import tomllib
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from chat import events
from chat.client import Client
from chat.errors import ChatError, reason
from chat.events import Event, File, Message
from chat.safe_text import safe_name

SCRIPT_BYTES: Final = 1 << 20
WITHIN_S: Final = 60.0  # the default patience of `expect` and `get`
SEEN_KEPT: Final = 1000  # messages that `expect` can still find

# step -> the type of its value; the other keys a step may have
STEPS: Final[dict[str, tuple[type | tuple[type, ...], frozenset[str]]]] = {
    "say": (str, frozenset({"room", "times", "every"})),
    "join": (str, frozenset()),
    "part": (str, frozenset()),
    "wait": ((int, float), frozenset()),
    "expect": (str, frozenset({"from", "within"})),
    "send": (str, frozenset({"room"})),
    "get": (str, frozenset({"within"})),
    "drop": (bool, frozenset()),
    "read_slowly": ((int, float), frozenset()),
}


class BotError(ChatError):
    """The script is wrong, or something it expects did not happen."""


@dataclass(frozen=True, slots=True)
class Script:
    """A checked script. `steps` are run `repeat` times; 0 means until stopped."""

    user: str
    rooms: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]
    repeat: int = 1
    stay: bool = False  # after the last step: stay and listen until stopped


def read_script(path: Path) -> Script:
    """Read and check a script. BotError names the step at fault."""
    try:
        with path.open("rb") as file:
            given = tomllib.loads(file.read(SCRIPT_BYTES).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BotError(f"{path}: {reason(error)}") from error
    unknown = set(given) - {"user", "rooms", "repeat", "stay", "step"}
    user, rooms, steps = given.get("user"), given.get("rooms", ["lobby"]), given.get("step", [])
    if (
        unknown
        or not isinstance(user, str)
        or not isinstance(steps, list)
        or not isinstance(given.get("repeat", 1), int)
    ):
        raise BotError(
            f"{path}: expected user, rooms, repeat, stay and [[step]] tables, got {', '.join(sorted(given)) or 'nothing'}"
        )
    if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
        raise BotError(f"{path}: rooms: expected a list of names")
    for number, step in enumerate(steps, 1):
        _check(step, f"{path}: step {number}")
    return Script(user, tuple(rooms), tuple(steps), given.get("repeat", 1), bool(given.get("stay", False)))


def _check(step: Any, where: str) -> None:
    verbs = [key for key in step if key in STEPS] if isinstance(step, dict) else []
    if len(verbs) != 1:
        raise BotError(
            f"{where}: got {sorted(step) if isinstance(step, dict) else step}, expected one of {', '.join(STEPS)}"
        )
    kind, others = STEPS[verbs[0]]
    if not isinstance(step[verbs[0]], kind) or (isinstance(step[verbs[0]], bool) and kind is not bool):
        raise BotError(f"{where}: {verbs[0]}: got {step[verbs[0]]!r}")
    if set(step) - {verbs[0]} - others:
        raise BotError(
            f"{where}: {verbs[0]} takes {', '.join(sorted(others)) or 'nothing else'}, got {', '.join(sorted(step))}"
        )
    for key in ("times", "every", "within"):
        if not isinstance(step.get(key, 1), int | float) or step.get(key, 1) < 0:
            raise BotError(f"{where}: {key}: got {step[key]!r}, expected a number")


def timed_id() -> str:
    """A message id that says when it was sent, in microseconds: whoever shares the clock can tell the delay."""
    return f"t{time.time_ns() // 1000:x}-{uuid.uuid4().hex[:12]}"


def delay_s(message: Message, now: float) -> float:
    """How long a message took: since it was sent if its id says so, else since it was stored."""
    sent = message.time
    if message.id.startswith("t"):
        with contextlib.suppress(ValueError):
            sent = int(message.id[1:].partition("-")[0], 16) / 1e6
    return max(now - sent, 0.0)


@dataclass(slots=True)
class Bot:
    """A script being played. `folder` is where its files are and where it saves those of others."""

    client: Client
    script: Script
    folder: Path
    downloads: Path
    out: TextIO
    log: TextIO | None = None
    _seen: deque[Message] = field(default_factory=lambda: deque(maxlen=SEEN_KEPT))
    _files: dict[str, File] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Play the script; returns after the last step, or never if it stays."""
        listening = asyncio.create_task(self._listen())
        playing = asyncio.create_task(self._play())
        try:
            await asyncio.wait([listening, playing], return_when=asyncio.FIRST_COMPLETED)
            for task in (listening, playing):
                if task.done():
                    task.result()
            if self.script.stay and playing.done():
                await listening
        finally:
            for task in (listening, playing):
                task.cancel()
            await asyncio.gather(listening, playing, return_exceptions=True)

    async def _play(self) -> None:
        verbs: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "say": self._say, "join": self._join, "part": self._part, "wait": self._wait, "expect": self._expect,
            "send": self._send, "get": self._get, "drop": self._drop, "read_slowly": self._read_slowly,
        }  # fmt: skip
        done = 0
        while self.script.repeat == 0 or done < self.script.repeat:
            for step in self.script.steps:
                await verbs[next(key for key in step if key in verbs)](step)
            done += 1
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        async for event in self.client:
            await self._heard(event)

    async def _heard(self, event: Event) -> None:
        match event:
            case events.Message():
                self._delivered(event)
            case events.FileOffered():
                self._files[event.file.name] = event.file
            case events.Disconnected():
                self._tell(f"lost the connection: {event.reason}")
            case events.Connected(again=True):
                self._tell("is back")
            case events.Gap():
                self._tell(f"misses {event.first} to {event.last} of {event.room}: gone")
        async with self._news:
            self._news.notify_all()

    def _delivered(self, message: Message) -> None:
        now = time.time()
        self._seen.append(message)
        if message.file:
            self._files[message.file.name] = message.file
        if self.log is not None and message.sender != self.client.account:
            delay = round(delay_s(message, now), 6)
            row = {
                "time": round(now, 6),
                "from": message.sender,
                "delay_s": delay,
                "room": message.room,
                "seq": message.seq,
            }
            self.log.write(json.dumps(row) + "\n")
            self.log.flush()

    # --- steps ---------------------------------------------------------------------------------------------------

    async def _say(self, step: dict[str, Any]) -> None:
        for turn in range(int(step.get("times", 1))):
            if turn:
                await asyncio.sleep(step.get("every", 1.0))
            text = step["say"].replace("{n}", str(turn + 1))
            await self.client.send(self._room(step), text)
            self._tell(f"says: {text}")

    async def _join(self, step: dict[str, Any]) -> None:
        joined = await self.client.join(step["join"])
        self._tell(f"is in {joined.room} with {joined.members}")

    async def _part(self, step: dict[str, Any]) -> None:
        await self.client.part(step["part"])
        self._tell(f"leaves {step['part']}")

    async def _wait(self, step: dict[str, Any]) -> None:
        await asyncio.sleep(step["wait"])

    async def _expect(self, step: dict[str, Any]) -> None:
        def found() -> bool:
            return any(step["expect"] in one.text and step.get("from", one.sender) == one.sender for one in self._seen)

        await self._until(found, step, f"a message with {step['expect']!r}")
        self._tell(f"heard: {step['expect']}")

    async def _send(self, step: dict[str, Any]) -> None:
        sent = await self.client.send_file(self._room(step), self.folder / step["send"])
        self._tell(f"sent the file {sent.name}, {sent.size} bytes, sha256 {sent.sha256}")

    async def _get(self, step: dict[str, Any]) -> None:
        await self._until(lambda: step["get"] in self._files, step, f"a file {step['get']!r}")
        file = self._files[step["get"]]
        path = await self.client.fetch(file, self.downloads)
        self._tell(f"received the file {path.name}, {file.size_bytes} bytes, sha256 {file.sha256}")

    async def _drop(self, step: dict[str, Any]) -> None:
        self._tell("loses the line")
        self.client.drop()

    async def _read_slowly(self, step: dict[str, Any]) -> None:
        self._tell(f"reads nothing for {step['read_slowly']} s")
        await self.client.stop_reading(step["read_slowly"])

    async def _until(self, true: Callable[[], bool], step: dict[str, Any], what: str) -> None:
        within_s = step.get("within", WITHIN_S)
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(true)
        except TimeoutError:
            raise BotError(f"{self.client.account}: {what} did not come within {within_s} s") from None

    def _room(self, step: dict[str, Any]) -> str:
        room = step.get("room") or (self.script.rooms[0] if self.script.rooms else "lobby")
        return str(room)

    def _tell(self, what: str) -> None:
        self.out.write(f"{self.client.account} {safe_name(what, 400)}\n")
        self.out.flush()
