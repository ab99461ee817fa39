"""chat.commands: role x action, exhaustively; and what each command changes."""

import re
from pathlib import Path

import pytest
from chat_world import Client, World

from chat import wire
from chat.commands import ACTIONS

ROLES = ["guest", "member", "moderator", "owner", "operator"]
# action -> (command, the lowest role that may); commands of `room` aim at a plain member, `victim`
COMMANDS: dict[str, tuple[wire.Admin, str]] = {
    "rooms": (wire.Admin("rooms"), "guest"),
    "whois": (wire.Admin("whois", target="victim"), "guest"),
    "create": (wire.Admin("create", room="fresh"), "guest"),
    "topic": (wire.Admin("topic", room="room", text="t"), "moderator"),
    "set": (wire.Admin("set", room="room", value="read_only=1"), "owner"),
    "invite": (wire.Admin("invite", room="room", target="friend"), "moderator"),
    "role": (wire.Admin("role", room="room", target="victim", value="moderator"), "owner"),
    "close": (wire.Admin("close", room="room"), "owner"),
    "kick": (wire.Admin("kick", room="room", target="victim"), "moderator"),
    "ban": (wire.Admin("ban", room="room", target="victim", seconds=60), "moderator"),
    "unban": (wire.Admin("unban", room="room", target="banned"), "moderator"),
    "bans": (wire.Admin("bans", room="room"), "moderator"),
    "mute": (wire.Admin("mute", room="room", target="victim"), "moderator"),
    "unmute": (wire.Admin("unmute", room="room", target="muted"), "moderator"),
    "account": (wire.Admin("account", target="newone", value="password1"), "operator"),
    "suspend": (wire.Admin("suspend", target="victim"), "operator"),
    "restore": (wire.Admin("restore", target="victim"), "operator"),
    "operator": (wire.Admin("operator", target="victim", value="1"), "operator"),
    "password": (wire.Admin("password", value="password1"), "member"),
    "bot-token": (wire.Admin("bot-token"), "member"),
    "invite-token": (wire.Admin("invite-token"), "operator"),
    "remove-file": (wire.Admin("remove-file", target="0" * 32), "guest"),
    "audit": (wire.Admin("audit", room="room"), "owner"),
}
SERVER_WIDE = [wire.Admin("ban", target="victim"), wire.Admin("ban", target="198.51.100.0/24"), wire.Admin("bans"), wire.Admin("unban", target="banned"), wire.Admin("audit")]  # fmt: skip


def stage() -> tuple[World, dict[str, Client]]:
    """A room with one of each role, a victim, somebody banned and somebody muted. All but the guest have accounts."""
    world = World()
    names = {
        "guest": "guesty",
        "member": "memby",
        "moderator": "moddy",
        "owner": "owny",
        "operator": "opy",
        "victim": "victim",
    }
    world.hub.accounts = set(names.values()) - {"guesty"} | {"friend"}
    world.hub.operators = {"opy"}
    world.connect("192.0.2.50").login("owny").say(wire.Join("room"))
    clients = dict(zip(names, world.join(*names.values(), room="room"), strict=True))
    room = world.hub.rooms["room"]
    room.roles["moddy"] = "moderator"
    owner = clients["owner"]
    owner.say(wire.Admin("ban", room="room", target="banned"), wire.Admin("mute", room="room", target="muted"))
    clients["operator"].say(wire.Admin("ban", target="banned"))
    for client in clients.values():
        client.got.clear()
    world.other.clear()
    return world, clients


def granted(world: World, client: Client, command: wire.Admin) -> bool:
    """True if done, or handed to the accounts; False if forbidden. Nothing else is an answer."""
    client.say(command)
    errors = [error.code for error in client.take(wire.Error)]
    if errors:
        assert errors == ["forbidden"]
        return False
    handed = [e for e in world.other if type(e).__name__ == "Account"]
    assert len(handed) + len(client.take(wire.AdminResult)) == 1
    return True


def test_every_action_is_in_the_table() -> None:
    """A new command needs its row here and in docs/wire.md."""
    assert set(COMMANDS) == set(ACTIONS)


def documented() -> dict[str, str]:
    """The rows of the table in docs/wire.md: action -> who."""
    text = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
    rows = re.findall(
        r"^\| ([a-z, -]+) \|[^|]*\| ([^|]+) \|[^|]*\|$", text.partition("## ADMIN")[2].partition("\n## ")[0], re.M
    )
    return {action.strip(): who.strip() for actions, who in rows for action in actions.split(",")}


def test_the_document_says_who_may() -> None:
    """docs/wire.md has a row for each action, with the rank that the code asks for."""
    said = {
        "all": "member", "own account": "account", "own account, operator": "account", "who sent it, moderator": "member", "owner, operator": "owner",
        "moderator; empty room: operator": "moderator", "the same": "moderator",
    }  # fmt: skip
    found = {action: said.get(who, who) for action, who in documented().items() if action != "action"}

    assert found == {name: action.rank for name, action in ACTIONS.items()}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", COMMANDS)
def test_role_by_action(action: str, role: str) -> None:
    """Each of 5 roles x 23 actions: done from the lowest rank that may, forbidden below it."""
    world, clients = stage()
    command, lowest = COMMANDS[action]

    assert granted(world, clients[role], command) == (ROLES.index(role) >= ROLES.index(lowest))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("command", SERVER_WIDE, ids=lambda c: f"{c.action} {c.target}")
def test_role_by_server_wide_action(command: wire.Admin, role: str) -> None:
    """Without a room the same commands are the operator's alone."""
    world, clients = stage()

    assert granted(world, clients[role], command) == (role == "operator")


@pytest.mark.parametrize("target", ["moderator", "owner", "operator"])
@pytest.mark.parametrize("action", ["kick", "ban", "mute", "role"])
@pytest.mark.parametrize("actor", ["moderator", "owner", "operator"])
def test_nobody_acts_on_an_equal_or_higher_rank(actor: str, action: str, target: str) -> None:
    """Kick, ban, mute and role work downwards only; giving up one's own role is allowed."""
    world, clients = stage()
    name = world.hub.seats[clients[target].conn].user.name
    command = wire.Admin(action, room="room", target=name, value="member")

    may = ROLES.index(actor) > ROLES.index(target)
    if action == "role":
        may = (may and actor != "moderator") or (actor == target and actor != "moderator")
    assert granted(world, clients[actor], command) == may


# what somebody does with messages -> (frame, the lowest role that may; None: nobody). 1 is the victim's message, 2 one's own
ON_MESSAGES: dict[str, tuple[wire.Body, str | None]] = {
    "say": (wire.Send("room", "x", "hi"), "guest"),
    "edit own": (wire.Send("room", "x", "new", edits=2), "guest"),
    "delete own": (wire.Send("room", "x", deletes=2), "guest"),
    "edit another's": (wire.Send("room", "x", "new", edits=1), None),
    "delete another's": (wire.Send("room", "x", deletes=1), "moderator"),
    "edit what is not there": (wire.Send("room", "x", "new", edits=99), None),
    "offer": (wire.Offer("x", "a.txt", 1, "0" * 64, "room"), "guest"),
    "history": (wire.History("room"), "guest"),
    "search": (wire.History(query="words"), "guest"),
    "members": (wire.MembersAsk("room"), "guest"),
}
# how things stand -> what is then allowed from which role on only, or (codes) refused to all
STANDING: dict[str, tuple[str | None, str]] = {
    "open": ("guest", ""),
    "read-only": ("moderator", "read-only"),
    "muted": ("owner", "muted"),
    "outside": (None, "not-member"),
}
SPEAKING = {"say", "edit own", "delete own", "edit another's", "delete another's", "edit what is not there", "offer"}


@pytest.mark.parametrize("standing", STANDING)
@pytest.mark.parametrize("action", ON_MESSAGES)
@pytest.mark.parametrize("role", ROLES)
def test_role_by_action_on_messages(role: str, action: str, standing: str) -> None:
    """5 roles x 10 actions x 4 states of the room: done, or the one right error; a refused change changes nothing."""
    world, clients = stage()
    clients["victim"].say(wire.Send("room", "a", "words of the victim"))
    actor, name = clients[role], world.hub.seats[clients[role].conn].user.name
    actor.say(wire.Send("room", "b", "own words"))
    room = world.hub.rooms["room"]
    room.read_only = standing == "read-only"
    if standing == "muted":
        room.mutes[name] = 0.0
    if standing == "outside":
        actor.say(wire.Part("room"))
    world.other.clear(), actor.got.clear()

    frame, lowest = ON_MESSAGES[action]
    may_from, code = STANDING[standing]
    if action in SPEAKING or standing == "outside":
        held = may_from is None or ROLES.index(role) < ROLES.index(may_from)
    else:
        held = False
    wanted = code if held else ""
    if not wanted and (lowest is None or ROLES.index(role) < ROLES.index(lowest)):
        wanted = "no-message" if "not there" in action else "forbidden"
    if action == "search" and standing == "outside":
        wanted = ""  # over the rooms one is in: none
    before = [(m.text, m.deleted) for m in world.history.page("room", wire.History("room"), 0, 50, 1 << 20)[0][:2]]
    actor.say(frame)

    assert [error.code for error in actor.take(wire.Error)] == ([wanted] if wanted else [])
    after = [(m.text, m.deleted) for m in world.history.page("room", wire.History("room"), 0, 50, 1 << 20)[0][:2]]
    assert (before == after) == (bool(wanted) or ("edit" not in action and "delete" not in action))
    if action == "search" and standing == "outside":
        assert [effect.rooms for effect in world.other] == [{}]  # type: ignore[attr-defined]


def test_kick_takes_all_connections_out_and_tells_the_room() -> None:
    """NOTICE to the room (its own frame type), PART with the reason to the target; coming back is allowed."""
    world, clients = stage()
    second = world.connect("192.0.2.6").login("victim").say(wire.Join("room"))
    clients["moderator"].say(wire.Admin("kick", room="room", target="victim", text="calm down"))

    assert clients["victim"].last(wire.Parted) == second.last(wire.Parted) == wire.Parted("room", "kicked", "calm down")
    assert clients["member"].last(wire.Notice) == wire.Notice("calm down", "kick", "room", "moddy", "victim")
    assert clients["victim"].say(wire.Join("room")).last(wire.Joined).room == "room"


def test_a_timed_ban_ends_by_itself() -> None:
    """60 seconds out, then in again."""
    world, clients = stage()
    clients["moderator"].say(wire.Admin("ban", room="room", target="victim", seconds=60))

    victim = clients["victim"]
    assert victim.last(wire.Parted).reason == "banned"
    assert victim.say(wire.Join("room")).last(wire.Error).code == "banned"
    world.hub.wall += 61
    assert victim.say(wire.Join("room")).last(wire.Joined).room == "room"


def test_a_banned_guest_does_not_come_back_under_another_name() -> None:
    """A guest's ban takes the address with it."""
    world, clients = stage()
    clients["moderator"].say(wire.Admin("ban", room="room", target="guesty"))

    other = world.connect(clients["guest"].address).login("innocent").say(wire.Join("room"))

    assert other.last(wire.Error).code == "banned"


def test_a_network_ban_closes_the_connections_in_it() -> None:
    """An operator bans a network on the server: who is in it is cut, operators are not."""
    _, clients = stage()
    clients["operator"].say(wire.Admin("ban", target="192.0.2.0/24", text="lab closed"))

    assert clients["member"].last(wire.Error) == wire.Error("banned", "lab closed")
    assert clients["operator"].take(wire.Error) == []


def test_a_muted_user_reads_but_does_not_write() -> None:
    """SEND and OFFER are refused until the mute ends."""
    world, clients = stage()
    clients["moderator"].say(wire.Admin("mute", room="room", target="victim", seconds=10))
    victim = clients["victim"]

    victim.say(wire.Send("room", "a", "x"), wire.Offer("r", "n", 1, "0" * 64, "room"))
    assert [e.code for e in victim.take(wire.Error)] == ["muted", "muted"]
    world.hub.wall += 11
    assert victim.say(wire.Send("room", "b", "x")).take(wire.Ack)


def test_a_private_room_is_for_the_invited() -> None:
    """Others neither join it nor see it listed; an invitation opens it."""
    _, clients = stage()
    clients["owner"].say(wire.Admin("create", room="club", value="private"), wire.Join("club"))
    guest = clients["guest"]

    assert guest.say(wire.Join("club")).last(wire.Error).code == "private"
    assert "club" not in [row["room"] for row in guest.say(wire.Admin("rooms")).last(wire.AdminResult).rows]
    assert guest.say(wire.Admin("topic", room="club", text="x")).last(wire.Error).code == "no-room"
    clients["owner"].say(wire.Admin("invite", room="club", target="guesty"))
    assert guest.say(wire.Join("club")).last(wire.Joined).private


def test_read_only_is_for_moderators_to_write() -> None:
    """set read_only=1."""
    _, clients = stage()
    clients["owner"].say(wire.Admin("set", room="room", value="read_only=1"))

    assert clients["member"].say(wire.Send("room", "a", "x")).last(wire.Error).code == "read-only"
    assert clients["moderator"].say(wire.Send("room", "a", "x")).take(wire.Ack)


def test_moderators_delete_but_do_not_edit_what_others_wrote() -> None:
    """Deleting is order, editing would be forgery."""
    _, clients = stage()
    clients["victim"].say(wire.Send("room", "a", "bad words"))

    clients["member"].say(wire.Send("room", "b", deletes=1))
    clients["moderator"].say(wire.Send("room", "c", "good words", edits=1), wire.Send("room", "d", deletes=1))

    assert clients["member"].last(wire.Error).code == "forbidden"
    assert [e.code for e in clients["moderator"].take(wire.Error)] == ["forbidden"]
    assert [m.deletes for m in clients["victim"].take(wire.Msg)] == [0, 1]


def test_everything_done_is_in_the_audit_log() -> None:
    """Who, what, where, whom, why; nothing for what was refused."""
    world, clients = stage()
    world.saved.clear()
    clients["moderator"].say(wire.Admin("kick", room="room", target="victim", text="why"))
    clients["member"].say(wire.Admin("kick", room="room", target="guesty", text="no"))

    assert [save.args[1:] for save in world.saved if save.what == "audit"] == [
        ("moddy", "kick", "room", "victim", "why")
    ]


def test_a_role_of_an_account_is_kept_and_a_guests_ends_with_the_guest() -> None:
    """put_role for accounts only; the next guest of a name inherits nothing."""
    world, clients = stage()
    for name in ("victim", "guesty"):
        clients["owner"].say(wire.Admin("role", room="room", target=name, value="moderator"))
    assert [save.args for save in world.saved if save.what == "put_role" and save.args[2] == "moderator"] == [
        ("room", "victim", "moderator")
    ]

    clients["guest"].say(wire.Goaway())
    again = world.connect("192.0.2.99").login("guesty").say(wire.Join("room"))

    assert again.last(wire.Joined).role == "member"
