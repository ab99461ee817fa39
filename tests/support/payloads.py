"""What hosts say in the scenes of tests/cases: DNS, HTTP, TLS, DHCP, SMB, DCE/RPC and others, made byte by byte."""

from __future__ import annotations

import datetime
import functools
import socket
import struct

# ---- DNS (RFC 1035 4.1)

A, NS, CNAME, NULL, PTR, MX, TXT, AAAA, SIG, AXFR, ANY = 1, 2, 5, 10, 12, 15, 16, 28, 24, 252, 255
NXDOMAIN = 3


def dns_name(name: str) -> bytes:
    """A name as labels."""
    return b"".join(bytes((len(part),)) + part.encode() for part in name.split(".") if part) + b"\0"


def dns_query(name: str, kind: int = A, id: int = 0x1234) -> bytes:
    """One question."""
    return struct.pack(">HHHHHH", id, 0x0100, 1, 0, 0, 0) + dns_name(name) + struct.pack(">HH", kind, 1)


def dns_data(kind: int, value: str | bytes) -> bytes:
    """The data of one record."""
    if isinstance(value, bytes):
        return value
    if kind == A:
        return socket.inet_aton(value)
    if kind == AAAA:
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == TXT:
        text = value.encode()
        return b"".join(bytes((len(text[i : i + 255]),)) + text[i : i + 255] for i in range(0, len(text) or 1, 255))
    if kind == MX:
        return b"\0\x0a" + dns_name(value)
    return dns_name(value)


def dns_answer(name: str, kind: int, values: tuple[str | bytes, ...] = (), id: int = 0x1234, rcode: int = 0, ttl: int = 300, flags: int = 0x8180) -> bytes:  # fmt: skip
    """The answer to one question; records point to the question's name."""
    out = struct.pack(">HHHHHH", id, flags | rcode, 1, len(values), 0, 0) + dns_name(name) + struct.pack(">HH", kind, 1)
    for value in values:
        data = dns_data(kind, value)
        out += struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(data)) + data
    return out


def dns_alias(name: str, alias: str, id: int = 0x1234) -> bytes:
    """A question for an address, answered by another name only."""
    answer = bytearray(dns_answer(name, CNAME, (alias,), id, ttl=0))
    at = 12 + len(dns_name(name))
    answer[at : at + 2] = A.to_bytes(2, "big")
    return bytes(answer)


def llmnr_answer(name: str, address: str, id: int = 7) -> bytes:
    """An LLMNR answer repeats the name (RFC 4795 2.1)."""
    return dns_answer(name, A, (address,), id, flags=0x8000, ttl=30)


def nbns_name(name: str, suffix: int = 0) -> bytes:
    """A NetBIOS name in first level encoding (RFC 1001 14.1)."""
    padded = name.upper().ljust(15).encode() + bytes((suffix,))
    return b"\x20" + b"".join(bytes((0x41 + (c >> 4), 0x41 + (c & 15))) for c in padded) + b"\0"


def nbns_query(name: str, id: int = 9) -> bytes:
    """Who has this name?"""
    return struct.pack(">HHHHHH", id, 0x0110, 1, 0, 0, 0) + nbns_name(name) + struct.pack(">HH", 32, 1)


def nbns_answer(name: str, address: str, id: int = 9) -> bytes:
    """A positive name query response (RFC 1002 4.2.13)."""
    body = struct.pack(">HHIH", 32, 1, 300, 6) + b"\0\0" + socket.inet_aton(address)
    return struct.pack(">HHHHHH", id, 0x8500, 0, 1, 0, 0) + nbns_name(name) + body


# ---- HTTP (RFC 9112)

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"


def request(uri: str = "/", host: str = "www.example.org", method: str = "GET", agent: str = BROWSER, headers: str = "", body: bytes = b"") -> bytes:  # fmt: skip
    """A request; an empty host or agent leaves the header out."""
    lines = f"{method} {uri} HTTP/1.1\r\n" + (f"Host: {host}\r\n" if host else "")
    lines += f"User-Agent: {agent}\r\n" if agent else ""
    lines += f"Content-Length: {len(body)}\r\n" if body else ""
    return (lines + headers + "\r\n").encode() + body


def response(status: int = 200, body: bytes = b"<html></html>", kind: str = "text/html", headers: str = "") -> bytes:
    """A response."""
    words = {200: "OK", 301: "Moved", 302: "Found", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}
    head = f"HTTP/1.1 {status} {words.get(status, 'Some')}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return (head + headers + "\r\n").encode() + body


PROGRAM = b"MZ\x90\0" + bytes(60) + b"\x0e\x1f\xba\x0e\0\xb4\t\xcd!This program cannot be run in DOS mode.\r\r\n$" + bytes(300)  # fmt: skip


# ---- TLS (RFC 5246 7.4, RFC 8446 4.1)


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    """One record."""
    return struct.pack(">BHH", kind, version, len(body)) + body


def handshake(kind: int, body: bytes) -> bytes:
    """One handshake message."""
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    """One extension."""
    return struct.pack(">HH", kind, len(body)) + body


def client_hello(sni: str = "", version: int = 0x0303, ciphers: tuple[int, ...] = (0xC02F, 0xC030, 0x009C), tls13: bool = False, salt: bytes = bytes(32)) -> bytes:  # fmt: skip
    """A ClientHello in its record."""
    extensions = b""
    if sni:
        name = sni.encode()
        extensions += extension(0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name)
    extensions += extension(10, struct.pack(">HHH", 4, 29, 23)) + extension(11, b"\x01\0")
    if tls13:
        extensions += extension(43, b"\x04\x03\x04\x03\x03")
    suites = b"".join(struct.pack(">H", one) for one in ((0x1301, *ciphers) if tls13 else ciphers))
    body = struct.pack(">H", version) + salt + b"\0" + struct.pack(">H", len(suites)) + suites + b"\x01\0"
    return record(22, handshake(1, body + struct.pack(">H", len(extensions)) + extensions), 0x0301)


def server_hello(version: int = 0x0303, cipher: int = 0xC02F, tls13: bool = False) -> bytes:
    """A ServerHello in its record."""
    extensions = extension(43, b"\x03\x04") if tls13 else extension(65281, b"\0")
    body = struct.pack(">H", version) + b"\x55" * 32 + b"\0" + struct.pack(">HB", 0x1301 if tls13 else cipher, 0)
    return record(22, handshake(2, body + struct.pack(">H", len(extensions)) + extensions), version)


def certificate(der: bytes, version: int = 0x0303) -> bytes:
    """A Certificate message with one certificate, and ServerHelloDone."""
    chain = len(der).to_bytes(3, "big") + der
    done = handshake(14, b"")
    return record(22, handshake(11, len(chain).to_bytes(3, "big") + chain) + done, version)


@functools.cache
def made_certificate(subject: str = "CN=www.example.org,O=Example Ltd", issuer: str = "CN=Example CA,O=Example Trust", days: int = 365, start: int = -30) -> bytes:  # fmt: skip
    """A certificate in DER, valid from `start` days after 2023-11-14 for `days`. Equal subject and issuer: self-signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    begin = datetime.datetime(2023, 11, 14, tzinfo=datetime.UTC) + datetime.timedelta(days=start)
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string(issuer))
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(__import__("cryptography.hazmat.primitives.serialization", fromlist=["x"]).Encoding.DER)


def tls(sni: str = "www.example.org", der: bytes | None = None, version: int = 0x0303, cipher: int = 0xC02F, offered: int | None = None, data: tuple[tuple[str, int], ...] = (("c", 300), ("s", 3000)), tls13: bool = False) -> list[tuple[str, bytes]]:  # fmt: skip
    """What both say in a TLS connection: hellos, certificate, key exchange, then records of encrypted data."""
    said = [("c", client_hello(sni, offered or version, tls13=tls13)), ("s", server_hello(version, cipher, tls13))]
    if not tls13:
        said[1] = ("s", said[1][1] + certificate(der or made_certificate(), version))
        said.append(("c", record(22, handshake(16, b"\x41" + b"\x04" * 65), version) + record(20, b"\x01", version) + record(22, b"\x91" * 40, version)))  # fmt: skip
        said.append(("s", record(20, b"\x01", version) + record(22, b"\x92" * 40, version)))
    else:
        said[1] = ("s", said[1][1] + record(20, b"\x01", 0x0303) + record(23, b"\x93" * 900, 0x0303))
        said.append(("c", record(20, b"\x01", 0x0303) + record(23, b"\x94" * 53, 0x0303)))
    for side, size in data:
        pieces = b"".join(record(23, b"\xa5" * min(16_000, size - i), min(version, 0x0303)) for i in range(0, size, 16_000))  # fmt: skip
        said.append((side, pieces))
    return said


# ---- DHCP (RFC 2131, 2132)

DISCOVER, OFFER, REQUEST, DHCP_ACK = 1, 2, 3, 5


def dhcp(message: int, mac: str, *, xid: int = 1, yours: str = "0.0.0.0", server: str = "", router: str = "", dns: str = "", name: str = "") -> bytes:  # fmt: skip
    """A message; the server's fields as options."""
    reply = message in (OFFER, DHCP_ACK)
    out = struct.pack(">BBBBIHH", 2 if reply else 1, 1, 6, 0, xid, 0, 0x8000) + bytes(4) + socket.inet_aton(yours)
    out += bytes(8) + bytes.fromhex(mac.replace(":", "")) + bytes(10 + 192) + b"\x63\x82\x53\x63"
    out += bytes((53, 1, message))
    for code, value in ((54, server), (3, router), (6, dns)):
        if value:
            out += bytes((code, 4)) + socket.inet_aton(value)
    if name:
        out += bytes((12, len(name))) + name.encode()
    return out + b"\xff" + bytes(40)


SOLICIT6, ADVERTISE6, REQUEST6, REPLY6 = 1, 2, 3, 7


def dhcp6(message: int, mac: str, *, xid: int = 1, server_mac: str = "", offered: str = "", dns: str = "") -> bytes:
    """A DHCPv6 message (RFC 8415 8); what a server says as options."""

    def option(code: int, value: bytes) -> bytes:
        return struct.pack(">HH", code, len(value)) + value

    def duid(address: str) -> bytes:
        return b"\0\3\0\1" + bytes.fromhex(address.replace(":", ""))

    out = bytes((message,)) + xid.to_bytes(3, "big") + option(1, duid(mac))
    lease = b""
    if offered:
        lease = option(5, socket.inet_pton(socket.AF_INET6, offered) + struct.pack(">II", 300, 300))
    out += option(3, struct.pack(">III", 1, 0, 0) + lease)
    out += option(2, duid(server_mac)) if server_mac else b""
    return out + (option(23, socket.inet_pton(socket.AF_INET6, dns)) if dns else b"")


# ---- SMB and DCE/RPC ([MS-SMB2] 2.2.1.2, C706 12.6.3.1)


def uuid_bytes(text: str) -> bytes:
    """First three groups little endian."""
    import uuid

    return uuid.UUID(text).bytes_le


def rpc(kind: int, body: bytes, flags: int = 3, call: int = 1) -> bytes:
    """A connection-oriented PDU."""
    return struct.pack("<BBBBIHHI", 5, 0, kind, flags, 0x10, 16 + len(body), 0, call) + body


def rpc_bind(interface: str) -> bytes:
    """A bind with one presentation context."""
    body = struct.pack("<HHIB3xHBx", 4280, 4280, 0, 1, 0, 1) + uuid_bytes(interface) + struct.pack("<I", 1)
    return rpc(11, body + bytes(20))


def rpc_bound() -> bytes:
    """The server takes the context."""
    return rpc(12, struct.pack("<HHIH", 4280, 4280, 1, 4) + b"135\0" + bytes(2) + b"\x01\0\0\0" + bytes(24))


def rpc_call(operation: int, stub: bytes = bytes(24), number: int = 1) -> bytes:
    """A request."""
    return rpc(0, struct.pack("<IHH", len(stub), 0, operation) + stub, call=number)


def rpc_reply(number: int = 1) -> bytes:
    """A response."""
    return rpc(2, struct.pack("<IHBx", 24, 0, 0) + bytes(24), call=number)


def rpc_talk(interface: str, operations: tuple[int, ...], stub: bytes = bytes(24)) -> list[tuple[str, bytes]]:
    """Bind, then calls with their replies."""
    said = [("c", rpc_bind(interface)), ("s", rpc_bound())]
    for number, operation in enumerate(operations, 1):
        said += [("c", rpc_call(operation, stub, number)), ("s", rpc_reply(number))]
    return said


def smb2(command: int, body: bytes, reply: bool = False, status: int = 0, message: int = 1, tree: int = 7) -> bytes:
    """A message in its session service frame."""
    head = b"\xfeSMB" + struct.pack("<HHIHHIIQIIQ16x", 64, 0, status, command, 1, int(reply), 0, message, 0, tree, 9)
    return struct.pack(">I", len(head) + len(body)) + head + body


def smb2_tree(path: str, kind: int = 1) -> list[tuple[str, bytes]]:
    """Tree connect to a share and its answer; `kind` 1 a disk, 2 pipes."""
    name = path.encode("utf-16-le")
    ask = smb2(3, struct.pack("<HHHH", 9, 0, 72, len(name)) + name)
    return [("c", ask), ("s", smb2(3, struct.pack("<HBxIII", 16, kind, 0, 0, 0), reply=True))]


def smb2_create(name: str, file: bytes = b"f" * 16) -> list[tuple[str, bytes]]:
    """Create of a file or pipe and its answer."""
    text = name.encode("utf-16-le")
    body = struct.pack("<HBBIQQIIIIIHHII", 57, 0, 0, 2, 0, 0, 0x12019F, 0, 7, 1, 0, 120, len(text), 0, 0) + text
    answer = struct.pack("<HBBIQQQQQQII", 89, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0) + file + struct.pack("<II", 0, 0)
    return [("c", smb2(5, body)), ("s", smb2(5, answer, reply=True))]


def smb2_write(data: bytes, file: bytes = b"f" * 16) -> list[tuple[str, bytes]]:
    """Write and its answer."""
    body = struct.pack("<HHIQ16sIIHHI", 49, 112, len(data), 0, file, 0, 0, 0, 0, 0) + data
    return [("c", smb2(9, body)), ("s", smb2(9, struct.pack("<HHIIHH", 17, 0, len(data), 0, 0, 0), reply=True))]


def smb1(command: int, words: bytes, data: bytes = b"", reply: bool = False, tree: int = 8, multiplex: int = 1) -> bytes:  # fmt: skip
    """A message of the first version ([MS-CIFS] 2.2.3)."""
    head = b"\xffSMB" + bytes((command,)) + bytes(4) + bytes((0x80 if reply else 0,))
    head += struct.pack("<H12xHHHH", 0x8000, tree, 1, 1, multiplex)
    body = bytes((len(words) // 2,)) + words + struct.pack("<H", len(data)) + data
    return struct.pack(">I", len(head) + len(body)) + head + body


# ---- DER pieces, for Kerberos and LDAP


def der(tag: int, *parts: bytes) -> bytes:
    """One element."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def der_int(value: int) -> bytes:
    """An INTEGER."""
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


# ---- datagrams


def snmp(community: str, request: int = 1, reply: bool = False) -> bytes:
    """A GetRequest for sysDescr, or its GetResponse (RFC 3416 4.2, version 2c)."""
    name = der(6, bytes.fromhex("2b06010201010100"))
    bindings = der(0x30, der(0x30, name, der(4, b"switch") if reply else der(5)))
    body = der(0xA2 if reply else 0xA0, der_int(request), der_int(0), der_int(0), bindings)
    return der(0x30, der_int(1), der(4, community.encode()), body)


def ntp(mode: int = 3) -> bytes:
    """A version 4 packet (RFC 5905 7.3)."""
    return bytes((0x20 | mode,)) + bytes(47)


def sip(method: str, target: str, agent: str = "Linphone/5.0", user: str = "alice", call: str = "c1", extra: str = "") -> bytes:  # fmt: skip
    """A request (RFC 3261 7.1)."""
    text = f"{method} sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060\r\nFrom: <sip:{user}@{target}>;tag=1\r\n"
    text += f"To: <sip:{user}@{target}>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\nUser-Agent: {agent}\r\n{extra}"
    return (text + "Content-Length: 0\r\n\r\n").encode()


def sip_answer(status: int, words: str, method: str = "REGISTER", call: str = "c1", user: str = "100") -> bytes:
    """A response."""
    text = f"SIP/2.0 {status} {words}\r\nVia: SIP/2.0/UDP 10.0.0.9:5060\r\nTo: <sip:{user}@pbx>;tag=9\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n"
    return (text + "Content-Length: 0\r\n\r\n").encode()


def router_advert(
    mac: str, prefix: str = "2001:db8:1::", lifetime: int = 1800, extra: bytes = b"", preference: int = 0
) -> bytes:
    """The body of a router advertisement behind type, code and checksum (RFC 4861 4.2). `preference`: 1 high, -1 low."""
    out = (
        struct.pack(">BBHII", 64, (preference & 3) << 3, lifetime, 0, 0)
        + b"\x01\x01"
        + bytes.fromhex(mac.replace(":", ""))
    )
    if prefix:
        out += struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 86_400, 14_400, 0) + socket.inet_pton(socket.AF_INET6, prefix)
    return out + extra
