"""Files from one person to another: whole, resumed after breaks, never overwritten, refused with a reason."""

import asyncio
import hashlib
import os
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from live_chat import live_server, until

from chat import events, sharing, wire
from chat.client import Client
from chat.download import DownloadError
from chat.errors import TransferError
from chat.link import RefusedError

BODY = random.Random(1).randbytes(9_000_000)


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one scene; none takes long."""
    asyncio.run(asyncio.wait_for(scene(), 280))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of nine megabytes to send."""
    path = tmp_path / "film.bin"
    path.write_bytes(BODY)
    return path


def test_a_file_reaches_the_others(tmp_path: Path, source: Path) -> None:
    """It is announced with name, size and hash, fetched by who wants it, and equal; a second copy gets another name."""

    async def scene() -> None:
        async with (
            live_server(tmp_path / "data") as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):
            steps: list[tuple[int, int]] = []
            sent = await ann.send_file("lobby", source, lambda done, size: steps.append((done, size)))
            heard = (await until(bob, events.Message)).file

            assert (heard.name, heard.size_bytes, heard.sha256) == (
                "film.bin",
                len(BODY),
                hashlib.sha256(BODY).hexdigest(),
            )
            assert heard.file_id == sent.file_id
            assert steps[-1] == (len(BODY), len(BODY)) and steps == sorted(steps)
            first, second = await bob.fetch(heard, tmp_path / "in"), await bob.fetch(heard, tmp_path / "in")
            assert (first.name, second.name) == ("film.bin", "film (1).bin")
            assert first.read_bytes() == second.read_bytes() == BODY

    play(scene)


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    """Nothing is transferred, and it arrives."""

    async def scene() -> None:
        (tmp_path / "empty").touch()
        async with live_server(tmp_path / "data") as address, Client("ann", address, ["lobby"]) as ann:
            await ann.send_file("lobby", tmp_path / "empty")
            heard = (await until(ann, events.Message)).file

            assert (await ann.fetch(heard, tmp_path / "in")).read_bytes() == b""

    play(scene)


def test_transfers_go_on_after_breaks(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File connections are cut every so many chunks, both ways: both ends go on where they stopped, nothing is sent twice."""
    counts = {"up": 0, "down": 0}
    real_up, real_take = sharing.Link.send, sharing._take

    def send(link: sharing.Link, body: wire.Body) -> None:
        if isinstance(body, wire.Data):
            counts["up"] += 1
            if counts["up"] % 4 == 3:
                link.abort()
        real_up(link, body)

    def take(incoming: sharing.Download, body: wire.Data, file_id: str) -> None:
        real_take(incoming, body, file_id)
        counts["down"] += 1
        if counts["down"] % 4 == 3:
            raise sharing.LinkError("cut by the test")

    monkeypatch.setattr(sharing.Link, "send", send)
    monkeypatch.setattr(sharing, "_take", take)

    async def scene() -> None:
        async with (
            live_server(tmp_path / "data") as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):
            await ann.send_file("lobby", source)
            path = await bob.fetch((await until(bob, events.Message)).file, tmp_path / "in")

            assert path.read_bytes() == BODY
            assert min(counts.values()) > 8  # chunks are at most 1 MiB: nine, of which two or more were cut

    play(scene)


def test_what_cannot_be_sent_is_said(tmp_path: Path, source: Path) -> None:
    """No file, a folder, a pipe: TransferError before anything is sent. Too large: the server's refusal."""

    async def scene() -> None:
        os.mkfifo(tmp_path / "pipe")
        async with (
            live_server(tmp_path / "data", files__file_bytes=1000) as address,
            Client("ann", address, ["lobby"]) as ann,
        ):
            for path in (tmp_path / "nowhere", tmp_path, tmp_path / "pipe"):
                with pytest.raises(TransferError):
                    await ann.send_file("lobby", path)
            with pytest.raises(RefusedError) as caught:
                await ann.send_file("lobby", source)
            assert caught.value.code == "too-large"

    play(scene)


def test_a_lie_about_the_content_is_found(tmp_path: Path, source: Path) -> None:
    """If the bytes are not those of the announced hash, nothing is saved under the name."""

    async def scene() -> None:
        async with live_server(tmp_path / "data") as address, Client("ann", address, ["lobby"]) as ann:
            await ann.send_file("lobby", source)
            told = (await until(ann, events.Message)).file
            lie = events.File(told.file_id, "x", told.size_bytes, "0" * 64, "", "x")

            with pytest.raises(DownloadError, match="sha256"):
                await ann.fetch(lie, tmp_path / "in")
            assert list((tmp_path / "in").iterdir()) == []

    play(scene)
