"""TLS over TCP: the record layer (RFC 8446 5.1, RFC 5246 6.2), SSL 2 hello records, and what handshakes say.

In: bytes of a connection on a TLS port, after STARTTLS, or that look like a record. Out: one `tls` layer per call, with
all bytes that were handed over. Handshake messages are put together over records and given to tls.py, until the
direction changes to encrypted records. It must not know how a connection came to speak TLS.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import ONE_MORE, Pdu

HEADER = 5
LONGEST_RECORD = 16_384 + 2_048
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION, HEARTBEAT = 20, 21, 22, 23, 24


def looks_like_tls(data: bytes) -> bool:
    """A record header of SSL 3.0 … TLS 1.3 whose length and first message can be."""
    if len(data) < HEADER:
        return False
    kind, version, length = data[0], data[1] << 8 | data[2], data[3] << 8 | data[4]
    return CHANGE_CIPHER_SPEC <= kind <= HEARTBEAT and 0x0300 <= version <= 0x0304 and 0 < length <= LONGEST_RECORD


def dissect(pdu: Pdu) -> bool:
    """Dissect TLS: every call is one `tls` layer, whatever the bytes are."""
    pdu.add(layers.TLS)
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        if left < HEADER:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            return True
        pdu.need(at, 3)
        if not CHANGE_CIPHER_SPEC <= pdu.data[at] <= HEARTBEAT or pdu.data[at + 1] != 3:
            return True
        size = HEADER + pdu.be16(at + 3)
        if size > left:
            if pdu.whole:
                pdu.wish(at, size - left)
                return True
        at += size
    return True


def heuristic(pdu: Pdu) -> bool:
    """Dissect as TLS if the first record looks like one; the conversation is TLS from then on."""
    if not looks_like_tls(pdu.data):
        return False
    pdu.stream.dissector = dissect
    return dissect(pdu)
