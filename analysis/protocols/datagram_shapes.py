"""Shapes of known attacks in datagrams, as `Payload` facts: what was there, never what it means.

In: datagrams that their rules have read. Out: facts, one a flow and shape. The names of the shapes are a contract with
detectors and stand in the docstring of analysis/facts.py. Every check is a look at a few bytes.
"""

from __future__ import annotations

import re

from analysis.facts import Login, Payload
from analysis.patterns import pattern
from analysis.protocols.datagram import Context, Datagram, Layers

_NAME_LIMIT = 64  # bytes of an instance name; SQL Server allows 16, the overflow of MS02-039 begins behind 96
_SIP_USER = pattern(rb"^(?:to|t)\s*:[^\r\n]{0,80}?sips?:([^@>;\s]{1,64})@", re.I | re.M)
_SIP_REGISTER = pattern(rb"^cseq\s*:\s*\d{1,10}\s+REGISTER\b", re.I | re.M)
_SIP_REFUSED = (b"401", b"403", b"404", b"407")  # challenged or refused (RFC 3261 21.4)
_SCANNERS = (b"friendly-scanner", b"sipvicious", b"sundayddr", b"sipcli", b"VaxSIPUserAgent", b"sip-scan")


def mark(datagram: Datagram, context: Context, shape: str, detail: str) -> None:
    """One fact a flow and shape."""
    if datagram.quoted or not context.first((shape, "", datagram.flow)):
        return
    row = Payload(datagram.number, datagram.time_ns, datagram.flow, shape, detail[:200], datagram.from_a)
    context.facts.add("payload", row)


def sql_resolution_rule(datagram: Datagram, context: Context) -> Layers | None:
    """SQL Server resolution (MC-SQLR): Wireshark has no dissector on 1434, so nothing is named here; the worm
    Slammer is one datagram of type 4 whose instance name overflows."""
    data = datagram.data
    if datagram.dst_port == 1434 and data[:1] == b"\x04" and datagram.length > _NAME_LIMIT and b"\0" not in data[1:40]:
        mark(datagram, context, "sql-resolution-overflow", f"instance name of {datagram.length - 1} bytes")
    return None


def ntp_private(datagram: Datagram, context: Context) -> None:
    """Mode 7, MON_GETLIST: the list of last clients, the classic amplifier (CVE-2013-5211)."""
    data = datagram.data
    if len(data) >= 8 and data[0] & 7 == 7 and data[3] in (20, 42):
        mark(datagram, context, "ntp-monlist", "answer" if data[0] & 0x80 else "request")


def tftp_request(datagram: Datagram, context: Context) -> None:
    """A file asked for, or pushed, without any authentication."""
    name = datagram.data[2:130].split(b"\0", 1)[0].decode("utf-8", "replace")
    mark(datagram, context, "tftp-transfer", f"{'read' if datagram.data[1] == 1 else 'write'} {name}")


def sip_scanner(datagram: Datagram, context: Context) -> None:
    """The user agents of well-known SIP scanners."""
    for name in _SCANNERS:
        if name in datagram.data:
            mark(datagram, context, "sip-scanner", name.decode())
            return


def sip_login(datagram: Datagram, context: Context) -> None:
    """A registrar's answer: accepted, or challenged and refused alike; who counts must know that one challenge is usual."""
    data = datagram.data[:2048]
    if not data.startswith(b"SIP/2.0 ") or _SIP_REGISTER.search(data) is None:
        return
    status = data[8:11]
    if status != b"200" and status not in _SIP_REFUSED:
        return
    found = _SIP_USER.search(data)
    user = found[1].decode("utf-8", "replace") if found else ""
    row = Login(datagram.number, datagram.time_ns, datagram.flow, "sip", user, "", False, int(status == b"200"))
    context.facts.add("login", row)
