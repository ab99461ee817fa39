"""Rules for routing and liveness protocols over UDP: BFD, HSRP, RIP.

In: datagrams. Out: layers. Steady speakers (BFD sends dozens a second) are settled after the first good packet.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.datagram import Context, Datagram, Layers

_HSRP_GROUPS = ((0, 0xE0000002), (0, 0xE0000066))  # 224.0.0.2 (version 1), 224.0.0.102 (version 2)
_HSRP_V6 = (-0xFE000000000000, 0x66)  # ff02::66 as two signed words


def bfd_rule(datagram: Datagram, context: Context) -> Layers | None:
    """BFD control (RFC 5880 4.1): 24 bytes, more with authentication."""
    data = datagram.data
    if len(data) < 24:
        return [(datagram.mark(), 0)]
    if data[1] & 4 and len(data) > 25 and len(data) < 24 + data[25]:
        return datagram.ends_early(layers.BFD)
    context.settle(datagram, layers.BFD, 0xE004, (data[0] << 8 | data[1]) & 0xE004)
    return datagram.whole(layers.BFD)


def bfd_echo_rule(datagram: Datagram, context: Context) -> Layers | None:
    """BFD echo: whatever the sender likes (RFC 5880 5)."""
    context.settle(datagram, layers.BFD_ECHO)
    return datagram.whole(layers.BFD_ECHO)


def hsrp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """HSRP (RFC 2281): judged by its multicast groups; what goes elsewhere is swallowed without a layer."""
    if datagram.destination in _HSRP_GROUPS or datagram.destination == _HSRP_V6:
        context.settle(datagram, layers.HSRP)
        return datagram.whole(layers.HSRP)
    return []


def rip_rule(datagram: Datagram, context: Context) -> Layers | None:
    """RIP (RFC 2453 4): a header and whole entries of 20 bytes; a digest behind them may have any size (RFC 4822 2)."""
    if datagram.data[4:8] == b"\xff\xff\0\3" and len(datagram.data) == datagram.length:
        return datagram.whole(layers.RIP)
    return _entries(datagram, layers.RIP)


def ripng_rule(datagram: Datagram, context: Context) -> Layers | None:
    """RIPng (RFC 2080 2.1), of the same shape."""
    return _entries(datagram, layers.RIPNG)


def _entries(datagram: Datagram, layer: int) -> Layers:
    size = len(datagram.data)
    if size < 4:
        return [(datagram.mark(), 0)]
    return datagram.ends_early(layer) if (size - 4) % 20 else datagram.whole(layer)
