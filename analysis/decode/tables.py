"""Numbers and their owners: ethertypes, IP protocols, tunnels' UDP ports, LLC access points, PPP protocols, link types.

In: nothing. Out: `numbers()`, the one flat table of codes (see state.py) that the kernel looks up, and `LINKS`.
Numbers are IANA's and IEEE's registries; names are Wireshark's.
"""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import Array
from analysis.decode import state
from analysis.decode.link import T_ETHERTYPE, T_PORT, T_PPP, T_PROTOCOL, T_SAP, TABLE_SIZE
from analysis.decode.state import LEAF

# LINKTYPE_ number -> who begins.
LINKS = {
    0: state.NULL,
    1: state.ETHERNET,
    9: state.PPP,
    12: state.RAW,
    14: state.RAW,
    50: state.PPP,
    101: state.RAW,
    108: state.NULL,
    113: state.SLL,
    228: state.IPV4,
    229: state.IPV6,
    276: state.SLL2,
}

ETHERTYPES = {
    0x0800: state.IPV4,
    0x0806: state.ARP,
    0x8035: state.ARP,
    0x86DD: state.IPV6,
    0x8100: state.VLAN,
    0x88A8: state.VLAN,
    0x9100: state.VLAN,
    0x8847: state.MPLS,
    0x8848: state.MPLS,
    0x8864: state.PPPOES,
    0x880B: state.PPP,
    0x6558: state.ETHERNET,
    0x88CC: LEAF + layers.LLDP,
    0x88E1: LEAF + layers.HOMEPLUG_AV,
    0x887B: LEAF + layers.HOMEPLUG,
    0x8137: LEAF + layers.IPX,
    0x888E: LEAF + layers.EAPOL,
}

PROTOCOLS = {
    1: state.ICMP,
    2: LEAF + layers.IGMP,
    4: state.IPV4,
    6: state.TCP,
    17: state.UDP,
    33: state.DCCP,
    41: state.IPV6,
    46: LEAF + layers.RSVP,
    47: state.GRE,
    50: LEAF + layers.ESP,
    51: state.AH,
    58: state.ICMPV6,
    88: LEAF + layers.EIGRP,
    89: LEAF + layers.OSPF,
    103: LEAF + layers.PIM,
    112: LEAF + layers.VRRP,
    132: state.SCTP,
    136: state.UDPLITE,
}

PORTS = {2152: state.GTP, 4789: state.VXLAN, 6081: state.GENEVE, 3544: state.TEREDO}

SAPS = {0x42: LEAF + layers.STP, 0xE0: LEAF + layers.IPX, 0xF0: LEAF + layers.NETBIOS, 0x06: state.IPV4}

PPPS = {0x21: state.IPV4, 0x57: state.IPV6, 0x281: state.MPLS, 0xC021: LEAF + layers.LCP, 0x8021: LEAF + layers.IPCP}


def numbers() -> Array:
    """The table of codes, int16[TABLE_SIZE]: entry T_x + number is who owns that number, 0 nobody."""
    table = np.zeros(TABLE_SIZE, dtype=np.int16)
    for first, owners in (
        (T_ETHERTYPE, ETHERTYPES),
        (T_PROTOCOL, PROTOCOLS),
        (T_PORT, PORTS),
        (T_SAP, SAPS),
        (T_PPP, PPPS),
    ):
        for number, code in owners.items():
            table[first + number] = code
    return table
