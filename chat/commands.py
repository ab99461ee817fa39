"""The ADMIN commands: who may do what to whom, and what then changes. A table of actions, one function each. Pure.

Each function gets a Case (who asks, where, whom) and returns effects; what the store must keep goes through
Hub.save(). Rules: nobody acts on an equal or higher rank; what is done is written into the audit log with who, whom and
why. docs/wire.md has the same table for readers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chat import wire
from chat.effects import Account, Close, Effect, Reply, ToRoom
from chat.errors import Refusal
from chat.limits import check_name, check_room, has_controls
from chat.rooms import RANK, Ban, Room, Seat, network

if TYPE_CHECKING:
    from chat.hub import Hub

TEXT_MAX: Final = 512  # characters of a reason or topic
ROWS_MAX: Final = 500  # rows of one answer
YEARS: Final = 10 * 365 * 86_400  # seconds; a longer ban or mute is one for good


@dataclass(slots=True)
class Case:
    """One command with everything looked up. room: None for the server itself."""

    hub: Hub
    seat: Seat
    ask: wire.Admin
    room: Room | None
    target: str

    @property
    def until(self) -> float:
        """The end of a timed measure as time of day, 0 for good."""
        return self.hub.wall + self.ask.seconds if 0 < self.ask.seconds < YEARS else 0.0

    def done(self, text: str = "", rows: list[dict[str, str]] | None = None) -> Effect:
        """The result for who asked."""
        return Reply(
            self.seat.conn, wire.AdminResult(self.ask.action, self.ask.ref, True, text, (rows or [])[:ROWS_MAX])
        )

    def audit(self, target: str = "") -> None:
        """Into the log."""
        where = self.room.name if self.room else ""
        self.hub.save(
            "audit", self.hub.wall, self.seat.user.name, self.ask.action, where, target or self.target, self.ask.text
        )

    def notice(self, kind: str, text: str) -> list[Effect]:
        """Tell the room."""
        assert self.room is not None
        body = wire.Notice(text, kind, self.room.name, self.seat.user.name, self.target)
        return [ToRoom(self.room.number, body)]

    def place(self) -> Room:
        """The room. Raises Refusal bad-request without one."""
        if self.room is None:
            raise Refusal("bad-request", f"{self.ask.action} names a room")
        return self.room

    def outrank(self) -> None:
        """Raises Refusal forbidden unless who asks stands above the target."""
        mine, theirs = self._ranks()
        if mine <= theirs:
            raise Refusal("forbidden", "nobody acts on an equal or higher rank")

    def _ranks(self) -> tuple[int, int]:
        user, room = self.seat.user, self.room
        if self.target in self.hub.operators:
            theirs = RANK["operator"]
        else:
            theirs = RANK[room.roles.get(self.target, "member")] if room else RANK["member"]
        mine = room.rank(user) if room else RANK["operator" if user.operator else "member"]
        return mine, theirs


def run(hub: Hub, seat: Seat, ask: wire.Admin) -> list[Effect]:
    """The effects of one command. Raises Refusal."""
    action = ACTIONS.get(ask.action)
    if action is None:
        raise Refusal("bad-request", "no such action")
    if len(ask.text) > TEXT_MAX or has_controls(ask.text) or len(ask.target) > 64 or has_controls(ask.target):
        raise Refusal("too-long", f"a text has at most {TEXT_MAX} characters and no controls")
    room = None
    if ask.room and ask.action != "create":
        room = _room(hub, seat, ask.room)
    case = Case(hub, seat, ask, room, ask.target.lower())
    _check_rank(case, action.rank)
    return action.act(case)


def _room(hub: Hub, seat: Seat, raw: str) -> Room:
    """The room a command is about; one that the user may not see is not there."""
    room = seat.rooms.get(raw) or hub.rooms.get(check_room(raw) if not raw.startswith("@") else raw)
    if room is None or not room.welcomes(seat.user):
        raise Refusal("no-room", "there is no such room")
    return room


def _check_rank(case: Case, rank: str) -> None:
    user = case.seat.user
    have = case.room.rank(user) if case.room else RANK["operator" if user.operator else "member"]
    if rank == "account":
        if user.guest:
            raise Refusal("forbidden", "guests may not do this")
    elif rank in {"moderator", "owner"} and case.room is None and not user.operator:
        raise Refusal("forbidden", f"this needs the rank of {rank} in a room, or operator")
    elif have < RANK[rank]:
        raise Refusal("forbidden", f"this needs the rank of {rank}")


# --- looking -----------------------------------------------------------------------------------------------------------


def _rooms(case: Case) -> list[Effect]:
    rows = []
    for room in case.hub.rooms.values():
        if room.welcomes(case.seat.user) and (not room.direct or room.name in case.seat.rooms):
            row = {"room": room.name, "topic": room.topic, "members": str(len(room.seats))}
            row |= {"private": "1" if room.private else "", "joined": "1" if room.name in case.seat.rooms else ""}
            rows.append(row)
    return [case.done(rows=sorted(rows, key=lambda row: row["room"]))]


def _whois(case: Case) -> list[Effect]:
    user = case.hub.users.get(case.target)
    if user is None:
        raise Refusal("no-user", "nobody here has this name")
    common = [name for name, room in case.seat.rooms.items() if user.name in room.seats and not room.direct]
    row = {"name": user.name, "guest": "1" if user.guest else "", "rooms": " ".join(sorted(common))}
    row["connected"] = str(len(user.seats))
    if case.seat.user.operator:
        row["address"] = user.address
    return [case.done(rows=[row])]


def _bans(case: Case) -> list[Effect]:
    bans = case.room.bans if case.room else case.hub.bans
    return [case.done(rows=[{"target": b.target, "until": f"{b.until:.0f}", "by": b.by, "text": b.text} for b in bans])]


# --- rooms -------------------------------------------------------------------------------------------------------------


def _create(case: Case) -> list[Effect]:
    hub, user = case.hub, case.seat.user
    name = check_room(case.ask.room)
    if name in hub.rooms:
        raise Refusal("bad-room", "there is such a room already")
    if not hub.policy.open_rooms and not user.operator:
        raise Refusal("forbidden", "rooms are made by operators here")
    flags = {flag.strip() for flag in case.ask.value.split(",") if flag.strip()}
    if not flags <= {"private", "read-only"}:
        raise Refusal("bad-request", "value is private, read-only or both")
    case.room = hub.make_room(user, Room(name, 0, case.ask.text, "private" in flags, "read-only" in flags))
    case.audit()
    return [case.done(name)]


def _put(room: Room, hub: Hub) -> None:
    hub.save("put_room", room.name, room.topic, room.private, room.read_only, room.history_days, room.history_messages)


def _topic(case: Case) -> list[Effect]:
    room = case.place()
    if len(case.ask.text.encode()) > case.hub.limits.topic_bytes:
        raise Refusal("too-long", f"a topic has at most {case.hub.limits.topic_bytes} bytes")
    room.topic = case.ask.text
    _put(room, case.hub)
    case.audit()
    return [*case.notice("topic", room.topic), case.done()]


def _set(case: Case) -> list[Effect]:
    room = case.place()
    name, _, value = case.ask.value.partition("=")
    if (
        room.direct
        or name not in {"private", "read_only", "history_days", "history_messages"}
        or not value.isdecimal()
        or len(value) > 9
    ):
        raise Refusal("bad-request", "value is private=0|1, read_only=0|1, history_days=N or history_messages=N")
    setattr(room, name, bool(int(value)) if name in {"private", "read_only"} else int(value))
    _put(room, case.hub)
    case.audit(case.ask.value)
    return [*case.notice("room", case.ask.value), case.done()]


def _invite(case: Case) -> list[Effect]:
    room = case.place()
    name = check_name(case.target, unicode=True)
    if len(room.invited) >= case.hub.limits.room_members:
        raise Refusal("room-full", "too many are invited already")
    room.invited.add(name)
    case.hub.save("invite", room.name, name)
    case.audit()
    told: list[Effect] = []
    user = case.hub.users.get(name)
    for conn in user.seats if user else ():
        told.append(
            Reply(conn, wire.Notice(f"you are invited to {room.name}", "room", room.name, case.seat.user.name, name))
        )
    return [*told, case.done()]


def _role(case: Case) -> list[Effect]:
    room, role = case.place(), case.ask.value
    if role not in {"owner", "moderator", "member"} or room.direct:
        raise Refusal("bad-request", "value is owner, moderator or member")
    if case.target != case.seat.user.name:
        case.outrank()
    if case.target not in room.seats and case.target not in case.hub.accounts:
        raise Refusal("no-user", "nobody has this name")
    if role == "member":
        room.roles.pop(case.target, None)
    else:
        room.roles[case.target] = role
    if case.target in case.hub.accounts:
        case.hub.save("put_role", room.name, case.target, role)
    case.hub.note_change(room, case.target)
    case.audit()
    return [*case.notice("role", role), case.done()]


def _close(case: Case) -> list[Effect]:
    room = case.place()
    if room.name == "lobby" or room.direct:
        raise Refusal("forbidden", "this room stays")
    case.audit()
    return [*case.hub.close_room(room), case.done()]


# --- order -------------------------------------------------------------------------------------------------------------


def _kick(case: Case) -> list[Effect]:
    room = case.place()
    if room.direct or case.target not in room.seats:
        raise Refusal("no-user", "nobody here has this name")
    case.outrank()
    case.audit()
    notice = case.notice("kick", case.ask.text)
    return [*notice, *case.hub.eject(case.target, room, "kicked", case.ask.text), case.done()]


def _ban(case: Case) -> list[Effect]:
    room, hub, user = case.room, case.hub, case.seat.user
    if room is not None and room.direct:
        raise Refusal("bad-request", "not in a direct conversation")
    net = network(case.target)
    if net is not None and not user.operator:
        raise Refusal("forbidden", "addresses are banned by operators")
    if net is None:
        check_name(case.target, unicode=True)
        case.outrank()
    targets = [net or case.target, *([] if net else _guest_address(case))]
    bans = room.bans if room else hub.bans
    bans[:] = [ban for ban in bans if ban.target not in targets and not (ban.until and ban.until <= hub.wall)]
    if len(bans) + len(targets) > 1000:
        raise Refusal("bad-request", "1000 bans are kept; lift some")
    for target in targets:
        bans.append(Ban(target, case.until, user.name, case.ask.text))
        hub.save("put_ban", room.name if room else "", target, case.until, user.name, case.ask.text)
    case.audit(targets[0])
    return [*(_ban_from_room(case, room, targets) if room else _ban_from_server(case, targets)), case.done()]


def _guest_address(case: Case) -> list[str]:
    """A guest's name is changed in a second, so the address is banned with it, unless many share that one."""
    target = case.hub.users.get(case.target)
    if target is None or not target.guest or case.hub.exempt(target.address):
        return []
    net = network(target.address)
    return [net] if net else []


def _ban_from_room(case: Case, room: Room, targets: list[str]) -> list[Effect]:
    effects = case.notice("ban", case.ask.text)
    for name in list(room.seats):
        member = case.hub.users.get(name)
        if member is None or member is case.seat.user or room.rank(member) >= room.rank(case.seat.user):
            continue
        if room.banned(member, case.hub.wall):
            effects += case.hub.eject(name, room, "banned", case.ask.text)
    return effects


def _ban_from_server(case: Case, targets: list[str]) -> list[Effect]:
    effects: list[Effect] = []
    for user in case.hub.users.values():
        if user.operator or not any(ban.holds(user.name, user.address, case.hub.wall) for ban in case.hub.bans):
            continue
        effects += [Close(conn, "banned", case.ask.text or "banned") for conn in user.seats]
    return effects


def _unban(case: Case) -> list[Effect]:
    bans = case.room.bans if case.room else case.hub.bans
    target = network(case.target) or case.target
    if network(case.target) and not case.seat.user.operator:
        raise Refusal("forbidden", "addresses are unbanned by operators")
    if all(ban.target != target for ban in bans):
        raise Refusal("no-user", "no such ban")
    bans[:] = [ban for ban in bans if ban.target != target]
    case.hub.save("remove_ban", case.room.name if case.room else "", target)
    case.audit()
    return [case.done()]


def _mute(case: Case) -> list[Effect]:
    room = case.place()
    if room.direct:
        raise Refusal("bad-request", "not in a direct conversation")
    check_name(case.target, unicode=True)
    case.outrank()
    room.mutes = {name: until for name, until in room.mutes.items() if not until or until > case.hub.wall}
    if len(room.mutes) >= 1000:
        raise Refusal("bad-request", "1000 mutes are kept; lift some")
    room.mutes[case.target] = case.until
    case.hub.save("put_mute", room.name, case.target, case.until)
    case.hub.note_change(room, case.target)
    case.audit()
    return [*case.notice("mute", case.ask.text), case.done()]


def _unmute(case: Case) -> list[Effect]:
    room = case.place()
    if room.mutes.pop(case.target, None) is None:
        raise Refusal("no-user", "not muted")
    case.hub.save("remove_mute", room.name, case.target)
    case.hub.note_change(room, case.target)
    case.audit()
    return [*case.notice("mute", ""), case.done()]


# --- what the accounts and the store do --------------------------------------------------------------------------------


def _account(case: Case) -> list[Effect]:
    """Allowed so far; carried out where passwords and tokens are."""
    return [Account(case.seat.conn, case.seat.user.name, case.ask)]


def _on_account(case: Case) -> list[Effect]:
    if case.target in case.hub.operators and case.target != case.seat.user.name and case.ask.action == "suspend":
        raise Refusal("forbidden", "nobody acts on an equal or higher rank")
    check_name(case.target, unicode=True)
    return _account(case)


def _bot_token(case: Case) -> list[Effect]:
    if case.target not in {"", case.seat.user.name} and not case.seat.user.operator:
        raise Refusal("forbidden", "for others this needs the rank of operator")
    return _account(case)


@dataclass(frozen=True, slots=True)
class Action:
    """rank: the lowest that may, in the room named or on the server; account: everybody but guests."""

    rank: str
    act: Callable[[Case], list[Effect]]


ACTIONS: Final = {
    "rooms": Action("member", _rooms),
    "whois": Action("member", _whois),
    "create": Action("member", _create),
    "topic": Action("moderator", _topic),
    "set": Action("owner", _set),
    "invite": Action("moderator", _invite),
    "role": Action("owner", _role),
    "close": Action("owner", _close),
    "kick": Action("moderator", _kick),
    "ban": Action("moderator", _ban),
    "unban": Action("moderator", _unban),
    "bans": Action("moderator", _bans),
    "mute": Action("moderator", _mute),
    "unmute": Action("moderator", _unmute),
    "account": Action("operator", _on_account),
    "suspend": Action("operator", _on_account),
    "restore": Action("operator", _on_account),
    "operator": Action("operator", _on_account),
    "password": Action("account", _account),
    "bot-token": Action("account", _bot_token),
    "invite-token": Action("operator", _account),
    "remove-file": Action("member", _account),
    "audit": Action("owner", _account),
}
