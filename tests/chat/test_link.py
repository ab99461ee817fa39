"""One connection: clear text and TLS, the right server and the wrong one, and errors in words."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from live_chat import live_server

from chat import tls as certificates
from chat import wire
from chat.client import Client
from chat.link import Address, LinkError, RefusedError, default_address, is_loopback, open_link
from chat.pins import Tls, TrustError


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one scene."""
    asyncio.run(asyncio.wait_for(scene(), 280))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("server", False),
        ("localhost.evil.example", False),
    ],
)
def test_clear_text_is_the_default_on_this_machine_only(host: str, loopback: bool) -> None:
    """Elsewhere TLS with pins is."""
    assert is_loopback(host) is loopback
    assert (default_address(host).tls is None) is loopback


def test_tls_with_a_pin(tmp_path: Path) -> None:
    """A whole session over TLS; the same server is taken again, one with another certificate refused before a word is sent."""

    async def scene() -> None:
        pins = Tls(tmp_path / "known")
        async with live_server(tmp_path / "a", tls__mode="on") as address:
            secure = Address(address.host, address.port, pins)
            for _ in range(2):
                async with Client("ann", secure, ["lobby"]) as ann:
                    await ann.send("lobby", "secret")
        async with live_server(tmp_path / "b", address.port, tls__mode="on"):
            with pytest.raises(TrustError, match="Somebody may be in between"):
                await Client("ann", secure).start()

    play(scene)


def test_tls_with_a_ca(tmp_path: Path) -> None:
    """With the server's certificate as CA the usual checks apply, host name included; with another CA they fail."""

    async def scene() -> None:
        certificates.make(tmp_path / "other.pem", tmp_path / "other.key", ["localhost"])
        async with live_server(tmp_path / "a", tls__mode="on") as address:
            right = Tls(tmp_path / "known", ca=tmp_path / "a" / "cert.pem")
            async with Client("ann", Address("127.0.0.1", address.port, right), ["lobby"]) as ann:
                await ann.send("lobby", "x")
            with pytest.raises(LinkError, match="certificate"):
                await open_link(Address("127.0.0.1", address.port, Tls(tmp_path / "known", ca=tmp_path / "other.pem")))
            assert not (tmp_path / "known").exists()

    play(scene)


def test_clear_text_and_tls_do_not_mix(tmp_path: Path) -> None:
    """TLS to a server in clear text, and the other way round, end in LinkError in words."""

    async def scene() -> None:
        async with live_server(tmp_path / "a") as address:
            with pytest.raises(LinkError, match="clear text"):
                await open_link(Address(address.host, address.port, Tls(tmp_path / "known")))
        async with live_server(tmp_path / "b", tls__mode="on") as address:
            with pytest.raises(LinkError, match="want TLS"):
                await open_link(address)

    play(scene)


def test_errors_are_words(tmp_path: Path) -> None:
    """Nobody there, no such host, a wrong token: one line each, with the address."""

    async def scene() -> None:
        async with live_server(tmp_path / "a") as address:
            with pytest.raises(RefusedError, match="bad-token"):
                await open_link(address, transfer="made up")
        with pytest.raises(LinkError, match=r"^127\.0\.0\.1:\d+: Connection refused$"):
            await open_link(address)
        with pytest.raises(LinkError, match=r"^no-such-host\.invalid:1234: [A-Z]"):
            await open_link(Address("no-such-host.invalid"))
        with pytest.raises(LinkError):
            await open_link(Address("x" * 300))

    play(scene)


def test_frames_and_silence(tmp_path: Path) -> None:
    """Frames come one by one however they are packed; silence beyond the limit and the end are LinkError."""

    async def scene() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            limits = wire.Limits(*[1] * 12, *[1.0] * 0, 1, 1, 1.0, 1.0, 1.0, 1.0)  # type: ignore[arg-type]
            writer.write(
                wire.encode(wire.Welcome(1, "s", [], limits, []))
                + wire.encode(wire.Ping(1))
                + wire.encode(wire.Ping(2))
            )
            await reader.read(100)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            link = await open_link(Address("127.0.0.1", server.sockets[0].getsockname()[1]))
            assert [await link.receive(5), await link.receive(5)] == [wire.Ping(1), wire.Ping(2)]
            with pytest.raises(LinkError, match="silent"):
                await link.receive(0.05)
            link.send(wire.Pong(1))
            with pytest.raises(LinkError, match="closed"):
                await link.receive(5)
            link.send(wire.Pong(2))  # after the end: nothing happens
            await link.close()

    play(scene)


def test_old_tls_is_not_spoken() -> None:
    """The context starts at TLS 1.2 and offers our protocol's name."""
    from chat.link import _context

    assert _context(Tls(Path("unused"))).minimum_version == ssl.TLSVersion.TLSv1_2
