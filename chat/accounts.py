"""Who somebody is: passwords (argon2id), bot tokens, invitations, sessions.

A password costs about 0.15 s of a core, so it is checked in a small pool of threads with a bounded queue: a flood of
logins meets "busy" and the chat stays quick. An unknown name costs the same time as a wrong password and gets the same
answer. Tokens are 256 random bits; only their digest is stored.
"""

import asyncio
import os
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import argon2

from chat import wire
from chat.errors import Refusal
from chat.limits import check_name, skeleton
from chat.store import Store, digest

T = TypeVar("T")

QUEUE: Final = 32  # passwords waiting: beyond it "busy"; about 5 s of work for one core
PASSWORD_MIN: Final = 8  # characters (NIST SP 800-63B)
PASSWORD_MAX: Final = 256
WRONG: Final = "unknown name or wrong secret"


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified login."""

    name: str
    guest: bool
    operator: bool = False
    returning: bool = False  # showed a session token


@dataclass(frozen=True, slots=True)
class Ways:
    """Which ways in are open: the mechanisms of WELCOME follow from it."""

    guests: bool = True
    registration: str = "off"  # off, token, open
    unicode_names: bool = False

    def mechanisms(self) -> list[str]:
        """As announced."""
        found = ["guest"] if self.guests else []
        return [*found, "password", "token", "session", *(["register"] if self.registration != "off" else [])]


class Accounts:
    """Verifies logins and carries out account commands. All methods run on the event loop; hashing does not."""

    def __init__(
        self,
        store: Store,
        ways: Ways,
        names: set[str],
        operators: set[str],
        hasher: argon2.PasswordHasher | None = None,
    ) -> None:
        self.names = names
        self.operators = operators
        self.ways = ways
        self.busy = 0
        self._looks = {skeleton(name): name for name in names}
        self._store = store
        self._hasher = hasher or argon2.PasswordHasher(
            time_cost=2, memory_cost=19 << 10, parallelism=1
        )  # OWASP's choice
        self._dummy = self._hasher.hash(secrets.token_hex())
        self._pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), thread_name_prefix="argon2")

    def stop(self) -> None:
        """Forget what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def guest(self, raw: str) -> Identity:
        """A name is enough, if nobody has an account of that name. Raises Refusal."""
        if not self.ways.guests:
            raise Refusal("auth-failed", "guests are not let in here")
        name = check_name(raw, self.ways.unicode_names)
        if name in self.names:
            raise Refusal("name-taken", "this name has an account, it needs its secret")
        if skeleton(name) in self._looks:
            raise Refusal("name-taken", "an account has a name that looks like this one")
        return Identity(name, guest=True)

    async def verify(self, auth: wire.Auth, now: float) -> Identity:
        """The identity behind an AUTH. `now`: time of day. Raises Refusal auth-failed, bad-name, busy, suspended."""
        if auth.mechanism == "guest":
            return self.guest(auth.user)
        if auth.mechanism == "session":
            return await self._session(auth.session, now)
        if auth.mechanism == "password":
            return await self._password(auth)
        if auth.mechanism == "token":
            return await self._token(auth)
        if auth.mechanism == "register" and self.ways.registration != "off":
            return await self._register(auth, now)
        raise Refusal("auth-failed", "this mechanism is not on")

    async def open_session(self, who: Identity, until: float) -> str:
        """A new session token for a verified login."""
        token = secrets.token_urlsafe(32)
        self._store.save("put_session", (digest(token), who.name, int(who.guest), until))
        return token

    # --- mechanisms ----------------------------------------------------------------------------------------------------

    async def _session(self, token: str, now: float) -> Identity:
        row = await self._one("SELECT name, guest FROM sessions WHERE token = ? AND until > ?", (digest(token), now))
        if row is None:
            raise Refusal("auth-failed", "this session is over, log in again")
        name, guest = row
        if guest:
            if name in self.names or skeleton(name) in self._looks or not self.ways.guests:
                raise Refusal("auth-failed", "this session is over, log in again")
            return Identity(name, guest=True, returning=True)
        await self._not_suspended(name)
        return Identity(name, False, name in self.operators, returning=True)

    async def _password(self, auth: wire.Auth) -> Identity:
        name = auth.user.lower()
        row = await self._one("SELECT secret, suspended FROM accounts WHERE name = ?", (name,))
        right = await self._hashing(lambda: self._check(row[0] if row and row[0] else self._dummy, auth.secret))
        if row is None or not row[0] or not right:
            raise Refusal("auth-failed", WRONG)
        if row[1]:
            raise Refusal("suspended", "this account is suspended")
        return Identity(name, False, name in self.operators)

    async def _token(self, auth: wire.Auth) -> Identity:
        row = await self._one("SELECT name, suspended FROM accounts WHERE token = ?", (digest(auth.secret),))
        if row is None or (auth.user and auth.user.lower() != row[0]):
            raise Refusal("auth-failed", WRONG)
        if row[1]:
            raise Refusal("suspended", "this account is suspended")
        return Identity(row[0], False, row[0] in self.operators)

    async def _register(self, auth: wire.Auth, now: float) -> Identity:
        name = check_name(auth.user, self.ways.unicode_names)
        if self.ways.registration == "token":
            invite = await self._one(
                "SELECT uses FROM invites WHERE token = ? AND until > ? AND uses > 0", (digest(auth.invite), now)
            )
            if invite is None:
                raise Refusal("auth-failed", "this needs a valid invitation")
        spend = digest(auth.invite) if self.ways.registration == "token" else ""
        await self.make(name, auth.secret, now, spend)
        return Identity(name, guest=False)

    # --- accounts ------------------------------------------------------------------------------------------------------

    async def make(self, name: str, secret: str, now: float, invite: str = "", operator: bool = False) -> None:
        """A new account. `invite`: digest of an invitation to use up. Raises Refusal name-taken, bad-request."""
        name = check_name(name, self.ways.unicode_names)
        hashed = await self._hash(secret)
        look = skeleton(name)
        if self._looks.get(look, name) != name:
            raise Refusal("name-taken", "an account has a name that looks like this one")

        def insert(db: sqlite3.Connection) -> bool:
            if (
                invite
                and db.execute("UPDATE invites SET uses = uses - 1 WHERE token = ? AND uses > 0", (invite,)).rowcount
                == 0
            ):
                return False
            sql = "INSERT OR IGNORE INTO accounts (name, secret, operator, made) VALUES (?,?,?,?)"
            return db.execute(sql, (name, hashed, int(operator), now)).rowcount == 1

        if not await self._change(insert):
            raise Refusal("name-taken", "this name has an account already")
        self.names.add(name)
        self._looks[look] = name
        if operator:
            self.operators.add(name)

    async def set_password(self, name: str, secret: str) -> None:
        """A new password; the sessions of the account end."""
        hashed = await self._hash(secret)

        def update(db: sqlite3.Connection) -> None:
            db.execute("UPDATE accounts SET secret = ? WHERE name = ?", (hashed, name))
            db.execute("DELETE FROM sessions WHERE name = ? AND guest = 0", (name,))

        await self._change(update)

    async def suspend(self, name: str, suspended: bool) -> None:
        """Refuse the account's logins, or take them again. Live connections are the server's business."""
        self._known(name)

        def update(db: sqlite3.Connection) -> None:
            db.execute("UPDATE accounts SET suspended = ? WHERE name = ?", (int(suspended), name))
            db.execute("DELETE FROM sessions WHERE name = ? AND guest = 0", (name,))

        await self._change(update)

    async def set_operator(self, name: str, operator: bool) -> None:
        """Make or unmake an operator of the server."""
        self._known(name)
        await self._change(
            lambda db: db.execute("UPDATE accounts SET operator = ? WHERE name = ?", (int(operator), name)).rowcount
        )
        (self.operators.add if operator else self.operators.discard)(name)

    async def bot_token(self, name: str) -> str:
        """A new token for AUTH token; the one before is void."""
        self._known(name)
        token = "tw_" + secrets.token_urlsafe(32)
        await self._change(
            lambda db: db.execute("UPDATE accounts SET token = ? WHERE name = ?", (digest(token), name)).rowcount
        )
        return token

    async def invite_token(self, by: str, uses: int, until: float) -> str:
        """A token for AUTH register."""
        token = secrets.token_urlsafe(16)
        await self._change(
            lambda db: db.execute("INSERT INTO invites VALUES (?,?,?,?)", (digest(token), uses, until, by)).rowcount
        )
        return token

    # --- below ---------------------------------------------------------------------------------------------------------

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise Refusal("no-user", "no account of this name")

    async def _not_suspended(self, name: str) -> None:
        row = await self._one("SELECT suspended FROM accounts WHERE name = ?", (name,))
        if row is None or row[0]:
            raise Refusal("suspended", "this account is suspended")

    async def _hash(self, secret: str) -> str:
        if not PASSWORD_MIN <= len(secret) <= PASSWORD_MAX:
            raise Refusal("bad-request", f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
        return await self._hashing(lambda: self._hasher.hash(secret))

    async def _hashing(self, work: Callable[[], T]) -> T:
        """Run in the pool, or refuse when too many wait."""
        if self.busy >= QUEUE:
            raise Refusal("busy", "too many logins at once", 2000)
        self.busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.busy -= 1

    def _check(self, hashed: str, secret: str) -> bool:
        try:
            return len(secret) <= PASSWORD_MAX and self._hasher.verify(hashed, secret)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    def _one(self, sql: str, values: tuple[Any, ...]) -> Awaitable[Any]:
        """A row, read behind the writer, so that a token just given out is there."""
        return asyncio.wrap_future(self._store.call(lambda db: db.execute(sql, values).fetchone()))

    def _change(self, act: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
        return asyncio.wrap_future(self._store.call(act))
