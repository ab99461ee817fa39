"""chat.files over loopback sockets: offers, quotas, resume after any break, relay while it arrives, permission, expiry."""

import asyncio
import hashlib
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from raw_chat import Raw, play, serving

from chat import wire
from chat.server import Server
from chat.transfer import CHUNK, crc32c


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def offer(content: bytes, name: str = "a.bin", room: str = "lobby", **more: Any) -> wire.Offer:
    return wire.Offer(**{"ref": "r", "name": name, "size": len(content), "sha256": sha(content), "room": room, **more})


async def accepted(raw: Raw, ask: wire.Offer | wire.Fetch) -> wire.Accept:
    """The ACCEPT, or an assertion with the ERROR's code."""
    raw.say(ask)
    while True:
        for body in raw.got:
            if isinstance(body, (wire.Accept, wire.Error)):
                raw.got.remove(body)
                assert isinstance(body, wire.Accept), body.code
                return body
        await raw.more()


async def refused(raw: Raw, ask: wire.Offer | wire.Fetch) -> str:
    raw.say(ask)
    return (await raw.get(wire.Error)).code


async def line(server: Server, accept: wire.Accept, tls: ssl.SSLContext | None = None) -> Raw:
    """A file connection."""
    raw = await Raw.open(server.port, tls=tls)
    raw.say(wire.Hello([1], transfer=accept.token))
    await raw.get(wire.Welcome)
    return raw


def pieces(accept: wire.Accept, content: bytes, until: int | None = None) -> list[wire.Data]:
    """The chunks from ACCEPT's offset on, up to `until`."""
    found = []
    for at in range(accept.next_offset, len(content) if until is None else until, accept.chunk):
        payload = content[at : at + accept.chunk]
        found.append(wire.Data(accept.file_id, at, crc32c(payload), payload))
    return found


async def upload(server: Server, chat: Raw, content: bytes, **more: Any) -> wire.FileRef:
    """A whole upload, within the credit."""
    accept = await accepted(chat, offer(content, **more))
    if accept.token:
        raw = await line(server, accept)
        window = accept.next_offset + accept.credit * accept.chunk
        for data in pieces(accept, content):
            while data.offset + len(data.payload) > window:
                credit = await raw.get(wire.Credit)
                window = credit.offset + credit.credit * accept.chunk
            raw.say(data)
        assert (await raw.get(wire.Done)).sha256 == sha(content)
        raw.close()
    while True:
        message = await chat.get(wire.Msg)
        if message.file is not None:
            return message.file


async def download(
    server: Server, chat: Raw, file_id: str, offset: int = 0, length: int = 0, tls: ssl.SSLContext | None = None
) -> bytes:
    accept = await accepted(chat, wire.Fetch("f", file_id, offset, length))
    raw = await line(server, accept, tls)
    got = bytearray()
    while True:
        while raw.got:
            body = raw.got.pop(0)
            if isinstance(body, wire.Done):
                return bytes(got)
            assert isinstance(body, wire.Data), body
            assert (body.offset, body.crc) == (offset + len(got), crc32c(body.payload))
            got += body.payload
        await raw.more()


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 7]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("size", SIZES)
def test_a_file_goes_up_and_comes_down(tmp_path: Path, size: int, loop: str) -> None:
    """Any size; stored under its hash; the message carries it to everybody, the bytes to who asks; ranges."""
    content = os.urandom(size)

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann, bob = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "bob", "lobby")
            file = await upload(server, ann, content, mime="image/png")
            seen = (await bob.get(wire.Msg)).file
            assert seen == file == wire.FileRef(file.file_id, "a.bin", size, sha(content), "image/png")
            assert (folder / "files" / sha(content)[:2] / sha(content)).read_bytes() == content
            assert list((folder / "files" / "partial").iterdir()) == []
            assert await download(server, bob, file.file_id) == content
            if size > CHUNK:
                assert await download(server, bob, file.file_id, 5, CHUNK) == content[5 : 5 + CHUNK]
                assert await download(server, bob, file.file_id, size - 3) == content[-3:]

    play(scene, tmp_path, loop)


def test_nothing_is_pushed_to_who_did_not_ask(tmp_path: Path) -> None:
    """A member sees the offer and the message, not one byte of the file."""

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann, bob = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "bob", "lobby")
            await upload(server, ann, b"content that nobody asked for" * 1000)
            await bob.get(wire.Offered)
            await bob.get(wire.Msg)
            bob.say(wire.Goaway())
            assert not any(isinstance(body, wire.Data) for body in await bob.rest())

    play(scene, tmp_path)


@pytest.mark.parametrize("secure", [False, True])
def test_a_file_is_relayed_while_it_arrives(tmp_path: Path, secure: bool) -> None:
    """Half of it is up, the follower has that half; then the rest; then DONE. Under TLS too."""
    content = os.urandom(6 * CHUNK + 100)

    async def scene(folder: Path) -> None:
        async with serving(folder, tls__mode="on" if secure else "off") as server:
            tls = ssl.create_default_context(cafile=str(folder / "cert.pem")) if secure else None
            ann, bob = (
                await Raw.open(server.port, "ann", "lobby", tls),
                await Raw.open(server.port, "bob", "lobby", tls),
            )
            accept = await accepted(ann, offer(content))
            up = await line(server, accept, tls)
            chunks = pieces(accept, content)
            up.say(*chunks[:3])
            file = (await bob.get(wire.Offered)).file
            down = await line(server, await accepted(bob, wire.Fetch("f", file.file_id)), tls)
            got = b"".join([(await down.get(wire.Data)).payload for _ in range(3)])
            assert got == content[: 3 * CHUNK]
            up.say(*chunks[3:])
            got += b"".join([(await down.get(wire.Data)).payload for _ in range(4)])
            await down.get(wire.Done)
            await up.get(wire.Done)
            assert got == content

    play(scene, tmp_path)


def test_an_upload_goes_on_after_cuts_on_both_sides_and_a_restart(tmp_path: Path) -> None:
    """Client cut, server restarted, taken over by a new connection: next_offset says where, nothing acknowledged is sent twice."""
    content = os.urandom(9 * CHUNK + 5)

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            first = await accepted(ann, offer(content))
            raw = await line(server, first)
            raw.say(*pieces(first, content, 4 * CHUNK))
            assert [(await raw.get(wire.Credit)).offset for _ in range(2)] == [2 * CHUNK, 4 * CHUNK]
            raw.writer.write(wire.encode(pieces(first, content)[4])[:1000])
            second = await accepted(ann, offer(content))
            assert (second.next_offset, second.file_id) == (4 * CHUNK, first.file_id)
            assert await raw.bytes_until_close() is not None
            raw = await line(server, second)
            raw.say(*pieces(second, content, 6 * CHUNK))
            while server.counters.upload_bytes < 6 * CHUNK:
                await asyncio.sleep(0.001)
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            third = await accepted(ann, offer(content))
            assert third.next_offset == 6 * CHUNK
            raw = await line(server, third)
            following = asyncio.create_task(download(server, ann, third.file_id))  # checks each checksum, old and new
            raw.say(*pieces(third, content, 8 * CHUNK))
            while server.counters.download_bytes < 7 * CHUNK:
                await asyncio.sleep(0.001)
            raw.say(*pieces(third, content)[2:])
            assert await following == content
            assert (await raw.get(wire.Done)).sha256 == sha(content)
            file = (await ann.get(wire.Msg)).file
            assert file is not None and await download(server, ann, file.file_id) == content

    play(scene, tmp_path)


def test_damage_is_named_once_and_the_wrong_hash_is_not_kept(tmp_path: Path) -> None:
    """A bad crc: ERROR with the offset, go on from there. All right but not what was offered: nothing remains."""
    content = os.urandom(3 * CHUNK)

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            accept = await accepted(ann, offer(content))
            raw = await line(server, accept)
            one, two, three = pieces(accept, content)
            raw.say(one, wire.Data(two.file_id, two.offset, two.crc ^ 1, two.payload), three)
            error = await raw.get(wire.Error)
            assert (error.code, error.offset) == ("bad-crc", CHUNK)
            raw.say(two, three)
            await raw.get(wire.Done)
            lie = await accepted(ann, offer(content, sha256="0" * 64))
            raw = await line(server, lie)
            raw.say(*pieces(lie, content))
            assert (await raw.get(wire.Error)).code == "bad-sha256"
            assert [p for p in (folder / "files").rglob("*") if p.is_file()] == [
                folder / "files" / sha(content)[:2] / sha(content)
            ]
            assert await accepted(ann, offer(content, sha256="0" * 64))

    play(scene, tmp_path)


def test_knowing_a_hash_grants_nothing(tmp_path: Path) -> None:
    """Another's complete file or partial does not shorten an upload; one's own does: posted at once, no bytes."""
    content = os.urandom(4 * CHUNK)

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann, eve = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "eve", "lobby")
            file = await upload(server, ann, content)
            theirs = await accepted(eve, offer(content))
            assert theirs.token and theirs.next_offset == 0
            mine = await accepted(ann, offer(content, name="again.bin"))
            assert mine.token == "" and mine.next_offset == len(content) and mine.file_id != file.file_id
            retry = await accepted(ann, offer(content, name="again.bin"))
            assert retry.file_id == mine.file_id

    play(scene, tmp_path)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_goes_with_its_message(durable: bool, tmp_path: Path) -> None:
    """After its sender has taken the message back nobody fetches the file, with history on disk or in memory."""

    async def scene(folder: Path) -> None:
        async with serving(folder, history__durable=durable) as server:
            ann, bob = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "bob", "lobby")
            file = await upload(server, ann, b"oops")
            assert await download(server, bob, file.file_id) == b"oops"
            ann.say(wire.Send("lobby", "d", deletes=1))
            await ann.get(wire.Ack)
            assert await refused(bob, wire.Fetch("f", file.file_id)) == "no-file"

    play(scene, tmp_path)


def test_who_may_not_read_the_room_may_not_fetch(tmp_path: Path) -> None:
    """Checked on every FETCH: not a member, left, kicked, guessed id; one answer for all."""

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann, bob, eve = [await Raw.open(server.port, name, "lobby") for name in ("ann", "bob", "eve")]
            ann.say(wire.Join("@bob"))
            await ann.get(wire.Members)
            file = await upload(server, ann, b"private", room="@bob")
            assert await download(server, bob, file.file_id) == b"private"
            assert await refused(eve, wire.Fetch("f", file.file_id)) == "no-file"
            assert await refused(eve, wire.Fetch("f", "0" * 32)) == "no-file"
            bob.say(wire.Part("@ann"))
            await bob.get(wire.Parted)
            assert await refused(bob, wire.Fetch("f", file.file_id)) == "no-file"
            assert await refused(eve, offer(b"x", room="@ann+bob")) == "private"

    play(scene, tmp_path)


# options, offers that were accepted before, offer -> code
QUOTAS = [
    ({"files__file_bytes": 99}, [], offer(b"x" * 100), "too-large"),
    ({"files__account_bytes": 150}, [offer(b"y" * 100)], offer(b"x" * 100), "quota"),
    ({"files__total_bytes": 150}, [offer(b"y" * 100)], offer(b"x" * 100), "quota"),
    ({"files__uploads": 1}, [offer(b"y")], offer(b"x"), "quota"),
    ({"files__keep_free_bytes": 1 << 50}, [], offer(b"x"), "quota"),
    ({"files__deny": ("video/*", "text/x-evil")}, [], offer(b"x", mime="Video/mp4"), "bad-type"),
    ({"files__deny": ("video/*", "text/x-evil")}, [], offer(b"x", mime="text/x-evil; charset=x"), "bad-type"),
    ({}, [offer(b"y" * 5)], offer(b"y" * 6, sha256=sha(b"y" * 5)), "bad-file"),
]


@pytest.mark.parametrize(("options", "before", "ask", "code"), QUOTAS)
def test_quotas_hold_at_the_offer(
    tmp_path: Path, options: dict[str, Any], before: list[wire.Offer], ask: wire.Offer, code: str
) -> None:
    """Counted with what is arriving, before a byte is taken."""

    async def scene(folder: Path) -> None:
        async with serving(folder, **options) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            for each in before:
                await accepted(ann, each)
            assert await refused(ann, ask) == code

    play(scene, tmp_path)


def test_offers_that_nobody_begins_with_hold_no_space(tmp_path: Path) -> None:
    """When their token is too old, the next offer gets their place; what has begun to arrive keeps its own."""
    begun = os.urandom(2 * CHUNK)

    async def scene(folder: Path) -> None:
        async with serving(folder, files__uploads=2, timeouts__token_s=60.0) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            accept = await accepted(ann, offer(begun))
            raw = await line(server, accept)
            raw.say(*pieces(accept, begun, CHUNK))
            raw.close()
            arriving = server.files.uploads.by_id[accept.file_id]
            while arriving.intake.offset < CHUNK or arriving.conn is not None:
                await asyncio.sleep(0.001)
            await accepted(ann, offer(b"never sent"))
            assert await refused(ann, offer(b"third")) == "quota"
            for each in server.files.uploads.incoming.values():
                each.touched -= 61.0
            await accepted(ann, offer(b"third"))
            assert (await accepted(ann, offer(begun))).next_offset == CHUNK

    play(scene, tmp_path)


def test_partials_are_bounded_for_all_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an open file: the one that rested longest goes, and when all are under way the offer must wait."""
    monkeypatch.setattr("chat.uploads.PARTIALS", 3)

    async def scene(folder: Path) -> None:
        async with serving(folder, files__uploads=9) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            lines = [await line(server, await accepted(ann, offer(bytes([n] * 9)))) for n in range(2)]
            await accepted(ann, offer(b"resting"))
            last = await accepted(ann, offer(b"newest"))
            assert len(server.files.uploads.incoming) == len(list((folder / "files" / "partial").iterdir())) == 3
            lines.append(await line(server, last))
            assert await refused(ann, offer(b"one more")) == "busy"

    play(scene, tmp_path)


def test_a_token_is_good_once_and_not_for_long(tmp_path: Path) -> None:
    """Used, made up or too old: bad-token."""

    async def scene(folder: Path) -> None:
        async with serving(folder, timeouts__token_s=60.0) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            file = await upload(server, ann, b"hello")
            accept = await accepted(ann, wire.Fetch("f", file.file_id))
            await line(server, accept)
            old = await accepted(ann, wire.Fetch("f", file.file_id))
            server.files._tickets = {
                token: ticket
                for token, ticket in server.files._tickets.items()
                if setattr(ticket, "until", 0.0) is None
            }
            for token in (accept.token, old.token, "x" * 32):
                raw = await Raw.open(server.port)
                raw.say(wire.Hello([1], transfer=token))
                assert [body.code for body in await raw.rest() if isinstance(body, wire.Error)] == ["bad-token"]

    play(scene, tmp_path)


def test_a_sender_out_of_its_credit_or_file_is_cut(tmp_path: Path) -> None:
    """Chunks of another file, beyond the size, or of the wrong length end the connection; the partial stays."""
    content = os.urandom(2 * CHUNK)

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            for bad in (wire.Data("0" * 32, 0, 0, b"x"), "long"):
                accept = await accepted(ann, offer(content))
                raw = await line(server, accept)
                payload = content + b"more"
                raw.say(
                    bad
                    if isinstance(bad, wire.Data)
                    else wire.Data(accept.file_id, 0, crc32c(payload[: CHUNK + 1]), payload[: CHUNK + 1])
                )
                code = "bad-file" if isinstance(bad, wire.Data) else "oversize"
                assert [body.code for body in await raw.rest() if isinstance(body, wire.Error)] == [code]

    play(scene, tmp_path)


def test_expiry_and_removal_take_the_bytes_with_the_last_reference(tmp_path: Path) -> None:
    """Old files and partials go; remove-file is for the sender and moderators; a shared hash stays until nobody has it."""
    content = b"shared bytes"

    async def scene(folder: Path) -> None:
        async with serving(folder, files__days=1) as server:
            ann, bob = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "bob", "lobby")
            first = await upload(server, ann, content)
            await bob.get(wire.Msg)
            second = await upload(server, bob, content)
            blob = folder / "files" / sha(content)[:2] / sha(content)
            bob.say(wire.Admin("remove-file", target=first.file_id))
            assert (await bob.get(wire.Error)).code == "no-file"
            ann.say(wire.Admin("remove-file", target=first.file_id))
            await ann.get(wire.AdminResult)
            assert blob.exists()
            assert await refused(ann, wire.Fetch("f", first.file_id)) == "no-file"
            await accepted(ann, offer(b"never finished"))
            await asyncio.wrap_future(
                server.store.call(lambda db: db.execute("UPDATE files SET made = made - 90000").rowcount)
            )
            for partial in server.files.uploads.incoming.values():
                partial.touched -= 90_000
            await server.files.expire()
            assert not blob.exists() and list((folder / "files" / "partial").iterdir()) == []
            assert await refused(bob, wire.Fetch("f", second.file_id)) == "no-file"
            assert (server.files.shelf.used, set(server.files.shelf.sizes.values())) == (0, {0})

    play(scene, tmp_path)


def test_a_slow_receiver_holds_nobody_up_and_costs_no_memory(tmp_path: Path) -> None:
    """It reads nothing, and is not cut for it: another one has the whole file meanwhile, and no buffer grows."""
    content = os.urandom(40 * CHUNK)

    async def scene(folder: Path) -> None:
        async with serving(folder, timeouts__stall_s=9999.0, timeouts__file_s=9999.0) as server:
            ann, bob = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "bob", "lobby")
            file = await upload(server, ann, content)
            stuck = await line(server, await accepted(bob, wire.Fetch("f", file.file_id)))
            stuck.writer.transport.pause_reading()
            assert await download(server, ann, file.file_id) == content
            assert all(conn.transport.get_write_buffer_size() < 1 << 20 for conn in server.conns.values())

    play(scene, tmp_path)


def test_suspension_ends_transfers(tmp_path: Path) -> None:
    """A download that was granted is cut with its user."""
    content = os.urandom(40 * CHUNK)

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            file = await upload(server, ann, content)
            raw = await line(server, await accepted(ann, wire.Fetch("f", file.file_id)))
            server.files.cut("ann")
            assert len(await raw.bytes_until_close()) < len(content)

    play(scene, tmp_path)
