"""Terminals and other byte streams without message framing: telnet, rlogin, rsh, exec, finger, gopher, whois, X11.

In: bytes of a connection on the protocol's port. Out: one layer per segment, as Wireshark shows them, and for telnet
the user name and the fact of a password (never the password itself).
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import logins
from analysis.protocols.pdu import Pdu

MOST_TYPED = 256
IAC, SB, SE = 255, 250, 240
REFUSALS = (b"incorrect", b"failed", b"denied", b"invalid", b"bad password")


def strip_commands(data: bytes) -> bytes:
    """Text of a telnet segment without option negotiation (RFC 854)."""
    if IAC not in data:
        return data
    out = bytearray()
    at = 0
    while at < len(data):
        if data[at] != IAC:
            out.append(data[at])
            at += 1
        elif at + 1 < len(data) and data[at + 1] == SB:
            end = data.find(bytes((IAC, SE)), at)
            at = len(data) if end < 0 else end + 2
        else:
            at += 3
    return bytes(out)


def dissect(pdu: Pdu) -> bool:
    """One telnet layer per segment; follows the prompts of a login."""
    pdu.add(layers.TELNET)
    text = strip_commands(pdu.data)
    if text:
        follow_login(pdu, "telnet", text)
    return True


def dissect_rlogin(pdu: Pdu) -> bool:
    """One rlogin layer per segment (RFC 1282)."""
    pdu.add(layers.RLOGIN)
    return True


def follow_login(pdu: Pdu, protocol: str, typed: bytes) -> None:
    """Prompts of the server, what the client typed after them, and what the server said then."""
    state = pdu.stream.state
    if pdu.stream.to_server(pdu.direction):
        _typed(pdu, protocol, typed)
        return
    prompt = typed.strip().lower()
    if any(word in prompt for word in REFUSALS):
        logins.settle(pdu, False)
    if prompt.endswith((b"login:", b"username:", b"user name:")):
        state["login_wants"], state["login_typed"] = "user", b""
    elif prompt.endswith(b"password:"):
        state["login_wants"], state["login_typed"] = "password", b""
    elif prompt.endswith((b"$", b"#", b">", b"%")) or b"last login" in prompt or b"welcome" in prompt:
        logins.settle(pdu, True)


def _typed(pdu: Pdu, protocol: str, typed: bytes) -> None:
    state = pdu.stream.state
    wants = state.get("login_wants", "")
    if not wants:
        return
    line: bytes = (state.get("login_typed", b"") + typed)[:MOST_TYPED]
    state["login_typed"] = line
    ends = [at for at in (line.find(b"\r"), line.find(b"\n")) if at >= 0]
    if not ends:
        return
    state["login_wants"] = ""
    if wants == "user":
        state["login_user"] = logins.text(line[: min(ends)])
    else:
        logins.pending(pdu, protocol, state.pop("login_user", ""), True)
