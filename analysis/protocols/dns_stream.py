"""DNS over TCP (RFC 7766 8): two bytes of length, then a message as over UDP.

In: bytes of connections on port 53. Out: `dns` layers, and a `Dns` row for every whole message.
"""

from __future__ import annotations

from analysis import layers
from analysis.facts import Dns
from analysis.protocols import dns
from analysis.protocols.framing import Framing, units
from analysis.protocols.pdu import Pdu


def _remember(pdu: Pdu) -> None:
    """The row of one message."""
    message = dns.parse(pdu.data[2:])
    if message is not None:
        row = Dns(
            pdu.number,
            pdu.time_ns,
            pdu.stream.flow,
            "dns",
            message.response,
            pdu.direction == 0,
            message.id,
            message.name,
            message.type,
            message.rcode,
            message.answers,
            pdu.length - 2,
            True,
        )
        pdu.stream.facts.add("dns", row)


dissect = units(
    layers.DNS, Framing(2, 0, 2, "big", 2), lambda pdu: pdu.length < 2 or pdu.be16(0) >= 12, _remember
)  # less than a header is no message
