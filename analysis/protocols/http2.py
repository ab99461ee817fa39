"""HTTP/2 (RFC 9113) and WebSocket (RFC 6455) on a connection that HTTP handed over.

In: bytes behind the connection preface, or behind an Upgrade. Out: an `http2` layer per frame; a `websocket` layer per
message with its payload as text or data.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import Pdu, framed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONTINUATION, TEXT, BINARY, CONTROL = 0, 1, 2, 8  # opcodes; from CONTROL on they belong to no message
FIN = 0x80
PAYLOADS = {TEXT: layers.DATA_TEXT_LINES, BINARY: layers.DATA}


def _size(pdu: Pdu, at: int) -> int:
    if pdu.data[at : at + 9] == PREFACE[:9]:
        return len(PREFACE)
    return 9 + int.from_bytes(pdu.data[at : at + 3], "big")


def dissect(pdu: Pdu) -> bool:
    """HTTP/2 frames."""
    return framed(pdu, 9, _size, lambda unit: unit.add(layers.HTTP2))


def starts(data: bytes) -> bool:
    """The client's connection preface."""
    return data.startswith(PREFACE)


def _websocket_size(pdu: Pdu, at: int) -> int:
    """Header of 2 to 14 bytes, then the payload."""
    second = pdu.u8(at + 1)
    length = second & 0x7F
    header = 2 + (4 if second & 0x80 else 0)
    if length == 126:
        return header + 2 + pdu.be16(at + 2) if pdu.length - at >= 4 else 0
    if length == 127:
        if pdu.length - at < 10:
            return 0
        pdu.need(at, 10)
        return header + 8 + min(int.from_bytes(pdu.data[at + 2 : at + 10], "big"), 1 << 40)
    return header + length


def _websocket(pdu: Pdu) -> None:
    """The layer has the header (RFC 6455 5.2); of a message in fragments the last one shows its payload."""
    code, length = pdu.u8(0) & 0x0F, pdu.u8(1) & 0x7F
    header = 2 + (4 if pdu.data[1] & 0x80 else 0) + {126: 2, 127: 8}.get(length, 0)
    pdu.add(layers.WEBSOCKET, min(header, len(pdu.data)))
    payload = pdu.length - header
    if payload <= 0 or code >= CONTROL:
        return
    state, key = pdu.stream.state, ("websocket_message", pdu.direction)
    if code != CONTINUATION:
        state[key] = code, 0
    first, before = state.get(key, (CONTINUATION, 0))
    state[key] = first, before + payload
    if pdu.data[0] & FIN and first in PAYLOADS:
        pdu.add(PAYLOADS[first], before + payload)


def dissect_websocket(pdu: Pdu) -> bool:
    """WebSocket frames."""
    return framed(pdu, 2, _websocket_size, _websocket)
