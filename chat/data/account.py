"""An account in a data folder whose server is not running: the first operator."""

import asyncio
from pathlib import Path

from chat.accounts import Accounts, Ways
from chat.store import Store


def make(folder: Path, name: str, secret: str, now: float, operator: bool) -> None:
    """Make it. `now`: time of day. Raises Refusal (name, password), StoreError if a server uses the folder."""
    asyncio.run(_make(folder, name, secret, now, operator))


async def _make(folder: Path, name: str, secret: str, now: float, operator: bool) -> None:
    store = Store(folder, asyncio.get_running_loop().call_soon_threadsafe)
    accounts = Accounts(store, Ways(), set(store.start().accounts), set())
    try:
        await accounts.make(name, secret, now, operator=operator)
    finally:
        accounts.stop()
        store.stop()
