"""SOCKS 4 and 5 (RFC 1928), and what is carried after the handshake.

In: bytes of a connection to port 1080. Out: a `socks` layer; after the reply the payload is dissected below it.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import Pdu


def dissect(pdu: Pdu) -> bool:
    """Handshake messages by version; then the tunnel."""
    state = pdu.stream.state
    if pdu.data[:1] in (b"\x04", b"\x05") and pdu.stream.to_server(pdu.direction) and "socks" not in state:
        state["socks"] = "asked"
    if state.get("socks") == "open":
        pdu.add(layers.SOCKS, 0)
        inner = pdu.part(0)
        inner.whole = pdu.whole
        if not pdu.stream.shared.guess(inner) and inner.data:
            inner.add(layers.DATA)
        if inner.more:
            pdu.wish(inner.more_from, inner.more)
        return True
    if state.get("socks") != "asked":
        return False
    pdu.add(layers.SOCKS)
    if not pdu.stream.to_server(pdu.direction):
        if pdu.data[:2] in (b"\x00\x5a",) or (pdu.data[:2] == b"\x05\x00" and len(pdu.data) >= 10):
            state["socks"] = "open"
    return True
