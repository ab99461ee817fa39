"""TLS handshake messages: what a ClientHello offers, what a ServerHello chose, whose certificate was shown.

In: the bytes of one handshake message, its four-byte header included, as reassembled from TLS records, DTLS fragments or
QUIC CRYPTO frames (RFC 8446 4, RFC 5246 7.4). Out: named tuples, and the fingerprints JA3 and JA4 (FoxIO's JA4 client
fingerprint, BSD licence). Pure functions on bytes: whatever a peer sent, they return None or a partial answer, and
never raise. This file knows no packet, no record layer and no flow.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache

from analysis.named_tuples import NamedTuple

CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE = 1, 2, 8, 11  # RFC 8446 4, HandshakeType

# Extension types read here (IANA "TLS ExtensionType Values").
SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, HEARTBEAT, ALPN, VERSIONS = 0, 10, 11, 13, 15, 16, 43

MAX_CERTIFICATE_BYTES = 65_536  # a certificate is 1-4 kB; what is larger is not walked
CERTIFICATES_KEPT = 128  # servers show the same one again and again
MAX_NAME_CHARACTERS = 512  # of a subject, an issuer or a server name kept

HELLO_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446 4.1.3


class ClientHello(NamedTuple):
    """What a client offers. Lists are in wire order with GREASE values (RFC 8701) left in."""

    legacy_version: int  # the field in the message, 0x0303 for TLS 1.2 and 1.3
    version: int  # highest offered: supported_versions, else the legacy field
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...]
    point_formats: tuple[int, ...]
    signature_algorithms: tuple[int, ...]
    versions: tuple[int, ...]
    sni: str
    alpn: tuple[str, ...]
    alpn_first: bytes
    dtls: bool
    complete: bool  # False: the capture cut the message; fingerprints would be wrong


class ServerHello(NamedTuple):
    """What a server chose."""

    version: int  # supported_versions, else the legacy field
    cipher: int
    alpn: str
    retry: bool  # a HelloRetryRequest (RFC 8446 4.1.4)


class Certificate(NamedTuple):
    """The first certificate of a chain (RFC 5280 4.1). Times are Unix seconds, 0 unknown."""

    subject: str
    issuer: str
    not_before: int
    not_after: int
    self_signed: bool  # subject and issuer are the same bytes
    key_bits: int  # RSA modulus length, 0 for other keys
    names: tuple[str, ...]  # DNS names of the subject alternative name extension


class _Cut(Exception):
    """The message ends before a field does."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole handshake messages in `data` as (type, bytes with header); stops at the first incomplete one."""
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if end > len(data):
            return
        yield data[at], data[at:end]
        at = end


GREASE = frozenset(0x0A0A + 0x1010 * k for k in range(16))  # 0x0a0a, 0x1a1a … 0xfafa (RFC 8701)


def _numbers(data: bytes) -> tuple[int, ...]:
    """The 16-bit words of a list; an odd byte at its end is left out."""
    return struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1])


def _text(data: bytes) -> str:
    return data[:MAX_NAME_CHARACTERS].decode("utf-8", "replace")


def _server_name(body: bytes) -> str:
    """The first host_name of a server_name extension (RFC 6066 3)."""
    at, end = 2, min(len(body), 2 + int.from_bytes(body[:2], "big"))
    while at + 3 <= end:
        size = int.from_bytes(body[at + 1 : at + 3], "big")
        if body[at] == 0:
            return _text(body[at + 3 : min(at + 3 + size, end)])
        at += 3 + size
    return ""


def _protocols(body: bytes) -> list[bytes]:
    """The names of an ALPN extension (RFC 7301 3.1)."""
    names: list[bytes] = []
    at, end = 2, min(len(body), 2 + int.from_bytes(body[:2], "big"))
    while at < end and len(names) < 64:
        size = body[at]
        names.append(body[at + 1 : min(at + 1 + size, end)])
        at += 1 + size
    return names


def _behind(data: bytes, at: int, width: int, end: int) -> int:
    """Where a field ends whose length stands in `width` bytes at `at`. Raises _Cut where that is behind `end`."""
    if at + width > end:
        raise _Cut
    at += width + int.from_bytes(data[at : at + width], "big")
    if at > end:
        raise _Cut
    return at


def _extensions(data: bytes, at: int, end: int, found: list[tuple[int, bytes | None]]) -> bool:
    """Append (type, content) of the extensions whose list begins at `at`; returns whether all are there.

    The content of one that ends behind `end` is None.
    """
    if at == end:
        return True
    if at + 2 > end:
        return False
    last = min(at + 2 + (data[at] << 8 | data[at + 1]), end)
    at += 2
    while at + 4 <= last:
        kind, body = data[at] << 8 | data[at + 1], at + 4
        at = body + (data[at + 2] << 8 | data[at + 3])
        if at > end:
            found.append((kind, None))
            return False
        found.append((kind, data[body:at]))
    return True


def client_hello(data: bytes) -> ClientHello | None:
    """Read a ClientHello message; None if it is none or is cut before its cipher suites end."""
    if len(data) < 6 or data[0] != CLIENT_HELLO:
        return None
    whole = 4 + int.from_bytes(data[1:4], "big")
    end = min(whole, len(data))
    legacy, dtls = data[4] << 8 | data[5], data[4] == 0xFE
    try:
        at = _behind(data, 38, 1, end)  # session id, behind version and random
        if dtls:
            at = _behind(data, at, 1, end)  # cookie (RFC 6347 4.2.1)
        start, at = at + 2, _behind(data, at, 2, end)
        ciphers = _numbers(data[start:at])
    except _Cut:
        return None
    if not (legacy >> 8 == 3 or legacy >> 8 == 0xFE or legacy == 2):
        return None
    listed: list[tuple[int, bytes | None]] = []
    try:
        complete = _extensions(data, _behind(data, at, 1, end), end, listed) and whole <= len(data)
    except _Cut:  # in the compression methods
        complete = False
    found = {kind: body for kind, body in reversed(listed) if body is not None}  # of repeats the first
    versions = _numbers(found.get(VERSIONS, b"")[1:])
    real = [v for v in versions if v not in GREASE]
    alpn = _protocols(found.get(ALPN, b""))
    best = (min(real) if dtls else max(real)) if real else legacy
    return ClientHello(
        legacy_version=legacy,
        version=best,
        ciphers=ciphers,
        extensions=tuple([kind for kind, _ in listed]),
        groups=_numbers(found.get(GROUPS, b"")[2:]),
        point_formats=tuple(found.get(POINT_FORMATS, b"")[1:]),
        signature_algorithms=_numbers(found.get(SIGNATURE_ALGORITHMS, b"")[2:]),
        versions=versions,
        sni=_server_name(found.get(SERVER_NAME, b"")),
        alpn=tuple([_text(name) for name in alpn]),
        alpn_first=alpn[0] if alpn else b"",
        dtls=dtls,
        complete=complete,
    )


def server_hello(data: bytes) -> ServerHello | None:
    """Read a ServerHello message; None if it is none or is cut before its cipher suite ends."""
    if len(data) < 6 or data[0] != SERVER_HELLO:
        return None
    end = min(4 + int.from_bytes(data[1:4], "big"), len(data))
    version = data[4] << 8 | data[5]
    if end < 6 or (version >> 8 not in (3, 0xFE) and not 0x7F00 <= version <= 0x7FFF):
        return None
    listed: list[tuple[int, bytes | None]] = []
    try:
        # drafts up to 21 have no session id
        at = 38 if 0x7F00 <= version <= 0x7F15 else _behind(data, 38, 1, end)
        if at + 2 > end:
            return None
    except _Cut:
        return None
    cipher, at = data[at] << 8 | data[at + 1], at + 3  # behind the compression method
    if at < end:
        _extensions(data, at, end, listed)
    alpn = ""
    for kind, body in listed:
        if body is None:
            continue
        if kind == VERSIONS and len(body) == 2:
            version = body[0] << 8 | body[1]
        elif kind == ALPN:
            names = _protocols(body)
            alpn = _text(names[0]) if names else ""
    return ServerHello(version, cipher, alpn, data[6:38] == HELLO_RETRY_RANDOM)


def agreed(data: bytes) -> str:
    """The application protocol that an EncryptedExtensions message names (RFC 8446 4.3.1), or nothing."""
    listed: list[tuple[int, bytes | None]] = []
    _extensions(data, 4, len(data), listed)
    names = next((_protocols(body) for kind, body in listed if kind == ALPN and body), [])
    return _text(names[0]) if names else ""


# -- fingerprints --------------------------------------------------------------------------------------------------


def ja3(hello: ClientHello) -> str:
    """The JA3 digest (salesforce/ja3): MD5 over version, ciphers, extensions, groups, point formats without GREASE."""
    if not hello.complete:
        return ""
    lists = (hello.ciphers, hello.extensions, hello.groups, hello.point_formats)
    parts = [str(hello.legacy_version)]
    parts += ["-".join(str(v) for v in values if v not in GREASE) for values in lists]
    return hashlib.md5(",".join(parts).encode(), usedforsecurity=False).hexdigest()


_JA4_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}


def _digest12(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "000000000000"


def _ja4_alpn(first: bytes) -> str:
    """First and last character of the first protocol name; its hex digits where they are not alphanumeric."""
    if not first:
        return "00"
    ends = chr(first[0]) + chr(first[-1])
    if ends.isascii() and ends.isalnum():
        return ends
    return first.hex()[0] + first.hex()[-1]


def ja4(hello: ClientHello, transport: str = "t") -> str:
    """The JA4 fingerprint (FoxIO, technical_details/JA4.md); `transport` is t for TCP, q for QUIC, d for DTLS."""
    if not hello.complete:
        return ""
    ciphers = sorted(f"{v:04x}" for v in hello.ciphers if v not in GREASE)
    extensions = [v for v in hello.extensions if v not in GREASE]
    hashed = sorted(f"{v:04x}" for v in extensions if v not in (SERVER_NAME, ALPN))
    algorithms = ",".join(f"{v:04x}" for v in hello.signature_algorithms if v not in GREASE)
    head = (
        transport
        + _JA4_VERSIONS.get(hello.version, "00")
        + ("d" if SERVER_NAME in hello.extensions else "i")
        + f"{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}"
        + _ja4_alpn(hello.alpn_first)
    )
    tail = ",".join(hashed)
    if tail and algorithms:
        tail += "_" + algorithms
    return f"{head}_{_digest12(','.join(ciphers))}_{_digest12(tail)}"


# -- certificates --------------------------------------------------------------------------------------------------


def certificate(data: bytes) -> Certificate | None:
    """Read the first certificate of a Certificate message (TLS 1.2 and older); None if there is none to read."""
    if len(data) < 10 or data[0] != CERTIFICATE:
        return None
    size = int.from_bytes(data[7:10], "big")
    return x509(data[10 : 10 + size])


@lru_cache(maxsize=CERTIFICATES_KEPT)
def x509(der: bytes) -> Certificate | None:
    """Walk the fields of an X.509 certificate (RFC 5280 4.1) that findings need; None if it is not one or is cut."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return None
    try:
        return _walk_certificate(der)
    except (_Cut, ValueError, IndexError):
        return None


def _element(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """One DER element at `at`: (tag, start of its content, end of its content). Raises _Cut."""
    if at + 2 > end:
        raise _Cut
    tag, size, start = data[at], data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if count == 0 or count > 4 or start + count > end:
            raise _Cut
        size = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + size > end:
        raise _Cut
    return tag, start, start + size


def _children(data: bytes, start: int, end: int, limit: int = 256) -> Iterator[tuple[int, int, int]]:
    while start < end and limit:
        tag, inner, start = _element(data, start, end)
        yield tag, inner, start
        limit -= 1


def _walk_certificate(der: bytes) -> Certificate | None:
    tag, start, end = _element(der, 0, len(der))
    tbs_tag, tbs, tbs_end = _element(der, start, end)
    if tag != 0x30 or tbs_tag != 0x30:
        return None
    fields = list(_children(der, tbs, tbs_end))
    if fields and fields[0][0] == 0xA0:  # explicit version
        fields = fields[1:]
    if len(fields) < 6:
        return None
    _serial, _algorithm, issuer, validity, subject, key = fields[:6]
    times = [_time(der[a:b], t) for t, a, b in _children(der, validity[1], validity[2])]
    not_before, not_after = (*times, 0, 0)[:2]
    names: tuple[str, ...] = ()
    for kind, a, b in fields[6:]:
        if kind == 0xA3:  # extensions
            names = _alternative_names(der, a, b)
    return Certificate(
        subject=_name(der, subject[1], subject[2]),
        issuer=_name(der, issuer[1], issuer[2]),
        not_before=not_before,
        not_after=not_after,
        self_signed=der[subject[1] : subject[2]] == der[issuer[1] : issuer[2]],
        key_bits=_rsa_bits(der, key[1], key[2]),
        names=names,
    )


_ATTRIBUTES = {3: "CN", 6: "C", 7: "L", 8: "ST", 10: "O", 11: "OU"}  # 2.5.4.x (RFC 4519)


def _string(data: bytes, tag: int) -> str:
    if tag == 0x1E:  # BMPString
        return data.decode("utf-16-be", "replace")
    return data.decode("utf-8", "replace")


def _name(der: bytes, start: int, end: int) -> str:
    """A distinguished name as `CN=…,O=…`, in the order of the certificate; unknown attributes are left out."""
    parts = []
    for _, set_start, set_end in _children(der, start, end, 32):
        for _, pair, pair_end in _children(der, set_start, set_end, 4):
            pieces = list(_children(der, pair, pair_end, 3))
            if len(pieces) < 2:
                continue
            oid = der[pieces[0][1] : pieces[0][2]]
            if len(oid) == 3 and oid[:2] == b"\x55\x04" and oid[2] in _ATTRIBUTES:
                parts.append(f"{_ATTRIBUTES[oid[2]]}={_string(der[pieces[1][1] : pieces[1][2]], pieces[1][0])}")
    return ",".join(parts)[:MAX_NAME_CHARACTERS]


def _time(text: bytes, tag: int) -> int:
    """UTCTime (two-digit year, 50 is 1950) or GeneralizedTime as Unix seconds; 0 where it is neither."""
    digits = text.rstrip(b"Z")
    if tag == 0x17 and len(digits) >= 10 and digits.isdigit():
        year = int(digits[:2])
        digits = (b"19" if year >= 50 else b"20") + digits
    if len(digits) < 12 or not digits[:12].isdigit():
        return 0
    second = int(digits[12:14]) if digits[12:14].isdigit() else 0
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    if not (1 <= month <= 12 and 1 <= day <= 31 and year >= 1):
        return 0
    from calendar import timegm  # certificates alone have dates

    return timegm((year, month, day, int(digits[8:10]), int(digits[10:12]), second))


def _rsa_bits(der: bytes, start: int, end: int) -> int:
    """Bits of the modulus of an rsaEncryption key (RFC 3279 2.3.1), 0 for other keys."""
    algorithm, key = list(_children(der, start, end, 2))
    oid = _element(der, algorithm[1], algorithm[2])
    if der[oid[1] : oid[2]] != bytes.fromhex("2a864886f70d010101"):
        return 0
    pair = _element(der, key[1] + 1, key[2])  # behind the count of unused bits
    modulus = _element(der, pair[1], pair[2])
    return int.from_bytes(der[modulus[1] : modulus[2]], "big").bit_length()


def _alternative_names(der: bytes, start: int, end: int) -> tuple[str, ...]:
    """DNS names of subjectAltName (RFC 5280 4.2.1.6), at most 64."""
    names: list[str] = []
    _, inner, inner_end = _element(der, start, end)
    for _, extension, extension_end in _children(der, inner, inner_end):
        parts = list(_children(der, extension, extension_end, 3))
        if len(parts) < 2 or der[parts[0][1] : parts[0][2]] != b"\x55\x1d\x11":
            continue
        _, listed, listed_end = _element(der, parts[-1][1], parts[-1][2])
        for tag, a, b in _children(der, listed, listed_end, 64):
            if tag == 0x82:
                names.append(_text(der[a:b]))
    return tuple(names)
