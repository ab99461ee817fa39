"""chat.login.visit: there, entered, worked, left; a refusal says what helps."""

from pathlib import Path

import pytest

from chat.client import Client
from chat.errors import ChatError
from chat.link import Address, Login, RefusedError
from chat.login.visit import Place, visit
from chat.slash import Desk


async def never(client: Client, desk: Desk) -> None:
    """Work that must not begin."""
    raise AssertionError("the work began")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RefusedError("name-taken", "somebody has it"), "ann: name-taken: somebody has it; choose another with --user NAME"),
        (RefusedError("flood", "too many", 2.1), "ann: flood: too many; try again in 3 s"),
        (RefusedError("banned", "spam"), "ann: banned: spam"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_helps(
    error: RefusedError, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another name where that is the reason, the time where waiting helps."""

    async def refuse(_: Client) -> None:
        raise error

    monkeypatch.setattr(Client, "start", refuse)
    with pytest.raises(ChatError) as caught:
        visit(Place(Login("ann"), Address(), "lobby", tmp_path), never)

    assert str(caught.value) == line
