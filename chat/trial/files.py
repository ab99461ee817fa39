"""File part of the load generator: one member sends files, others fetch them, while the room talks.

In: `FilePlan`, an address. Out: a JSON-ready dict with rates and failures. It works in a thread with a loop of its own beside the
generator's; every file is verified by its receivers as users would (`chat.client`), and removed again.
"""

import asyncio
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat import events
from chat.client import Client
from chat.errors import ChatError
from chat.link import Address

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FilePlan:
    """`count` files of `size_bytes`, one after the other, each fetched by `receivers` at once."""

    count: int = 0
    size_bytes: int = 8 << 20
    receivers: int = 3
    room: str = "load"


@dataclass(slots=True)
class FileWork:
    """A plan being carried out. `start`, then `finish` for the report."""

    plan: FilePlan
    address: Address
    sent: int = 0
    fetched: int = 0
    upload_s: float = 0.0
    fetch_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if there is anything to do."""
        if self.plan.count:
            self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="files", daemon=True)
            self._thread.start()

    def finish(self) -> dict[str, Any] | None:
        """Wait for the end; the report, None without files."""
        if self._thread is None:
            return None
        self._thread.join()
        megabytes = self.plan.size_bytes / 1e6
        return {
            "count": self.plan.count, "size_bytes": self.plan.size_bytes, "receivers": self.plan.receivers,
            "sent": self.sent, "fetched": self.fetched,
            "upload_mb_per_s": round(self.sent * megabytes / self.upload_s, 1) if self.upload_s else None,
            "fetch_mb_per_s": round(self.fetched * megabytes / self.fetch_s, 1) if self.fetch_s else None,
            "failures": self.failures[:10],
        }  # fmt: skip

    async def _run(self) -> None:
        tag = f"{random.getrandbits(32):08x}"
        try:
            with tempfile.TemporaryDirectory(prefix="tapwall-load-") as folder:
                async with Client(f"files-{tag}", self.address, [self.plan.room]) as sender:
                    receivers = [
                        Client(f"recv{n}-{tag}", self.address, [self.plan.room]) for n in range(self.plan.receivers)
                    ]
                    try:
                        await asyncio.gather(*(one.start() for one in receivers))
                        for number in range(self.plan.count):
                            await self._one(number, sender, receivers, Path(folder))
                    finally:
                        await asyncio.gather(*(one.close() for one in receivers))
        except ChatError as error:
            self.failures.append(str(error))

    async def _one(self, number: int, sender: Client, receivers: list[Client], folder: Path) -> None:
        path = folder / f"load-{number}.bin"
        _fill(path, self.plan.size_bytes)
        began = time.monotonic()
        sent = await sender.send_file(self.plan.room, path)
        self.upload_s += time.monotonic() - began
        self.sent += 1
        file = events.file_of(sent)
        if file is None:
            raise ChatError(f"{path.name}: the server named it {sent.file_id!r}")
        began = time.monotonic()
        saved = await asyncio.gather(*(one.fetch(file, folder / f"in{index}") for index, one in enumerate(receivers)))
        self.fetch_s += time.monotonic() - began
        self.fetched += len(saved)
        for done in (path, *saved):
            done.unlink()


def _fill(path: Path, size_bytes: int) -> None:
    """Random bytes, a block at a time: the same content twice would be one file to the server."""
    with path.open("wb") as file:
        for left in range(size_bytes, 0, -BLOCK):
            file.write(random.randbytes(min(left, BLOCK)))
