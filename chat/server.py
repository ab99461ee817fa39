"""The chat server: asyncio around the pure cores.

The loop of every connection is in chat/connection.py; this file carries out what the hub answers (chat/effects.py),
talks to the store's threads, sweeps the timers once a second, and starts, reloads and stops the whole. The contract:
it MUST acknowledge a message only after the store has answered, MUST show it to nobody before, MUST NOT wait in a
callback, and MUST NOT keep more than the configured bytes for anybody.
"""

import asyncio
import functools
import gc
import logging
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from chat import effects, log, metrics, tls, wire
from chat.accounts import Accounts, Ways
from chat.config import Config, fixed_changes
from chat.connection import BUSY, FLOOD, Connection
from chat.door import Door
from chat.errors import ChatError, ConfigError, Refusal, reason
from chat.fanout import Fanout, pause_s
from chat.files import Files
from chat.hub import Hub, Policy
from chat.posting import Posting
from chat.reading import Reading
from chat.reception import Reception
from chat.session import Rules, Session, State
from chat.store import Store
from chat.tls_listener import BACKLOG, TlsListener

SWEEP_S: Final = 1.0  # timers are this coarse; 5,000 connections cost about 3 ms a sweep
EXPIRE_S: Final = 3600.0  # between two rounds of retention
SWITCH_S: Final = 0.001  # the interpreter's switch interval: the writer thread waits no longer for a busy loop
LINGER_S: Final = 0.05  # at shutdown: what clients have under way is read and dropped, or their GOAWAY might be lost
FEATURES: Final = ["rooms", "direct", "history", "search", "edit", "files", "resume"]


class Server:
    """A server of one configuration: start(), then stop()."""

    def __init__(self, config: Config, reload: Callable[[], Config] | None = None) -> None:
        self.config = config
        self.counters = metrics.Counters()
        self.conns: dict[int, Connection] = {}
        self.port = 0
        self.metrics_port = -1
        self.loop: asyncio.AbstractEventLoop
        self._reload = reload
        self._next = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._ready = False
        self._expired = 0.0
        self._flushed = self._flush_took = 0.0
        self.pausing = False  # a flush is due, but not at once
        self.reception = Reception(self)
        self.reading = Reading(self)
        self.posting = Posting(self)
        self._do: dict[type[effects.Effect], Callable[[Any], None]] = {
            effects.Reply: self.reply,
            effects.ToRoom: self.to_room,
            effects.Enter: self.reading.enter,
            effects.Leave: self._leave,
            effects.Post: self.posting.post,
            effects.Save: self._save,
            effects.Read: self.reading.read,
            effects.Upload: self._upload,
            effects.Download: self._download,
            effects.Account: self.reception.account,
            effects.Close: self._close,
            effects.Delay: self._delay,
        }

    # --- start, reload, stop -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data folder, listen. Raises ConfigError, StoreError, OSError."""
        config = self.config
        self.loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH_S)
        self.store = Store(config.data, self.loop.call_soon_threadsafe)
        state = self.store.start()
        self.door = Door(config.limits, config.rates, config.server.exempt, state.bans)
        policy = Policy(config.server.open_rooms, config.history.days, config.history.messages)
        self.hub = Hub(config.limits, config.rates, config.timeouts, policy, self.door.exempt)
        self.hub.wall = time.time()
        self.hub.bans, self.hub.accounts, self.hub.operators = state.bans, state.accounts, state.operators
        for room in state.rooms:
            if self.posting.memory is not None:
                room.seq, room.oldest = 0, 1
            known = self.hub.rooms.get(room.name)
            if known is not None:
                room.number = known.number
                self.hub.rooms[room.name] = room
            else:
                self.hub.add_room(room)
        ways = Ways(config.server.guests, config.server.registration, config.server.unicode_names)
        self.accounts = Accounts(self.store, ways, state.accounts, state.operators)
        self.files = Files(self, config.data / "files")
        await self.files.load()
        self.fanout = Fanout(self._flush_soon, config.limits.ring_bytes)
        self._set_rules()
        self.fingerprint = ""
        self._ssl = self._context() if config.tls_on else None
        try:
            self._listener = await self._listen(config.server.host, config.server.port)
        except socket.gaierror as error:
            raise ConfigError(f"server.host {config.server.host}: {reason(error)}") from error
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)  # the loop's own text names the address again
            raise ConfigError(f"{config.server.host}:{config.server.port}: {why}") from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._page = metrics.Page(self._metrics, lambda: self._ready and not self._stopping)
        if config.metrics.port >= 0:
            self.metrics_port = await self._page.start(config.metrics.host, config.metrics.port)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        self._ready = True
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not walk it again

    async def stop(self, reason: str = "shutdown", retry_ms: int = 1000) -> None:
        """Accept nobody, finish what is on its way to the disk, tell everybody to come back, close."""
        self._stopping = True
        self._listener.close()
        self._page.stop()
        self._sweeper.cancel()
        end = self.loop.time() + self.config.timeouts.drain_s
        for conn in self.conns.values():
            conn.hold(BUSY)
        while self.posting.unstored and self.loop.time() < end:
            await asyncio.sleep(0.005)
        now = self.loop.time()
        for conn in list(self.conns.values()):
            conn.session.go_away(reason, retry_ms, now)
            self.push(conn)
            conn.let(conn.held)
        self.fanout.flush()
        await asyncio.sleep(LINGER_S)
        for conn in list(self.conns.values()):
            conn.transport.close()
        while self.conns and self.loop.time() < end:
            await asyncio.sleep(0.005)
        for conn in list(self.conns.values()):
            conn.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.accounts.stop()
        self.files.stop()
        await self.loop.run_in_executor(None, self.store.stop)
        log.event("stopped", reason=reason)

    async def _listen(self, host: str, port: int) -> asyncio.Server | TlsListener:
        if self._ssl is None:
            return await self.loop.create_server(functools.partial(Connection, self), host, port, backlog=BACKLOG)
        listener = TlsListener(self, self._ssl)
        await listener.start(host, port)
        return listener

    def reload(self) -> None:
        """SIGHUP: read the configuration and the certificate again. What is wrong is logged, and all stays as it was."""
        if self._reload is None:
            return
        try:
            config = self._reload()
            for name in fixed_changes(self.config, config):
                log.event("reload-needs-restart", logging.WARNING, key=name)
            if self._ssl is not None:
                self._ssl.load_cert_chain(*self._certificate(config))
        except (ChatError, OSError, ssl.SSLError) as error:
            log.event("reload-failed", logging.WARNING, error=str(error))
            return
        self.config = config
        policy = Policy(config.server.open_rooms, config.history.days, config.history.messages)
        self.hub.adjust(config.limits, config.rates, config.timeouts, policy)
        self.door.adjust(config.limits, config.rates, config.server.exempt)
        self.accounts.ways = Ways(config.server.guests, config.server.registration, config.server.unicode_names)
        self._set_rules()
        log.event("reloaded")

    def _set_rules(self) -> None:
        welcome = wire.Welcome(
            wire.VERSION, self.config.server.name, FEATURES, self.config.announced(), self.accounts.ways.mechanisms()
        )
        self._rules = Rules(wire.encode(welcome), self.config.timeouts)

    def _certificate(self, config: Config) -> tuple[Path, Path]:
        if config.tls.cert:
            return Path(config.tls.cert), Path(config.tls.key)
        return tls.ensure(config.data, [config.server.host])

    def _context(self) -> ssl.SSLContext:
        cert, key = self._certificate(self.config)
        self.fingerprint = tls.fingerprint(cert)
        log.event("certificate", fingerprint=self.fingerprint, file=str(cert))
        if self.config.tls.keylog:
            log.event(
                "keylog-is-on",
                logging.WARNING,
                file=self.config.tls.keylog,
                note="whoever has this file reads everything",
            )
        return tls.context(cert, key, self.config.tls.keylog)

    # --- connections -----------------------------------------------------------------------------------------------------

    def connected(self, conn: Connection) -> None:
        """A new connection: a session for it, or the door."""
        self._next += 1
        conn.id = self._next
        now = self.loop.time()
        conn.session = Session(self._rules, now)
        self.conns[conn.id] = conn
        self.counters.connections += 1
        try:
            if self._stopping:
                raise Refusal("full", "the server stops", 1000)
            self.door.admit(conn.address, now, self.hub.wall)
            conn.admitted = True
        except Refusal as no:
            self.counters.refused += 1
            conn.session.close(no.code, no.text, now, no.retry_ms)
            self.push(conn)

    def disconnected(self, conn: Connection) -> None:
        """A connection is gone."""
        now = self.loop.time()
        seat = self.hub.seats.get(conn.id)
        numbers = [room.number for room in seat.rooms.values()] if seat else []
        self.fanout.forget(conn, numbers)
        if conn.peer is not None:
            self.files.lost(conn)
        del self.conns[conn.id]
        if conn.admitted:
            self.door.release(conn.address, conn.logged_in)
        self._apply(self.hub.drop(conn.id, now, for_good=conn.session.reason == "left"))
        if conn.session.reason == "timeout":
            self.counters.timeouts += 1
        if seat is not None:
            self.log("disconnect", conn, user=seat.user.name, reason=conn.session.reason or "closed")

    def take(self, conn: Connection, body: wire.Body, now: float) -> None:
        """Act on a body that the session let through."""
        if conn.session.state is State.OPEN:
            self._apply(self.hub.handle(conn.id, body, now))
        elif isinstance(body, wire.Auth):
            self.reception.login(conn, body)
        elif isinstance(body, wire.Hello):
            if self.files.claim(conn, body.transfer, now):
                conn.logged_in = True
                self.door.logged_in()
            else:
                conn.session.close("bad-token", "no such transfer", now)

    def push(self, conn: Connection) -> None:
        """Send what the session has queued; close behind it if it is closing."""
        out = conn.session.data_to_send()
        if out and not conn.gone and not conn.quiet:
            self.fanout.send(conn, out)
        if conn.session.state is State.CLOSING and conn.session.reason != "goaway" and not conn.gone:
            self.loop.call_soon(self._hang_up, conn)

    def _hang_up(self, conn: Connection) -> None:
        """Close behind the last frames. Our side ends first and what still comes is dropped: closing with unread bytes
        would reset the connection and take the ERROR with it. The sweep aborts who does not end its side."""
        if conn.gone:
            return
        self.fanout.flush()
        if self._ssl is None:
            conn.let(conn.held)
            conn.end_output()
        else:
            conn.transport.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that belongs to the server; a mistake in it is logged, not lost."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            assert error is not None
            log.failure("task-failed", error)

    def log(self, event: str, conn: Connection, **fields: Any) -> None:
        if self.config.server.log_addresses:
            fields["address"] = conn.address
        log.event(event, conn=conn.id, **fields)

    # --- slow readers ----------------------------------------------------------------------------------------------------

    def paused(self, conn: Connection) -> None:
        """Its buffer is full."""
        seat = self.hub.seats.get(conn.id)
        self.fanout.pause(conn, [room.number for room in seat.rooms.values()] if seat else [])
        self.counters.slow_pauses += 1

    def resumed(self, conn: Connection) -> None:
        """Its buffer has room: replay from the rings, or say exactly what is missing."""
        lags, conn.lags = conn.lags, None
        if conn.gone or not lags:
            return
        for number, after in lags.items():
            channel = self.fanout.channels.get(number)
            missing = self.fanout.attach(conn, number, after) if channel else None
            if channel is None or missing is None:
                continue
            self.counters.slow_gaps += 1
            self.fanout.send(conn, wire.encode(wire.Gap(channel.name, *missing, "slow"), number))
            self.fanout.attach(conn, number, missing[1])

    def stalled(self, conn: Connection) -> None:
        """It has not read for too long."""
        conn.stall = None
        conn.session.reason = "stalled"
        self.counters.stalled += 1
        self.log("stalled", conn)
        conn.abort()

    # --- effects -------------------------------------------------------------------------------------------------------------

    def _apply(self, wanted: list[effects.Effect]) -> None:
        for effect in wanted:
            self._do[type(effect)](effect)

    def reply(self, effect: effects.Reply) -> None:
        conn = self.conns.get(effect.conn)
        if conn is not None and not conn.gone:
            body = effect.body
            if type(body) is wire.Error:
                self.counters.errors += 1
                self.counters.floods += body.code == "flood"
            channel = body.channel if type(body) is wire.Joined else 0
            self.fanout.send(conn, wire.encode(body, channel))

    def to_room(self, effect: effects.ToRoom) -> None:
        self.fanout.post(effect.number, wire.encode(effect.body, effect.number), effect.seq)

    def _leave(self, effect: effects.Leave) -> None:
        conn = self.conns.get(effect.conn)
        if conn is not None:
            self.fanout.detach(conn, effect.number)

    def announce(self, room: str, body: wire.Body) -> None:
        """A frame to a room that history does not know."""
        if room in self.hub.rooms:
            self.to_room(effects.ToRoom(self.hub.rooms[room].number, body))

    def save(self, what: str, args: tuple[Any, ...]) -> None:
        """Keep a change of state."""
        self._save(effects.Save(what, args))

    @property
    def plain(self) -> bool:
        """True without TLS: files may go from disk to socket by themselves."""
        return self._ssl is None

    def _flush_soon(self) -> None:
        wait = pause_s(self._flushed, self._flush_took, time.perf_counter())
        if wait:
            self.pausing = True
            self.loop.call_later(wait, self._flush)
        else:
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        begun = time.perf_counter()
        self.pausing = False
        self.fanout.flush()
        self._flushed = time.perf_counter()
        self._flush_took = self._flushed - begun
        if not self._stopping:
            self.posting.flushed()

    def _save(self, effect: effects.Save) -> None:
        if effect.what == "remove_room" and self.posting.memory is not None:
            self.posting.memory.forget(effect.args[0])
        self.store.save(effect.what, effect.args).add_done_callback(_log_save)

    def _close(self, effect: effects.Close) -> None:
        self.close(effect.conn, effect.code, effect.text)

    def close(self, number: int, code: str, text: str) -> None:
        """Close a connection with ERROR."""
        conn = self.conns.get(number)
        if conn is not None and not conn.gone:
            conn.session.close(code, text, self.loop.time())
            self.push(conn)

    def _delay(self, effect: effects.Delay) -> None:
        """Stop reading from a fast sender for a while."""
        conn = self.conns.get(effect.conn)
        if conn is not None and effect.seconds > 0:
            if not conn.held & FLOOD:
                self.loop.call_later(effect.seconds, conn.let, FLOOD)
            conn.hold(FLOOD)

    # --- files -----------------------------------------------------------------------------------------------------------------

    def _upload(self, effect: effects.Upload) -> None:
        self.spawn(self.answer(effect.conn, effect.ask.ref, self.files.offer(effect)))

    def _download(self, effect: effects.Download) -> None:
        self.spawn(self.answer(effect.conn, effect.ask.ref, self.files.fetch(effect)))

    async def answer(self, conn: int, ref: str, work: Coroutine[Any, Any, wire.Body]) -> None:
        """Reply with what the work gives, or with its refusal."""
        try:
            answer = await work
        except Refusal as no:
            answer = wire.Error(no.code, no.text, ref=ref, retry_ms=no.retry_ms)
        self.reply(effects.Reply(conn, answer))

    # --- timers ------------------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Once a second: time-outs, presence, retention."""
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        now = self.loop.time()
        self.hub.wall = time.time()
        for conn in list(self.conns.values()):
            if conn.session.tick(now):
                conn.abort()
            else:
                self.push_waiting(conn)
        self._apply(self.hub.tick(now))
        if now - self._expired > EXPIRE_S:
            self._expired = now
            self.spawn(self._expire())

    def push_waiting(self, conn: Connection) -> None:
        """Send what a tick has queued, if it has."""
        if conn.session.has_output:
            self.push(conn)

    async def _expire(self) -> None:
        """Retention: days and counts of each room, old sessions."""
        self._save(effects.Save("expire_sessions", (self.hub.wall,)))
        await self.files.expire()
        if self.posting.memory is not None:
            return
        for room in list(self.hub.rooms.values()):
            keep = await asyncio.wrap_future(
                self.store.keep_from(room.name, room.history_days, room.history_messages, self.hub.wall)
            )
            if keep > room.oldest:
                room.oldest = keep
                self._save(effects.Save("expire", (room.name, keep)))

    def _metrics(self) -> str:
        self.counters.deliveries = self.fanout.deliveries
        self.counters.writes = self.fanout.writes
        self.counters.commits = self.store.commits
        gauges = {
            "connected": len(self.conns),
            "users": len(self.hub.users),
            "rooms": len(self.hub.rooms),
            "unstored": self.posting.unstored,
            "passwords_waiting": self.accounts.busy,
            "ready": float(self._ready and not self._stopping),
        }
        return metrics.exposition(self.counters, gauges)


def _log_save(future: Any) -> None:
    if not future.cancelled() and future.exception() is not None:
        log.failure("save-failed", future.exception())
