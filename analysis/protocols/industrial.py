"""Industrial control over TCP: Modbus/TCP, DNP3, EtherNet/IP, OPC UA binary, IEC 60870-5-104.

In: bytes of connections on the protocols' ports. Out: their layers as Wireshark nests them. Framing is by length
field; an application body is looked at only where it decides about a layer.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.framing import Framing, units
from analysis.protocols.pdu import ONE_MORE, Malformed, Pdu, framed

# ---------------------------------------------------------------------------------------------------- Modbus/TCP


def _modbus(pdu: Pdu) -> None:
    pdu.add(layers.MBTCP)
    pdu.need(0, 7)
    if pdu.length > 7:
        pdu.add(layers.MODBUS, len(pdu.data) - 7)


def dissect_modbus(pdu: Pdu) -> bool:
    """Modbus/TCP: protocol identifier 0 and a length from 2 to 254 in the first header, else refused."""
    if len(pdu.data) < 8 or pdu.be16(2) != 0 or not 2 <= pdu.be16(4) <= 254:
        return False
    return framed(pdu, 6, Framing(6, 4, 2, "big", 6).size, _modbus)


# ---------------------------------------------------------------------------------------------------- DNP3

DNP3_START = b"\x05\x64"


def dnp3_size(length: int) -> int:
    """Bytes of a link frame: header 10, then blocks of 16 with a CRC each (IEEE 1815 9.2)."""
    user = length - 5
    if user < 0:
        return 1  # less than a header: the frame is malformed
    return 10 + user + 2 * ((user + 15) // 16)


def dissect_dnp3(pdu: Pdu) -> bool:
    """DNP3 link frames; refuses what does not start with 0x0564."""
    if pdu.data[:2] != DNP3_START:
        return False
    return framed(pdu, 10, lambda unit, at: dnp3_size(unit.u8(at + 2)), _dnp3)


def _dnp3(pdu: Pdu) -> None:
    pdu.add(layers.DNP3)
    length = pdu.u8(2)
    if length <= 5:
        return
    user = bytearray()
    at = 10
    left = length - 5
    while left > 0:
        block = min(16, left)
        pdu.need(at, block + 2)
        user += pdu.data[at : at + block]
        at += block + 2
        left -= block
    if user[0] & 0xC0 == 0xC0 and not _objects_fit(bytes(user)):
        raise Malformed


# Octets per object by (group, variation): the ones that control traffic is made of (IEEE 1815 annex A).
DNP3_OBJECTS = {(12, 1): 11, (12, 2): 11, (12, 3): 11, (41, 1): 5, (41, 2): 3, (41, 3): 5, (41, 4): 9}
DNP3_REQUESTS = {3, 4, 5, 6}  # select, operate, direct operate, direct operate without acknowledgement
RANGE_WIDTH = {0: 1, 1: 2, 2: 4, 3: 1, 4: 2, 5: 4, 7: 1, 8: 2, 9: 4}  # qualifier's range code -> octets of a number
PREFIX_WIDTH = {1: 1, 2: 2, 3: 4, 4: 1, 5: 2, 6: 4}


def _objects_fit(user: bytes) -> bool:
    """Do the objects of a control request end inside the fragment (IEEE 1815 4.2.2.7)?"""
    if len(user) < 3 or user[2] not in DNP3_REQUESTS:
        return True
    at = 3
    while at < len(user):
        if at + 3 > len(user):
            return False
        group, variation, qualifier = user[at], user[at + 1], user[at + 2]
        size = DNP3_OBJECTS.get((group, variation))
        if size is None:
            return True
        at += 3
        code = qualifier & 0x0F
        width = RANGE_WIDTH.get(code, 0)
        numbers = [int.from_bytes(user[at + i * width : at + (i + 1) * width], "little") for i in (0, 1)]
        count = 0
        if code <= 5:
            at += 2 * width
            count = numbers[1] - numbers[0] + 1
        elif width:
            at += width
            count = numbers[0]
        if at > len(user) or count < 0:
            return False
        at += count * (PREFIX_WIDTH.get(qualifier >> 4 & 7, 0) + size)
    return at == len(user)


# ---------------------------------------------------------------------------------------------------- IEC 104


def dissect_iec104(pdu: Pdu) -> bool:
    """APCI frames (IEC 60870-5-104 5.1) with the ASDU of I frames."""
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        pdu.need(at, 1)
        if pdu.data[at] != 0x68:
            skip = pdu.data.find(b"\x68", at)
            at = pdu.length if skip < 0 else skip
            continue
        if left < 2:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            return True
        size = 2 + pdu.u8(at + 1)
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        pdu.add(layers.IEC60870_104, min(size, 6))
        if min(size, left) > 6 and not pdu.u8(at + 2) & 1:
            pdu.add(layers.IEC60870_ASDU, min(size, left) - 6)
        at += size
    return True


# ---------------------------------------------------------------------------------------------------- framed by a table

OPCUA_TYPES = (b"HEL", b"ACK", b"ERR", b"RHE", b"MSG", b"OPN", b"CLO")


def _opcua_check(pdu: Pdu) -> bool:
    return pdu.length < 8 or pdu.data[:3] in OPCUA_TYPES


dissect_opcua = units(layers.OPCUA, Framing(8, 4, 4, "little"), _opcua_check)

ENIP_COMMANDS = frozenset((0x0000, 0x0004, 0x0063, 0x0064, 0x0065, 0x0066, 0x006F, 0x0070, 0x0072, 0x0073))
SEND_RR_DATA, SEND_UNIT_DATA = 0x6F, 0x70
UNCONNECTED_DATA, CONNECTED_DATA = 0xB2, 0xB1


def _enip(pdu: Pdu) -> None:
    pdu.add(layers.ENIP)
    if pdu.le16(0) not in (SEND_RR_DATA, SEND_UNIT_DATA) or pdu.length < 32:
        return
    count, at = pdu.le16(30), 32
    for _ in range(min(count, 8)):
        kind, size = pdu.le16(at), pdu.le16(at + 2)
        at += 4
        if kind in (UNCONNECTED_DATA, CONNECTED_DATA) and size:
            skip = 2 if kind == CONNECTED_DATA else 0
            pdu.add(layers.CIP, max(min(size, pdu.length - at) - skip, 0))
        at += size


def dissect_enip(pdu: Pdu) -> bool:
    """EtherNet/IP encapsulation; refuses unknown commands."""
    if len(pdu.data) >= 2 and pdu.le16(0) not in ENIP_COMMANDS:
        return False
    return framed(pdu, 24, Framing(24, 2, 2, "little", 24).size, _enip)
