"""Protocols that frame themselves by a length: whole units, units over segments, refusals."""

from __future__ import annotations

import pytest
from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers
from analysis.protocols import databases, industrial

MODBUS = b"\x04\x5f\x00\x00\x00\x06\xff\x04\x03\x84\x00\x93"
DNP3 = bytes.fromhex("05641ac40200030040f2c0c0030c012801000100030164000000ef7d6400000000005b")
RPC_CALL = (
    b"\x80\x00\x00\x28"
    + b"\0\0\0\7"
    + bytes(4)
    + b"\0\0\0\2"
    + (100000).to_bytes(4, "big")
    + b"\0\0\0\2\0\0\0\3"
    + bytes(16)
)
HANDSHAKE = b"\x13BitTorrent protocol" + bytes(48)

# port, one unit, path
UNITS = [
    (502, MODBUS, "mbtcp/modbus"),
    (20000, DNP3, "dnp3"),
    (2404, b"\x68\x04\x07\x00\x00\x00", "iec60870_104"),
    (2404, b"\x68\x0e\x00\x00\x00\x00" + bytes(10), "iec60870_104/iec60870_asdu"),
    (4840, b"HELF\x20\x00\x00\x00" + bytes(24), "opcua"),
    (44818, b"\x63\x00" + bytes(22), "enip"),
    (44818, b"\x6f\x00\x14\x00" + bytes(26) + b"\x02\x00" + bytes(4) + b"\xb2\x00\x04\x00\x01\x02\x20\x01", "enip/cip"),
    (3306, b"\x05\x00\x00\x00\x0a5.1\x00", "mysql"),
    (5432, b"Q\x00\x00\x00\x0dSELECT 1\x00", "pgsql"),
    (5432, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "pgsql"),
    (1433, b"\x12\x01\x00\x0c\x00\x00\x00\x00abcd", "tds"),
    (1521, b"\x00\x0c\x00\x00\x01\x00\x00\x00abcd", "tns"),
    (1521, b"\x00\x00\x00\x0c\x06\x00\x00\x00abcd", "tns"),
    (6379, b"*2\r\n$4\r\nLLEN\r\n$1\r\na\r\n", "resp"),
    (9042, b"\x04\x00\x00\x00\x05\x00\x00\x00\x00", "cql"),
    (9092, b"\x00\x00\x00\x08\x00\x03\x00\x09\x00\x00\x00\x01", "kafka"),
    (11210, b"\x80" + bytes(7) + b"\x00\x00\x00\x04" + bytes(12) + b"abcd", "couchbase"),
    (5672, b"AMQP\x00\x00\x09\x01", "amqp"),
    (5672, b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x0b\xce", "amqp"),
    (1883, b"\xc0\x00", "mqtt"),
    (179, b"\xff" * 16 + b"\x00\x13\x04", "bgp"),
    (3868, b"\x01\x00\x00\x14\xc0" + bytes(15), "diameter"),
    (49, b"\xc0\x01\x01\x00" + bytes(4) + b"\x00\x00\x00\x04abcd", "tacplus"),
    (646, b"\x00\x01\x00\x06" + bytes(6), "ldp"),
    (53, b"\x00\x0c" + bytes(12), "dns"),
    (1723, b"\x00\x10\x00\x01\x1a\x2b\x3c\x4d" + bytes(8), "pptp"),
    (111, RPC_CALL, "rpc/portmap"),
    (6881, HANDSHAKE, "bittorrent"),
    (50_001, HANDSHAKE, "bittorrent"),
    (50_001, RPC_CALL, "rpc/portmap"),
    (50_001, b"TW\x01\x06\x00\x00\x00\x00\x00\x00\x00\x02{}", "tapwall"),
    (50_001, b"RFB 003.008\n", "vnc"),
]  # fmt: skip


SHORTEST = {502: 8, 20000: 2, 3868: 4}  # first pieces below this are refused: the check needs more bytes


@pytest.mark.parametrize(("port", "unit", "expected"), UNITS)
def test_one_unit(port: int, unit: bytes, expected: str) -> None:
    """A unit in one segment, twice in one, and cut at every place into two."""
    assert Talk(port).client(unit) == expected
    assert Talk(port).client(unit + unit) in (f"{expected}/{expected}", expected)
    recognised = Talk(port)
    recognised.client(unit)
    for cut in range(SHORTEST.get(port, 1), len(unit)):
        talk = Talk(port)
        talk.stream.dissector = recognised.stream.dissector
        last = [talk.client(unit[:cut]), talk.client(unit[cut:])][1]
        assert last == expected or expected == "vnc", cut


@pytest.mark.parametrize(
    ("port", "data"),
    [
        (502, b"\x00\x01\x00\x05\x00\x06\x01\x03"),
        (20000, b"\x05\x65\x00\x00 no start bytes"),
        (44818, b"\x99\x99" + bytes(22)),
        (4840, b"XYZF\x20\x00\x00\x00"),
        (1433, b"\xfe\x00\x00\x10" + bytes(12)),
        (9042, b"\x55" * 12),
        (646, b"\x07\x07\x00\x04"),
        (111, b"\x80\x00\x00\x20" + b"\xff" * 32),
        (50_001, b"TW\xff\x06\x00\x00\x00\x00\xff\xff\xff\xff"),
    ],
)
def test_what_dissectors_refuse_is_data(port: int, data: bytes) -> None:
    """The first bytes cannot be the protocol's."""
    assert Talk(port).client(data) == "data"


def test_layers_have_the_bytes_of_their_unit() -> None:
    """Modbus without its header inside all of Modbus/TCP; an ASDU behind the APCI."""
    assert Talk(502).sized(CLIENT, MODBUS) == [(layers.MBTCP, 12), (layers.MODBUS, 5)]
    assert Talk(2404).sized(CLIENT, b"\x68\x0e" + bytes(14)) == [
        (layers.IEC60870_104, 6), (layers.IEC60870_ASDU, 10),
    ]  # fmt: skip


def test_control_objects_that_run_over_are_malformed() -> None:
    """A count of objects that the fragment has no room for."""
    wrong = DNP3[:15] + b"\x28\xff\x00" + DNP3[18:]
    assert Talk(20000).client(wrong) == "dnp3/_ws.malformed"
    assert [industrial.dnp3_size(length) for length in (5, 6, 21, 22)] == [10, 13, 28, 31]


def test_database_logins() -> None:
    """User names of MySQL, PostgreSQL and Redis; their answers."""
    mysql = Talk(3306)
    mysql.server(b"\x05\x00\x00\x00\x0a5.1\x00")
    body = b"\x05\xa6\x0f\x00" + bytes(28) + b"alice\x00\x14" + bytes(20)
    mysql.client(len(body).to_bytes(3, "little") + b"\x01" + body)
    mysql.server(b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00")
    pgsql = Talk(5432)
    start = b"\x00\x03\x00\x00user\x00alice\x00\x00"
    pgsql.client((4 + len(start)).to_bytes(4, "big") + start)
    pgsql.server(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
    pgsql.client(b"p\x00\x00\x00\x0bsesame\x00")
    pgsql.server(b"E\x00\x00\x00\x05\x00")
    redis = Talk(6379)
    redis.client(b"*2\r\n$4\r\nAUTH\r\n$6\r\nsesame\r\n")
    redis.server(b"+OK\r\n")
    found = [
        (row.protocol, row.user, row.result, row.cleartext)
        for talk in (mysql, pgsql, redis)
        for row in talk.facts.login
    ]
    assert found == [("mysql", "alice", 1, False), ("pgsql", "alice", 0, True), ("redis", "", 1, True)]
    assert not any("sesame" in repr(talk.facts) for talk in (pgsql, redis))


def test_postgresql_starts_tls() -> None:
    """The one-byte answer to an SSL request."""
    talk = Talk(5432)
    talk.client(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
    assert talk.server(b"S") == "pgsql"
    assert talk.client(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00") == "tls"


def test_mqtt_and_amqp_logins() -> None:
    """CONNECT with a user name; Start-Ok with PLAIN."""
    mqtt = Talk(1883)
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\x00\x05alice\x00\x06sesame"
    mqtt.client(b"\x10" + bytes((len(body),)) + body)
    mqtt.server(b"\x20\x02\x00\x05")
    amqp = Talk(5672)
    arguments = b"\x00\x0a\x00\x0b" + bytes(4) + b"\x05PLAIN\x00\x00\x00\x0d\x00alice\x00sesame\x05en_US"
    amqp.client(b"\x01\x00\x00" + len(arguments).to_bytes(4, "big") + arguments + b"\xce")
    amqp.server(b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x1e\xce")
    found = [(row.protocol, row.user, row.result) for talk in (mqtt, amqp) for row in talk.facts.login]
    assert found == [("mqtt", "alice", 0), ("amqp", "alice", 1)]
    assert not any("sesame" in repr(talk.facts) for talk in (mqtt, amqp))


def test_replies_of_rpc_need_their_call() -> None:
    """A reply is matched by its transaction id (RFC 5531 9)."""
    reply = b"\x80\x00\x00\x1c" + b"\0\0\0\7" + b"\0\0\0\1" + bytes(16) + b"\0\0\0\1"
    talk = Talk(111)
    assert talk.server(reply) == "data"
    talk.client(RPC_CALL)
    assert talk.server(reply) == "rpc/portmap"


def test_socks_carries_what_follows() -> None:
    """After the reply the tunnel is dissected."""
    talk = Talk(1080)
    assert talk.client(b"\x05\x01\x00") == "socks"
    assert talk.server(b"\x05\x00") == "socks"
    assert talk.client(b"\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb") == "socks"
    assert talk.server(b"\x05\x00\x00\x01" + bytes(6)) == "socks"
    assert talk.client(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00") == "socks/tls"


def test_values_of_redis_end_where_they_end() -> None:
    """Nested arrays, null strings, pieces."""
    assert databases._resp_end(b"*2\r\n$-1\r\n*1\r\n:5\r\n", 0, 0) == 17
    assert databases._resp_end(b"*2\r\n$3\r\nab", 0, 0) == -1
    assert Talk(6379).sized(SERVER, b"$5\r\nhel") == []


def test_tapwall_recognises_its_own_chat() -> None:
    """Frames become facts; the size is the frame's."""
    talk = Talk(1234)
    frame = b"TW\x01\x20\x00\x00\x00\x00\x00\x00\x00\x05hello"
    assert talk.client(frame + frame) == "tapwall/tapwall"
    assert [(row.type, row.size_bytes, row.from_a) for row in talk.facts.chat] == [(0x20, 17, True)] * 2


@pytest.mark.parametrize(
    ("body", "user"),
    [
        (b'{"mechanism":"password","user":"admin","secret":"x"}', "admin"),
        (b'{"mechanism":"token","user":"bot","secret":"x"}', "bot"),
        (b'{"mechanism":"guest","user":"bob"}', ""),
        (b'{"mechanism":"session","session":"abc"}', ""),
        (b'{"mechanism":"password"', ""),
    ],
)
def test_only_a_login_with_a_secret_is_a_guess(body: bytes, user: str) -> None:
    """The name of an AUTH frame counts where a secret comes with it: a guest whose name is taken guesses nothing."""
    talk = Talk(1234)
    talk.client(b"TW\x01\x03\x00\x00\x00\x00" + len(body).to_bytes(4, "big") + body)
    assert [row.user for row in talk.facts.chat] == [user]


def test_openvpn_over_tcp_shows_tls_where_a_message_ends() -> None:
    """Control packets (opcode 4) of 100 bytes of TLS go on in the next; acknowledgements have none."""
    talk = Talk(1194)

    def packet(opcode: int, body: bytes) -> bytes:
        return len(body + b"12345678 ").to_bytes(2, "big") + bytes((opcode << 3,)) + b"12345678" + body

    assert talk.sized(CLIENT, packet(4, b"\0\0\0\0\1" + bytes(100))) == [(layers.OPENVPN, 116)]
    assert talk.sized(CLIENT, packet(4, b"\0\0\0\0\2" + bytes(30))) == [(layers.OPENVPN, 46), (layers.TLS, 130)]
    assert talk.client(packet(5, b"\1\0\0\0\1" + bytes(8))) == "openvpn"


def test_redis_commands_may_be_typed() -> None:
    """Inline commands are RESP too; bytes that cannot begin a value show nothing."""
    talk = Talk(6379)
    assert [talk.client(b"PING\r\n"), talk.server(b"+PONG\r\n"), talk.client(b"\0\1\2")] == ["resp", "resp", ""]
