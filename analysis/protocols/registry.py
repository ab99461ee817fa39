"""The table of protocols above TCP: who speaks on which port, who recognises itself, in which order.

In: a unit of a connection. Out: the dissector that takes it. Order of judgement as in Wireshark: what the conversation
is known to speak, the server's port (of SYN or SYN+ACK), the lower port, the higher port, then heuristics; a
dissector may refuse, and what all refuse is `data`. A new protocol is a module with a `dissect` and one line here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis import layers
from analysis.columns import Array
from analysis.named_tuples import NamedTuple
from analysis.protocols import (
    bittorrent,
    databases,
    dcerpc,
    directory,
    dns_stream,
    ftp,
    http,
    http2,
    industrial,
    mail,
    messaging,
    misc,
    rdp,
    rpc,
    services,
    smb,
    socks,
    ssh,
    tapwall_chat,
    telnet,
    tls_records,
    vnc,
)
from analysis.protocols.framing import recognised
from analysis.protocols.pdu import Dissect, Pdu


class Protocol(NamedTuple):
    """One row: ports of Wireshark's tcp.port table; `heuristic` recognises the protocol on any port."""

    name: str
    ports: tuple[int, ...]
    dissect: Dissect
    heuristic: Dissect | None = None


def _by_start(dissect: Dissect, starts: Callable[[bytes], bool]) -> Dissect:
    """A heuristic from a test on the first bytes."""
    return recognised(dissect, lambda pdu: starts(pdu.data))


# Ports: `tshark -G decodes`. Heuristics are asked in the order of the rows.
TABLE: tuple[Protocol, ...] = (
    Protocol("tls", (324, 443, 465, 636, 802, 853, 993, 995, 1300, 2221, 2443, 3249, 3250, 3251, 3252, 3496, 5061,
                     5671, 5684, 5868, 8883, 11207, 19999, 27017), tls_records.dissect, tls_records.heuristic),
    Protocol("http", (80, 631, 1900, 2710, 2869, 3128, 3132, 3689, 5985, 8080, 8088, 11371), http.dissect,
             http.heuristic),
    Protocol("http2", (), http2.dissect),
    Protocol("ssh", (22, 29418), ssh.dissect),
    Protocol("ftp", (21,), ftp.dissect),
    Protocol("ftp-data", (20,), ftp.dissect_data),
    Protocol("nbss", (139, 445), smb.dissect),
    Protocol("smtp", (25, 587), mail.dissect_smtp),
    Protocol("pop", (110,), mail.dissect_pop),
    Protocol("imap", (143,), mail.dissect_imap),
    Protocol("telnet", (23,), telnet.dissect),
    Protocol("rlogin", (513,), telnet.dissect_rlogin),
    Protocol("rsh", (514,), misc.dissect_rsh),
    Protocol("exec", (512,), misc.dissect_exec),
    Protocol("gopher", (70,), misc.dissect_gopher),
    Protocol("chargen", (19,), misc.dissect_chargen),
    Protocol("nntp", (119,), misc.dissect_nntp),
    Protocol("rsync", (873,), misc.dissect_rsync),
    Protocol("msnms", (1863,), misc.dissect_msnms),
    Protocol("irc", (6667, 57000), messaging.dissect_irc),
    Protocol("xmpp", (5222,), messaging.dissect_xmpp),
    Protocol("amqp", (5672,), messaging.dissect_amqp),
    Protocol("mqtt", (1883,), messaging.dissect_mqtt),
    Protocol("ldap", (389, 3268), directory.dissect_ldap),
    Protocol("kerberos", (88,), directory.dissect_kerberos),
    Protocol("tpkt", (102, 3389), rdp.dissect),
    Protocol("h225", (1720,), rdp.dissect_h225),
    Protocol("vnc", (5500, 5501, 5900, 5901), vnc.dissect, _by_start(vnc.dissect, vnc.starts)),
    Protocol("x11", tuple(range(6000, 6064)), misc.dissect_x11),
    Protocol("rtsp", (554, 7236, 8554), misc.dissect_rtsp),
    Protocol("sip", (5060,), misc.dissect_sip_port, _by_start(misc.dissect_sip, misc.looks_like_sip)),
    Protocol("mysql", (3306,), databases.mysql),
    Protocol("pgsql", (5432,), databases.dissect_pgsql),
    Protocol("tds", (1433, 2433), databases.dissect_tds, databases.heuristic_tds),
    Protocol("tns", (1521,), databases.dissect_tns),
    Protocol("resp", (6379,), databases.dissect_redis),
    Protocol("memcache", (11211,), databases.dissect_memcache),
    Protocol("couchbase", (11210,), databases.dissect_couchbase),
    Protocol("cql", (9042,), databases.dissect_cql),
    Protocol("kafka", (9092,), databases.dissect_kafka),
    Protocol("mbtcp", (502,), industrial.dissect_modbus),
    Protocol("dnp3", (20000,), industrial.dissect_dnp3),
    Protocol("enip", (44818,), industrial.dissect_enip),
    Protocol("opcua", (4840,), industrial.dissect_opcua),
    Protocol("iec104", (2404,), industrial.dissect_iec104),
    Protocol("rpc", (111,), rpc.dissect, _by_start(rpc.dissect, rpc.looks_like_rpc)),
    Protocol("dns", (53, 5353), dns_stream.dissect),
    Protocol("ldp", (646,), misc.dissect_ldp),
    Protocol("diameter", (3868,), misc.dissect_diameter),
    Protocol("tacplus", (49,), misc.dissect_tacplus),
    Protocol("ajp13", (8009,), misc.dissect_ajp13),
    Protocol("rmi", (1099,), misc.dissect_rmi),
    Protocol("openvpn", (1194,), misc.dissect_openvpn),
    Protocol("skinny", (2000,), misc.dissect_skinny),
    Protocol("socks", (1080,), socks.dissect),
    Protocol("bittorrent", tuple(range(6881, 6890)), bittorrent.dissect,
             _by_start(bittorrent.dissect, bittorrent.starts)),
    Protocol("dcerpc", (), dcerpc.dissect, dcerpc.heuristic),
    Protocol("tapwall", (), tapwall_chat.dissect, _by_start(tapwall_chat.dissect, tapwall_chat.starts)),
    *(Protocol(*row) for row in services.ROWS),
)  # fmt: skip

# Inside TLS: application protocols by their ALPN names (IANA) and by Wireshark's tls.port table.
BY_ALPN: dict[str, Dissect] = {
    "h2": http2.dissect,
    "http/1.0": http.dissect,
    "http/1.1": http.dissect,
    "dot": dns_stream.dissect,
    "imap": mail.dissect_imap,
    "pop3": mail.dissect_pop,
    "mqtt": messaging.dissect_mqtt,
    "xmpp-client": messaging.dissect_xmpp,
    "irc": messaging.dissect_irc,
    "ftp": ftp.dissect,
}
TLS_PORTS: dict[int, Dissect] = {
    443: http.dissect,
    465: mail.dissect_smtp,
    636: directory.dissect_ldap,
    853: dns_stream.dissect,
    989: ftp.dissect_data,
    990: ftp.dissect,
    992: telnet.dissect,
    993: mail.dissect_imap,
    994: messaging.dissect_irc,
    995: mail.dissect_pop,
    3269: directory.dissect_ldap,
    5061: misc.dissect_sip,
    5671: messaging.dissect_amqp,
    8883: messaging.dissect_mqtt,
}
BY_PORT: dict[int, Dissect] = {port: row.dissect for row in TABLE for port in row.ports}
HEURISTICS: tuple[Dissect, ...] = tuple(row.heuristic for row in TABLE if row.heuristic is not None)


def choose(pdu: Pdu) -> None:
    """Let the first dissector that accepts have the unit; `data` otherwise."""
    stream = pdu.stream
    stream.spoken = None
    known = stream.dissector
    if known is not None and known(pdu):
        stream.spoken = known
        return
    found = pdu.layers
    found.clear()  # of what a dissector that refuses has left nothing stays
    pdu.more = 0
    for dissector in stream.candidates:
        if dissector(pdu):
            stream.spoken = dissector
            return
        found.clear()
        pdu.more = 0
    data = pdu.data
    if not data or TELLING[data[0]] or http.looks_like_http(data):
        for heuristic in HEURISTICS:
            if heuristic(pdu):
                stream.spoken = stream.dissector
                return
            found.clear()
            pdu.more = 0
    stream.refused += 1
    if data:
        pdu.add(layers.DATA)


def by_ports(server: int, a_port: int, b_port: int) -> tuple[Dissect, ...]:
    """The dissectors of a connection's ports, in the order in which they are asked; `server` is 0 where unknown."""
    low, high = (a_port, b_port) if a_port < b_port else (b_port, a_port)
    ports = (server, low, high) if server else (low, high)
    return tuple([BY_PORT[port] for port in dict.fromkeys(ports) if port in BY_PORT])


def over_tls(server: int, a_port: int, b_port: int) -> tuple[Dissect, ...]:
    """The same of what is inside an opened TLS session."""
    ports = dict.fromkeys((server, min(a_port, b_port), max(a_port, b_port)))
    return tuple([TLS_PORTS[port] for port in ports if port in TLS_PORTS])


def telling() -> Array:
    """bool[65536] by the first two bytes, big endian: could a heuristic of TABLE take a unit that begins with them?"""
    found = np.zeros((256, 256), dtype=np.bool_)
    found[20:25, 3] = True  # TLS records
    found[5, :2] = True  # DCE/RPC
    found[0x41:0x5B, 0x41:0x5B] = True  # HTTP, SIP, RTSP, VNC, chat: capital letters
    found[0x13, 0x42] = True  # BitTorrent
    found[0x80, 0] = found[0, 0] = True  # ONC RPC
    found[list(databases.TDS_TYPES), :2] = True
    for first, second in services.TELLING:
        found[first, slice(None) if second is None else second] = True
    return found.reshape(-1)


def _first_bytes() -> bytes:
    """[256] by the first byte: as `telling`, but true also for whatever a length or a number could begin with."""
    told = telling().reshape(256, 256)
    return bytes(first <= ord("Z") or bool(told[first].any()) for first in range(256))


TELLING = _first_bytes()


def guess(pdu: Pdu) -> bool:
    """Heuristics alone: what a tunnel carries. The conversation stays what it is."""
    stream = pdu.stream
    kept, spoken = stream.dissector, stream.spoken
    taken = any(_try(heuristic, pdu) for heuristic in HEURISTICS)
    if taken and "http_connect" in stream.state and stream.dissector not in (kept, None, http.dissect):
        stream.state["http_switched"] = stream.dissector  # behind CONNECT the connection is that from now on
    stream.dissector, stream.spoken = kept, spoken
    return taken


def _try(dissector: Dissect, pdu: Pdu) -> bool:
    kept = len(pdu.layers)
    if dissector(pdu):
        pdu.stream.spoken = dissector
        return True
    del pdu.layers[kept:]
    pdu.more = 0
    return False
