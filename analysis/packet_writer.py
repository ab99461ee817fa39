"""Writes chosen packets to a new pcapng file: `tapwall packets -w`.

In: batches and which of their packets to keep. Out: one section; an interface block per interface and link type, with
its name and nanosecond clock (pcapng draft 4.2), then enhanced packet blocks. The bytes are those of the source: what
a pseudo-header took away in front is put back. The file appears under its name when it is complete.
"""

from __future__ import annotations

import os
import struct
from types import TracebackType
from typing import IO

import numpy as np

from analysis.capture import Capture
from analysis.columns import NO_TIME, Array, Batch
from analysis.errors import AnalysisError
from analysis.origin import PSEUDO_HEADERS

SECTION, INTERFACE, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 3, 6
NAME, RESOLUTION = 2, 9  # options of an interface block
NANOSECONDS = 9
MOST_INTERFACES = 4096  # a capture that describes more keeps the first ones apart


class PacketWriter:
    """Use as a context manager; `packets` counts what was written. Raises AnalysisError where the file cannot be."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._part = f"{path}.part"
        self._known: dict[tuple[int, int], int] = {}
        self.packets = 0
        try:
            self._file: IO[bytes] = open(self._part, "wb")  # noqa: SIM115  closed by __exit__
        except OSError as error:
            raise AnalysisError(f"{path}: cannot be written: {error.strerror}") from None
        self._block(SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))

    def __enter__(self) -> PacketWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._part, self._path)
        else:
            os.unlink(self._part)

    def write(self, batch: Batch, chosen: Array, capture: Capture) -> None:
        """Append the chosen packets of a batch; blocks that are no packets stay behind."""
        packets = batch.packets
        buffer = memoryview(batch.data)  # type: ignore[arg-type]  # an array is a buffer
        for row in np.flatnonzero(chosen & (packets.link_type >= 0)).tolist():
            link = int(packets.link_type[row])
            header = PSEUDO_HEADERS.get(link, 0)
            start, size = int(packets.start[row]), int(packets.cap_len[row])
            wire = int(packets.frame_len[row])
            if header and start >= header:
                start, size, wire = start - header, size + header, wire + header
            number = self._interface(int(packets.interface[row]), link, capture)
            ns = int(packets.time_ns[row])
            clock = 0 if ns == NO_TIME else max(0, ns)
            head = struct.pack("<IIIII", number, clock >> 32, clock & 0xFFFFFFFF, size, min(wire, 0xFFFFFFFF))
            self._block(ENHANCED_PACKET, head + bytes(buffer[start : start + size]))
            self.packets += 1

    def _interface(self, source: int, link: int, capture: Capture) -> int:
        """Number of the interface block for packets of `source` with that link type; written when first needed."""
        number = self._known.get((source, link))
        if number is None:
            if len(self._known) >= MOST_INTERFACES:
                source = -1
                if (source, link) in self._known:
                    return self._known[source, link]
            number = self._known[source, link] = len(self._known)
            name = capture.interfaces[source].name if 0 <= source < len(capture.interfaces) else ""
            options = _option(RESOLUTION, bytes([NANOSECONDS]))
            if name:
                options = _option(NAME, name.encode("utf-8", "replace")[:1024]) + options
            self._block(INTERFACE, struct.pack("<HHI", link & 0xFFFF, 0, 0) + options + struct.pack("<HH", 0, 0))
        return number

    def _block(self, kind: int, body: bytes) -> None:
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", len(body) + 12)
        try:
            self._file.write(struct.pack("<I", kind) + size + body + size)
        except OSError as error:
            raise AnalysisError(f"{self._path}: cannot be written: {error.strerror}") from None


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
