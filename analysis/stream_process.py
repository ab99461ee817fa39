"""TCP streams named in a process of their own, beside everything else: the second core of a machine, or half of two.

In: batches, which are placed in memory that both processes see. Out: the same batches with the layers above TCP, and the
facts, a batch behind: while the other process names one batch, this one reads the next and finishes the one before.
Nothing depends on who was quicker; facts arrive batch by batch, as if they had been found here. The process is a copy of
this one (fork), made before there is much to copy. It ends when this one does, however that ends.
"""

from __future__ import annotations

import mmap
import os
import pickle
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, NoReturn

import numpy as np

from analysis.columns import LAYER_MATRICES, MAX_LAYERS, PACKET_COLUMNS, Array, Batch, Packets, Taps
from analysis.errors import AnalysisError
from analysis.facts import Facts
from analysis.flows import Ends
from analysis.forked import end, fork, settle
from analysis.named_tuples import NamedTuple
from analysis.protocols.stream_naming import COLUMNS, WRITTEN, Named, StreamNaming

SLOTS = 3  # batches between the processes: one being decoded, one being named, one being finished
STEP = 4 << 20  # bytes by which the memory of a slot grows
ALIGNED = 64  # bytes: a cache line
DTYPES = {column.name: column.dtype for column in (*PACKET_COLUMNS, *LAYER_MATRICES)}
MATRICES = {column.name for column in LAYER_MATRICES}
NOTHING = np.zeros(0, np.uint8)
Batches = Iterator[tuple[Batch, Ends]]
Found = tuple[
    list[int], list[bytes], list[tuple[str, type, list[Any]]]
]  # as in Named; facts by kind, a sequence a field


class Sizes(NamedTuple):
    """How much of a slot a batch takes.

    All of a batch lies there, and messages are this short: a long one to a process that is just answering at length
    would let both wait for ever.
    """

    packets: int
    data: int
    secrets: int
    ends: int
    flows: int


class Slot:
    """Memory of one batch that both processes see; it grows as batches do."""

    def __init__(self) -> None:
        self._file = os.memfd_create("tapwall")
        self._memory: mmap.mmap | None = None
        self._size = 0

    def columns(self, sizes: Sizes) -> dict[str, Array]:
        """The columns of a batch of these sizes, by name, as they are in memory."""
        shapes: list[tuple[str, str, tuple[int, ...]]] = [("data", "uint8", (sizes.data,))]
        shapes += [
            (name, DTYPES[name], (sizes.packets, MAX_LAYERS) if name in MATRICES else (sizes.packets,))
            for name in COLUMNS
        ]
        shapes += [("secrets", "uint8", (sizes.secrets,))]
        shapes += [(name, dtype, (sizes.ends,)) for name, dtype in ENDS]
        places, at = [], 0
        for _, dtype, shape in shapes:
            places.append(at)
            at += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNED) * ALIGNED
        memory = self._reach(at)
        return {name: np.ndarray(shape, dtype, memory, place) for (name, dtype, shape), place in zip(shapes, places)}

    def _reach(self, size: int) -> mmap.mmap:
        """The memory, of at least `size` bytes. What is still looked at of a shorter one stays."""
        if self._memory is None or size > self._size:
            self._size = -(-size // STEP) * STEP
            if os.fstat(self._file).st_size < self._size:
                os.ftruncate(self._file, self._size)
            self._memory = mmap.mmap(self._file, self._size)
        return self._memory

    def close(self) -> None:
        """No more batches come. Memory goes with the last array in it."""
        os.close(self._file)
        self._memory = None


ENDS = (("ends_flow", "int64"), ("ends_a_port", "int32"), ("ends_b_port", "int32"), ("ends_server_port", "int32"))


class Outbox(Facts):
    """Facts on their way to the process that keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, list[Any]] = {}

    def add(self, kind: str, row: Any) -> None:
        """Keep `row` until it is taken."""
        self._rows.setdefault(kind, []).append(row)

    def take(self) -> list[tuple[str, type, list[Any]]]:
        """All rows since the last time, by kind; a tuple a field, which is quicker to send than one a row."""
        taken = [(kind, type(rows[0]), list(zip(*rows))) for kind, rows in self._rows.items()]
        self._rows = {}
        return taken


class StreamProcess:
    """`Streams` of naming, elsewhere. Made before threads are; `close` in any case. Facts are added to `facts`.

    Batches pass `placed`, then (maybe in another thread's wake) `sent`, then `update`, in this order.
    """

    def __init__(self, facts: Facts) -> None:
        """Raises OSError where the system does not let us."""
        self.facts = facts
        self._slots = [Slot() for _ in range(SLOTS)]
        self._placed = 0
        self._unsent: deque[tuple[int, Sizes]] = deque()  # batches that were not sent yet: slot and sizes
        self._had: deque[Array] = deque()  # of batches that were not updated yet: layers before
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.process = fork()
        if self.process == 0:
            os.close(ours_in)
            os.close(ours_out)
            _serve(self._slots, os.fdopen(theirs_in, "rb"), os.fdopen(theirs_out, "wb"))
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")

    def placed(self, batches: Batches) -> Batches:
        """The same batches; what streams need of them lies in the common memory."""
        for batch, ends in batches:
            number = self._placed % SLOTS
            sizes = Sizes(len(batch.packets.number), len(batch.data), len(batch.secrets), len(ends.flow), ends.flows)
            columns = self._slots[number].columns(sizes)
            columns["data"][:] = batch.data
            columns["secrets"][:] = np.frombuffer(batch.secrets, np.uint8)
            for name in COLUMNS:
                columns[name][:] = getattr(batch.packets, name)
            for (name, _), values in zip(ENDS, ends[1:]):
                columns[name][:] = values
            self._placed += 1
            self._unsent.append((number, sizes))
            self._had.append(batch.packets.n_layers)
            packets = batch.packets._replace(**{name: columns[name] for name in WRITTEN})
            yield batch._replace(data=columns["data"], packets=packets), ends

    def sent(self, batches: Batches) -> Batches:
        """The same batches, each when the next one has been handed to the other process."""
        last = None
        for batch, ends in batches:
            self._send(self._unsent.popleft())
            if last is not None:
                yield last
            last = batch, ends
        if last is not None:
            yield last

    def update(self, batch: Batch, ends: Ends) -> Named:
        """Wait until the layers of this batch are there; see `Streams`."""
        return Named(self._had.popleft(), *self._receive())

    def finish(self) -> None:
        """Wait for what only the end of the capture tells."""
        self._send(None)
        self._receive()

    def close(self) -> None:
        """End the other process, whatever it is at. By itself it goes when nobody writes to it any more."""
        for pipe in (self._out, self._in):
            with suppress(OSError):
                pipe.close()
        end(self.process)
        for slot in self._slots:
            slot.close()

    def _send(self, message: object) -> None:
        try:
            pickle.dump(message, self._out)
            self._out.flush()
        except BrokenPipeError:
            pass  # what happened is said where its answer is awaited

    def _receive(self) -> tuple[list[int], list[bytes]]:
        try:
            answer: Found | Exception = pickle.load(self._in)  # of our own process
        except EOFError:
            raise AnalysisError("the process that names TCP streams has ended: killed, or out of memory") from None
        if isinstance(answer, Exception):
            raise answer
        renamed, media, facts = answer
        for kind, make, columns in facts:
            for values in zip(*columns):
                self.facts.add(kind, tuple.__new__(make, values))
        return renamed, media


def _serve(slots: list[Slot], inbox: IO[bytes], outbox: IO[bytes]) -> NoReturn:
    """The life of the other process: batch after batch, until there is nobody to answer to."""
    settle()
    facts = Outbox()
    naming = StreamNaming(facts)
    with suppress(EOFError, BrokenPipeError):
        while True:
            message = pickle.load(inbox)
            try:
                renamed: list[int] = []
                media: list[bytes] = []
                if message is None:
                    naming.finish()
                else:
                    number, sizes = message
                    _, renamed, media = _name(naming, slots[number].columns(sizes), sizes)
                answer: Any = renamed, media, facts.take()
            except Exception as error:
                answer = error
            pickle.dump(answer, outbox, pickle.HIGHEST_PROTOCOL)
            outbox.flush()
            if message is None:
                break
    os._exit(0)


def _name(naming: StreamNaming, columns: dict[str, Array], sizes: Sizes) -> Named:
    """Name the streams of a batch that lies in a slot."""
    packets = Packets(**dict.fromkeys(Packets._fields, NOTHING) | {name: columns[name] for name in COLUMNS})
    batch = Batch(columns["data"], packets, Taps(*[NOTHING] * len(Taps._fields)), columns["secrets"].tobytes())
    return naming.update(batch, Ends(sizes.flows, *(columns[name] for name, _ in ENDS)))
