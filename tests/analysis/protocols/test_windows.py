"""SMB, DCE/RPC, LDAP, Kerberos, RDP: framing, nesting, and what attacks on them look like."""

from __future__ import annotations

import struct

import pytest
from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers
from analysis.protocols import dcerpc, exploits, rdp

EPM = bytes.fromhex("0883afe11f5dc91191a408002b14a0fa")
NETLOGON = bytes.fromhex("785634123412cdabef0001234567cffb")


def rpc(kind: int, body: bytes, flags: int = 3, call: int = 1) -> bytes:
    """A connection-oriented DCE/RPC PDU, little endian (C706 12.6.3.1)."""
    return struct.pack("<BBBBIHHI", 5, 0, kind, flags, 0x10, 16 + len(body), 0, call) + body


def bind(uuid: bytes) -> bytes:
    """A bind with one presentation context, id 0."""
    return rpc(11, struct.pack("<HHIB3xHBx", 4280, 4280, 0, 1, 0, 1) + uuid + struct.pack("<I", 1) + bytes(20))


def call(operation: int, stub: bytes, number: int = 1) -> bytes:
    """A request."""
    return rpc(0, struct.pack("<IHH", len(stub), 0, operation) + stub, call=number)


def smb2(command: int, body: bytes, response: bool = False, status: int = 0, tree: int = 7, message: int = 1) -> bytes:
    """An SMB2 message in its session service frame ([MS-SMB2] 2.2.1.2)."""
    head = b"\xfeSMB" + struct.pack("<HHIHHIIQIIQ16x", 64, 0, status, command, 1, int(response), 0, message, 0, tree, 9)
    return struct.pack(">I", len(head) + len(body)) + head + body


def test_the_interface_of_the_bind_names_the_calls() -> None:
    """A request behind the bind has the interface's layer around its stub."""
    talk = Talk(40_135)
    assert talk.client(bind(EPM)) == "dcerpc"
    assert talk.sized(CLIENT, call(3, bytes(20))) == [(layers.DCERPC, 44), (layers.EPM, 20)]
    assert [(row.interface[:8], row.operation) for row in talk.facts.rpc] == [("e1af8308", -1), ("e1af8308", 3)]


def test_a_pdu_over_two_segments() -> None:
    """The fragment length says how much to wait for."""
    talk = Talk(40_135)
    talk.client(bind(EPM))
    pdu = call(3, bytes(100))
    assert [talk.client(pdu[:50]), talk.client(pdu[50:])] == ["", "dcerpc/epm"]


@pytest.mark.parametrize(
    ("interface", "operation", "stub", "shape"),
    [
        (exploits.NETLOGON, 4, b"\1" * 20 + bytes(8), "zerologon"),
        (exploits.NETLOGON, 30, b"x", "netlogon-password-set"),
        (exploits.EFS[0], 0, b"x", "petitpotam"),
        (exploits.SPOOLSS, 89, b"x", "printnightmare"),
        (exploits.SPOOLSS, 65, b"x", "printer-bug"),
        (exploits.DRSUAPI, 3, b"x", "dcsync"),
        (exploits.SVCCTL, 12, b"x", "service-created"),
    ],
)
def test_calls_that_attacks_are_made_of(interface: str, operation: int, stub: bytes, shape: str) -> None:
    """Reported for requests, never for answers."""
    talk = Talk(135)
    from analysis.protocols.pdu import Pdu

    pdu = Pdu(b"", 0, talk.stream, 0, 1, 1, False)
    exploits.rpc(pdu, interface, operation, stub, True)
    assert talk.facts.payload == []
    exploits.rpc(pdu, interface, operation, stub, False)
    assert [row.shape for row in talk.facts.payload] == [shape]


def test_uuid_text() -> None:
    """First three groups are little endian on the wire."""
    assert dcerpc.uuid_text(EPM) == "e1af8308-5d1f-11c9-91a4-08002b14a0fa"


def test_smb2_messages_and_compounds() -> None:
    """One layer per message; a compound has several of them in one frame of the session service."""
    talk = Talk(445)
    one = smb2(0, bytes(36))
    assert talk.client(one) == "nbss/smb2"
    head = bytearray(one[4:] + bytes(4))
    head[20:24] = len(head).to_bytes(4, "little")
    both = bytes(head) + one[4:]
    assert talk.sized(CLIENT, struct.pack(">I", len(both)) + both)[1:] == [
        (layers.SMB2, len(head)), (layers.SMB2, len(one) - 4),
    ]  # fmt: skip


def test_a_pipe_carries_dcerpc_and_a_file_data() -> None:
    """The tree's share type tells pipes from files."""
    for share, expected in ((2, "nbss/smb2/dcerpc"), (1, "nbss/smb2")):
        talk = Talk(445)
        talk.client(smb2(3, struct.pack("<HHHH", 9, 0, 72, 8) + "IPC$".encode("utf-16-le")))
        talk.server(smb2(3, struct.pack("<HBxIII", 16, share, 0, 0, 0), response=True))
        pdu = bind(NETLOGON)
        write = struct.pack("<HHIQ16sIIHHI", 49, 112, len(pdu), 0, b"f" * 16, 0, 0, 0, 0, 0) + pdu
        assert talk.client(smb2(9, write)) == expected


def test_a_pipe_pdu_in_two_writes_is_shown_with_the_second() -> None:
    """The first write is data, the second the whole PDU."""
    talk = Talk(445)
    talk.server(smb2(3, struct.pack("<HBxIII", 16, 2, 0, 0, 0), response=True))
    pdu = bind(NETLOGON)

    def write(piece: bytes) -> bytes:
        return smb2(9, struct.pack("<HHIQ16sIIHHI", 49, 112, len(piece), 0, b"f" * 16, 0, 0, 0, 0, 0) + piece)

    assert talk.client(write(pdu[:30])) == "nbss/smb2/data"
    assert talk.sized(CLIENT, write(pdu[30:]))[-1] == (layers.DCERPC, len(pdu))


def smb1(command: int, words: bytes, data: bytes = b"", response: bool = False, tree: int = 8) -> bytes:
    """An SMB1 message ([MS-CIFS] 2.2.3)."""
    head = (
        b"\xffSMB"
        + bytes((command,))
        + bytes(4)
        + bytes((0x80 if response else 0,))
        + struct.pack("<H12xHHHH", 0x8000, tree, 1, 1, 1)
    )
    body = bytes((len(words) // 2,)) + words + struct.pack("<H", len(data)) + data
    return struct.pack(">I", len(head) + len(body)) + head + body


def test_smb1_and_eternalblues_groundwork() -> None:
    """A large NT_TRANSACT that TRANS2_SECONDARY continues, and DoublePulsar's question."""
    talk = Talk(445)
    assert talk.client(smb1(0x72, b"", b"\x02NT LM 0.12\0")) == "nbss/smb"
    talk.client(smb1(0xA0, bytes(7) + struct.pack("<I", 0x10100) + bytes(29)))
    talk.client(smb1(0x33, bytes(18)))
    talk.client(smb1(0x32, bytes(28) + struct.pack("<H", 14)))
    assert [row.shape for row in talk.facts.payload] == ["eternalblue", "doublepulsar-ping"]


def test_session_service_messages_over_segments() -> None:
    """Length first; half a message is bare; what is no message is a continuation."""
    talk = Talk(445)
    message = smb2(0, bytes(300))
    assert [talk.client(message[:60]), talk.client(message[60:])] == ["", "nbss/smb2"]
    assert Talk(445).client(b"GET / HTTP/1.0\r\n\r\n") == "nbss"
    assert Talk(139).client(b"\x85\x00\x00\x00") == "nbss"


def test_messages_of_no_length_are_counted_in_one_go() -> None:
    """A megabyte of zero bytes is 250,000 empty messages: seconds if each were dissected by itself."""
    assert Talk(445).sized(CLIENT, bytes(1200)) == [(layers.NBSS, 4)] * 300
    assert Talk(445).client(bytes(7)) == "nbss"  # the second one waits for a byte
    assert Talk(445).sized(CLIENT, bytes(8) + smb2(0, bytes(36)))[:2] == [(layers.NBSS, 4)] * 2


def test_ldap_messages_binds_and_sasl_buffers() -> None:
    """A simple bind is a login; several messages in a segment are PDUs; a sealed connection stays ldap."""
    talk = Talk(389)
    name = b"cn=admin"
    request = b"\x02\x01\x03\x04" + bytes((len(name),)) + name + b"\x80\x06sesame"
    message = b"\x02\x01\x01\x60" + bytes((len(request),)) + request
    talk.client(b"\x30" + bytes((len(message),)) + message)
    assert talk.server(b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00") == "ldap"
    assert [(row.user, row.secret_masked, row.result) for row in talk.facts.login] == [("cn=admin", "***", 0)]
    assert talk.client(b"\x30\x05\x02\x01\x03\x42\x00" * 2) == "ldap/ldap"
    assert talk.client(b"\x00\x00\x00\x08" + bytes(8)) == "ldap"


def test_ldap_keeps_its_port() -> None:
    """The middle of a message that nobody saw begin shows nothing, and is not `data` either."""
    assert [Talk(389).client(data) for data in (b"\xf1\x36\x5c\xd0\xb0\xcc", b"hello there")] == ["", ""]


def test_kerberos_records() -> None:
    """Four length bytes, then an application tag."""
    body = b"\x6a\x03\x30\x01\x00"
    assert Talk(88).sized(CLIENT, len(body).to_bytes(4, "big") + body) == [(layers.KERBEROS, 9)]
    assert Talk(88).client(b"\x00\x00\x00\x05hello") == "kerberos"  # on its port nothing is refused
    talk = Talk(88)
    assert [talk.client(b"\x5f\x98\x6b\x8bmiddle of a record"), talk.client(b"and more of it")] == ["", ""]


def test_rdp_connection() -> None:
    """TPKT, COTP and RDP nest; the cookie is a user name; fast-path PDUs stand alone."""
    talk = Talk(3389)
    cookie = b"Cookie: mstshash=alice\r\n"
    cotp = bytes((6 + len(cookie), 0xE0, 0, 0, 0, 0, 0)) + cookie
    packet = b"\x03\x00" + (4 + len(cotp)).to_bytes(2, "big") + cotp
    assert talk.sized(CLIENT, packet) == [(layers.TPKT, 4), (layers.COTP, len(cotp)), (layers.RDP, len(cookie))]
    assert talk.sized(SERVER, b"\x03\x00\x00\x0c\x02\xf0\x80\x04\x00\x01\x00\x01") == [
        (layers.TPKT, 4), (layers.COTP, 3), (layers.T125, 5),
    ]  # fmt: skip
    assert talk.client(b"\x04\x06\x01\x02\x03\x04") == "rdp"
    assert talk.client(b"\x80\x06\x01\x02\x03\x04") == "rdp/_ws.malformed"
    assert talk.client(b"\x80\x90\x01\x02\x03\x04") == "tpkt"
    hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00"
    assert talk.client(hello) == "tpkt"  # TLS that was agreed on keeps the name, and still tells who it is
    answer = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\x13\x01\x00"
    assert talk.server(answer + b"\x14\x03\x03\x00\x01\x01") == "tpkt" and len(talk.facts.tls) == 1
    assert [rdp.fast_path_size(data) for data in (b"\x00\x81\x02", b"\x01\x05", b"\x04\x05")] == [258, 0, 5]


def test_s7_over_cotp() -> None:
    """Port 102 carries S7comm; half a TPKT waits."""
    packet = b"\x03\x00\x00\x0b\x02\xf0\x80\x32\x01\x00\x00"
    talk = Talk(102)
    assert [talk.client(packet[:3]), talk.client(packet[3:])] == ["", "tpkt/cotp/s7comm"]
