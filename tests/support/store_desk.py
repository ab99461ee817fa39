"""A store driven without an event loop, and the same face for the history in memory."""

import queue
from collections.abc import Callable
from pathlib import Path

from chat import history, wire
from chat.effects import Post
from chat.history import MemoryHistory, Stored
from chat.store import Store


class Desk:
    """A store driven without an event loop: answers are taken from a queue. The same face for memory."""

    def __init__(self, folder: Path | None) -> None:
        self.memory = MemoryHistory(1000) if folder is None else None
        self.answers: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        if folder is not None:
            self.store = Store(folder, self.answers.put)
            self.state = self.store.start()

    def write(self, *posts: Post, ts: int = 1000) -> list[Stored]:
        if self.memory is not None:
            return [self.memory.write(post, ts) for post in posts]
        got: list[Stored] = []
        self.store.submit(list(posts), ts, got.extend)
        self.answers.get(timeout=240)()
        return got

    def wait(self, future):  # type: ignore[no-untyped-def]
        while not future.done():
            self.answers.get(timeout=240)()
        return future.result()

    def page(
        self, room: str = "lobby", limit: int = 50, size: int = 1 << 20, floor: int = 0, **ask: int
    ) -> tuple[list[int], bool]:
        wanted = wire.History(room, **ask)
        if self.memory is not None:
            found, more = self.memory.page(room, wanted, floor, limit, size)
        else:
            found, more = self.wait(self.store.page(room, wanted, floor, limit, size))
        return [m.seq for m in found], more

    def messages(self, room: str = "lobby") -> list[wire.Msg]:
        if self.memory is not None:
            return self.memory.page(room, wire.History(room), 0, 1000, 1 << 20)[0]
        found: list[wire.Msg] = self.wait(self.store.page(room, wire.History(room), 0, 1000, 1 << 20))[0]
        return found

    def search(self, text: str, limit: int = 50, **floors: int) -> list[tuple[str, int]]:
        query = history.parse_query(text)
        if self.memory is not None:
            found, _ = self.memory.search(query, floors or {"lobby": 0}, limit, 1 << 20)
        else:
            found, _ = self.wait(self.store.search(query, floors or {"lobby": 0}, limit, 1 << 20, 5.0))
        return [(m.room, m.seq) for m in found]


def post(cid: str, text: str = "", room: str = "lobby", sender: str = "ann", **more: int) -> Post:
    return Post(1, room, sender, cid, text or cid, **more)


def fates(stored: list[Stored]) -> list[tuple[int, bool, str]]:
    return [(each.seq, each.again, each.code) for each in stored]
