"""LDAP (RFC 4511) and Kerberos (RFC 4120) over TCP.

In: bytes of connections to ports 389, 3268 and 88. Out: an `ldap` layer per message (SASL-wrapped ones too) and a
`kerberos` layer per record; simple binds become logins, Kerberos messages facts.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import exploits, logins
from analysis.protocols.framing import LONGEST_UNIT
from analysis.protocols.pdu import ONE_MORE, Pdu, framed

SEQUENCE = 0x30
BIND_REQUEST, BIND_RESPONSE, SEARCH_REQUEST, EXTENDED_REQUEST, EXTENDED_RESPONSE = 0x60, 0x61, 0x63, 0x77, 0x78
START_TLS = b"1.3.6.1.4.1.1466.20037"
LONGEST = 1 << 24


def ber_length(pdu: Pdu, at: int) -> tuple[int, int]:
    """(length, bytes of the length field) of the BER length at `at`; length -1 for the indefinite form."""
    first = pdu.u8(at)
    if first < 0x80:
        return first, 1
    count = first & 0x7F
    if count == 0:
        return -1, 1
    if count > 4:
        return LONGEST, 1 + count
    pdu.need(at + 1, count)
    return int.from_bytes(pdu.data[at + 1 : at + 1 + count], "big"), 1 + count


def dissect_ldap(pdu: Pdu) -> bool:
    """LDAP messages, or SASL buffers once the bind agreed on a security layer; of anything else nothing is shown."""
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        if left < 6 and pdu.whole:
            pdu.need(at, 1)
            if at == 0 and pdu.data[0] not in (SEQUENCE, 0):
                return True
            pdu.wish(at, ONE_MORE)
            return True
        size = _size(pdu, at)
        if size <= 0:
            return True
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        inner = pdu.part(at, min(size, left))
        pdu.add(layers.LDAP, len(inner.data))
        if inner.data[:1] == b"\x30":
            _message(inner)
        at += size
    return True


def _size(pdu: Pdu, at: int) -> int:
    """Length of the message or SASL buffer at `at`, 0 where it is neither."""
    first = pdu.u8(at)
    if first == SEQUENCE:
        length, width = ber_length(pdu, at + 1)
        return 1 + width + length if 0 <= length < LONGEST else 0
    if first == 0:
        size = pdu.be32(at)
        return 4 + size if 0 < size < LONGEST else 0
    return 0


def _message(pdu: Pdu) -> None:
    """Simple binds, their result, and the start of TLS."""
    _, width = ber_length(pdu, 1)
    at = 1 + width
    if pdu.length < at + 5 or pdu.u8(at) != 2:
        return
    at += 2 + pdu.u8(at + 1)
    operation = pdu.u8(at)
    _, width = ber_length(pdu, at + 1)
    at += 1 + width
    if operation == BIND_REQUEST and pdu.length > at + 6:
        at += 2 + pdu.u8(at + 1)
        length, width = ber_length(pdu, at + 1)
        name = pdu.data[at + 1 + width : at + 1 + width + max(length, 0)]
        at += 1 + width + max(length, 0)
        if at < len(pdu.data) and pdu.data[at] == 0x80:
            secret, _ = ber_length(pdu, at + 1)
            logins.pending(pdu, "ldap", logins.text(name), secret > 0)
        else:
            logins.pending(pdu, "ldap", logins.text(name), False, False)
    elif operation == BIND_RESPONSE and pdu.length > at + 2:
        code = pdu.data[at + 2] if len(pdu.data) > at + 2 else 14
        if code != 14:  # saslBindInProgress
            logins.settle(pdu, code == 0)
    elif operation == EXTENDED_REQUEST and START_TLS in pdu.data:
        pdu.stream.state["ldap_tls"] = True
    elif operation == EXTENDED_RESPONSE and pdu.stream.state.pop("ldap_tls", False):
        pdu.stream.shared.start_tls(pdu)
    elif operation == SEARCH_REQUEST and b"${jndi" in pdu.data:
        exploits.report(pdu, "log4shell", "LDAP search")


# ---------------------------------------------------------------------------------------------------- Kerberos


def _kerberos_size(pdu: Pdu, at: int) -> int:
    """Length behind four bytes; its first bit is reserved."""
    return 4 + min(pdu.be32(at) & 0x7FFFFFFF, LONGEST_UNIT)


def _kerberos(pdu: Pdu) -> None:
    pdu.add(layers.KERBEROS)
    pdu.stream.shared.kerberos(pdu, pdu.data[4:])


def dissect_kerberos(pdu: Pdu) -> bool:
    """Kerberos records: four length bytes, then a message (RFC 4120 7.2.2); on its port nothing is refused."""
    return framed(pdu, 4, _kerberos_size, _kerberos)
