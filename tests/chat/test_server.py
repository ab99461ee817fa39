"""chat.server over loopback sockets: what only a live server shows. Both event loops; no sleeps, time-outs made short."""

import asyncio
import json
import socket
import ssl
import struct
import urllib.request
from pathlib import Path

import pytest
from raw_chat import Raw, play, serving

from chat import config, tls, wire
from chat.accounts import Accounts
from chat.errors import ConfigError


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("durable", [True, False])
def test_two_people_talk(tmp_path: Path, loop: str, durable: bool) -> None:
    """Login, join, message, acknowledgement, history; on both loops, with the disk and without."""

    async def scene(folder: Path) -> None:
        async with serving(folder, history__durable=durable) as server:
            ann, bob = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "bob", "lobby")
            ann.say(wire.Send("lobby", "c1", "hello"))
            assert (await ann.get(wire.Ack)).seq == 1
            assert (await bob.get(wire.Msg)).text == "hello"
            bob.say(wire.History("lobby"))
            assert [m.text for m in (await bob.get(wire.HistoryPage)).messages] == ["hello"]
            bob.say(wire.History(query="hello"))
            assert [m.text for m in (await bob.get(wire.HistoryPage)).messages] == ["hello"]
            ann.close(), bob.close()

    play(scene, tmp_path, loop)


def test_a_restart_loses_nothing_and_tells_everybody(tmp_path: Path) -> None:
    """GOAWAY with retry_ms at shutdown; after it, RESUME brings what was missed, the session token the name."""

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann = await Raw.open(server.port)
            ann.say(wire.Hello([1]), wire.Auth("guest", user="ann"))
            session = (await ann.get(wire.AuthOk)).session
            ann.say(wire.Join("lobby"), *[wire.Send("lobby", f"c{i}", str(i)) for i in range(50)])
            for _ in range(50):
                await ann.get(wire.Ack)
        assert (await ann.get(wire.Goaway)).retry_ms > 0
        async with serving(folder) as server:
            back = await Raw.open(server.port)
            back.say(wire.Hello([1]), wire.Auth("session", session=session))
            assert (await back.get(wire.AuthOk)).account == "ann"
            back.say(wire.Resume([wire.RoomSeq("lobby", 20)]))
            assert [(await back.get(wire.Msg)).seq for _ in range(30)] == list(range(21, 51))
            back.close()

    play(scene, tmp_path)


def test_a_long_absence_is_replayed_from_the_disk_in_order(tmp_path: Path) -> None:
    """More than the ring holds: GAP for what is too long ago, then every message, then live ones, no seq twice."""

    async def scene(folder: Path) -> None:
        limits = {
            "limits__ring_bytes": 4096,
            "limits__replay_messages": 300,
            "rates__messages_per_s": 0,
            "rates__account_messages_per_s": 0,
            "limits__history_page_bytes": 9000,
        }
        async with serving(folder, rates__room_messages_per_s=0, **limits) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            ann.say(*[wire.Send("lobby", f"c{i}", f"text {i}") for i in range(500)])
            for _ in range(500):
                await ann.get(wire.Ack)
            bob = await Raw.open(server.port, "bob")
            bob.say(wire.Join("lobby", after=0))
            ann.say(*[wire.Send("lobby", f"d{i}", "live") for i in range(20)])
            gap = await bob.get(wire.Gap)
            seqs = [(await bob.get(wire.Msg)).seq for _ in range(320)]
            assert (gap.first, gap.last, gap.reason) == (1, 200, "long")
            assert seqs == list(range(201, 521))
            ann.close(), bob.close()

    play(scene, tmp_path)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_reader_that_stops_delays_nobody_gets_an_exact_gap_or_is_cut(tmp_path: Path, loop: str) -> None:
    """The stopped one misses, the others do not; reading again it has one gap of exactly what is missing."""

    async def scene(folder: Path) -> None:
        off = {
            "rates__messages_per_s": 0,
            "rates__account_messages_per_s": 0,
            "rates__room_messages_per_s": 0,
            "history__durable": False,
        }
        async with serving(
            folder,
            limits__write_high_bytes=65536,
            limits__write_low_bytes=16384,
            limits__send_buffer_bytes=8192,
            limits__ring_bytes=100_000,
            **off,
        ) as server:
            ann, bob, slow = [await Raw.open(server.port, name, "lobby") for name in ("ann", "bob", "slow")]
            slow.writer.transport.pause_reading()
            sent = 0
            while server.counters.slow_pauses == 0 or sent < 2000:
                assert sent < 60_000
                ann.say(*[wire.Send("lobby", f"c{sent + i}", "x" * 1000) for i in range(50)])
                sent += 50
                for _ in range(50):
                    await ann.get(wire.Ack)
            last = 0
            while last < sent:
                last = (await bob.get(wire.Msg)).seq
            slow.writer.transport.resume_reading()
            seqs: list[int] = []
            while not seqs or seqs[-1] < sent:
                while not slow.got:
                    await asyncio.wait_for(slow.more(), 240)
                body = slow.got.pop(0)
                if isinstance(body, wire.Gap):
                    assert body.reason == "slow"
                    seqs += range(body.first, body.last + 1)
                elif isinstance(body, wire.Msg):
                    seqs.append(body.seq)
            assert seqs == list(range(1, sent + 1))
            assert server.counters.slow_gaps >= 1
            for raw in (ann, bob, slow):
                raw.close()

    play(scene, tmp_path, loop)


def test_who_stalls_is_cut(tmp_path: Path) -> None:
    """After stall_s; the others go on."""

    async def scene(folder: Path) -> None:
        off = {
            "rates__messages_per_s": 0,
            "rates__account_messages_per_s": 0,
            "rates__room_messages_per_s": 0,
            "history__durable": False,
        }
        async with serving(
            folder,
            timeouts__stall_s=0.3,
            limits__write_high_bytes=65536,
            limits__write_low_bytes=16384,
            limits__send_buffer_bytes=8192,
            **off,
        ) as server:
            ann, slow = await Raw.open(server.port, "ann", "lobby"), await Raw.open(server.port, "slow", "lobby")
            slow.writer.transport.pause_reading()
            i = 0
            while server.counters.stalled == 0:
                i += 1
                assert i < 60_000
                ann.say(wire.Send("lobby", f"c{i}", "x" * 10_000))
                await ann.get(wire.Ack)
            ann.say(wire.Send("lobby", "z", "still here"))
            assert (await ann.get(wire.Ack)).seq == i + 1
            ann.close(), slow.close()

    play(scene, tmp_path)


# what a stranger sends first -> what the server answers before it closes
STRANGERS = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400"),
    (b"POST /x HTTP/1.1\r\n", b"HTTP/1.1 400"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
    (b"NICK x\r\nUSER x\r\n", b""),
    (b"SSH-2.0-x\r\n", b""),
    (wire.HEADER.pack(b"TW", 1, 0x20, 0, 0, 1 << 31), b"TW\x01\x05"),
    (wire.HEADER.pack(b"TW", 9, 0x01, 0, 0, 2) + b"{}", b"TW\x01\x05"),
    (wire.encode(wire.Send("lobby", "i", "x")), b"TW\x01\x05"),
    (wire.encode(wire.Hello([1], transfer="guess")), b"TW\x01\x05"),
    (wire.encode(wire.Hello([7])), b"TW\x01\x05"),
]


def test_strangers_are_shown_the_door(tmp_path: Path) -> None:
    """HTTP one line, other protocols nothing, our own kind the reason; all are closed, users are not disturbed."""

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            for data, answer in STRANGERS:
                raw = await Raw.open(server.port)
                raw.writer.write(data)
                got = await raw.bytes_until_close()
                assert got.startswith(answer) if answer else got == b"", data
                assert not got.startswith(b"HTTP") or got.count(b"\r\n\r\n") == 1
                raw.close()
            ann.say(wire.Send("lobby", "c", "x"))
            assert (await ann.get(wire.Ack)).seq == 1
            ann.close()

    play(scene, tmp_path)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("secure", [False, True])
def test_who_is_shown_the_door_takes_nobody_along(tmp_path: Path, loop: str, secure: bool) -> None:
    """A member whose frame is wrong, and who does not hang up, is still in the room for a moment: what is said meanwhile
    reaches all others."""

    async def scene(folder: Path) -> None:
        async with serving(folder, tls__mode="on" if secure else "off") as server:
            trusted = ssl.create_default_context(cafile=str(folder / "cert.pem")) if secure else None
            eve, ann, bob = [await Raw.open(server.port, name, "lobby", trusted) for name in ("eve", "ann", "bob")]
            eve.say(wire.Join("other"))
            await eve.get(wire.Members)
            eve.writer.write(b"no frame of ours")
            await eve.get(wire.Error)
            assert await eve.reader.read() == b""  # the server's side is closed, eve's is not
            for number in range(3):
                ann.say(wire.Send("lobby", f"c{number}", "hello"))
                assert (await ann.get(wire.Ack)).seq == (await bob.get(wire.Msg)).seq == number + 1

    play(scene, tmp_path, loop)


def test_half_open_connections_end_and_users_do_not_notice(tmp_path: Path) -> None:
    """Slow-loris: a pool of their own, a time of their own; at its end ERROR timeout and the door."""

    async def scene(folder: Path) -> None:
        async with serving(folder, timeouts__login_s=2.0, limits__connections_before_login=20) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            half = [await Raw.open(server.port) for _ in range(30)]
            for raw in half:
                raw.writer.write(b"TW\x01")
            ann.say(wire.Send("lobby", "c", "x"))
            assert (await ann.get(wire.Ack)).seq == 1
            codes = []
            for raw in half:
                codes += [body.code for body in await raw.rest() if isinstance(body, wire.Error)]
                raw.close()
            assert sorted(set(codes)) == ["full", "timeout"]
            assert codes.count("full") == 10
            while server.door.waiting:
                await asyncio.sleep(0.001)
            await Raw.open(server.port, "bob", "lobby")
            ann.close()

    play(scene, tmp_path)


def test_an_address_has_only_so_many_connections(tmp_path: Path) -> None:
    """Where loopback is not exempt."""

    async def scene(folder: Path) -> None:
        async with serving(folder, server__exempt=(), limits__connections_per_address=3) as server:
            places = [await Raw.open(server.port, f"user{i}") for i in range(3)]
            over = await Raw.open(server.port)
            assert [body.code for body in await over.rest() if isinstance(body, wire.Error)] == ["too-many"]
            over.close(), places[0].close()
            while len(server.conns) > 2:
                await asyncio.sleep(0)
            await Raw.open(server.port, "other")

    play(scene, tmp_path)


def test_accounts_and_what_guards_them(tmp_path: Path) -> None:
    """Registration, password, bot token, suspension of live sessions, one answer for unknown and wrong, brute force."""

    async def scene(folder: Path) -> None:
        async with serving(folder, server__registration="open") as server:

            async def auth(*bodies: wire.Auth) -> wire.Body:
                raw = await Raw.open(server.port)
                raw.say(wire.Hello([1]), *bodies)
                while True:
                    await raw.more()
                    for body in raw.got:
                        if isinstance(body, (wire.AuthOk, wire.Error)):
                            return body

            assert isinstance(await auth(wire.Auth("register", user="Ann", secret="correct horse")), wire.AuthOk)
            again = await auth(wire.Auth("register", user="ann", secret="correct horse"))
            assert isinstance(again, wire.Error) and again.code == "name-taken"
            guest = await auth(wire.Auth("guest", user="ann"))
            assert isinstance(guest, wire.Error) and guest.code == "name-taken"
            op = await Raw.open(server.port)
            await server.accounts.make("opy", "operators secret", 0.0, operator=True)
            op.say(wire.Hello([1]), wire.Auth("password", user="opy", secret="operators secret"))
            assert (await op.get(wire.AuthOk)).roles == ["operator"]
            live = await Raw.open(server.port)
            live.say(wire.Hello([1]), wire.Auth("password", user="ann", secret="correct horse"))
            session = (await live.get(wire.AuthOk)).session
            live.say(wire.Admin("bot-token", ref="r"))
            token = (await live.get(wire.AdminResult)).text
            bot = await auth(wire.Auth("token", secret=token))
            assert isinstance(bot, wire.AuthOk) and bot.account == "ann" and not bot.guest
            op.say(wire.Admin("suspend", target="ann", ref="s"))
            await op.get(wire.AdminResult)
            assert [b.code for b in await live.rest() if isinstance(b, wire.Error)] == ["suspended"]
            for refused in (wire.Auth("token", secret=token), wire.Auth("session", session=session)):
                answer = await auth(refused)
                assert isinstance(answer, wire.Error) and answer.code in {"suspended", "auth-failed"}
            op.say(wire.Admin("restore", target="ann"))
            await op.get(wire.AdminResult)
            wrong = await auth(wire.Auth("password", user="ann", secret="wrong"))
            unknown = await auth(wire.Auth("password", user="nobody", secret="wrong"))
            assert wrong == unknown
            codes = []
            for _ in range(5):
                answer = await auth(wire.Auth("password", user="ann", secret="wrong"))
                assert isinstance(answer, wire.Error)
                codes.append((answer.code, answer.retry_ms > 0))
            assert codes[-1] == ("flood", True)

    play(scene, tmp_path)


def test_a_flood_of_logins_does_not_hold_the_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are checked beside the loop; beyond the queue's cap they get busy, and messages go on meanwhile."""
    monkeypatch.setattr("chat.accounts.QUEUE", 4)

    async def scene(folder: Path) -> None:
        async with serving(folder, rates__logins_per_minute=0) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            flood = [await Raw.open(server.port) for _ in range(20)]
            for raw in flood:
                raw.say(wire.Hello([1]), wire.Auth("password", user="x", secret="y"))
            begun = server.loop.time()
            ann.say(wire.Send("lobby", "c", "x"))
            await ann.get(wire.Ack)
            took = server.loop.time() - begun
            codes = [(await raw.get(wire.Error)).code for raw in flood]
            assert codes.count("busy") >= 10 and set(codes) == {"busy", "auth-failed"}
            assert took < 2.0
            ann.close()

    play(scene, tmp_path)


def test_invitations_are_used_up(tmp_path: Path) -> None:
    """registration = token: as many accounts as the token has uses, none without."""

    async def scene(folder: Path) -> None:
        async with serving(folder, server__registration="token") as server:
            token = await server.accounts.invite_token("op", 1, server.hub.wall + 100)
            codes = []
            for name, invite in (("one", ""), ("two", token), ("three", token)):
                raw = await Raw.open(server.port)
                raw.say(wire.Hello([1]), wire.Auth("register", user=name, secret="long enough", invite=invite))
                while not raw.got or isinstance(raw.got[-1], wire.Welcome):
                    await raw.more()
                codes.append(getattr(raw.got[-1], "code", "in"))
                raw.close()
            assert codes[1] == "in" and codes[0] != "in" and codes[2] != "in"

    play(scene, tmp_path)


def test_tls_and_its_key_log(tmp_path: Path) -> None:
    """Own certificate with its fingerprint, TLS 1.2 at least, ALPN; plaintext gets nothing; the key log has the keys."""

    async def scene(folder: Path) -> None:
        keylog = folder / "keys.log"
        async with serving(folder, tls__mode="on", tls__keylog=str(keylog)) as server:
            context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            context.set_alpn_protocols([tls.ALPN])
            ann, bob = [await Raw.open(server.port, name, "lobby", context) for name in ("ann", "bob")]
            ann.say(wire.Send("lobby", "c", "secret"))
            assert (await bob.get(wire.Msg)).text == "secret"
            seen = ann.writer.get_extra_info("ssl_object")
            assert seen.version() in {"TLSv1.2", "TLSv1.3"} and seen.selected_alpn_protocol() == tls.ALPN
            assert server.fingerprint == tls.fingerprint(folder / "cert.pem")
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            with pytest.warns(DeprecationWarning):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await Raw.open(server.port, tls=old)
            plain = await Raw.open(server.port)
            plain.say(wire.Hello([1]))
            assert b"tapwall" not in await plain.bytes_until_close()
            ann.close(), bob.close(), plain.close()
        assert "TRAFFIC_SECRET" in keylog.read_text()

    play(scene, tmp_path)


def test_plaintext_off_loopback_is_refused(tmp_path: Path) -> None:
    """TLS is on by default there; off needs insecure_lab."""
    assert config.load(None, {"server.host": "0.0.0.0"}).tls_on
    assert not config.load(None, {"server.host": "0.0.0.0", "tls.insecure_lab": True}).tls_on
    with pytest.raises(ConfigError, match="insecure_lab"):
        config.load(None, {"server.host": "0.0.0.0", "tls.mode": "off"})


def test_metrics_and_health(tmp_path: Path) -> None:
    """On a port of their own; not ready while stopping."""

    async def scene(folder: Path) -> None:
        async with serving(folder, metrics__port=0) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            ann.say(wire.Send("lobby", "c", "x"))
            await ann.get(wire.Ack)

            def get(path: str) -> tuple[int, str]:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{path}") as answer:
                        return answer.status, answer.read().decode()
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code, ""

            status, text = await asyncio.to_thread(get, "/metrics")
            assert status == 200 and "tapwall_chat_messages_total 1\n" in text and "tapwall_chat_users 1\n" in text
            assert (await asyncio.to_thread(get, "/healthz"))[0] == (await asyncio.to_thread(get, "/readyz"))[0] == 200
            assert (await asyncio.to_thread(get, "/etc/passwd"))[0] == 404
            server._stopping = True
            assert (await asyncio.to_thread(get, "/readyz"))[0] == 503
            ann.close()

    play(scene, tmp_path)


def test_reload_changes_limits_and_keeps_what_is_wrong_out(tmp_path: Path) -> None:
    """SIGHUP: new limits hold for new messages; a broken file changes nothing; users stay connected."""
    files = iter(["ok", "broken"])

    def reload() -> config.Config:
        if next(files) == "broken":
            raise ConfigError("x.toml: limits.text_bytes = 'x', expected a whole number")
        changed = {"limits.text_bytes": 3, "limits.connections_per_address": 1, "server.exempt": ()}
        return config.load(None, {"server.data": str(tmp_path), **changed})

    async def scene(folder: Path) -> None:
        async with serving(folder, reload) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            for _ in range(2):
                server.reload()
                ann.say(wire.Send("lobby", "c", "long"))
                assert (await ann.get(wire.Error)).code == "too-long"
            await Raw.open(server.port, "bob")
            third = await Raw.open(server.port)
            assert [body.code for body in await third.rest() if isinstance(body, wire.Error)] == ["too-many"]
            ann.close()

    play(scene, tmp_path)


def test_the_log_has_no_texts_and_no_forged_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lines; names are escaped, messages and secrets are not in it."""
    from chat import log

    async def scene(folder: Path) -> None:
        log.set_up("debug")
        async with serving(folder) as server:
            ann = await Raw.open(server.port, "ann", "lobby")
            ann.say(wire.Send("lobby", "c", "very private"), wire.Join("x\n{}"))
            await ann.get(wire.Error)
            evil = await Raw.open(server.port)
            evil.say(wire.Hello([1]), wire.Auth("pass\nword", user='x"\n{"event":"forged"}', secret="hunter2hunter2"))
            await evil.get(wire.Error)
            ann.close(), evil.close()

    try:
        play(scene, tmp_path)
    finally:
        log.LOGGER.handlers, log.LOGGER.propagate = [], True
    lines = capsys.readouterr().err.splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert {"login", "login-refused", "stopped"} <= set(events) and "forged" not in events
    assert not any("very private" in line or "hunter2" in line for line in lines)


def test_a_sender_that_is_cut_hard_leaves_no_trace_in_memory(tmp_path: Path) -> None:
    """RST in the middle of a frame: the seat, its buffers and its place at the door are given back."""

    async def scene(folder: Path) -> None:
        async with serving(folder, timeouts__presence_hold_s=0.0) as server:
            for i in range(20):
                raw = await Raw.open(server.port, f"user{i}", "lobby")
                raw.writer.write(wire.encode(wire.Send("lobby", "c", "x"))[:20])
                raw.writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                raw.writer.transport.abort()
            while server.conns:
                await asyncio.sleep(0.001)
            server._sweep()
            server._sweeper.cancel()
            assert (server.door.total, server.door.waiting, server.hub.seats, server.hub.users) == (0, 0, {}, {})
            assert all(not channel.hot for channel in server.fanout.channels.values())

    play(scene, tmp_path)


def test_password_hashes_are_argon2id(tmp_path: Path) -> None:
    """As OWASP asks: 19 MiB, two passes; the secret is nowhere in the database."""

    async def scene(folder: Path) -> None:
        async with serving(folder) as server:
            accounts: Accounts = server.accounts
            await accounts.make("ann", "correct horse", 0.0)
            row = await asyncio.wrap_future(
                server.store.call(lambda db: db.execute("SELECT secret FROM accounts").fetchone())
            )
            assert row[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert b"correct horse" not in (folder / "chat.sqlite").read_bytes()

    play(scene, tmp_path)
