"""FTP (RFC 959, RFC 2428): the control connection, the data connections it announces, and logins.

In: bytes of a connection to port 21. Out: an `ftp` layer per segment; PORT, EPRT, 227 and 229 announce the data
connection, whose segments are `ftp-data` with `data-text-lines` where the transfer is text.
"""

from __future__ import annotations

import re

from analysis import layers
from analysis.patterns import pattern
from analysis.protocols import logins
from analysis.protocols.pdu import Pdu

SIX_NUMBERS = pattern(rb"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})")
EXTENDED = pattern(rb"\|\|\|(\d{1,5})\|")
EPRT = pattern(rb"\|[12]\|[^|]{2,45}\|(\d{1,5})\|")

# Lines of which a fact or a data connection follows; most have neither.
COMMANDS = frozenset((b"USER", b"PASS", b"PORT", b"EPRT", b"AUTH"))
REPLIES = frozenset((b"230", b"530", b"430", b"332", b"421", b"227", b"229", b"234"))


def dissect(pdu: Pdu) -> bool:
    """One ftp layer per segment; its first lines are read."""
    pdu.add(layers.FTP)
    to_server = pdu.stream.to_server(pdu.direction)
    for line in pdu.data[:4096].split(b"\n", 16)[:16]:
        if to_server:
            if line[:4].upper() in COMMANDS:
                _command(pdu, line.rstrip(b"\r"))
        elif line[:3] in REPLIES:
            _reply(pdu, line.rstrip(b"\r"))
    return True


def _command(pdu: Pdu, line: bytes) -> None:
    word, _, rest = line.partition(b" ")
    word = word.upper()
    state = pdu.stream.state
    if word == b"USER":
        state["ftp_user"] = logins.text(rest)
    elif word == b"PASS":
        logins.pending(pdu, "ftp", state.get("ftp_user", ""), True)
    elif word == b"PORT":
        match = SIX_NUMBERS.search(rest)
        if match:
            _announce(pdu, _port(match))
    elif word == b"EPRT":
        match = EPRT.search(rest)
        if match:
            _announce(pdu, int(match[1]))
    elif word == b"AUTH" and rest.upper().startswith((b"TLS", b"SSL")):
        state["ftp_auth_tls"] = True


def _reply(pdu: Pdu, line: bytes) -> None:
    code = int(line[:3])
    if code in (230, 530, 430, 332, 421):
        logins.settle(pdu, code == 230)
    elif code == 227:
        match = SIX_NUMBERS.search(line, 4)
        if match:
            _announce(pdu, _port(match))
    elif code == 229:
        match = EXTENDED.search(line, 4)
        if match:
            _announce(pdu, int(match[1]))
    elif code == 234 and pdu.stream.state.get("ftp_auth_tls"):
        pdu.stream.shared.start_tls(pdu)


def _port(match: re.Match[bytes]) -> int:
    return (int(match[5]) << 8 | int(match[6])) & 0xFFFF


def _announce(pdu: Pdu, port: int) -> None:
    pdu.stream.shared.announce(pdu.stream, port, dissect_data)


def dissect_data(pdu: Pdu) -> bool:
    """A segment of an announced data connection, or on port 20."""
    pdu.add(layers.FTP_DATA)
    if pdu.data and all(byte >= 0x20 or byte in b"\r\n\t\f\b\v\a" for byte in pdu.data[:1024]) and pdu.data.isascii():
        pdu.add(layers.DATA_TEXT_LINES)
    return True
