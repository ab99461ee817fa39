"""The table of protocols above TCP: who speaks on which port, who recognises itself, in which order.

In: a unit of a connection. Out: the dissector that takes it. Order of judgement as in Wireshark: what the conversation
is known to speak, the server's port (of SYN or SYN+ACK), the lower port, the higher port, then heuristics; a
dissector may refuse, and what all refuse is `data`. A new protocol is a module with a `dissect` and one line here.
"""

from __future__ import annotations

from typing import NamedTuple

from analysis import layers
from analysis.protocols import http, tls_records
from analysis.protocols.pdu import Dissect, Pdu


class Protocol(NamedTuple):
    """One row: ports of Wireshark's tcp.port table; `heuristic` recognises the protocol on any port."""

    name: str
    ports: tuple[int, ...]
    dissect: Dissect
    heuristic: Dissect | None = None


TABLE: tuple[Protocol, ...] = (
    Protocol("tls", (443, 465, 636, 802, 853, 993, 995, 1300, 2221, 2443, 3496, 5061, 5671, 5684, 8883, 19999),
             tls_records.dissect, tls_records.heuristic),
    Protocol("http", (80, 631, 1900, 2710, 2869, 3128, 3132, 3689, 5985, 8080, 8088, 11371), http.dissect,
             http.heuristic),
)  # fmt: skip

BY_PORT: dict[int, Dissect] = {port: row.dissect for row in TABLE for port in row.ports}
HEURISTICS: tuple[Dissect, ...] = tuple(row.heuristic for row in TABLE if row.heuristic is not None)


def choose(pdu: Pdu) -> None:
    """Let the first dissector that accepts have the unit; `data` otherwise."""
    stream = pdu.stream
    if stream.dissector is not None and _try(stream.dissector, pdu):
        return
    low, high = sorted((stream.a_port, stream.b_port))
    for port in (stream.server_port, low, high):
        dissector = BY_PORT.get(port)
        if dissector is not None and _try(dissector, pdu):
            return
    for heuristic in HEURISTICS:
        if _try(heuristic, pdu):
            return
    if pdu.data:
        pdu.add(layers.DATA)


def guess(pdu: Pdu) -> bool:
    """Heuristics alone: what a tunnel carries."""
    return any(_try(heuristic, pdu) for heuristic in HEURISTICS)


def _try(dissector: Dissect, pdu: Pdu) -> bool:
    kept = len(pdu.layers)
    if dissector(pdu):
        return True
    del pdu.layers[kept:]
    pdu.more = 0
    return False
