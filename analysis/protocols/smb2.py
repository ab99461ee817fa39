"""SMB 2 and 3 ([MS-SMB2] 2.2): compounded messages, trees, files, and the pipes among them.

In: one session service message. Out: an `smb2` layer per compounded message, `dcerpc` for what pipes carry, `Smb`
facts. It must not know TCP.
"""

from __future__ import annotations

import struct

from analysis import layers
from analysis.facts import Smb
from analysis.protocols import dcerpc
from analysis.protocols.pdu import Pdu

NEGOTIATE, SESSION_SETUP, TREE_CONNECT, CREATE, READ, WRITE, IOCTL = 0, 1, 3, 5, 8, 9, 11
RESPONSE = 1
PIPE_TRANSCEIVE = 0x0011C017
SHARE_PIPE = 2
MOST_KEPT = 4096
PENDING = 0x103

HEADER = struct.Struct("<IH2xI")  # status, command, flags at 8, 12 and 16 ([MS-SMB2] 2.2.1)


def dissect(pdu: Pdu) -> None:
    """One message, or several compounded ones."""
    if pdu.data[:4] != b"\xfeSMB":
        pdu.add(layers.SMB2)  # encrypted or compressed
        return
    at = 0
    for _ in range(64):
        pdu.need(at, 4)
        if pdu.data[at : at + 4] != b"\xfeSMB":
            return
        pdu.need(at + 20, 4)
        following = pdu.le32(at + 20)
        size = following if following else pdu.length - at
        if size < 64 or at + size > pdu.length:
            size = pdu.length - at
            following = 0
        _message(pdu.part(at, size) if at or following else pdu)
        if not following:
            return
        at += following


def _kept(pdu: Pdu, name: str) -> dict[object, object]:
    table: dict[object, object] = pdu.stream.state.setdefault(name, {})
    if len(table) > MOST_KEPT:
        table.clear()
    return table


def _message(pdu: Pdu) -> None:
    pdu.add(layers.SMB2)
    pdu.need(12, 2)
    pdu.need(16, 4)
    status, command, flags = HEADER.unpack_from(pdu.data, 8)
    response = bool(flags & RESPONSE)
    message, tree = pdu.data[24:32], pdu.data[36:40]
    body = 64
    name = ""
    if not response:
        if command == TREE_CONNECT:
            name = _text(pdu, pdu.le16(body + 4), pdu.le16(body + 6))
            _kept(pdu, "smb2_asked")[message] = name
        elif command == CREATE and pdu.length >= body + 48:
            name = _text(pdu, pdu.le16(body + 44), pdu.le16(body + 46))
            _kept(pdu, "smb2_asked")[message] = name
    elif status == 0:
        if command == TREE_CONNECT:
            _kept(pdu, "smb2_trees")[tree] = pdu.u8(body + 2) == SHARE_PIPE
        elif command == CREATE and pdu.length >= body + 80:
            asked = _kept(pdu, "smb2_asked").pop(message, "")
            if _kept(pdu, "smb2_trees").get(tree):
                _kept(pdu, "smb2_pipes")[pdu.data[body + 64 : body + 80]] = asked
    pdu.stream.facts.add("smb", Smb(pdu.number, pdu.time_ns, pdu.stream.flow, 2, command, response, status, name))
    if command in (WRITE, READ, IOCTL):
        _content(pdu, command, response, status, message, tree)


def _content(pdu: Pdu, command: int, response: bool, status: int, message: bytes, tree: bytes) -> None:
    """Bytes written to, read from or exchanged with a file; those of a pipe are dissected."""
    body = 64
    readers = _kept(pdu, "smb2_reads")
    pipe = bool(_kept(pdu, "smb2_trees").get(tree))
    if command == WRITE and not response:
        offset, length = pdu.le16(body + 2), pdu.le32(body + 4)
        pipe = pipe or pdu.data[body + 16 : body + 32] in _kept(pdu, "smb2_pipes")
    elif command == READ and not response:
        readers[message] = pdu.data[body + 16 : body + 32]
        return
    elif command == READ and status in (0, 0x80000005):
        file = readers.pop(message, b"")
        offset, length = pdu.u8(body + 2), pdu.le32(body + 4)
        pipe = pipe or file in _kept(pdu, "smb2_pipes")
    elif command == IOCTL:
        if pdu.le32(body + 4) != PIPE_TRANSCEIVE:
            return
        pipe = True
        at = body + (32 if response else 24)
        offset, length = pdu.le32(at), pdu.le32(at + 4)
        if status not in (0, 0x80000005):
            return
    else:
        return
    if length == 0 or offset < body:
        return
    inner = pdu.part(offset, min(length, pdu.length - offset))
    if pipe and inner.data:
        dcerpc.dissect_pipe(inner, tree)
    elif command == READ and inner.data:
        inner.add(layers.DATA)


def _text(pdu: Pdu, offset: int, length: int) -> str:
    return pdu.data[offset : offset + min(length, 520)].decode("utf-16-le", "replace")
