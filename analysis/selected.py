"""A capture of which a display filter shows only some packets: what `analyze --filter` analyses.

In: an open capture and a filter. Out: the same chunks without the rows that the filter does not select, numbered as in
the file; everything else is the capture's. The whole capture passes all stages once for the filter's sake, so that
streams, reassembly and TCP analysis that the filter asks about are those of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.capture import Capture
from analysis.columns import Records

if TYPE_CHECKING:
    from analysis.display_filter import DisplayFilter


class Selected:
    """Stands for the capture where only its packets are asked for."""

    def __init__(self, capture: Capture, selector: DisplayFilter) -> None:
        self._capture = capture
        self._selector = selector
        self.secrets: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def chunks(self) -> Iterator[Records]:
        """Selected packets, a chunk at a time."""
        from analysis.pipeline import Pipeline

        pipeline = Pipeline()
        waiting: list[Records] = []
        for batch in pipeline.batches(_Tee(self._capture, waiting, self.secrets)):
            chosen = self._selector.select(batch, pipeline.flows, pipeline.naming.facts)
            records = waiting.pop(0)
            rows = np.flatnonzero(chosen)
            yield Records(records.data, *(column[rows] for column in records[1:]))


class _Tee:
    """The capture's chunks and secrets, each also put into lists of others."""

    def __init__(self, capture: Capture, records: list[Records], secrets: list[bytes]) -> None:
        self.secrets: list[bytes] = []
        self._capture, self._records, self._secrets = capture, records, secrets

    def chunks(self) -> Iterator[Records]:
        """All packets."""
        for records in self._capture.chunks():
            self._records.append(records)
            self.secrets += self._capture.secrets
            self._secrets += self._capture.secrets
            self._capture.secrets.clear()
            yield records
