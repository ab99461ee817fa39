"""SMB 1 ([MS-CIFS] 2.2): chained AndX commands, transactions, trees, files, and the pipes among them.

In: one session service message. Out: an `smb` layer, `dcerpc` for what pipes carry, `browser` for mailslots, `Smb`
facts. It must not know TCP.
"""

from __future__ import annotations

from analysis import layers
from analysis.facts import Smb
from analysis.protocols import dcerpc, exploits
from analysis.protocols.pdu import Pdu

HEADER = 32
TRANS, ECHO, TRANS2, TRANS2_SECONDARY, NT_TRANS, NT_TRANS_SECONDARY = 0x25, 0x2B, 0x32, 0x33, 0xA0, 0xA1
OPEN_ANDX, READ_ANDX, WRITE_ANDX, NT_CREATE_ANDX, TREE_CONNECT_ANDX = 0x2D, 0x2E, 0x2F, 0xA2, 0x75
SESSION_SETUP = 0x73
RESPONSE, UNICODE = 0x80, 0x8000
IPC = b"IPC"
MOST_KEPT = 4096
SETUP_SESSION = 14  # TRANS2 subcommand that no server implements: how DoublePulsar is asked
PULSAR_HERE = 0x10  # what the implant adds to the request's multiplex id where it is in place


def dissect(pdu: Pdu) -> None:
    """One message with its first command; further AndX commands are not walked (they carry no layer)."""
    pdu.add(layers.SMB)
    pdu.need(0, HEADER + 1)
    command, status = pdu.data[4], pdu.le32(5)
    response = bool(pdu.data[9] & RESPONSE)
    unicode = bool(pdu.le16(10) & UNICODE)
    multiplex = pdu.le16(30)
    words = pdu.data[HEADER] * 2
    pdu.need(HEADER + 1, words + 2)
    at = HEADER + 1
    name = ""
    if command == TREE_CONNECT_ANDX and not response and words >= 8:
        name = _tree(pdu, at, words, unicode)
    elif command == NT_CREATE_ANDX and not response and words >= 48:
        start = at + words + 2
        start += start & 1 if unicode else 0
        name = _text(pdu, start, pdu.le16(at + 5), unicode)
    pdu.stream.facts.add("smb", Smb(pdu.number, pdu.time_ns, pdu.stream.flow, 1, command, response, status, name))
    _follow(pdu, command, response, status, multiplex, at, words, name)


def _kept(pdu: Pdu, name: str) -> dict[object, object]:
    table: dict[object, object] = pdu.stream.state.setdefault(name, {})
    if len(table) > MOST_KEPT:
        table.clear()
    return table


def _follow(
    pdu: Pdu, command: int, response: bool, status: int, multiplex: int, at: int, words: int, name: str
) -> None:
    """Trees and files, and what their commands carry."""
    tree = pdu.le16(24)
    asked = _kept(pdu, "smb1_asked")
    trees = _kept(pdu, "smb1_pipes")
    if command == TREE_CONNECT_ANDX:
        if not response:
            asked[multiplex] = name
        elif status == 0:
            trees[tree] = str(asked.pop(multiplex, "")).upper().endswith("IPC$")
    elif command == TRANS:
        _trans(pdu, response, at, words, multiplex)
    elif command == TRANS2 and not response and words >= 30 and pdu.le16(at + 28) == SETUP_SESSION:
        exploits.report(pdu, "doublepulsar-ping", "TRANS2 SESSION_SETUP")
        pdu.stream.state["smb1_pulsar"] = multiplex + PULSAR_HERE
    elif command == TRANS2 and response and pdu.stream.state.get("smb1_pulsar") == multiplex:
        exploits.report(pdu, "doublepulsar-answer", "multiplex id raised by 0x10")
    elif command in (NT_TRANS, NT_TRANS_SECONDARY, TRANS2_SECONDARY) and not response:
        _large_transaction(pdu, command, at, words)
    elif command == WRITE_ANDX and not response and words >= 24:
        length, offset = pdu.le16(at + 20), pdu.le16(at + 22)
        _pipe_or_file(pdu, bool(trees.get(tree)), offset, length)
    elif command == READ_ANDX and response and words >= 24 and status in (0, 0x80000005):
        _pipe_or_file(pdu, bool(trees.get(tree)), pdu.le16(at + 12), pdu.le16(at + 10))


def _pipe_or_file(pdu: Pdu, pipe: bool, offset: int, length: int) -> None:
    if length == 0 or offset < HEADER:
        return
    inner = pdu.part(offset, min(length, pdu.length - offset))
    if pipe and inner.data:
        dcerpc.dissect_pipe(inner, pdu.le16(24))
    elif inner.data:
        inner.add(layers.DATA)


def _trans(pdu: Pdu, response: bool, at: int, words: int, multiplex: int) -> None:
    """SMB_COM_TRANSACTION: a pipe's call and answer, or a mailslot."""
    asked = _kept(pdu, "smb1_trans")
    if response:
        if words < 20:
            return
        length, offset = pdu.le16(at + 12), pdu.le16(at + 14)
        pipe = bool(asked.get(multiplex))
    else:
        if words < 28:
            return
        length, offset = pdu.le16(at + 22), pdu.le16(at + 24)
        text = pdu.data[at + words + 2 : at + words + 40].replace(b"\0", b"").upper()
        pipe = b"\\PIPE\\" in text
        asked[multiplex] = pipe
        if words >= 32 and pdu.le16(at + 28) == 0x23 and pdu.le16(at + 30) == 0:
            exploits.report(pdu, "ms17-010-probe", "PeekNamedPipe on FID 0")
    if not pipe or length == 0 or offset < HEADER:
        return
    inner = pdu.part(offset, min(length, pdu.length - offset))
    if inner.data:
        inner.add(layers.SMB_PIPE, 0)
        dcerpc.dissect_pipe(inner, pdu.le16(24))


def _large_transaction(pdu: Pdu, command: int, at: int, words: int) -> None:
    """EternalBlue's groundwork: an NT_TRANSACT whose rest comes as TRANS2_SECONDARY, far beyond what fits."""
    state = pdu.stream.state
    if command == NT_TRANS and words >= 38:
        total = pdu.le32(at + 7)
        if total > 0x10000:
            state["smb1_large"] = True
    elif command == TRANS2_SECONDARY and state.get("smb1_large") and not state.get("smb1_blue"):
        state["smb1_blue"] = True
        exploits.report(pdu, "eternalblue", "NT_TRANSACT over 64 KiB continued by TRANS2_SECONDARY")


def _tree(pdu: Pdu, at: int, words: int, unicode: bool) -> str:
    password = pdu.le16(at + 6)
    start = at + words + 2 + password
    start += start & 1 if unicode else 0
    return _text(pdu, start, 512, unicode)


def _text(pdu: Pdu, start: int, length: int, unicode: bool) -> str:
    raw = pdu.data[start : start + min(length, 512)]
    text = raw.decode("utf-16-le" if unicode else "latin-1", "replace")
    return text.split("\0")[0]
