"""One line a packet: number, time, lengths, layers, stream, TCP flags; what `tapwall packets` prints.

In: captures. Out: rows, a chunk at a time, in the order of the file. The default columns of `--tsv` are those of the
project's Wireshark oracle, so that the two can be compared line by line. Only columns of a chunk are held at a time.
It prints nothing; which packets are shown is a DisplayFilter's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import columns, compiling
from analysis.capture import Capture, estimate_packets, open_captures
from analysis.columns import KINDS, NO_TIME, TCP_FLAGS, Array, Batch
from analysis.layers import NAMES

if TYPE_CHECKING:
    from analysis.display_filter import DisplayFilter
    from analysis.flows import FlowTable
    from analysis.packet_writer import PacketWriter

DEFAULT_FIELDS = ("number", "time_epoch", "frame_len", "cap_len", "path", "tcp_stream", "tcp_flags")


class Rows:
    """Turns batches into rows of text or numbers. State: what was seen of paths and addresses so far."""

    def __init__(self, flows: FlowTable, fields: Sequence[str] = DEFAULT_FIELDS) -> None:
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            raise ValueError(f"field: got {unknown[0]!r}, expected one of {', '.join(FIELDS)}")
        self.fields = tuple(fields)
        self.flows = flows
        self._paths: dict[bytes, str] = {}
        self._texts: list[str] = []

    def columns(self, batch: Batch, chosen: Array | None = None) -> list[list[Any]]:
        """The fields of every packet (or those where `chosen` is set), as one list a field."""
        rows = np.arange(len(batch.packets.number)) if chosen is None else np.flatnonzero(chosen)
        return [FIELDS[name](self, batch, rows) for name in self.fields]

    def path(self, batch: Batch, rows: Array) -> list[str]:
        """The layers of a frame below `frame`, joined with /: a layer that repeats directly stands once."""
        packets = batch.packets
        depth = int(packets.n_layers[rows].max(initial=0))
        keys = np.ascontiguousarray(packets.layers[rows, :depth])
        keys[np.arange(depth) >= packets.n_layers[rows][:, None]] = 0
        found = []
        known = self._paths
        for raw in keys.view(f"V{2 * depth}").ravel().tolist() if depth else [b""] * len(rows):
            text = known.get(raw)
            if text is None:
                text = known[raw] = "/".join(NAMES[i] for i in np.frombuffer(raw, np.uint16).tolist() if i)
            found.append(text)
        return found

    def address(self, ids: Array) -> list[str | None]:
        """Addresses by id, None for -1."""
        if len(ids) and int(ids.max()) >= len(self._texts):
            from analysis.addresses import address_texts

            self._texts = address_texts(self.flows.addresses())
        texts = self._texts
        return [texts[i] if i >= 0 else None for i in ids.tolist()]


def _time_epoch(_: Rows, batch: Batch, rows: Array) -> list[str | None]:
    """Unix time with nine digits behind the point, as text: a float would lose some."""
    return [
        None if ns == NO_TIME else f"{'-' if ns < 0 else ''}{abs(ns) // 10**9}.{abs(ns) % 10**9:09d}"
        for ns in batch.packets.time_ns[rows].tolist()
    ]


def _stream(kind: int) -> Callable[[Rows, Batch, Array], list[int | None]]:
    """Stream number of the outermost layer of a kind, as Wireshark's first field of that name."""

    def column(rows_of: Rows, batch: Batch, rows: Array) -> list[int | None]:
        stream = np.full(len(batch.packets.number), -1, dtype=np.int64)
        taps = np.flatnonzero(batch.taps.kind == kind)[::-1]  # reversed: the outermost is written last
        flows = batch.taps.flow[taps]
        stream[batch.taps.packet[taps]] = rows_of.flows.flows().stream[flows]
        return [None if number < 0 else number for number in stream[rows].tolist()]

    return column


def _flags(_: Rows, batch: Batch, rows: Array) -> list[str | None]:
    """Names of tcp.analysis flags, sorted, joined with commas; None where there are none."""
    known: dict[int, str | None] = {0: None}
    found = []
    for bits in batch.packets.analysis[rows].tolist():
        if bits not in known:
            known[bits] = ",".join(sorted(name for i, name in enumerate(TCP_FLAGS) if bits >> i & 1))
        found.append(known[bits])
    return found


def _tap(name: str, which: str) -> Callable[[Rows, Batch, Array], list[Any]]:
    """A column of the innermost IP or transport tap."""

    def column(rows_of: Rows, batch: Batch, rows: Array) -> list[Any]:
        packets, taps = batch.packets, batch.taps
        at = packets.transport_tap[rows]
        if which == "address":
            at = np.where(packets.ip_tap[rows] >= 0, packets.ip_tap[rows], packets.first_tap[rows])
        values = getattr(taps, name)
        safe = np.maximum(at, 0)
        if which == "address":
            ids = np.where(at >= 0, values[safe], -1) if len(values) else np.full(len(rows), -1)
            return rows_of.address(ids)
        ported = (
            np.isin(taps.kind[safe], (columns.TCP, columns.UDP, columns.SCTP)) & (at >= 0) if len(values) else at >= 0
        )
        return [
            value if show else None
            for value, show in zip(values[safe].tolist() if len(values) else [0] * len(rows), ported.tolist())
        ]

    return column


def _plain(name: str, absent: int | None = None) -> Callable[[Rows, Batch, Array], list[Any]]:
    """A column of Packets as it is."""

    def column(_: Rows, batch: Batch, rows: Array) -> list[Any]:
        values = getattr(batch.packets, name)[rows].tolist()
        return values if absent is None else [None if value == absent else value for value in values]

    return column


FIELDS: dict[str, Callable[[Rows, Batch, Array], list[Any]]] = {
    "number": _plain("number"),
    "time_epoch": _time_epoch,
    "frame_len": _plain("frame_len"),
    "cap_len": _plain("cap_len"),
    "path": Rows.path,
    "tcp_stream": _stream(KINDS.index("tcp")),
    "tcp_flags": _flags,
    "udp_stream": _stream(KINDS.index("udp")),
    "source": _tap("src_id", "address"),
    "destination": _tap("dst_id", "address"),
    "source_port": _tap("src_port", "port"),
    "destination_port": _tap("dst_port", "port"),
    "ttl": _plain("ttl", -1),
    "payload_len": _plain("payload_len"),
    "tcp_seq": _plain("tcp_seq"),
    "tcp_ack": _plain("tcp_ack"),
    "tcp_window": _plain("tcp_window", -1),
    "flow": _plain("flow", -1),
    "interface": _plain("interface"),
    "fault": _plain("fault"),
}


def packet_rows(
    paths: Sequence[str],
    fields: Sequence[str] = DEFAULT_FIELDS,
    selector: DisplayFilter | None = None,
    *,
    limit: int | None = None,
    writer: PacketWriter | None = None,
    keylog: str | None = None,
) -> Iterator[list[list[Any]]]:
    """Columns of each chunk: one list a field; at most `limit` packets. `writer` gets what is shown, too.

    Raises AnalysisError for what cannot be read.
    """
    compiling.choose(estimate_packets(paths))
    with open_captures(paths, keylog=keylog) as capture:
        yield from rows_of(capture, fields, selector, limit, writer)


def rows_of(
    capture: Capture,
    fields: Sequence[str] = DEFAULT_FIELDS,
    selector: DisplayFilter | None = None,
    limit: int | None = None,
    writer: PacketWriter | None = None,
) -> Iterator[list[list[Any]]]:
    """The same for a capture that is open."""
    from analysis.pipeline import Pipeline

    pipeline = Pipeline()
    rows = Rows(pipeline.flows, fields)
    left = limit
    for batch in pipeline.batches(capture):
        chosen = np.ones(len(batch.packets.number), bool)
        if selector is not None:
            chosen = selector.select(batch, pipeline.flows, pipeline.naming.facts)
        if left is not None:
            chosen[np.flatnonzero(chosen)[left:]] = False
            left -= int(chosen.sum())
        if writer is not None:
            writer.write(batch, chosen, capture)
        yield rows.columns(batch, chosen)
        if left == 0:
            return


def tsv_lines(chunk: list[list[Any]]) -> str:
    """A chunk as tab-separated lines; an absent value is empty."""
    texts = [["" if value is None else str(value) for value in column] for column in chunk]
    return "".join(["\t".join(row) + "\n" for row in zip(*texts)])
