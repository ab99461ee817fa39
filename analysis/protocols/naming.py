"""Naming: which protocols stand above transport in each frame, and what their payloads said.

In: batches of packets with flows and TCP analysis. Out: the layer matrices of the same batches, filled in place, and
`facts`. TCP goes through stream_naming.py, everything else through datagrams.py. It must not know files, statistics or
detectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis import layers
from analysis.columns import Array, Batch, Packets
from analysis.facts import Facts
from analysis.flows import Ends
from analysis.growing import FIRST_ROWS, lengthen
from analysis.protocols.datagrams import DatagramNaming
from analysis.protocols.header_shapes import HeaderShapes
from analysis.protocols.link_control import LinkControls
from analysis.protocols.openings import Openings
from analysis.protocols.stream_naming import StreamNaming, Streams

SORTED_FACTS = ("tls", "dns", "http", "login", "ssh", "smb", "rpc", "kerberos", "payload", "chat")


class Naming:
    """Names the layers of every frame; one object per analysis. `streams` adds its facts to `facts`."""

    def __init__(self, facts: Facts | None = None, streams: Streams | None = None) -> None:
        self.facts = Facts() if facts is None else facts
        self.application = np.zeros(FIRST_ROWS, np.uint16)  # by flow: layer id of the protocol above transport
        self._streams: Streams = StreamNaming(self.facts) if streams is None else streams
        self._datagrams = DatagramNaming(self.facts)
        self._openings = Openings(self.facts)
        self._headers = HeaderShapes(self.facts)
        self._links = LinkControls(self.facts)

    def update(self, batch: Batch, ends: Ends) -> None:
        """Append the layers above transport to each packet of `batch`, in place; `ends` are its conversations."""
        packets = batch.packets
        had, renamed, media = self._streams.update(batch, ends)
        for description in media:
            self._datagrams.announce_media(description)
        if not len(packets.number):
            return
        while ends.flows > len(self.application):
            lengthen(self, "application")
        self._datagrams.update(batch)
        self._openings.update(batch, renamed)
        self._headers.update(batch)
        self._links.update(batch)
        self._vote(packets, had)

    def finish(self) -> None:
        """Report what only the end of the capture tells, and put the facts in frame order."""
        self._streams.finish()
        self._headers.finish()
        for kind in SORTED_FACTS:
            getattr(self.facts, kind).sort(key=_number)

    def _vote(self, packets: Packets, had: Array) -> None:
        """Each flow's application: the first layer above transport that is more than `data`."""
        rows = np.flatnonzero((packets.n_layers > had) & (packets.flow >= 0))[::-1]
        if not len(rows):
            return
        application = self.application
        layer = packets.layers[rows, had[rows]]
        plain = layer == layers.DATA
        faulty = (layer == layers.SHORT) | (layer == layers.MALFORMED) | (layer == layers.UNREASSEMBLED)
        flow = packets.flow[rows]
        undecided = application[flow] == 0
        of_data = plain & undecided
        application[flow[of_data]] = layers.DATA
        undecided = (application[flow] == 0) | (application[flow] == layers.DATA)
        named = ~plain & ~faulty & undecided
        application[flow[named]] = layer[named]


def _number(fact: Any) -> int:
    return int(fact.number)
