"""DHCP for both families: the message type, who asks, who answers, and what is offered.

In: UDP payloads of ports 67, 68 (RFC 2131, options RFC 2132) and 546, 547 (RFC 8415). Out: layers, `Dhcp` facts, and
host names for the addresses that a server acknowledged. Bytes are hostile: options are bounded by the message.
"""

from __future__ import annotations

from analysis import layers
from analysis.columns import address_text
from analysis.facts import Dhcp
from analysis.named_tuples import NamedTuple
from analysis.protocols.datagram import Context, Datagram, Layers
from analysis.protocols.dns import ipv6_text

HEADER_BYTES = 240  # fixed fields and the magic cookie
BOOTP_BYTES = 300  # with the vendor area of a message that has no cookie (RFC 951 3)
MAGIC = b"\x63\x82\x53\x63"
MAX_OPTIONS = 256
MAX_CLIENTS = 65_536  # host names remembered by client MAC until the acknowledgement comes

_MESSAGE, _HOST, _SERVER, _ROUTER, _DNS, _FQDN, _REQUESTED = 53, 12, 54, 3, 6, 81, 50
_ACK, _INFORM = 5, 8
_NOBODY = bytes(4)  # 0.0.0.0


class Lease(NamedTuple):
    """What one DHCPv4 message says."""

    message: int
    client_mac: str
    server: str
    offered: str
    host_name: str
    router: str
    dns: tuple[str, ...]
    client: str  # ciaddr
    complete: bool  # False: an option runs off the message


def _ipv4(data: bytes, at: int = 0) -> str:
    """The address at `at`; "" where there is none."""
    return f"{data[at]}.{data[at + 1]}.{data[at + 2]}.{data[at + 3]}" if len(data) >= at + 4 else ""


def _options(data: bytes, at: int) -> tuple[dict[int, bytes], bool]:
    """Options by number, the first of each kept, and whether they end as they should (RFC 2132 2)."""
    found: dict[int, bytes] = {}
    end = len(data)
    for _ in range(MAX_OPTIONS):
        if at >= end or data[at] == 255:
            return found, True
        kind = data[at]
        if kind == 0:
            at += 1
            continue
        if at + 2 > end:
            return found, False
        value, at = at + 2, at + 2 + data[at + 1]
        if at > end:
            return found, False
        if kind not in found:
            found[kind] = data[value:at]
    return found, True


def parse(data: bytes) -> Lease | None:
    """Read a BOOTP or DHCPv4 message; None below its fixed fields."""
    if len(data) < 236:
        return None
    options: dict[int, bytes] = {}
    complete = True
    if data[236:240] == MAGIC:
        options, complete = _options(data, HEADER_BYTES)
    elif len(data) < BOOTP_BYTES:
        complete = False
    option = options.get
    message = option(_MESSAGE, b"")
    name = option(_HOST, b"") or option(_FQDN, b"")[3:]
    servers = option(_DNS, b"")
    size = data[2] if data[2] <= 16 else 6
    return Lease(
        message[0] if message else 0,
        data[28 : 28 + size].hex(":") if size else "",
        _ipv4(option(_SERVER, b"")),
        _ipv4(option(_REQUESTED, b"")) if data[16:20] == _NOBODY else _ipv4(data, 16),
        name.rstrip(b"\0").decode("utf-8", "replace"),
        _ipv4(option(_ROUTER, b"")),
        tuple([_ipv4(servers, at) for at in range(0, len(servers) - 3, 4)]),
        "" if data[12:16] == _NOBODY else _ipv4(data, 12),
        complete,
    )


def dhcp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Every payload of the port is DHCP to Wireshark; a cut one ends early."""
    lease = parse(datagram.data)
    if lease is None:
        return datagram.ends_early(layers.DHCP) if len(datagram.data) > 2 else [(datagram.mark(), 0)]
    if not datagram.quoted:
        _remember(datagram, context, lease)
    return datagram.whole(layers.DHCP) if lease.complete else datagram.ends_early(layers.DHCP)


def dhcp_proxy_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Port 4011 (PXE boot servers): only what has the magic cookie."""
    return dhcp_rule(datagram, context) if datagram.data[236:240] == MAGIC else None


def _remember(datagram: Datagram, context: Context, lease: Lease) -> None:
    context.facts.add(
        "dhcp",
        Dhcp(
            datagram.number,
            datagram.time_ns,
            datagram.flow,
            4,
            lease.message,
            lease.client_mac,
            lease.server,
            lease.offered,
            lease.host_name,
            lease.router,
            lease.dns,
        ),
    )
    hosts = context.host_names
    if lease.message in (_ACK, 0) and lease.offered:
        name = hosts.get(lease.client_mac, "") or (lease.host_name if lease.message == _ACK else "")
        context.names.add(lease.offered, name, "dhcp", datagram.number)
    elif lease.host_name and lease.message != _ACK:
        if len(hosts) < MAX_CLIENTS:
            hosts[lease.client_mac] = lease.host_name
        context.names.add(lease.client, lease.host_name, "dhcp", datagram.number)


# -- DHCPv6 --------------------------------------------------------------------------------------------------------

_RELAY_FORWARD, _RELAY_REPLY = 12, 13
_CLIENT_ID, _SERVER_ID, _IA_NA, _IA_ADDRESS, _RELAY_MESSAGE, _DNS6, _FQDN6 = 1, 2, 3, 5, 9, 23, 39


def _options6(data: bytes, at: int) -> dict[int, bytes]:
    """Options by number, the first of each kept; one that does not fit ends them (Wireshark notes it, no more)."""
    found: dict[int, bytes] = {}
    end = len(data)
    for _ in range(MAX_OPTIONS):
        if at + 4 > end:
            break
        kind, value = data[at] << 8 | data[at + 1], at + 4
        at = value + (data[at + 2] << 8 | data[at + 3])
        if at > end:
            break
        if kind not in found:
            found[kind] = data[value:at]
    return found


def _duid_mac(duid: bytes) -> str:
    """The link-layer address inside a DUID of type 1 or 3 (RFC 8415 11), "" for others."""
    kind = int.from_bytes(duid[:2], "big")
    if kind == 1 and len(duid) >= 14:
        return duid[8:14].hex(":")
    if kind == 3 and len(duid) >= 10:
        return duid[4:10].hex(":")
    return ""


def _wire_name(data: bytes) -> str:
    labels: list[str] = []
    at = 0
    while at < len(data) and data[at] and len(labels) < 32:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii", "replace"))
        at += 1 + data[at]
    return ".".join(labels)


def dhcpv6_rule(datagram: Datagram, context: Context) -> Layers | None:
    """DHCPv6: message type, options; relays are looked into once (RFC 8415 8, 9)."""
    data = datagram.data
    if len(data) < 4:
        return datagram.ends_early(layers.DHCPV6)
    relayed = data[0] in (_RELAY_FORWARD, _RELAY_REPLY)
    if relayed and len(data) < 34:
        return datagram.ends_early(layers.DHCPV6)
    options = _options6(data, 34 if relayed else 4)
    message = data[0]
    inner = options.get(_RELAY_MESSAGE, b"") if relayed else b""
    if len(inner) >= 4:
        message = inner[0]
        options = _options6(inner, 4)
    if not datagram.quoted:
        _remember6(datagram, context, message, options)
    return datagram.whole(layers.DHCPV6)


def _remember6(datagram: Datagram, context: Context, message: int, options: dict[int, bytes]) -> None:
    association = _options6(options.get(_IA_NA, b""), 12).get(_IA_ADDRESS, b"")
    offered = ipv6_text(association[:16]) if len(association) >= 16 else ""
    servers = options.get(_DNS6, b"")
    name = _wire_name(options.get(_FQDN6, b"")[1:])
    from_server = message in (2, 7, 10)  # advertise, reply, reconfigure
    context.facts.add(
        "dhcp",
        Dhcp(
            datagram.number,
            datagram.time_ns,
            datagram.flow,
            6,
            message,
            _duid_mac(options.get(_CLIENT_ID, b"")),
            address_text(datagram.family, *datagram.source) if from_server else "",
            offered,
            name,
            "",
            tuple(ipv6_text(servers[i : i + 16]) for i in range(0, len(servers) - 15, 16)),
        ),
    )
    if message == 7:
        context.names.add(offered, name, "dhcp", datagram.number)
