"""What detectors judge: every transport conversation seen from who opened it, with hosts, facts and the span.

In: the tables of a finished analysis. Out: `Evidence`: `links`, one row a TCP, UDP, ICMP or SCTP conversation as
source (opened it) and target, and shared questions about them. Everything is columns; a detector that needs Python
per row first narrows the rows down. Knows no detector, no threshold, and not where the tables came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from analysis import columns, layers
from analysis.addresses import AddressTexts
from analysis.columns import CONN_STATES, NO_TIME, Addresses, Array, Flows, among, different
from analysis.derived import Derived, packed
from analysis.facts import Facts
from analysis.hosts import Hosts, Network, judge_hosts
from analysis.named_tuples import NamedTuple
from analysis.records import Record
from analysis.watchlist import Watchlist

FAILED_STATES = tuple(CONN_STATES.index(state) for state in ("S0", "REJ", "RSTOS0", "SH"))
REFUSED_LATE = tuple(CONN_STATES.index(state) for state in ("RSTR", "RSTO"))
S0, S1, SF, REJ, S2, S3, RSTO, RSTR, RSTOS0, RSTRH, SH, SHR, OTH = range(1, 14)
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
UNREACHABLE = 3 * 256  # ICMP type 3, code 0; codes follow
WIDEST = 1 << 22  # values of a key that are counted in a table
# Discovery and housekeeping on the local network: UDP ports that are no target and no beacon.
HOUSEKEEPING_PORTS = (53, 67, 68, 123, 137, 138, 546, 547, 1900, 3702, 5351, 5353, 5355, 17500)


class Graph(Protocol):
    """Packets per second of the capture (stats.iograph.IoGraph)."""

    @property
    def interval_s(self) -> float: ...
    @property
    def start_ns(self) -> int | None: ...
    @property
    def packets(self) -> Array: ...
    @property
    def bytes(self) -> Array: ...


class Tables(Protocol):
    """What is asked of an analysis."""

    @property
    def flows(self) -> Flows: ...
    @property
    def addresses(self) -> Addresses: ...
    @property
    def texts(self) -> AddressTexts: ...
    @property
    def names(self) -> dict[str, list[str]]: ...
    @property
    def facts(self) -> Facts: ...
    @property
    def seconds(self) -> Any: ...
    @property
    def capture(self) -> dict[str, Any]: ...


class Links(NamedTuple):
    """n conversations, seen from the side that opened them. `row` leads back to Flows; counts are frames and bytes.

    What detectors look at in most links is kept; the rest is derived from the flows of those that are asked for.
    """

    row: Array  # int32
    kind: Array
    source: Array  # address ids
    target: Array
    source_port: Derived
    target_port: Array
    sent: Array
    got: Array
    sent_bytes: Derived
    got_bytes: Derived
    sent_payload: Derived
    got_payload: Derived
    sent_flags: Derived  # union of TCP flags
    got_flags: Derived
    first_flags: Array
    state: Array
    known: Array  # bool: the capture shows who opened it
    unicast: Array  # bool: neither side is a group address
    failed: Array  # bool: tried and never established
    syns: Derived  # bare SYN of the source, repeats counted
    synacks: Derived
    first_ns: Derived
    last_ns: Derived
    icmp_error: Derived
    application: Array


class Sides(NamedTuple):
    """What a fact's flow is asked for, as views whose items are plain ints."""

    link: memoryview[int]  # by row of Flows: its link, -1 where it is none
    source: memoryview[int]  # address ids by link: who opened it, and the other
    target: memoryview[int]
    a: memoryview[int]  # address ids by row of Flows
    b: memoryview[int]


class Evidence(Record):
    """The tables of one analysis as detectors see them."""

    flows: Flows
    facts: Facts
    hosts: Hosts
    links: Links
    seconds: Any
    capture: Mapping[str, Any]
    networks: tuple[Network, ...]
    watchlist: Watchlist

    @cached_property
    def first_ns(self) -> int:
        """Time of the first conversation, 0 without any."""
        times = self.flows.first_ns[self.flows.first_ns != NO_TIME]
        return int(times.min()) if len(times) else 0

    @cached_property
    def span_s(self) -> float:
        """Seconds from the first to the last packet."""
        return float(self.capture.get("duration_s") or 0.0)

    @cached_property
    def opened(self) -> frozenset[int]:
        """Flows whose TLS was opened with secrets at hand: what facts tell of them did not cross in clear."""
        return frozenset(row.flow for row in self.facts.tls if row.keyed) if "tls" in self.capture else frozenset()

    @cached_property
    def flow_link(self) -> Array:
        """int32[flows]: index into links of a flow row, -1 where it is none."""
        index = np.full(len(self.flows.kind), -1, np.int32)
        index[self.links.row] = np.arange(len(self.links.row), dtype=np.int32)
        return index

    @cached_property
    def _sides(self) -> Sides:
        ends = self.links.source, self.links.target, self.flows.a_id, self.flows.b_id
        return Sides(*map(memoryview, (self.flow_link, *ends)))  # type: ignore[arg-type]

    def link_of(self, flow: int) -> int:
        """The link of a fact's flow, -1 where there is none."""
        links = self._sides.link
        return links[flow] if 0 <= flow < len(links) else -1

    def text(self, address: int) -> str:
        """Address id -> text."""
        return self.hosts.texts[address]

    def source_of(self, flow: int) -> str:
        """Text of the address that opened a fact's flow."""
        sides = self._sides
        if not 0 <= flow < len(sides.link):
            return ""
        link = sides.link[flow]
        return self.hosts.texts[sides.source[link] if link >= 0 else sides.a[flow]]

    def target_of(self, flow: int) -> str:
        """Text of the other address."""
        sides = self._sides
        if not 0 <= flow < len(sides.link):
            return ""
        link = sides.link[flow]
        return self.hosts.texts[sides.target[link] if link >= 0 else sides.b[flow]]

    def sender_of(self, flow: int, from_a: bool) -> str:
        """Text of the address that sent a fact."""
        sides = self._sides
        ids = sides.a if from_a else sides.b
        return self.hosts.texts[ids[flow]] if 0 <= flow < len(ids) else ""

    def receiver_of(self, flow: int, from_a: bool) -> str:
        """Text of the address that a fact was sent to."""
        return self.sender_of(flow, not from_a)

    def rows(self, links: Array) -> Array:
        """Rows of Flows of some links, in order of first packet."""
        return np.sort(self.links.row[links])

    def application(self, link: int) -> str:
        """Wireshark's name of what a link speaks, "" unknown."""
        return layers.NAMES[int(self.links.application[link])]

    @cached_property
    def one_sided(self) -> float:
        """Share of TCP connections with payload or answers expected that were captured one way only."""
        links = self.links
        midstream = (links.kind == columns.TCP) & (links.state == OTH)
        busy = midstream & (links.sent + links.got >= 4)
        tcp = int(np.count_nonzero((links.kind == columns.TCP) & (links.sent + links.got >= 4)))
        return float(np.count_nonzero(busy & ((links.sent == 0) | (links.got == 0)))) / tcp if tcp else 0.0


def gather(tables: Tables, networks: Sequence[Network], watchlist: Watchlist | None = None) -> Evidence:
    """Look at an analysis once, for all detectors."""
    hosts = judge_hosts(tables.addresses, tables.texts, tables.names, networks)
    return Evidence(
        flows=tables.flows,
        facts=tables.facts,
        hosts=hosts,
        links=_links(tables.flows, hosts),
        seconds=tables.seconds,
        capture=tables.capture,
        networks=tuple(networks),
        watchlist=watchlist or Watchlist(),
    )


def _links(flows: Flows, hosts: Hosts) -> Links:
    row = np.flatnonzero(flows.kind >= columns.TCP).astype(np.int32)
    turned = flows.originator[row] == 1

    def pick(straight: Array, other: Array) -> Derived:
        """What belongs to the source: `other` where side b opened the conversation."""

        def of(links: Any) -> Any:
            at, other_way = row[links], turned[links]
            if isinstance(at, np.integer):
                return (other if other_way else straight)[at]
            values = straight[at]
            values[other_way] = other[at[other_way]]
            return values

        return Derived(len(row), straight.dtype, of)

    def same(column: Array) -> Derived:
        return Derived(len(row), column.dtype, lambda links: column[row[links]])

    kind, state = flows.kind[row], flows.state[row]
    source, target = pick(flows.a_id, flows.b_id)[:], pick(flows.b_id, flows.a_id)[:]
    sent, got = pick(flows.packets_ab, flows.packets_ba)[:], pick(flows.packets_ba, flows.packets_ab)[:]
    syns, synacks = packed(pick(flows.syn_ab, flows.syn_ba)), packed(same(flows.synack))
    icmp_error = same(flows.icmp_error)
    tcp = kind == columns.TCP
    failed = np.where(tcp, among(state, FAILED_STATES), got == 0) | (icmp_error >> 8 == 3) & (got == 0)
    return Links(
        row=row,
        kind=kind,
        source=source,
        target=target,
        source_port=packed(pick(flows.a_port, flows.b_port)),
        target_port=pick(flows.b_port, flows.a_port)[:].astype(np.int32),
        sent=sent,
        got=got,
        sent_bytes=packed(pick(flows.bytes_ab, flows.bytes_ba)),
        got_bytes=packed(pick(flows.bytes_ba, flows.bytes_ab)),
        sent_payload=packed(pick(flows.payload_ab, flows.payload_ba)),
        got_payload=packed(pick(flows.payload_ba, flows.payload_ab)),
        sent_flags=packed(pick(flows.tcp_flags_ab, flows.tcp_flags_ba)),
        got_flags=packed(pick(flows.tcp_flags_ba, flows.tcp_flags_ab)),
        first_flags=flows.first_tcp_flags[row],
        state=state,
        known=np.asarray((flows.originator[row] >= 0) & (~tcp | (syns > 0) | (synacks > 0))),
        unicast=~(hosts.group[source] | hosts.group[target]),
        failed=np.asarray(failed),
        syns=syns,
        synacks=synacks,
        first_ns=same(flows.first_ns),
        last_ns=same(flows.last_ns),
        icmp_error=icmp_error,
        application=flows.application[row],
    )


def groups(rows: Array, *keys: Array) -> Iterator[Array]:
    """Split `rows` into groups with equal keys (non-negative, each indexed like the links); in order of first key."""
    if not len(rows):
        return
    parts = [key[rows] for key in keys]
    order = np.lexsort(parts[::-1])
    changed = np.zeros(len(rows), bool)
    changed[0] = True
    for part in parts:
        ordered = part[order]
        changed[1:] |= ordered[1:] != ordered[:-1]
    yield from np.split(rows[order], np.flatnonzero(changed)[1:])


def large_groups(rows: Array, least: int, *keys: Array) -> Iterator[Array]:
    """As `groups`, but only those with at least `least` rows: Python sees no small group."""
    for key in keys if least > 1 else ():  # who is rare by one key is in no large group: cheaper than to sort them all
        if len(rows) < least:
            return
        values = key[rows].astype(np.int64)
        values -= values.min()
        if int(values.max()) < WIDEST:
            rows = rows[np.bincount(values)[values] >= least]
    if len(rows) < max(least, 1):
        return
    code = coded(rows, *keys)
    counts = np.bincount(code)
    big = counts >= least
    if not big.any():
        return
    chosen = big[code]
    kept, code = rows[chosen], code[chosen]
    order = np.argsort(code, kind="stable")
    edges = np.flatnonzero(np.diff(code[order])) + 1
    yield from np.split(kept[order], edges)


def coded(rows: Array, *keys: Array) -> Array:
    """int64[rows]: equal numbers for equal keys, dense from 0."""
    code = np.zeros(len(rows), np.int64)
    if not len(rows):
        return code
    span = 1
    for key in keys:
        values = key[rows].astype(np.int64)
        values -= values.min()
        width = int(values.max()) + 1
        if span * width > 1 << 62:
            code, values = dense(code), dense(values)
            span, width = int(code.max()) + 1, int(values.max()) + 1
        code = code * width + values
        span *= width
    return dense(code)


def dense(values: Array) -> Array:
    """int64: the rank of each value among the distinct ones. Numbers from 0 that lie close are counted, not sorted."""
    width = int(values.max()) + 1 if len(values) else 0
    if width > 8 * len(values) + 1000:
        return np.asarray(np.unique(values, return_inverse=True)[1])
    present = np.zeros(width, bool)
    present[values] = True
    return (np.cumsum(present) - 1)[values]


def distinct(code: Array, values: Array) -> Array:
    """int64[groups]: number of different values per dense group number."""
    if not len(code):
        return np.empty(0, np.int64)
    values = values.astype(np.int64)
    values -= values.min()
    width = int(values.max()) + 1
    if (int(code.max()) + 1) * width > 1 << 62:
        values = np.unique(values, return_inverse=True)[1]
        width = int(values.max()) + 1
    pairs = different(code * width + values)
    return np.bincount(pairs // width, minlength=int(code.max()) + 1)


def busiest(times_ns: Array, window_s: float) -> tuple[int, int, int]:
    """(start, end, count) in sorted `times_ns` of the window of `window_s` that holds most of them."""
    if not len(times_ns):
        return 0, 0, 0
    ends = np.searchsorted(times_ns, times_ns + int(window_s * 1e9), side="right")
    counts = ends - np.arange(len(times_ns))
    start = int(np.argmax(counts))
    return start, int(ends[start]), int(counts[start])
