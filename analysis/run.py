"""The analysis, end to end: captures in, every table, fact and finding out. Readable as a table of contents.

    Pipeline (read, decode, flows, TCP, names) -> statistics -> names of addresses -> detectors -> Analysis

Each chunk of packets passes the stages in this order; nothing of a chunk is kept but what the stages counted. This
module decides once, by the size of the input, whether kernels are compiled, and imports them only then. It prints
nothing; progress goes to the caller.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from analysis import compiling, kernel, memory
from analysis.capture import Capture, estimate_packets, open_captures
from analysis.facts import Facts
from analysis.findings import Finding, NotAssessable
from analysis.link_types import link_type_name
from analysis.records import Record
from analysis.selected import Selected

if TYPE_CHECKING:
    from analysis.addresses import AddressTexts
    from analysis.columns import Addresses, Batch, Flows
    from analysis.detect import Panel
    from analysis.display_filter import DisplayFilter
    from analysis.pipeline import Pipeline
    from analysis.stats.conversations import Conversations
    from analysis.stats.endpoints import Endpoints
    from analysis.stats.hierarchy import Hierarchy
    from analysis.stats.iograph import IoGraph
    from analysis.stats.lengths import Lengths
    from analysis.stats.properties import Properties
    from analysis.stream_process import StreamProcess

PARTS = (
    "capture", "hierarchy", "conversations", "endpoints", "io", "tcp_analysis", "packet_lengths", "findings",
)  # fmt: skip
Progress = Callable[[int, int], None]  # bytes read, bytes in all (0: nobody knows)
APART_FROM, APART_TO = 100_000, 4_000_000  # packets of captures whose TCP streams another process names (run._apart)
HEAVIEST = 50  # conversations of a kind in an overview
NAMES_PER_ADDRESS = 8  # shown; an address of a large hoster may have hundreds


class Counter(Protocol):
    """What all statistics have in common."""

    def update(self, batch: Batch) -> None:
        """Count every packet of a batch."""
        ...


class Settings(Record):
    """What an analysis may be told. `trusted` networks are never accused; `intel` is a file of known bad names.

    `keylog` is a file with secrets of TLS sessions, which are opened then.
    """

    interval_s: float = 1.0
    trusted: tuple[str, ...] = ()
    intel: str | None = None
    keylog: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Analysis(Record):
    """Everything that was found. Rows of `flows` are what findings refer to; `texts` are addresses by id."""

    capture: dict[str, Any]  # the part of that name in outputs.md
    properties: Properties
    flows: Flows
    addresses: Addresses
    texts: AddressTexts
    names: dict[str, list[str]]  # address -> names that the capture itself gives it
    hierarchy: Hierarchy
    conversations: Conversations
    endpoints: Endpoints
    io: IoGraph
    seconds: IoGraph  # the same at 1 s, whatever interval was asked for
    lengths: Lengths
    tcp_analysis: dict[str, int]
    facts: Facts
    timing: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    not_assessable: tuple[NotAssessable, ...] = ()
    only: tuple[str, ...] = PARTS

    @property
    def path(self) -> str:
        """The first capture, for commands that reproduce a number."""
        files = self.capture["files"]
        return str(files[0]["path"]) if files else "CAPTURE"

    def to_json(self) -> dict[str, Any]:
        """The JSON form of outputs.md; parts that were not asked for (`only`) are left out."""
        return {name: make() for name, make in self.makers().items()}

    def makers(self) -> dict[str, Callable[[], Any]]:
        """The parts of the JSON form, each made when it is called."""
        makers: dict[str, Callable[[], Any]] = {
            "capture": lambda: self.capture,
            "hierarchy": self.hierarchy.to_json,
            "conversations": self.conversations.to_json,
            "endpoints": self.endpoints.to_json,
            "io": self.io.to_json,
            "tcp_analysis": lambda: dict(self.tcp_analysis),
            "packet_lengths": self.lengths.to_json,
            "findings": lambda: [finding.to_json(self.path) for finding in self.findings],
            "not_assessable": lambda: [asdict(row) for row in self.not_assessable],
            "timing": lambda: dict(self.timing),
        }
        kept = {*self.only, "timing"}
        if "findings" in kept:
            kept.add("not_assessable")
        return {name: make for name, make in makers.items() if name in kept}


class Overview(Record):
    """What one screen needs of an analysis: the same JSON form with the heaviest rows only."""

    analysis: Analysis

    def to_json(self) -> dict[str, Any]:
        """As `Analysis.to_json`; conversations are the heaviest, endpoints the hosts with names; `hosts` counts all."""
        whole = replace(self.analysis, only=PARTS)
        endpoints = whole.endpoints
        hosts = {kind: endpoints.hosts(kind) for kind in ("ip", "ipv6")}
        makers = whole.makers() | {
            "conversations": lambda: {
                kind: whole.conversations.kind_to_json(kind, HEAVIEST) for kind in ("eth", "ip", "ipv6")
            },
            "endpoints": lambda: {
                kind: [
                    {"address": endpoints.texts[i], "names": names} for i, names in endpoints.names.items() if found[i]
                ]
                for kind, found in hosts.items()
            },
            "hosts": lambda: sum(int(found.sum()) for found in hosts.values()),
        }
        return {name: make() for name, make in makers.items()}


def analyse(
    paths: Sequence[str],
    *,
    settings: Settings | None = None,
    interval_s: float | None = None,
    only: Sequence[str] | None = None,
    progress: Progress | None = None,
    selector: DisplayFilter | None = None,
    judge: bool = True,
    meanwhile: Callable[[Analysis], None] | None = None,
) -> Analysis:
    """Analyse captures as one, merged by time. `-` is stdin. Raises AnalysisError for what cannot be read.

    With a `selector`, only packets that it selects in the whole capture are analysed. Without `judge` no detector is
    asked, and there are no findings. `meanwhile` gets the analysis without findings, in another thread while
    detectors are asked where that gains something.
    """
    began = perf_counter()
    settings = settings or Settings()
    if interval_s is not None:
        settings = replace(settings, interval_s=interval_s)
    packets = estimate_packets(paths)
    compiling.choose(packets)
    if kernel.enabled():
        memory.keep_little()
    together = kernel.enabled() and APART_FROM <= packets <= APART_TO and compiling.cores() > 1
    panel = _panel(settings) if judge and together else None
    with _apart() if together else nullcontext() as apart, open_captures(paths, keylog=settings.keylog) as capture:
        chosen = capture if selector is None else Selected(capture, selector)
        analysis, stages_s = _tables(chosen, settings, progress, apart)
    stages_s["start"] = stages_s["start"] - began
    analysis = replace(analysis, only=tuple(only) if only else PARTS)
    mark = perf_counter()
    if judge and panel is None:
        panel = _panel(settings)  # after the peak of the largest captures: detectors take memory too
    findings, not_assessable = _judged(panel, analysis, meanwhile, together)
    stages_s["findings"] = perf_counter() - mark
    wall_s = perf_counter() - began
    analysis.timing.update(
        wall_s=wall_s,
        packets_per_s=analysis.properties.packets / wall_s if wall_s else None,
        jit=kernel.enabled(),
        stages_s={name: round(value, 6) for name, value in stages_s.items()},
    )
    return replace(analysis, findings=findings, not_assessable=not_assessable)


@contextmanager
def _apart() -> Iterator[StreamProcess | None]:
    """Another process for TCP streams, where the system lets us."""
    from analysis.stream_process import StreamProcess

    apart = None
    with suppress(OSError, AttributeError):  # not every system has forks, or memory without a name
        apart = StreamProcess(Facts())
    try:
        yield apart
    finally:
        if apart is not None:
            apart.close()


def _judged(
    panel: Panel | None, analysis: Analysis, meanwhile: Callable[[Analysis], None] | None, together: bool
) -> tuple[tuple[Finding, ...], tuple[NotAssessable, ...]]:
    """What the detectors say; with `together` most of them in another process, and `meanwhile` in another thread."""
    if panel is None or not together:
        found: tuple[tuple[Finding, ...], tuple[NotAssessable, ...]]
        found = panel.judge(analysis) if panel is not None else ((), ())
        if meanwhile is not None:
            meanwhile(analysis)
        return found
    from analysis.detect import ALL, FLOODS, OTHERS, told
    from analysis.forked import Forked

    evidence = panel.evidence(analysis)
    other = None
    with suppress(OSError, AttributeError):  # before there is another thread
        other = Forked(lambda: panel.ask(evidence, OTHERS))
    try:
        with _beside(meanwhile, analysis):
            if other is None:
                return told(panel.ask(evidence, ALL))
            here = panel.ask(evidence, FLOODS)
            return told(here + other.result())
    finally:
        if other is not None:
            other.close()


@contextmanager
def _beside(work: Callable[[Analysis], None] | None, analysis: Analysis) -> Iterator[None]:
    """Do `work` in a thread, together with what is done inside. Its errors come when that is done."""
    if work is None:
        yield
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "beside") as thread:
        done = thread.submit(work, analysis)
        yield
        done.result()


def batches(paths: Sequence[str]) -> Iterator[Batch]:
    """The packets of captures once more, `Packets.flow` numbered as in `Analysis.flows`; no statistics, no names."""
    compiling.choose(estimate_packets(paths))
    from analysis.decode.frames import Decoder
    from analysis.flows import FlowTable

    decoder, flows = Decoder(), FlowTable(int.from_bytes(os.urandom(8)))
    with open_captures(paths) as capture:
        for records in capture.chunks():
            batch = decoder.update(records)
            flows.update(batch)
            yield batch


def _tables(
    capture: Capture | Selected, settings: Settings, progress: Progress | None, apart: StreamProcess | None
) -> tuple[Analysis, dict[str, float]]:
    """All stages over all chunks, and the tables that they leave; and the seconds of the stages, `start` as a time."""
    from analysis.addresses import AddressTexts
    from analysis.pipeline import Pipeline
    from analysis.stats.conversations import Conversations
    from analysis.stats.endpoints import Endpoints
    from analysis.stats.hierarchy import HierarchyCounter
    from analysis.stats.iograph import IoCounter
    from analysis.stats.lengths import LengthCounter
    from analysis.stats.properties import PropertyCounter

    pipeline = Pipeline(int.from_bytes(os.urandom(8)), apart)
    properties, hierarchy, lengths = PropertyCounter(), HierarchyCounter(), LengthCounter()
    seconds = IoCounter(1.0)
    io = seconds if settings.interval_s == 1.0 else IoCounter(settings.interval_s)
    counters: list[Counter] = [properties, hierarchy, lengths, seconds, *([] if io is seconds else [io])]
    timing = pipeline.timing
    timing["start"] = perf_counter()
    _count(pipeline, capture, counters, progress)
    mark = perf_counter()
    flows, addresses = pipeline.flows.finish(), pipeline.flows.addresses()
    texts = AddressTexts(addresses)
    found = properties.finish()
    facts, tcp_analysis = pipeline.naming.facts, pipeline.tcp.counts()
    keyed = pipeline.keyed
    del pipeline  # what the stages kept per stream makes room for the tables
    if kernel.enabled():
        memory.give_back()
    facts.settle()
    names = address_names(capture.names, facts, flows, texts)
    by_id = {i: names[text] for text, i in sorted(texts.ids(names).items(), key=lambda item: item[1])}
    start_ns = found.frame_1_ns or 0
    timing["tables"] = perf_counter() - mark
    analysis = Analysis(
        capture=_capture_json(capture, found) | ({"tls": _keys_json(facts)} if keyed else {}),
        properties=found,
        flows=flows,
        addresses=addresses,
        texts=texts,
        names=names,
        hierarchy=hierarchy.finish(),
        conversations=Conversations(flows, texts, by_id, start_ns),
        endpoints=Endpoints(flows, texts, by_id),
        io=io.finish(),
        seconds=seconds.finish(),
        lengths=lengths.finish(),
        tcp_analysis=tcp_analysis,
        facts=facts,
        timing={},
    )
    return analysis, timing


def _count(
    pipeline: Pipeline, capture: Capture | Selected, counters: Sequence[Counter], progress: Progress | None
) -> None:
    """Walk all batches; the last one goes with them."""
    kernels_are_new = kernel.enabled()
    for batch in pipeline.batches(capture):
        mark = perf_counter()
        for counter in counters:
            counter.update(batch)
        pipeline.timing["statistics"] += perf_counter() - mark
        if kernels_are_new:
            memory.forget_compiler()
            kernels_are_new = False
        if progress is not None:
            progress(capture.bytes_done, capture.bytes_total)


def _panel(settings: Settings) -> Panel:
    from analysis.detect import Panel

    return Panel(settings)


def address_names(blocks: Mapping[str, str], facts: Facts, flows: Flows, texts: Sequence[str]) -> dict[str, list[str]]:
    """Names that the capture itself gives to addresses: name blocks, then DNS and the like, then TLS server names."""
    names: dict[str, list[str]] = {}

    def add(address: str, name: str) -> None:
        known = names.setdefault(address, [])
        if name and name not in known and len(known) < NAMES_PER_ADDRESS:
            known.append(name)

    for address, name in blocks.items():
        add(address, name)
    for row in facts.name:
        add(row.address, row.name)
    for hello in facts.tls:
        if hello.sni and 0 <= hello.flow < len(flows.kind):
            server = flows.a_id if flows.originator[hello.flow] == 1 else flows.b_id
            add(texts[int(server[hello.flow])], hello.sni)
    return {address: known for address, known in names.items() if known}


def _keys_json(facts: Facts) -> dict[str, int]:
    """How many TLS sessions began in the capture, and of how many the secrets were at hand."""
    return {"sessions": len(facts.tls), "keyed": sum(hello.keyed for hello in facts.tls)}


def _capture_json(capture: Capture | Selected, found: Properties) -> dict[str, Any]:
    """The `capture` part of outputs.md: what the files say and what was counted."""
    counted = found.to_json()
    faults: dict[str, int] = dict(found.faults)
    for name, count in capture.faults.items():
        faults[name] = max(count, faults.get(name, 0))
    return {
        "files": [asdict(file) for file in capture.files],
        **counted,
        "link_types": [link_type_name(number) for number in found.link_types],
        "interfaces": [
            {
                "name": interface.name or None,
                "description": interface.description or None,
                "link_type": link_type_name(interface.link_type),
                "snaplen": interface.snaplen or None,
                "drops": interface.drops,
                "filter": interface.filter or None,
            }
            for interface in capture.interfaces
        ],
        "application": capture.application or None,
        "hardware": capture.hardware or None,
        "os": capture.os or None,
        "time_ordered": capture.time_ordered,
        "faults": faults,
        "comments": [comment.text for comment in capture.comments],
    }
