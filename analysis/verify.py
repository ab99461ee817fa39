"""Hold our numbers against tshark's: the same capture, both answers, every difference grouped by its cause.

In: a capture, and either tshark on this machine or a folder with its stored answers (`frames.tsv.gz`,
`hierarchy.tsv`, `conv_*.tsv`, `endpoints_*.tsv`). Out: a `Report`. One run of `tshark -2 -n -T pdml` gives layers,
TCP flags, hierarchy, conversations and endpoints: the two-pass answer that Wireshark's window shows. Rules of the
window (hierarchy tree, I/O bins) are applied here to tshark's frames by code of its own, not by ours of `stats`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from analysis.errors import AnalysisError
from analysis.key_log import read_key_log
from analysis.named_tuples import NamedTuple

KINDS = ("eth", "ip", "ipv6", "tcp", "udp")
TIME_LIMIT_S = 300  # for tshark: captures with absurd times make it run out of memory instead of ending
MOST_BINS = 1_000_000  # of our I/O graph
EXAMPLES = 5  # frames named per difference
TRANSPORT = ("tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp")
NO_LAYER = ("geninfo", "pkt_comment")
MEASURES = ("acks_frame", "ack_rtt", "initial_rtt", "bytes_in_flight", "push_bytes_sent", "rto", "rto_frame",
            "duplicate_ack_num", "duplicate_ack_frame", "flags")  # fmt: skip

Key = tuple[Any, ...]


class Frame(NamedTuple):
    """What both sides say of one frame."""

    path: str
    stream: str
    flags: str


@dataclass(slots=True)
class Answer:
    """One side's tables. Rows of tables are keys with their numbers; None: the source has no such table."""

    frames: dict[int, Frame] = field(default_factory=dict)
    tables: dict[str, dict[Key, tuple[int, ...]] | None] = field(default_factory=dict)


class Difference(NamedTuple):
    """One cause: what tshark says, what we say, how often, and some frame numbers (none for rows of tables)."""

    what: str
    tshark: str
    tapwall: str
    times: int
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The comparison of one capture."""

    capture: str
    tshark: str
    frames: int
    paths_equal: int
    applications_equal: int
    tcp_frames: int
    tcp_flags_equal: int
    streams_equal: int
    tables: dict[str, dict[str, Any]]
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """True where every table is equal."""
        return all(table["equal"] for table in self.tables.values())

    def to_json(self) -> dict[str, Any]:
        """The form of outputs.md."""
        names = ("capture", "tshark", "frames", "paths_equal", "applications_equal", "tcp_frames", "tcp_flags_equal")
        found: dict[str, Any] = {name: getattr(self, name) for name in (*names, "streams_equal", "tables")}
        return found | {"differences": [row._asdict() for row in self.differences]}


def verify_capture(path: str, oracle: str | None = None, keylog: str | None = None) -> Report:
    """Compare our answer for one capture with tshark's, run now or stored in `oracle`; both may have a key log.

    Raises AnalysisError.
    """
    if keylog is not None:
        read_key_log(keylog)  # before tshark is run, which passes over a file that holds no secret
    if oracle is not None:
        version, theirs = stored_answer(Path(oracle))
    else:
        version, theirs = _run_tshark(path, keylog)
    return compare(path, version, theirs, our_answer(path, keylog))


def our_answer(path: str, keylog: str | None = None) -> Answer:
    """What `analyze` and `packets` say."""
    from analysis.packets import packet_rows
    from analysis.run import Settings, analyse

    answer = Answer()
    fields = ("number", "path", "tcp_stream", "tcp_flags")
    for chunk in packet_rows([path], fields, keylog=keylog):
        for number, layers, stream, flags in zip(*chunk):
            answer.frames[number] = Frame(layers, "" if stream is None else str(stream), flags or "")
    found = analyse([path], settings=Settings(keylog=keylog)).to_json()
    rows = {tuple(row["path"].split("/")): row for row in found["hierarchy"] if row["path"] != "frame"}
    numbers = ("packets", "bytes", "end_packets", "end_bytes", "pdus")
    answer.tables["hierarchy"] = {key: tuple(row[name] for name in numbers) for key, row in rows.items()}
    for kind in KINDS:
        conversations: Counter[Key] = Counter()
        for row in found["conversations"][kind]:
            a = (row["a"], row.get("a_port"), row["packets_ab"], row["bytes_ab"])
            b = (row["b"], row.get("b_port"), row["packets_ba"], row["bytes_ba"])
            conversations[_pair(a, b)] += 1
        answer.tables[f"conversations_{kind}"] = {key: (count,) for key, count in conversations.items()}
        answer.tables[f"endpoints_{kind}"] = {
            (row["address"], row.get("port")): tuple(
                row[name] for name in ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")
            )
            for row in found["endpoints"][kind]
        }
    answer.tables["io"] = {
        (second,): row for second, row in enumerate(zip(*(found["io"][s] for s in ("packets", "bytes", "tcp_errors"))))
    }
    return answer


def compare(path: str, version: str, theirs: Answer, ours: Answer) -> Report:
    """Count what is equal; group what is not."""
    causes: dict[tuple[str, str, str], list[int]] = {}
    paths = applications = tcp = flags = streams = 0
    for number, want in theirs.frames.items():
        got = ours.frames.get(number, Frame("", "", ""))
        paths += got.path == want.path
        applications += application(got.path) == application(want.path)
        if got.path != want.path:
            causes.setdefault(("path", want.path, got.path), []).append(number)
        if want.stream:
            tcp += 1
            flags += got.flags == want.flags
            streams += got.stream == want.stream
            if got.flags != want.flags:
                causes.setdefault(("tcp flags", want.flags, got.flags), []).append(number)
            if got.stream != want.stream:
                causes.setdefault(("tcp stream", want.stream, got.stream), []).append(number)
    differences = [Difference(*cause, len(rows), tuple(rows[:EXAMPLES])) for cause, rows in causes.items()]
    differences.sort(key=lambda row: -row.times)
    tables = {}
    for name, rows in theirs.tables.items():
        mine = ours.tables.get(name)
        if rows is None or mine is None:
            continue
        unequal = [key for key in {**rows, **mine} if rows.get(key) != mine.get(key)]
        tables[name] = {"rows": len(rows), "equal": not unequal, "different": len(unequal)}
        differences += [_row_difference(name, key, rows, mine) for key in unequal[:EXAMPLES]]
    return Report(
        path, version, len(theirs.frames), paths, applications, tcp, flags, streams, tables, tuple(differences)
    )


def _row_difference(
    name: str, key: Key, theirs: dict[Key, tuple[int, ...]], ours: dict[Key, tuple[int, ...]]
) -> Difference:
    def text(rows: dict[Key, tuple[int, ...]]) -> str:
        return " ".join(map(str, rows[key])) if key in rows else "no such row"

    flat = "/".join(map(str, key)) if name == "hierarchy" else " ".join(map(str, key))
    return Difference(f"{name} {flat}", text(theirs), text(ours), 1, ())


def application(path: str) -> str:
    """The path cut behind the first layer above transport."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if part in TRANSPORT:
            return "/".join(parts[: i + 2])
    return path


def lines(report: Report) -> Iterator[str]:
    """The report as tab-separated lines; texts of both sides are protocol names and numbers, escaped all the same."""
    yield f"capture\t{report.capture!r}\t{report.tshark}"
    for name in ("paths_equal", "applications_equal"):
        yield f"{name}\t{getattr(report, name)} of {report.frames} frames"
    for name in ("tcp_flags_equal", "streams_equal"):
        yield f"{name}\t{getattr(report, name)} of {report.tcp_frames} TCP frames"
    for name, table in report.tables.items():
        verdict = "equal" if table["equal"] else f"{table['different']} rows differ"
        yield f"table\t{name}\t{table['rows']} rows\t{verdict}"
    for row in report.differences:
        frames = ",".join(map(str, row.frames)) + (",…" if row.times > len(row.frames) else "") if row.frames else ""
        yield f"difference\t{row.times}\t{row.what}\ttshark: {row.tshark or '-'}\ttapwall: {row.tapwall or '-'}\t{frames}"


def _pair(a: Key, b: Key) -> Key:
    """Two ends in an order of their own, so that side a and b do not matter."""
    return tuple(sorted((a, b), key=repr))


def stored_answer(folder: Path) -> tuple[str, Answer]:
    """A stored oracle. Raises AnalysisError where its frames are missing."""
    answer = Answer()
    try:
        meta = json.loads((folder / "meta.json").read_text())
        frames = _tsv(folder / "frames.tsv.gz")
    except (OSError, ValueError) as error:
        raise AnalysisError(f"{folder}: no stored oracle: {error}") from None
    assert frames is not None
    rows = []
    for row in frames:
        answer.frames[int(row["number"])] = Frame(row["path"], row["tcp_stream"], row["tcp_flags"] or "")
        rows.append((row["time_epoch"], int(row["frame_len"]), bool(row["tcp_flags"])))
    answer.tables["io"] = _io(rows)
    hierarchy = _tsv(folder / "hierarchy.tsv")
    numbers = ("packets", "bytes", "end_packets", "end_bytes", "pdus")
    answer.tables["hierarchy"] = (
        None
        if hierarchy is None
        else {
            tuple(row["path"].split("/")[1:]): tuple(int(row[name]) for name in numbers)
            for row in hierarchy
            if "/" in row["path"]
        }
    )
    for kind in KINDS:
        answer.tables[f"conversations_{kind}"] = _stored_conversations(_tsv(folder / f"conv_{kind}.tsv"))
        endpoints = _tsv(folder / f"endpoints_{kind}.tsv")
        answer.tables[f"endpoints_{kind}"] = (
            None
            if endpoints is None
            else {
                (row["addr"].lower(), _port(row)): tuple(
                    int(row[name]) for name in ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")
                )
                for row in endpoints
            }
        )
    return str(meta.get("tshark", "stored")), answer


def _stored_conversations(rows: list[dict[str, str]] | None) -> dict[Key, tuple[int, ...]] | None:
    if rows is None:
        return None
    found: Counter[Key] = Counter()
    for row in rows:
        a = (row["A"].lower(), _port(row, "A_port"), int(row["A_to_B_packets"]), int(row["A_to_B_bytes"]))
        b = (row["B"].lower(), _port(row, "B_port"), int(row["B_to_A_packets"]), int(row["B_to_A_bytes"]))
        found[_pair(a, b)] += 1
    return {key: (count,) for key, count in found.items()}


def _port(row: dict[str, str], name: str = "port") -> int | None:
    return int(row[name]) if row.get(name) else None


def _tsv(path: Path) -> list[dict[str, str]] | None:
    """Rows of a tab-separated file with a header, also gzipped; None where it is missing."""
    if not path.exists():
        return None
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _io(rows: list[tuple[str, int, bool]]) -> dict[Key, tuple[int, ...]] | None:
    """Wireshark's bins of 1 s: whole seconds since frame 1, earlier frames left out, empty ones zero.

    None for a capture so long that our graph has longer bins.
    """
    start: int | None = None
    bins: dict[int, list[int]] = {}
    for epoch, length, flagged in rows:
        if not epoch:
            continue
        seconds, _, digits = epoch.lstrip("-").partition(".")
        ns = (int(seconds) * 10**9 + int(digits.ljust(9, "0")[:9] or 0)) * (-1 if epoch.startswith("-") else 1)
        start = ns if start is None else start
        if ns < start:
            continue
        cell = bins.setdefault((ns - start) // 10**9, [0, 0, 0])
        cell[0] += 1
        cell[1] += length
        cell[2] += flagged
    last = max(bins, default=-1)
    if last >= MOST_BINS:
        return None
    return {(second,): tuple(bins.get(second, (0, 0, 0))) for second in range(last + 1)}


class _Node:
    """One row of the window's hierarchy: packets, bytes, end packets, end bytes, PDUs."""

    def __init__(self, name: str, parent: _Node | None) -> None:
        self.name, self.parent = name, parent
        self.children: dict[str, _Node] = {}
        self.counts = [0, 0, 0, 0, 0]

    def step(self, name: str) -> _Node:
        """Below this node, else beside it or an ancestor, else new."""
        at: _Node | None = self
        while at is not None and name not in at.children:
            at = at.parent
        return (at or self).children.setdefault(name, _Node(name, at or self))

    def rows(self, path: Key = ()) -> Iterator[tuple[Key, tuple[int, ...]]]:
        """This node and those below it."""
        for child in self.children.values():
            yield (*path, child.name), tuple(child.counts)
            yield from child.rows((*path, child.name))


class _Tshark:
    """Collects the tables from tshark's packets, one XML element each."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._root = _Node("", None)
        self._io: list[tuple[str, int, bool]] = []
        self._pairs: dict[str, dict[Key, dict[Key, list[int]]]] = {kind: {} for kind in KINDS}

    def packet(self, element: ElementTree.Element) -> None:
        """One packet of the PDML."""
        path: list[str] = []
        at, last, seen = self._root, 0, set()
        number = length = 0
        epoch = stream = ""
        flags: set[str] = set()
        taps: list[tuple[str, Key, Key, str]] = []
        for layer in element.findall("proto"):
            name = layer.get("name") or ""
            fields = {item.get("name"): item.get("show") or "" for item in layer}
            if name in NO_LAYER:
                continue
            size = int(layer.get("size") or 0)
            if name == "frame":
                number, length = int(fields["frame.number"]), int(fields["frame.len"])
                epoch = fields.get("frame.time_epoch", "")
                continue
            if name == "fake-field-wrapper":
                data = [item for item in layer.iter("field") if item.get("name") == "data.data"]
                if not data:
                    continue
                name, size = "data", sum(int(item.get("size") or 0) for item in data)
            if name == "eth":
                extra = ("eth.padding", "eth.trailer", "eth.fcs")
                size = 14 + sum(int(item.get("size") or 0) for item in layer if item.get("name") in extra)
            if name == "tcp":
                stream = stream or fields.get("tcp.stream", "")
                flags |= _analysis_flags(layer)
            if tap := _tap(name, layer, taps):
                taps.append(tap)
            if not path or path[-1] != name:
                path.append(name)
            at = at.step(name)
            at.counts[0] += at not in seen
            seen.add(at)
            at.counts[1] += size
            at.counts[4] += 1
            last = size
        if at is not self._root:
            at.counts[2] += 1
            at.counts[3] += last
        self.answer.frames[number] = Frame("/".join(path), stream, ",".join(sorted(flags)))
        self._io.append((epoch, length, bool(flags)))
        for kind, source, destination, stream_of in taps:
            ends = self._pairs[kind].setdefault((*sorted((source, destination), key=repr), stream_of), {})
            cell = ends.setdefault(source, [0, 0])
            cell[0] += 1
            cell[1] += length

    def finish(self) -> Answer:
        """All tables."""
        tables = self.answer.tables
        tables["hierarchy"] = dict(self._root.rows())
        tables["io"] = _io(self._io)
        for kind, pairs in self._pairs.items():
            conversations: Counter[Key] = Counter()
            endpoints: dict[Key, list[int]] = {}
            for (one, two, _), ends in pairs.items():
                sent = [ends.get(one, [0, 0]), ends.get(two, [0, 0]) if one != two else [0, 0]]
                conversations[_pair((*one, *sent[0]), (*two, *sent[1]))] += 1
                for end, out, back in ((one, sent[0], sent[1]), (two, sent[1], sent[0])):
                    cell = endpoints.setdefault(end, [0, 0, 0, 0])
                    for i, value in enumerate((*out, *back)):
                        cell[i] += value
            tables[f"conversations_{kind}"] = {key: (count,) for key, count in conversations.items()}
            tables[f"endpoints_{kind}"] = {key: tuple(cell) for key, cell in endpoints.items()}
        return self.answer


def _analysis_flags(layer: ElementTree.Element) -> set[str]:
    names = [item.get("name") or "" for item in layer.iter("field")]
    return {name[13:] for name in names if name.startswith("tcp.analysis.") and name[13:] not in MEASURES}


def _tap(
    name: str, layer: ElementTree.Element, before: list[tuple[str, Key, Key, str]]
) -> tuple[str, Key, Key, str] | None:
    """(kind, source, destination, stream) of a layer that has a table; transport takes its addresses from IP."""
    fields: dict[str, str] = {}
    for item in layer.iter("field"):
        fields.setdefault(item.get("name") or "", item.get("show") or "")
    if name in ("eth", "ip", "ipv6"):
        source, destination = fields.get(f"{name}.src"), fields.get(f"{name}.dst")
        if source and destination:
            return name, (source, None), (destination, None), ""
    if name in ("tcp", "udp"):
        below = next((tap for tap in reversed(before) if tap[0] in ("ip", "ipv6")), None)
        ports = fields.get(f"{name}.srcport"), fields.get(f"{name}.dstport")
        if below and ports[0] and ports[1]:
            ends = (below[1][0], int(ports[0])), (below[2][0], int(ports[1]))
            return name, *ends, fields.get(f"{name}.stream", "")
    return None


class _Clean:
    """tshark's XML without what XML 1.0 forbids: payload bytes reach its attributes as they are, controls included."""

    _NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(55296, 57344), 65534, 65535), "?")

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, size: int = -1) -> bytes:
        """The next bytes, an empty string only at the end."""
        while True:
            raw = self._file.read(size)
            text = self._decoder.decode(raw, not raw).translate(self._NOT_XML)
            if text or not raw:
                return text.encode("utf-8", "replace")


def _run_tshark(path: str, keylog: str | None) -> tuple[str, Answer]:
    """Run tshark over the capture. Raises AnalysisError where it is missing or cannot read the file."""
    program = shutil.which("tshark")
    if program is None:
        raise AnalysisError("tshark: not found, expected it on the PATH (or give --oracle DIR)")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    version = subprocess.run([program, "--version"], capture_output=True, text=True, env=environment, check=False)
    collected = _Tshark()
    with tempfile.TemporaryFile() as talk:
        command = [program, "-2", "-n", "-r", path, "-T", "pdml"]
        command += ["-o", f"tls.keylog_file:{os.path.abspath(keylog)}"] if keylog is not None else []
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, env=environment)
        assert child.stdout is not None
        try:
            for _, element in ElementTree.iterparse(_Clean(child.stdout)):
                if element.tag == "packet":
                    collected.packet(element)
                    element.clear()
            child.wait(TIME_LIMIT_S)
        except (ElementTree.ParseError, subprocess.TimeoutExpired):
            child.kill()
            child.wait()
        finally:
            child.stdout.close()
        talk.seek(0)
        said = [line for line in talk.read(100_000).decode("utf-8", "replace").splitlines() if "Running as" not in line]
    if child.returncode != 0:
        reason = next((line for line in said if line.strip()), "it ended early")
        raise AnalysisError(f"{path}: tshark exited with {child.returncode}: {reason}")
    return version.stdout.split("\n")[0], collected.finish()
