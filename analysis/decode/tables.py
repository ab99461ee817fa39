"""Numbers and their owners: ethertypes, IP protocols, tunnels' UDP ports, LLC access points, PPP protocols, link types.

In: nothing. Out: `numbers()`, the one flat table of codes (see state.py) that the kernel looks up, and `LINKS`.
Numbers are IANA's and IEEE's registries; names are Wireshark's.
"""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import Array
from analysis.decode import state
from analysis.decode.state import (
    LEAF,
    T_ETHERTYPE,
    T_LEAST,
    T_PORT,
    T_PPP,
    T_PROTOCOL,
    T_SAP,
    T_SHOWN,
    TABLE_SIZE,
)

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
    228: state.IP_ANY,
    229: state.IP_ANY,
    276: state.SLL2,
}

ETHERTYPES = {
    0x0600: LEAF + layers.DATA,
    0x0800: state.IPV4,
    0x0806: state.ARP,
    0x0842: LEAF + layers.WOL,
    0x2000: LEAF + layers.CDP,
    0x22F0: LEAF + layers.IEEE1722,
    0x22F3: LEAF + layers.TRILL,
    0x4305: LEAF + layers.BATADV,
    0x6004: LEAF + layers.LAT,
    0x6558: state.ETHERNET,
    0x8035: state.ARP,
    0x809B: LEAF + layers.DDP,
    0x80F3: LEAF + layers.AARP,
    0x8100: state.VLAN,
    0x8137: state.IPX,
    0x86DD: state.IPV6,
    0x8808: LEAF + layers.MACC,
    0x8809: state.SLOW,
    0x880B: state.PPP,
    0x8847: state.MPLS,
    0x8848: state.MPLS,
    0x8863: state.PPPOED,
    0x8864: state.PPPOES,
    0x887B: LEAF + layers.HOMEPLUG,
    0x888E: state.EAPOL,
    0x8892: state.PROFINET,
    0x88A2: LEAF + layers.AOE,
    0x88A4: LEAF + layers.ECATF,
    0x88A8: state.VLAN,
    0x88AB: LEAF + layers.EPL,
    0x88B8: LEAF + layers.GOOSE,
    0x88BA: LEAF + layers.SV,
    0x88CA: LEAF + layers.TIPC,
    0x88CC: state.LLDP,
    0x88D9: LEAF + layers.LLTD,
    0x88E1: LEAF + layers.HOMEPLUG_AV,
    0x88E5: LEAF + layers.MACSEC,
    0x88F5: LEAF + layers.MRP_MVRP,
    0x88F7: LEAF + layers.PTP,
    0x8902: LEAF + layers.CFM,
    0x8906: LEAF + layers.FCOE,
    0x8914: LEAF + layers.FIP,
    0x8926: state.VNTAG,
    0x893A: LEAF + layers.IEEE1905,
    0x9000: state.LOOPBACK,
    0x9100: state.VLAN,
    0xAAAA: LEAF + layers.NONE,  # Wireshark shows nothing
}

PROTOCOLS = {
    0: LEAF + layers.IPV6_HOPOPTS,
    1: state.ICMP,
    2: LEAF + layers.IGMP,
    4: state.IP_ANY,
    6: state.TCP,
    9: LEAF + layers.IGRP,
    17: state.UDP,
    33: state.DCCP,
    41: state.IPV6,
    46: LEAF + layers.RSVP,
    47: state.GRE,
    50: LEAF + layers.ESP,
    51: state.AH,
    54: LEAF + layers.NHRP,
    55: LEAF + layers.MIP,
    58: state.ICMPV6,
    88: LEAF + layers.EIGRP,
    89: LEAF + layers.OSPF,
    97: LEAF + layers.ETHERIP,
    103: LEAF + layers.PIM,
    108: LEAF + layers.IPCOMP,
    112: LEAF + layers.VRRP,
    113: LEAF + layers.PGM,
    115: state.L2TP3,
    124: state.OSI,
    132: state.SCTP,
    135: LEAF + layers.MIPV6,
    136: state.UDPLITE,
    137: state.MPLS,
    139: LEAF + layers.HIP,
    140: LEAF + layers.SHIM6,
}

PORTS = {
    1701: state.L2TP,
    2152: state.GTP,
    3544: state.TEREDO,
    4754: state.GRE,
    4789: state.VXLAN,
    5072: state.AYIYA,
    6081: state.GENEVE,
    6635: state.MPLS,
}

SAPS = {
    0x06: state.IPV4,
    0x42: LEAF + layers.STP,
    0xE0: state.IPX,
    0xF0: state.NETBIOS,
    0xFE: state.OSI,
}

PPPS = {
    0x0021: state.IP_ANY,
    0x002B: state.IPX,
    0x003D: LEAF + layers.MP,
    0x0057: state.IPV6,
    0x00FD: LEAF + layers.COMP_DATA,
    0x0281: state.MPLS,
    0x0283: state.MPLS,
    0x0207: LEAF + layers.CDP,
    0x8021: LEAF + layers.IPCP,
    0x8057: LEAF + layers.IPV6CP,
    0x80FD: LEAF + layers.CCP,
    0x8207: LEAF + layers.CDPCP,
    0x8281: LEAF + layers.MPLSCP,
    0xC021: LEAF + layers.LCP,
    0xC023: LEAF + layers.PAP,
    0xC029: LEAF + layers.CBCP,
    0xC223: LEAF + layers.CHAP,
    0xC227: LEAF + layers.EAP,
}

# Layer -> (bytes that Wireshark's dissector reads before it shows the layer, bytes below which it is malformed).
LEAST = {
    layers.EIGRP: (16, 20),
    layers.IGMP: (1, 8),
    layers.IPV6_HOPOPTS: (2, 8),
    layers.LCP: (1, 4),
    layers.IPCP: (1, 4),
    layers.OSPF: (4, 24),
    layers.PIM: (1, 4),
    layers.STP: (27, 35),
    layers.VRRP: (1, 8),
    layers.CDP: (0, 4),
    layers.ESP: (0, 8),
}


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
    for layer, (shown, least) in LEAST.items():
        table[T_SHOWN + layer] = shown
        table[T_LEAST + layer] = least
    return table
