"""DCE/RPC, connection oriented (C706 chapter 12), over TCP and over SMB pipes, and the interfaces that ride on it.

In: bytes of a TCP connection or of a named pipe. Out: a `dcerpc` layer per PDU and, where the bind named an interface
of the table, its layer around the stub data of requests and responses. Binds and calls become `Rpc` facts; answers of
the endpoint mapper announce further ports.
"""

from __future__ import annotations

from analysis import layers
from analysis.facts import Rpc
from analysis.protocols import exploits
from analysis.protocols.pdu import Pdu, framed

HEADER = 16
REQUEST, RESPONSE, FAULT, BIND, BIND_ACK, BIND_NAK, ALTER, ALTER_RESPONSE, AUTH3 = 0, 2, 3, 11, 12, 13, 14, 15, 16
LAST_TYPE = 19
FIRST_FRAGMENT, LAST_FRAGMENT, OBJECT_UUID = 1, 2, 0x80
MOST_CONTEXTS = 32
LONGEST_FRAGMENT = 65_536
MOST_PIPES = 256

# Interface UUID -> layer (Wireshark's uuid table, the part that its dissectors name).
INTERFACES: dict[str, int] = {
    "e1af8308-5d1f-11c9-91a4-08002b14a0fa": layers.EPM,
    "12345678-1234-abcd-ef00-01234567cffb": layers.RPC_NETLOGON,
    "12345778-1234-abcd-ef00-0123456789ac": layers.SAMR,
    "12345778-1234-abcd-ef00-0123456789ab": layers.LSARPC,
    "367abb81-9844-35f1-ad32-98f038001003": layers.SVCCTL,
    "338cd001-2244-31f1-aaaa-900038001003": layers.WINREG,
    "6bffd098-a112-3610-9833-46c3f87e345a": layers.WKSSVC,
    "4b324fc8-1670-01d3-1278-5a47bf6ee188": layers.SRVSVC,
    "12345678-1234-abcd-ef00-0123456789ab": layers.SPOOLSS,
    "1ff70682-0a51-30e8-076d-740be8cee98b": layers.ATSVC,
    "894de0c0-0d55-11d3-a322-00c04fa321a1": layers.INITSHUTDOWN,
    "e3514235-4b06-11d1-ab04-00c04fc2dcd2": layers.DRSUAPI,
    "c681d488-d850-11d0-8c52-00c04fd90f7e": layers.EFS,
    "df1941c5-fe89-4e79-bf10-463657acf44d": layers.EFS,
    "000001a0-0000-0000-c000-000000000046": layers.ISYSTEMACTIVATOR,
    "00000143-0000-0000-c000-000000000046": layers.REMUNK2,
    "5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc": layers.MESSENGER,
}


def uuid_text(data: bytes) -> str:
    """UUID in its usual spelling from the little-endian wire form."""
    return (
        f"{int.from_bytes(data[0:4], 'little'):08x}-{int.from_bytes(data[4:6], 'little'):04x}-"
        f"{int.from_bytes(data[6:8], 'little'):04x}-{data[8:10].hex()}-{data[10:16].hex()}"
    )


def looks_like_dcerpc(data: bytes) -> bool:
    """Version 5.0 or 5.1, a known type, a sane data representation and fragment length."""
    if len(data) < HEADER:
        return False
    little = data[4] & 0x10
    size = int.from_bytes(data[8:10], "little" if little else "big")
    return (
        data[0] == 5
        and data[1] <= 1
        and data[2] <= LAST_TYPE
        and data[4] & 0xEE == 0
        and data[5] <= 3
        and size >= HEADER
    )


def _size(pdu: Pdu, at: int) -> int:
    order = "little" if pdu.u8(at + 4) & 0x10 else "big"
    return int.from_bytes(pdu.data[at + 8 : at + 10], order)  # type: ignore[arg-type]


def dissect(pdu: Pdu) -> bool:
    """PDUs over TCP; refuses what is no header."""
    if not looks_like_dcerpc(pdu.data):
        return False
    return framed(pdu, HEADER, _size, one)


def dissect_pipe(pdu: Pdu, pipe: object) -> None:
    """The bytes of one write, read or transaction of `pipe`; a PDU may need several of them."""
    partial: dict[object, bytes] = pdu.stream.state.setdefault("pipe_partial", {})
    key = (pipe, pdu.direction)
    data = partial.pop(key, b"") + pdu.data
    if not looks_like_dcerpc(data):
        pdu.add(layers.DATA)
        return
    inner = Pdu(data, len(data), pdu.stream, pdu.direction, pdu.number, pdu.time_ns, False)
    inner.layers = pdu.layers
    if _size(inner, 0) > len(data):
        if len(data) < LONGEST_FRAGMENT and len(partial) < MOST_PIPES:
            partial[key] = data
        pdu.add(layers.DATA)
        return
    framed(inner, HEADER, _size, one)


def heuristic(pdu: Pdu) -> bool:
    """DCE/RPC on any port. The conversation may still turn out to be something else."""
    if not looks_like_dcerpc(pdu.data):
        return False
    if dissect not in pdu.stream.candidates:
        pdu.stream.candidates += (dissect,)
    return dissect(pdu)


def one(pdu: Pdu) -> None:
    """One PDU."""
    pdu.add(layers.DCERPC)
    kind = pdu.u8(2)
    order = "little" if pdu.u8(4) & 0x10 else "big"
    if kind in (BIND, ALTER):
        _bind(pdu, order)
    elif kind in (REQUEST, RESPONSE):
        _call(pdu, order, kind)


def _word(pdu: Pdu, at: int, order: str, width: int = 2) -> int:
    pdu.need(at, width)
    return int.from_bytes(pdu.data[at : at + width], order)  # type: ignore[arg-type]


def _contexts(pdu: Pdu) -> dict[int, str]:
    found: dict[int, str] = pdu.stream.state.setdefault("rpc_contexts", {})
    return found


def _bind(pdu: Pdu, order: str) -> None:
    """Presentation contexts: context id -> interface."""
    count = pdu.u8(24)
    at = 28
    contexts = _contexts(pdu)
    for _ in range(min(count, MOST_CONTEXTS)):
        number = _word(pdu, at, order)
        syntaxes = pdu.u8(at + 2)
        pdu.need(at + 4, 20)
        interface = uuid_text(pdu.data[at + 4 : at + 20])
        contexts[number] = interface
        pdu.stream.facts.add("rpc", Rpc(pdu.number, pdu.time_ns, pdu.stream.flow, interface, -1, pdu.length, False))
        at += 24 + 20 * syntaxes


def _call(pdu: Pdu, order: str, kind: int) -> None:
    """A request or response: the interface's layer around its stub data."""
    number = _word(pdu, 20, order)
    interface = _contexts(pdu).get(number, "")
    flags = pdu.u8(3)
    auth = _word(pdu, 10, order)
    at = 24 + (16 if kind == REQUEST and flags & OBJECT_UUID else 0)
    end = pdu.length - (auth + 8 if auth else 0)
    if auth and 0 <= end + 2 < len(pdu.data):
        end -= pdu.data[end + 2]
    calls: dict[int, int] = pdu.stream.state.setdefault("rpc_calls", {})
    call = _word(pdu, 12, order, 4)
    if kind == REQUEST:
        operation = _word(pdu, 22, order)
        if len(calls) < 4096:
            calls[call] = operation
    else:
        operation = calls.get(call, -1)
    if flags & FIRST_FRAGMENT:
        pdu.stream.facts.add(
            "rpc",
            Rpc(pdu.number, pdu.time_ns, pdu.stream.flow, interface, operation, pdu.length, kind == RESPONSE),
        )
        exploits.rpc(pdu, interface, operation, pdu.data[at:end], kind == RESPONSE)
    layer = INTERFACES.get(interface)
    if layer is None or end < at:
        return
    if flags & 3 == 3:
        pdu.add(layer, min(end, len(pdu.data)) - at)
    elif not flags & FIRST_FRAGMENT and flags & LAST_FRAGMENT:
        pdu.add(layer, min(end, len(pdu.data)) - at)
