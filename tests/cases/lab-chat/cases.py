"""Scenes of tapwall's own chat, and of its port with something else."""

from cases import fires, silent
from payloads import request, response, tls
from traffic import Wire

ME, SERVER = "10.0.0.9", "10.0.0.5"


def _chat(port: int, wire: Wire) -> None:
    from chat import wire as chat

    hello, auth = chat.encode(chat.Hello([1], agent="test")), chat.encode(chat.Auth("guest", user="alice"))
    said = [("c", hello), ("c", auth), ("c", chat.encode(chat.Send("lobby", "id-1", "hello")))]
    said += [("s", chat.encode(chat.Msg("lobby", 7, 1_700_000_000_000, "alice", "hello"), channel=3))]
    wire.talk(ME, SERVER, port, said)


@fires("info", title="Lab chat in clear text")
def default_port(wire: Wire) -> None:
    """One client on port 1234."""
    _chat(1234, wire)


@fires("info", title="port 4321")
def other_port(wire: Wire) -> None:
    """The same on another port: known by its header."""
    _chat(4321, wire)


@silent()
def inside_tls(wire: Wire) -> None:
    """The chat with TLS on its port."""
    wire.talk(ME, SERVER, 1234, tls("chat.example.org"))


@silent()
def web_on_its_port(wire: Wire) -> None:
    """A web server on port 1234."""
    wire.talk(ME, SERVER, 1234, [("c", request()), ("s", response())])
