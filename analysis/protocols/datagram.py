"""One datagram on its way through the rules, and what a rule may remember: the words all UDP protocols share.

A rule is a function `(Datagram, Context) -> Layers | None`: the layers above UDP with their own bytes, or None where
Wireshark's dissector would refuse the payload (then the next rule is asked, and `data` is what remains).
In: bytes and ports. Out: layers; facts go into `Context.facts`. Nothing here knows a batch or a port table.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol, TypeVar

from analysis import layers
from analysis.facts import Facts
from analysis.key_log import KeyLog
from analysis.named_tuples import NamedTuple
from analysis.protocols.names import Names

Layers = list[tuple[int, int]]  # (layer id, own bytes) outermost first; direct repeats are PDUs of one layer

Endpoint = tuple[int, int, int]  # address (two words) and port

State = TypeVar("State")

MAX_STATES = 4096  # flows whose handshake is being read; a state holds up to 128 kB of it
MAX_ENDPOINTS = 65_536  # announced or learned endpoints remembered (media ports, TFTP clients), and logins


Address = tuple[int, int]  # two words, as in a tap


class Hosts(Protocol):
    """Where the addresses of a row's packet are looked up: few rules ask."""

    def source(self, row: int) -> Address:
        """The sender."""
        ...

    def destination(self, row: int) -> Address:
        """The receiver."""
        ...

    def family(self, row: int) -> int:
        """4 or 6."""
        ...


class Datagram:
    """A UDP payload: `data` as captured, `length` as the headers say, ports, and where it belongs."""

    __slots__ = (
        "_hosts",
        "_row",
        "data",
        "dst_port",
        "flow",
        "from_a",
        "length",
        "number",
        "quoted",
        "src_port",
        "time_ns",
    )

    def __init__(
        self,
        data: bytes,
        length: int,
        src_port: int,
        dst_port: int,
        number: int,
        time_ns: int,
        flow: int,
        from_a: bool,
        hosts: Hosts,
        row: int,
        quoted: bool = False,
    ) -> None:
        """`row` is what `hosts` knows the packet by."""
        self.data = data
        self.length = length
        self.src_port = src_port
        self.dst_port = dst_port
        self.number = number
        self.time_ns = time_ns
        self.flow = flow
        self.from_a = from_a
        self._hosts = hosts
        self._row = row
        self.quoted = quoted  # inside an ICMP error: named, but no fact and no state comes from it

    def carrying(self, data: bytes) -> Datagram:
        """The same datagram with a whole payload of its own: what was sealed in it."""
        ends = self.src_port, self.dst_port, self.number, self.time_ns, self.flow, self.from_a
        return Datagram(data, len(data), *ends, self._hosts, self._row, self.quoted)

    def whole(self, layer: int) -> Layers:
        """The layer that takes the whole payload."""
        return [(layer, len(self.data))]

    def ends_early(self, layer: int) -> Layers:
        """The layer, then the mark that its dissector ran off the end: cut by the capture, or malformed."""
        return [(layer, len(self.data)), (self.mark(), 0)]

    def mark(self) -> int:
        """What a dissector that needs more bytes leaves: `_ws.short` where the capture cut them, else `_ws.malformed`."""
        return layers.SHORT if len(self.data) < self.length else layers.MALFORMED

    @property
    def source(self) -> Address:
        """Address of the sender."""
        return self._hosts.source(self._row)

    @property
    def destination(self) -> Address:
        """Address of the receiver."""
        return self._hosts.destination(self._row)

    @property
    def family(self) -> int:
        """4 or 6: family of the addresses."""
        return self._hosts.family(self._row)

    @property
    def source_endpoint(self) -> Endpoint:
        """Address and port of the sender."""
        return (*self.source, self.src_port)

    @property
    def destination_endpoint(self) -> Endpoint:
        """Address and port of the receiver."""
        return (*self.destination, self.dst_port)


Rule = Callable[[Datagram, "Context"], "Layers | None"]


class Steady:
    """The verdict over a flow whose payloads need no more reading.

    `mask` and `value` are of the first two bytes, big-endian: a payload with `bytes & mask == value` is `layer`, whole.
    """

    __slots__ = ("layer", "mask", "value")

    def __init__(self, layer: int, mask: int = 0, value: int = 0) -> None:
        self.layer, self.mask, self.value = layer, mask, value


class Context:
    """What rules remember from datagram to datagram. Bounded by the number of flows, and by MAX_ENDPOINTS."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.names = Names(facts)
        self.key_log = KeyLog()
        self.conversations: dict[int, Rule] = {}  # flow -> rule that has claimed it, asked before the port tables
        self.claimed: list[int] = []  # flows that were claimed lately; the namer keeps them in an array
        self.endpoints: dict[Endpoint, Rule] = {}  # announced (SDP) or learned (TFTP) endpoints
        self.endpoint_ports: set[int] = set()  # their ports, so that most datagrams need no look-up
        self.settled: dict[int, Steady] = {}  # flow -> verdict, of this batch; the namer keeps them in arrays
        self.rpc_calls: dict[tuple[int, bytes], int] = {}  # (flow, transaction) -> program, until the reply comes
        self.quic_ids: dict[int, set[bytes]] = {}  # connection ids that peers chose, by length
        self._seen: set[tuple[str, str, int]] = set()
        self._secrets: dict[bytes, int] = {}  # digest -> order in which it was seen
        self.host_names: dict[str, str] = {}  # client MAC -> host name, until DHCP acknowledges an address
        self.state: dict[
            tuple[str, int], object
        ] = {}  # a rule's own state per flow: (name of the rule, flow), see `keep`

    def claim(self, datagram: Datagram, rule: Rule) -> None:
        """From now on `rule` is asked first about this flow (Wireshark: conversation dissector)."""
        if not datagram.quoted:
            self.conversations[datagram.flow] = rule
            self.claimed.append(datagram.flow)

    def announce(self, endpoint: Endpoint, rule: Rule) -> None:
        """`rule` is asked first about flows from or to this endpoint."""
        if len(self.endpoints) < MAX_ENDPOINTS:
            self.endpoints[endpoint] = rule
            self.endpoint_ports.add(endpoint[2])

    def settle(self, datagram: Datagram, layer: int, mask: int = 0, value: int = 0) -> None:
        """Later payloads of the flow that `Steady(layer, mask, value)` fits are not read any more."""
        if not datagram.quoted:
            self.settled[datagram.flow] = Steady(layer, mask, value)

    def keep(self, name: str, flow: int, kind: type[State]) -> State:
        """A rule's own state of a flow, made at first. Where states are many the older half goes."""
        kept = self.state.get((name, flow))
        if not isinstance(kept, kind):
            if len(self.state) >= MAX_STATES:
                for key in list(self.state)[: MAX_STATES // 2]:
                    del self.state[key]
            kept = self.state[name, flow] = kind()
        return kept

    def first(self, key: tuple[str, str, int]) -> bool:
        """True where `key` has not been seen before . False too once the memory is full."""
        if key in self._seen or len(self._seen) >= MAX_ENDPOINTS:
            return False
        self._seen.add(key)
        return True

    def secret(self, value: bytes) -> int:
        """The number of a secret among those seen, from 1: tells equal ones from others and nothing else. 0: no room."""
        digest = blake2b(value, digest_size=8).digest()
        if digest not in self._secrets and len(self._secrets) >= MAX_ENDPOINTS:
            return 0
        return self._secrets.setdefault(digest, len(self._secrets) + 1)

    def add(self, datagram: Datagram, kind: str, row: NamedTuple) -> None:
        """Keep a fact, unless it comes from a quoted datagram (which the capture shows elsewhere, or was not seen)."""
        if not datagram.quoted:
            self.facts.add(kind, row)
