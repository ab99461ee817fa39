"""The chat as a library: connect, join, talk, send and fetch files, over a line that may break at any moment.

    async with Client("alice", rooms=["lobby"]) as chat:
        await chat.send("lobby", "hello")                 # returns when the message is on the server's disk
        async for event in chat:                          # Message, Joined, Presence, Gap ... of chat.events
            print(event)

What the caller may rely on: every message of a joined room exactly once and in order by (room, seq), over reconnects, slow
spells and server restarts, or a Gap that says which are gone; a `send` that returned is on disk, one that was cut is sent again
under the same id; at most EVENTS_LIMIT events wait for a slow caller, the rest waits in the server's history. Events are safe
to print (`chat.events`). It must not draw, print or read a keyboard, and knows nothing of the server's insides.
"""

import asyncio
import contextlib
import random
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from chat import events, sharing, wire
from chat.cursor import Cursor, Lost
from chat.events import Event, File, Message
from chat.link import Address, Link, LinkError, Login, RefusedError, check_body, log_in, open_link
from chat.safe_text import safe_name

EVENTS_LIMIT: Final = 10_000  # events waiting for the caller: some seconds of the busiest room
ANSWER_S: Final = 30.0  # a request without an answer for so long is asked again, or given up
RETRY_FIRST_S: Final = 0.25  # before the first try to reconnect, doubling from there
RETRY_MOST_S: Final = 15.0
REFUSALS: Final = 5  # "name taken" and "busy" after a break: the old connection may not have been noticed yet

FATAL: Final = frozenset(
    {"auth-failed", "banned", "suspended", "bad-name", "bad-version", "bad-token"}
)  # no use trying again
GONE: Final = frozenset(
    {"banned", "private", "no-room", "no-user", "not-member", "room-full", "too-many-rooms"}
)  # from a room

Answer = TypeVar("Answer", bound=wire.Body)


@dataclass(frozen=True, slots=True)
class _Joining:
    """The JOIN that waits for its answer; there is one at a time."""

    room: str
    answer: asyncio.Future[wire.Body]
    after: int | None


class Client:
    """One person's session. Use as `async with`; iterate for events; all other methods may be called from any task."""

    def __init__(
        self,
        user: str | Login,
        address: Address | None = None,
        rooms: Sequence[str] = (),
        patience_s: float = 0.0,
        jitter: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """`rooms` are joined at the start. `patience_s`: how long the very first connection may be tried for. `new_id` makes
        the ids of messages, which all members see; they must never repeat."""
        self.login = user if isinstance(user, Login) else Login(user)
        self.address = address or Address()
        self.account = self.login.user
        self.limits: wire.Limits | None = None
        self._first_rooms = list(rooms)
        self._patience_s, self._jitter, self._new_id = patience_s, jitter, new_id
        self._cursors: dict[str, Cursor] = {}  # by the room's canonical name: the rooms we are in
        self._wire_names: dict[str, str] = {}  # as shown -> as the server says it
        self._waiting: dict[str, asyncio.Future[wire.Body]] = {}  # by ref or message id
        self._unsent: dict[str, wire.Send] = {}  # sent or not, but without an ACK; in order
        self._joining: _Joining | None = None
        self._join_turn = asyncio.Lock()
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._inbox: deque[Event] = deque()
        self._news = asyncio.Event()
        self._online = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._link: Link | None = None
        self._files = sharing.Sharing(self.address, self._ask, jitter)
        self._session = ""
        self._failure: Exception | None = None
        self._closing = False
        self._run_task: asyncio.Task[None] | None = None

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, log in and join the first rooms. LinkError, TrustError or RefusedError if that cannot be done."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        retry_s = RETRY_FIRST_S
        while True:
            try:
                await self._connect()
                break
            except (LinkError, RefusedError) as error:
                now = asyncio.get_running_loop().time()
                fatal = isinstance(error, RefusedError) and error.code in FATAL
                if fatal or now + retry_s > deadline:
                    raise
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 1.5, 2.0)
        self._run_task = asyncio.create_task(self._run())
        try:
            for room in self._first_rooms:
                await self.join(room)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave. Messages without an ACK are given up; iteration ends."""
        self._closing = True
        tasks = [task for task in (self._run_task, *self._filling.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._link is not None:
            self._link.send(wire.Goaway("left"))
            await self._link.close()
        self._give_up(LinkError("the client was closed"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event. Ends after `close`; raises the reason if the server will not have us back."""
        while not self._inbox:
            if self._failure is not None and not self._closing:
                raise self._failure
            if self._closing or self._failure is not None:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        event = self._inbox.popleft()
        if len(self._inbox) == EVENTS_LIMIT // 2:
            self._fill_all()
        return event

    @property
    def online(self) -> bool:
        """Whether there is a connection just now."""
        return self._online.is_set()

    @property
    def rooms(self) -> list[str]:
        """The rooms we are in, as shown."""
        return [safe_name(room) for room in self._cursors]

    def drop(self) -> None:
        """Cut all lines without a word, as a broken cable would; the client reconnects by itself. For tests and the lab."""
        for link in (self._link, *self._files.links):
            if link is not None:
                link.abort()

    async def stop_reading(self, seconds: float) -> None:
        """Take nothing from the line for a while, as a stuck program would. For tests and the lab."""
        self._may_read.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._may_read.set()

    # --- rooms and messages --------------------------------------------------------------------------------------

    async def join(self, room: str, after: int | None = None) -> events.Joined:
        """Enter a room (`@name` for a direct conversation). With `after`, messages since that seq come as events first."""
        check_body(wire.Join(room, after), self.limits)
        async with self._join_turn:
            while True:
                link = await self._connected()
                future: asyncio.Future[wire.Body] = asyncio.get_running_loop().create_future()
                self._joining = _Joining(room.lstrip("#").casefold(), future, after)
                try:
                    link.send(wire.Join(room, after))
                    body = await self._answered(future)
                except LinkError:
                    continue
                finally:
                    self._joining = None
                assert isinstance(body, wire.Joined)
                return events.joined(body, again=False)

    async def part(self, room: str) -> None:
        """Leave a room."""
        body = wire.Part(self._wire_name(room))
        check_body(body, self.limits)
        (await self._connected()).send(body)

    async def send(self, room: str, text: str, edits: int = 0, deletes: int = 0) -> wire.Ack:
        """Say something; returns when it is on the server's disk. Over a broken line it is sent again under the same id, and
        is there once. RefusedError if the server does not take it."""
        body = wire.Send(self._wire_name(room), self._new_id(), text, edits, deletes)
        check_body(body, self.limits)
        while True:
            try:
                return await self._send_once(body)
            except RefusedError as error:
                if error.code != "flood" or not error.retry_s:
                    raise
                await asyncio.sleep(error.retry_s)

    async def _send_once(self, body: wire.Send) -> wire.Ack:
        """Send now, or when there is a line again, until it is acknowledged or refused."""
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[wire.Body] = asyncio.get_running_loop().create_future()
        self._waiting[body.id], self._unsent[body.id] = future, body
        try:
            if self._link is not None and self.online:
                self._link.send(body)
                await self._drain(self._link)
            while not future.done():
                done, _ = await asyncio.wait([future], timeout=ANSWER_S)
                if not done and self.online:
                    self.drop()  # a server that says nothing for so long is gone, whatever its kernel says
            answer = future.result()
            assert isinstance(answer, wire.Ack)
            return answer
        finally:
            del self._waiting[body.id], self._unsent[body.id]

    async def history(
        self, room: str = "", before: int | None = None, after: int | None = None, limit: int = 50, query: str = ""
    ) -> tuple[list[Message], bool]:
        """A page of old messages, oldest first, and whether there are more. `query` searches; see docs/wire.md."""
        page = await self._ask(
            lambda ref: wire.History(self._wire_name(room), before, after, limit, query, ref), wire.HistoryPage
        )
        return [events.message(one) for one in page.messages], page.more

    async def ask_members(self, room: str) -> None:
        """Have the member list come as an event."""
        (await self._connected()).send(wire.MembersAsk(self._wire_name(room)))

    async def admin(self, action: str, **fields: str | int) -> wire.AdminResult:
        """Run a command of the table ADMIN in docs/wire.md. Not repeated over a broken line: LinkError then."""
        ref = uuid.uuid4().hex
        shown = {
            key: self._wire_name(value) if key == "room" and isinstance(value, str) else value
            for key, value in fields.items()
        }
        answer = await self._ask_once(wire.Admin(action, ref, **shown), ref)  # type: ignore[arg-type]
        assert isinstance(answer, wire.AdminResult)
        return answer

    # --- files ---------------------------------------------------------------------------------------------------

    async def send_file(self, room: str, path: Path, progress: sharing.Progress = sharing.no_progress) -> wire.FileRef:
        """Offer and upload a file; returns when the server has verified it. Goes on after any break where it stopped.

        TransferError if it cannot be read, RefusedError if the server does not take it.
        """
        return await self._files.send(self._wire_name(room), path, progress)

    async def fetch(self, file: File, folder: Path, progress: sharing.Progress = sharing.no_progress) -> Path:
        """Receive a file into `folder`; the path of the verified file. Goes on after any break where it stopped.

        DownloadError if it cannot be saved or is not what was announced, RefusedError if the server does not give it.
        """
        return await self._files.fetch(file, folder, progress)

    # --- connection ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Read until the line breaks, connect again, for ever; ends with `_failure` set when there is no use."""
        while True:
            reason, retry_s, link = "", 0.0, self._link
            assert link is not None
            try:
                retry_s = await self._read(link)
            except LinkError as error:
                reason = str(error)
            self._online.clear()
            link.abort()
            self._fail_waiting(LinkError(reason or "the server went away"))
            try:
                await self._reconnect(reason or "the server went away for a moment", retry_s)
            except Exception as error:  # a bug must end the iteration with its traceback, not leave the caller waiting
                self._put(events.Disconnected(safe_name(str(error)), None))
                self._give_up(error)
                return

    async def _read(self, link: Link) -> float:
        """Act on frames until GOAWAY; its delay in seconds. LinkError when the line breaks."""
        silent_s = max(link.limits.dead_s, link.limits.ping_s * 2, 1.0)
        while True:
            await self._may_read.wait()
            body = await link.receive(silent_s)
            if isinstance(body, wire.Goaway):
                link.abort()
                return body.retry_ms / 1000
            self._handle(link, body)

    async def _reconnect(self, reason: str, retry_s: float) -> None:
        wait_s, refused = RETRY_FIRST_S, 0
        while True:
            delay_s = (
                retry_s + wait_s * self._jitter()
            )  # full jitter: a restarted server is not met by everybody at once
            self._put(events.Disconnected(reason, delay_s))
            await asyncio.sleep(delay_s)
            try:
                await self._connect()
                return
            except LinkError as error:
                reason, retry_s = str(error), 0.0
            except RefusedError as error:
                refused += 1
                if error.code in FATAL or (error.code == "name-taken" and refused > REFUSALS):
                    raise
                reason, retry_s = str(error), error.retry_s
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    async def _connect(self) -> None:
        """Connect, log in, take up the rooms and the unacknowledged messages again."""
        link = await open_link(self.address)
        try:
            login = await self._authenticate(link)
        except BaseException:
            link.abort()
            raise
        again = self._run_task is not None
        self.limits, self.account, self._session, self._link = (
            link.limits,
            safe_name(login.account),
            login.session,
            link,
        )
        self._put(events.Connected(self.account, safe_name(link.welcome.server), login.guest, again))
        if self._cursors:
            link.send(
                wire.Resume([wire.RoomSeq(room, cursor.last) for room, cursor in self._cursors.items()], login.session)
            )
        for body in self._unsent.values():
            link.send(body)
        self._online.set()

    async def _authenticate(self, link: Link) -> wire.AuthOk:
        """By the session of last time, else as the login says."""
        if self._session:
            session, self._session = self._session, ""
            with contextlib.suppress(RefusedError):
                return await log_in(link, Login(self.login.user, "session", session))
        return await log_in(link, self.login)

    # --- frames --------------------------------------------------------------------------------------------------

    def _handle(self, link: Link, body: wire.Body) -> None:
        """One frame of an open session."""
        match body:
            case wire.Msg():
                self._message(body)
            case wire.Ack(id=ref) | wire.HistoryPage(ref=ref) | wire.Accept(ref=ref) | wire.AdminResult(ref=ref):
                self._resolve(ref, body)
            case wire.Joined():
                self._joined(body)
            case wire.Gap():
                self._gap(body)
            case wire.Error():
                self._error(body)
            case wire.Ping():
                link.send(wire.Pong(body.nonce))
            case wire.Parted():
                self._cursors.pop(body.room, None)
                self._put(events.event_of(body))
            case _:
                self._put(events.event_of(body))

    def _message(self, body: wire.Msg) -> None:
        cursor = self._cursors.get(body.room)
        if cursor is None:
            return  # left meanwhile
        if len(self._inbox) >= EVENTS_LIMIT:
            cursor.note(body.seq)
            return
        for message in cursor.live(body):
            self._put(events.message(message))
        if cursor.behind:
            self._fill(body.room)

    def _joined(self, body: wire.Joined) -> None:
        cursor = self._cursors.get(body.room)
        again = cursor is not None
        self._wire_names[safe_name(body.room)] = body.room
        asked = self._joining if self._joining is not None and _is_answer(self._joining.room, body.room) else None
        if cursor is None:
            after = asked.after if asked is not None else None
            self._cursors[body.room] = Cursor(body.seq if after is None else min(after, body.seq))
        elif cursor.last > body.seq:
            cursor.restart(body.seq)
        self._put(events.joined(body, again))
        if asked is not None:
            _settle(asked.answer, body)

    def _gap(self, body: wire.Gap) -> None:
        """Messages that do not come by themselves: fetch them; what history lacks becomes a Gap event."""
        cursor = self._cursors.get(body.room)
        if cursor is not None:
            cursor.note(body.last)
            self._fill(body.room)

    def _error(self, body: wire.Error) -> None:
        error = RefusedError(body.code, body.text, body.retry_ms / 1000)
        future = self._waiting.get(body.ref)
        if future is None and body.code in GONE and self._cursors.pop(body.ref, None) is not None:
            self._put(
                events.Left(safe_name(body.ref), error.code, error.text)
            )  # RESUME, but not into this room any more
            return
        if future is None and self._joining is not None and _is_join(body.ref, self._joining.room):
            future = self._joining.answer
        if future is None or future.done():
            self._put(events.event_of(body))
        else:
            future.set_exception(error)

    # --- history after a gap ---------------------------------------------------------------------------------------

    def _fill_all(self) -> None:
        for room, cursor in self._cursors.items():
            if cursor.behind:
                self._fill(room)

    def _fill(self, room: str) -> None:
        """Have one task a room fetch what is missing."""
        if room not in self._filling:
            task = self._filling[room] = asyncio.create_task(self._fill_room(room))
            task.add_done_callback(lambda _: self._filling.pop(room, None))

    async def _fill_room(self, room: str) -> None:
        while (cursor := self._cursors.get(room)) is not None and cursor.behind and len(self._inbox) < EVENTS_LIMIT:
            asked = cursor.known
            try:
                page = await self._page_after(room, cursor.last)
            except (LinkError, RefusedError) as error:
                self._put(events.Failure("history", f"{safe_name(room)}: {error}"))
                return
            for one in cursor.page(page.messages, page.more, asked):
                self._put(_gone(room, one) if isinstance(one, Lost) else events.message(one))

    async def _page_after(self, room: str, last: int) -> wire.HistoryPage:
        limit = self.limits.history_page if self.limits else 50
        return await self._ask(lambda ref: wire.History(room, None, last, limit, "", ref), wire.HistoryPage)

    # --- requests --------------------------------------------------------------------------------------------------

    async def _ask(self, request: Callable[[str], wire.Body], kind: type[Answer]) -> Answer:
        """Ask until there is an answer: over breaks, and after the pause that `flood` asks for. For requests that may be repeated."""
        tries = 0
        while True:
            ref = uuid.uuid4().hex
            try:
                answer = await self._ask_once(request(ref), ref)
            except LinkError:
                tries += 1
                if self._failure is not None or self._closing or tries > REFUSALS:
                    raise
                continue
            except RefusedError as error:
                if error.code not in ("flood", "busy") or not error.retry_s:
                    raise
                await asyncio.sleep(error.retry_s)
                continue
            if not isinstance(answer, kind):
                raise LinkError(f"got {type(answer).__name__} as the answer, expected {kind.__name__}")
            return answer

    async def _ask_once(self, body: wire.Body, ref: str) -> wire.Body:
        check_body(body, self.limits)
        link = await self._connected()
        future: asyncio.Future[wire.Body] = asyncio.get_running_loop().create_future()
        self._waiting[ref] = future
        try:
            link.send(body)
            return await self._answered(future)
        finally:
            self._waiting.pop(ref, None)

    async def _answered(self, future: asyncio.Future[wire.Body]) -> wire.Body:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await future
        except TimeoutError:
            raise LinkError(f"no answer within {ANSWER_S:.0f} s") from None

    async def _connected(self) -> Link:
        """Wait for the connection. LinkError when there will be none."""
        if self._failure is not None:
            raise self._failure
        await self._online.wait()
        if self._failure is not None:
            raise self._failure
        assert self._link is not None
        return self._link

    async def _drain(self, link: Link) -> None:
        with contextlib.suppress(LinkError):  # the reader notices and the message is sent again
            await link.drain()

    def _wire_name(self, room: str) -> str:
        return self._wire_names.get(room, room)

    def _resolve(self, ref: str, body: wire.Body) -> None:
        future = self._waiting.get(ref)
        if future is not None:
            _settle(future, body)

    def _fail_waiting(self, error: Exception, messages: bool = False) -> None:
        """Requests end with the line; messages wait for the next one."""
        futures = [future for ref, future in self._waiting.items() if messages or ref not in self._unsent]
        if self._joining is not None:
            futures.append(self._joining.answer)
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def _give_up(self, error: Exception) -> None:
        """No connection will come any more: whoever waits is told."""
        self._failure = error
        self._fail_waiting(error, messages=True)
        self._online.set()  # wakes who waits in _connected
        self._news.set()

    def _put(self, event: Event | None) -> None:
        """Hand an event over; one that can be missed is dropped when the caller is far behind."""
        if event is None or (len(self._inbox) >= EVENTS_LIMIT and isinstance(event, events.Presence)):
            return
        self._inbox.append(event)
        self._news.set()


def _gone(room: str, lost: Lost) -> events.Gap:
    return events.Gap(safe_name(room), lost.first, lost.last, "retention")


def _settle(future: asyncio.Future[wire.Body], body: wire.Body) -> None:
    if not future.done():
        future.set_result(body)


def _is_answer(asked: str, room: str) -> bool:
    """Whether JOIN for `asked` is answered by JOIN of `room`: a direct conversation is asked for as `@name`."""
    return asked == room.casefold() or (asked.startswith("@") and room.startswith("@"))


def _is_join(ref: str, room: str) -> bool:
    return ref.casefold().lstrip("#") in ("join", room)
