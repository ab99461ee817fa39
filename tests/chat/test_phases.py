"""Slow-loris in every phase of a connection, over sockets: it ends by itself, and who is in does not notice."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from raw_chat import Raw, play, serving

from chat import wire
from chat.server import Server
from chat.transfer import CHUNK

SHORT = {
    "timeouts__login_s": 0.3, "timeouts__frame_s": 0.3, "timeouts__file_s": 0.3, "timeouts__ping_s": 0.2, "timeouts__dead_s": 0.6,
    "timeouts__close_s": 0.3, "timeouts__stall_s": 0.3,
}  # fmt: skip
Loris = Callable[[Server], Awaitable[Raw]]


async def member(server: Server, name: str, tls: ssl.SSLContext | None = None) -> Raw:
    """Somebody in the lobby. The times here are short for everybody: whom a busy machine made too slow comes again."""
    for number in itertools.count():
        with contextlib.suppress(EOFError, OSError):
            return await Raw.open(server.port, f"{name}{number}", "lobby", tls)
    raise AssertionError


async def acknowledged(server: Server, name: str) -> None:
    """A message of somebody else is answered."""
    while True:
        with contextlib.suppress(EOFError, OSError):
            raw = await member(server, name)
            raw.say(wire.Send("lobby", "c", "x"))
            await raw.get(wire.Ack)
            return


async def silent(server: Server) -> Raw:
    return await Raw.open(server.port)


async def half_a_hello(server: Server) -> Raw:
    raw = await Raw.open(server.port)
    raw.writer.write(wire.encode(wire.Hello([1]))[:7])
    return raw


async def no_login(server: Server) -> Raw:
    raw = await Raw.open(server.port)
    raw.say(wire.Hello([1]))
    return raw


async def half_a_message(server: Server) -> Raw:
    raw = await member(server, "loris")
    raw.writer.write(wire.encode(wire.Send("lobby", "i", "x" * 1000))[:500])
    return raw


async def logged_in_and_gone_to_sleep(server: Server) -> Raw:
    return await member(server, "loris")


async def file_line(server: Server, ask: wire.Offer | wire.Fetch) -> Raw:
    chat = await member(server, "sender")
    chat.say(ask)
    token = (await chat.get(wire.Accept)).token
    raw = await Raw.open(server.port)
    raw.say(wire.Hello([1], transfer=token))
    await raw.get(wire.Welcome)
    return raw


async def upload_that_does_not_begin(server: Server) -> Raw:
    return await file_line(server, wire.Offer("r", "a.bin", CHUNK, "0" * 64, "lobby"))


async def half_a_chunk(server: Server) -> Raw:
    raw = await upload_that_does_not_begin(server)
    raw.writer.write(wire.data_head("0" * 32, 0, 0, CHUNK) + bytes(1000))
    return raw


async def last_words_not_read(server: Server) -> Raw:
    raw = await Raw.open(server.port)
    raw.say(wire.Hello([9]))
    return raw


PHASES: list[Loris] = [
    silent, half_a_hello, no_login, half_a_message, logged_in_and_gone_to_sleep, upload_that_does_not_begin, half_a_chunk, last_words_not_read,
]  # fmt: skip


@pytest.mark.parametrize("loris", PHASES, ids=lambda loris: loris.__name__)
def test_a_slow_connection_ends_by_itself(loris: Loris, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server closes it, gives its place back, and acknowledges somebody else's message meanwhile."""
    monkeypatch.setattr("chat.server.SWEEP_S", 0.05)

    async def scene(folder: Path) -> None:
        async with serving(folder, **SHORT) as server:
            raw = await loris(server)
            await acknowledged(server, "ann")
            await raw.bytes_until_close()
            raw.close()
            while server.door.waiting or any(conn.peer is not None for conn in server.conns.values()):
                await asyncio.sleep(0.001)

    play(scene, tmp_path)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("options", [{"limits__connections_before_login": 5}, {"limits__connections_per_address": 5}])
def test_a_flood_of_tls_handshakes_is_cut(options: dict[str, int], loop: str, tmp_path: Path) -> None:
    """Of connections that say nothing only a few wait for their time to end; who is in notices nothing, others come later."""

    async def scene(folder: Path) -> None:
        async with serving(folder, tls__mode="on", timeouts__tls_s=9999.0, server__exempt=(), **options) as server:
            trusted = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            ann = await member(server, "ann", trusted)
            silent = [await Raw.open(server.port) for _ in range(20)]
            while sum(server.door._handshakes.values()) < 5:
                await asyncio.sleep(0.001)
            closed = [asyncio.create_task(raw.bytes_until_close()) for raw in silent]
            while sum(task.done() for task in closed) < 15:
                await asyncio.sleep(0.001)
            ann.say(wire.Send("lobby", "c", "x"))
            assert (await ann.get(wire.Ack)).seq == 1
            assert sum(task.done() for task in closed) == 15
            for raw in silent:
                raw.close()
            while server.door._handshakes:
                await asyncio.sleep(0.001)
            await member(server, "bob", trusted)

    play(scene, tmp_path, loop)


def test_a_tls_handshake_that_does_not_go_on_ends(tmp_path: Path) -> None:
    """Silence, half a ClientHello or clear text where TLS is spoken: closed after tls_s; others come in meanwhile."""

    async def scene(folder: Path) -> None:
        async with serving(folder, tls__mode="on", timeouts__tls_s=0.3) as server:
            hello = ssl.MemoryBIO()
            client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            begun = hello.read()
            half = [await Raw.open(server.port) for _ in range(40)]
            for number, raw in enumerate(half):
                raw.writer.write([b"", begun[: len(begun) // 2], begun][number % 3])
            trusted = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            ann = await member(server, "ann", trusted)
            ann.say(wire.Send("lobby", "c", "x"))
            assert (await ann.get(wire.Ack)).seq == 1
            for raw in half:
                await raw.bytes_until_close()
                raw.close()
            ann.say(wire.Send("lobby", "d", "x"))
            assert (await ann.get(wire.Ack)).seq == 2
            ann.close()

    play(scene, tmp_path)
