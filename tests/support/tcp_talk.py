"""A TCP conversation for tests: say payloads, get the paths of the frames that carried them."""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import Batch, empty_packets, empty_taps
from analysis.facts import Facts
from analysis.flows import Ends
from analysis.protocols import registry
from analysis.protocols.stream_naming import Shared
from analysis.protocols.streams import Segment, Stream, deliver

CLIENT, SERVER = 0, 1


class Talk:
    """One connection from port 50000 to `port`. Sequence numbers follow by themselves."""

    def __init__(self, port: int, server_known: bool = True) -> None:
        self.facts = Facts()
        self.shared = Shared(self.facts)
        server = port if server_known else 0
        self.stream = Stream(0, 50_000, port, server, self.facts, self.shared, registry.choose)
        self.stream.candidates = registry.by_ports(server, 50_000, port)
        self.next = [1000, 0xFFFFFF00]  # the server's numbers wrap early
        self.number = 0

    def say(
        self, direction: int, data: bytes, *, skip: int = 0, cut: int = 0, analysis: int = 0, flags: int = 24
    ) -> str:
        """The layers above TCP of the next segment, joined with '/'. `skip` leaves a gap, `cut` is not captured."""
        return "/".join(layers.NAMES[layer] for layer, _ in self.sized(direction, data, skip, cut, analysis, flags))

    def sized(
        self, direction: int, data: bytes, skip: int = 0, cut: int = 0, analysis: int = 0, flags: int = 24
    ) -> list[tuple[int, int]]:
        """The layers with their bytes."""
        self.number += 1
        seq = (self.next[direction] + skip) & 0xFFFFFFFF
        self.next[direction] = (seq + len(data)) & 0xFFFFFFFF
        return self.at(direction, seq, data, cut, analysis, flags)

    def at(
        self, direction: int, seq: int, data: bytes, cut: int = 0, analysis: int = 0, flags: int = 24
    ) -> list[tuple[int, int]]:
        """A segment at a sequence number of its own."""
        segment = Segment(self.number, self.number * 1000, seq, data[: len(data) - cut], len(data), flags, analysis)
        return deliver(self.stream, direction, segment)

    def client(self, data: bytes) -> str:
        """The client's next segment."""
        return self.say(CLIENT, data)

    def server(self, data: bytes) -> str:
        """The server's next segment."""
        return self.say(SERVER, data)


def batch_of(segments: list[tuple[int, int, int, bytes, int]], ports: list[int]) -> tuple[Batch, Ends]:
    """A batch of TCP packets (flow, direction, seq, payload, analysis bits); flow i goes from port 50000+i to ports[i]."""
    packets = empty_packets(len(segments))
    data = bytearray()
    for row, (flow, direction, seq, payload, analysis) in enumerate(segments):
        packets.number[row] = row + 1
        packets.flow[row], packets.direction[row] = flow, direction
        packets.tcp_seq[row], packets.tcp_flags[row], packets.analysis[row] = seq, 24, analysis
        packets.payload_start[row] = len(data)
        packets.payload_len[row] = packets.payload_cap[row] = len(payload)
        data += payload
        packets.layers[row, :3] = layers.ETH, layers.IP, layers.TCP
        packets.layer_pdus[row, :3] = 1
        packets.n_layers[row] = 3
    server = np.array(ports, np.int32)
    flow = np.arange(len(ports), dtype=np.int64)
    ends = Ends(len(ports), flow, (flow + 50_000).astype(np.int32), server, server)
    return Batch(np.frombuffer(bytes(data) + b"\0", np.uint8), packets, empty_taps(0)), ends


def paths(batch: Batch) -> list[str]:
    """What each packet of a batch carries above TCP, joined with '/'."""
    packets = batch.packets
    return [
        "/".join(layers.NAMES[layer] for layer in packets.layers[row, 3 : packets.n_layers[row]])
        for row in range(len(packets.number))
    ]
