"""Google's QUIC before the IETF's: the server name of a client hello that travels in the open.

In: UDP payloads. Out: the name in the CHLO message (QUIC Crypto: tags with offsets, little-endian). Versions up to
Q046 do not encrypt it. Facts only: naming needs no look inside.
"""

from __future__ import annotations

MAX_TAGS = 128
_HELLO, _NAME = b"CHLO", b"SNI\0"


def server_name(data: bytes) -> str | None:
    """The name a CHLO asks for, "" where it asks for none; None where there is no whole CHLO in the datagram."""
    at = data.find(_HELLO)
    if at < 0 or at + 8 > len(data):
        return None
    count = int.from_bytes(data[at + 4 : at + 6], "little")
    values = at + 8 + 8 * count
    if not 0 < count <= MAX_TAGS or values > len(data):
        return None
    before = 0
    for index in range(count):
        entry = at + 8 + 8 * index
        end = int.from_bytes(data[entry + 4 : entry + 8], "little")
        if end < before or values + end > len(data):
            return None
        if data[entry : entry + 4] == _NAME:
            return data[values + before : values + end][:255].decode("utf-8", "replace")
        before = end
    return ""
