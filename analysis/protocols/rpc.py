"""ONC RPC over TCP (RFC 5531): record marking, and the programs of portmap, NFS, mount, NLM and rstat.

In: bytes of connections to port 111 or 2049, or that look like a record with a call. Out: `rpc` per record and the
program's layer inside; replies are matched with their calls by transaction id.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.pdu import ONE_MORE, Pdu

CALL, REPLY = 0, 1
LAST = 0x80000000
LONGEST = 1 << 22
MOST_CALLS = 8192

PROGRAMS: dict[int, int] = {
    100000: layers.PORTMAP,
    100001: layers.RSTAT,
    100003: layers.NFS,
    100005: layers.MOUNT,
    100021: layers.NLM,
}


def looks_like_rpc(data: bytes) -> bool:
    """A record mark, then a call of RPC version 2 (RFC 5531 9)."""
    return len(data) >= 28 and data[8:12] == b"\0\0\0\0" and data[12:16] == b"\0\0\0\2" and data[0] & 0x7F == 0


def dissect(pdu: Pdu) -> bool:
    """Records one after the other; refuses what is no call and no known reply."""
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        if left < 4:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            return True
        mark = pdu.be32(at)
        size = 4 + (mark & ~LAST)
        if size > LONGEST or size < 12:
            return at > 0
        if left >= 12 and not _plausible(pdu, at + 4):
            return at > 0
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        message(pdu.part(at, min(size, left)), 4)
        at += size
    return True


def _plausible(pdu: Pdu, at: int) -> bool:
    kind = pdu.be32(at + 4)
    if kind == CALL:
        return pdu.length - at < 12 or pdu.be32(at + 8) == 2
    return kind == REPLY and pdu.be32(at) in pdu.stream.state.get("rpc_onc", {})


def message(pdu: Pdu, at: int) -> None:
    """One message at offset `at` of its record: `rpc`, then the program."""
    calls: dict[int, tuple[int, int]] = pdu.stream.state.setdefault("rpc_onc", {})
    number, kind = pdu.be32(at), pdu.be32(at + 4)
    if kind == CALL:
        program, procedure = pdu.be32(at + 12), pdu.be32(at + 20)
        if len(calls) < MOST_CALLS:
            calls[number] = (program, procedure)
        credentials = pdu.be32(at + 28)
        verifier = pdu.be32(at + 36 + ((credentials + 3) & ~3))
        end = at + 40 + ((credentials + 3) & ~3) + ((verifier + 3) & ~3)
    else:
        program, procedure = calls.get(number, (0, 0))
        end = at + 24
    layer = PROGRAMS.get(program)
    if layer is None:
        pdu.add(layers.RPC)
        return
    pdu.add(layers.RPC, min(end, len(pdu.data)))
    pdu.add(layer, max(len(pdu.data) - end, 0))
