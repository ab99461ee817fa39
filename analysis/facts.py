"""What payloads said, once an event: the facts that findings, names and the report are made of.

In: rows appended by `protocols/` while a capture streams through. Out: sequences of named tuples, one a kind, in
frame order. `flow` is a row of `Flows`, `number` a frame number, times are Unix ns. Every text here came from a peer:
whoever draws it escapes it. Secrets never enter: a login keeps the user name and a masked secret.
Each is bounded (LIMIT); what was not kept is counted in `Facts.dropped`. Many rows of a kind are kept as columns.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar, overload

import numpy as np

from analysis.named_tuples import NamedTuple
from analysis.records import MutableRecord

LIMIT = 200_000  # rows kept per kind; a longer capture keeps the first ones and says so
STREAMED = 16_384  # rows of a kind that are objects while a capture streams through, beside tables that grow
FEW = 65_536  # rows of a kind that are objects afterwards: detectors walk them a dozen times, each walk of columns makes them
TOGETHER = 2048  # rows that become columns together: a row takes 200 to 600 bytes as an object, then about 60
MOST_KNOWN = 8192  # different values of a field that are remembered, so that an equal one is not kept again


class Tls(NamedTuple):
    """One ClientHello with what the server answered (RFC 8446 4.1, RFC 5246 7.4). Versions are wire values, 0x0303."""

    number: int
    time_ns: int
    flow: int
    sni: str
    alpn: tuple[str, ...]
    client_version: int  # highest offered (supported_versions, else the legacy field)
    version: int  # chosen by the server, 0 unknown
    cipher: int  # chosen by the server, 0 unknown
    ja3: str
    ja4: str
    quic: bool
    certificate_subject: str
    certificate_issuer: str
    not_before: int  # Unix s, 0 unknown
    not_after: int
    self_signed: bool
    heartbeat: bool  # a heartbeat request longer than its record was seen (RFC 6520)
    keyed: bool = False  # its secrets were at hand


class Dns(NamedTuple):
    """One DNS, mDNS or LLMNR message (RFC 1035 4.1). `answers`: (name, type, ttl_s, text of the data)."""

    number: int
    time_ns: int
    flow: int
    protocol: str  # dns mdns llmnr nbns
    response: bool
    from_a: bool  # sent by side a of the flow
    id: int
    name: str
    type: int
    rcode: int
    answers: tuple[tuple[str, int, int, str], ...]
    size_bytes: int
    tcp: bool


class Http(NamedTuple):
    """One request (status 0) or one response (method "") (RFC 9112)."""

    number: int
    time_ns: int
    flow: int
    method: str
    uri: str
    host: str
    user_agent: str
    status: int
    content_type: str
    content_length: int  # -1 unknown
    body: bytes  # first 512 bytes of a request's body seen in the same frame or PDU
    headers: str  # the other headers of a request, up to 2,048 characters


class Login(NamedTuple):
    """One authentication attempt that the capture shows. `result`: 1 accepted, 0 refused, -1 not seen."""

    number: int
    time_ns: int
    flow: int
    protocol: str
    user: str
    secret_masked: str  # "" none, "***" seen in clear text, never the secret
    cleartext: bool
    result: int


class Ssh(NamedTuple):
    """Version banners of a connection (RFC 4253 4.2)."""

    number: int
    time_ns: int
    flow: int
    from_a: bool
    banner: str


class Smb(NamedTuple):
    """One SMB1/SMB2 header with what matters of its body: tree, file or pipe name."""

    number: int
    time_ns: int
    flow: int
    version: int  # 1, 2 (2 for SMB 2 and 3)
    command: int
    response: bool
    status: int
    name: str  # path of a tree connect, file of a create


class Rpc(NamedTuple):
    """One DCE/RPC bind or request (C706 12.6). `operation` is -1 in a bind."""

    number: int
    time_ns: int
    flow: int
    interface: str  # UUID, lower case
    operation: int
    size_bytes: int
    response: bool


class Kerberos(NamedTuple):
    """One Kerberos message (RFC 4120): type 10 AS-REQ … 30 error; encryption types offered or used."""

    number: int
    time_ns: int
    flow: int
    message: int
    etypes: tuple[int, ...]
    realm: str
    client: str
    service: str
    error: int


class Arp(NamedTuple):
    """One ARP packet (RFC 826). MACs as text, addresses dotted."""

    number: int
    time_ns: int
    operation: int  # 1 request, 2 reply
    sender_mac: str
    sender: str
    target_mac: str
    target: str
    eth_src: str
    eth_dst: str


class Dhcp(NamedTuple):
    """One DHCPv4 or DHCPv6 message (RFC 2131, RFC 8415)."""

    number: int
    time_ns: int
    flow: int
    version: int  # 4 or 6
    message: int
    client_mac: str
    server: str
    offered: str
    host_name: str
    router: str
    dns: tuple[str, ...]


class RouterAdvert(NamedTuple):
    """One ICMPv6 router advertisement (RFC 4861 4.2); `eth_src` sent the frame ("" where it has no Ethernet header)."""

    number: int
    time_ns: int
    flow: int
    source: str
    source_mac: str
    eth_src: str
    preference: int  # -1 low, 0 medium, 1 high (RFC 4191 2.1)
    lifetime_s: int
    prefixes: tuple[str, ...]


class Neighbour(NamedTuple):
    """One ICMPv6 neighbour advertisement (RFC 4861 4.4): `mac` is what `target` is said to have."""

    number: int
    time_ns: int
    source: str
    target: str
    mac: str
    override: bool
    solicited: bool


class LinkControl(NamedTuple):
    """One frame of a protocol by which switches, access points and routers rule their network.

    `protocol`: stp (`word` is the root bridge, priority and MAC, or `change`), cdp, dtp, vtp, wlan (`word` is
    deauthentication, disassociation or beacon; `about` the network concerned), hsrp (`word` is hello, coup or resign with
    the state, `about` the virtual address).
    """

    number: int
    time_ns: int
    protocol: str
    source: str
    word: str
    about: str


class Echo(NamedTuple):
    """One ICMP echo request or reply with data: `digest` is crc32 of the data, `entropy` in bits per byte."""

    number: int
    time_ns: int
    flow: int
    request: bool
    sequence: int
    size_bytes: int
    digest: int
    entropy: float
    sample: bytes  # first 64 bytes


class Payload(NamedTuple):
    """A payload in which a known exploit shape was seen; `shape` is the name a detector asks for.

    Over UDP (protocols/datagram_shapes.py), once a flow: sql-resolution-overflow (Slammer), ntp-monlist (`detail` is
    request or answer), tftp-transfer (read or write, file name), sip-scanner (user agent), messenger-spam.
    Over TCP: see protocols/exploits.py. In headers: protocols/header_shapes.py. `bad-neighbour`: link_control.py.
    """

    number: int
    time_ns: int
    flow: int
    shape: str
    detail: str
    from_a: bool


class Name(NamedTuple):
    """The capture itself says that `address` is called `name`; `source`: dns mdns dhcp tls nbns block …"""

    address: str
    name: str
    source: str
    number: int


class Chat(NamedTuple):
    """One frame of our own chat protocol (docs/wire.md). `user`: of an AUTH that brings a secret, else empty."""

    number: int
    time_ns: int
    flow: int
    type: int
    from_a: bool
    user: str
    size_bytes: int


class Opening(NamedTuple):
    """First payload of one direction of a conversation that no dissector recognised: at most 96 bytes of it."""

    number: int
    time_ns: int
    flow: int
    from_a: bool
    size_bytes: int  # of the whole payload of that packet
    data: bytes


Row = TypeVar("Row", bound=NamedTuple)


class _Column:
    """One field of many rows: numbers that differ from row to row as they are, of other values each once."""

    __slots__ = ("_known", "_values", "places")

    def __init__(self, counts: bool) -> None:
        self.places = array("q" if counts else "i")
        self._values: list[Any] | None = None if counts else []
        self._known: dict[Any, int] = {}

    def extend(self, values: Sequence[Any]) -> None:
        kept, known = self._values, self._known
        if kept is None:
            self.places.extend(values)
            return
        if len(known) > MOST_KNOWN:
            known.clear()
        for value in values:
            if value not in known:
                known[value] = len(kept)
                kept.append(value)
        self.places.extend([known[value] for value in values])

    def put(self, place: int, value: Any) -> None:
        self.extend((value,))
        self.places[place] = self.places.pop()

    def settle(self) -> None:
        """Forget which values are known: a later one that is equal is kept again."""
        self._known = {}

    def values(self, at: slice) -> Iterator[Any]:
        return iter(self.places[at]) if self._values is None else map(self._values.__getitem__, self.places[at])


class Rows(Sequence[Row]):
    """The rows of one kind, in the order in which they were appended: the latest as they are, earlier ones as columns."""

    __slots__ = ("_columns", "_folded", "_latest", "_make")

    def __init__(self) -> None:
        self._latest: list[Row] = []
        self._columns: list[_Column] = []
        self._folded = 0  # rows in columns
        self._make: Any = None

    def append(self, row: Row) -> None:
        """Add a row behind the others."""
        self._latest.append(row)
        if len(self._latest) >= (TOGETHER if self._folded else STREAMED):
            self._fold()

    def settle(self) -> None:
        """No more rows come: a few become objects again, of more only columns stay."""
        if self._folded and len(self) <= FEW:
            self._latest, self._columns, self._folded = list(self), [], 0
        for column in self._columns:
            column.settle()

    def sort(self, key: Callable[[Row], int]) -> None:
        """Put the rows in the order of a number that each has; equal ones stay as they are."""
        if not self._folded:
            self._latest.sort(key=key)
            return
        self._fold()
        order = np.argsort(np.fromiter(map(key, self), np.int64, len(self)), kind="stable")
        for column in self._columns:
            column.places = array(column.places.typecode, np.asarray(column.places)[order].tobytes())

    def __len__(self) -> int:
        return self._folded + len(self._latest)

    def __iter__(self) -> Iterator[Row]:
        return self._walk() if self._folded else iter(self._latest)

    def _walk(self) -> Iterator[Row]:
        for first in range(0, self._folded, TOGETHER):
            yield from self._unfold(slice(first, first + TOGETHER))
        yield from self._latest

    def __reversed__(self) -> Iterator[Row]:
        yield from reversed(self._latest)
        for first in range((self._folded - 1) // TOGETHER * TOGETHER, -1, -TOGETHER):
            yield from reversed(self._unfold(slice(first, first + TOGETHER)))

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return list(self)[at] if self._folded else self._latest[at]
        place = range(len(self))[at]  # negative ones counted from the end; IndexError
        if place >= self._folded:
            return self._latest[place - self._folded]
        return self._unfold(slice(place, place + 1))[0]

    def __setitem__(self, at: int, row: Row) -> None:
        place = range(len(self))[at]
        if place >= self._folded:
            self._latest[place - self._folded] = row
            return
        for column, value in zip(self._columns, row):
            column.put(place, value)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Rows | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _fold(self) -> None:
        rows = self._latest
        if not rows:
            return
        if not self._folded:
            self._make = rows[0]._make
            self._columns = [_Column(name in ("number", "time_ns", "flow")) for name in rows[0]._fields]
        for column, values in zip(self._columns, zip(*rows)):
            column.extend(values)
        self._folded += len(rows)
        self._latest = []

    def _unfold(self, at: slice) -> list[Row]:
        return list(map(self._make, zip(*(column.values(at) for column in self._columns))))


class Facts(MutableRecord):
    """All facts of an analysis. `add` is the only way in, so the bound holds."""

    tls: Rows[Tls] = field(default_factory=Rows)
    dns: Rows[Dns] = field(default_factory=Rows)
    http: Rows[Http] = field(default_factory=Rows)
    login: Rows[Login] = field(default_factory=Rows)
    ssh: Rows[Ssh] = field(default_factory=Rows)
    smb: Rows[Smb] = field(default_factory=Rows)
    rpc: Rows[Rpc] = field(default_factory=Rows)
    kerberos: Rows[Kerberos] = field(default_factory=Rows)
    arp: Rows[Arp] = field(default_factory=Rows)
    dhcp: Rows[Dhcp] = field(default_factory=Rows)
    router_advert: Rows[RouterAdvert] = field(default_factory=Rows)
    neighbour: Rows[Neighbour] = field(default_factory=Rows)
    link_control: Rows[LinkControl] = field(default_factory=Rows)
    echo: Rows[Echo] = field(default_factory=Rows)
    payload: Rows[Payload] = field(default_factory=Rows)
    name: Rows[Name] = field(default_factory=Rows)
    chat: Rows[Chat] = field(default_factory=Rows)
    opening: Rows[Opening] = field(default_factory=Rows)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, row: NamedTuple) -> None:
        """Append `row` to the rows of `kind`, or count it in `dropped` where there are too many."""
        rows = getattr(self, kind)
        if len(rows) < LIMIT:
            rows.append(row)
        else:
            self.dropped[kind] += 1

    def settle(self) -> None:
        """No more facts come: to be called once, before they are walked again and again."""
        for declared in fields(self):
            rows = getattr(self, declared.name)
            if isinstance(rows, Rows):
                rows.settle()
