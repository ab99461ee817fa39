"""TLS over TCP: the record layer (RFC 8446 5.1, RFC 5246 6.2), SSL 2 hello records, and what handshakes say.

In: bytes of a connection on a TLS port, after STARTTLS, or that look like a record. Out: one `tls` layer per call, with
all bytes that were handed over. Handshake messages are put together over records and given to tls.py, until the
direction changes to encrypted records. It must not know how a connection came to speak TLS.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import tls_facts
from analysis.protocols.pdu import ONE_MORE, Pdu

HEADER = 5
LONGEST_RECORD = 16_384 + 2_048
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION, HEARTBEAT = 20, 21, 22, 23, 24
CLIENT_HELLO = 1
SSL2_VERSIONS = (b"\x00\x02", b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x03\x03")
SSL2_MESSAGES = (1, 2, 4)  # client hello, client master key, server hello


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
    while at < end:
        left = end - at
        if left < HEADER:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            return True
        if at + HEADER > len(data):
            raise pdu.fail(at + HEADER)
        kind = data[at]
        record = CHANGE_CIPHER_SPEC <= kind <= HEARTBEAT and data[at + 1] == 3 and data[at + 2] <= 4
        if record:
            size = HEADER + (data[at + 3] << 8 | data[at + 4])
        elif _is_ssl2(data, at, "tls_version" in state):
            size = _ssl2_size(data, at)
        else:
            return True  # continuation of something that was missed
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        if record:
            sealed = _record(pdu, at, size)
            if not pdu.whole and at + size > len(data) < end and not (sealed and kind == HANDSHAKE):
                pdu.add(layers.SHORT, 0)  # the capture cut it; of sealed handshakes nobody reads the end
                return True
        at += size
    return True


def _is_ssl2(data: bytes, at: int, known: bool) -> bool:
    """A record of SSL 2: any of its hellos in a session of unknown version, later only a client hello."""
    if CHANGE_CIPHER_SPEC <= data[at] <= HEARTBEAT and data[at + 1] == 3:
        return False
    if known:
        return bool(data[at] & 0x80) and data[at + 2] == 1 and data[at + 3 : at + 5] in SSL2_VERSIONS
    return bool(data[at] & 0x80) and data[at + 2] in SSL2_MESSAGES


def _ssl2_size(data: bytes, at: int) -> int:
    """Length of an SSL 2 record: two or three header bytes."""
    if data[at] & 0x80:
        return 2 + ((data[at] & 0x7F) << 8 | data[at + 1])
    return 3 + ((data[at] & 0x3F) << 8 | data[at + 1])


def _record(pdu: Pdu, at: int, size: int) -> bool:
    """What a record tells: the session has a version, handshake messages, the change to encryption.

    Returns whether the direction was encrypted before.
    """
    state, data = pdu.stream.state, pdu.data
    kind = data[at]
    sealed = bool(state.get(("tls_sealed", pdu.direction)))
    if kind != HANDSHAKE or (size > HEADER and len(data) > at + HEADER and data[at + HEADER] != CLIENT_HELLO):
        state["tls_version"] = True
    if not sealed:
        tls_facts.record(pdu, kind, data[at + HEADER : at + size], size - HEADER)
        if kind in (CHANGE_CIPHER_SPEC, APPLICATION):
            state["tls_sealed", pdu.direction] = True
    return sealed


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
