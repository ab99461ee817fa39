"""Protocols above TCP that are known by their port, or by a magic number at the start: the long tail, a row each.

In: nothing. Out: `ROWS` (name, ports, dissector, heuristic or None) for the registry, and the first bytes by which the
heuristics recognise their protocols. Ports are Wireshark's tcp.port table; a row says how units are framed and what is
refused. A protocol that needs more than a page belongs into a module of its own.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.framing import Framing, recognised, segments, units
from analysis.protocols.pdu import ONE_MORE, UNTIL_FIN, Dissect, Malformed, Pdu, framed


def _begins(*starts: bytes) -> Dissect:
    return lambda pdu: pdu.data.startswith(starts)


# ------------------------------------------------------------------------------------------- units told by their bytes


def _dsi_size(pdu: Pdu, at: int) -> int:
    """Apple's session header (16 bytes): 0 flags | 1 command | 8 length (4). What is no header takes the segment."""
    if pdu.u8(at) > 1 or not 1 <= pdu.u8(at + 1) <= 8:
        return pdu.length - at
    return 16 + min(pdu.be32(at + 8), 1 << 24)


MOST_ASKED = 256  # requests of a session that wait for their answers


def _dsi(pdu: Pdu) -> None:
    """Commands and writes carry the Apple Filing Protocol, and so do answers whose request was seen."""
    asked: dict[bytes, bool] = pdu.stream.state.setdefault("afp", {})
    if pdu.data[0] <= 1 and pdu.data[1] in (2, 6):
        number = pdu.data[2:4]
        if pdu.data[0] == 0 and len(asked) < MOST_ASKED:
            asked[number] = True
        if pdu.data[0] == 0 or asked.pop(number, False):
            pdu.add(layers.DSI, 16)
            pdu.add(layers.AFP, len(pdu.data) - 16)
            return
    pdu.add(layers.DSI)


def dissect_dsi(pdu: Pdu) -> bool:
    """AFP over TCP: the session layer, and the file protocol in commands and their answers."""
    return framed(pdu, 16, _dsi_size, _dsi)


def _git_size(pdu: Pdu, at: int) -> int:
    """A packet line: four hexadecimal digits that count themselves; 0000 to 0002 stand alone."""
    try:
        size = int(pdu.data[at : at + 4], 16)
    except ValueError:
        return 0
    return size if size >= 4 else 4


def dissect_git(pdu: Pdu) -> bool:
    """Git's transport: packet lines, one PDU each (gitprotocol-pack)."""
    return framed(pdu, 4, _git_size, lambda unit: unit.add(layers.GIT))


def _asked_and_answered(layer: int, port: int) -> Dissect:
    """A protocol of one line to the server and an answer that ends with the connection (RFC 1288, RFC 3912)."""

    def dissect(pdu: Pdu) -> bool:
        to_server = (pdu.stream.b_port if pdu.direction == 0 else pdu.stream.a_port) == port
        if pdu.whole and to_server and not pdu.data.endswith(b"\r\n"):
            pdu.wish(0, ONE_MORE)
        elif pdu.whole and not to_server and not pdu.frame_end:
            pdu.wish(0, UNTIL_FIN)
        else:
            pdu.add(layer)
        return True

    return dissect


def _bgp_mark(data: bytes) -> int:
    return data.find(b"\xff" * 16)


def dissect_bgp(pdu: Pdu) -> bool:
    """BGP (RFC 4271 4.1): messages behind a mark of ones; what stands before one continues a message nobody saw."""
    at = _bgp_mark(pdu.data)
    if at < 0:
        pdu.add(layers.BGP)
        return True
    return framed(pdu, 19, Framing(19, 16, 2).size, lambda unit: unit.add(layers.BGP), at)


def _ber_size(pdu: Pdu, at: int) -> int:
    """Whole size of a BER element (X.690 8.1); 0 where its length is not there yet."""
    data, here = pdu.data, at + 1
    if data[at] & 31 == 31:
        while here < len(data) and data[here] & 0x80:
            here += 1
        here += 1
    if here >= len(data):
        return 0
    first = data[here]
    if first < 0x80:
        return here + 1 + first - at
    width = first & 0x7F
    if width > 4:
        raise Malformed
    if here + 1 + width > len(data):
        return 0
    return here + 1 + width + min(int.from_bytes(data[here + 1 : here + 1 + width], "big"), 1 << 24) - at


def dissect_z3950(pdu: Pdu) -> bool:
    """Z39.50: BER elements."""
    return framed(pdu, 2, _ber_size, lambda unit: unit.add(layers.Z3950))


def dissect_snmp(pdu: Pdu) -> bool:
    """SNMP over TCP (RFC 3430): BER sequences."""
    if pdu.data[:1] != b"\x30":
        return False
    return framed(pdu, 2, _ber_size, lambda unit: unit.add(layers.SNMP))


def _jdwp_size(pdu: Pdu, at: int) -> int:
    return 14 if pdu.data[at : at + 4] == b"JDWP" else min(pdu.be32(at), 1 << 26)


def dissect_jdwp(pdu: Pdu) -> bool:
    """Java's debug wire protocol: a handshake of 14 letters, then packets that count themselves."""
    return framed(pdu, 11, _jdwp_size, lambda unit: unit.add(layers.JDWP))


def _agentx_size(pdu: Pdu, at: int) -> int:
    """RFC 2741 6.1: 2 flags (0x10: network byte order) | 16 length (4) behind a header of 20."""
    return 20 + min(pdu.be32(at + 16) if pdu.u8(at + 2) & 0x10 else pdu.le32(at + 16), 1 << 24)


def dissect_agentx(pdu: Pdu) -> bool:
    """AgentX (RFC 2741)."""
    return framed(pdu, 20, _agentx_size, lambda unit: unit.add(layers.AGENTX))


def dissect_edonkey(pdu: Pdu) -> bool:
    """eDonkey and eMule: a protocol byte, a length (4, little endian), the message."""
    if pdu.data[:1] not in (b"\xe3", b"\xc5", b"\xd4", b"\xe4", b"\xe5"):
        return False
    return framed(pdu, 5, Framing(5, 1, 4, "little", 5).size, lambda unit: unit.add(layers.EDONKEY))


def _gnutella_size(pdu: Pdu, at: int) -> int:
    size = pdu.le32(at + 19)
    return pdu.length - at if size > 1500 else 23 + size  # longer: the text of a handshake


def dissect_gnutella(pdu: Pdu) -> bool:
    """Gnutella: descriptors of 23 bytes and a length, or handshake text."""
    return framed(pdu, 23, _gnutella_size, lambda unit: unit.add(layers.GNUTELLA))


def _dropbox_size(pdu: Pdu, at: int) -> int:
    return 5 + pdu.be16(at + 3) if pdu.be16(at + 1) == 0x0301 else pdu.length - at


def dissect_dropbox(pdu: Pdu) -> bool:
    """Dropbox LAN synchronisation: records in TLS's manner."""
    return framed(pdu, 5, _dropbox_size, lambda unit: unit.add(layers.DB_LSP))


def _stun_size(pdu: Pdu, at: int) -> int:
    """STUN message (RFC 8489 5) or TURN channel data (RFC 8656 12.5), padded to four bytes on TCP."""
    kind, size = pdu.be16(at), pdu.be16(at + 2)
    return 4 + (size + 3) // 4 * 4 if kind & 0xC000 == 0x4000 else 20 + size


def _stun_starts(pdu: Pdu) -> bool:
    return len(pdu.data) >= 20 and pdu.data[0] < 0x40 and pdu.data[4:8] == b"\x21\x12\xa4\x42"


def dissect_stun(pdu: Pdu) -> bool:
    """STUN over TCP."""
    return framed(pdu, 4, _stun_size, lambda unit: unit.add(layers.STUN))


# --------------------------------------------------------------------------------------------------------- OpenFlow

OPENFLOW = {1: layers.OPENFLOW_V1, 4: layers.OPENFLOW_V4, 5: layers.OPENFLOW_V5, 6: layers.OPENFLOW_V6}


def dissect_openflow(pdu: Pdu) -> bool:
    """OpenFlow: 0 version | 1 type | 2 length (2). Versions 1.1 and 1.2 have no dissector."""

    def one(unit: Pdu) -> None:
        unit.add(OPENFLOW.get(unit.data[0], layers.OPENFLOW))

    return framed(pdu, 8, Framing(8, 2, 2).size, one)


OPENFLOW_PORTS = (6633, 6634, 6653)  # before IANA's, and IANA's


def _openflow_starts(pdu: Pdu) -> bool:
    """Whatever goes to a controller's port."""
    return (pdu.stream.b_port if pdu.direction == 0 else pdu.stream.a_port) in OPENFLOW_PORTS


# --------------------------------------------------------------------------------------------------- by magic number

BITCOIN_MAGIC = (b"\xf9\xbe\xb4\xd9", b"\xfa\xbf\xb5\xda", b"\x0b\x11\x09\x07", b"\xf9\xbe\xb4\xfe")
dissect_bitcoin = units(layers.BITCOIN, Framing(20, 16, 4, "little", 24))


def _giop_size(pdu: Pdu, at: int) -> int:
    """CORBA GIOP: "GIOP" | version (2) | 6 flags (bit 0: little endian) | 8 size (4) behind a header of 12."""
    if pdu.data[at : at + 4] != b"GIOP":
        raise Malformed
    return 12 + min(pdu.le32(at + 8) if pdu.u8(at + 6) & 1 else pdu.be32(at + 8), 1 << 26)


def dissect_giop(pdu: Pdu) -> bool:
    """GIOP, as CORBA speaks it over TCP (IIOP)."""
    return framed(pdu, 12, _giop_size, lambda unit: unit.add(layers.GIOP))


dissect_drda = units(layers.DRDA, Framing(10, 0, 2))


def _drda_starts(pdu: Pdu) -> bool:
    """DRDA: 0 length (2) | 2 magic 0xd0 | 3 format | 4 correlation | 6 length of the object, six less."""
    return len(pdu.data) >= 10 and pdu.data[2] == 0xD0 and pdu.be16(0) >= 10 and pdu.be16(0) == pdu.be16(6) + 6


SMPP_REQUESTS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 0xB, 0x15, 0x21, 0x102, 0x103, 0x111, 0x112, 0x113))
dissect_smpp = units(layers.SMPP, Framing(16, 0, 4))


def _smpp_starts(pdu: Pdu) -> bool:
    """SMPP: 0 length (4) | 4 command (4, high bit: answer) | 8 status (4), 0 in requests | 12 sequence (4), positive."""
    if len(pdu.data) < 16 or not 16 <= pdu.be32(0) <= 64 * 1024 or not 0 < pdu.be32(12) < 0x80000000:
        return False
    command = pdu.be32(4)
    if command & 0x80000000:
        return command & 0x7FFFFFFF in SMPP_REQUESTS or command == 0x80000000
    return command in SMPP_REQUESTS and pdu.be32(8) == 0


FIX_START = b"8=FIX"
FIX_BODY_LENGTH = b"9="
FIX_SHORTEST = 24  # bytes that Wireshark wants before it looks for a length
FIX_CHECKSUM = 7  # bytes of the field `10=nnn` and its SOH


def _fix_size(pdu: Pdu, at: int) -> int:
    """FIX: `8=FIX…`, `9=` the length of what stands between it and the checksum; other bytes last until a message begins."""
    data = pdu.data
    first = data.find(b"\x01", at)
    second = data.find(b"\x01", first + 1)
    digits = data[first + 3 : second]
    told = data.startswith(FIX_START, at) and second > first > 0 and data.startswith(FIX_BODY_LENGTH, first + 1)
    if told and digits.isdigit() and len(digits) < 9:
        return second + 1 - at + int(digits) + FIX_CHECKSUM
    following = data.find(b"\x01" + FIX_START, at)
    return (following + 1 if following >= 0 else pdu.length) - at


def dissect_fix(pdu: Pdu) -> bool:
    """FIX messages of fields `tag=value` with SOH behind each."""
    return framed(pdu, FIX_SHORTEST, _fix_size, lambda unit: unit.add(layers.FIX))


dissect_ymsg = units(layers.YMSG, Framing(10, 8, 2, "big", 20))


def _iscsi_size(pdu: Pdu, at: int) -> int:
    """iSCSI (RFC 7143 11.2.1): 4 additional headers in words | 5 data length (3), padded to four bytes."""
    size = int.from_bytes(pdu.data[at + 5 : at + 8], "big")
    return 48 + 4 * pdu.u8(at + 4) + (size + 3) // 4 * 4


def dissect_iscsi(pdu: Pdu) -> bool:
    """iSCSI units."""
    return framed(pdu, 48, _iscsi_size, lambda unit: unit.add(layers.ISCSI))


def _iscsi_starts(pdu: Pdu) -> bool:
    """A login request or answer opens the conversation: reserved fields are zero, the initiator's session id is not."""
    data = pdu.data
    return len(data) >= 48 and data[0] in (0x43, 0x23) and data[4] == 0 and data[1] & 0x30 == 0 and data[2] <= 2


THRIFT_STRICT = tuple(b"\x80\x01\x00" + bytes((kind,)) for kind in range(1, 5))


def _thrift_starts(pdu: Pdu) -> bool:
    data = pdu.data
    return data.startswith(THRIFT_STRICT) or (
        len(data) > 12 and data[4:8] in THRIFT_STRICT and pdu.be32(0) == pdu.length - 4
    )


def dissect_thrift(pdu: Pdu) -> bool:
    """Thrift's strict binary protocol, framed by a length or bare."""
    if pdu.data[4:8] in THRIFT_STRICT:
        return framed(pdu, 4, Framing(4, 0, 4, "big", 4).size, lambda unit: unit.add(layers.THRIFT))
    pdu.add(layers.THRIFT)
    return True


def _openwire_starts(pdu: Pdu) -> bool:
    return len(pdu.data) >= 14 and pdu.data[4] == 1 and pdu.data[5:13] == b"ActiveMQ"


def _from_size(layer: int, size: int) -> Dissect:
    """Segments of at least `size` bytes."""

    def dissect(pdu: Pdu) -> bool:
        if pdu.length < size:
            return False
        pdu.add(layer)
        return True

    return dissect


HART_TYPES = (0, 1, 2, 15)  # request, response, publish, not acknowledged


def _hl7_size(pdu: Pdu, at: int) -> int:
    """HL7's framing (MLLP): a vertical tab, the message, a file separator and a carriage return."""
    end = pdu.data.find(b"\x1c\r", at)
    return 0 if end < 0 else end + 2 - at


def dissect_hl7(pdu: Pdu) -> bool:
    """HL7 version 2 messages."""
    return framed(pdu, 3, _hl7_size, lambda unit: unit.add(layers.HL7))


def _is_smart_home(pdu: Pdu) -> bool:
    """TP-Link's: a length, then JSON whose first brace is masked with 0xab."""
    return len(pdu.data) > 4 and pdu.data[4] == 0xD0


MQ_EYES = (b"TSH ", b"TSHM", b"TSHC", b"\xe3\xe2\xc8\x40")
dissect_mq = units(layers.MQ, Framing(8, 4, 4))

ROWS: tuple[tuple[str, tuple[int, ...], Dissect, Dissect | None], ...] = (
    ("echo", (7,), segments(layers.ECHO), None),
    ("daytime", (13,), segments(layers.DAYTIME), None),
    ("time", (37,), segments(layers.TIME), None),
    ("winsrepl", (42,), units(layers.WINSREPL, Framing(4, 0, 4, "big", 4)), None),
    ("whois", (43,), _asked_and_answered(layers.WHOIS, 43), None),
    ("finger", (79,), _asked_and_answered(layers.FINGER, 79), None),
    ("dicom", (104,), units(layers.DICOM, Framing(6, 2, 4, "big", 6), lambda pdu: 1 <= pdu.u8(0) <= 7), None),
    ("bgp", (179,), dissect_bgp, None),
    ("snmp", (161, 162), dissect_snmp, None),
    ("z3950", (210,), dissect_z3950, None),
    ("rpkirtr", (323,), units(layers.RPKIRTR, Framing(8, 4, 4)), None),
    ("kpasswd", (464,), units(layers.KPASSWD, Framing(4, 0, 4, "big", 4)), None),
    ("srvloc", (427,), units(layers.SRVLOC, Framing(5, 2, 3)), None),
    ("lpd", (515,), segments(layers.LPD), None),
    ("dsi", (548,), dissect_dsi, None),
    ("msdp", (639,), segments(layers.MSDP), None),
    ("dhcpfo", (647,), units(layers.DHCPFO, Framing(2, 0, 2)), None),
    ("agentx", (705,), dissect_agentx, None),
    ("gift", (1213,), segments(layers.GIFT), None),
    ("icap", (1344,), segments(layers.ICAP), None),
    ("pptp", (1723,), segments(layers.PPTP), None),
    ("cops", (2126, 3288, 3918), units(layers.COPS, Framing(8, 4, 4)), None),
    ("cvspserver", (2401,), segments(layers.CVSPSERVER), None),
    ("sametime", (1533,), units(layers.SAMETIME, Framing(4, 0, 4, "big", 4)), None),
    ("tpm", (2321, 2322), segments(layers.TPM), None),
    ("zebra", (2600,), segments(layers.ZEBRA), None),
    ("stun", (3478,), dissect_stun, recognised(dissect_stun, _stun_starts)),
    ("distcc", (3632,), segments(layers.DISTCC), None),
    ("wow", (3724,), segments(layers.WOW), None),
    ("woww", (8085,), segments(layers.WOWW), None),
    ("nvme-tcp", (4420,), units(layers.NVME_TCP, Framing(8, 4, 4, "little")), None),
    ("synphasor", (4712,), units(layers.SYNPHASOR, Framing(4, 2, 2), lambda pdu: pdu.data[:1] == b"\xaa"), None),
    ("9p", (564,), units(layers.P_9P, Framing(7, 0, 4, "little")), None),
    ("hl7", (2575,), dissect_hl7, recognised(dissect_hl7, _begins(b"\x0bMSH|"))),
    ("hart_ip", (5094,), units(layers.HART_IP, Framing(8, 6, 2), lambda pdu: pdu.u8(1) in HART_TYPES and pdu.u8(2) <= 5),
     None),
    ("omron", (9600,), units(layers.OMRON, Framing(8, 4, 4, "big", 8), _begins(b"FINS")), None),
    ("tplink-smarthome", (9999,), units(layers.TPLINK_SMARTHOME, Framing(4, 0, 4, "big", 4), _is_smart_home), None),
    ("ptpip", (15740,), _from_size(layers.PTPIP, 8), None),
    ("synergy", (24800,), units(layers.SYNERGY, Framing(4, 0, 4, "big", 4)), None),
    ("ams", (48898,), _from_size(layers.AMS, 6), None),
    ("hislip", (4880,), units(layers.HISLIP, Framing(16, 12, 4, "big", 16)), None),
    ("llrp", (5084,), units(layers.LLRP, Framing(6, 2, 4)), None),
    ("ancp", (6068,), units(layers.ANCP, Framing(4, 2, 2, "big", 4)), None),
    ("ulp", (7275,), units(layers.ULP, Framing(2, 0, 2)), None),
    ("ilp", (7276,), units(layers.ILP, Framing(2, 0, 2)), None),
    ("jdwp", (9009,), dissect_jdwp, None),
    ("pcp", (44321,), units(layers.PCP, Framing(12, 0, 4)), None),
    ("pcep", (4189,), units(layers.PCEP, Framing(4, 2, 2)), None),
    ("edonkey", (4661, 4662, 4663), dissect_edonkey, None),
    ("gearman", (4730,), segments(layers.GEARMAN), None),
    ("cflow", (4739,), units(layers.CFLOW, Framing(4, 2, 2)), None),
    ("gnutella", (6346,), dissect_gnutella, None),
    ("openflow", (6653,), dissect_openflow, recognised(dissect_openflow, _openflow_starts)),
    ("gadu-gadu", (8074,), units(layers.GADU_GADU, Framing(8, 4, 4, "little", 8)), None),
    ("elasticsearch", (9300,), segments(layers.ELASTICSEARCH), None),
    ("git", (9418,), dissect_git, None),
    ("beep", (10288,), segments(layers.BEEP), None),
    ("doip", (13400,), units(layers.DOIP, Framing(8, 4, 4, "big", 8)), None),
    ("db-lsp", (17500,), dissect_dropbox, None),
    ("bitcoin", (), dissect_bitcoin, recognised(dissect_bitcoin, _begins(*BITCOIN_MAGIC))),
    ("giop", (), dissect_giop, recognised(dissect_giop, lambda pdu: len(pdu.data) >= 12 and pdu.data[:4] == b"GIOP")),
    ("drda", (), dissect_drda, recognised(dissect_drda, _drda_starts)),
    ("smpp", (), dissect_smpp, recognised(dissect_smpp, _smpp_starts)),
    ("fix", (), dissect_fix, recognised(dissect_fix, _begins(FIX_START))),
    ("ymsg", (), dissect_ymsg, recognised(dissect_ymsg, _begins(b"YMSG"))),
    ("iscsi", (), dissect_iscsi, recognised(dissect_iscsi, _iscsi_starts)),
    ("thrift", (), dissect_thrift, recognised(dissect_thrift, _thrift_starts)),
    ("openwire", (), units(layers.OPENWIRE, Framing(5, 0, 4, "big", 4)),
     recognised(units(layers.OPENWIRE, Framing(5, 0, 4, "big", 4)), _openwire_starts)),
    ("mq", (), dissect_mq, recognised(dissect_mq, _begins(*MQ_EYES))),
)  # fmt: skip

# (first byte, second byte or None for any) of what the heuristics above can take; text in capitals is told anyway.
TELLING: tuple[tuple[int, int | None], ...] = (
    (0, None),  # lengths of DRDA, SMPP and Thrift; STUN requests
    (1, None),  # STUN answers, OpenFlow 1.0
    *((version, kind) for version in (4, 5, 6) for kind in range(35)),  # OpenFlow
    *((first, second) for first in (0x43, 0x23) for second in (0x00, 0x80, 0x81, 0x83, 0x87)),  # iSCSI logins
    *((magic[0], magic[1]) for magic in (*BITCOIN_MAGIC, *MQ_EYES)),
    (0x38, 0x3D),  # FIX
    (0x0B, 0x4D),  # HL7
    (0x80, 0x01),  # Thrift
)
