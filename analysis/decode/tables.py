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
    0x88E5: state.MACSEC,
    0x88F5: LEAF + layers.MRP_MVRP,
    0x88F7: state.CLOCK,
    0x8902: LEAF + layers.CFM,
    0x8906: LEAF + layers.FCOE,
    0x8914: LEAF + layers.FIP,
    0x8926: state.VNTAG,
    0x893A: LEAF + layers.IEEE1905,
    0x9000: state.LOOPBACK,
    0x9100: state.VLAN,
    0x8870: state.LLC,
    0x8909: state.META_DATA,
    0x88C7: state.EAPOL,
    0x88E7: state.BACKBONE,
    0x892F: state.HSR,
    0x893F: state.ETAG,
    0x894F: state.NSH,
    0xF1C1: state.CB_TAG,
    0x0641: LEAF + layers.ROOFNET,
    0x0643: LEAF + layers.ROOFNET,
    0x0644: LEAF + layers.ROOFNET,
    0x0645: LEAF + layers.ROOFNET,
    0x0712: LEAF + layers.MDP,
    0x0713: LEAF + layers.MDP,
    0x08F0: LEAF + layers.M2M,
    0x0BAD: LEAF + layers.VINES_IP,
    0x0BAF: LEAF + layers.VINES_ECHO,
    0x2001: LEAF + layers.CGMP,
    0x22EA: LEAF + layers.MRP_MSRP,
    0x6003: LEAF + layers.DEC_DNA,
    0x8038: LEAF + layers.DEC_STP,
    0x80E1: LEAF + layers.DLR,
    0x8102: LEAF + layers.BOFL,
    0x8133: LEAF + layers.NSRP,
    0x8181: LEAF + layers.STP,
    0x81FD: LEAF + layers.ISMP,
    0x8204: LEAF + layers.LWL4,
    0x872D: LEAF + layers.WLCCP,
    0x886C: LEAF + layers.HPNA,
    0x886D: LEAF + layers.ANS,
    0x886F: LEAF + layers.MSNLB,
    0x8874: LEAF + layers.BRCM_TAG,
    0x8899: LEAF + layers.REALTEK,
    0x889A: LEAF + layers.HYPERSCSI,
    0x889B: LEAF + layers.CSM_ENCAPS,
    0x88A1: LEAF + layers.TELKONET,
    0x88B7: LEAF + layers.IEEE802A,
    0x88CD: LEAF + layers.SIII,
    0x88D8: LEAF + layers.CESOETH,
    0x88DC: LEAF + layers.WSMP,
    0x88E3: LEAF + layers.PN_MRP,
    0x88EE: LEAF + layers.ELMI,
    0x88F6: LEAF + layers.MRP_MMRP,
    0x88F8: LEAF + layers.NCSI,
    0x88FB: LEAF + layers.HSR_PRP_SUPERVISION,
    0x8901: LEAF + layers.FLIP,
    0x8911: LEAF + layers.LINX,
    0x8915: LEAF + layers.INFINIBAND,
    0x8917: LEAF + layers.MIH,
    0x892D: LEAF + layers.BLUECOM,
    0x8940: LEAF + layers.ECP21,
    0x8942: LEAF + layers.LLDP,
    0x8947: LEAF + layers.GNW,
    0x9022: LEAF + layers.RTCFG,
    0x9104: LEAF + layers.EERO,
    0xB4E3: LEAF + layers.CL3,
    0xC0DF: LEAF + layers.NWP,
    0xCAFE: LEAF + layers.LLT,
    0x809A: state.SENSOR,
    0x88AE: LEAF + layers.BRDWLK,
    0xABCD: LEAF + layers.BRDWLK,
    0xD28B: state.TIMESTAMPED,
    0x890D: LEAF + layers.NONE,  # Wireshark shows nothing
    0xAAAA: LEAF + layers.NONE,
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
    62: LEAF + layers.MIPV6,  # Mobility header's number before RFC 3775
    97: state.ETHERIP,
    103: state.PIM,
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
    134: LEAF + layers.RSVP,
    140: LEAF + layers.SHIM6,
    143: state.ETHERNET,
}

PORTS = {
    1701: state.L2TP,
    2152: state.GTP,
    3544: state.TEREDO,
    4754: state.GRE,
    4789: state.VXLAN,
    4790: state.VXLAN_GPE,
    5247: state.CAPWAP,
    5072: state.AYIYA,
    6081: state.GENEVE,
    6635: state.MPLS,
    9899: state.SCTP,
    37008: state.TZSP,
}

# Lower ports decide before higher ones, and the protocols of these take whatever comes: an answer from port 53 to a
# client whose port happens to be 4789 is DNS, not a tunnel.
OWNED_PORTS = (53, 67, 68, 69, 123, 137, 138, 161, 162, 500, 514, 520, 1194, 1812, 1813, 1900, 4500, 5353, 5355)

SAPS = {
    0x04: LEAF + layers.SNA,
    0x08: LEAF + layers.SNA,
    0x0C: LEAF + layers.SNA,
    0x10: state.IPX,
    0x82: LEAF + layers.BACNET,
    0xFC: LEAF + layers.RPL,
    0x06: state.IPV4,
    0x42: LEAF + layers.STP,
    0xE0: state.IPX,
    0xF0: state.NETBIOS,
    0x14: state.OSI,
    0x20: state.OSI,
    0x34: state.OSI,
    0x54: state.OSI,
    0xFE: state.OSI,
}

PPP_ONLY = (0x8031, 0x805B, 0xC227)  # protocols of PPP that no ethertype names
PPPS = {
    0x0023: state.OSI,
    0x004B: state.LLC,
    0x0027: LEAF + layers.DEC_DNA,
    0x0029: LEAF + layers.DDP,
    0x002D: LEAF + layers.VJC,
    0x002F: LEAF + layers.VJC,
    0x0035: LEAF + layers.VINES_IP,
    0x0059: LEAF + layers.PPPMUX,
    0x005B: LEAF + layers.VSNP,
    0x0061: LEAF + layers.CRTP,
    0x0065: LEAF + layers.CRTP,
    0x0067: LEAF + layers.CRTP,
    0x0205: LEAF + layers.DEC_STP,
    0x2065: LEAF + layers.CRTP,
    0x2067: LEAF + layers.CRTP,
    0x8023: LEAF + layers.OSINLCP,
    0x8031: LEAF + layers.BCP_NCP,
    0x8059: LEAF + layers.PPPMUXCP,
    0x805B: LEAF + layers.VSNCP,
    0xC02B: LEAF + layers.BACP,
    0xC02D: LEAF + layers.BAP,
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

# Windows hands PPP to Ethernet captures with its protocol numbers as types; Wireshark's table of ethertypes has these.
ETHERTYPES |= {kind: code for kind, code in PPPS.items() if kind > 0x5FF and kind not in PPP_ONLY}

# Layer -> (bytes that Wireshark's dissector reads before it shows the layer, bytes below which it is malformed).
LEAST = {
    layers.EIGRP: (16, 20),
    layers.IGMP: (1, 8),
    layers.IPV6_HOPOPTS: (2, 8),
    layers.LCP: (1, 4),
    layers.IPCP: (1, 4),
    layers.OSPF: (4, 24),
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
        (T_PORT, dict.fromkeys(OWNED_PORTS, state.OWNED) | PORTS),
        (T_SAP, SAPS),
        (T_PPP, PPPS),
    ):
        for number, code in owners.items():
            table[first + number] = code
    for layer, (shown, least) in LEAST.items():
        table[T_SHOWN + layer] = shown
        table[T_LEAST + layer] = least
    return table
