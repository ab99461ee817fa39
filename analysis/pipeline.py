"""From an open capture to named and judged packets: the stages that every use of a capture shares, in order.

    chunks -> Decoder -> FlowTable -> TcpAnalysis -> Naming

In: a `Capture` (or another `Source`). Out: batches in file order, complete but for statistics. Reading and decoding may run one chunk ahead
in a thread (compiled kernels release the interpreter lock); results do not depend on it. Times of the stages are
added up in `timing`. Kernels are imported when a `Pipeline` is made, so `kernel.choose` comes before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from analysis import kernel

if TYPE_CHECKING:
    from analysis.columns import Batch, Records


class Source(Protocol):
    """Where packets come from: an open capture, or some of its packets."""

    def chunks(self) -> Iterator[Records]:
        """The packets in file order."""
        ...


class Pipeline:
    """The state of all stages for one analysis. `flows`, `tcp` and `naming` hold what was found when it ends."""

    def __init__(self, salt: int = 0x5EED) -> None:
        from analysis.decode.frames import Decoder
        from analysis.flows import FlowTable
        from analysis.protocols.naming import Naming
        from analysis.tcp import TcpAnalysis

        self._decoder = Decoder()
        self.flows = FlowTable(salt)
        self.tcp = TcpAnalysis(self.flows)
        self.naming = Naming(self.flows)
        self.timing: defaultdict[str, float] = defaultdict(float)  # seconds by stage

    def batches(self, capture: Source) -> Iterator[Batch]:
        """Every packet of the capture, a chunk at a time. May be walked once."""
        decoded = self._decoded(capture)
        for batch in _ahead(decoded) if kernel.enabled() else decoded:
            for name, stage in (("flows", self.flows), ("tcp", self.tcp), ("naming", self.naming)):
                began = perf_counter()
                stage.update(batch)
                self.timing[name] += perf_counter() - began
            yield batch
        began = perf_counter()
        self.naming.finish()
        self.timing["naming"] += perf_counter() - began

    def _decoded(self, capture: Source) -> Iterator[Batch]:
        chunks = capture.chunks()
        while True:
            began = perf_counter()
            records = next(chunks, None)
            read = perf_counter()
            self.timing["read"] += read - began
            if records is None:
                return
            batch = self._decoder.update(records)
            self.timing["decode"] += perf_counter() - read
            yield batch


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made in another thread while its predecessor is being worked on."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "decode") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch
