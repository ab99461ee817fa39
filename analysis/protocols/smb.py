"""NetBIOS session service (RFC 1002 4.3), SMB 1 and SMB 2/3 on it, and the named pipes inside.

In: bytes of connections to ports 139 and 445. Out: `nbss`, `smb` or `smb2`, and what a pipe carries (`dcerpc` …).
Trees and files are followed, so that writes and reads of a pipe are told from those of a file. Headers become `Smb`
facts; malformed transactions of EternalBlue's kind become payload shapes.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import smb1, smb2
from analysis.protocols.pdu import ONE_MORE, Cut, Malformed, Pdu

SESSION_MESSAGE = 0
OTHER_MESSAGES = (0x81, 0x82, 0x83, 0x84, 0x85)
CIFS = 445


def dissect(pdu: Pdu) -> bool:
    """Session service messages one after the other; what starts with none is a continuation."""
    stream = pdu.stream
    cifs = CIFS in (stream.a_port, stream.b_port)
    if pdu.length < 4 or not _starts(pdu, cifs):
        pdu.add(layers.NBSS)
        return True
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        if left < 4:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            else:
                pdu.add(layers.NBSS, left)
            return True
        if empty := _empty_messages(pdu, at):
            pdu.layers += [(layers.NBSS, 4)] * empty
            at += 4 * empty
            continue
        size = 4 + _size(pdu, at, cifs)
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        try:
            _packet(pdu if at == 0 and size == left else pdu.part(at, min(size, left)))
        except Cut:
            pdu.add(layers.SHORT, 0)
        except Malformed:
            pdu.add(layers.MALFORMED, 0)
        at += size
    return True


def _empty_messages(pdu: Pdu, at: int) -> int:
    """How many messages of no length stand in a row: zero bytes, of which a stream may have megabytes."""
    if pdu.data[at : at + 4] != bytes(4):
        return 0
    rest = pdu.data[at:]
    return (len(rest) - len(rest.lstrip(b"\0"))) // 4


def _size(pdu: Pdu, at: int, cifs: bool) -> int:
    pdu.need(at, 4)
    field = int.from_bytes(pdu.data[at + 1 : at + 4], "big")
    return field if cifs else field & 0x1FFFF


def _starts(pdu: Pdu, cifs: bool) -> bool:
    """Is this the header of a message?"""
    pdu.need(0, 4)
    kind = pdu.data[0]
    if kind != SESSION_MESSAGE and kind not in OTHER_MESSAGES:
        return False
    return cifs or pdu.data[1] & 0xFE == 0


def _packet(pdu: Pdu) -> None:
    pdu.add(layers.NBSS)
    if pdu.u8(0) != SESSION_MESSAGE or pdu.length <= 4:
        return
    inner = pdu.part(4)
    mark = inner.data[:4]
    if mark == b"\xffSMB":
        smb1.dissect(inner)
    elif mark in (b"\xfeSMB", b"\xfdSMB", b"\xfcSMB"):
        smb2.dissect(inner)
    elif inner.data:
        inner.add(layers.DATA)
