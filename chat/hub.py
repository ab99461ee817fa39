"""Rooms, members and messages: what a frame of a logged-in connection does. Pure: frames in, effects out.

`handle()` answers one body with the effects to carry out, in order; a request that is not granted becomes one ERROR.
A message goes out as Post, comes back by committed() when it is on disk, and only then is acknowledged and shown. What
one receiver alone may see never goes into a room frame, so that a frame is encoded once for all. The hub knows no
socket, no disk and no clock: `now` is a steady clock, `wall` the time of day it is told.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from chat import commands, wire
from chat.effects import Close, Delay, Download, Effect, Enter, Leave, Post, Read, Reply, Save, Shown, ToRoom, Upload
from chat.errors import Refusal
from chat.limits import (
    Bucket,
    Buckets,
    Limits,
    Rates,
    Timeouts,
    check_file_name,
    check_room,
    direct_room,
    has_controls,
    skeleton,
)
from chat.rooms import LOBBY, RANK, Ban, Room, Seat, User, address_key

PRESENCE_S: Final = 1.0  # at most one PRESENCE a room in this time
ID_MAX: Final = 64  # characters of a client's message id
READS: Final = 4  # HISTORY answers under way for one connection


@dataclass(frozen=True, slots=True)
class Policy:
    """Switches of the configuration that the hub obeys."""

    open_rooms: bool = True  # JOIN of a room that is not there makes it
    history_days: int = 0
    history_messages: int = 0


class Hub:
    """All rooms and all who are in them."""

    def __init__(
        self, limits: Limits, rates: Rates, timeouts: Timeouts, policy: Policy, exempt: Callable[[str], bool]
    ) -> None:
        self.limits = limits
        self.rates = rates
        self.timeouts = timeouts
        self.policy = policy
        self.wall = 0.0
        self.rooms: dict[str, Room] = {}
        self.users: dict[str, User] = {}
        self.seats: dict[int, Seat] = {}
        self.bans: list[Ban] = []  # of the server; the door has the same list
        self.exempt = exempt
        self._skeletons: dict[str, str] = {}
        self._by_account = Buckets(rates.account_messages_per_s, rates.message_burst * 2)
        self._by_address = Buckets(rates.address_messages_per_s, rates.message_burst * 4)
        self._busy: set[Room] = set()  # rooms with presence to tell
        self._held: set[User] = set()
        self.accounts: set[str] = set()  # names of accounts, here or not: told by the server
        self.operators: set[str] = set()
        self._saves: list[Effect] = []
        self._next_number = 1
        self._free_numbers: list[int] = []
        self._handlers: dict[type[wire.Body], Callable[[Seat, Any, float], list[Effect]]] = {
            wire.Send: self._send,
            wire.Join: self._join,
            wire.Part: self._part,
            wire.MembersAsk: self._members,
            wire.Resume: self._resume,
            wire.History: self._history,
            wire.Offer: self._offer,
            wire.Fetch: self._fetch,
            wire.Admin: self._admin,
        }
        self.add_room(
            Room(LOBBY, 0, topic="", history_days=policy.history_days, history_messages=policy.history_messages)
        )

    def adjust(self, limits: Limits, rates: Rates, timeouts: Timeouts, policy: Policy) -> None:
        """Another configuration, for those who are here as well."""
        self.limits, self.rates, self.timeouts, self.policy = limits, rates, timeouts, policy
        self._by_account.adjust(rates.account_messages_per_s, rates.message_burst * 2)
        self._by_address.adjust(rates.address_messages_per_s, rates.message_burst * 4)
        for seat in self.seats.values():
            seat.messages.rate, seat.messages.burst = rates.messages_per_s, rates.message_burst
            seat.requests = seat.searches = None  # made anew when needed
        for room in self.rooms.values():
            room.bucket = None

    # --- rooms as the store knows them -------------------------------------------------------------------------------

    def add_room(self, room: Room) -> Room:
        """Take a room in, with a number of its own."""
        room.number = self._free_numbers.pop() if self._free_numbers else self._next_number
        self._next_number += room.number == self._next_number
        self.rooms[room.name] = room
        return room

    # --- the life of a connection ------------------------------------------------------------------------------------

    def login(self, conn: int, user: User, now: float, returning: bool = False) -> User:
        """Seat a connection whose right to the name was verified outside. `returning`: it showed the session token.
        Raises Refusal: name-taken, too-many."""
        known = self.users.get(user.name)
        if known is not None and not self._same(known, user, returning):
            raise Refusal("name-taken", "somebody has this name now")
        if known is None:
            if user.guest:  # an account is let in whatever guests call themselves: it was there first
                look = skeleton(user.name)
                if self._skeletons.get(look, user.name) != user.name:
                    raise Refusal("name-taken", "somebody has a name that looks like this one")
                self._skeletons[look] = user.name
            known = self.users[user.name] = user
        elif len(known.seats) >= self.limits.sessions_per_account:
            raise Refusal("too-many", f"{self.limits.sessions_per_account} connections of this account already")
        elif known.guest and not returning:
            known.floors = None  # the name again, but perhaps not the person: nothing of the one before is shown
        known.operator = user.operator
        known.address = user.address
        known.seats.add(conn)
        self._held.discard(known)
        self.seats[conn] = Seat(conn, known, {}, Bucket(self.rates.messages_per_s, self.rates.message_burst, now))
        return known

    def _same(self, known: User, user: User, returning: bool) -> bool:
        """True if the newcomer may share or take over the name."""
        if known.guest != user.guest:
            return False
        return not user.guest or returning or (not known.seats and known.address == user.address)

    def drop(self, conn: int, now: float, for_good: bool = False) -> list[Effect]:
        """The connection is gone. The name stays in its rooms for a while, unless it left for good."""
        seat = self.seats.pop(conn, None)
        if seat is None:
            return []
        effects: list[Effect] = []
        for room in seat.rooms.values():
            effects.append(Leave(conn, room.number))
            if seat.user.name in room.seats:
                room.seats[seat.user.name] -= 1
        seat.user.seats.discard(conn)
        if not seat.user.seats:
            seat.user.held_until = now if for_good else now + self.timeouts.presence_hold_s
            self._held.add(seat.user)
        if for_good:
            self._release(now)
        return self._with_saves(effects)

    def handle(self, conn: int, body: wire.Body, now: float) -> list[Effect]:
        """The effects of a frame of a logged-in connection."""
        seat = self.seats.get(conn)
        if seat is None:
            return []
        try:
            effects = self._handlers[type(body)](seat, body, now)
        except Refusal as no:
            ref = getattr(body, "id", "") or getattr(body, "ref", "") or getattr(body, "room", "")
            error = wire.Error(no.code, no.text, ref=ref[:ID_MAX], retry_ms=no.retry_ms)
            effects = [Reply(conn, error), *self._strike(seat, no, now)]
        return self._with_saves(effects) if self._saves else effects

    def save(self, what: str, *args: Any) -> None:
        """Have the store keep a change; the effect goes out with those of the frame at hand."""
        self._saves.append(Save(what, args))

    def _with_saves(self, effects: list[Effect]) -> list[Effect]:
        saves, self._saves = self._saves, []
        return effects + saves

    def tick(self, now: float) -> list[Effect]:
        """Presence that waited, names whose hold is over, empty rooms nobody needs. Call it about once a second."""
        self._release(now)
        effects: list[Effect] = []
        for room in [room for room in self._busy if now - room.told >= PRESENCE_S]:
            effects += self._tell_presence(room, now)
        return self._with_saves(effects)

    # --- messages ----------------------------------------------------------------------------------------------------

    def _send(self, seat: Seat, body: wire.Send, now: float) -> list[Effect]:
        room = seat.rooms.get(body.room) or self._room_to_send(seat, body.room)
        user = seat.user
        size = len(body.text)
        if size > self.limits.text_bytes or (
            size * 4 > self.limits.text_bytes and len(body.text.encode()) > self.limits.text_bytes
        ):
            raise Refusal("too-long", f"a text has at most {self.limits.text_bytes} bytes")
        if not size and not body.deletes:
            raise Refusal("empty", "nothing to send")
        if not 0 < len(body.id) <= ID_MAX:
            raise Refusal("bad-id", f"an id has 1 to {ID_MAX} characters")
        if room.mutes or room.read_only:
            self._may_speak(room, user)
        delay = self._charge(seat, room, now)
        post = Post(
            seat.conn,
            room.name,
            user.name,
            body.id,
            "" if body.deletes else body.text,
            edits=body.edits,
            deletes=body.deletes,
            force=bool(body.deletes) and room.rank(user) >= RANK["moderator"],
        )
        invited = self._pull_in(room) if room.direct else []
        return [*invited, post, Delay(seat.conn, delay)] if delay or invited else [post]

    def committed(self, post: Post, seq: int, ts: int, again: bool = False) -> Shown:
        """The message is on disk: acknowledge, and show it. `again`: it was there already, the sender asked twice."""
        ack = wire.Ack(post.id, post.room, seq, ts) if post.id else None
        room = self.rooms.get(post.room)
        if room is None or again:
            return Shown(post.conn, ack)
        room.seq = seq
        body = wire.Msg(post.room, seq, ts, post.sender, post.text, post.id, post.file, post.edits, post.deletes)
        return Shown(post.conn, ack, room.number, body)

    def _room_to_send(self, seat: Seat, raw: str) -> Room:
        name = self._canonical(seat.user, raw)
        if name in seat.rooms:
            return seat.rooms[name]
        if name.startswith("@"):
            raise Refusal("not-member", "join the conversation first")
        raise Refusal("not-member" if name in self.rooms else "no-room", "join the room first")

    def _may_speak(self, room: Room, user: User) -> None:
        if room.muted(user.name, self.wall) and room.rank(user) < RANK["owner"]:
            raise Refusal("muted", "you are muted here")
        if room.read_only and room.rank(user) < RANK["moderator"]:
            raise Refusal("read-only", "only moderators write here")

    def _charge(self, seat: Seat, room: Room, now: float) -> float:
        """Seconds to delay the sender. Raises Refusal flood beyond the debt."""
        rates, user = self.rates, seat.user
        wait = seat.messages.take(now, debt=rates.message_burst)
        if rates.account_messages_per_s and wait >= 0:
            wait = _worse(wait, self._by_account.take(user.name, now, debt=rates.message_burst))
        if rates.address_messages_per_s and wait >= 0 and not self.exempt(user.address):
            wait = _worse(wait, self._by_address.take(address_key(user.address), now, debt=rates.message_burst))
        if rates.room_messages_per_s and wait >= 0:
            if room.bucket is None:
                room.bucket = Bucket(rates.room_messages_per_s, rates.room_messages_per_s, now)
            wait = _worse(wait, room.bucket.take(now, debt=rates.room_messages_per_s))
        if wait < 0:
            raise Refusal("flood", "too fast", int(-wait * 1000) + 1)
        return wait

    def _strike(self, seat: Seat, no: Refusal, now: float) -> list[Effect]:
        """Who does not heed ERROR flood is shown the door."""
        if no.code != "flood":
            return []
        if now - seat.struck > 60:
            seat.struck, seat.strikes = now, 0
        seat.strikes += 1
        if seat.strikes > self.rates.strikes:
            return [Close(seat.conn, "flood-kick", "too fast for too long")]
        return []

    # --- joining and leaving -----------------------------------------------------------------------------------------

    def _canonical(self, user: User, raw: str) -> str:
        """The room's name as the hub keeps it; `@name` becomes the conversation with that user."""
        if not raw.startswith("@"):
            return check_room(raw)
        names = raw[1:].lower().split("+")
        other = names[0] if len(names) == 1 else (names[1] if names[0] == user.name else names[0])
        if len(names) > 2 or (len(names) == 2 and user.name not in names) or not other or len(other) > 64:
            raise Refusal("private", "a conversation of others")
        return direct_room(user.name, other)

    def _join(self, seat: Seat, body: wire.Join, now: float) -> list[Effect]:
        self._ask(seat, now)
        room = self._room_to_join(seat.user, body.room)
        return self._seat_in(seat, room, room.seq if body.after is None else body.after)

    def _resume(self, seat: Seat, body: wire.Resume, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if len(body.rooms) > self.limits.rooms_per_session:
            raise Refusal("too-many-rooms", f"at most {self.limits.rooms_per_session} rooms a connection")
        for wanted in body.rooms:
            self._ask(seat, now, cost=0.5)
            try:
                effects += self._seat_in(seat, self._room_to_join(seat.user, wanted.room), wanted.seq)
            except Refusal as no:
                effects.append(Reply(seat.conn, wire.Error(no.code, no.text, ref=wanted.room)))
        return effects

    def _room_to_join(self, user: User, raw: str) -> Room:
        name = self._canonical(user, raw)
        room = self.rooms.get(name)
        if room is None:
            return self._make(user, name)
        ban = None if user.operator else room.banned(user, self.wall)
        if ban is not None:
            raise Refusal("banned", "you are banned from this room")
        if not room.welcomes(user):
            raise Refusal("private", "this room is private")
        if user.name not in room.seats and len(room.seats) >= self.limits.room_members:
            raise Refusal("room-full", f"the room has {self.limits.room_members} members")
        return room

    def _make(self, user: User, name: str) -> Room:
        """A room that is not there yet: made by who joins, if rooms are open."""
        direct = name.startswith("@")
        if direct:
            self._check_partner(user, name)
        elif not (self.policy.open_rooms or user.operator):
            raise Refusal("no-room", "there is no such room")
        return self.make_room(user, Room(name, 0, private=direct))

    def make_room(self, user: User, room: Room) -> Room:
        """Take in a new room; its maker owns it. Raises Refusal room-full, too-many-rooms."""
        if len(self.rooms) >= self.limits.rooms:
            raise Refusal("room-full", "the server has no place for another room")
        if user.made >= self.limits.rooms_per_user and not user.operator:
            raise Refusal("too-many-rooms", f"you have made {user.made} rooms already")
        user.made += 1
        room.history_days, room.history_messages = self.policy.history_days, self.policy.history_messages
        if not room.direct:
            room.roles[user.name] = "owner"
        self.save(
            "put_room", room.name, room.topic, room.private, room.read_only, room.history_days, room.history_messages
        )
        if not room.direct and not user.guest:
            self.save("put_role", room.name, user.name, "owner")
        return self.add_room(room)

    def _check_partner(self, user: User, name: str) -> None:
        """A conversation is begun with somebody who is here, or has an account (then the store knows the room)."""
        other = next((n for n in name[1:].split("+") if n != user.name), user.name)
        if other not in self.users and other not in self.accounts:
            raise Refusal("no-user", "nobody has this name")

    def _seat_in(self, seat: Seat, room: Room, after: int) -> list[Effect]:
        """Enter the connection into the room and tell it what it must know."""
        user, effects = seat.user, list[Effect]()
        if room.name not in seat.rooms:
            if len(seat.rooms) >= self.limits.rooms_per_session:
                raise Refusal("too-many-rooms", f"at most {self.limits.rooms_per_session} rooms a connection")
            seat.rooms[room.name] = room
            if user.name not in room.seats:
                self._note(room, came=user.name)
            room.seats[user.name] = room.seats.get(user.name, 0) + 1
        after = max(min(after, room.seq), self.floor(user, room))
        joined = wire.Joined(
            room.name,
            room.number,
            room.seq,
            room.oldest,
            room.role(user),
            room.topic,
            len(room.seats),
            room.private,
            room.read_only,
        )
        effects.append(Reply(seat.conn, joined))
        effects.append(Reply(seat.conn, self.members(room)))
        effects.append(
            Enter(seat.conn, room.name, room.number, after, room.seq, max(room.oldest, self.floor(user, room) + 1))
        )
        return effects

    def floor(self, user: User, room: Room) -> int:
        """The seq below which this user is shown nothing: a guest's direct rooms begin when the guest does."""
        if not room.direct or not user.guest:
            return 0
        if user.floors is None:
            user.floors = {}
        return user.floors.setdefault(room.name, room.seq)

    def _pull_in(self, room: Room) -> list[Effect]:
        """Seat every connection of the two partners, so that a first direct message finds its receiver."""
        effects: list[Effect] = []
        for name in room.partners():
            user = self.users.get(name)
            if user is None or room.seats.get(name, 0) == len(user.seats):
                continue
            for conn in user.seats:
                seat = self.seats[conn]
                if room.name not in seat.rooms and len(seat.rooms) < self.limits.rooms_per_session:
                    effects += self._seat_in(seat, room, room.seq)
        return effects

    def _part(self, seat: Seat, body: wire.Part, now: float) -> list[Effect]:
        self._ask(seat, now)
        name = self._canonical(seat.user, body.room)
        if name not in seat.rooms:
            raise Refusal("not-member", "you are not in this room")
        return self.unseat(seat, seat.rooms[name], "left")

    def unseat(self, seat: Seat, room: Room, reason: str, text: str = "") -> list[Effect]:
        """Take one connection out of a room."""
        del seat.rooms[room.name]
        name = seat.user.name
        room.seats[name] -= 1
        if room.seats[name] <= 0:
            del room.seats[name]
            self._note(room, went=name)
        effects: list[Effect] = [Leave(seat.conn, room.number), Reply(seat.conn, wire.Parted(room.name, reason, text))]
        self._forget_if_empty(room)
        return effects

    def eject(self, name: str, room: Room, reason: str, text: str = "") -> list[Effect]:
        """Take all connections of a user out of a room, and the name with them."""
        effects: list[Effect] = []
        user = self.users.get(name)
        for conn in list(user.seats) if user else []:
            if room.name in self.seats[conn].rooms:
                effects += self.unseat(self.seats[conn], room, reason, text)
        if room.seats.pop(name, None) is not None:
            self._note(room, went=name)
        return effects

    def close_room(self, room: Room) -> list[Effect]:
        """Everybody out, the room away."""
        effects: list[Effect] = []
        for name in list(room.seats):
            effects += self.eject(name, room, "closed")
        self._remove(room)
        return effects

    def _forget_if_empty(self, room: Room) -> None:
        """A room nobody is in and nobody wrote in or shaped is not kept."""
        shaped = room.seq or room.bans or room.topic or room.invited or (room.private and not room.direct)
        if not room.seats and not shaped and room.name != LOBBY:
            self._remove(room)

    def _remove(self, room: Room) -> None:
        if self.rooms.pop(room.name, None) is not None:
            self._free_numbers.insert(0, room.number)
            self.save("remove_room", room.name)
        self._busy.discard(room)

    def _release(self, now: float) -> None:
        """Give up the names whose hold is over."""
        for user in [user for user in self._held if now >= user.held_until]:
            self._held.discard(user)
            del self.users[user.name]
            if user.guest:
                self._skeletons.pop(skeleton(user.name), None)
            for room in [room for room in self.rooms.values() if user.name in room.seats]:
                del room.seats[user.name]
                self._note(room, went=user.name)
                if user.guest:
                    room.roles.pop(user.name, None)  # the next guest of this name is somebody else
                self._forget_if_empty(room)

    # --- presence ----------------------------------------------------------------------------------------------------

    def members(self, room: Room) -> wire.Members:
        """The member list, or only the count in a large room."""
        names = room.seats if len(room.seats) <= self.limits.names_listed else ()
        return wire.Members(room.name, len(room.seats), [self._member(room, name) for name in sorted(names)])

    def _member(self, room: Room, name: str) -> wire.Member:
        user = self.users.get(name)
        role = room.role(user) if user else room.roles.get(name, "member")
        return wire.Member(name, role, room.muted(name, self.wall), bool(user and user.guest))

    def _members(self, seat: Seat, body: wire.MembersAsk, now: float) -> list[Effect]:
        self._ask(seat, now)
        name = self._canonical(seat.user, body.room)
        if name not in seat.rooms:
            raise Refusal("not-member", "you are not in this room")
        return [Reply(seat.conn, self.members(seat.rooms[name]))]

    def _note(self, room: Room, came: str = "", went: str = "") -> None:
        """Remember who came or went, to be told with the next PRESENCE."""
        if came:
            room.went.discard(came)
            room.came.add(came)
        if went:
            if went in room.came:
                room.came.discard(went)
            else:
                room.went.add(went)
        self._busy.add(room)

    def note_change(self, room: Room, name: str) -> None:
        """The role or mute of a member has changed."""
        room.changed.add(name)
        self._busy.add(room)

    def _tell_presence(self, room: Room, now: float) -> list[Effect]:
        room.told = now
        self._busy.discard(room)
        came, changed, went = room.came, room.changed - room.came, room.went
        room.came, room.changed, room.went = set(), set(), set()
        count = len(room.seats)
        if not room.seats:
            return []
        if count > self.limits.names_listed:
            return [ToRoom(room.number, wire.Presence(room.name, count))]
        joined = [self._member(room, name) for name in sorted(came & room.seats.keys())]
        moved = [self._member(room, name) for name in sorted(changed & room.seats.keys())]
        if not (joined or moved or went):
            return []
        return [ToRoom(room.number, wire.Presence(room.name, count, joined, moved, sorted(went)))]

    # --- history, files, administration ------------------------------------------------------------------------------

    def _ask(self, seat: Seat, now: float, cost: float = 1.0) -> None:
        if seat.requests is None:
            seat.requests = Bucket(self.rates.requests_per_s, self.rates.request_burst, now)
        wait = seat.requests.take(now, cost)
        if wait < 0:
            raise Refusal("flood", "too many requests", int(-wait * 1000) + 1)

    def _history(self, seat: Seat, body: wire.History, now: float) -> list[Effect]:
        if seat.searches is None:
            seat.searches = Bucket(self.rates.searches_per_s, self.rates.search_burst, now)
        wait = seat.searches.take(now)
        if wait < 0 or seat.reading >= READS:
            raise Refusal("flood", "too many requests for history", int(-wait * 1000) + 1 if wait < 0 else 100)
        if body.room:
            name = self._canonical(seat.user, body.room)
            if name not in seat.rooms:
                raise Refusal("not-member", "join the room first")
            rooms: Iterable[Room] = [seat.rooms[name]]
        elif body.query:
            rooms = seat.rooms.values()
        else:
            raise Refusal("bad-request", "HISTORY names a room or a query")
        seat.reading += 1
        return [Read(seat.conn, body, {room.name: self.floor(seat.user, room) for room in rooms})]

    def has_read(self, conn: int) -> None:
        """A Read is answered."""
        if conn in self.seats:
            self.seats[conn].reading -= 1

    def _offer(self, seat: Seat, body: wire.Offer, now: float) -> list[Effect]:
        self._ask(seat, now)
        room = seat.rooms.get(body.room) or self._room_to_send(seat, body.room)
        self._may_speak(room, seat.user)
        check_file_name(body.name)
        if len(body.sha256) != 64 or not set(body.sha256) <= set("0123456789abcdef"):
            raise Refusal("bad-file", "sha256 has 64 hexadecimal digits, small letters")
        if len(body.mime) > 127 or has_controls(body.mime) or len(body.ref) > ID_MAX:
            raise Refusal("bad-file", "mime has at most 127 characters, ref 64")
        return [*(self._pull_in(room) if room.direct else []), Upload(seat.conn, seat.user.name, body, room.name)]

    def _fetch(self, seat: Seat, body: wire.Fetch, now: float) -> list[Effect]:
        self._ask(seat, now)
        return [Download(seat.conn, body)]

    def may_read(self, conn: int, room_name: str, seq: int) -> bool:
        """True if the connection may read message `seq` of the room, and so the file in it."""
        seat = self.seats.get(conn)
        room = seat.rooms.get(room_name) if seat else None
        return bool(seat and room and (seq == 0 or seq > self.floor(seat.user, room)))

    def _admin(self, seat: Seat, body: wire.Admin, now: float) -> list[Effect]:
        self._ask(seat, now)
        return commands.run(self, seat, body)


def _worse(one: float, other: float) -> float:
    """The longer wait; a refusal (negative) wins."""
    return min(one, other) if one < 0 or other < 0 else max(one, other)
