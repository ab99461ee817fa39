"""Rules for calls and media: SIP and SDP, RTP and RTCP, MGCP, STUN and TURN.

In: datagrams. Out: layers; the media endpoints that a session description announces (RFC 4566 5.14) are claimed for
RTP (RFC 3550) on the port and RTCP on the next one, as Wireshark's SDP dissector does. RTP that nobody announced is
`data`, there too. Texts of peers are split with bounds and never trusted.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import datagram_shapes
from analysis.protocols.datagram import Context, Datagram, Layers, Rule

# -- SIP (RFC 3261 7) ----------------------------------------------------------------------------------------------

MAX_SDP_LINES = 256

SIP_METHODS = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS REGISTER PRACK SUBSCRIBE NOTIFY PUBLISH INFO REFER MESSAGE UPDATE "
    b"BENOTIFY NEGOTIATE SERVICE KDMQ DO QAUTH SPRACK PING".split()
)


def looks_like_sip(data: bytes) -> bool:
    """True where the first line is a request of three words or a status line, of SIP."""
    if data.find(b"SIP/", 0, 2048) < 0:  # what most payloads lack
        return False
    line = data[:2048].split(b"\n", 1)[0].rstrip(b"\r")
    words = line.split(b" ")
    if len(words) < 3:
        return False
    if words[0].startswith(b"SIP/"):
        return words[1].isdigit() and len(words[1]) == 3
    return len(words) == 3 and words[2].startswith(b"SIP/") and bool(words[0]) and bool(words[1])


def sip_rule(datagram: Datagram, context: Context) -> Layers | None:
    """SIP takes the whole datagram; a session description in it announces media."""
    if not looks_like_sip(datagram.data):
        return None
    if not datagram.quoted:
        datagram_shapes.sip_scanner(datagram, context)
        datagram_shapes.sip_login(datagram, context)
        _, _, body = datagram.data.partition(b"\r\n\r\n")
        at = body.find(b"v=0")
        if at >= 0:
            announce_media(body[at:], context)
    return datagram.whole(layers.SIP) if _body_fits(datagram.data) else datagram.ends_early(layers.SIP)


def _body_fits(data: bytes) -> bool:
    """False where Content-Length (RFC 3261 20.14) promises more than the datagram holds."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return True
    for line in data[:end].split(b"\r\n")[:128]:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            value = value.strip()
            return not value.isdigit() or (len(value) < 7 and int(value) <= len(data) - end - 4)
    return True


_MGCP_VERBS = (b"EPCF", b"CRCX", b"MDCX", b"DLCX", b"RQNT", b"NTFY", b"AUEP", b"AUCX", b"RSIP", b"MESG")


def mgcp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """MGCP commands and responses (RFC 3435 3); several may share a datagram, divided by a line with one dot."""
    data = datagram.data
    head = data[:4].upper()
    if not (
        (head in _MGCP_VERBS and data[4:5] == b" ")
        or (head[:3].isdigit() and head[3:4] == b" ")
        or data.startswith(b"X")
    ):
        return None
    at = data.find(b"v=0")
    if at > 0 and data[at - 1 : at] == b"\n":
        if not datagram.quoted:
            announce_media(data[at:], context)
        return [(layers.MGCP, at), (layers.SDP, len(data) - at)]
    found: Layers = []
    start = 0
    while start < len(data) and len(found) < 16:
        dot = data.find(b"\n.", start)
        end = len(data) if dot < 0 else dot + 1
        found.append((layers.MGCP, end - start))
        if dot < 0:
            break
        line = data.find(b"\n", dot + 1)
        start = line + 1 if line >= 0 else len(data)
    return found


def announce_media(text: bytes, context: Context) -> None:
    """Claim the endpoints of a session description for RTP and RTCP."""
    session = address = b""
    port, is_media = 0, False
    kinds: dict[int, int] = {}
    media: list[tuple[bytes, int, dict[int, int] | None]] = []
    for line in text.split(b"\n", MAX_SDP_LINES)[:MAX_SDP_LINES]:
        line = line.rstrip(b"\r ")
        if line.startswith(b"c=IN IP"):
            words = line.split(b" ")
            address = words[2].split(b"/")[0] if len(words) > 2 else b""
            if not is_media:
                session = address
            elif media:
                media[-1] = (address, media[-1][1], media[-1][2])
        elif line.startswith(b"m="):
            words = line[2:].split(b" ")
            port = int(words[1].split(b"/")[0]) if len(words) > 2 and words[1].split(b"/")[0].isdigit() else 0
            is_media, kinds = True, {}
            if len(words) > 2 and b"RTP" in words[2].upper():
                media.append((session, port, kinds))
            elif len(words) > 2 and words[2].lower() == b"udptl":  # fax (ITU-T T.38 annex D)
                media.append((session, port, None))
        elif line.startswith(b"a=rtpmap:"):
            _payload_kind(line[9:], kinds)
    for host, number, map_ in media[:16]:
        _claim(host, number, map_, context)


_DYNAMIC = {
    b"AMR": layers.AMR,
    b"AMR-WB": layers.AMR,
    b"TELEPHONE-EVENT": layers.RTPEVENT,
    b"H264": layers.H264,
    b"H263-1998": layers.H263,
}


def _payload_kind(value: bytes, kinds: dict[int, int]) -> None:
    number, _, encoding = value.partition(b" ")
    layer = _DYNAMIC.get(encoding.split(b"/")[0].upper())
    if layer is not None and number.isdigit() and len(number) <= 3:
        kinds[int(number)] = layer


def _fax_rule(datagram: Datagram, context: Context) -> Layers | None:
    return datagram.whole(layers.T38)


def _claim(host: bytes, port: int, kinds: dict[int, int] | None, context: Context) -> None:
    from ipaddress import ip_address

    try:
        address = int(ip_address(host.decode("ascii", "replace")))
    except ValueError:
        return
    if not 0 < port < 65535 or not address:
        return
    high, low = address >> 64, address & (1 << 64) - 1
    words = (high - (1 << 64) if high >> 63 else high, low - (1 << 64) if low >> 63 else low)
    if kinds is None:
        context.announce((*words, port), _fax_rule)
        return
    context.announce((*words, port), rtp_rule(kinds))
    context.announce((*words, port + 1), rtcp_rule)


# -- RTP and RTCP (RFC 3550 5.1, 6.4) ------------------------------------------------------------------------------

_STATIC = {31: layers.H261, 34: layers.H263}


def rtp_rule(kinds: dict[int, int]) -> Rule:
    """A rule for one announced stream; `kinds` are the payload types whose content is a layer of its own."""

    def rule(datagram: Datagram, context: Context) -> Layers | None:
        data = datagram.data
        size = len(data)
        if size < 2:
            return datagram.ends_early(layers.RTP)
        if data[0] >> 6 != 2:
            if data[0] >> 6 == 0 and (stun := stun_heuristic(datagram, context)) is not None:
                return stun
            return datagram.whole(layers.RTP)
        if size < 12:
            return datagram.ends_early(layers.RTP)
        kind = data[1] & 0x7F
        inner = kinds.get(kind) or _STATIC.get(kind, 0)
        if not inner:
            context.settle(datagram, layers.RTP, 0xC07F, 0x8000 | kind)
            return datagram.whole(layers.RTP)
        header = 12 + 4 * (data[0] & 15)
        if data[0] & 0x10 and size >= header + 4:
            header += 4 + 4 * int.from_bytes(data[header + 2 : header + 4], "big")
        if header >= size:
            return datagram.whole(layers.RTP)
        return [(layers.RTP, size), (inner, size - header)]

    return rule


REPORTS = (200, 201, 203, 204, 206)  # what may begin a compound packet; BYE, APP and PSFB do in practice


def rtcp_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """Version 2, a report or what passes for one, and a length of whole words."""
    data = datagram.data
    if len(data) < 4 or data[0] >> 6 != 2 or data[1] not in REPORTS or datagram.length % 4:
        return None
    return rtcp_rule(datagram, context)


def rtcp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """A compound packet: each part is a PDU of its own. What follows the last known part (SRTCP's tag) is no layer."""
    data = datagram.data
    if len(data) < 4 or data[0] >> 6 != 2:
        return None
    found: Layers = []
    at, end = 0, len(data)
    while at + 4 <= end and len(found) < 64:
        if data[at] >> 6 != 2:
            if 192 <= data[at + 1] <= 213:
                found += [(layers.RTCP, end - at), (datagram.mark(), 0)]
            break
        if not 192 <= data[at + 1] <= 213:
            break
        size = 4 * (1 + int.from_bytes(data[at + 2 : at + 4], "big"))
        if at + size > end:
            return [*found, (layers.RTCP, end - at), (datagram.mark(), 0)]
        found.append((layers.RTCP, size))
        if not _blocks_fit(data, at):
            return [*found, (datagram.mark(), 0)]
        at += size
    return found


def _blocks_fit(data: bytes, at: int) -> bool:
    """True where the report blocks and sources that a part counts end inside the datagram (RFC 3550 6.4, 6.6)."""
    count, kind = data[at] & 31, data[at + 1]
    needed = {200: 28 + 24 * count, 201: 8 + 24 * count, 203: 4 + 4 * count}.get(kind, 0)
    return at + needed <= len(data)


# -- STUN (RFC 8489 5, RFC 8656 12.4, RFC 3489 11.1) ----------------------------------------------------------------

MAX_STUN_METHOD = 0xFF  # RFC 8489 18.2: the methods that may be assigned
_COOKIE = bytes.fromhex("2112a442")
# Binding, shared secret, and the first TURN drafts' allocate, send, data and set-active-destination.
_CLASSIC_TYPES = (1, 2, 3, 4, 6, 0x101, 0x102, 0x103, 0x104, 0x111, 0x113, 0x114, 0x115, 0x116)


def stun_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Ports 3478 and 5349, and flows that have shown STUN: a message with its cookie, or channel data."""
    data = datagram.data
    if len(data) >= 4 and 0x40 <= data[0] < 0x80 and int.from_bytes(data[2:4], "big") + 4 <= datagram.length:
        rest = len(data) - 4
        return [(layers.STUN, 4), (layers.DATA, rest)] if rest else [(layers.STUN, 4)]
    return stun_heuristic(datagram, context)


def stun_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """A STUN message by its magic cookie, an exact length and a method that may exist."""
    data = datagram.data
    if len(data) < 20 or data[0] >= 0x40 or data[4:8] != _COOKIE:
        return None
    size = int.from_bytes(data[2:4], "big")
    kind = data[0] << 8 | data[1]
    method = kind & 0x0F | (kind & 0xE0) >> 1 | (kind & 0x3E00) >> 2
    if size + 20 != datagram.length or method > MAX_STUN_METHOD:
        return None
    context.claim(datagram, stun_rule)
    return datagram.whole(layers.STUN)


def classic_stun_rule(datagram: Datagram, context: Context) -> Layers | None:
    """STUN of RFC 3489, without cookie: a known type and an exact length."""
    data = datagram.data
    if len(data) < 20 or int.from_bytes(data[2:4], "big") + 20 != datagram.length:
        return None
    if int.from_bytes(data[:2], "big") not in _CLASSIC_TYPES or data[4:8] == _COOKIE:
        return None
    return datagram.whole(layers.CLASSICSTUN)


def h225_rule(datagram: Datagram, context: Context) -> Layers | None:
    """H.225 RAS: Wireshark never refuses on its ports."""
    return datagram.whole(layers.H225)
