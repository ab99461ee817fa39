"""The table of protocols over UDP: ports, and the heuristics in the order they are asked.

In: nothing. Out: PORTS (port -> rule) and HEURISTICS. The ports are those of Wireshark's `udp.port` table; a plain
row names a protocol that takes every payload of its port, with the two sizes below which its dissector ends early:
before it has shown a layer, and after. A new protocol is a line here, or a rule in the file of its family.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from analysis import layers
from analysis.protocols import datagram_checks as checks
from analysis.protocols import datagram_heuristics as heuristics
from analysis.protocols import datagram_shapes as shapes
from analysis.protocols import dhcp, dtls, management, name_services, quic_rules, remote_calls, routing, voip, vpn
from analysis.protocols.coap import coap_rule
from analysis.protocols.datagram import Context, Datagram, Layers, Rule
from analysis.protocols.datagram_heuristics import starting
from analysis.protocols.datagram_services import SERVICES, sized


def bvlc_rule(datagram: Datagram, context: Context) -> Layers | None:
    """BACnet over IP (ASHRAE 135 annex J): virtual link header, network layer, application layer."""
    data = datagram.data
    if not data or data[0] != 0x81:
        return None
    if len(data) < 4:
        return [(datagram.mark(), 0)]
    size = 10 if data[1] == 4 else 4
    if data[1] > 12 and len(data) > 4:
        return [(layers.BVLC, 4), (layers.DATA, len(data) - 4)]
    if data[1] not in (4, 9, 10, 11):
        return datagram.whole(layers.BVLC)
    if len(data) <= size:
        return datagram.whole(layers.BVLC)
    return [(layers.BVLC, size), *_bacnet(data, size)]


def _bacnet(data: bytes, at: int) -> Layers:
    """Network layer header (ASHRAE 135 6.2), then the application layer unless it is a network message."""
    end = len(data)
    if at + 2 > end:
        return [(layers.DATA, end - at)]
    control, here = data[at + 1], at + 2
    for flag, fixed in ((0x20, 2), (0x08, 2)):  # destination, source: network number and address
        if control & flag:
            if here + 3 > end:
                return [(layers.BACNET, end - at)]
            here += fixed + 1 + data[here + 2]
    if control & 0x20:
        here += 1  # hop count
    if control & 0x80 or here >= end:
        return [(layers.BACNET, end - at)]
    return [(layers.BACNET, here - at), (layers.BACAPP, end - here)]


def nat_pmp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """NAT-PMP (RFC 6886, version 0, 1) and PCP (RFC 6887, version 2)."""
    data = datagram.data
    if not data or data[0] > 2:
        return None
    if len(data) < 2:
        return datagram.ends_early(layers.NAT_PMP)
    return datagram.whole(layers.PORTCONTROL if data[0] == 2 else layers.NAT_PMP)


def netflow_rule(datagram: Datagram, context: Context) -> Layers | None:
    """NetFlow 1, 5, 7, 8, 9 and IPFIX (version 10)."""
    data = datagram.data
    if len(data) < 2:
        return [(datagram.mark(), 0)]
    return datagram.whole(layers.CFLOW) if int.from_bytes(data[:2], "big") in (1, 5, 7, 8, 9, 10) else None


def sflow_rule(datagram: Datagram, context: Context) -> Layers | None:
    """sFlow 2, 4 and 5."""
    data = datagram.data
    if len(data) < 4:
        return [(datagram.mark(), 0)]
    return datagram.whole(layers.SFLOW) if int.from_bytes(data[:4], "big") in (2, 4, 5) else None


def steam_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Steam's discovery of streaming hosts: a fixed signature."""
    return starting(layers.STEAM_IHS_DISCOVERY, b"\xff\xff\xff\xff\x21\x4c\x5f\xa0")(datagram, context)


_dns = name_services.dns_rule(layers.DNS, "dns")
_quake3, _radius = sized(layers.QUAKE3, 0, 4), management.radius_rule
_bjnp = starting(layers.BJNP, b"BJNP", b"MFNP", shortest=16)

# Families with a file of their own, and the ports of rows that refuse.
PORTS: dict[int, Rule] = {
    53: _dns,
    67: dhcp.dhcp_rule,
    68: dhcp.dhcp_rule,
    69: management.tftp_rule,
    88: management.kerberos_rule,
    111: remote_calls.rpc_rule,
    123: management.ntp_rule,
    137: name_services.dns_rule(layers.NBNS, "nbns"),
    138: name_services.nbdgm_rule,
    161: management.snmp_rule,
    162: management.snmp_rule,
    389: management.cldap_rule,
    177: checks.checked(layers.XDMCP, checks.xdmcp, 2),
    434: checks.checked(layers.MIP, checks.mobile_ip, 2),
    500: vpn.isakmp_rule,
    514: management.syslog_rule,
    520: routing.rip_rule,
    521: routing.ripng_rule,
    546: dhcp.dhcpv6_rule,
    547: dhcp.dhcpv6_rule,
    623: checks.rmcp_rule,
    631: checks.checked(layers.CUPS, checks.cups),
    646: starting(layers.LDP, b"\x00\x01", shortest=10),
    654: checks.checked(layers.AODV, checks.aodv),
    853: dtls.dtls_rule,
    1069: checks.checked(layers.SLIMP3, checks.slimp3),
    1101: checks.sebek_rule,
    1194: vpn.openvpn_rule,
    1434: shapes.sql_resolution_rule,
    1645: _radius,
    1646: _radius,
    1700: _radius,
    1718: voip.h225_rule,
    1719: voip.h225_rule,
    1812: _radius,
    1813: _radius,
    1900: management.ssdp_rule,
    1985: routing.hsrp_rule,
    2029: routing.hsrp_rule,
    2048: checks.checked(layers.WCCP, checks.wccp, 2),
    2055: netflow_rule,
    2123: checks.gtp_rule,
    2152: checks.gtp_rule,
    2221: dtls.dtls_rule,
    2427: voip.mgcp_rule,
    2727: voip.mgcp_rule,
    2944: checks.checked(layers.MEGACO, checks.megaco, 2),
    3222: starting(layers.GLBP, b"\x01", shortest=12),
    3478: voip.stun_rule,
    3386: checks.gtp_rule,
    3483: checks.checked(layers.SLIMP3, checks.slimp3),
    3503: starting(layers.MPLS_ECHO, b"\x00\x01", shortest=32),
    3784: routing.bfd_rule,
    3785: routing.bfd_echo_rule,
    3799: _radius,
    4011: dhcp.dhcp_proxy_rule,
    4342: checks.checked(layers.LISP, checks.lisp),
    4500: vpn.udpencap_rule,
    4569: checks.iax_rule,
    4665: checks.checked(layers.EDONKEY, checks.edonkey),
    4672: checks.checked(layers.EDONKEY, checks.edonkey),
    4739: netflow_rule,
    4784: routing.bfd_rule,
    5060: voip.sip_rule,
    5094: checks.checked(layers.HART_IP, checks.hart_ip, 2),
    5246: checks.capwap_rule,
    5247: sized(layers.CAPWAP_DATA, 0, 8),
    5350: nat_pmp_rule,
    5351: nat_pmp_rule,
    5353: name_services.dns_rule(layers.MDNS, "mdns"),
    5355: name_services.dns_rule(layers.LLMNR, "llmnr"),
    5678: checks.checked(layers.MNDP, checks.neighbour_discovery),
    5683: coap_rule,
    5684: dtls.dtls_rule,
    5868: dtls.dtls_rule,
    6343: sflow_rule,
    6696: checks.babel_rule,
    6784: routing.bfd_rule,
    7784: routing.bfd_rule,
    8161: management.snmp_rule,
    8611: _bjnp,
    8612: _bjnp,
    8613: _bjnp,
    8614: _bjnp,
    9600: checks.checked(layers.OMRON, checks.omron),
    9875: checks.sap_rule,
    9996: netflow_rule,
    9999: starting(layers.TPLINK_SMARTHOME, b"\xd0"),
    11211: management.memcache_rule,
    13400: checks.doip_rule,
    17754: checks.zep_rule,
    27036: steam_rule,
    47808: bvlc_rule,
}

# Ports whose dissectors take everything: (layer, shows from, whole from).
PLAIN: dict[int, tuple[int, int, int]] = {
    7: (layers.ECHO, 0, 0),
    13: (layers.DAYTIME, 0, 0),
    19: (layers.CHARGEN, 0, 0),
    37: (layers.TIME, 0, 0),
    49: (layers.TACACS, 2, 6),
    269: (layers.PACKETBB, 0, 0),
    427: (layers.SRVLOC, 2, 12),
    496: (layers.AUTO_RP, 2, 8),
    513: (layers.WHO, 0, 60),
    524: (layers.NCP, 0, 8),
    525: (layers.TSP, 0, 12),
    664: (layers.RSP, 0, 8),
    701: (layers.LMP, 8, 8),
    854: (layers.DLEP, 0, 8),
    910: (layers.KINK, 0, 8),
    1001: (layers.FIND, 0, 2),
    1153: (layers.C1222, 0, 2),
    1293: (layers.PKTC, 0, 3),
    1745: (layers.MSPROXY, 38, 38),
    2246: (layers.PKTC, 0, 0),
    2268: (layers.AMT, 0, 2),
    2269: (layers.MIKEY, 2, 10),
    2313: (layers.IAPP, 2, 2),
    2887: (layers.WLCCP, 0, 1),
    2945: (layers.H248, 0, 2),
    2948: (layers.WSP, 2, 2),
    2949: (layers.WTLS, 0, 0),
    3130: (layers.ICP, 8, 20),
    3250: (layers.HICP, 2, 2),
    3389: (layers.RDPUDP, 0, 8),
    3452: (layers.SABP, 0, 2),
    3455: (layers.RSVP, 8, 8),
    3804: (layers.HIQNET, 20, 25),
    3863: (layers.ASAP, 0, 4),
    4341: (layers.LISP_DATA, 8, 8),
    4555: (layers.RSIP, 2, 2),
    4791: (layers.INFINIBAND, 0, 20),
    4991: (layers.VRT, 4, 4),
    5436: (layers.MIPV6, 2, 8),
    6073: (layers.DPNET, 0, 0),
    6970: (layers.RDT, 0, 10),
    7074: (layers.TETRA, 6, 6),
    7255: (layers.IDN, 0, 2),
    7275: (layers.ULP, 0, 2),
    8600: (layers.ASTERIX, 2, 3),
    8767: (layers.TS2, 2, 8),
    8805: (layers.PFCP, 4, 8),
    8848: (layers.IPVS, 0, 8),
    9200: (layers.WSP, 2, 2),
    9201: (layers.WTP, 0, 4),
    9202: (layers.WTLS, 0, 0),
    9203: (layers.WTLS, 0, 0),
    9956: (layers.AJNS, 0, 4),
    11273: (layers.VUZE_DHT, 0, 16),
    17220: (layers.IEEE1722, 0, 4),
    17500: (layers.DB_LSP_DISC, 0, 0),
    19948: (layers.KDP, 0, 0),
    23272: (layers.A21, 0, 4),
    24576: (layers.MINT, 8, 8),
    24577: (layers.MINT, 8, 8),
    25826: (layers.COLLECTD, 0, 4),
    26000: (layers.QUAKE, 2, 8),
    27500: (layers.QUAKEWORLD, 0, 8),
    27910: (layers.QUAKE2, 0, 8),
    32000: (layers.UAUDP, 0, 1),
    32512: (layers.UAUDP, 0, 1),
    41170: (layers.MANOLITO, 0, 8),
    44818: (layers.ENIP, 24, 24),
    47000: (layers.HCRT, 4, 8),
    54328: (layers.ELASTICSEARCH, 0, 8),
}
PORTS |= {port: sized(*row) for port, row in PLAIN.items()}
PORTS |= SERVICES
PORTS |= dict.fromkeys((*range(7000, 7010), 7021), checks.rx_rule)
PORTS |= dict.fromkeys((*range(27950, 27954), *range(27960, 27964)), _quake3)
HAS_RULE = np.zeros(65_536, bool)  # by port
HAS_RULE[list(PORTS)] = True


@lru_cache(65_536)
def rules_of_ports(source: int, destination: int) -> tuple[Rule, ...]:
    """The rules of two ports, the lower port first."""
    both = dict.fromkeys((min(source, destination), max(source, destination)))
    return tuple(PORTS[port] for port in both if port and port in PORTS)


_ANY, _LOW = range(256), range(4)

# Asked in this order where no port decided: Wireshark's, which is by name, backwards. Beside each rule the first bytes of
# payloads that it may take; others need not ask it.
HEURISTICS: tuple[tuple[Rule, range | bytes], ...] = (
    (heuristics.wake_on_lan, b"\xff"),
    (vpn.wireguard_heuristic, range(1, 5)),
    (heuristics.udt, b"\x80"),
    (heuristics.THRIFT, b"\x80"),
    (management.tftp_anywhere, b"\0"),
    (voip.stun_heuristic, _LOW),
    (voip.sip_rule, range(0x21, 0x7F)),  # a token's letters (RFC 3261 25.1)
    (heuristics.RTPS, b"R"),
    (voip.rtcp_heuristic, range(0x80, 0xC0)),
    (remote_calls.rpc_heuristic, _ANY),
    (heuristics.raknet, b"\1\2\5\6\7\x08\x1c"),
    (quic_rules.quic_heuristic, range(0x40, 0x100)),
    (heuristics.PROXY, b"P\r"),
    (heuristics.PKTGEN, b"\xbe"),
    (heuristics.transport_stream, b"\x47"),
    (heuristics.ICEP, b"I"),
    (quic_rules.gquic_heuristic, bytes(first for first in _ANY if first >= 0x80 or first & 0xC9 == 9)),
    (heuristics.GIOP, b"G"),
    (dtls.dtls_heuristic, range(20, 26)),
    (heuristics.dns_anywhere(_dns), _ANY),
    (remote_calls.dcerpc_heuristic, b"\4"),
    (voip.classic_stun_rule, _LOW),
    (heuristics.dht, b"d"),
    (heuristics.ARTNET, b"A"),
    (heuristics.APPLEMIDI, b"\xff"),
)


class Heuristics:
    """The heuristics of one analysis: what accepted last is asked first from then on, as in Wireshark."""

    def __init__(self) -> None:
        self._order = list(HEURISTICS)
        self._that_take: dict[int, list[Rule]] = {}

    def that_take(self, first: int) -> list[Rule]:
        """The rules for payloads that begin with this byte, in order."""
        found = self._that_take.get(first)
        if found is None:
            found = self._that_take[first] = [rule for rule, firsts in self._order if first in firsts]
        return found

    def accepted(self, rule: Rule) -> None:
        """Move a rule to the front."""
        if self._order[0][0] is not rule:
            self._order.sort(key=lambda row: row[0] is not rule)
            self._that_take.clear()


BEGINNINGS = heuristics.beginnings()
