"""chat.accounts: who may have which name, beside the accounts that are there; a cheap hasher, a store of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import argon2
import pytest

from chat import wire
from chat.accounts import Accounts, Ways
from chat.errors import Refusal
from chat.store import Store

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SECRET = "correct horse"


def play(folder: Path, scene: Callable[[Accounts], Awaitable[None]], ways: Ways) -> None:
    """Run a scene with accounts over a fresh store."""

    async def whole() -> None:
        store = Store(folder, asyncio.get_running_loop().call_soon_threadsafe)
        state = store.start()
        accounts = Accounts(store, ways, state.accounts, state.operators, CHEAP)
        try:
            await accounts.make("alice", SECRET, 0.0)
            await scene(accounts)
        finally:
            accounts.stop()
            store.stop()

    asyncio.run(whole())


async def code(work: Awaitable[object]) -> str:
    """The refusal's code; '' when there is none."""
    try:
        await work
    except Refusal as no:
        return no.code
    return ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("alice", "name-taken"), ("ALICE", "name-taken"), ("a1ice", "name-taken"), ("аlice", "bad-name"), ("alicia", "")],
)
def test_a_guest_cannot_pass_for_an_account_that_is_not_here(name: str, expected: str, tmp_path: Path) -> None:
    """The name of an account, and one that looks like it, is refused although its owner is not logged in."""

    async def scene(accounts: Accounts) -> None:
        assert await code(accounts.verify(wire.Auth("guest", user=name), 0.0)) == expected

    play(tmp_path, scene, Ways())


class Counting(argon2.PasswordHasher):
    """Counts the passwords it looks at."""

    looked = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        self.looked += 1
        return super().verify(hash, password)


def test_an_unknown_name_costs_what_a_wrong_password_costs(tmp_path: Path) -> None:
    """The same work and the same words, so that nobody learns which names exist; too long a password is not hashed."""

    async def scene(accounts: Accounts) -> None:
        hasher = accounts._hasher = Counting(time_cost=1, memory_cost=8, parallelism=1)
        said = []
        for name in ("alice", "nobody", "no such name!"):
            with pytest.raises(Refusal) as no:
                await accounts.verify(wire.Auth("password", user=name, secret="wrong"), 0.0)
            said.append((hasher.looked, no.value.code, no.value.text))
        assert said == [(n, "auth-failed", said[0][2]) for n in (1, 2, 3)]
        assert await code(accounts.verify(wire.Auth("password", user="alice", secret="x" * 257), 0.0)) == "auth-failed"
        assert hasher.looked == 3

    play(tmp_path, scene, Ways())


def test_a_new_account_cannot_look_like_another(tmp_path: Path) -> None:
    """Registration is refused for a look-alike, and taken for another name; both with Unicode names on."""

    async def scene(accounts: Accounts) -> None:
        for name, expected in (
            ("a1ice", "name-taken"),
            ("аlісе", "bad-name"),
            ("bob", ""),
            ("вов", "name-taken"),
            ("анна", ""),
            ("воb", "bad-name"),
        ):
            assert await code(accounts.verify(wire.Auth("register", user=name, secret=SECRET), 0.0)) == expected, name

    play(tmp_path, scene, Ways(registration="open", unicode_names=True))


def test_accounts_of_an_earlier_start_are_looked_like_neither(tmp_path: Path) -> None:
    """What was made before a restart counts after it."""

    async def nothing(accounts: Accounts) -> None:
        pass

    play(tmp_path, nothing, Ways())

    async def again() -> None:
        store = Store(tmp_path, asyncio.get_running_loop().call_soon_threadsafe)
        state = store.start()
        accounts = Accounts(store, Ways(), state.accounts, state.operators, CHEAP)
        try:
            assert await code(accounts.verify(wire.Auth("guest", user="a1ice"), 0.0)) == "name-taken"
            assert (await accounts.verify(wire.Auth("password", user="Alice", secret=SECRET), 0.0)).name == "alice"
        finally:
            accounts.stop()
            store.stop()

    asyncio.run(again())
