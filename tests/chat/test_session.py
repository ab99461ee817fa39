"""chat.session: the table of states and frames, login, timeouts, the way out; bytes in, bytes out."""

import pytest
from chat_world import LIMITS

from chat import wire
from chat.decoder import CLIENT, Decoder
from chat.limits import Timeouts
from chat.session import HTTP_ANSWER, LOGIN_TRIES, TAKES, Rules, Session, State

WELCOME = wire.encode(wire.Welcome(1, "t", [], LIMITS, ["guest"]))
RULES = Rules(WELCOME, Timeouts())
SAMPLES: dict[type[wire.Body], wire.Body] = {
    wire.Hello: wire.Hello([1]),
    wire.Auth: wire.Auth("guest", user="ann"),
    wire.Ping: wire.Ping(3),
    wire.Pong: wire.Pong(3),
    wire.Goaway: wire.Goaway("bye"),
    wire.Join: wire.Join("lobby"),
    wire.Part: wire.Part("lobby"),
    wire.MembersAsk: wire.MembersAsk("lobby"),
    wire.Send: wire.Send("lobby", "i", "t"),
    wire.History: wire.History("lobby"),
    wire.Resume: wire.Resume([]),
    wire.Offer: wire.Offer("r", "n", 1, "0" * 64, "lobby"),
    wire.Data: wire.Data("0" * 32, 0, 0, b"x"),
    wire.Credit: wire.Credit("0" * 32, 0, 1),
    wire.Fetch: wire.Fetch("r", "0" * 32),
    wire.Done: wire.Done("0" * 32),
    wire.Admin: wire.Admin("rooms"),
}


def session_in(state: State) -> Session:
    """A session brought into a state by frames alone."""
    session = Session(RULES, now=0.0)
    if state is State.NEW:
        return session
    session.receive_data(wire.encode(wire.Hello([1])), 0.0)
    if state is State.FILE:
        session = Session(RULES, now=0.0)
        session.receive_data(wire.encode(wire.Hello([1], transfer="t")), 0.0)
        session.become_file(0.0)
    elif state is not State.LOGIN:
        session.receive_data(wire.encode(wire.Auth("guest", user="ann")), 0.0)
    if state is State.OPEN:
        session.accept(wire.AuthOk("ann", "s"), 0.0)
    if state is State.CLOSING:
        session.close("full", "x", 0.0)
    session.data_to_send()
    return session


def sent(session: Session) -> list[wire.Body]:
    return [frame.body for frame in Decoder(wire.FROM_SERVER, CLIENT).feed(session.data_to_send())]


@pytest.mark.parametrize("kind", wire.FROM_CLIENT.values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_a_state_takes_its_frames_and_closes_on_all_others(state: State, kind: type[wire.Body]) -> None:
    """Each state x each frame: the table decides; what is not in it is answered bad-state (or oversize for DATA where
    no DATA may come), and closing says nothing more."""
    session = session_in(state)

    session.receive_data(wire.encode(SAMPLES[kind]), 0.0)

    answers = sent(session)
    if state is State.CLOSING:
        assert answers == []
    elif kind in TAKES[state]:
        assert not any(isinstance(body, wire.Error) for body in answers)
    else:
        expected = "oversize" if kind is wire.Data else "bad-state"
        assert [body.code for body in answers if isinstance(body, wire.Error)] == [expected]
        assert session.state is State.CLOSING


def test_hello_and_auth_in_one_piece_and_byte_at_a_time() -> None:
    """A client may send HELLO and AUTH at once; cut anyhow the session is the same."""
    data = wire.encode(wire.Hello([1, 9])) + wire.encode(wire.Auth("guest", user="ann"))
    whole, slow = Session(RULES, 0.0), Session(RULES, 0.0)

    found = whole.receive_data(data, 0.0)
    dripped = [body for byte in data for body in slow.receive_data(bytes([byte]), 0.0)]

    assert found == dripped == [wire.Auth("guest", user="ann")]
    assert whole.state is slow.state is State.CHECKING
    assert whole.data_to_send() == slow.data_to_send() == WELCOME


@pytest.mark.parametrize(
    ("data", "answer", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_ANSWER, "http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"", "bad-magic"),
        (b"NICK ann\r\nUSER ann\r\n", b"", "bad-magic"),
    ],
)
def test_strangers_get_one_line_or_nothing(data: bytes, answer: bytes, reason: str) -> None:
    """An HTTP verb gets a one-line 400, other protocols silence; both are closed."""
    session = Session(RULES, 0.0)

    assert session.receive_data(data, 0.0) == []

    assert session.data_to_send() == answer
    assert answer.count(b"\r\n\r\n") == (1 if answer else 0)
    assert (session.state, session.reason) == (State.CLOSING, reason)


def test_unknown_version_is_refused_with_a_reason() -> None:
    """HELLO without a version that we speak."""
    session = Session(RULES, 0.0)

    session.receive_data(wire.encode(wire.Hello([2, 3])), 0.0)

    (error,) = sent(session)
    assert isinstance(error, wire.Error) and error.code == "bad-version" and "1" in error.text


def test_large_frames_wait_for_login() -> None:
    """4 KiB before login, 64 KiB after it: the header alone is refused."""
    big = wire.HEADER.pack(b"TW", 1, wire.Type.SEND, 0, 0, wire.LOGIN_CAP + 1)
    before, after = session_in(State.LOGIN), session_in(State.OPEN)

    before.receive_data(big, 0.0)
    after.receive_data(big, 0.0)

    assert before.reason == "oversize"
    assert after.state is State.OPEN


def test_three_wrong_logins_close_the_connection() -> None:
    """A refused login may be tried again, a few times."""
    session = session_in(State.LOGIN)

    for _ in range(LOGIN_TRIES):
        assert session.state is State.LOGIN
        session.receive_data(wire.encode(wire.Auth("password", user="a", secret="b")), 0.0)
        session.refuse("auth-failed", "no", 0.0)

    assert session.state is State.CLOSING


# phase, seconds of silence -> reason, or '' when it must live on
PHASES = [
    (State.NEW, 14.0, ""),
    (State.NEW, 16.0, "timeout"),
    (State.LOGIN, 16.0, "timeout"),
    (State.OPEN, 74.0, ""),
    (State.OPEN, 76.0, "timeout"),
    (State.FILE, 59.0, ""),
    (State.FILE, 61.0, "timeout"),
]


@pytest.mark.parametrize(("state", "seconds", "reason"), PHASES)
def test_every_phase_ends_by_itself(state: State, seconds: float, reason: str) -> None:
    """Silence in a phase is borne so long and no longer."""
    session = session_in(state)

    session.tick(seconds)

    assert session.reason == reason


def test_login_time_is_not_renewed_by_dripping_or_trying() -> None:
    """Slow-loris: a byte a second, or a wrong login now and then, buys no time."""
    dripping, trying = session_in(State.NEW), session_in(State.LOGIN)
    for second, byte in enumerate(wire.encode(wire.Hello([1], agent="x" * 50))[:15]):
        dripping.receive_data(bytes([byte]), float(second))
    trying.receive_data(wire.encode(wire.Auth("password")), 10.0)
    trying.refuse("auth-failed", "no", 14.0)

    dripping.tick(15.5)
    trying.tick(15.5)

    assert dripping.reason == trying.reason == "timeout"


def test_a_frame_once_begun_must_be_finished() -> None:
    """In an open session a dripped frame is cut after 30 s though bytes come all the time."""
    session = session_in(State.OPEN)
    frame = wire.encode(wire.Send("lobby", "i", "x" * 200))
    for second in range(31):
        session.receive_data(frame[second : second + 1], float(second))
        session.tick(float(second))
    assert session.state is State.OPEN

    session.tick(31.0)

    assert session.reason == "timeout"


def test_whole_frames_keep_a_busy_session_alive() -> None:
    """Cuts in the middle of frames are no crime while frames are completed."""
    session = session_in(State.OPEN)
    ping = wire.encode(wire.Ping(1))
    for second in range(100):
        session.receive_data(ping[6:] + ping[:6] if second else ping + ping[:6], float(second))
        session.tick(float(second))

    assert session.state is State.OPEN


def test_silence_is_pinged_once_and_a_pong_renews() -> None:
    """PING after 30 s, once; the answer starts the silence anew."""
    session = session_in(State.OPEN)
    session.tick(31.0)
    session.tick(32.0)
    assert [type(body) for body in sent(session)] == [wire.Ping]

    session.receive_data(wire.encode(wire.Pong(31)), 33.0)
    session.tick(100.0)

    assert session.state is State.OPEN


def test_closing_is_bounded() -> None:
    """Who does not take the last words is aborted after 5 s."""
    session = session_in(State.CLOSING)

    assert [session.tick(t) for t in (1.0, 4.9, 5.1)] == [False, False, True]


def test_frames_before_a_fault_count() -> None:
    """A message and then rubbish in one piece: the message is handled, then the door."""
    session = session_in(State.OPEN)

    bodies = session.receive_data(wire.encode(SAMPLES[wire.Send]) + b"rubbish", 0.0)

    assert bodies == [SAMPLES[wire.Send]]
    assert session.reason == "bad-magic"
