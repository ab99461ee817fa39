"""Logins and account commands: where connections become users.

AUTH is verified by chat/accounts.py, the name is seated by the hub; ADMIN commands about accounts, tokens, the audit log
and files come here after chat/commands.py has allowed them. What a user wrote in AUTH is never logged but for the
mechanism.
"""

import asyncio
import functools
import time
from typing import TYPE_CHECKING

from chat import effects, wire
from chat.accounts import Identity
from chat.connection import Connection
from chat.errors import Refusal
from chat.rooms import RANK, User
from chat.session import State

if TYPE_CHECKING:
    from chat.server import Server

AUDIT_ROWS = 500  # of one answer
GUESSABLE = {"password", "register"}
INVITE_S = 7 * 86_400  # an invitation that names no time is good for a week


class Reception:
    """Speaks for the server to those who come in, and to operators."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def login(self, conn: Connection, auth: wire.Auth) -> None:
        """An AUTH has come: verify it beside the loop."""
        self._server.spawn(self._login(conn, auth))

    def account(self, effect: effects.Account) -> None:
        """An account command that is allowed."""
        self._server.spawn(self._server.answer(effect.conn, effect.ask.ref, self._run(effect)))

    async def _login(self, conn: Connection, auth: wire.Auth) -> None:
        """Verify an AUTH and seat the connection."""
        try:
            who = await self._verify(conn, auth)
            if conn.gone or conn.session.state is not State.CHECKING:
                return
            self._refuse_banned(who, conn)
            user = User(who.name, who.guest, who.operator, conn.address)
            self._server.hub.login(conn.id, user, self._server.loop.time(), who.returning)
        except Refusal as no:
            self._refuse_login(conn, auth, no)
            return
        token = await self._server.accounts.open_session(
            who, self._server.hub.wall + self._server.config.timeouts.session_s
        )
        conn.logged_in = True
        conn.bound_send_buffer()
        self._server.door.logged_in()
        self._server.counters.logins += 1
        roles = ["operator"] if who.operator else []
        conn.session.accept(wire.AuthOk(who.name, token, roles, who.guest), self._server.loop.time())
        self._server.push(conn)
        self._server.log("login", conn, user=who.name, mechanism=auth.mechanism)

    async def _verify(self, conn: Connection, auth: wire.Auth) -> Identity:
        """The identity behind an AUTH. Secrets that a person chose are guessed at a rate; tokens cannot be guessed."""
        server = self._server
        if auth.mechanism not in GUESSABLE:
            return await server.accounts.verify(auth, server.hub.wall)
        account = auth.user.lower() if auth.mechanism == "password" else ""
        server.door.try_secret(conn.address, account, server.loop.time())
        try:
            who = await server.accounts.verify(auth, server.hub.wall)
        except Refusal as no:
            if no.code != "auth-failed":
                server.door.secret_was_right(conn.address, account)
            raise
        server.door.secret_was_right(conn.address, account)
        return who

    def _refuse_banned(self, who: Identity, conn: Connection) -> None:
        if not who.operator and any(
            ban.holds(who.name, conn.address, self._server.hub.wall) for ban in self._server.hub.bans
        ):
            raise Refusal("banned", "banned from this server")

    def _refuse_login(self, conn: Connection, auth: wire.Auth, no: Refusal) -> None:
        now = self._server.loop.time()
        self._server.counters.login_failures += 1
        self._server.log("login-refused", conn, mechanism=auth.mechanism, code=no.code)
        if conn.gone or conn.session.state is not State.CHECKING:
            return
        conn.session.refuse(no.code, no.text, now, no.retry_ms)
        self._server.push(conn)

    async def _run(self, effect: effects.Account) -> wire.Body:
        """Carry it out; into the audit log with it."""
        ask = effect.ask
        text, rows = await self._account_action(effect)
        if ask.action != "audit":
            self._server.save("audit", (time.time(), effect.by, ask.action, ask.room, ask.target, ask.text))
        return wire.AdminResult(ask.action, ask.ref, True, text, rows)

    async def _account_action(self, effect: effects.Account) -> tuple[str, list[dict[str, str]]]:
        ask, accounts, wall = effect.ask, self._server.accounts, time.time()
        target = ask.target.lower()
        if ask.action == "account":
            await accounts.make(target, ask.value, wall)
        elif ask.action in {"suspend", "restore"}:
            await accounts.suspend(target, ask.action == "suspend")
            if ask.action == "suspend":
                self._end_sessions(target, "suspended")
        elif ask.action == "operator":
            await accounts.set_operator(target, ask.value == "1")
            if target in self._server.hub.users and not self._server.hub.users[target].guest:
                self._server.hub.users[target].operator = ask.value == "1"
        elif ask.action == "password":
            await accounts.set_password(effect.by, ask.value)
            self._end_sessions(effect.by, "password changed", but=effect.conn)
        elif ask.action == "bot-token":
            return await accounts.bot_token(target or effect.by), []
        elif ask.action == "invite-token":
            uses = int(ask.value) if ask.value.isdecimal() and len(ask.value) < 7 else 1
            return await accounts.invite_token(effect.by, uses, wall + (ask.seconds or INVITE_S)), []
        elif ask.action == "remove-file":
            await self._server.files.remove(ask.target, functools.partial(self._may_remove, effect.by))
        elif ask.action == "audit":
            return "", await self._audit(ask)
        return "", []

    async def _audit(self, ask: wire.Admin) -> list[dict[str, str]]:
        count = min(AUDIT_ROWS, int(ask.value)) if ask.value.isdecimal() and len(ask.value) < 7 else 100
        sql = "SELECT ts, actor, action, room, target, text FROM audit WHERE ? IN ('', room) ORDER BY id DESC LIMIT ?"
        rows = await asyncio.wrap_future(
            self._server.store.call(lambda db: db.execute(sql, (ask.room, count)).fetchall())
        )
        names = ("ts", "actor", "action", "room", "target", "text")
        return [dict(zip(names, map(str, row), strict=True)) for row in rows]

    def _may_remove(self, by: str, room_name: str, owner: str) -> bool:
        """Who sent a file and who keeps order in its room may remove it."""
        user, room = self._server.hub.users.get(by), self._server.hub.rooms.get(room_name)
        if user is None:
            return False
        own = owner == (f"{by}@{user.address}" if user.guest else by)
        return own or (room is not None and not room.direct and room.rank(user) >= RANK["moderator"])

    def _end_sessions(self, name: str, text: str, but: int = 0) -> None:
        self._server.files.cut(name)
        user = self._server.hub.users.get(name)
        for conn in list(user.seats) if user else []:
            if conn != but:
                self._server.close(conn, "suspended", text)
