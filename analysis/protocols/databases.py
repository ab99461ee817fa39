"""Databases over TCP: MySQL, PostgreSQL, TDS, Oracle TNS, Redis, MongoDB, memcached, Cassandra, Couchbase, Kafka.

In: bytes of connections on the protocols' ports. Out: one layer per message. User names of logins become facts.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import logins
from analysis.protocols.framing import Framing, recognised, segments, units
from analysis.protocols.pdu import ONE_MORE, Pdu, framed

# ---------------------------------------------------------------------------------------------------- MySQL

CLIENT_SSL = 0x0800
GREETING = 10


def _mysql(pdu: Pdu) -> None:
    pdu.add(layers.MYSQL)
    state = pdu.stream.state
    if pdu.length < 5 or len(pdu.data) < 5:
        return
    sequence, first = pdu.data[3], pdu.data[4]
    if not pdu.stream.to_server(pdu.direction):
        if sequence == 0 and first == GREETING:
            state["mysql_greeted"] = True
        elif first in (0x00, 0xFF):
            logins.settle(pdu, first == 0)
        return
    if sequence == 1 and state.pop("mysql_greeted", False) and len(pdu.data) >= 36:
        if pdu.le32(4) & CLIENT_SSL:
            state["mysql_tls"] = True
            pdu.stream.shared.start_tls(pdu)
            return
        end = pdu.data.find(b"\0", 36)
        logins.pending(pdu, "mysql", logins.text(pdu.data[36 : end if end > 0 else 36]), True, False)


dissect_mysql = units(layers.MYSQL, Framing(4, 0, 3, "little", 4))


def mysql(pdu: Pdu) -> bool:
    """MySQL client/server protocol: three length bytes, a sequence number."""
    return framed(pdu, 4, Framing(4, 0, 3, "little", 4).size, _mysql)


# ---------------------------------------------------------------------------------------------------- PostgreSQL

SSL_REQUEST, CANCEL_REQUEST, GSS_REQUEST = 80877103, 80877102, 80877104


def _pgsql_size(pdu: Pdu, at: int) -> int:
    """A message with a type byte, or a start-up message without."""
    if pdu.u8(at) == 0:
        return pdu.be32(at)
    if pdu.stream.state.get("pgsql_ssl") and pdu.data[at] in b"SNG" and pdu.length - at == 1:
        return 1
    return 1 + pdu.be32(at + 1) if pdu.length - at >= 5 else 0


def _pgsql(pdu: Pdu) -> None:
    pdu.add(layers.PGSQL)
    state = pdu.stream.state
    first = pdu.u8(0)
    if pdu.stream.to_server(pdu.direction):
        if first == 0 and pdu.length >= 8:
            if pdu.be32(4) == SSL_REQUEST:
                state["pgsql_ssl"] = True
            else:
                at = pdu.data.find(b"user\0")
                if at > 0:
                    state["pgsql_user"] = logins.text(pdu.data[at + 5 : pdu.data.find(b"\0", at + 5)])
        elif first == ord("p"):
            clear = state.get("pgsql_method") == 3
            logins.pending(pdu, "pgsql", state.get("pgsql_user", ""), clear, clear)
    elif first == ord("R") and pdu.length >= 9:
        method = pdu.be32(5)
        state["pgsql_method"] = method
        if method == 0:
            logins.settle(pdu, True)
    elif first == ord("E"):
        logins.settle(pdu, False)


def dissect_pgsql(pdu: Pdu) -> bool:
    """PostgreSQL frontend/backend protocol 3; the one-byte answer to an SSL request starts TLS."""
    if pdu.length == 1 and pdu.stream.state.pop("pgsql_ssl", False):
        pdu.add(layers.PGSQL)
        if pdu.data == b"S":
            pdu.stream.shared.start_tls(pdu)
        return True
    return framed(pdu, 5, _pgsql_size, _pgsql)


# ---------------------------------------------------------------------------------------------------- TDS and TNS


def _tds_check(pdu: Pdu) -> bool:
    return len(pdu.data) < 8 or (pdu.data[0] in TDS_TYPES and pdu.data[1] < 32 and pdu.be16(2) >= 8)


TDS_TYPES = (1, 2, 3, 4, 6, 7, 8, 14, 15, 16, 17, 18)
dissect_tds = units(layers.TDS, Framing(8, 2, 2), _tds_check)
heuristic_tds = recognised(
    dissect_tds,
    lambda pdu: len(pdu.data) >= 8 and _tds_check(pdu) and pdu.be16(2) == pdu.length and pdu.data[7] == 0,
)


def _tns_size(pdu: Pdu, at: int) -> int:
    """Packet length: two bytes and a checksum, or four bytes from version 315 on."""
    size = pdu.be16(at)
    return size if size else pdu.be32(at)


def dissect_tns(pdu: Pdu) -> bool:
    """Oracle TNS; refuses packet types that do not exist."""
    if len(pdu.data) > 4 and not 1 <= pdu.data[4] <= 19:
        return False
    return framed(pdu, 8, _tns_size, lambda unit: unit.add(layers.TNS))


# ---------------------------------------------------------------------------------------------------- Redis

RESP_MARKS = b"+-:$*,#!=%~>("


def dissect_redis(pdu: Pdu) -> bool:
    """RESP: values one after the other, one layer a segment; a value that is not complete waits."""
    if pdu.data[:1] not in {bytes((mark,)) for mark in RESP_MARKS}:
        if pdu.data[:1].isalnum():  # a command as one would type it
            pdu.add(layers.RESP)
        return True
    end = _resp_end(pdu.data, 0, 0)
    if end < 0 and pdu.whole and pdu.length < (1 << 20):
        pdu.wish(0, ONE_MORE)
        return True
    pdu.add(layers.RESP)
    _redis_login(pdu)
    return True


def _resp_end(data: bytes, at: int, depth: int) -> int:
    """End of the value at `at`; -1 where it is not complete."""
    line = data.find(b"\r\n", at)
    if line < 0 or depth > 8:
        return -1 if depth <= 8 else len(data)
    mark, digits = data[at : at + 1], data[at + 1 : line]
    if mark == b"$" and digits.lstrip(b"-").isdigit() and len(digits) < 12:
        size = int(digits)
        end = line + 2 + (size + 2 if size >= 0 else 0)
        return end if end <= len(data) else -1
    if mark == b"*" and digits.isdigit() and len(digits) < 6:
        where = line + 2
        for _ in range(int(digits)):
            if where >= len(data):
                return -1
            where = _resp_end(data, where, depth + 1)
            if where < 0:
                return -1
        return where
    return line + 2


def _redis_login(pdu: Pdu) -> None:
    if pdu.stream.to_server(pdu.direction):
        words = pdu.data[:512].split(b"\r\n")
        if len(words) > 4 and words[0][:1] == b"*" and words[2].upper() == b"AUTH":
            named = words[0] == b"*3"
            logins.pending(pdu, "redis", logins.text(words[4]) if named else "", True)
    elif pdu.data.startswith((b"+OK", b"-WRONGPASS", b"-ERR invalid password")):
        logins.settle(pdu, pdu.data.startswith(b"+OK"))


# ---------------------------------------------------------------------------------------------------- the others

MONGO_OPCODES = frozenset((1, 1000, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2010, 2011, 2012, 2013))


def _mongo_check(pdu: Pdu) -> bool:
    return pdu.length < 16 or (pdu.le32(12) in MONGO_OPCODES and 16 <= pdu.le32(0) <= 1 << 26)


dissect_mongo = units(layers.MONGO, Framing(16, 0, 4, "little"), _mongo_check)
COUCHBASE_MAGIC = (b"\x08", b"\x18", b"\x80", b"\x81", b"\x82", b"\x83")
dissect_couchbase = units(layers.COUCHBASE, Framing(24, 8, 4, "big", 24), lambda pdu: pdu.data[:1] in COUCHBASE_MAGIC)
dissect_kafka = units(layers.KAFKA, Framing(4, 0, 4, "big", 4))
dissect_memcache_text = segments(layers.MEMCACHE)
dissect_memcache_binary = units(layers.MEMCACHE, Framing(24, 8, 4, "big", 24))


def dissect_memcache(pdu: Pdu) -> bool:
    """memcached: binary where the magic byte says so, else text lines."""
    if pdu.data[:1] in (b"\x80", b"\x81"):
        return dissect_memcache_binary(pdu)
    return dissect_memcache_text(pdu)


CQL_VERSIONS = (3, 4)


def _cql_size(pdu: Pdu, at: int) -> int:
    return 9 + pdu.be32(at + 5)


def _cql(pdu: Pdu) -> None:
    from analysis.protocols import cql

    pdu.add(layers.CQL)
    cql.body(pdu)


def dissect_cql(pdu: Pdu) -> bool:
    """Cassandra native protocol, versions 3 and 4; other version bytes are refused."""
    if pdu.u8(0) & 0x7F not in CQL_VERSIONS:
        return False
    return framed(pdu, 9, _cql_size, _cql)
