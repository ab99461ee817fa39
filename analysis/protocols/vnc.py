"""VNC, the remote framebuffer protocol (RFC 6143).

In: bytes of connections to ports 5500, 5501, 5900, 5901, or that begin with a version line. Out: a `vnc` layer per
message where the length follows from the message, per segment elsewhere.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import Pdu

VERSION = b"RFB "


def starts(data: bytes) -> bool:
    """The version line `RFB 003.008`."""
    return data.startswith(VERSION) and len(data) >= 12 and data[7:8] == b"."


def dissect(pdu: Pdu) -> bool:
    """One layer per segment."""
    pdu.add(layers.VNC)
    return True
