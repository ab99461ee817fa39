"""Rules for name services over UDP: DNS, mDNS, LLMNR, and NetBIOS names and datagrams.

In: datagrams of ports 53, 5353, 5355, 137 and 138. Out: layers, `Dns` facts and names. NetBIOS datagrams carry SMB
transactions to mailslots (RFC 1002 4.4; MS-MAIL, MS-BRWS), which is where host announcements come from.
"""

from __future__ import annotations

from analysis import layers
from analysis.columns import address_text
from analysis.facts import Dns
from analysis.protocols import dns
from analysis.protocols.datagram import Context, Datagram, Layers, Rule

_ADDRESS_RECORDS = (dns.A, dns.AAAA)
MAX_CACHED = 4096  # messages remembered by their bytes: clients ask the same again and again


def dns_rule(layer: int, protocol: str) -> Rule:
    """A rule that takes every payload as DNS in one of its four dresses; Wireshark's never refuses on its port."""
    netbios, additional = protocol == "nbns", protocol == "mdns"
    cache: dict[bytes, dns.Message | None] = {}

    def rule(datagram: Datagram, context: Context) -> Layers | None:
        data = datagram.data
        body = data[2:]
        message = cache.get(body)
        if message is None:
            message = dns.parse(data, netbios=netbios, additional=additional)
            if message is None:
                return datagram.ends_early(layer) if len(data) >= 4 else [(datagram.mark(), 0)]
            if len(cache) >= MAX_CACHED:
                cache.clear()
            cache[body] = message
        if not datagram.quoted:
            dns_facts(datagram, context, message, protocol)
        if message.malformed and len(data) <= datagram.length:
            return datagram.ends_early(layer)
        return [(layer, len(data))]

    return rule


def dns_facts(datagram: Datagram, context: Context, message: dns.Message, protocol: str) -> None:
    """The `Dns` row of a message, and the names its address records give."""
    data = datagram.data
    context.facts.add(
        "dns",
        Dns(
            datagram.number,
            datagram.time_ns,
            datagram.flow,
            protocol,
            message.response,
            datagram.from_a,
            data[0] << 8 | data[1],
            message.name,
            message.type,
            message.rcode,
            message.answers,
            datagram.length,
            False,
        ),
    )
    if message.response and message.answers:
        names_of_answers(context, message, protocol, datagram.number)
    elif protocol == "nbns" and message.opcode == 5 and message.answers:  # a registration names its sender
        address = address_text(datagram.family, *datagram.source)
        context.names.add(address, _host(message.name), "nbns", datagram.number)


def names_of_answers(context: Context, message: dns.Message, protocol: str, number: int) -> None:
    """Address records under the name that was asked for; in mDNS and NetBIOS under the record's own name."""
    add, asked = context.names.add, message.name
    if protocol == "nbns":
        for name, kind, _, text in message.answers:
            if kind == dns.NB:
                add(text, _host(name), protocol, number)
        return
    own = protocol == "mdns" or not asked
    for name, kind, _, text in message.answers:
        if kind in _ADDRESS_RECORDS and text:
            add(text, name if own else asked, protocol, number)


def _host(netbios: str) -> str:
    """`NAME<20>` without its suffix."""
    return netbios.partition("<")[0]


# -- NetBIOS datagrams ---------------------------------------------------------------------------------------------

_DIRECT_UNIQUE, _BROADCAST = 0x10, 0x12  # and direct group between them (RFC 1002 4.4.1)
_SMB_TRANSACTION = 0x25
SMB_HEADER = 32

# Mailslot names, after \MAILSLOT\, and the dissector behind them.
_BROWSER_SLOTS = (b"BROWSE", b"MSBROWSE", b"LANMAN")


def _name_end(data: bytes, at: int) -> int:
    """The offset behind an encoded name, or -1."""
    for _ in range(128):
        if at >= len(data):
            return -1
        size = data[at]
        if size == 0:
            return at + 1
        if size >= 0xC0:
            return at + 2
        at += 1 + size
    return -1


def nbdgm_rule(datagram: Datagram, context: Context) -> Layers | None:
    """NetBIOS datagram service: its header and names, then SMB."""
    data = datagram.data
    if not data:
        return None
    if not _DIRECT_UNIQUE <= data[0] <= _BROADCAST:
        return datagram.whole(layers.NBDGM)
    source_end = _name_end(data, 14)
    end = _name_end(data, source_end) if source_end > 0 else -1
    if end < 0 or end > len(data):
        return datagram.ends_early(layers.NBDGM)
    if end == len(data):
        return [(layers.NBDGM, end)]
    if not datagram.quoted and len(data) > 15:
        name = dns.netbios_text(data[15:47].decode("ascii", "replace"))
        if name.endswith(("<00>", "<20>")):
            context.names.add(address_text(datagram.family, *datagram.source), _host(name), "nbns", datagram.number)
    if data[end : end + 4] == b"\xffSMB":
        return [(layers.NBDGM, end), *_smb_mailslot(data[end:], datagram)]
    return [(layers.NBDGM, end), (layers.DATA, len(data) - end)]


def _smb_mailslot(smb: bytes, datagram: Datagram) -> Layers:
    """An SMB transaction to a mailslot: smb, mailslot, and browser or netlogon behind it."""
    if len(smb) < SMB_HEADER:
        return [(datagram.mark(), 0)]
    found: Layers = [(layers.SMB, len(smb))]
    words = smb[SMB_HEADER] if len(smb) > SMB_HEADER else 0
    names = SMB_HEADER + 1 + 2 * words + 2  # behind the word and byte counts
    if len(smb) < names:
        return [*found, (datagram.mark(), 0)]
    if smb[4] != _SMB_TRANSACTION or words < 17:
        return found
    name_end = smb.find(b"\0", names)
    if name_end < 0:
        return [*found, (datagram.mark(), 0)]
    slot = smb[names:name_end].upper()
    if not slot.startswith(b"\\MAILSLOT\\"):
        return found
    data_size = int.from_bytes(smb[SMB_HEADER + 23 : SMB_HEADER + 25], "little")
    data_at = int.from_bytes(smb[SMB_HEADER + 25 : SMB_HEADER + 27], "little")
    rest = max(0, min(data_size, len(smb) - data_at)) if data_at else 0
    if data_size and not rest:
        return [*found, (datagram.mark(), 0)]
    found.append((layers.MAILSLOT, 6 + 2 + name_end + 1 - names))
    if rest:
        found.append((_mailslot_layer(slot[10:]), rest))
    if rest < data_size:
        found.append((datagram.mark(), 0))
    return found


def _mailslot_layer(slot: bytes) -> int:
    if slot in _BROWSER_SLOTS:
        return layers.BROWSER
    if slot.startswith(b"NET") or slot == b"TEMP\\NETLOGON":
        return layers.SMB_NETLOGON
    return layers.DATA
