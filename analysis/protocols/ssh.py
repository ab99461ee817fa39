"""SSH 2 over TCP (RFC 4253): banners, key exchange packets, then encrypted bytes.

In: bytes of a connection to port 22, or announced by a banner. Out: an `ssh` layer per segment; a plain packet that
lies over segments is shown where it ends. Banners become facts.
"""

from __future__ import annotations

from analysis import layers
from analysis.facts import Ssh
from analysis.protocols.pdu import ONE_MORE, Pdu

LONGEST_BANNER = 255
LONGEST_PACKET = 32_768
NEWKEYS = 21


def dissect(pdu: Pdu) -> bool:
    """Banner first, packets with a plain length until NEWKEYS, everything after it as it comes."""
    state = pdu.stream.state
    direction = pdu.direction
    at = 0
    banner = ("ssh_banner", direction)
    if pdu.data.startswith(b"SSH-") and not state.get(banner):
        end = pdu.data.find(b"\n", 0, LONGEST_BANNER + 1)
        if end < 0 and pdu.whole and pdu.length < LONGEST_BANNER:
            pdu.wish(0, ONE_MORE)
            return True
        line = pdu.data[: end if end >= 0 else LONGEST_BANNER].rstrip(b"\r")
        state[banner] = True
        text = line.decode("utf-8", "replace")
        pdu.stream.facts.add("ssh", Ssh(pdu.number, pdu.time_ns, pdu.stream.flow, direction == 0, text))
        at = end + 1 if end >= 0 else pdu.length
        if line.startswith(b"SSH-1."):
            state["ssh_sealed", 0] = state["ssh_sealed", 1] = True
    sealed = ("ssh_sealed", direction)
    while at < pdu.length and state.get(banner) and not state.get(sealed):
        left = pdu.length - at
        if left < 4 or len(pdu.data) < at + 4:
            break
        size = 4 + int.from_bytes(pdu.data[at : at + 4], "big")
        if not 12 <= size <= LONGEST_PACKET:
            state[sealed] = True
            break
        if size > left and pdu.whole:
            if at:
                pdu.add(layers.SSH)
            pdu.wish(at, size - left)
            return True
        if at + 6 <= len(pdu.data) and pdu.data[at + 5] == NEWKEYS:
            state[sealed] = True
        at += size
    pdu.add(layers.SSH)
    return True


def sealed(pdu: Pdu) -> bool:
    """Every further segment of this direction is just a layer."""
    return bool(pdu.stream.state.get(("ssh_sealed", pdu.direction)))
