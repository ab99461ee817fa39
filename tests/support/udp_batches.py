"""Batches of UDP datagrams made by hand, as the flow stage would hand them to naming."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

import numpy as np

from analysis import layers
from analysis.columns import UDP, Batch, empty_packets, empty_taps


class Sent(NamedTuple):
    """One datagram. `length` is what the headers claim, -1: as captured."""

    payload: bytes
    source: str = "10.0.0.1"
    source_port: int = 40000
    destination: str = "10.0.0.2"
    destination_port: int = 40001
    length: int = -1


def words(address: str) -> tuple[int, int]:
    """An address as the two signed words of a tap."""
    number = int(ip_address(address))
    high, low = number >> 64, number & (1 << 64) - 1
    return tuple(word - (1 << 64) if word >> 63 else word for word in (high, low))  # type: ignore[return-value]


def batch(*datagrams: Sent, first_number: int = 1, flows: dict[frozenset[tuple[str, int]], int] | None = None) -> Batch:
    """A batch of these datagrams over IPv4 or IPv6; hand in the same `flows` to continue in another batch."""
    flows = {} if flows is None else flows
    packets, taps = empty_packets(len(datagrams)), empty_taps(len(datagrams))
    data = b""
    senders: dict[int, tuple[str, int]] = {}
    for row, sent in enumerate(datagrams):
        source, destination = (sent.source, sent.source_port), (sent.destination, sent.destination_port)
        flow = flows.setdefault(frozenset((source, destination)), len(flows))
        first = senders.setdefault(flow, source)
        six = ":" in sent.source
        packets.number[row] = first_number + row
        packets.time_ns[row] = 1_000_000_000 * (first_number + row)
        packets.start[row] = packets.payload_start[row] = len(data)
        packets.cap_len[row] = packets.payload_cap[row] = len(sent.payload)
        packets.payload_len[row] = len(sent.payload) if sent.length < 0 else sent.length
        packets.ip_protocol[row] = 17
        packets.flow[row], packets.direction[row] = flow, int(first != source)
        packets.layers[row, :3] = (layers.ETH, layers.IPV6 if six else layers.IP, layers.UDP)
        packets.n_layers[row] = 3
        packets.transport_tap[row] = packets.first_tap[row] = packets.ip_tap[row] = row
        packets.n_taps[row] = 1
        taps.packet[row], taps.kind[row], taps.flow[row] = row, UDP, flow
        taps.src_hi[row], taps.src_lo[row] = words(sent.source)
        taps.dst_hi[row], taps.dst_lo[row] = words(sent.destination)
        taps.src_port[row], taps.dst_port[row] = sent.source_port, sent.destination_port
        taps.ip_family[row] = 6 if six else 4
        data += sent.payload
    return Batch(np.frombuffer(data + b"\0", np.uint8), packets, taps)


def above_udp(made: Batch, row: int = 0) -> list[tuple[str, int, int]]:
    """(filter name, bytes, PDUs) of the layers above UDP."""
    packets = made.packets
    return [
        (layers.NAMES[packets.layers[row, at]], int(packets.layer_bytes[row, at]), int(packets.layer_pdus[row, at]))
        for at in range(3, packets.n_layers[row])
    ]


def path(made: Batch, row: int = 0) -> str:
    """The layers above UDP, joined as in Wireshark's paths."""
    return "/".join(name for name, _, _ in above_udp(made, row))
