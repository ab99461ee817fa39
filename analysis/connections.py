"""How a connection went, in the words of Zeek's conn.log, and who opened it: judged from a flow's counters.

In: columns of Flows by name. Out: one column each. Vectorised over all flows; called when a table is asked for, so
that the per-packet kernel keeps flags and counts only. Zeek's table: docs.zeek.org, `conn_state`; the words are in
`columns.CONN_STATES`. A one-sided view is never called a failure: without the opening SYN the word is OTH.
"""

import numpy as np

from analysis.columns import CONN_STATES, ICMP, ICMPV6, TCP, UDP, Array, among

FIN, SYN, RST, ACK = 1, 2, 4, 16
ICMP_REQUESTS = (8, 13, 15, 17, 37)  # RFC 792, 950, 6918
ICMPV6_REQUESTS = (128, 139)  # RFC 4443, 4620


def originators(flow: dict[str, Array]) -> Array:
    """int8[flows]: 0 side a opened the flow, 1 side b, -1 unknown. Handshake first, then the port that serves."""
    found = flow["originator"].copy()
    kind = flow["kind"]
    a_port, b_port = flow["a_port"], flow["b_port"]
    unknown = found == -1
    a_serves = (a_port < b_port) & (a_port < 1024)
    b_serves = (b_port < a_port) & (b_port < 1024)
    tcp = unknown & (kind == TCP)
    found[tcp & b_serves] = 0
    found[tcp & a_serves] = 1
    # A datagram exchange begins with its first packet, unless that came from a server's port (an answer whose
    # question was before the capture).
    udp = unknown & (kind == UDP)
    found[udp] = 0
    found[udp & a_serves & (b_port >= 1024)] = 1
    requests = _is_request(flow)
    found[unknown & requests] = 0
    return found


def _is_request(flow: dict[str, Array]) -> Array:
    """True for ICMP exchanges of a request and its reply."""
    kind, request = flow["kind"], np.maximum(flow["b_port"], 0)
    four = (kind == ICMP) & (among(request, ICMP_REQUESTS) | among(flow["a_port"], ICMP_REQUESTS))
    six = (kind == ICMPV6) & (among(request, ICMPV6_REQUESTS) | among(flow["a_port"], ICMPV6_REQUESTS))
    return np.asarray(four | six)


def conn_states(flow: dict[str, Array]) -> Array:
    """uint8[flows]: index into CONN_STATES; 0 for kinds that have no connections (Ethernet, IP, SCTP)."""
    kind = flow["kind"]
    state = np.zeros(len(kind), dtype=np.uint8)
    for mask, judge in ((kind == TCP, _tcp_states), ((kind == UDP) | _is_request(flow), _exchange_states)):
        rows = np.flatnonzero(mask)
        if len(rows):
            state[rows] = judge({name: column[rows] for name, column in flow.items() if name in _NEEDED})
    other_icmp = ((kind == ICMP) | (kind == ICMPV6)) & (state == 0)
    state[other_icmp] = CONN_STATES.index("OTH")
    return state


_NEEDED = (
    "originator", "tcp_flags_ab", "tcp_flags_ba", "packets_ab", "packets_ba", "syn_ab", "syn_ba", "synack",
)  # fmt: skip


def _by_originator(flow: dict[str, Array], name: str) -> tuple[Array, Array]:
    """A pair of directed columns as (originator's, responder's); side a where the originator is unknown."""
    swapped = flow["originator"] == 1
    ab, ba = flow[f"{name}_ab"], flow[f"{name}_ba"]
    return np.where(swapped, ba, ab), np.where(swapped, ab, ba)


def _exchange_states(flow: dict[str, Array]) -> Array:
    """UDP and ICMP requests: S0 unanswered, SF both spoke, SHR only the answering side is in the capture."""
    asked, answered = _by_originator(flow, "packets")
    return _first_match(
        ((asked > 0) & (answered > 0), "SF"),
        (asked > 0, "S0"),
        (answered > 0, "SHR"),
    )


def _tcp_states(flow: dict[str, Array]) -> Array:
    """TCP: the first row that fits, in the order of Zeek's own decision. A normal close stays SF when an RST follows."""
    flags_o, flags_r = _by_originator(flow, "tcp_flags")
    syn_o, _ = _by_originator(flow, "syn")
    packets_o, packets_r = _by_originator(flow, "packets")
    opened = syn_o > 0
    accepted = flow["synack"] > 0
    established = opened & accepted
    fin_o, fin_r = (flags_o & FIN) > 0, (flags_r & FIN) > 0
    rst_o, rst_r = (flags_o & RST) > 0, (flags_r & RST) > 0
    only_syn = (flags_o & (ACK | FIN | RST)) == 0
    silent = packets_r == 0
    return _first_match(
        (established & fin_o & fin_r, "SF"),
        (established & rst_r, "RSTR"),
        (established & rst_o, "RSTO"),
        (established & fin_o, "S2"),
        (established & fin_r, "S3"),
        (established, "S1"),
        (opened & rst_r, "REJ"),
        (opened & silent & rst_o, "RSTOS0"),
        (opened & silent & fin_o, "SH"),
        (opened & silent & only_syn, "S0"),
        (accepted & ~opened & rst_r & (packets_o == 0), "RSTRH"),
        (accepted & ~opened & fin_r & (packets_o == 0), "SHR"),
        (np.ones(len(silent), dtype=bool), "OTH"),
    )


def _first_match(*rules: tuple[Array, str]) -> Array:
    """For each row the word of the first rule that holds, as an index into CONN_STATES; 0 where none does."""
    numbers = [CONN_STATES.index(word) for _, word in rules]
    return np.select([mask for mask, _ in rules], numbers, default=0).astype(np.uint8)
