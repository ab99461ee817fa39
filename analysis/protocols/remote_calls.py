"""Rules for remote procedure calls over UDP: ONC RPC (RFC 5531) and connectionless DCE/RPC (C706 12).

In: datagrams. Out: layers: rpc with the program behind it, dcerpc with the interface behind it, and `Rpc` facts.
Replies carry no program number, so calls are remembered by flow and transaction (bounded).
"""

from __future__ import annotations

from typing import Literal

from analysis import layers
from analysis.facts import Rpc
from analysis.protocols import datagram_shapes
from analysis.protocols.datagram import Context, Datagram, Layers

# -- ONC RPC -----------------------------------------------------------------------------------------------------------

_CALL, _REPLY = 0, 1
MAX_CALLS = 65_536  # calls remembered while their replies are awaited

PROGRAMS = {
    100000: layers.PORTMAP,
    100001: layers.RSTAT,
    100003: layers.NFS,
    100004: layers.YPSERV,
    100005: layers.MOUNT,
    100007: layers.YPBIND,
    100008: layers.RWALL,
    100009: layers.YPPASSWD,
    100011: layers.RQUOTA,
    100012: layers.SPRAY,
    100020: layers.KLM,
    100021: layers.NLM,
    100024: layers.STAT,
    100026: layers.BOOTPARAMS,
    100227: layers.NFSACL,
    100232: layers.SADMIND,
    100300: layers.NISPLUS,
    150001: layers.PCNFSD,
}


def rpc_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """A call of RPC version 2 to a program that has a dissector, or the reply to a call seen."""
    data = datagram.data
    if len(data) < 8:
        return None
    if data[4] or data[5] or data[6] or data[7] > _REPLY:
        return None
    if data[7] == _CALL:
        if len(data) < 24 or int.from_bytes(data[8:12], "big") != 2:
            return None
        if int.from_bytes(data[12:16], "big") not in PROGRAMS:
            return None
    elif (datagram.flow, data[:4]) not in _calls(context):
        return None
    return rpc_rule(datagram, context)


def _calls(context: Context) -> dict[tuple[int, bytes], int]:
    calls = context.rpc_calls
    if len(calls) > MAX_CALLS:
        calls.clear()
    return calls


def rpc_rule(datagram: Datagram, context: Context) -> Layers | None:
    """On port 111 every payload is RPC; the program's layer stands behind the header and its credentials."""
    data = datagram.data
    size = len(data)
    whole = datagram.whole(layers.RPC)
    if size < 8:
        return whole
    kind = int.from_bytes(data[4:8], "big")
    calls = _calls(context)
    transaction = (datagram.flow, data[:4])
    if kind == _CALL and size >= 40:
        program = int.from_bytes(data[12:16], "big")
        if not datagram.quoted:
            calls[transaction] = program
        at = 24
        for _ in range(2):  # credentials, verifier
            if at + 8 > size:
                return whole
            at += 8 + (int.from_bytes(data[at + 4 : at + 8], "big") + 3 & ~3)
    elif kind == _REPLY and transaction in calls and size >= 20:
        program = calls[transaction]
        if data[8:12] != b"\0\0\0\0":  # denied: versions follow a mismatch, a reason follows a refusal
            return [(layers.RPC, min(size, 24 if data[12:16] == b"\0\0\0\0" else 20))]
        at = 12 + 8 + (int.from_bytes(data[16:20], "big") + 3 & ~3) + 4
        if at > size or data[at - 4 : at] != b"\0\0\0\0":  # not successful
            return whole
    else:
        return whole
    layer = PROGRAMS.get(program, 0)
    if at > size:
        return datagram.ends_early(layers.RPC)
    return [(layers.RPC, at), (layer, size - at)] if layer else whole


# -- DCE/RPC -----------------------------------------------------------------------------------------------------------

HEADER = 80
_REQUEST, _RESPONSE = 0, 2
LAST_TYPE = 10  # cancel_ack

# (interface, its version) -> layer
INTERFACES = {
    ("5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc", 1): layers.MESSENGER,
    ("dea00001-6c97-11d1-8271-00a02442df7d", 1): layers.PN_IO_DEVICE,
    ("dea00002-6c97-11d1-8271-00a02442df7d", 1): layers.PN_IO_CONTROLLER,
    ("dea00003-6c97-11d1-8271-00a02442df7d", 1): layers.PN_IO_SUPERVISOR,
    ("e1af8308-5d1f-11c9-91a4-08002b14a0fa", 3): layers.EPM,
    ("333a2276-0000-0000-0d00-00809c000000", 3): layers.CONV,
}


def _uuid_text(raw: bytes, order: Literal["little", "big"]) -> str:
    """A UUID as text; its first three fields follow the data representation (C706 appendix A)."""
    first, second, third = (int.from_bytes(raw[a:b], order) for a, b in ((0, 4), (4, 6), (6, 8)))
    return f"{first:08x}-{second:04x}-{third:04x}-{raw[8:10].hex()}-{raw[10:16].hex()}"


def dcerpc_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """Version 4, a packet type of the connectionless protocol, a data representation that exists."""
    data = datagram.data
    if len(data) < HEADER or data[0] != 4 or data[1] > LAST_TYPE or data[4] & 0xEE or data[5] > 3:
        return None
    return dcerpc_rule(datagram, context)


def dcerpc_rule(datagram: Datagram, context: Context) -> Layers | None:
    """The 80-byte header, and the interface's layer behind it in requests and responses."""
    data = datagram.data
    found = datagram.whole(layers.DCERPC)
    if data[1] not in (_REQUEST, _RESPONSE):
        return found
    order: Literal["little", "big"] = "little" if data[4] & 0x10 else "big"
    interface = _uuid_text(data[24:40], order)
    version = int.from_bytes(data[60:64], order)
    operation = int.from_bytes(data[68:70], order)
    response = data[1] == _RESPONSE
    row = Rpc(datagram.number, datagram.time_ns, datagram.flow, interface, operation, datagram.length, response)
    context.add(datagram, "rpc", row)
    stated = int.from_bytes(data[74:76], order)
    body = min(stated, len(data) - HEADER)
    layer = INTERFACES.get((interface, version), 0)
    if layer == layers.MESSENGER and not response and body > 0:
        datagram_shapes.mark(datagram, context, "messenger-spam", f"{body} bytes")
    if stated > body and len(data) < datagram.length:
        return datagram.ends_early(layers.DCERPC)
    if layer and body > 0:
        found.append((layer, body))
        if stated > body:
            found.append((layers.MALFORMED, 0))
    return found
