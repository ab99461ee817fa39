"""A bare connection to a live server: frames written and awaited one by one, for tests of what a good client never does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from chat import config, wire
from chat.decoder import CLIENT, Decoder
from chat.process import loop_factory
from chat.server import Server

B = TypeVar("B", bound=wire.Body)


class Raw:
    """One connection. `got` are bodies not yet taken."""

    everyone: ClassVar[list["Raw"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.decoder = Decoder(wire.FROM_SERVER, CLIENT)
        self.got: list[wire.Body] = []
        Raw.everyone.append(self)

    @classmethod
    async def open(cls, port: int, user: str = "", room: str = "", tls: ssl.SSLContext | None = None) -> "Raw":
        """Connect; log in as a guest and join a room if they are named."""
        raw = cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 20))
        if user:
            raw.say(wire.Hello([1]), wire.Auth("guest", user=user))
            await raw.get(wire.AuthOk)
        if room:
            raw.say(wire.Join(room))
            await raw.get(wire.Members)
        return raw

    def say(self, *bodies: wire.Body) -> None:
        self.writer.write(b"".join(map(wire.encode, bodies)))

    async def get(self, kind: type[B], seconds: float = 240.0) -> B:
        """The next body of a kind; others before it are dropped. EOFError at the end of the connection."""
        async with asyncio.timeout(seconds):
            while True:
                while self.got:
                    body = self.got.pop(0)
                    if isinstance(body, kind):
                        return body
                await self.more()

    async def more(self) -> None:
        data = await self.reader.read(1 << 18)
        if not data:
            raise EOFError
        self.got += [frame.body for frame in self.decoder.feed(data)]

    async def rest(self, seconds: float = 240.0) -> list[wire.Body]:
        """Everything until the server closes."""
        async with asyncio.timeout(seconds):
            try:
                while True:
                    await self.more()
            except (EOFError, ConnectionError):
                return self.got

    async def bytes_until_close(self, seconds: float = 240.0) -> bytes:
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.close()

    @classmethod
    async def close_all(cls) -> None:
        """Close what a test has left open."""
        everyone, cls.everyone = cls.everyone, []
        for raw in everyone:
            raw.writer.transport.abort()
        await asyncio.sleep(0.01)


Scene = Callable[[Path], Awaitable[None]]


def play(scene: Scene, folder: Path, loop: str = "auto") -> None:
    """Run a scene on an event loop."""

    async def whole() -> None:
        try:
            await asyncio.wait_for(scene(folder), 280)
        finally:
            await Raw.close_all()

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(whole())


@asynccontextmanager
async def serving(
    folder: Path, reload: Callable[[], config.Config] | None = None, **options: Any
) -> AsyncIterator[Server]:
    given = {name.replace("__", "."): value for name, value in options.items()}
    server = Server(
        config.load(None, {"server.port": 0, "server.data": str(folder), "files.keep_free_bytes": 0, **given}), reload
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
