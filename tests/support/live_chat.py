"""A chat server in this process for tests of its clients: real sockets on loopback, its own folder, started and stopped again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from chat import config
from chat.client import Client
from chat.events import Event
from chat.link import Address
from chat.server import Server

QUICK = {"history.durable": True, "server.loop": "asyncio"}


@contextlib.asynccontextmanager
async def live_server(folder: Path, port: int = 0, **options: Any) -> AsyncIterator[Address]:
    """A running server; `options` are configuration keys with `__` for the dot (`limits__text_bytes=10`)."""
    given = {name.replace("__", "."): value for name, value in options.items()}
    server = Server(config.load(None, {**QUICK, "server.port": port, "server.data": str(folder), **given}))
    await server.start()
    try:
        yield Address("127.0.0.1", server.port)
    finally:
        await server.stop()


async def until(client: Client, kind: type[Event], seconds: float = 240.0, /, **fields: Any) -> Any:
    """The next event of a kind whose fields are as given; others before it are dropped."""
    async with asyncio.timeout(seconds):
        async for event in client:
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                return event
    raise AssertionError(f"the session ended without {kind.__name__} {fields}")
