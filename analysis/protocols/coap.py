"""CoAP, the HTTP of small devices (RFC 7252): over UDP, or inside DTLS.

In: datagrams. Out: the layer, and its payload as another one by the content format.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.datagram import Context, Datagram, Layers

_COAP_TEXT = {0: layers.DATA_TEXT_LINES, 50: layers.JSON, 41: layers.XML}  # content formats (RFC 7252 12.3)
_CONTENT_FORMAT, _PAYLOAD_MARK, _LINK_FORMAT = 12, 0xFF, 40


def coap_rule(datagram: Datagram, context: Context) -> Layers | None:
    """CoAP (RFC 7252 3): header, token, options, and the payload as a layer by its content format."""
    data = datagram.data
    size = len(data)
    if size < 4 or size < 4 + (data[0] & 15):
        return datagram.ends_early(layers.COAP)
    at, number, content = 4 + (data[0] & 15), 0, -1
    while at < size:
        if data[at] == _PAYLOAD_MARK:
            body = size - at - 1
            if content == _LINK_FORMAT:  # dissected inside CoAP
                return datagram.whole(layers.COAP)
            return (
                [(layers.COAP, size), (_COAP_TEXT.get(content, layers.DATA), body)]
                if body
                else datagram.whole(layers.COAP)
            )
        delta, length, at = data[at] >> 4, data[at] & 15, at + 1
        extra = []
        for nibble in (delta, length):
            wide = nibble - 12 if nibble > 12 else 0
            extra.append((13 if wide == 1 else 269) + int.from_bytes(data[at : at + wide], "big") if wide else nibble)
            at += wide
        number += extra[0]
        if number == _CONTENT_FORMAT:
            content = int.from_bytes(data[at : at + extra[1]], "big")
        at += extra[1]
    return datagram.whole(layers.COAP) if at == size else datagram.ends_early(layers.COAP)
