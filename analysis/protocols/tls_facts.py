"""What TLS handshakes over TCP said: one `Tls` fact per ClientHello, filled by the server's answer.

In: records of a direction that is not encrypted yet. Out: facts. Messages are put together over records, up to a
bound; tls.py reads them. Heartbeat requests that ask for more than they bring are remembered (RFC 6520 4), and as the
payload shape `heartbleed`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from analysis.facts import Facts, Payload, Tls
from analysis.protocols import exploits, tls
from analysis.protocols.pdu import Pdu
from analysis.protocols.tls_session import Session

CHANGE_CIPHER_SPEC, HANDSHAKE, APPLICATION, HEARTBEAT = 20, 22, 23, 24
FIZZ = (0xFB17, 0xFB1A)  # unofficial drafts of TLS 1.3
MOST_HANDSHAKE = 1 << 17  # bytes of handshake kept per direction


class Pending:
    """A ClientHello that waits for its answer, and the handshake bytes of both directions."""

    __slots__ = ("certificate", "hello", "number", "server", "text", "time_ns")

    def __init__(self) -> None:
        self.hello: tls.ClientHello | None = None
        self.server: tls.ServerHello | None = None
        self.certificate: tls.Certificate | None = None
        self.number = 0
        self.time_ns = 0
        self.text = (bytearray(), bytearray())


def record(pdu: Pdu, kind: int, body: bytes, length: int) -> None:
    """Take the body of one plain record; `length` is its length on the wire."""
    state = pdu.stream.state
    if kind == HANDSHAKE:
        pending: Pending = state.get("tls") or state.setdefault("tls", Pending())
        text = pending.text[pdu.direction]
        if len(text) + len(body) <= MOST_HANDSHAKE:
            text += body
        _messages(pdu, pending, text)
    elif kind == HEARTBEAT and len(body) >= 3 and body[0] == 1 and int.from_bytes(body[1:3], "big") + 19 > length:
        heartbeat(pdu)
    elif kind in (CHANGE_CIPHER_SPEC, APPLICATION) and "tls" in state:
        waiting: Pending = state["tls"]
        if waiting.server is not None:
            emit(pdu.stream.facts, pdu.stream.flow, state)


def heartbeat(pdu: Pdu) -> None:
    """A heartbeat request longer than its record was seen."""
    pdu.stream.facts.add(
        "payload",
        Payload(pdu.number, pdu.time_ns, pdu.stream.flow, "heartbleed", "heartbeat request", pdu.direction == 0),
    )
    pdu.stream.state["tls_heartbleed"] = True


def _messages(pdu: Pdu, pending: Pending, text: bytearray) -> None:
    """Read the complete messages at the start of `text` and drop them."""
    while len(text) >= 4:
        size = 4 + int.from_bytes(text[1:4], "big")
        if size > len(text):
            return
        message = bytes(text[:size])
        del text[:size]
        kind = message[0]
        if kind == tls.CLIENT_HELLO:
            if pending.hello is not None:
                emit(pdu.stream.facts, pdu.stream.flow, pdu.stream.state)
                pending = pdu.stream.state["tls"] = Pending()
            pending.hello = tls.client_hello(message)
            pending.number, pending.time_ns = pdu.number, pdu.time_ns
            _begin_session(pdu, message)
            pending.text[pdu.direction].extend(text)
            text = pending.text[pdu.direction]
        elif kind == tls.SERVER_HELLO:
            pending.server = tls.server_hello(message)
            if pending.server is not None:
                pdu.stream.state["tls_version"] = session_version(pending.server.version)
                if "tls_session" in pdu.stream.state and not pending.server.retry:
                    server = pending.server
                    pdu.stream.state["tls_session"].hello(message[6:38], server.version, server.cipher, server.alpn)
            if not pending.number:
                pending.number, pending.time_ns = pdu.number, pdu.time_ns
        elif kind == tls.CERTIFICATE and pending.certificate is None:
            pending.certificate = tls.certificate(message)
            exploits.certificate(pdu, message)


def _begin_session(pdu: Pdu, hello: bytes) -> None:
    """A new session, if the secrets of its client random are known."""
    secrets = pdu.stream.shared.key_log.secrets(hello[6:38]) if pdu.stream.shared.key_log else None
    if secrets is not None:
        pdu.stream.state["tls_session"] = Session(secrets, hello[6:38], pdu.direction)


def session_version(version: int) -> int:
    """The version of a server's hello as record layers know it: drafts of TLS 1.3 are TLS 1.3."""
    return 0x0304 if version >> 8 == 0x7F or version in FIZZ else version


@lru_cache(maxsize=4096)
def _fingerprints(hello: tls.ClientHello) -> tuple[str, str]:
    return tls.ja3(hello), tls.ja4(hello)


def fingerprints(hello: tls.ClientHello) -> tuple[str, str]:
    """(JA3, JA4); clients repeat themselves, so the last few thousand are remembered. No name enters either."""
    return _fingerprints(hello._replace(sni=""))


def emit(facts: Facts, flow: int, state: dict[Any, Any]) -> None:
    """Write the fact of a handshake that is as complete as it will be."""
    pending: Pending | None = state.pop("tls", None)
    if pending is None or (pending.hello is None and pending.server is None):
        return
    hello, server, shown = pending.hello, pending.server, pending.certificate
    facts.add(
        "tls",
        Tls(
            pending.number,
            pending.time_ns,
            flow,
            hello.sni if hello else "",
            hello.alpn if hello else (),
            hello.version if hello else 0,
            server.version if server else 0,
            server.cipher if server else 0,
            *(fingerprints(hello) if hello else ("", "")),
            False,
            shown.subject if shown else "",
            shown.issuer if shown else "",
            shown.not_before if shown else 0,
            shown.not_after if shown else 0,
            bool(shown and shown.self_signed),
            bool(state.get("tls_heartbleed")),
            "tls_session" in state,
        ),
    )
