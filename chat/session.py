"""One connection as the server sees it: which frame may come when, login, ping, timeouts, the way out.

Bytes come in by receive_data(), what the hub or the transfer must handle comes out as bodies; what is to be sent is
collected by data_to_send(). Who somebody is, is decided outside: an Auth comes out, accept() or refuse() goes in. This
file knows no socket, no clock and no room.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from chat import wire
from chat.decoder import LOGIN, OPEN, TRANSFER, Decoder
from chat.errors import WireError
from chat.limits import Timeouts

HTTP_ANSWER: Final = b"HTTP/1.1 400 this is not a web server\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LOGIN_TRIES: Final = 3  # failed ones on one connection; the next try costs a new connection and its handshake


class State(Enum):
    """Where a connection is. CHECKING: an AUTH is being verified outside."""

    NEW = auto()
    LOGIN = auto()
    CHECKING = auto()
    OPEN = auto()
    FILE = auto()
    CLOSING = auto()


_ALWAYS: Final[frozenset[type[wire.Body]]] = frozenset([wire.Ping, wire.Pong, wire.Goaway])
# state -> the frames it takes (docs/wire.md, states); all others: ERROR bad-state, close
TAKES: Final[dict[State, frozenset[type[wire.Body]]]] = {
    State.NEW: frozenset([wire.Hello]),
    State.LOGIN: _ALWAYS.union([wire.Auth]),
    State.CHECKING: _ALWAYS,
    State.OPEN: _ALWAYS.union(
        [
            wire.Join,
            wire.Part,
            wire.MembersAsk,
            wire.Send,
            wire.History,
            wire.Resume,
            wire.Offer,
            wire.Fetch,
            wire.Admin,
        ]
    ),
    State.FILE: _ALWAYS.union([wire.Data, wire.Credit, wire.Done]),
    State.CLOSING: frozenset(),
}
_FOR_HUB: Final = TAKES[State.OPEN] - _ALWAYS


@dataclass(frozen=True, slots=True)
class Rules:
    """What all connections share: the WELCOME frame, ready to send, and the timeouts."""

    welcome: bytes
    timeouts: Timeouts


class Session:
    """The state machine of one connection: feed it, act on the bodies, send what it wants to send, tick it."""

    __slots__ = ("_begun", "_decoder", "_heard", "_out", "_pinged", "_rules", "_since", "_tries", "reason", "state")

    def __init__(self, rules: Rules, now: float) -> None:
        self.state = State.NEW
        self.reason = ""  # why it is closing: a code of docs/wire.md
        self._rules = rules
        self._decoder = Decoder(wire.FROM_CLIENT, LOGIN)
        self._out: list[bytes] = []
        self._since = now  # of the state
        self._heard = now
        self._begun: float | None = None  # when the unfinished frame began
        self._pinged = False
        self._tries = 0

    def receive_data(self, data: bytes, now: float) -> list[wire.Body]:
        """The bodies that somebody else must handle: Hello with a transfer token, Auth, Goaway, all of OPEN and FILE."""
        self._heard = now
        self._pinged = False
        fault: WireError | None = None
        try:
            frames = self._decoder.feed(data)
        except WireError as error:
            frames, fault = error.frames, error
        bodies: list[wire.Body] = []
        for frame in frames:
            body = frame.body
            if self.state is State.OPEN and type(body) in _FOR_HUB:
                bodies.append(body)
            else:
                self._step(body, bodies, now)
        if fault is not None and self.state is not State.CLOSING:
            self._answer_fault(fault, now)
        if not self._decoder.pending:
            self._begun = None
        elif frames or self._begun is None:
            self._begun = now
        return bodies

    def accept(self, answer: wire.AuthOk, now: float) -> None:
        """The login is right: AUTH_OK, larger frames, room frames."""
        assert self.state is State.CHECKING
        self._enter(State.OPEN, now)
        self._decoder.caps = OPEN
        self.send(answer)

    def refuse(self, code: str, text: str, now: float, retry_ms: int = 0) -> None:
        """The login is wrong: ERROR, and the door after a few."""
        assert self.state is State.CHECKING
        self._tries += 1
        if self._tries >= LOGIN_TRIES:
            self.close(code, text, now, retry_ms)
            return
        self._enter(State.LOGIN, now, restart=False)
        self.send(wire.Error(code, text, ref="AUTH", retry_ms=retry_ms))

    def become_file(self, now: float) -> None:
        """The transfer token is right: this is a file connection."""
        self._enter(State.FILE, now)
        self._decoder.caps = TRANSFER
        self._out.append(self._rules.welcome)

    def send(self, body: wire.Body) -> None:
        """Queue a frame of the session itself."""
        self._out.append(wire.encode(body))

    def close(self, code: str, text: str, now: float, retry_ms: int = 0) -> None:
        """Queue ERROR and start closing; what comes in from now on is dropped."""
        if self.state is State.CLOSING:
            return
        self.send(wire.Error(code, text, retry_ms=retry_ms))
        self.reason = code
        self._enter(State.CLOSING, now)

    def finish(self, now: float) -> None:
        """All is said: start closing."""
        if self.state is not State.CLOSING:
            self.reason = self.reason or "done"
            self._enter(State.CLOSING, now)

    def go_away(self, reason: str, retry_ms: int, now: float) -> None:
        """Queue GOAWAY and start closing."""
        if self.state is State.CLOSING:
            return
        self.send(wire.Goaway(reason, retry_ms))
        self.reason = "goaway"
        self._enter(State.CLOSING, now)

    def tick(self, now: float) -> bool:
        """Ping and time out; call it about once a second. True: closing took too long, abort the connection."""
        limits = self._rules.timeouts
        silent = now - self._heard
        if self.state is State.CLOSING:
            return now - self._since > limits.close_s
        if self.state in {State.NEW, State.LOGIN}:
            if now - self._since > limits.login_s:
                self.close("timeout", f"no login within {limits.login_s:g} s", now)
        elif self.state is State.FILE:
            if silent > limits.file_s:
                self.close("timeout", f"no progress for {limits.file_s:g} s", now)
        elif silent > limits.dead_s:
            self.close("timeout", f"silent for {limits.dead_s:g} s", now)
        elif self._begun is not None and now - self._begun > limits.frame_s:
            self.close("timeout", f"frame not complete within {limits.frame_s:g} s", now)
        elif silent > limits.ping_s and not self._pinged:
            self._pinged = True
            self.send(wire.Ping(int(now)))
        return False

    def progress(self, now: float) -> None:
        """The peer took bytes of ours: a download is alive though it says nothing."""
        self._heard = now

    @property
    def has_output(self) -> bool:
        """True if something is queued."""
        return bool(self._out)

    def data_to_send(self) -> bytes:
        """What is queued, once."""
        if not self._out:
            return b""
        out, self._out = b"".join(self._out), []
        return out

    def _enter(self, state: State, now: float, restart: bool = True) -> None:
        self.state = state
        if restart:
            self._since = now

    def _step(self, body: wire.Body, bodies: list[wire.Body], now: float) -> None:
        """One frame of those that the session itself has a say in."""
        if self.state is State.CLOSING:
            return
        if type(body) not in TAKES[self.state]:
            self.close(
                "bad-state", f"{type(body).__name__.upper()} is not taken in state {self.state.name.lower()}", now
            )
        elif isinstance(body, wire.Ping):
            self.send(wire.Pong(body.nonce))
        elif isinstance(body, wire.Hello):
            self._hello(body, bodies, now)
        elif isinstance(body, wire.Auth):
            self._enter(State.CHECKING, now, restart=False)
            bodies.append(body)
        elif isinstance(body, wire.Goaway):
            self.reason = "left"
            self._enter(State.CLOSING, now)
            bodies.append(body)
        elif not isinstance(body, wire.Pong):
            bodies.append(body)

    def _hello(self, body: wire.Hello, bodies: list[wire.Body], now: float) -> None:
        if wire.VERSION not in body.versions:
            self.close("bad-version", f"this server speaks version {wire.VERSION}", now)
        elif body.transfer:
            bodies.append(body)
        else:
            self._enter(State.LOGIN, now, restart=False)
            self._out.append(self._rules.welcome)

    def _answer_fault(self, fault: WireError, now: float) -> None:
        """HTTP gets one line, strangers get nothing, our own kind gets the reason."""
        if fault.code == "http":
            self._out.append(HTTP_ANSWER)
        elif fault.code != "bad-magic" or self.state is not State.NEW:
            self.close(fault.code, fault.text, now)
            return
        self.reason = fault.code
        self._enter(State.CLOSING, now)
