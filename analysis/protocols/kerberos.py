"""Kerberos 5 messages (RFC 4120 5): who asks for which service, with which encryption types, and the errors.

In: one message, without the four-byte length that TCP puts before it. Out: a `Message`, or None where the bytes are
no Kerberos message. Facts only: nothing is decrypted. Hostile bytes give None.
"""

from __future__ import annotations

from analysis.facts import Kerberos
from analysis.named_tuples import NamedTuple
from analysis.protocols.ber import BerError, Element, children, element, integer, text

AS_REQ, AS_REP, TGS_REQ, TGS_REP, AP_REQ, AP_REP, ERROR = 10, 11, 12, 13, 14, 15, 30
TYPES = (AS_REQ, AS_REP, TGS_REQ, TGS_REP, AP_REQ, AP_REP, 20, 21, 22, ERROR)

MAX_ETYPES = 32


class Message(NamedTuple):
    """One message. `etypes` are those offered in a request, or those of ticket and encrypted part in a reply."""

    type: int
    etypes: tuple[int, ...]
    realm: str
    client: str
    service: str
    error: int  # -1 where it is no error
    whole: bool = True  # False: an element reaches behind the bytes; what was read before it is kept


def parse(data: bytes) -> Message | None:
    """Read one message."""
    if not data or data[0] & 0xE0 != 0x60 or data[0] & 0x1F not in TYPES:
        return None
    kind = data[0] & 0x1F
    try:
        body = element(data, 0, len(data))
        sequence = element(data, body.start, body.end)
        fields = _fields(data, sequence)
        if kind in (AS_REQ, TGS_REQ):
            return _request(data, kind, fields)
        if kind in (AS_REP, TGS_REP):
            return _reply(data, kind, fields)
        if kind == ERROR:
            code = integer(data, fields[6]) if 6 in fields else 0
            realm, client = _string(data, fields, 9), _principal(data, fields.get(8))
            return Message(kind, (), realm, client, _principal(data, fields.get(10)), code)
        if kind == AP_REQ:
            realm, service, etype = _ticket(data, fields.get(3))
            return Message(kind, etype, realm, "", service, -1)
    except BerError:
        return Message(kind, (), "", "", "", -1, False)
    return Message(kind, (), "", "", "", -1)


def fact(message: Message, number: int, time_ns: int, flow: int) -> Kerberos:
    """The row of a message that frame `number` carried, over UDP or TCP."""
    said = message.type, message.etypes, message.realm, message.client, message.service, message.error
    return Kerberos(number, time_ns, flow, *said)


def _fields(data: bytes, sequence: Element) -> dict[int, Element]:
    """The context-tagged fields of a SEQUENCE, unwrapped."""
    return {
        item.tag & 0x1F: element(data, item.start, item.end)
        for item in children(data, sequence)
        if item.tag & 0xE0 == 0xA0
    }


def _string(data: bytes, fields: dict[int, Element], number: int) -> str:
    return text(data, fields[number]) if number in fields else ""


def _principal(data: bytes, name: Element | None) -> str:
    """The components of a PrincipalName, joined with slashes."""
    if name is None:
        return ""
    listed = _fields(data, name).get(1)
    if listed is None:
        return ""
    return "/".join(text(data, part) for part in children(data, listed))


def _ticket(data: bytes, ticket: Element | None) -> tuple[str, str, tuple[int, ...]]:
    """(realm, service, encryption type) of a Ticket, whose tag is APPLICATION 1."""
    if ticket is None:
        return "", "", ()
    fields = _fields(data, element(data, ticket.start, ticket.end))
    return _string(data, fields, 1), _principal(data, fields.get(2)), _etype(data, fields.get(3))


def _etype(data: bytes, encrypted: Element | None) -> tuple[int, ...]:
    if encrypted is None:
        return ()
    kind = _fields(data, encrypted).get(0)
    return (integer(data, kind),) if kind is not None else ()


def _request(data: bytes, kind: int, fields: dict[int, Element]) -> Message:
    if 4 not in fields:
        return Message(kind, (), "", "", "", -1)
    body = _fields(data, fields[4])
    listed = children(data, body[8]) if 8 in body else ()
    etypes = tuple(integer(data, item) for item in listed)[:MAX_ETYPES]
    return Message(
        kind, etypes, _string(data, body, 2), _principal(data, body.get(1)), _principal(data, body.get(3)), -1
    )


def _reply(data: bytes, kind: int, fields: dict[int, Element]) -> Message:
    _, service, ticket_etype = _ticket(data, fields.get(5))
    etypes = ticket_etype + _etype(data, fields.get(6))
    return Message(kind, etypes, _string(data, fields, 3), _principal(data, fields.get(4)), service, -1)
