"""One short exchange of many protocols, with the path that Wireshark shows for each payload (tshark 4.0.17, `-2 -n`).

`STREAMS`: name, server port, messages (direction, bytes, layers above TCP). `DATAGRAMS`: name, port, payload, layers
above UDP. The bytes are made by hand from the protocols' documents. Unit tests hold them against our dissectors,
the acceptance test packs them into varied captures and asks tshark again.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CLIENT, SERVER = 0, 1


class Exchange(NamedTuple):
    """A TCP conversation."""

    name: str
    port: int
    messages: tuple[tuple[int, bytes, str], ...]


class Payload(NamedTuple):
    """One UDP datagram."""

    name: str
    port: int
    data: bytes
    path: str


def _lines(*words: str) -> bytes:
    return "".join(f"{word}\r\n" for word in words).encode()


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


HTTP_GET = _lines("GET /a HTTP/1.1", "Host: example.org", "")
HTTP_JSON = _lines("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 7", "") + b'{"a":1}'
HTTP_TEXT = _lines("HTTP/1.1 200 OK", "Content-Type: text/html", "Content-Length: 12", "") + b"<p>hello</p>"
HTTP_CHUNKS = (
    _lines("HTTP/1.1 200 OK", "Content-Type: text/plain", "Transfer-Encoding: chunked", "")
    + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)
STREAM_OPEN = (
    b"<stream:stream to='x' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
RFB_INIT = (
    struct.pack(">HH", 640, 480)
    + b"\x20\x18\x00\x01\x00\xff\x00\xff\x00\xff\x10\x08\x00\x00\x00\x00"
    + b"\x00\x00\x00\x04name"
)
STUN_ASK = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"
STUN_TELL = b"\x01\x01\x00\x0c\x21\x12\xa4\x42abcdefghijkl\x00\x20\x00\x08\x00\x01\x01\x02\x01\x02\x03\x04"
BGP_KEEPALIVE = b"\xff" * 16 + b"\x00\x13\x04"
BITCOIN_PING = b"\xf9\xbe\xb4\xd9ping" + bytes(8) + b"\x08\x00\x00\x00\x01\x02\x03\x04" + bytes(8)

STREAMS: tuple[Exchange, ...] = (
    Exchange("http", 80, ((0, HTTP_GET, "http"), (1, HTTP_JSON, "http/json"), (0, HTTP_GET, "http"),
                          (1, HTTP_TEXT, "http/data-text-lines"), (0, HTTP_GET, "http"),
                          (1, HTTP_CHUNKS, "http/data-text-lines"))),
    Exchange("http on a port of nobody", 41_000, ((0, HTTP_GET, "http"), (1, HTTP_JSON, "http/json"))),
    Exchange("smtp", 25, ((1, _lines("220 mail"), "smtp"), (0, _lines("EHLO a"), "smtp"), (1, _lines("250 ok"), "smtp"))),
    Exchange("pop", 110, ((1, _lines("+OK hi"), "pop"), (0, _lines("USER a"), "pop"), (1, _lines("+OK"), "pop"))),
    Exchange("imap", 143, ((1, _lines("* OK hi"), "imap"), (0, _lines("a1 NOOP"), "imap"), (1, _lines("a1 OK"), "imap"))),
    Exchange("ftp", 21, ((1, _lines("220 hi"), "ftp"), (0, _lines("USER a"), "ftp"), (1, _lines("331 pw"), "ftp"))),
    Exchange("nntp", 119, ((1, _lines("200 hi"), "nntp"), (0, _lines("GROUP a"), "nntp"))),
    Exchange("irc", 6667, ((0, _lines("NICK a", "USER a 0 * :a"), "irc"), (1, _lines(":s 001 a :hi"), "irc"))),
    Exchange("telnet", 23, ((1, b"\xff\xfd\x18\xff\xfd\x20", "telnet"), (0, b"\xff\xfb\x18", "telnet"), (1, b"login: ", "telnet"))),
    Exchange("ssh", 22, ((1, b"SSH-2.0-OpenSSH_9.6\r\n", "ssh"), (0, b"SSH-2.0-x\r\n", "ssh"))),
    Exchange("xmpp", 5222, ((0, STREAM_OPEN, "xmpp"),)),
    Exchange("vnc", 5900, ((1, b"RFB 003.008\n", "vnc"), (0, b"RFB 003.008\n", "vnc"), (1, b"\x01\x01", "vnc"),
                           (0, b"\x01", "vnc"), (1, bytes(4), "vnc"), (0, b"\x01", "vnc"), (1, RFB_INIT, "vnc"))),
    Exchange("modbus", 502, ((0, b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x01", "mbtcp/modbus"),
                             (1, b"\x00\x01\x00\x00\x00\x05\x01\x03\x02\x00\x01", "mbtcp/modbus"))),
    Exchange("s7", 102, ((0, bytes.fromhex("0300001611e00000000100c1020100c2020102c0010a"), "tpkt/cotp"),
                         (1, bytes.fromhex("0300001611d00001000200c0010ac1020100c2020102"), "tpkt/cotp"),
                         (0, bytes.fromhex("0300001902f08032010000040000080000f0000001000101e0"), "tpkt/cotp/s7comm"))),
    Exchange("rmi", 1099, ((0, b"JRMI\x00\x02K", "rmi"), (1, b"N\x00\x091.2.3.4.5\x00\x00\x00\x01", "rmi"))),
    Exchange("tns", 1521, ((0, b"\x00\x3a\x00\x00\x01\x00\x00\x00\x01\x38\x01\x2c\x00\x00\x08\x00\x7f\xff" + bytes(40), "tns"),
                           (1, b"\x00\x08\x00\x00\x0b\x00\x00\x00", "tns"))),
    Exchange("rsh", 514, ((0, b"1022\x00", "rsh"), (0, b"u\x00v\x00ls\x00", "rsh"), (1, b"\x00", "rsh"))),
    Exchange("ajp", 8009, ((0, b"\x12\x34\x00\x01\x0a", "ajp13"), (1, b"AB\x00\x01\x09", "ajp13"))),
    Exchange("pptp", 1723, ((0, struct.pack(">HHIHH", 156, 1, 0x1A2B3C4D, 1, 0) + bytes(144), "pptp"),)),
    Exchange("sip", 5060, ((0, _lines("OPTIONS sip:a@b SIP/2.0", "Via: SIP/2.0/TCP x", "Content-Length: 0", ""), "sip"),
                           (1, _lines("SIP/2.0 200 OK", "Content-Length: 0", ""), "sip"))),
    Exchange("rtsp", 554, ((0, _lines("OPTIONS rtsp://x RTSP/1.0", "CSeq: 1", ""), "rtsp"),
                           (1, _lines("RTSP/1.0 200 OK", "CSeq: 1", ""), "rtsp"))),
    Exchange("bgp", 179, ((0, BGP_KEEPALIVE, "bgp"), (1, b"tail of a message" + BGP_KEEPALIVE, "bgp"), (0, b"xx", "bgp"))),
    Exchange("git", 9418, ((0, b"0033git-upload-pack /p.git\x00host=example.com" + bytes(8), "git"),
                           (1, b"001e# service=git-upload-pack\n0000", "git"))),
    Exchange("openflow 1.0", 6633, ((0, b"\x01\x00\x00\x08\x00\x00\x00\x01", "openflow_v1"),
                                    (1, b"\x01\x00\x00\x08\x00\x00\x00\x01", "openflow_v1"))),
    Exchange("openflow 1.3", 6653, ((0, b"\x04\x00\x00\x10\x00\x00\x00\x01\x00\x01\x00\x08\x00\x00\x00\x10", "openflow_v4"),
                                    (1, b"\x04\x02\x00\x08\x00\x00\x00\x01", "openflow_v4"))),
    Exchange("bitcoin", 8333, ((0, BITCOIN_PING, "bitcoin"), (1, BITCOIN_PING, "bitcoin"))),
    Exchange("drda", 50_000, ((0, bytes.fromhex("0020d0410001001a10410006115e01020006116d0102000a1147") + bytes(6), "drda"),
                              (1, bytes.fromhex("0010d0020001000a14430006115e0102"), "drda"))),
    Exchange("smpp", 2775, ((0, _words(16, 0x15, 0, 1), "smpp"), (1, _words(16, 0x80000015, 0, 1), "smpp"))),
    Exchange("fix", 11_310, ((0, b"8=FIX.4.2\x019=49\x0135=A\x0149=X\x0156=Y\x0134=1\x0152=20200101-00:00:00\x0198=0\x01108=30\x0110=123\x01", "fix"),)),
    Exchange("hart over tcp", 5094, ((0, b"\x01\x00\x00\x00\x00\x00\x00\x0d\x01\x00\x00\x75\x30", "hart_ip"),)),
    Exchange("fins over tcp", 9600, ((0, b"FINS\x00\x00\x00\x0c" + bytes(12), "omron"),)),
    Exchange("synergy", 24_800, ((0, b"\x00\x00\x00\x04CALV\x00\x00\x00\x04CNOP", "synergy"),)),
    Exchange("hl7", 2575, ((0, b"\x0bMSH|^~\\&|A|B|C|D|2020||ADT^A01|1|P|2.3\rEVN||2020\r\x1c\r", "hl7"),)),
    Exchange("9p", 564, ((0, b"\x13\x00\x00\x00\x64\xff\xff\x00\x20\x00\x00\x06\x009P2000", "9p"),)),
    Exchange("kerberos, anything", 88, ((0, b"\x00\x00\x00\x05hello", "kerberos"),)),
    Exchange("redis by hand", 6379, ((0, b"PING\r\n", "resp"), (1, b"+PONG\r\n", "resp"))),
    Exchange("fix, broken", 11_311, ((0, b"8=FIX.4.2\x019=5\x0135=0\x0110=123\x01", "fix"), (0, b"8=O\x019=0075\x0135=G\x01\x02 binary rest", "fix"))),
    Exchange("ymsg", 5050, ((0, b"YMSG\x00\x0f\x00\x00\x00\x00\x00\x4c" + bytes(8), "ymsg"),)),
    Exchange("iscsi", 3260, ((0, b"\x43\x87\x00\x00\x00\x00\x00\x08" + bytes(8) + b"\x00\x00\x00\x01" + bytes(28) + b"a=b\x00c=d\x00", "iscsi"),
                             (1, b"\x23\x87\x00\x00" + bytes(44), "iscsi"))),
    Exchange("stun", 3478, ((0, STUN_ASK, "stun"), (1, STUN_TELL, "stun"))),
    Exchange("stun on a port of nobody", 41_003, ((0, STUN_ASK, "stun"), (1, STUN_TELL, "stun"))),
    Exchange("z39.50", 210, ((0, bytes.fromhex("b40a83020 0e08404 00e9a200".replace(" ", "")), "z3950"),)),
    Exchange("afp", 548, ((0, b"\x00\x04\x00\x01" + bytes(7) + b"\x06" + bytes(4) + b"\x01\x04\x00\x00\x04\x00", "dsi"),
                          (1, b"\x01\x04\x00\x01" + bytes(7) + b"\x06" + bytes(4) + b"\x00\x04\x00\x10\x00\x00", "dsi"),
                          (0, b"\x00\x02\x00\x02" + bytes(7) + b"\x04" + bytes(4) + b"\x12\x00\x00\x00", "dsi/afp"),
                          (1, b"\x01\x02\x00\x02" + bytes(12), "dsi/afp"))),
    Exchange("thrift", 9090, ((0, b"\x00\x00\x00\x11\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x01\x00", "thrift"),
                              (1, b"\x00\x00\x00\x11\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x01\x00", "thrift"))),
    Exchange("openwire", 61_616, ((0, b"\x00\x00\x00\x13\x01ActiveMQ\x00\x00\x00\x09" + bytes(6), "openwire"),)),
    Exchange("mq", 1414, ((0, b"TSH \x00\x00\x00\x1c\x01\x01\x30\x00" + bytes(8) + b"\x00\x00\x01\x11\x03\x33\x00\x00", "mq"),)),
    Exchange("rpki", 323, ((0, b"\x00\x02\x00\x00\x00\x00\x00\x08", "rpkirtr"), (1, b"\x00\x03\x01\x01\x00\x00\x00\x08", "rpkirtr"))),
    Exchange("lpd", 515, ((0, b"\x02lp\n", "lpd"), (1, b"\x00", "lpd"))),
    Exchange("dicom", 104, ((0, b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"A" * 64, "dicom"),)),
    Exchange("whois", 43, ((0, b"example.com\r\n", "whois"),)),
    Exchange("finger", 79, ((0, b"root\r\n", "finger"),)),
    Exchange("nobody", 41_001, ((0, b"\x99\x88 what is this", "data"), (1, b"\x77\x66 nobody knows", "data"))),
    # last: Wireshark gives the tunnel behind SOCKS a stream number of its own, and we do not
    Exchange("socks 5", 1080, ((0, b"\x05\x01\x00", "socks"), (1, b"\x05\x00", "socks"),
                               (0, b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50", "socks"),
                               (1, b"\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50", "socks"), (0, HTTP_GET, "socks/http"))),
)  # fmt: skip

DATAGRAMS: tuple[Payload, ...] = (
    Payload("dns", 53, b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01", "dns"),
    Payload("mdns", 5353, b"\x00\x00\x00\x00\x00\x01" + bytes(6) + b"\x01a\x05local\x00\x00\x01\x00\x01", "mdns"),
    Payload("mosh", 60_001, bytes(7) + b"\x01" + b"sealed bytes " * 3, "ssyncp"),
    Payload("knx", 3671, b"\x06\x10\x04\x20\x00\x15\x04\x01\x00\x00\x29\x00\xbc\xe0\x11\x01\x09\x01\x01\x00\x81", "kip/cemi"),
    Payload("check point", 8116, b"\x1a\x90\x0c\x31\x27\x85\x00\x01" + bytes(32), "cpha"),
    Payload("ntp", 123, b"\x1b" + bytes(47), "ntp"),
    Payload("rtps", 7400, b"RTPS\x02\x01\x01\x01" + bytes(12) + b"\x09\x01\x08\x00" + bytes(8), "rtps"),
    Payload("ptp", 319, b"\x00\x02\x00\x2c" + bytes(40), "ptp"),
    Payload("olsr", 698, b"\x00\x10\x00\x01\xc9\x86\x00\x0c\x01\x02\x03\x04\x01\x00\x00\x01", "olsr"),
    Payload("mobile ip", 434, b"\x01\x02\x00\x1e" + bytes(20), "mip"),
    Payload("raknet", 19_132, b"\xc0\x00\x01\x01\x00\x00\x00", "raknet"),
    Payload("gtp echo", 2152, b"\x32\x01\x00\x04" + bytes(5) + b"\x01\x00\x00", "gtp"),
    Payload("gtp control", 2123, b"\x48\x20\x00\x08\x00\x00\x00\x01\x00\x00\x01\x00", "gtpv2"),
    Payload("qq", 8000, b"\x02\x11\x22\x00\x81\x00\x01\x01\x02\x03\x04abcdef\x03", "oicq"),
    Payload("icq", 4000, b"\x05" + bytes(35), "icq"),
    Payload("knx", 3671, b"\x06\x10\x02\x01\x00\x0e\x08\x01\x01\x02\x03\x04\x00\x50", "kip"),
    Payload("gige vision", 3956, b"\x42\x01\x00\x02\x00\x00\x00\x01", "gvcp"),
    Payload("aruba", 8211, b"\x49\x72\x00\x01" + bytes(72), "papi/data"),
    Payload("gsmtap", 4729, b"\x02\x04\x01\x00" + bytes(12) + bytes(23), "gsmtap/data"),
    Payload("dis", 3000, b"\x06\x01\x01\x01\x00\x00\x00\x01\x00\x90\x00\x00" + bytes(132), "dis"),
    Payload("lisp", 4342, b"\x10\x00\x00\x01" + bytes(8) + b"\x00\x01\x01\x02\x03\x04\x00\x20\x00\x01\x01\x02\x03\x04", "lisp"),
    Payload("modbus", 502, b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x01", "mbudp/modbus"),
    Payload("egd", 18_246, b"\x0d\x01\x00\x01" + bytes(30), "egd"),
    Payload("synchrophasor", 4713, b"\xaa\x31\x00\x12" + bytes(14), "synphasor"),
    Payload("media that nobody announced", 5004, b"\x80\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01" + bytes(160), "data"),
    Payload("cip i/o", 2222, bytes.fromhex("020002800800010000000100 0000b100060001000100 0000".replace(" ", "")), "enip/cipio"),
    Payload("tftp on a port of nobody", 13_069, b"\x00\x01boot.bin\x00OCTET\x00", "tftp"),
    Payload("nobody", 9987, b"TS3INIT1" + bytes(20), "data"),
)  # fmt: skip
