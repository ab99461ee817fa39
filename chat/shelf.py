"""The folder of files and the books about it: what is kept, how much of it, and when it goes.

`partial/<key>` holds what is arriving, `<sha256[:2]>/<sha256>` what is complete; names that users give never reach the
file system. The rows are in the store; how many bytes whose files have is counted here, so that a quota costs no query.
"""

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chat.errors import Refusal

if TYPE_CHECKING:
    from chat.server import Server


class Shelf:
    """What is kept. `used`: bytes of complete files; `sizes`: the same by owner."""

    def __init__(self, server: "Server", folder: Path) -> None:
        self._server = server
        self._folder = folder
        self.partial = folder / "partial"
        self.partial.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.used = 0
        self.sizes: dict[str, int] = {}

    async def load(self) -> None:
        """Count what is there."""
        self.sizes = dict(await self.query("SELECT owner, sum(size) FROM files GROUP BY owner"))
        self.used = sum(await self._column("SELECT size FROM files GROUP BY sha256"))

    def blob(self, sha256: str) -> Path:
        """Where the bytes of a complete file are."""
        return self._folder / sha256[:2] / sha256

    async def query(self, sql: str, *values: Any) -> list[Any]:
        """Rows, read in order with what is being written."""
        return await asyncio.wrap_future(self._server.store.call(lambda db: db.execute(sql, values).fetchall()))

    def check_space(self, size: int, owner: str, arriving: int, of_owner: int, to_come: int) -> None:
        """Raises Refusal unless a new file fits. `arriving`: full size of all partials, `of_owner`: of the owner's,
        `to_come`: bytes of all partials that are not on the disk yet."""
        keys = self._server.config.files
        if size > keys.file_bytes:
            raise Refusal("too-large", f"a file has at most {keys.file_bytes} bytes")
        if self.sizes.get(owner, 0) + of_owner + size > keys.account_bytes:
            raise Refusal("quota", f"your files would have more than {keys.account_bytes} bytes")
        if self.used + arriving + size > keys.total_bytes:
            raise Refusal("quota", "the server's space for files is used up")
        if shutil.disk_usage(self._folder).free - to_come - size < keys.keep_free_bytes:
            raise Refusal("quota", "the server's disk is nearly full")

    async def kept(self, owner: str, sha256: str, size: int) -> None:
        """A file is complete and posted: count it."""
        self.sizes[owner] = self.sizes.get(owner, 0) + size
        if len(await self.query("SELECT 1 FROM files WHERE sha256 = ? LIMIT 2", sha256)) == 1:
            self.used += size

    async def remove(self, file_id: str, may: Any) -> None:
        """Remove a file and, when no other message has it, its bytes. `may(room, owner)` decides. Raises Refusal."""
        rows = await self.query("SELECT room, owner FROM files WHERE id = ?", file_id)
        if not rows or not may(*rows[0]):
            raise Refusal("no-file", "no such file, or not yours to remove")
        await self._drop([file_id])

    async def expire(self, arriving: "set[str]") -> None:
        """Files past their days, files without a message, partials past their hours that are not among `arriving`."""
        keys, now = self._server.config.files, time.time()
        if keys.days:
            await self._drop(await self._column("SELECT id FROM files WHERE made < ?", now - keys.days * 86_400))
        await self._drop(await self._column("SELECT id FROM files WHERE seq = 0 AND made < ?", now - 3600))
        for path in self.partial.iterdir():
            if path.name not in arriving and now - path.stat().st_mtime > keys.partial_hours * 3600:
                path.unlink(missing_ok=True)

    async def _drop(self, file_ids: list[str]) -> None:
        for file_id in file_ids:
            rows = await self.query("SELECT sha256, owner, size FROM files WHERE id = ?", file_id)
            await asyncio.wrap_future(self._server.store.save("remove_file", (file_id,)))
            for sha256, owner, size in rows:
                self.sizes[owner] = max(0, self.sizes.get(owner, 0) - size)
                if not await self.query("SELECT 1 FROM files WHERE sha256 = ? LIMIT 1", sha256):
                    self.blob(sha256).unlink(missing_ok=True)
                    self.used = max(0, self.used - size)

    async def _column(self, sql: str, *values: Any) -> list[Any]:
        return [row[0] for row in await self.query(sql, *values)]
