"""The line client: for pipes, screen readers and programs. Reads lines, writes lines, never moves a cursor.

In: a started `Client` and lines of input. Out: one line an event on `out`; with `as_json` one JSON object a line and nothing
else (the keys are a contract: docs/chat.md). Ends at /quit, at the end of input once all is sent, or when the server will not have
us back. All text comes from `chat.events`, `chat.lines` and `chat.slash`, where it was made safe.
"""

import asyncio
import contextlib
import json
import sys
import threading
from typing import Any, Final, TextIO

from chat import events, slash
from chat.errors import ChatError
from chat.lines import event_line
from chat.safe_text import safe_name
from chat.slash import Answer, Desk, Quit

WAITING_LINES: Final = 1000  # of input read ahead; then the writer at the other end of the pipe has to wait


async def run_lines(desk: Desk, source: TextIO, out: TextIO, as_json: bool, stay: bool = False) -> None:
    """Carry lines both ways. With `stay` the end of input does not end the session: a program that only watches."""
    talk = _Talk(desk, out, as_json)
    reading = asyncio.create_task(_watch(talk))
    lines = _Lines(source)
    typing = asyncio.create_task(_obey(talk, lines))
    try:
        await asyncio.wait([reading, typing] if not stay else [reading], return_when=asyncio.FIRST_COMPLETED)
        for task in (typing, reading):
            if task.done():
                task.result()
        if stay and typing.done():
            await reading
    except Quit:
        pass
    finally:
        lines.close()
        for task in (reading, typing):
            task.cancel()
        await asyncio.gather(reading, typing, return_exceptions=True)


class _Talk:
    """Where lines go: people read text, programs JSON."""

    def __init__(self, desk: Desk, out: TextIO, as_json: bool) -> None:
        self.desk, self._out, self._as_json = desk, out, as_json

    def parse(self, line: str) -> tuple[str, str, str | None]:
        return slash.parse_json(line) if self._as_json else (*slash.parse(line), None)

    def event(self, event: events.Event) -> None:
        file = event.file if isinstance(event, events.Message | events.FileOffered) else None
        if file:
            self.desk.seen(file)
        if self._as_json:
            for row in events.as_json(event):
                self._json(row)
        else:
            self._text(event_line(event, self.desk.client.account))

    def answer(self, answer: Answer) -> None:
        if self._as_json:
            self._json(answer.data)
        else:
            self._text(answer.text)

    def refused(self, error: Exception, line: str) -> None:
        code = getattr(error, "code", "refused")
        if self._as_json:
            self._json(
                {
                    "event": "error",
                    "code": safe_name(str(code)),
                    "text": safe_name(str(error)),
                    "line": safe_name(line, 80),
                }
            )
        else:
            self._text(f"! {safe_name(str(error))}")

    def _json(self, row: dict[str, Any]) -> None:
        self._text(json.dumps(row, ensure_ascii=False))

    def _text(self, text: str) -> None:
        if text:
            self._out.write(text + "\n")
            self._out.flush()


async def _watch(talk: _Talk) -> None:
    async for event in talk.desk.client:
        talk.event(event)


async def _obey(talk: _Talk, lines: "_Lines") -> None:
    """One line after the other: what is typed first happens first."""
    while (line := await lines.next()) is not None:
        line = line.rstrip("\n")
        if not line.strip():
            continue
        try:
            for answer in await slash.carry_out(talk.desk, *talk.parse(line)):
                talk.answer(answer)
        except ChatError as error:
            talk.refused(error, line)


class _Lines:
    """Lines of a file, pipe or terminal, read in a thread: epoll takes no regular file."""

    def __init__(self, source: TextIO) -> None:
        self._source, self._loop = source, asyncio.get_running_loop()
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()
        self._places = threading.Semaphore(WAITING_LINES)
        self._closed = False
        threading.Thread(target=self._read, name="lines", daemon=True).start()

    async def next(self) -> str | None:
        """The next line; None at the end."""
        line = await self._waiting.get()
        self._places.release()
        return line

    def close(self) -> None:
        """Nobody asks any more: the thread ends with the line that it has."""
        self._closed = True
        self._places.release()

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            with contextlib.suppress(OSError, ValueError):  # closed under us: the end as well
                while line := self._source.readline(slash.LINE_BYTES):
                    self._places.acquire()
                    if self._closed:
                        return
                    self._loop.call_soon_threadsafe(self._waiting.put_nowait, line)
            self._loop.call_soon_threadsafe(self._waiting.put_nowait, None)


def standard_streams() -> tuple[TextIO, TextIO]:
    """stdin and stdout as UTF-8 whatever the locale; bytes that are none are replaced, so no input can raise."""
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdin, sys.stdout
