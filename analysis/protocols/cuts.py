"""What a TCP segment shows of which the capture kept only the beginning (a snapshot length).

In: the layers that dissectors found in what was kept. Out: the layers that Wireshark shows: most dissectors read their
unit to its end and leave `_ws.short` where it is missing; those that look for lines or hand bytes on leave nothing.
Measured with tshark 4.0.17 on cut units of each protocol (tests/analysis/protocols/test_cuts.py).
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import Layer

# Nobody reads the end of these, or (TLS) their dissector has judged the cut itself.
UNREAD = frozenset((
    layers.SHORT, layers.DATA, layers.TLS, layers.CQL, layers.MEMCACHE, layers.SOCKS, layers.FTP_DATA, layers.MEDIA,
    layers.DATA_TEXT_LINES, layers.SMTP, layers.FTP, layers.POP, layers.IRC, layers.NNTP, layers.RESP, layers.KERBEROS,
))  # fmt: skip
WAITING = (layers.IMAP, layers.SIP)  # wait for the end of a line or message that never comes
BANNER = b"SSH-"


def as_cut(found: list[Layer], data: bytes) -> list[Layer]:
    """The layers of a cut segment, given those of its captured bytes `data`."""
    if not data or not found:
        return []
    found = [(layers.SHORT, 0) if layer == layers.MALFORMED else (layer, size) for layer, size in found]
    first, last = found[0][0], found[-1][0]
    if first in WAITING:
        return []
    if first == layers.XMPP:
        return [(layers.SHORT, 0)]
    if last in UNREAD or (last == layers.SSH and data.startswith(BANNER)):
        return found
    return [*found, (layers.SHORT, 0)]
