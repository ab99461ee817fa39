"""Mail: SMTP (RFC 5321), POP3 (RFC 1939), IMAP (RFC 9051), and the message they carry (`imf`, RFC 5322).

In: bytes of connections on the mail ports. Out: a layer per segment, the whole message as `smtp/imf` or `pop/imf` in
the frame that completes it, STARTTLS handed to TLS, and logins with the server's verdict.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import logins
from analysis.protocols.pdu import ONE_MORE, Pdu

LONGEST_LINE = 4096
MOST_LINES = 64


def _lines(data: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in data[: LONGEST_LINE * 4].split(b"\n", MOST_LINES)[:MOST_LINES]]


# ---------------------------------------------------------------------------------------------------- SMTP


def dissect_smtp(pdu: Pdu) -> bool:
    """SMTP: commands and replies line by line, the message between DATA and the dot as one unit."""
    state = pdu.stream.state
    if pdu.whole and b"\n" not in pdu.data and b"\r" not in pdu.data:
        pdu.wish(0, ONE_MORE)
        return True
    pdu.add(layers.SMTP)
    if pdu.stream.to_server(pdu.direction):
        if state.get("smtp_data"):
            _message(pdu)
            return True
        for line in _lines(pdu.data):
            _smtp_command(pdu, line)
        return True
    for line in _lines(pdu.data):
        if line[:3].isdigit():
            _smtp_reply(pdu, int(line[:3]))
    return True


def _message(pdu: Pdu) -> None:
    """Message text up to the line with a single dot: the segment with the dot carries `imf`, as long as all of it."""
    state = pdu.stream.state
    seen: bytes = state.get("smtp_tail", b"\r\n") + pdu.data
    end = seen.find(b"\r\n.\r\n")
    size = state.get("smtp_size", 0) + len(pdu.data)
    if end < 0:
        state["smtp_tail"], state["smtp_size"] = seen[-4:], size
        return
    state["smtp_data"] = False
    state.pop("smtp_tail", None)
    state.pop("smtp_size", None)
    size -= len(seen) - end
    if size > 0:
        pdu.add(layers.IMF, size)


def _smtp_command(pdu: Pdu, line: bytes) -> None:
    state = pdu.stream.state
    step = state.get("smtp_auth", "")
    if step:
        _smtp_answer(pdu, step, line)
        return
    word = line[:10].upper()
    if word.startswith(b"DATA") and len(line) <= 5:
        state["smtp_data_asked"] = True
    elif word.startswith(b"STARTTLS"):
        state["smtp_starttls"] = True
    elif word.startswith(b"AUTH "):
        parts = line.split()
        kind = parts[1].upper() if len(parts) > 1 else b""
        if kind == b"PLAIN" and len(parts) > 2:
            logins.pending(pdu, "smtp", logins.plain_user(parts[2]), True)
        elif kind == b"LOGIN":
            user = logins.text(logins.base64_text(parts[2])) if len(parts) > 2 else ""
            state["smtp_user"] = user
            state["smtp_auth"] = "password" if user else "user"
        elif kind == b"PLAIN":
            state["smtp_auth"] = "plain"
        else:
            logins.pending(pdu, "smtp", "", False, False)


def _smtp_answer(pdu: Pdu, step: str, line: bytes) -> None:
    state = pdu.stream.state
    if not line:
        return
    if step == "user":
        state["smtp_user"] = logins.text(logins.base64_text(line))
        state["smtp_auth"] = "password"
        return
    state["smtp_auth"] = ""
    if step == "plain":
        logins.pending(pdu, "smtp", logins.plain_user(line), True)
    else:
        logins.pending(pdu, "smtp", state.get("smtp_user", ""), True)


def _smtp_reply(pdu: Pdu, code: int) -> None:
    state = pdu.stream.state
    if code == 354 and state.pop("smtp_data_asked", False):
        state["smtp_data"] = True
    elif code == 220 and state.pop("smtp_starttls", False):
        pdu.stream.shared.start_tls(pdu)
    elif code == 235:
        logins.settle(pdu, True)
    elif code in (535, 534, 530, 538, 454, 421):
        state["smtp_auth"] = ""
        logins.settle(pdu, False)


# ---------------------------------------------------------------------------------------------------- POP3


def dissect_pop(pdu: Pdu) -> bool:
    """POP3: one layer per segment; what the server sends without a status is a message, `imf`."""
    state = pdu.stream.state
    if pdu.stream.to_server(pdu.direction):
        pdu.add(layers.POP)
        for line in _lines(pdu.data):
            _pop_command(pdu, line)
        return True
    pdu.add(layers.POP)
    if pdu.data.startswith((b"+OK", b"-ERR")):
        accepted = pdu.data.startswith(b"+OK")
        if state.pop("pop_pass", False):
            logins.settle(pdu, accepted)
        if state.pop("pop_stls", False) and accepted:
            pdu.stream.shared.start_tls(pdu)
    else:
        pdu.add(layers.IMF)
    return True


def _pop_command(pdu: Pdu, line: bytes) -> None:
    state = pdu.stream.state
    word, _, rest = line.partition(b" ")
    word = word.upper()
    if word == b"USER":
        state["pop_user"] = logins.text(rest)
    elif word == b"PASS":
        logins.pending(pdu, "pop", state.get("pop_user", ""), True)
        state["pop_pass"] = True
    elif word == b"APOP":
        logins.pending(pdu, "pop", logins.text(rest.split(b" ")[0]), False, False)
        state["pop_pass"] = True
    elif word == b"STLS":
        state["pop_stls"] = True


# ---------------------------------------------------------------------------------------------------- IMAP


def dissect_imap(pdu: Pdu) -> bool:
    """IMAP: one layer per segment."""
    state = pdu.stream.state
    pdu.add(layers.IMAP)
    to_server = pdu.stream.to_server(pdu.direction)
    for line in _lines(pdu.data):
        words = line.split(None, 3)
        if len(words) < 2:
            continue
        word = words[1].upper()
        if to_server:
            if word == b"LOGIN" and len(words) > 2:
                logins.pending(pdu, "imap", logins.text(words[2].strip(b'"')), len(words) > 3)
                state["imap_tag"] = words[0]
            elif word == b"STARTTLS":
                state["imap_tls"] = words[0]
            elif word == b"AUTHENTICATE":
                user = logins.plain_user(words[3]) if len(words) > 3 else ""
                logins.pending(pdu, "imap", user, len(words) > 3)
                state["imap_tag"] = words[0]
        elif words[0] == state.get("imap_tag") and word in (b"OK", b"NO", b"BAD"):
            logins.settle(pdu, word == b"OK")
        elif words[0] == state.get("imap_tls") and word == b"OK":
            pdu.stream.shared.start_tls(pdu)
    return True
