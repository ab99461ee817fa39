"""HTTP/1 over TCP (RFC 9112): requests and responses, their bodies by media type, CONNECT and Upgrade.

In: bytes of a connection on an HTTP port, or that begin with a request or status line. Out: an `http` layer per
message, the layers of its body (media_types), `Http` facts, credentials of Basic and form logins, and exploit
shapes in what the client sent. After CONNECT or Upgrade the rest of the connection is dissected as what it became.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from analysis import layers
from analysis.facts import Http
from analysis.named_tuples import NamedTuple
from analysis.patterns import pattern
from analysis.protocols import exploits, http2, logins
from analysis.protocols.media_types import body_layers, picture
from analysis.protocols.pdu import ONE_MORE, UNTIL_FIN, Cut, Dissect, Layer, Pdu

if TYPE_CHECKING:
    from analysis.protocols.streams import Stream

METHODS = frozenset(
    b"""GET PUT POST HEAD DELETE OPTIONS TRACE CONNECT PATCH LINK UNLINK PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK
    POLL BCOPY BMOVE BPROPFIND BPROPPATCH BDELETE MKWORKSPACE REPORT SEARCH MERGE CHECKOUT CHECKIN UNCHECKOUT UPDATE
    LABEL MKACTIVITY VERSION-CONTROL BASELINE-CONTROL NOTIFY M-SEARCH M-POST SUBSCRIBE UNSUBSCRIBE CCM_POST
    RPC_CONNECT RPC_IN_DATA RPC_OUT_DATA SSTP_DUPLEX_POST ANNOUNCE BITS_POST ICY""".split()
)
PROPFIND_LIKE = frozenset((b"PROPFIND", b"PROPPATCH", b"SEARCH"))
LONGEST_HEAD = 65_536
LONGEST_CHUNK_LINE = 4096
HEAD_KEPT = 4096  # bytes of a header section that is remembered until its body is there
SHORTEST_LOOK = 4  # bytes of a cut segment below which no HTTP is shown
LONGEST_BODY = 1 << 20  # bytes unpacked of one body
EMPTY_LINE = pattern(rb"\n\r*\n")
FORM_SECRET = pattern(rb"(?:^|&)(?:pass|passwd|password|pwd|pw|secret)[^=&]{0,20}=[^&]", re.I)
FORM_USER = pattern(rb"(?:^|&)(?:user|username|login|email|name|uid|log)[^=&]{0,20}=([^&]{0,128})", re.I)


class Head(NamedTuple):
    """Start line and the fields of a header section that matter here."""

    size: int  # bytes up to and including the empty line
    first: bytes
    fields: dict[bytes, bytes]  # lower-case names; of repeated fields the last one


class Message(NamedTuple):
    """A request (status 0) or response (method empty)."""

    method: bytes
    uri: bytes
    status: int


def start_line(line: bytes) -> Message | None:
    """Parse a request or status line; None where it is neither."""
    if line.startswith((b"HTTP/", b"ICY ")):
        parts = line.split(b" ", 2)
        digits = parts[1][:3] if len(parts) > 1 else b""
        return Message(b"", b"", int(digits) if digits.isdigit() else -1)
    method, space, rest = line.partition(b" ")
    if space and method in METHODS:
        return Message(method, rest.split(b" ")[0], 0)
    return None


def looks_like_http(data: bytes) -> bool:
    """The first line is a status line, or a request line that names its version (as Wireshark's heuristic wants)."""
    end = data.find(b"\n", 0, LONGEST_HEAD)
    line = data[: end if end >= 0 else LONGEST_HEAD].rstrip(b"\r")
    return line.startswith(b"HTTP/1.") or line[-8:-1] == b"HTTP/1."


def head(data: bytes) -> Head | None:
    """The header section at the start of `data`; None where its empty line is not there."""
    empty = EMPTY_LINE.search(data, 0, LONGEST_HEAD)
    if empty is None:
        return None
    lines = data[: empty.start()].split(b"\n")
    fields: dict[bytes, bytes] = {}
    last = b""
    for line in lines[1:]:
        if line[0] in b" \t" and last:
            fields[last] += b" " + line.strip()
            continue
        name, colon, value = line.partition(b":")
        if colon:
            last = name.strip().lower()
            fields[last] = value.strip()
    return Head(empty.end(), lines[0].rstrip(b"\r"), fields)


def dissect(pdu: Pdu) -> bool:
    """Dissect one or several messages; refuses what cannot be HTTP. Of a cut segment no body is shown."""
    if pdu.whole or len(pdu.data) == pdu.length or pdu.stream.state.get("http_switched") is not None:
        return _dissect(pdu)
    kept = len(pdu.layers)
    try:
        if not _dissect(pdu):
            return False
    except Cut:
        if len(pdu.data) < SHORTEST_LOOK:
            raise
    else:
        if len(pdu.layers) == kept:
            return True
    pdu.layers[kept:] = [(layers.HTTP, len(pdu.data)), (layers.SHORT, 0)]
    return True


def _dissect(pdu: Pdu) -> bool:
    state = pdu.stream.state
    if http2.starts(pdu.data):
        pdu.stream.dissector = http2.dissect
        return http2.dissect(pdu)
    switched: Dissect | None = state.get("http_switched")
    at = 0
    while at < pdu.length:
        if switched is None:
            switched = state.get("http_switched")
        if switched is not None and state.get("http_switched_from", 0) <= pdu.number:
            return _hand_over(pdu, at, switched)
        used = _message(pdu, at)
        if used == 0:
            return True
        at += used
    return True


def _hand_over(pdu: Pdu, at: int, dissector: Dissect) -> bool:
    """The connection is no longer HTTP: the layer stays where the switch was made by CONNECT."""
    if pdu.stream.state.get("http_connect"):
        pdu.add(layers.HTTP, len(pdu.data) - at)
    inner = pdu.part(at)
    inner.whole = pdu.whole
    if not dissector(inner):
        inner.add(layers.DATA)
    if inner.more:
        pdu.wish(at + inner.more_from, inner.more)
    return True


def _message(pdu: Pdu, at: int) -> int:
    """One message at `at`, or bytes that begin none: how many were used, 0 where more are wished for."""
    lead = 2 if pdu.length - at > 3 and pdu.data[at : at + 2] == b"\r\n" else 0  # RFC 9112 2.2: ignored
    at += lead
    data = pdu.data[at:] if at else pdu.data
    left = pdu.length - at
    if not data:
        raise Cut
    if not 0x20 <= data[0] < 0x7F:
        return lead + _hidden(pdu, len(data), left)
    end, following = _line_end(data, 0)
    if end < 0 or (following == end + 1 == len(data) and data[end] == 0x0D):
        if pdu.whole and left < LONGEST_HEAD:
            pdu.wish(at, ONE_MORE)
            return 0
        if pdu.whole:  # Wireshark waits without end
            return lead + _hidden(pdu, len(data), left)
    line = data[:end] if end >= 0 else data
    used = _section(pdu, at, data, left, line)
    return lead + used if used else 0


def _line_end(data: bytes, at: int) -> tuple[int, int]:
    """(end of the line at `at`, start of the next): a CR, an LF or both in this order end it; (-1, -1) if none does."""
    feed = data.find(b"\n", at, at + LONGEST_HEAD)
    turn = data.find(b"\r", at, feed if feed >= 0 else at + LONGEST_HEAD)
    if turn >= 0:
        return turn, turn + (2 if turn + 1 == feed else 1)
    return (feed, feed + 1) if feed >= 0 else (-1, -1)


def _section(pdu: Pdu, at: int, data: bytes, left: int, line: bytes) -> int:
    """As `_message`, for bytes that begin with a printable `line`."""
    message = start_line(line)
    if message is None:
        return _lines(pdu, at, data, left)
    section = _known_head(pdu, data) or head(data)
    if section is None:
        if pdu.whole and len(data) == left:
            pdu.wish(at, ONE_MORE)
            return 0
        pdu.add(layers.HTTP, len(data))
        _remember(pdu, message, Head(len(data), line, _loose_fields(data)), b"")
        return left
    size = _body_size(pdu, message, section, data, left, at)
    if size < 0:
        if section.size <= HEAD_KEPT:
            pdu.stream.state["http_head", pdu.direction] = data[: section.size], section
        return 0
    body = data[section.size : section.size + size]
    there = left if pdu.whole else len(data)  # of a long unit only the beginning was kept, but all of it was there
    inner = _body(section, body)
    if pdu.whole and len(body) < size:
        inner = [(layer, size if own == len(body) else own) for layer, own in inner]
    known = bool(inner) and inner[0][0] != layers.MEDIA
    end = at + section.size  # Wireshark counts from the start of the unit, and where it knows no body to its end
    pdu.add(layers.HTTP, min(end, there) if known else there)
    _remember(pdu, message, section, body)
    pdu.layers += inner
    return section.size + size


def _known_head(pdu: Pdu, data: bytes) -> Head | None:
    """The header section that was read before its body was there."""
    kept = pdu.stream.state.pop(("http_head", pdu.direction), None)
    return kept[1] if kept is not None and data.startswith(kept[0]) else None


def _loose_fields(data: bytes) -> dict[bytes, bytes]:
    """Fields of a header section that is cut."""
    found = head(data + b"\n\n")
    return found.fields if found else {}


def _hidden(pdu: Pdu, size: int, left: int) -> int:
    """Bytes that are no text: HTTP behind a request, else nothing is shown (as Wireshark does)."""
    if "http_seen" in pdu.stream.state:
        pdu.add(layers.HTTP, size)
    else:
        pdu.stream.silent += 1
    return left


def _lines(pdu: Pdu, at: int, data: bytes, left: int) -> int:
    """Bytes that begin no message are HTTP where Wireshark takes their first lines for header fields: it asks for a colon.

    A last line without one, behind header fields, is malformed. Nothing is shown where no line is a field.
    """
    if len(data) < left and data.isascii():
        raise Cut
    fields: dict[bytes, bytes] = {}
    where, size = 0, -1
    while where < len(data):
        end, following = _line_end(data, where)
        if end < 0:
            end = following = len(data)
        line = data[where:end]
        if where and start_line(line) is not None:
            pdu.add(layers.HTTP, where)
            return where
        name, colon, value = line.partition(b":")
        if not line:
            where, size = following, len(data)
            break
        if not colon:
            if fields and end == len(data):
                pdu.add(layers.HTTP, len(data))
                raise pdu.fail(at + end + 1)
            break
        fields[name.strip().lower()] = value.strip()
        where, size = following, len(data)
    if size < 0:
        return _hidden(pdu, len(data), left)
    section = Head(where, b"", fields)
    length = fields.get(b"content-length", b"")
    rest = left - where
    if length.isdigit() and len(length) < 19 and b"transfer-encoding" not in fields:
        rest = min(rest, int(length))
    inner = _body(section, data[where : where + rest])
    known = bool(inner) and inner[0][0] != layers.MEDIA
    pdu.add(layers.HTTP, at + where if known else size)
    pdu.layers += inner
    return where + rest


def takes_all(stream: Stream) -> bool:
    """Is this dissector the first that is asked? It refuses nothing, so nobody else ever is."""
    first = stream.dissector or (stream.candidates[0] if stream.candidates else None)
    return first is dissect and "http_switched" not in stream.state


def _body_size(pdu: Pdu, message: Message, section: Head, data: bytes, left: int, at: int) -> int:
    """Length of the body; -1 where the stream was asked for more (RFC 9112 6.3)."""
    rest = left - section.size
    state = pdu.stream.state
    if message.status:
        method = state.get("http_method", b"")
        if method == b"HEAD" or 100 <= message.status < 200 or message.status in (204, 304):
            return 0
        if method == b"CONNECT" and 200 <= message.status < 300:
            return 0
    if b"chunked" in section.fields.get(b"transfer-encoding", b"").lower():
        return _chunked_size(pdu, section, data, left, at)
    length = section.fields.get(b"content-length", b"")
    if length.isdigit() and len(length) < 19:
        size = int(length)
        if size > rest and pdu.whole:
            pdu.wish(at, size - rest)
            return -1
        return min(size, rest)
    if message.status and pdu.whole and not pdu.frame_end:
        if b"content-type" in section.fields or rest:
            pdu.wish(at, UNTIL_FIN)
            return -1
    return rest if message.status or rest == 0 else 0


def _chunked_size(pdu: Pdu, section: Head, data: bytes, left: int, at: int) -> int:
    """Walk the chunks (RFC 9112 7.1) to the end of the trailer section."""
    where = max(pdu.look - at, section.size)
    while True:
        text, base = _window(pdu, data, at, where)
        end = text.find(b"\n", where - base, where - base + LONGEST_CHUNK_LINE)
        if end < 0:
            break
        digits = text[where - base : end].split(b";")[0].strip()
        try:
            size = int(digits, 16)
        except ValueError:
            return left - section.size
        if size == 0:
            return _trailer_end(pdu, text, base, end + 1 + base, left, at, where, section)
        behind = end + 1 + base + size + 2
        if behind > left:
            if pdu.whole:
                pdu.wish(at, ONE_MORE, behind - left, at + behind)
                return -1
            return left - section.size
        where = behind
    if pdu.whole:
        pdu.wish(at, ONE_MORE, 0, at + where)
        return -1
    return left - section.size


def _window(pdu: Pdu, data: bytes, at: int, where: int) -> tuple[bytes, int]:
    """(bytes, the offset in the message at which they begin) that hold what stands at `where`, if anything does."""
    return (pdu.tail, pdu.look - at) if pdu.tail and where >= pdu.look - at else (data, 0)


def _trailer_end(pdu: Pdu, text: bytes, base: int, where: int, left: int, start: int, last: int, section: Head) -> int:
    """Size of the body with its trailer section, which begins at `where`; `last` is the size line of the last chunk."""
    while True:
        end = text.find(b"\n", where - base)
        if end < 0:
            if pdu.whole:
                pdu.wish(start, ONE_MORE, 0, start + last)
                return -1
            return left - section.size
        if end + base - where <= 1:
            return end + base + 1 - section.size
        where = end + base + 1


def dechunk(body: bytes) -> bytes:
    """The content of a chunked body, as far as it is there."""
    out = bytearray()
    at = 0
    while True:
        end = body.find(b"\n", at, at + 4096)
        if end < 0:
            return bytes(out)
        try:
            size = int(body[at:end].split(b";")[0].strip(), 16)
        except ValueError:
            return bytes(out)
        if size <= 0:
            return bytes(out)
        out += body[end + 1 : end + 1 + size]
        at = end + 1 + size + 2


def unpack(body: bytes, encoding: bytes) -> bytes:
    """Undo gzip or deflate, at most LONGEST_BODY bytes; the body itself where that fails."""
    word = encoding.lower()
    if b"gzip" in word:
        windows: tuple[int, ...] = (31,)
    elif b"deflate" in word:
        windows = (15, -15)
    else:
        return body
    for bits in windows:
        try:
            return zlib.decompressobj(bits).decompress(body, LONGEST_BODY)
        except zlib.error:
            continue
    return body


def _body(section: Head, body: bytes) -> list[Layer]:
    """The layers of a message's body. One without a type, and one that cannot be unpacked, is shown inside HTTP."""
    if b"chunked" in section.fields.get(b"transfer-encoding", b"").lower():
        body = dechunk(body)
    encoding = section.fields.get(b"content-encoding", b"")
    plain = unpack(body, encoding)
    if not plain or (plain is body and encoding and encoding.lower() not in (b"identity", b"")):
        return []
    kind = section.fields.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    found = body_layers(kind, plain) if kind else []
    if not found or found[0][0] == layers.MEDIA:
        return picture(plain) or found
    return found


def heuristic(pdu: Pdu) -> bool:
    """Dissect as HTTP if the first line is one; the conversation is HTTP from then on."""
    if not looks_like_http(pdu.data):
        return False
    pdu.stream.dissector = dissect
    return dissect(pdu)


# ---------------------------------------------------------------------------------------------------- facts


def _remember(pdu: Pdu, message: Message, section: Head, body: bytes) -> None:
    """Keep what the message says: facts, and what the peer's next message needs to know."""
    state = pdu.stream.state
    fields = section.fields
    if message.status == 0:
        state["http_method"] = message.method
        state["http_seen"] = True
    elif message.status == 101 or (state.get("http_method") == b"CONNECT" and 200 <= message.status < 300):
        _switch(pdu, message, fields)
    length = fields.get(b"content-length", b"")
    others = b"\n".join(name + b": " + value for name, value in fields.items()) if message.status == 0 else b""
    _judge(pdu, message, fields, others, body)
    pdu.stream.facts.add(
        "http",
        Http(
            pdu.number,
            pdu.time_ns,
            pdu.stream.flow,
            _text(message.method),
            _text(message.uri),
            _text(fields.get(b"host", b"")),
            _text(fields.get(b"user-agent", b"")),
            message.status,
            _text(fields.get(b"content-type", b"")),
            int(length) if length.isdigit() and len(length) < 19 else -1,
            body[:512] if message.status == 0 else b"",
            _text(others),
        ),
    )


def _judge(pdu: Pdu, message: Message, fields: dict[bytes, bytes], others: bytes, body: bytes) -> None:
    """Credentials and attack shapes of a request, the verdict of a response on a login."""
    if message.status:
        if "login" in pdu.stream.state:
            logins.settle(pdu, message.status not in (401, 403, 407))
        return
    for name in (b"authorization", b"proxy-authorization"):
        scheme, _, blob = fields.get(name, b"").partition(b" ")
        if scheme.lower() == b"basic":
            logins.pending(pdu, "http", logins.text(logins.base64_text(blob).split(b":")[0]), True)
    if message.method == b"POST" and b"urlencoded" in fields.get(b"content-type", b"").lower():
        secret = FORM_SECRET.search(body[:4096])
        if secret:
            user = FORM_USER.search(body[:4096])
            logins.pending(pdu, "http", exploits.percent_decoded(logins.text(user[1])) if user else "", True)
    exploits.web(pdu, _text(message.uri), _text(others), _text(body[:4096]))


def _switch(pdu: Pdu, message: Message, fields: dict[bytes, bytes]) -> None:
    state = pdu.stream.state
    if message.status == 101:
        upgrade = fields.get(b"upgrade", b"").lower()
        dissector = pdu.stream.shared.upgrade(upgrade.decode("latin-1"))
        if dissector is None:
            return
        state["http_switched"] = dissector
    else:
        state["http_switched"] = pdu.stream.shared.guess
        state["http_connect"] = True
    state["http_switched_from"] = pdu.number


def _text(value: bytes) -> str:
    return value[:2048].decode("utf-8", "replace")
