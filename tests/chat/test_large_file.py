"""One gibibyte, cut three times on its way up and three times on its way down: the same bytes, and a server that stays small."""

import asyncio
import hashlib
import shutil
import sys
from pathlib import Path

import pytest
from live_chat import until

from chat import events
from chat.client import Client
from chat.trial.check import Server
from chat.trial.load import _rss_kib

GIB = 1 << 30
CUTS = 3
GROWTH_KIB = 16 << 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # a gibibyte three times over a busy disk


def test_a_gibibyte_survives_three_cuts_each_way(tmp_path: Path) -> None:
    """Both ends go on where they stopped; the hash is right; the server's memory grows by less than 16 MiB."""
    path, digest = tmp_path / "large.bin", hashlib.sha256()
    with path.open("wb") as file:
        block = bytearray(hashlib.shake_128(b"tapwall").digest(1 << 20))
        for number in range(GIB >> 20):
            block[:8] = number.to_bytes(8)
            file.write(block)
            digest.update(block)

    async def scene() -> None:
        server = Server(tmp_path)
        address = await server.start()
        try:
            async with Client("ann", address, ["lobby"]) as ann, Client("bob", address, ["lobby"]) as bob:
                before, most, cuts = _rss_kib(server.pid), 0, {"ann": 0, "bob": 0}

                def watch(client: Client, done: int, size: int) -> None:
                    nonlocal most
                    most = max(most, _rss_kib(server.pid) or 0)
                    if cuts[client.account] < CUTS and done > size * (cuts[client.account] + 1) // (CUTS + 1):
                        cuts[client.account] += 1
                        client.drop()

                await ann.send_file("lobby", path, lambda done, size: watch(ann, done, size))
                file = (await until(bob, events.Message)).file
                saved = await bob.fetch(file, tmp_path / "in", lambda done, size: watch(bob, done, size))

                assert file.sha256 == digest.hexdigest()
                with saved.open("rb") as received:
                    assert hashlib.file_digest(received, "sha256").hexdigest() == digest.hexdigest()
                assert cuts == {"ann": CUTS, "bob": CUTS}
                assert before is not None and most - before < GROWTH_KIB
                print(f"server grew by {most - before} KiB", file=sys.stderr)
        finally:
            await server.kill()
            shutil.rmtree(tmp_path)  # three gibibytes: not kept for looking at

    asyncio.run(asyncio.wait_for(scene(), 2900))
