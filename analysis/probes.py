"""Conversations that only probe: segments that open nothing, SCTP associations that were tried and given up.

In: links, or the flags of first segments. Out: boolean arrays. SCTP's chunks are not kept a conversation, so sizes decide:
an INIT ACK is an INIT with a cookie more, a HEARTBEAT comes back as it is, an ABORT is shorter than what it answers
(RFC 9260 3.3.2, 3.3.3, 3.3.6, 3.3.7). Knows no threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis import columns
from analysis.columns import Array, among
from analysis.evidence import ACK, FIN, PSH, RST, SYN, URG, Links

ALL = slice(None)  # of the links
FEW = 2  # packets each way: a probe, its answer, a repeat


def stealth(flags: Array) -> Array:
    """First segments that open nothing: no flag at all, FIN without ACK, or SYN together with FIN."""
    plain = flags & (FIN | SYN | RST | PSH | ACK | URG)
    return np.asarray((flags >= 0) & ((plain == 0) | ((plain & FIN != 0) & ((plain & ACK == 0) | (plain & SYN != 0)))))


def bare(links: Links, rows: Any = ALL) -> Array:
    """bool[rows]: nothing but an ACK, or FIN+ACK, without data, answered by RST or not at all (ACK, window and Maimon scans)."""
    alone = (links.kind[rows] == columns.TCP) & links.unicast[rows] & among(links.first_flags[rows], (ACK, FIN | ACK))
    alone &= (links.sent[rows] <= FEW) & (links.got[rows] <= FEW)
    alone &= links.sent_payload[rows] + links.got_payload[rows] == 0
    answer = links.got_flags[rows]
    return np.asarray(alone & ((answer == 0) | (answer & RST != 0)))


def tried(links: Links, rows: Any = ALL) -> Array:
    """bool[rows]: SCTP conversations of a packet or two each way, in which nothing can have been said."""
    return np.asarray((links.kind[rows] == columns.SCTP) & (links.sent[rows] <= FEW) & (links.got[rows] <= FEW))


def taken_up(links: Links, rows: Any = ALL) -> Array:
    """bool[rows]: conversations whose answers are at least as long as what they answer, which an ABORT never is."""
    sent, got = links.sent[rows], links.got[rows]
    return np.asarray((got > 0) & (links.got_bytes[rows] * sent >= links.sent_bytes[rows] * got))
