"""Why a rule was hit by nothing: which of its conditions stands in the way, said with the capture's own numbers.

In: a line that nothing matched, and the capture's conversations. Out: one sentence. The line is tried again with its
ports turned round, or with one condition left out, on the conversations (a row a direction), never on the packets.
Must not know policies or dialects.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from firewall.headers import WHOLE, Array, Headers
from firewall.program import Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import flags_text, icmp_text
from firewall.sets import AddrSet
from firewall.simulate import ELSEWHERE, ways
from firewall.space import Space
from firewall.traffic import Conversations
from firewall.walk import Rows

TURNED = {"sport": "dport", "dport": "sport"}
NOUNS = {"src": "source", "dst": "destination", "proto": "protocol", "dport": "destination port", "sport": "source port", "icmp": "ICMP type", "tcp_flags": "TCP flags"}  # fmt: skip


class Explainer:
    """Answers for one capture."""

    def __init__(self, conversations: Conversations, local: AddrSet) -> None:
        self._headers, self._packets = _directed(conversations)
        self._way = ways(self._headers, local)

    def describes(self, line: Line, chain_ways: tuple[int, ...]) -> int:
        """Packets of this capture that a line describes on its ways, whatever stands before it; states, buckets and
        expiry left out."""
        return self._count(_plain(line), chain_ways)

    def why_dead(self, line: Line, chain_ways: tuple[int, ...]) -> str:
        """One sentence for a line without a hit, standing in a chain that serves these ways."""
        plain = _plain(line)
        here = self._count(plain, chain_ways)
        if here:
            return f"earlier rules decide all {here} packets that it describes, or its state or rate condition is never met"
        elsewhere = self._count(plain, (0, 1, 2))
        if elsewhere:
            return f"{elsewhere} packets match, but in the other direction than this chain sees"
        turned = self._turned(plain, chain_ways) or self._turned(plain, (0, 1, 2))
        if turned:
            return turned
        return self._missing(plain)

    def _turned(self, line: Line, chain_ways: tuple[int, ...]) -> str:
        """A port on the wrong side: the commonest mistake, a server's port matched where the client's stands."""
        ports = [c for c in line.conditions if c.field in TURNED]
        if not ports:
            return ""
        conditions = tuple(replace(c, field=TURNED[c.field]) if c.field in TURNED else c for c in line.conditions)
        count = self._count(replace(line, conditions=conditions), chain_ways)
        if not count:
            return ""
        text = ports[0].value.text()
        if ports[0].field == "dport":
            return f"{text} is the remote port here: {count} packets come from port {text}, none go to it; match the source port"
        return f"{text} is the port they go to: {count} packets, none come from it; match the destination port"

    def _missing(self, line: Line) -> str:
        for condition in line.conditions:
            if condition.field not in NOUNS:
                continue
            alone = Line((condition,), family=line.family)
            if condition.field in TURNED:
                proto = line.get("proto")
                alone = Line(tuple(c for c in (proto, condition) if c is not None), family=line.family)
            if not self._count(alone, (0, 1, 2)):
                return f"no packet of this capture has {NOUNS[condition.field]} {_value(condition)}"
        for condition in line.conditions:
            rest = tuple(c for c in line.conditions if c is not condition)
            count = self._count(replace(line, conditions=rest), (0, 1, 2))
            if count and condition.field in NOUNS:
                return f"without its {NOUNS[condition.field]} {_value(condition)} it would match {count} packets, with it none"
        return "no packet of this capture meets its conditions together"

    def _count(self, line: Line, chain_ways: tuple[int, ...]) -> int:
        """Packets of the conversations that a line describes, on these ways."""
        if not len(self._packets):
            return 0
        program = Program({"x": (line,)}, (Base("x", Hook.FORWARD),))
        space = Space(program)
        classes, of_row = space.classify(self._headers, np.zeros_like(self._way))
        rows = Rows(space, classes, 1)
        hit = rows.answer(line, np.arange(classes.size))[of_row] == 1
        allowed = np.isin(self._way, chain_ways) & (self._way != ELSEWHERE)
        return int(self._packets[hit & allowed].sum())


def _plain(line: Line) -> Line:
    conditions = tuple(c for c in line.conditions if c.field not in ("rate", "state", "expires"))
    return replace(line, conditions=conditions, verdict=Verdict.CONTINUE)


def _value(condition: Condition) -> str:
    value = condition.value
    if condition.field == "tcp_flags":
        return flags_text(value)
    if condition.field == "icmp":
        return icmp_text(value)
    text = value.label() if isinstance(value, AddrSet) else value.text() if hasattr(value, "text") else str(value)
    return ("other than " if condition.negate else "") + str(text)


def _directed(conversations: Conversations) -> tuple[Headers, Array]:
    """Two rows a conversation, one a direction, as if each were a packet; and the packets of each."""
    t = conversations.table()
    n = len(t.a)
    words = np.array(conversations.address_words or [(4, 0, 0)], np.int64)
    src, dst = np.concatenate([t.a, t.b]), np.concatenate([t.b, t.a])
    proto = np.concatenate([t.proto, t.proto])
    ported = np.isin(proto, (6, 17, 33, 132, 136))
    nothing = np.full(2 * n, -1, np.int64)
    zeros = np.zeros(2 * n, np.int64)
    headers = Headers(
        row=zeros, number=zeros, time_ns=zeros, start=zeros, captured=zeros, length=zeros, family=words[src, 0],
        src_hi=words[src, 1], src_lo=words[src, 2], dst_hi=words[dst, 1], dst_lo=words[dst, 2], proto=proto, ttl=zeros + 64,
        fragment=zeros, transport=zeros + WHOLE, transport_at=nothing, payload_at=nothing,
        sport=np.where(ported, np.concatenate([t.a_port, t.b_port]), -1),
        dport=np.where(ported, np.concatenate([t.b_port, t.a_port]), -1),
        icmp=nothing, flags=nothing, icmp_id=nothing, src_mac=nothing, flow=nothing,
    )  # fmt: skip
    return headers, np.concatenate([t.packets_ab, t.packets - t.packets_ab])
