"""Media types: which layers a message body has, by Wireshark's media_type table and, for JSON, by whether it parses.

In: the type as a header field names it, lower case and without parameters, and the body's bytes. Out: (layer, bytes)
pairs. The table is exact: `text/event-stream` is not text there, and most `+json` types are plain `media`. It must not
know which protocol carried the body: HTTP, SIP, mail and WebSocket ask alike.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

from analysis import layers
from analysis.protocols.pdu import Layer

if TYPE_CHECKING:
    from json import JSONDecoder

_JSON = """dds-web+json json json-patch+json json-rpc jsonrequest merge-patch+json problem+json senml+json sensml+json
    vnd.oma.lwm2m+json x-ndjson"""
_TEXT = """application/vnd.drm.message application/vnd.poc.refer-to application/x-javascript
    application/x-ns-proxy-autoconfig application/x-rtsp-udp-packetpair application/xml-external-parsed-entity text/css
    text/enriched text/html text/javascript text/parameters text/plain text/richtext text/vnd.sun.j2me.app-descriptor
    text/x-ref-list text/x-ref-simple text/xml-external-parsed-entity"""
_XML = """text/xml text/vnd.wap.co text/vnd.wap.emn text/vnd.wap.si text/vnd.wap.sl text/vnd.wap.wml image/svg+xml
    message/imdn+xml application/3gpp-ims+xml application/atom+xml application/auth-policy+xml application/ccmp+xml
    application/conference-info+xml application/cpl+xml application/im-iscomposing+xml application/load-control+xml
    application/mathml+xml application/media_control+xml application/note+xml application/pidf+xml
    application/pidf-diff+xml application/poc-settings+xml application/rdf+xml application/reginfo+xml
    application/resource-lists+xml application/rlmi+xml application/rls-services+xml application/rs-metadata+xml
    application/rss+xml application/simple-filter+xml application/simple-message-summary+xml application/simservs+xml
    application/soap+xml application/upp-directory+xml application/watcherinfo+xml application/x-crd+xml
    application/xcap-att+xml application/xcap-caps+xml application/xcap-diff+xml application/xcap-el+xml
    application/xcap-error+xml application/xcap-ns+xml application/xml application/xml-dtd application/xpidf+xml
    application/xslt+xml application/x-wms-logconnectstats application/x-wms-logplaystats application/x-wms-sendevent
    application/vnd.wv.csp+xml application/vnd.wv.csp.xml application/vnd.omads-email+xml application/vnd.omads-file+xml
    application/vnd.omads-folder+xml"""
_WBXML = """vnd.ms-sync vnd.ms-sync.wbxml vnd.nokia.syncset+wbxml vnd.oma.drm.rights+wbxml vnd.phonecom.mmc-wbxml
    vnd.syncml+wbxml vnd.syncml.dm+wbxml vnd.wap.coc vnd.wap.connectivity-wbxml vnd.wap.locc+wbxml vnd.wap.sic
    vnd.wap.slc vnd.wap.wbxml vnd.wap.wmlc vnd.wap.wta-eventc vnd.wv.csp.wbxml x-prov.syncset+wbxml"""
_OTHERS = {
    "application/octet-stream": layers.DATA,
    "application/x-www-form-urlencoded": layers.URLENCODED_FORM,
    "application/ocsp-request": layers.OCSP,
    "application/ocsp-response": layers.OCSP,
    "application/vnd.wap.mms-message": layers.MMSE,
    "application/ipp": layers.IPP,
    "application/sdp": layers.SDP,
    "application/dns-message": layers.DNS,
    "application/x-amf": layers.AMF,
    "application/cbor": layers.CBOR,
    "application/senml+cbor": layers.CBOR,
    "application/sensml+cbor": layers.CBOR,
    "application/cose": layers.COSE,
    "application/cose-key": layers.COSE,
    "application/cose-key-set": layers.COSE,
    "application/pkcs10": layers.PKCS10,
    "application/pkcs7-mime": layers.CMS,
    "application/pkcs7-signature": layers.CMS,
    "application/pkix-crl": layers.X509CE,
    "application/vnd.apache.thrift.binary": layers.THRIFT,
    "application/x-thrift": layers.THRIFT,
    **dict.fromkeys(
        (f"application/x-{kind}" for kind in ("coredump", "executable", "object", "sharedlib")), layers.ELF
    ),
    "application/timestamp-query": layers.PKIXTSP,
    "application/timestamp-reply": layers.PKIXTSP,
    "application/pkixcmp": layers.CMP,
    "application/x-pkixcmp": layers.CMP,
    "application/pkix-cert": layers.PKIX_CERT,
    "application/isup": layers.ISUP,
    "application/ms-tnef": layers.TNEF,
    "application/smil": layers.SMIL,
    "application/x-git-upload-pack-advertisement": layers.GIT,
    "application/x-git-upload-pack-request": layers.GIT,
    "application/x-git-upload-pack-result": layers.GIT,
    "application/x-dmap-tagged": layers.DAAP,
    "application/x-msn-messenger": layers.MSNMS,
    **dict.fromkeys((f"application/grpc{kind}" for kind in ("", "+proto", "-web", "-web+proto")), layers.GRPC),
    **dict.fromkeys((f"application/grpc-web-text{kind}" for kind in ("", "+proto")), layers.GRPC),
    "audio/mp4": layers.MP4,
    "video/mp2t": layers.MP2T,
    "video/mp4": layers.MP4,
    "image/png": layers.PNG,
    "image/jpeg": layers.IMAGE_JFIF,
    "image/jpg": layers.IMAGE_JFIF,
    "image/jfif": layers.IMAGE_JFIF,
    "image/gif": layers.IMAGE_GIF,
    "image/tiff": layers.TIFF,
    "message/http": layers.MESSAGE_HTTP,
    "message/rfc822": layers.IMF,
    "message/sip": layers.SIP,
    "message/sipfrag": layers.SIPFRAG,
}

BODIES: dict[str, int] = {
    **{f"application/{name}": layers.JSON for name in _JSON.split()},
    **dict.fromkeys(_TEXT.split(), layers.DATA_TEXT_LINES),
    **dict.fromkeys(_XML.split(), layers.XML),
    **{f"application/{name}": layers.WBXML for name in _WBXML.split()},
    **_OTHERS,
}
# Signature, and words one of which stands behind it.
PICTURES = {
    layers.PNG: (b"\x89PNG\r\n\x1a\n", 0, (b"",)),
    layers.IMAGE_JFIF: (b"\xff\xd8", 6, (b"JFIF\0", b"Exif\0")),
    layers.IMAGE_GIF: (b"GIF8", 4, (b"7a", b"9a")),
}
SMALLEST_PICTURE = 20
MOST_CALLS = 64  # gRPC messages of one body
SILENT = frozenset(("application/x-fcs",))  # types whose dissector shows nothing of its own
XML_FAMILIES = ("application/vnd.3gpp", "application/vnd.etsi.", "application/vnd.oma.")

# Wireshark's JSON grammar gives up at some depth. What one step down costs, by measuring where it does: into the first
# element of an array, a later one, the first member of an object, a later one.
DEEPEST = 96
FIRST_ELEMENT, ELEMENT, FIRST_MEMBER, MEMBER = 4, 6, 5, 7
LONGEST_JSON = 1 << 18  # longer texts are taken for well-formed, unread
_BLANK = " \t\r\n"


@cache
def _decoder() -> JSONDecoder:
    """Imported when the first JSON body comes: most small captures have none."""
    from json import JSONDecoder

    return JSONDecoder(strict=False)


def body_layers(kind: str, body: bytes) -> list[Layer]:
    """The layers of a body of media type `kind`; a type that nobody knows is `media`."""
    size = len(body)
    if kind.startswith("multipart/"):
        return [(layers.MIME_MULTIPART, size)]
    if kind in SILENT:
        return []
    layer = BODIES.get(kind)
    if layer in PICTURES:
        return picture(body) or [(layers.MEDIA, size)]
    if layer == layers.GRPC:
        return _calls(body, "-text" in kind)
    if layer == layers.DATA_TEXT_LINES and body[:5].lower() == b"<?xml":
        layer = layers.XML
    if layer is None and kind.endswith("+xml") and kind.startswith(XML_FAMILIES):
        layer = layers.XML
    if layer is None:
        return [(layers.MEDIA, size)]
    if layer == layers.JSON and (parsed := json_size(body)) < size:
        return [(layer, parsed), (layers.DATA_TEXT_LINES, size - parsed)]
    return [(layer, size)]


def picture(body: bytes) -> list[Layer]:
    """The layer of a picture by its first bytes, whatever its type says; nothing where it is none."""
    for layer, (signature, at, words) in PICTURES.items():
        if body.startswith(signature) and body.startswith(words, at) and len(body) >= SMALLEST_PICTURE:
            return [(layer, len(body))]
    return []


def _calls(body: bytes, armoured: bool) -> list[Layer]:
    """gRPC messages: 0 flags (0x80: trailers) | 1 length (4) | a Protocol Buffers message; as base64 where `armoured`."""
    if armoured:
        try:
            body = base64.b64decode(body)
        except ValueError:
            return [(layers.MEDIA, len(body))]
    found: list[Layer] = []
    at = 0
    while at + 5 <= len(body) and len(found) < MOST_CALLS:
        size = int.from_bytes(body[at + 1 : at + 5], "big")
        if at + 5 + size > len(body):
            break
        found.append((layers.GRPC, 5 + size))
        if size and not body[at] & 0x80:
            found.append((layers.PROTOBUF, size))
        at += 5 + size
    return found or [(layers.GRPC, len(body))]


def json_size(body: bytes) -> int:
    """Bytes at the start that are objects or arrays, one after the other, nested no deeper than Wireshark follows."""
    if len(body) > LONGEST_JSON:
        return len(body)
    text = body.decode("latin-1")  # an offset is an offset in bytes; the structure is ASCII
    at = 0
    while True:
        start = at
        while start < len(text) and text[start] in _BLANK:
            start += 1
        if start == len(text) or text[start] not in "[{":
            return start if at else 0  # blanks behind a value are its own
        try:
            value, end = _decoder().raw_decode(text, start)
            if not _shallow(value):
                raise ValueError
        except (ValueError, RecursionError):
            return start if at else 0
        at = end


def _shallow(value: Any) -> bool:
    """Does following every element stay within DEEPEST?"""
    waiting = [(value, 0)]
    while waiting:
        one, spent = waiting.pop()
        if spent > DEEPEST:
            return False
        if isinstance(one, list):
            costs, inside = (FIRST_ELEMENT, ELEMENT), one
        elif isinstance(one, dict):
            costs, inside = (FIRST_MEMBER, MEMBER), list(one.values())
        else:
            continue
        for position, inner in enumerate(inside):
            cost = spent + costs[position > 0]
            if isinstance(inner, (list, dict)):
                waiting.append((inner, cost))
            elif cost >= DEEPEST:
                return False
    return True
