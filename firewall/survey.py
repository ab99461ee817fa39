"""What a capture shows about its surroundings: own address, gateway, resolvers, DHCP and time servers, who spoke first.

In: batches, and which flows belong to which finding. Out: `Survey`: the conversations as a firewall keys them, each
finding's share of them, and the addresses that must stay reachable. An accumulator, as the simulator is. What is said
in the course of an attack makes nobody a server (`Survey.disowned`).
Must not know rules; a guess (gateway, own address) says what it is founded on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.columns import Batch
from firewall.headers import Array, read
from firewall.sets import AddrSet
from firewall.shared import group, private
from firewall.traffic import Conversations, Table

OWN_SHARE = 0.95  # an address in this share of all unicast packets is the machine that captured
DNS, DHCP, TIME = (53,), (67, 547), (123,)  # ports that servers of a network answer on
PAIRS_MAX = 200_000  # (MAC, address) pairs kept: enough for any local network; a flood of forged ones ends here


@dataclass(frozen=True)
class Survey:
    """The surroundings. `members`: finding -> numbers of its conversations, sent packets by side in `members_ab`."""

    conversations: Conversations
    table: Table
    members: Mapping[str, Array]
    packets: int
    own: AddrSet
    own_why: str
    gateways: AddrSet
    resolvers: AddrSet
    dhcp_servers: AddrSet
    time_servers: AddrSet

    def text(self, number: int) -> str:
        """The text of an address number."""
        return self.conversations.address(number)

    def bad(self) -> npt.NDArray[np.bool_]:
        """Which conversations belong to some finding."""
        out = np.zeros(self.conversations.count, bool)
        for rows in self.members.values():
            out[rows] = True
        return out

    def disowned(self, accused: Mapping[str, str], usurpers: AddrSet) -> Survey:
        """The surroundings without roles that were usurped: `accused` (finding -> a stranger's address) answered as a
        server in that finding's conversations only; `usurpers` stand between others, whatever they answered."""
        attack = np.zeros(self.conversations.count, bool)
        for finding, address in accused.items():
            rows = self.members.get(finding, np.zeros(0, np.int64))
            attack[[row for row in rows.tolist() if self.text(int(self.table.b[row])) == address]] = True

        def left(ports: Collection[int]) -> AddrSet:
            return servers(self.conversations, self.table, ports, attack) - usurpers

        return replace(
            self,
            gateways=self.gateways - usurpers,
            resolvers=left(DNS),
            dhcp_servers=left(DHCP),
            time_servers=left(TIME),
        )


def servers(
    conversations: Conversations, table: Table, ports: Collection[int], left_out: npt.NDArray[np.bool_]
) -> AddrSet:
    """Addresses that answered on these ports; one TCP segment is no answer: a refusal of a scan is not a server."""
    back = table.packets - table.packets_ab
    answered = np.isin(table.b_port, list(ports)) & (
        ((table.proto == 17) & (back > 0)) | ((table.proto == 6) & (back > 1))
    )
    return AddrSet.parse(*(conversations.address(n) for n in np.unique(table.b[answered & ~left_out]).tolist()))


class Surveyor:
    """Collects a `Survey`."""

    def __init__(self, findings: Mapping[str, Array]) -> None:
        self._conversations = Conversations()
        self._findings = {name: np.asarray(rows, np.int64) for name, rows in findings.items()}
        self._members: dict[str, list[Array]] = {name: [] for name in self._findings}
        self._pairs: dict[tuple[int, int], int] = {}
        self._packets = 0
        self._unicast = 0
        self._involved: Counter[int] = Counter()

    def update(self, batch: Batch) -> None:
        """One chunk."""
        headers, _ = read(batch)
        marked = self._conversations.update(headers, batch.data)
        self._packets += len(batch.packets.number)
        for name, rows in self._findings.items():
            mine = np.isin(headers.flow, rows)
            if mine.any():
                self._members[name].append(np.unique(marked.conversation[mine]))
        grouped = np.zeros(max(len(self._conversations.address_words), 1), bool)
        everybody = group()
        used = np.unique(np.concatenate([marked.src, marked.dst])) if len(marked.src) else np.zeros(0, np.int64)
        for number in used.tolist():
            grouped[number] = self._conversations.address(number) in everybody
        plain = ~grouped[marked.dst] if len(marked.dst) else np.zeros(0, bool)
        self._unicast += int(np.count_nonzero(plain))
        for side in (marked.src, np.where(marked.src == marked.dst, -1, marked.dst)):
            numbers, counts = np.unique(side[plain], return_counts=True)
            self._involved.update({n: c for n, c in zip(numbers.tolist(), counts.tolist()) if n >= 0})
        known = headers.src_mac >= 0
        pairs, counts = np.unique(
            np.stack([headers.src_mac[known], marked.src[known]], axis=1), axis=0, return_counts=True
        )
        for (mac, number), count in zip(pairs.tolist(), counts.tolist()):
            if (mac, number) in self._pairs or len(self._pairs) < PAIRS_MAX:
                self._pairs[(mac, number)] = self._pairs.get((mac, number), 0) + count

    def finish(self) -> Survey:
        """What was learned."""
        empty = np.zeros(0, np.int64)
        members = {name: np.unique(np.concatenate(parts)) if parts else empty for name, parts in self._members.items()}
        table = self._conversations.table()
        own, why = self._own()
        dns, dhcp, time = (
            servers(self._conversations, table, ports, np.zeros(self._conversations.count, bool))
            for ports in (DNS, DHCP, TIME)
        )
        return Survey(
            self._conversations,
            table,
            members,
            self._packets,
            own,
            why,
            self._gateways(own),
            dns,
            dhcp,
            time,
        )

    def _own(self) -> tuple[AddrSet, str]:
        """The capturing machine: the one address that nearly every packet has, and what shares its MAC."""
        for number, count in self._involved.most_common(1):
            if count < OWN_SHARE * self._unicast or self._unicast < 2:
                break
            rivals = [n for n, c in self._involved.items() if c >= OWN_SHARE * self._unicast]
            if len(rivals) > 1:  # two hosts and nobody else: either could have captured
                local = [n for n in rivals if self._conversations.address(n) in private()]
                if len(local) != 1:
                    break
                number = local[0]
            address = self._conversations.address(number)
            share = round(100 * self._involved[number] / self._unicast)
            others = self._same_mac(number)
            return AddrSet.parse(address, *others), f"{address} is in {share} % of all unicast packets"
        return AddrSet(), "no address is in nearly all packets: others' traffic, or two hosts only"

    def _same_mac(self, number: int) -> list[str]:
        """Other addresses of the same network card; a card that sends for many is a router and says nothing."""
        macs = {mac for (mac, n) in self._pairs if n == number}
        if len(macs) != 1:
            return []
        mac = next(iter(macs))
        found = [self._conversations.address(n) for (m, n) in self._pairs if m == mac and n != number]
        if len(found) > 8:
            return []
        return [address for address in found if address not in ("0.0.0.0", "::")]

    def _gateways(self, own: AddrSet) -> AddrSet:
        """Local addresses whose network card also sends packets of foreign addresses."""
        local: dict[int, list[str]] = {}
        foreign: Counter[int] = Counter()
        nobody = group()
        for mac, number in self._pairs:
            address = self._conversations.address(number)
            if address in private():
                local.setdefault(mac, []).append(address)
            elif address not in nobody and address not in ("0.0.0.0", "::"):
                foreign[mac] += 1
        found = [
            a
            for mac, addresses in local.items()
            if foreign[mac]
            for a in addresses
            if a not in own and len(addresses) <= 4
        ]
        return AddrSet.parse(*found)
