"""A visit: log in at a server, enter a room, do something there, leave.

In: a `Place` and the work as a coroutine function. Out: nothing, or the ChatError that ended it. It asks nobody anything.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat.client import Client
from chat.errors import ChatError
from chat.link import Address, Login, RefusedError
from chat.slash import Desk

Work = Callable[[Client, Desk], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Who goes where. room: '' for none. patience_s: how long the first connection is tried for."""

    login: Login
    address: Address
    room: str
    downloads: Path
    patience_s: float = 0.0


def visit(place: Place, work: Work) -> None:
    """Go there, work, leave. Raises ChatError: not reached, not trusted, refused, or what the work raises."""
    asyncio.run(_visit(place, work))


async def _visit(place: Place, work: Work) -> None:
    client = Client(place.login, place.address, [place.room] if place.room else [], place.patience_s)
    try:
        await client.start()
    except RefusedError as error:
        hint = "; choose another with --user NAME" if error.code in ("bad-name", "name-taken") else ""
        if error.retry_s:
            hint = f"; try again in {math.ceil(error.retry_s)} s"
        raise ChatError(f"{place.login.user}: {error}{hint}") from error
    try:
        entered = client.rooms[0] if client.rooms else ""
        await work(client, Desk(client, entered, place.downloads))
    finally:
        await client.close()
