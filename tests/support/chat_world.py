"""A chat server's cores and its clients in memory: no socket, no thread, no sleep; the test turns the clock.

`World` joins the real Session, Hub, Fanout and MemoryHistory as chat/server.py does; `Client` speaks real bytes to it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from chat import effects, wire
from chat.decoder import CLIENT, Decoder
from chat.errors import Refusal
from chat.fanout import Fanout
from chat.history import MemoryHistory
from chat.hub import Hub, Policy
from chat.limits import Limits, Rates, Timeouts, check_name
from chat.rooms import User
from chat.session import Rules, Session, State

B = TypeVar("B", bound=wire.Body)
LIMITS = wire.Limits(*[1] * 10, 1.0, 1, 1, 1, 1.0, 1.0, 1.0, 1.0)


class Client:
    """One connection, both ends. `got` are the bodies that came; `full` makes its buffer refuse to drain."""

    def __init__(self, world: "World", conn: int, address: str) -> None:
        self.world, self.conn, self.address = world, conn, address
        self.session = Session(world.rules, world.now)
        self.decoder = Decoder(wire.FROM_SERVER, CLIENT)
        self.lags: dict[int, int] | None = None
        self.got: list[wire.Body] = []
        self.raw = b""
        self.pause_at = 1 << 60
        self.buffered = 0
        self.cut = False

    def write(self, data: bytes) -> None:
        self.raw += data
        if not data.startswith(b"HTTP"):
            self.got += [frame.body for frame in self.decoder.feed(data)]
        self.buffered += len(data)
        if self.buffered > self.pause_at and self.lags is None:
            seat = self.world.hub.seats[self.conn]
            self.world.fanout.pause(self, [room.number for room in seat.rooms.values()])

    def drain(self) -> None:
        """The client has read: back into the live sets."""
        self.buffered = 0
        lags, self.lags = self.lags, None
        for number, after in (lags or {}).items():
            missing = self.world.fanout.attach(self, number, after)
            if missing is not None:
                name = self.world.fanout.channels[number].name
                self.world.fanout.send(self, wire.encode(wire.Gap(name, *missing, "slow"), number))
                self.world.fanout.attach(self, number, missing[1])
        self.world.fanout.flush()

    def feed(self, data: bytes) -> None:
        self.world.feed(self, data)

    def say(self, *bodies: wire.Body) -> "Client":
        for body in bodies:
            self.feed(wire.encode(body))
        return self

    def login(self, name: str) -> "Client":
        return self.say(wire.Hello([1]), wire.Auth("guest", user=name))

    def take(self, kind: type[B]) -> list[B]:
        """All bodies of a kind that came since the last take."""
        found = [body for body in self.got if isinstance(body, kind)]
        self.got = [body for body in self.got if not isinstance(body, kind)]
        return found

    def last(self, kind: type[B]) -> B:
        found = self.take(kind)
        assert found, f"no {kind.__name__}; came: {self.got}"
        return found[-1]


class World:
    """The server. `accounts` and `operators` are names that `login` seats as such."""

    def __init__(self, rates: Rates | None = None, limits: Limits | None = None, policy: Policy | None = None) -> None:
        self.now = 100.0
        self.limits = limits or Limits()
        timeouts = Timeouts()
        off = Rates(
            messages_per_s=0,
            account_messages_per_s=0,
            address_messages_per_s=0,
            room_messages_per_s=0,
            requests_per_s=0,
            searches_per_s=0,
        )
        self.hub = Hub(self.limits, rates or off, timeouts, policy or Policy(), lambda address: False)
        self.hub.wall = 1_700_000_000.0
        self.fanout = Fanout(lambda: None, self.limits.ring_bytes)
        self.history = MemoryHistory(2000)
        self.rules = Rules(wire.encode(wire.Welcome(1, "w", [], LIMITS, ["guest"])), timeouts)
        self.clients: dict[int, Client] = {}
        self.saved: list[effects.Save] = []
        self.other: list[effects.Effect] = []

    def connect(self, address: str = "192.0.2.1") -> Client:
        client = Client(self, len(self.clients) + 1, address)
        self.clients[client.conn] = client
        return client

    def join(self, *names: str, room: str = "lobby") -> list[Client]:
        """Logged-in clients in a room, their mail emptied."""
        clients = [self.connect(f"192.0.2.{i + 1}").login(name).say(wire.Join(room)) for i, name in enumerate(names)]
        self.pass_time(1.5)
        for client in clients:
            client.got.clear()
        return clients

    def feed(self, client: Client, data: bytes) -> None:
        for body in client.session.receive_data(data, self.now):
            if client.session.state is State.OPEN:
                self.apply(self.hub.handle(client.conn, body, self.now))
            elif isinstance(body, wire.Auth):
                self._login(client, body)
            elif isinstance(body, wire.Goaway):
                self.leave(client, for_good=True)
        self.flush(client)

    def _login(self, client: Client, auth: wire.Auth) -> None:
        try:
            name = check_name(auth.user)
            account = name in self.hub.accounts
            user = User(name, not account, name in self.hub.operators, client.address)
            self.hub.login(client.conn, user, self.now, returning=auth.mechanism == "session")
        except Refusal as no:
            client.session.refuse(no.code, no.text, self.now)
        else:
            client.session.accept(wire.AuthOk(name, "s-" + name, guest=not account), self.now)

    def leave(self, client: Client, for_good: bool = False) -> None:
        """The connection is gone."""
        seat = self.hub.seats.get(client.conn)
        self.fanout.forget(client, [room.number for room in seat.rooms.values()] if seat else [])
        self.apply(self.hub.drop(client.conn, self.now, for_good))
        self.fanout.flush()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.hub.wall += seconds
        for client in list(self.clients.values()):
            client.cut = client.session.tick(self.now) or client.cut
            self.flush(client)
        self.apply(self.hub.tick(self.now))
        self.fanout.flush()

    def flush(self, client: Client) -> None:
        out = client.session.data_to_send()
        if out:
            self.fanout.send(client, out)
        self.fanout.flush()

    def apply(self, wanted: list[effects.Effect]) -> None:
        for effect in wanted:
            act: Callable[[Any], None] = getattr(self, "_" + type(effect).__name__.lower(), self.other.append)
            act(effect)

    def _reply(self, e: effects.Reply) -> None:
        if e.conn in self.clients:
            self.fanout.send(self.clients[e.conn], wire.encode(e.body))

    def _toroom(self, e: effects.ToRoom) -> None:
        self.fanout.post(e.number, wire.encode(e.body, e.number), e.seq)

    def _enter(self, e: effects.Enter) -> None:
        client = self.clients[e.conn]
        self.fanout.open(e.number, e.room, e.seq)
        missing = self.fanout.attach(client, e.number, e.after)
        if missing is not None:
            page, _ = self.history.page(e.room, wire.History(e.room, after=e.after), e.after, 10_000, 1 << 30)
            for message in page:
                self.fanout.send(client, wire.encode(message, e.number))
            self.fanout.attach(client, e.number, e.seq)

    def _leave(self, e: effects.Leave) -> None:
        if e.conn in self.clients:
            self.fanout.detach(self.clients[e.conn], e.number)

    def _post(self, e: effects.Post) -> None:
        stored = self.history.write(e, int(self.hub.wall * 1000))
        if stored.code:
            self._reply(effects.Reply(e.conn, wire.Error(stored.code, stored.text, ref=e.id)))
        else:
            shown = self.hub.committed(e, stored.seq, stored.ts, stored.again)
            if shown.ack is not None:
                self._reply(effects.Reply(e.conn, shown.ack))
            if shown.body is not None:
                self._toroom(effects.ToRoom(shown.number, shown.body, stored.seq))

    def _save(self, e: effects.Save) -> None:
        self.saved.append(e)

    def _close(self, e: effects.Close) -> None:
        client = self.clients[e.conn]
        client.session.close(e.code, e.text, self.now)
        self.flush(client)
