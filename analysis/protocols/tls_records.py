"""TLS over TCP: the record layer (RFC 8446 5.1, RFC 5246 6.2), SSL 2 hello records, and what handshakes say.

In: bytes of a connection on a TLS port, after STARTTLS, or that look like a record. Out: one `tls` layer per call, with
all bytes that were handed over. Handshake messages are put together over records and given to tls.py, until the
direction changes to encrypted records. Where a key log holds the secrets, records are opened, and what they carry is
dissected as a connection inside this one. It must not know how a connection came to speak TLS.
"""

from __future__ import annotations

from typing import Any

from analysis import layers
from analysis.protocols import exploits, marks, tls_facts
from analysis.protocols.pdu import ONE_MORE, Pdu
from analysis.protocols.streams import FIN, Segment, Stream, deliver
from analysis.protocols.tls_session import Session

HEADER = 5
LONGEST_RECORD = 16_384 + 2_048
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION, HEARTBEAT, CONNECTION_ID = 20, 21, 22, 23, 24, 25
CLIENT_HELLO = 1
# Handshake types of TLS (RFC 8446 4, RFC 5246 7.4 and extensions): the first one but ClientHello fixes the version.
HANDSHAKE_TYPES = frozenset((0, 1, 2, 4, 5, 6, 8, 11, 12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 25, 67, 254))
SSL2 = 0x0002
SSL3, TLS12, TLS13, GMTLS = 0x0300, 0x0303, 0x0304, 0x0101
SSL2_MESSAGES = (0, 1, 2, 4)  # error, client hello, client master key, server hello


def looks_like_tls(data: bytes) -> bool:
    """A record header of SSL 3.0 … TLS 1.3 whose length can be."""
    if len(data) < HEADER:
        return False
    kind, version, length = data[0], data[1] << 8 | data[2], data[3] << 8 | data[4]
    return CHANGE_CIPHER_SPEC <= kind <= HEARTBEAT and 0x0300 <= version <= 0x0304 and 0 < length <= LONGEST_RECORD


def dissect(pdu: Pdu) -> bool:
    """Dissect records one after the other: one `tls` layer for all of them. Refuses plain text.

    Bytes that are no record count as continuation.
    """
    data = pdu.data
    if len(data) >= 4 and 0x20 <= data[0] < 0x7F and all(0x20 <= byte < 0x7F for byte in data[:4]):
        return False
    pdu.add(layers.TLS)
    state = pdu.stream.state
    at, end = 0, pdu.length
    first_look = pdu.whole or len(data) < end  # when a segment is named again the session has its version
    while at < end:
        left = end - at
        if left < HEADER:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            return True
        if at + HEADER > len(data):
            raise pdu.fail(at + HEADER)
        kind = data[at]
        version = state.get("tls_version", 0)
        if CHANGE_CIPHER_SPEC <= kind <= CONNECTION_ID and (
            (data[at + 1] == 3 and data[at + 2] <= 3 and version != SSL2) or _takes_any_version(version)
        ):
            size = HEADER + (data[at + 3] << 8 | data[at + 4])
            if size > left:
                if pdu.whole:
                    pdu.wish(at, size - left)
                else:
                    _record(pdu, at, size)
                return True
            if not version and first_look:
                _learn_version(state, data, at, size)
            sealed = _record(pdu, at, size)
            if at + size > len(data) and not (sealed and kind == HANDSHAKE):
                pdu.add(layers.SHORT, 0)  # the capture cut it; of sealed handshakes nobody reads the end
                return True
        elif _is_ssl2(data, at, version):
            header, size = _ssl2_size(data, at)
            if size > left:
                if pdu.whole:
                    pdu.wish(at, size - left)
                return True
            if not version and first_look and at + header < len(data) and 2 <= data[at + header] <= 8:
                state["tls_version"] = SSL2
        elif version == SSL3:
            size = HEADER + (data[at + 3] << 8 | data[at + 4])  # unknown records are passed by
        else:
            return True  # continuation of something that was missed
        at += size
    return True


def _takes_any_version(version: int) -> bool:
    """In a session of this version Wireshark asks for a record's type alone: by chance it then waits for bytes."""
    return SSL3 <= version <= TLS12 or version == GMTLS


def _is_ssl2(data: bytes, at: int, version: int) -> bool:
    """A record of SSL 2: all of such a session, its plain messages in one of unknown version, later a client hello."""
    if version == SSL2:
        return True
    if _takes_any_version(version):
        return data[at] == 0x80 and data[at + 2] == CLIENT_HELLO
    return bool(data[at] & 0x80) and data[at + 2] in SSL2_MESSAGES


def _ssl2_size(data: bytes, at: int) -> tuple[int, int]:
    """(header, whole size) of an SSL 2 record: two header bytes, or three where it has padding."""
    if data[at] & 0x80:
        return 2, 2 + ((data[at] & 0x7F) << 8 | data[at + 1])
    return 3, 3 + ((data[at] & 0x3F) << 8 | data[at + 1])


def _learn_version(state: dict[Any, Any], data: bytes, at: int, size: int) -> None:
    """The header of any record fixes the session's version, but for those of a client hello."""
    kind, version = data[at], data[at + 1] << 8 | data[at + 2]
    if SSL3 <= version <= TLS13 or version == GMTLS:
        first = data[at + HEADER] if size > HEADER and len(data) > at + HEADER else CLIENT_HELLO
        if kind != HANDSHAKE or (first != CLIENT_HELLO and first in HANDSHAKE_TYPES):
            state["tls_version"] = version


def _record(pdu: Pdu, at: int, size: int) -> bool:
    """What a record tells: handshake messages, the change to encryption.

    Returns whether the direction was encrypted before.
    """
    state, data = pdu.stream.state, pdu.data
    kind, version = data[at], data[at + 1] << 8 | data[at + 2]
    sealed = bool(state.get(("tls_sealed", pdu.direction)))
    if not sealed and (SSL3 <= version <= TLS13 or version == GMTLS):
        tls_facts.record(pdu, kind, data[at + HEADER : at + size], size - HEADER)
        if kind in (CHANGE_CIPHER_SPEC, APPLICATION):
            state["tls_sealed", pdu.direction] = True
    if "tls_session" in state and at + size <= len(data):
        _open(pdu, state["tls_session"], data[at : at + HEADER], data[at + HEADER : at + size])
    return sealed


class _Inside:
    """What a session carries: a connection of its own, the bytes of it that each direction has sent, marks told."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.sent = [0, 0]
        self.told: set[str] = set()


def _open(pdu: Pdu, session: Session, header: bytes, body: bytes) -> None:
    """Open a record if its session can, and dissect the application data in it as the next bytes of what is inside."""
    direction = pdu.direction
    if header[0] == CHANGE_CIPHER_SPEC:
        session.change(direction)
        return
    opened = session.open(direction, header, body)
    if opened is None or opened[0] != APPLICATION or not opened[1]:
        return
    text = opened[1]
    inside = pdu.stream.state.get("tls_inside")
    if inside is None:
        inside = pdu.stream.state["tls_inside"] = _Inside(pdu.stream.shared.inside_tls(pdu.stream, session.alpn))
    for name, at in marks.within(text):
        if name not in inside.told:
            inside.told.add(name)
            exploits.report(pdu, name, marks.shown(text[max(0, at - marks.CONTEXT) : at + 2 * marks.CONTEXT]))
    seq = inside.sent[direction] & 0xFFFFFFFF
    inside.sent[direction] += len(text)
    segment = Segment(pdu.number, pdu.time_ns, seq, text, len(text), FIN if pdu.frame_end else 0, 0)
    pdu.layers += deliver(inside.stream, direction, segment)


def look(pdu: Pdu) -> None:
    """Read what the records that begin a segment tell, without naming them: TLS inside a protocol that keeps its name."""
    at = 0
    while looks_like_tls(pdu.data[at : at + HEADER]):
        size = HEADER + (pdu.data[at + 3] << 8 | pdu.data[at + 4])
        _record(pdu, at, size)
        at += size


def heuristic(pdu: Pdu) -> bool:
    """Dissect as TLS if the first record looks like one; the conversation is TLS from then on."""
    if not looks_like_tls(pdu.data):
        return False
    pdu.stream.dissector = dissect
    return dissect(pdu)
