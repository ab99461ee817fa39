"""Which conversation each packet belongs to, as a stateful firewall keys it; numbered over a whole capture.

In: `Headers`, a chunk at a time. Out: per packet a conversation number, the side that sent it and, for an ICMP error,
the conversation that it quotes. A conversation is the outer addresses, protocol and ports (nf_conntrack_tuple);
an ICMP query is keyed by its identifier and by who asked. Per conversation: first packet, packets, bytes, ports.
Memory grows with conversations, never with packets. Must not know rules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.columns import address_text
from firewall.headers import WHOLE, Array, Headers, u8, u16
from firewall.rules import protocol_name

# Kinds of packet for connection tracking
TCP, UDP, QUERY, ERROR, UNTRACKED, ODD, GENERIC, OPAQUE = range(
    8
)  # OPAQUE: SCTP and DCCP, whose states are not modelled
# ICMP query types that have an answer: type -> (number of the pair, 1 where it is the answer)
PAIRS = {4: {8: (1, 0), 0: (1, 1), 13: (2, 0), 14: (2, 1), 15: (3, 0), 16: (3, 1), 17: (4, 0), 18: (4, 1)}, 6: {128: (5, 0), 129: (5, 1)}}  # fmt: skip
ERRORS = {4: (3, 4, 5, 11, 12), 6: tuple(range(1, 128))}  # icmp_error_message(); ICMPv6: every type below 128
APART, QUERIES = (
    300,
    1000,
)  # keys beyond protocol numbers: packets of no conversation, and ICMP queries by pair and code
MIX, MIX2 = np.int64(-7046029254386353131), np.int64(-4417276706812531889)  # odd 64-bit constants (splitmix64, wyhash)
NDP_MLD = (130, 131, 132, 133, 134, 135, 136, 143)  # nf_conntrack_proto_icmpv6.c, noct_valid_new


class Marked(NamedTuple):
    """Per packet of one chunk: conversation, direction (0: the lower side by key, ICMP: the asker), kind, quoted one."""

    conversation: Array
    direction: Array
    kind: Array
    quoted: Array  # conversation inside an ICMP error, -1 none
    src: Array  # number of the source address (Conversations.address)
    dst: Array


class Conversations:
    """All conversations so far. `update` numbers a chunk's packets; columns grow by doubling."""

    def __init__(self) -> None:
        self._addresses: dict[tuple[int, int, int], int] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self.address_words: list[tuple[int, int, int]] = []
        self.count = 0
        self._table = np.zeros((64, 8), np.int64)  # a, b, proto, a_port, b_port, opener's direction, packets, bytes
        self._first = np.full(64, -1, np.int64)
        self._directed = np.zeros((64, 2), np.int64)

    def update(self, headers: Headers, data: Array) -> Marked:
        """Number the packets of a chunk, in frame order."""
        kind, pair, answer = _kinds(headers)
        kind[_malformed(headers, data)] = ODD
        twice = [np.concatenate(pair) for pair in ((headers.family,) * 2, (headers.src_hi, headers.dst_hi), (headers.src_lo, headers.dst_lo))]  # fmt: skip
        src, dst = np.split(self._address_ids(*twice), 2)
        query = kind == QUERY
        sport = np.where(query, headers.icmp_id, np.maximum(headers.sport, 0))
        dport = np.where(query, headers.icmp_id, np.maximum(headers.dport, 0))
        swap = np.where(query, answer == 1, (src > dst) | ((src == dst) & (sport > dport)))
        code = np.where(query, headers.icmp & 255, 0)  # an answer with another code answers nothing
        other = np.where((kind == ERROR) | (kind == ODD), APART, headers.proto + 1)
        proto = np.where(query, QUERIES + pair * 256 + code, other)
        conversation = self._intern(src, dst, proto, sport, dport, swap)
        quoted = np.full(len(src), -1, np.int64)
        at = np.flatnonzero(kind == ERROR)
        if len(at):
            quoted[at] = self._quoted(headers, data, at)
        self._count(headers, conversation, swap.astype(np.int64))
        return Marked(conversation, swap.astype(np.int64), kind, quoted, src, dst)

    def _intern(self, src: Array, dst: Array, proto: Array, sport: Array, dport: Array, swap: Array) -> Array:
        a, b = np.where(swap, dst, src), np.where(swap, src, dst)
        a_port, b_port = np.where(swap, dport, sport), np.where(swap, sport, dport)
        hosts = (a << 32) | b
        rest = (proto << 32) | (a_port << 16) | b_port
        key, first = _unique_pair(hosts, rest)
        numbers = np.empty(len(first), np.int64)
        for i, (host, other) in enumerate(zip(hosts[first].tolist(), rest[first].tolist())):
            number = self._numbers.get((host, other))
            if number is None:
                number = self._numbers[(host, other)] = self.count
                self._grow()
                self._table[number, :5] = (
                    host >> 32,
                    host & 0xFFFFFFFF,
                    other >> 32,
                    other >> 16 & 0xFFFF,
                    other & 0xFFFF,
                )
                self.count += 1
            numbers[i] = number
        out: Array = numbers[key]
        return out

    def _grow(self) -> None:
        if self.count == len(self._first):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
            self._first = np.concatenate([self._first, np.full_like(self._first, -1)])
            self._directed = np.concatenate([self._directed, np.zeros_like(self._directed)])

    def _count(self, headers: Headers, conversation: Array, direction: Array) -> None:
        used, first = np.unique(conversation, return_index=True)
        fresh = self._first[used] < 0
        self._first[used[fresh]] = headers.number[first[fresh]]
        self._table[used[fresh], 5] = direction[first[fresh]]
        self._table[:, 6] += np.bincount(conversation, minlength=len(self._table)).astype(np.int64)
        weights = np.bincount(conversation, headers.length, minlength=len(self._table))
        self._table[:, 7] += weights.astype(np.int64)
        both = np.bincount(conversation * 2 + direction, minlength=2 * len(self._table))
        self._directed += both.reshape(-1, 2).astype(np.int64)

    def _address_ids(self, family: Array, high: Array, low: Array) -> Array:
        key, first = _unique_pair(high, low)
        if len(family) and family.min() != family.max():  # an IPv4 address and an IPv6 one below ::1:0:0 share words
            _, first, key = np.unique(key * 2 + (family == 6), return_index=True, return_inverse=True)
        ids = np.empty(len(first), np.int64)
        for i, words in enumerate(zip(family[first].tolist(), high[first].tolist(), low[first].tolist())):
            number = self._addresses.get(words)
            if number is None:
                number = self._addresses[words] = len(self.address_words)
                self.address_words.append(words)
            ids[i] = number
        out: Array = ids[key]
        return out

    def _quoted(self, headers: Headers, data: Array, at: Array) -> Array:
        """Conversations quoted in ICMP errors, -1 where the quote cannot be read."""
        inner = headers.transport_at[at] + 8
        end = headers.start[at] + headers.captured[at]
        four = headers.family[at] == 4
        size = np.where(four, (u8(data, inner) & 15) * 4, 40)
        good = (inner + size + 8 <= end) & ((u8(data, inner) >> 4) == headers.family[at])
        out = np.full(len(at), -1, np.int64)
        inner, size, four, rows = inner[good], size[good], four[good], at[good]
        if not len(rows):
            return out
        proto = np.where(four, u8(data, inner + 9), u8(data, inner + 6))
        words = {}
        for name, offset4, offset6 in (("src", 12, 8), ("dst", 16, 24)):
            low4 = (u16(data, inner + offset4) << 16) | u16(data, inner + offset4 + 2)
            high6, low6 = (_word(data, inner + offset6 + shift) for shift in (0, 8))
            words[name] = (np.where(four, 0, high6), np.where(four, low4, low6))
        family = headers.family[rows]
        src = self._address_ids(family, *words["src"])
        dst = self._address_ids(family, *words["dst"])
        ported = np.isin(proto, (6, 17, 33, 132, 136))
        l4 = inner + size
        icmp = np.isin(proto, (1, 58))
        pair, answer = _pairs(family, np.where(icmp, u8(data, l4), -1))
        query = icmp & (pair > 0)
        identifier = u16(data, l4 + 4)
        sport = np.where(query, identifier, np.where(ported, u16(data, l4), 0))
        dport = np.where(query, identifier, np.where(ported, u16(data, l4 + 2), 0))
        swap = np.where(query, answer == 1, (src > dst) | ((src == dst) & (sport > dport)))
        out[good] = self._intern(
            src, dst, np.where(query, QUERIES + pair * 256 + u8(data, l4 + 1), proto + 1), sport, dport, swap
        )
        return out

    # What is known of a conversation

    def table(self) -> Table:
        """All conversations as columns, opener first."""
        rows = self._table[: self.count]
        turned = rows[:, 5] == 1
        a, b = np.where(turned, rows[:, 1], rows[:, 0]), np.where(turned, rows[:, 0], rows[:, 1])
        a_port, b_port = np.where(turned, rows[:, 4], rows[:, 3]), np.where(turned, rows[:, 3], rows[:, 4])
        icmp = rows[:, 2] >= QUERIES
        family = np.array([w[0] for w in self.address_words], np.int64)
        errors = rows[:, 2] == APART
        one = np.where(family[a] == 4, 1, 58) if self.count else np.zeros(0, np.int64)
        proto = np.where(icmp | errors, one, rows[:, 2] - 1)
        forward = np.where(turned, self._directed[: self.count, 1], self._directed[: self.count, 0])
        return Table(
            a,
            b,
            proto,
            np.where(icmp, 0, a_port),
            np.where(icmp, 0, b_port),
            self._first[: self.count],
            rows[:, 6],
            rows[:, 7],
            forward,
        )

    def address(self, number: int) -> str:
        """The text of an address."""
        return address_text(*self.address_words[number])

    def describe(self, number: int) -> dict[str, object]:
        """One conversation for a report: opener first, bytes as counters count them."""
        row = self.table_row(number)
        return {
            "source": self.address(row[0]),
            "source_port": row[3] or None,
            "destination": self.address(row[1]),
            "port": row[4] or None,
            "protocol": protocol_name(row[2]) if row[2] >= 0 else "unknown",
            "packets": row[6],
            "bytes": row[7],
            "first_frame": row[5],
        }

    def table_row(self, number: int) -> tuple[int, ...]:
        """(opener, other, proto, opener's port, other's port, first frame, packets, bytes) of one conversation."""
        row = self._table[number]
        a, b, key, a_port, b_port, turned, packets, size = (int(v) for v in row)
        if turned:
            a, b, a_port, b_port = b, a, b_port, a_port
        proto = key - 1
        if key >= APART:
            proto = 1 if self.address_words[a][0] == 4 else 58
            a_port = b_port = 0
        return a, b, proto, a_port, b_port, int(self._first[number]), packets, size


class Table(NamedTuple):
    """Conversations as columns; `a` opened it (sent its first packet). Addresses are numbers of `Conversations`."""

    a: Array
    b: Array
    proto: Array
    a_port: Array
    b_port: Array
    first_frame: Array
    packets: Array
    bytes: Array
    packets_ab: Array


def _unique_pair(one: Array, two: Array) -> tuple[Array, Array]:
    """(number of each row's pair, first row of each pair), for two int64 columns.

    One sort of a mixed key instead of three; where two pairs fall on one key (nobody's luck, or an attacker's work) the
    exact way is taken.
    """
    mixed = one * MIX + (two ^ (two >> 29)) * MIX2
    _, first, key = np.unique(mixed, return_index=True, return_inverse=True)
    if np.array_equal(one[first][key], one) and np.array_equal(two[first][key], two):
        return key.astype(np.int64), first.astype(np.int64)
    _, one_key = np.unique(one, return_inverse=True)
    values, two_key = np.unique(two, return_inverse=True)
    _, first, key = np.unique(one_key * np.int64(len(values)) + two_key, return_index=True, return_inverse=True)
    return key.astype(np.int64), first.astype(np.int64)


def _word(data: Array, at: Array) -> Array:
    value = np.zeros(len(at), np.uint64)
    for i in range(4):
        value = (value << np.uint64(16)) | u16(data, at + 2 * i).astype(np.uint64)
    return value.view(np.int64)


def _pairs(family: Array, types: Array) -> tuple[Array, Array]:
    pair, answer = np.zeros(len(types), np.int64), np.zeros(len(types), np.int64)
    for which, table in PAIRS.items():
        for number, (name, back) in table.items():
            mask = (family == which) & (types == number)
            pair[mask], answer[mask] = name, back
    return pair, answer


def _malformed(headers: Headers, data: Array) -> npt.NDArray[np.bool_]:
    """Lengths that contradict each other: udp_error, tcp_error. Such packets belong to no connection."""
    out = np.zeros(len(headers.proto), bool)
    whole = (headers.transport == WHOLE) & (headers.fragment == 0) & (headers.transport_at >= 0)
    room = headers.start + headers.length - headers.transport_at
    udp = np.flatnonzero(whole & (headers.proto == 17))
    stated = u16(data, headers.transport_at[udp] + 4)
    out[udp] = (stated > room[udp]) | (stated < 8)
    tcp = np.flatnonzero(whole & (headers.proto == 6))
    size = (u8(data, headers.transport_at[tcp] + 12) >> 4) * 4
    out[tcp] = (size < 20) | (size > room[tcp])
    return out


def _kinds(headers: Headers) -> tuple[Array, Array, Array]:
    proto, types = headers.proto, np.where(headers.icmp >= 0, headers.icmp >> 8, -1)
    right = ((proto == 1) & (headers.family == 4)) | ((proto == 58) & (headers.family == 6))
    types = np.where(right, types, -1)
    kind = np.full(len(proto), GENERIC, np.int64)
    kind[proto == 6] = TCP
    kind[(proto == 17) | (proto == 136)] = UDP
    kind[(proto == 33) | (proto == 132)] = OPAQUE
    kind[(proto < 0) | right | (headers.transport >= 2)] = ODD
    pair, answer = _pairs(headers.family, types)
    kind[pair > 0] = QUERY
    for family, numbers in ERRORS.items():
        kind[(headers.family == family) & np.isin(types, numbers)] = ERROR
    kind[(headers.family == 6) & np.isin(types, NDP_MLD)] = UNTRACKED
    return kind, pair, answer
