"""SCTP associations, judged by what is counted of a conversation: tried and given up, or taken up by the other side.

In: links. Out: boolean arrays. Chunks are not kept a conversation, so sizes decide: an INIT ACK is an INIT with a cookie
more, a HEARTBEAT comes back as it is, an ABORT is shorter than what it answers (RFC 9260 3.3.2, 3.3.3, 3.3.6, 3.3.7).
"""

from __future__ import annotations

import numpy as np

from analysis import columns
from analysis.columns import Array
from analysis.evidence import Links

FEW = 2  # packets each way: INIT, its answer, an ABORT


def tried(links: Links) -> Array:
    """bool[links]: SCTP conversations of a packet or two each way, in which nothing can have been said."""
    return np.asarray((links.kind == columns.SCTP) & (links.sent <= FEW) & (links.got <= FEW))


def taken_up(links: Links) -> Array:
    """bool[links]: conversations whose answers are at least as long as what they answer, which an ABORT never is."""
    return np.asarray((links.got > 0) & (links.got_bytes * links.sent >= links.sent_bytes * links.got))
