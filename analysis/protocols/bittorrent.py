"""BitTorrent peer wire over TCP (BEP 3).

In: bytes of a connection that begins with the handshake, or on ports 6881-6889. Out: a `bittorrent` layer per message,
bytes that are no message as a continuation.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import ONE_MORE, Pdu

HANDSHAKE = b"\x13BitTorrent protocol"
HANDSHAKE_SIZE = 68
LONGEST = 0x20000
LAST_TYPE = 23


def starts(data: bytes) -> bool:
    """The handshake of BEP 3."""
    return data.startswith(HANDSHAKE)


def dissect(pdu: Pdu) -> bool:
    """Handshake and messages; everything else is shown as continuation data."""
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        if pdu.data[at : at + 20] == HANDSHAKE:
            size = HANDSHAKE_SIZE
        elif left < 4:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
                return True
            pdu.add(layers.BITTORRENT, left)
            return True
        else:
            size = 4 + pdu.be32(at)
            known = size == 4 or left < 5 or pdu.u8(at + 4) <= LAST_TYPE
            if size > LONGEST or not known:
                pdu.add(layers.BITTORRENT, len(pdu.data) - at)
                return True
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        pdu.add(layers.BITTORRENT, min(size, left))
        at += size
    return True
