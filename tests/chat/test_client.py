"""The client library against a real server: talk, break, come back, and nothing is lost, doubled or dangerous."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from live_chat import live_server, until

from chat import client as client_module
from chat import events
from chat.client import Client
from chat.link import Address, LinkError, RefusedError

Scene = Callable[[Path], Coroutine[Any, Any, None]]


def play(scene: Scene, folder: Path) -> None:
    """Run one scene; none takes long."""

    async def run() -> None:
        async with asyncio.timeout(280):
            await scene(folder)

    asyncio.run(run())


def test_two_people_talk(tmp_path: Path) -> None:
    """What one says the other hears, with sender, room and number; the sender hears it as well."""

    async def scene(folder: Path) -> None:
        async with (
            live_server(folder) as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):
            ack = await ann.send("lobby", "hello")
            heard = await until(bob, events.Message)
            own = await until(ann, events.Message)

            assert (heard.room, heard.seq, heard.sender, heard.text) == ("lobby", ack.seq, "ann", "hello")
            assert own == heard

    play(scene, tmp_path)


def test_what_is_heard_is_safe_to_print(tmp_path: Path) -> None:
    """Escape sequences of a message are shown in `text`; `raw` keeps what was sent."""

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address, Client("ann", address, ["lobby"]) as ann:
            await ann.send("lobby", "\x1b]52;c;eA==\x07 \u202etxt")
            heard = await until(ann, events.Message)

            assert heard.text == "‹ESC›]52;c;eA==‹BEL› ‹RLO›txt"
            assert heard.raw == "\x1b]52;c;eA==\x07 \u202etxt"

    play(scene, tmp_path)


def test_a_cut_line_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Lines cut again and again while both write: each hears every message once and in order."""

    async def scene(folder: Path) -> None:
        async with (
            live_server(folder) as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):

            async def write(client: Client) -> None:
                for number in range(30):
                    await client.send("lobby", f"{client.account} {number}")
                    if number % 7 == 3:
                        client.drop()

            async def listen(client: Client) -> list[tuple[int, str]]:
                heard = []
                while len(heard) < 60:
                    message = await until(client, events.Message, 30)
                    heard.append((message.seq, message.text))
                return heard

            listening = [asyncio.create_task(listen(one)) for one in (ann, bob)]
            await asyncio.gather(write(ann), write(bob))
            first, second = await asyncio.gather(*listening)

            assert first == second
            assert [seq for seq, _ in first] == list(range(1, 61))
            assert len({text for _, text in first}) == 60

    play(scene, tmp_path)


def test_a_server_restart_is_survived(tmp_path: Path) -> None:
    """The server goes and comes back on the same port: what was said meanwhile is sent then, once; the session goes on."""

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address:
            port = address.port
            ann = Client("ann", address, ["lobby"])
            await ann.start()
            await ann.send("lobby", "before")
        waiting = asyncio.create_task(ann.send("lobby", "meanwhile"))
        await until(ann, events.Disconnected)
        async with live_server(folder, port):
            ack = await waiting
            await until(ann, events.Connected, again=True)
            page, more = await ann.history("lobby")

            assert [message.text for message in page] == ["before", "meanwhile"] and not more
            assert ack.seq == 2
            await ann.close()

    play(scene, tmp_path)


def test_a_slow_caller_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events wait in a bounded queue; what does not fit is fetched from history when the caller goes on."""
    monkeypatch.setattr(client_module, "EVENTS_LIMIT", 20)

    async def scene(folder: Path) -> None:
        async with (
            live_server(folder) as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address, ["lobby"]) as bob,
        ):
            for number in range(90):
                await bob.send("lobby", str(number))
            await asyncio.sleep(0.1)

            assert len(ann._inbox) <= 20
            heard = [(await until(ann, events.Message)).text for _ in range(90)]
            assert heard == [str(number) for number in range(90)]

    play(scene, tmp_path)


def test_direct_messages_find_their_receiver(tmp_path: Path) -> None:
    """The first message to somebody arrives though that person opened nothing."""

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address, Client("ann", address) as ann, Client("bob", address) as bob:
            joined = await ann.join("@bob")
            await ann.send(joined.room, "psst")
            heard = await until(bob, events.Message)

            assert joined.room == "@ann+bob"
            assert (heard.room, heard.text) == ("@ann+bob", "psst")

    play(scene, tmp_path)


def test_joining_with_a_number_brings_what_came_after_it(tmp_path: Path) -> None:
    """Somebody who knows how far they had read gets the rest as events, once."""

    async def scene(folder: Path) -> None:
        async with (
            live_server(folder) as address,
            Client("ann", address, ["lobby"]) as ann,
            Client("bob", address) as bob,
        ):
            for number in range(5):
                await ann.send("lobby", str(number))
            await bob.join("#Lobby", after=3)

            assert [(await until(bob, events.Message)).seq for _ in range(2)] == [4, 5]
            assert bob.rooms == ["lobby"]

    play(scene, tmp_path)


def test_the_example_of_the_guide_runs(tmp_path: Path) -> None:
    """The ten lines of docs/chat.md, as they stand there, answer what is said."""
    guide = (Path(client_module.__file__).parent.parent / "docs" / "chat.md").read_text()
    lines = guide.split("```python\n")[1].split("```")[0].replace("asyncio.run(main())\n", "")
    assert len(lines.strip().splitlines()) <= 12

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address, Client("ann", address, ["lobby"]) as ann:
            names: dict[str, Any] = {}
            exec(
                lines.replace('Client("echo", ', f'Client("echo", Address(port={address.port}), '),
                {"Address": Address},
                names,
            )
            main = names["main"]
            main.__globals__.update(names)
            echo = asyncio.create_task(main())
            while not any(one.name == "echo" for one in (await until(ann, events.Presence)).joined):
                pass
            await ann.send("lobby", "hello")
            await until(ann, events.Message, text="ann said: hello")
            echo.cancel()

    play(scene, tmp_path)


def test_refusals_are_said(tmp_path: Path) -> None:
    """A taken name, a wrong password, a bad room and a text that is too long end in RefusedError with the code."""

    async def scene(folder: Path) -> None:
        async with live_server(folder, limits__text_bytes=10) as address, Client("ann", address, ["lobby"]) as ann:
            for failing, code in [
                (Client("ann", address).start, "name-taken"),
                (Client(client_module.Login("ann", "password", "wrong-secret"), address).start, "auth-failed"),
                (lambda: ann.join("no such room!"), "bad-room"),
                (lambda: ann.send("lobby", "x" * 11), "too-long"),
                (lambda: ann.send("elsewhere", "x"), "no-room"),
                (lambda: ann.history("elsewhere"), "not-member"),
            ]:
                with pytest.raises(RefusedError) as caught:
                    await failing()
                assert caught.value.code == code

    play(scene, tmp_path)


def test_what_no_server_takes_costs_no_connection(tmp_path: Path) -> None:
    """Too long a frame, also by escapes alone, and half a surrogate pair are refused here: the line stays, and nothing is
    sent again and again."""

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address, Client("ann", address, ["lobby"]) as ann:
            lines = []
            with pytest.raises(RefusedError):
                await Client("a\ud800b", address).start()
            for failing, code in [
                (lambda: ann.send("lobby", "x" * 100_000), "too-long"),
                (lambda: ann.send("lobby", "\x01" * 16_000), "too-long"),
                (lambda: ann.send("lobby", "\ud800"), "bad-request"),
                (lambda: ann.send("\ud800", "x"), "bad-request"),
                (lambda: ann.join("\ud800"), "bad-request"),
                (lambda: ann.part("\ud800"), "bad-request"),
                (lambda: ann.history(query="x" * 100_000), "too-long"),
                (lambda: ann.admin("topic", room="lobby", text="\udfff"), "bad-request"),
            ]:
                with pytest.raises(RefusedError) as caught:
                    await failing()
                assert caught.value.code == code
                lines.append(ann._link)
            assert (await ann.send("lobby", "still here")).seq == 1
            assert set(lines) == {ann._link}

    play(scene, tmp_path)


def test_nobody_there_is_said_at_once_or_after_patience(tmp_path: Path) -> None:
    """Without a server `start` fails; with patience it waits until one is there."""

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address:
            pass
        with pytest.raises(LinkError):
            await Client("ann", address).start()
        patient = asyncio.create_task(Client("ann", address, patience_s=240).start())
        await asyncio.sleep(0.1)
        assert not patient.done()
        async with live_server(folder, address.port):
            await patient

    play(scene, tmp_path)


def test_who_is_put_out_is_told(tmp_path: Path) -> None:
    """A kick ends the room for the client: an event says so, and nothing of the room comes any more."""

    async def scene(folder: Path) -> None:
        async with (
            live_server(folder) as address,
            Client("ann", address, ["den"]) as ann,
            Client("bob", address, ["den"]) as bob,
        ):
            result = await ann.admin("kick", room="den", target="bob", text="enough")
            left = await until(bob, events.Left)

            assert result.ok
            assert (left.room, left.reason, left.text) == ("den", "kicked", "enough")
            assert bob.rooms == []

    play(scene, tmp_path)


def test_edits_and_deletions_arrive(tmp_path: Path) -> None:
    """A change is a message that names its target; history shows the result."""

    async def scene(folder: Path) -> None:
        async with live_server(folder) as address, Client("ann", address, ["lobby"]) as ann:
            first, second = await ann.send("lobby", "tpyo"), await ann.send("lobby", "oops")
            await ann.send("lobby", "typo", edits=first.seq)
            await ann.send("lobby", "", deletes=second.seq)
            change = await until(ann, events.Message, edits=first.seq)
            removal = await until(ann, events.Message, deletes=second.seq)
            page, _ = await ann.history("lobby")

            assert (change.text, removal.text) == ("typo", "")
            assert [(one.text, one.edited, one.deleted) for one in page[:2]] == [
                ("typo", True, False),
                ("", False, True),
            ]

    play(scene, tmp_path)


def test_a_stranger_instead_of_a_server_is_no_traceback(tmp_path: Path) -> None:
    """Whatever answers on the port (a web server, rubbish, silence that ends), `start` fails with LinkError."""

    async def scene(folder: Path) -> None:
        for answer in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"TW\x01\x02\x00\x00\x00\x00\xff\xff\xff\xff",
            b"TW\x01\x02\0\0\0\0\0\0\0\x02[]",
            b"",
        ):

            async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
                await reader.read(10)
                writer.write(answer)
                writer.close()

            async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
                with pytest.raises(LinkError):
                    await Client("ann", Address("127.0.0.1", server.sockets[0].getsockname()[1])).start()

    play(scene, tmp_path)
