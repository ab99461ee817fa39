"""DNS messages as they travel: DNS, mDNS, LLMNR and, with encoded names, the NetBIOS name service.

In: the bytes of one message (RFC 1035 4.1; RFC 6762, RFC 4795, RFC 1002 4.2). Out: a `Message`: id, flags, the first
question, the answers as text. Compression pointers are bounded. Hostile bytes give a message marked `malformed`, never
an exception. This file knows no packet and no port: callers say which of the four protocols they believe it is.
"""

from __future__ import annotations

import struct

from analysis import addresses
from analysis.named_tuples import NamedTuple

A, NS, CNAME, SOA, NULL, PTR, MX, TXT, AAAA, SRV, NB, NBSTAT = 1, 2, 5, 6, 10, 12, 15, 16, 28, 33, 32, 33

MAX_JUMPS = 32  # compression pointers followed in one name; real names need one or two
MAX_NAME = 1024  # characters of a name kept; the wire allows 255 octets
MAX_LABELS = 128  # read behind a compression pointer: 255 octets hold no more
MAX_ANSWERS = 64  # answers kept as text; all are walked
MAX_RECORDS = 4096  # records walked of one message
MAX_DATA_CHARACTERS = 1024  # of one answer's data: TXT tunnels need their length, not their end

# Bytes that a record's fixed fields need (RFC 1035 3.3, 3.4, RFC 2782, RFC 3596, RFC 4034); fewer make it malformed.
LEAST_DATA = {A: 4, NS: 1, CNAME: 1, SOA: 22, PTR: 1, MX: 3, TXT: 1, AAAA: 16, SRV: 7, 43: 4, 46: 18, 48: 4}

_HEADER, _RECORD = struct.Struct(">6H"), struct.Struct(">HHIH")  # RFC 1035 4.1.1; 4.1.3 behind the name

_WORDS = struct.Struct(">QQ")

Answer = tuple[str, int, int, str]  # name, type, ttl_s, text of the data


class Message(NamedTuple):
    """One message. `type` is the type of the first question (or of the first answer where no question is asked)."""

    id: int
    flags: int
    response: bool
    opcode: int
    rcode: int
    name: str
    type: int
    answers: tuple[Answer, ...]
    malformed: bool  # the message ends inside a record, or a name cannot be


def parse(data: bytes, *, netbios: bool = False, additional: bool = False) -> Message | None:
    """Read one message; None below 12 bytes. `additional` keeps the additional records too (mDNS puts addresses there)."""
    size = len(data)
    if size < 12:
        return None
    id_, flags, questions, answer_count, authority_count, additional_count = _HEADER.unpack_from(data)
    name, kind, at = "", 0, 12
    answers: list[Answer] = []
    malformed = False
    read_name = _netbios_name if netbios else _name
    pointed: dict[bytes, str] = {}  # compression pointer -> name: most owners of records are one pointer
    try:
        for index in range(questions):
            text, at = read_name(data, at)
            if at + 4 > size:
                malformed = True
                break
            if index == 0:
                name, kind = text, data[at] << 8 | data[at + 1]
            at += 4
        if not malformed:
            for index in range(min(answer_count + authority_count + additional_count, MAX_RECORDS)):
                pointer = data[at : at + 2]
                if pointer in pointed:
                    text, at = pointed[pointer], at + 2
                else:
                    text, at = read_name(data, at)
                    if pointer >= b"\xc0":
                        pointed[pointer] = text
                start = at + 10
                if start > size:
                    malformed = True
                    break
                record, _, ttl, length = _RECORD.unpack_from(data, at)
                at = start + length
                if at > size or (0 < length < LEAST_DATA.get(record, 0) and not netbios):
                    malformed = True
                    break
                if (index < answer_count or additional) and len(answers) < MAX_ANSWERS:
                    answers.append((text, record, ttl, _data_text(data, record, start, at, netbios)))
    except _BadName:
        malformed = True
    if not questions and answers:
        name, kind = answers[0][0], answers[0][1]
    return Message(
        id_,
        flags,
        flags >= 0x8000,
        flags >> 11 & 15,
        flags & 15,
        name,
        kind,
        tuple(answers),
        malformed,
    )


class _BadName(Exception):
    """A name runs off the message, loops, or has a label type that RFC 1035 does not know."""


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name at `at` and the offset behind it (RFC 1035 4.1.4)."""
    parts: list[bytes] = []
    end = -1
    jumps = 0
    try:
        size = data[at]
        while size:
            if size < 0x40:
                if len(parts) < MAX_LABELS:
                    parts.append(data[at + 1 : at + 1 + size])
                elif end >= 0:  # or every record would walk the whole message once more
                    return "", end
                at += 1 + size
            elif size >= 0xC0:
                if end < 0:
                    end = at + 2
                at = (size & 0x3F) << 8 | data[at + 1]
                jumps += 1
                if jumps > MAX_JUMPS:  # a loop; Wireshark shows it as a name and reads on
                    return "", end
            elif size == 0x41 or size >= 0x80:
                raise _BadName
            else:  # an extended label nobody defined (RFC 6891 6): the name ends
                size = 0
                continue
            size = data[at]
    except IndexError:
        raise _BadName from None
    name = b".".join(parts)
    text = name[:MAX_NAME].decode("ascii", "backslashreplace")
    return text, end if end >= 0 else at + 1


def _netbios_name(data: bytes, at: int) -> tuple[str, int]:
    """A first-level encoded NetBIOS name as `NAME<20>`, scope behind a dot (RFC 1001 14.1)."""
    text, end = _name(data, at)
    head, _, scope = text.partition(".")
    return netbios_text(head) + (f".{scope}" if scope else ""), end


_NIBBLES = str.maketrans("ABCDEFGHIJKLMNOP", "0123456789abcdef")


def netbios_text(encoded: str) -> str:
    """`CKAAAA…` (32 letters A-P) as `*<00>`: fifteen characters and the suffix; other text comes back as it is."""
    if len(encoded) != 32 or encoded.strip("ABCDEFGHIJKLMNOP"):
        return encoded
    octets = bytes.fromhex(encoded.translate(_NIBBLES))
    return octets[:15].rstrip(b" \0").decode("ascii", "backslashreplace") + f"<{octets[15]:02x}>"


def _data_text(data: bytes, record: int, start: int, end: int, netbios: bool) -> str:
    """The data of a record as text; what has no short text is hex."""
    body = data[start:end]
    if netbios:
        return _netbios_data(body, record)
    if record == A and len(body) == 4:
        return f"{body[0]}.{body[1]}.{body[2]}.{body[3]}"
    if record == AAAA and len(body) == 16:
        return ipv6_text(body)
    if not body:
        return ""
    if record in (CNAME, NS, PTR, SOA):
        return _name(data, start)[0]
    if record == MX:
        return f"{body[0] << 8 | body[1]} {_name(data, start + 2)[0]}"
    if record == SRV:
        return f"{_name(data, start + 6)[0]}:{body[4] << 8 | body[5]}"
    if record == TXT:
        return _txt(body)
    return body[: MAX_DATA_CHARACTERS // 2].hex()


def _txt(body: bytes) -> str:
    parts, at = [], 0
    while at < len(body):
        parts.append(body[at + 1 : at + 1 + body[at]])
        at += 1 + body[at]
    return b"".join(parts)[:MAX_DATA_CHARACTERS].decode("utf-8", "replace")


def ipv6_text(body: bytes) -> str:
    """Sixteen bytes as an address, written as in the table of addresses."""
    return addresses.ipv6_text(*_WORDS.unpack(body))


def _netbios_data(body: bytes, record: int) -> str:
    """NB: the address of its first entry; NBSTAT: the names of the node (RFC 1002 4.2.18)."""
    if record == NB and len(body) >= 6:
        return f"{body[2]}.{body[3]}.{body[4]}.{body[5]}"
    if record == NBSTAT and body:
        names = []
        for index in range(min(body[0], (len(body) - 1) // 18, 32)):
            entry = body[1 + 18 * index : 1 + 18 * index + 16]
            names.append(entry[:15].rstrip(b" \0").decode("ascii", "backslashreplace") + f"<{entry[15]:02x}>")
        return " ".join(names)
    return body[: MAX_DATA_CHARACTERS // 2].hex()
