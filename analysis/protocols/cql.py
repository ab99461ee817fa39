"""Bodies of the Cassandra native protocol (CQL binary protocol v3/v4), as far as they decide whether a frame is whole.

In: one frame. Out: nothing, or `Cut`/`Malformed` where the body ends before its fields do. Wireshark 4.0 reads the rows
of a result in a way that runs over the end for some column types; those frames are malformed there and here.
"""

from __future__ import annotations

from analysis.protocols.pdu import Pdu

QUERY, RESULT, STARTUP, REGISTER, SUPPORTED, EVENT, ERROR = 7, 8, 1, 11, 6, 12, 0


def body(pdu: Pdu) -> None:
    """Check the captured length of a frame's body: a cut frame is short."""
    if len(pdu.data) < pdu.length and pdu.data[0] & 0x7F >= 3 and pdu.u8(4) != SUPPORTED:
        pdu.need(0, pdu.length)
