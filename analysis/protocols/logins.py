"""Authentication attempts seen in clear text: one way in for all protocols, secrets masked on arrival.

In: user names and results from the protocol dissectors. Out: `Login` facts. An attempt waits for the server's answer
(`pending` … `settle`); what the capture never answers is reported with result -1 at the end (`flush`).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from analysis.facts import Facts, Login
from analysis.protocols.pdu import Pdu

LONGEST_NAME = 256


def pending(pdu: Pdu, protocol: str, user: str, secret: bool, cleartext: bool = True) -> None:
    """An attempt begins; a previous one without answer is reported first. `cleartext`: but for TLS around it."""
    flush(pdu.stream.facts, pdu.stream.state)
    pdu.stream.state["login"] = Login(
        pdu.number,
        pdu.time_ns,
        pdu.stream.flow,
        protocol,
        user[:LONGEST_NAME],
        "***" if secret else "",
        cleartext and not pdu.stream.sealed,
        -1,
    )


def settle(pdu: Pdu, accepted: bool) -> None:
    """The server answered the attempt that waits, if there is one."""
    waiting: Login | None = pdu.stream.state.pop("login", None)
    if waiting is not None:
        pdu.stream.facts.add("login", waiting._replace(result=int(accepted)))


def flush(facts: Facts, state: dict[Any, Any]) -> None:
    """Report an attempt that nobody answered."""
    waiting = state.pop("login", None)
    if isinstance(waiting, Login):
        facts.add("login", waiting)


def text(value: bytes) -> str:
    """Bytes from a peer as text, bounded."""
    return value[:LONGEST_NAME].decode("utf-8", "replace")


def base64_text(value: bytes) -> bytes:
    """Decode base64; empty where it is none."""
    try:
        return base64.b64decode(value.strip()[:4096], validate=True)
    except (binascii.Error, ValueError):
        return b""


def plain_user(blob: bytes) -> str:
    """User name of a SASL PLAIN response (RFC 4616): authorisation NUL name NUL password."""
    parts = base64_text(blob).split(b"\0")
    return text(parts[1]) if len(parts) > 1 else ""
