"""Rules for the protocols that run a network: NTP, SNMP, syslog, RADIUS, Kerberos, TFTP, SSDP, CLDAP, memcached.

In: datagrams of their ports. Out: layers; `Login` facts for SNMP communities and RADIUS users (secrets masked at
once), `Kerberos` facts. Sizes and checks are those that make Wireshark's dissectors refuse or run off the end.
"""

from __future__ import annotations

from analysis import layers
from analysis.facts import Login
from analysis.protocols import datagram_shapes, kerberos
from analysis.protocols.ber import BerError, Element, children, element, header, text
from analysis.protocols.datagram import Context, Datagram, Layers

MASKED = "***"


def login(datagram: Datagram, context: Context, protocol: str, user: str, secret: str = "") -> None:
    """One `Login` row a flow and user or masked secret: polling repeats the same credentials every few seconds."""
    if datagram.quoted or not context.first((protocol, user[:64] or secret, datagram.flow)):
        return
    cleartext = bool(secret)
    context.facts.add(
        "login", Login(datagram.number, datagram.time_ns, datagram.flow, protocol, user, secret, cleartext, -1)
    )


def ntp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """NTP: 48 bytes, or the shorter control and private messages (RFC 9327, mode 7)."""
    data = datagram.data
    mode = data[0] & 7 if data else 0
    if mode == 7:
        datagram_shapes.ntp_private(datagram, context)
    needed = 12 if mode == 6 else 8 if mode == 7 else 48
    return datagram.whole(layers.NTP) if len(data) >= needed else datagram.ends_early(layers.NTP)


def syslog_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Syslog takes every payload (RFC 3164 4)."""
    context.settle(datagram, layers.SYSLOG)
    return datagram.whole(layers.SYSLOG)


# -- SNMP (RFC 1157, RFC 3416, RFC 3412) -----------------------------------------------------------------------------


def snmp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """A SEQUENCE that fits, with a version in front; what is wrong further inside ends early."""
    data = datagram.data
    if not data or data[0] != 0x30:
        return None
    try:
        claimed = header(data, 0, len(data))
        if claimed.end > len(data) == datagram.length:
            return None
        message = claimed._replace(end=min(claimed.end, len(data)))
        first = element(data, message.start, len(data))
    except BerError:
        return [(datagram.mark(), 0)]
    if first.tag != 2 or first.end - first.start != 1:
        return None
    try:
        _snmp_message(datagram, context, message, data[first.start])
    except BerError:
        return datagram.ends_early(layers.SNMP)
    return datagram.whole(layers.SNMP)


def _snmp_message(datagram: Datagram, context: Context, message: Element, version: int) -> None:
    """Community or user, and a walk over the rest. Raises BerError."""
    data = datagram.data
    parts = list(children(data, message))
    if version < 3 and len(parts) > 1 and parts[1].tag == 4:
        number = context.secret(data[parts[1].start : parts[1].end])
        login(datagram, context, "snmp", "", MASKED + (str(number) if number > 1 else ""))
    elif version == 3 and len(parts) > 2:
        _user_security(datagram, context, parts[2])
    for part in parts[2:]:
        if part.tag & 0x20:
            _walk(data, part, 0)


def _walk(data: bytes, parent: Element, depth: int) -> None:
    """Follow every constructed element, so that one that does not fit is found."""
    if depth < 8:
        for child in children(data, parent):
            if child.tag & 0x20:
                _walk(data, child, depth + 1)


def _user_security(datagram: Datagram, context: Context, parameters: Element) -> None:
    """The user name of the user-based security model (RFC 3414 2.4)."""
    data = datagram.data
    inner = element(data, parameters.start, parameters.end)
    fields = list(children(data, inner))
    if len(fields) > 3:
        user = text(data, fields[3])
        if user:
            login(datagram, context, "snmp", user)


# -- RADIUS (RFC 2865 3, 5) --------------------------------------------------------------------------------------------

_RADIUS_CODES = frozenset([*range(1, 14), *range(21, 28), *range(29, 35), *range(40, 46), 50, 51, *range(129, 133)])
_USER_NAME = 1


def radius_rule(datagram: Datagram, context: Context) -> Layers | None:
    """A known code, a length that covers the header, attributes that fit."""
    data = datagram.data
    if len(data) < 4:
        return [(datagram.mark(), 0)]
    size = int.from_bytes(data[2:4], "big")
    if data[0] not in _RADIUS_CODES or size < 20 or size > 4096:
        return None
    end = min(size, len(data))
    at = 20
    while at + 2 <= end:
        step = data[at + 1]
        if step < 2 or at + step > end:
            break
        if data[at] == _USER_NAME and data[0] in (1, 4):
            login(datagram, context, "radius", data[at + 2 : at + step].decode("utf-8", "replace"))
        at += step
    if size > len(data):
        return datagram.ends_early(layers.RADIUS)
    return [(layers.RADIUS, size)]


# -- Kerberos and directory --------------------------------------------------------------------------------------------


def kerberos_rule(datagram: Datagram, context: Context) -> Layers | None:
    """One message a datagram (RFC 4120 7.2.1)."""
    data = datagram.data
    message = kerberos.parse(data)
    if message is None:
        return None
    if not message.whole:
        return datagram.ends_early(layers.KERBEROS)
    context.add(datagram, "kerberos", kerberos.fact(message, datagram.number, datagram.time_ns, datagram.flow))
    return datagram.whole(layers.KERBEROS)


def cldap_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Connectionless LDAP never refuses on its port."""
    return datagram.whole(layers.CLDAP)


# -- files, discovery, caches ------------------------------------------------------------------------------------------

_READ, _WRITE, _DATA, _ERROR, _OPTIONS = 1, 2, 3, 5, 6


def tftp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """TFTP (RFC 1350 5): a request makes the client's endpoint known, the server answers from a port of its own."""
    data = datagram.data
    if len(data) < 2:
        return datagram.ends_early(layers.TFTP)
    opcode = int.from_bytes(data[:2], "big")
    if opcode in (_READ, _WRITE) and not datagram.quoted:
        context.announce(datagram.source_endpoint, tftp_transfer_rule)
        datagram_shapes.tftp_request(datagram, context)
    if opcode == _DATA and len(data) > 4:
        return [(layers.TFTP, 4), (layers.DATA, len(data) - 4)]
    return datagram.whole(layers.TFTP) if _tftp_ends(opcode, data) else datagram.ends_early(layers.TFTP)


def _tftp_ends(opcode: int, data: bytes) -> bool:
    """True where the fields of a message end inside it: two strings of a request, one of an error, a block number."""
    if opcode in (_READ, _WRITE):
        return data.count(b"\0", 2) >= 2
    if opcode == _ERROR:
        return len(data) >= 4 and b"\0" in data[4:]
    if opcode == _OPTIONS:
        return len(data) == 2 or data.endswith(b"\0")
    return len(data) >= 4


def tftp_transfer_rule(datagram: Datagram, context: Context) -> Layers | None:
    """A datagram from or to the port of a TFTP client: an opcode of the protocol is needed."""
    data = datagram.data
    if len(data) < 2:
        return [(datagram.mark(), 0)]
    if not 1 <= int.from_bytes(data[:2], "big") <= 6:
        return None
    return tftp_rule(datagram, context)


_MODES = (b"netascii", b"octet", b"mail")


def tftp_anywhere(datagram: Datagram, context: Context) -> Layers | None:
    """A request on a port of nobody: a printable file name, then a transfer mode. The conversation is TFTP's."""
    data = datagram.data
    if data[:2] not in (b"\0\1", b"\0\2"):
        return None
    name, _, rest = data[2:514].partition(b"\0")
    if not name or not all(0x20 <= byte < 0x7F for byte in name) or rest.split(b"\0", 1)[0].lower() not in _MODES:
        return None
    context.claim(datagram, tftp_transfer_rule)
    return tftp_rule(datagram, context)


_SSDP_STARTS = (b"M-SEARCH", b"NOTIFY ", b"HTTP/1.", b"SUBSCRIBE ", b"UNSUBSCRIBE ", b"GET ", b"POST ")


def ssdp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """SSDP is HTTP in a datagram; other payloads of the port are swallowed without a layer, as Wireshark does."""
    if datagram.data.startswith(_SSDP_STARTS) or _is_header(datagram.data):
        return datagram.whole(layers.SSDP)
    return []


def _is_header(data: bytes) -> bool:
    """True where the first line is a header field, as in Windows Media's `TYPE: WM-DISCOVER`."""
    name, colon, _ = data[:256].split(b"\r\n", 1)[0].partition(b":")
    return bool(colon) and name.replace(b"-", b"").isalnum()


def memcache_rule(datagram: Datagram, context: Context) -> Layers | None:
    """memcached over UDP, either protocol; never refused on its port."""
    return datagram.whole(layers.MEMCACHE)
