"""From an open capture to named and judged packets: the stages that every use of a capture shares, in order.

    chunks -> Decoder -> FlowTable -> TcpAnalysis -> Naming

In: a `Capture` (or another `Source`). Out: batches in file order, complete but for statistics. All before naming may run
one chunk ahead in a thread (compiled kernels release the interpreter lock), so naming sees of the flow table only what
came with its batch, and results do not depend on it. Times of the stages are added up in `timing`; they overlap.
Kernels are imported when a `Pipeline` is made, so `kernel.choose` comes before.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from analysis import kernel

if TYPE_CHECKING:
    from analysis.columns import Batch, Records
    from analysis.flows import Ends
    from analysis.stream_process import StreamProcess

# The other thread's kernels come back for the interpreter lock some dozen times a chunk; at Python's own 5 ms they would
# wait longer for it than they work.
HAND_OVER_S = 0.0002


class Source(Protocol):
    """Where packets come from: an open capture, or some of its packets. `secrets` are moved to the batches."""

    secrets: list[bytes]

    def chunks(self) -> Iterator[Records]:
        """The packets in file order."""
        ...


class Pipeline:
    """The state of all stages for one analysis. `flows`, `tcp` and `naming` hold what was found when it ends."""

    def __init__(self, salt: int = 0x5EED, apart: StreamProcess | None = None) -> None:
        """`apart` names TCP streams, where it is not done in this process."""
        from analysis.decode.frames import Decoder
        from analysis.flows import FlowTable
        from analysis.protocols.naming import Naming
        from analysis.tcp import TcpAnalysis

        self._decoder = Decoder()
        self.flows = FlowTable(salt)
        self.tcp = TcpAnalysis(self.flows)
        self._apart = apart
        self.keyed = False  # did secrets come with the packets?
        self.naming = Naming() if apart is None else Naming(apart.facts, apart)
        self.timing: defaultdict[str, float] = defaultdict(float)  # seconds by stage

    def batches(self, capture: Source) -> Iterator[Batch]:
        """Every packet of the capture, a chunk at a time. May be walked once."""
        counted = self._counted(capture)
        if self._apart is not None:
            counted = self._apart.placed(counted)
        if kernel.enabled():
            counted = _ahead(counted)
        if self._apart is not None:
            counted = self._apart.sent(counted)
        for batch, ends in counted:
            began = perf_counter()
            self.naming.update(batch, ends)
            self.timing["naming"] += perf_counter() - began
            yield batch
        began = perf_counter()
        self.naming.finish()
        self.flows.application = self.naming.application
        self.timing["naming"] += perf_counter() - began

    def _counted(self, capture: Source) -> Iterator[tuple[Batch, Ends]]:
        """Chunks with conversations and TCP analysis, and of the table what naming wants: it may be a chunk behind."""
        marks = [perf_counter()]
        for records in capture.chunks():
            marks.append(perf_counter())
            batch = self._decoder.update(records)
            if capture.secrets:
                batch = batch._replace(secrets=b"\n".join(capture.secrets))
                capture.secrets.clear()
                self.keyed = True
            marks.append(perf_counter())
            self.flows.update(batch)
            ends = self.flows.ends(batch)
            marks.append(perf_counter())
            self.tcp.update(batch)
            marks.append(perf_counter())
            for name, began, ended in zip(("read", "decode", "flows", "tcp"), marks, marks[1:], strict=False):
                self.timing[name] += ended - began
            yield batch, ends
            marks = [perf_counter()]
        self.timing["read"] += perf_counter() - marks[0]


def _ahead(batches: Iterator[tuple[Batch, Ends]]) -> Iterator[tuple[Batch, Ends]]:
    """The same batches, each made in another thread while its predecessor is being worked on."""
    from concurrent.futures import ThreadPoolExecutor

    patience = sys.getswitchinterval()
    sys.setswitchinterval(HAND_OVER_S)
    try:
        with ThreadPoolExecutor(1, "decode") as thread:
            coming = thread.submit(next, batches, None)
            while (made := coming.result()) is not None:
                coming = thread.submit(next, batches, None)
                yield made
    finally:
        sys.setswitchinterval(patience)
