"""Bodies by media type, as tshark 4.0.17 shows them in HTTP messages."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import layers
from analysis.protocols.media_types import body_layers, json_size


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text/html", "data-text-lines"),
        ("text/event-stream", "media"),
        ("text/json", "media"),
        ("text/csv", "media"),
        ("application/javascript", "media"),
        ("text/javascript", "data-text-lines"),
        ("application/xhtml+xml", "media"),
        ("application/soap+xml", "xml"),
        ("application/ttml+xml", "media"),
        ("application/vnd.3gpp.sms+xml", "xml"),
        ("application/octet-stream", "data"),
        ("application/pdf", "media"),
        ("application/vnd.api+json", "media"),
        ("application/problem+json", "json/data-text-lines"),
        ("application/x-fcs", ""),
        ("application/vnd.wap.wmlc", "wbxml"),
        ("video/mp4", "mp4"),
        ("multipart/mixed", "mime_multipart"),
        ("image/png", "media"),  # the body is no picture
        ("application/cose", "cose"),
        ("application/grpc", "grpc"),
        ("", "media"),
    ],
)
def test_types_are_looked_up_exactly(kind: str, expected: str) -> None:
    """No guessing by prefix or suffix."""
    assert "/".join(layers.NAMES[layer] for layer, _ in body_layers(kind, b"<a>b</a>")) == expected


def test_xml_may_call_itself_text() -> None:
    """Wireshark's dissector of text looks for the declaration."""
    assert body_layers("text/html", b"<?XML version='1.0'?>") == [(layers.XML, 21)]


def test_grpc_messages_carry_protocol_buffers() -> None:
    """Five bytes of header before each; trailers are shown inside. On the web they may travel as base64."""
    body = b"\0\0\0\0\3abc" + b"\x80\0\0\0\2ok"
    expected = [(layers.GRPC, 8), (layers.PROTOBUF, 3), (layers.GRPC, 7)]

    assert body_layers("application/grpc", body) == expected
    assert body_layers("application/grpc-web-text", base64.b64encode(body)) == expected
    assert body_layers("application/grpc-web-text", b"abc") == [(layers.MEDIA, 3)]


@pytest.mark.parametrize(
    ("body", "good"),
    [
        (b'{"a": 1}\n', True),
        (b"[]", True),
        (b'{"a":1}\n{"b":2}', True),
        (b'{"a":-1.5e+3,"b":null,"c":"\\u00e9\\n"}', True),
        (b'{"a":"x\ny"}', True),
        (b'{"a":"\xe9"}', True),
        (b'{"a":NaN}', True),
        (b"123", False),
        (b'"x"', False),
        (b'{"a":1}xx', False),
        (b'{"a":1,}', False),
        (b'{"a":01}', False),
        (b'{"a":"\\q"}', False),
        (b'\xef\xbb\xbf{"a":1}', False),
        (b'cb({"a":1})', False),
        (b"[" * 25 + b"]" * 25, True),
        (b"[" * 26 + b"]" * 26, False),
        (b'{"a":' * 19 + b"1" + b"}" * 19, True),
        (b'{"a":' * 20 + b"1" + b"}" * 20, False),
        (b"[1," * 15 + b"1" + b"]" * 15, True),
        (b"[1," * 16 + b"1" + b"]" * 16, False),
        (b'[{"a":' * 10 + b"1" + b"}]" * 10, True),
        (b'[{"a":' * 11 + b"1" + b"}]" * 11, False),
        (b"[" * 100_000, False),
    ],
)
def test_json_is_what_parses_so_deep(body: bytes, good: bool) -> None:
    """What does not parse is shown as JSON and then as lines of text."""
    assert (json_size(body) == len(body)) is good


@pytest.mark.parametrize(
    ("body", "parsed"), [(b"{1:2}", 0), (b' {"a": 1} \n[2] text', 15), (b'{"\xc3\xa9": "\xff"}x', 11), (b'[1] {"a"', 4)]
)
def test_json_ends_where_it_does_not_parse(body: bytes, parsed: int) -> None:
    """The rest is shown as lines of text."""
    assert body_layers("application/json", body) == [
        (layers.JSON, parsed), (layers.DATA_TEXT_LINES, len(body) - parsed),
    ]  # fmt: skip


@given(st.binary(max_size=60) | st.from_regex(rb"[\[\]{}\",:0-9a ]{0,40}", fullmatch=True))
def test_no_body_raises(body: bytes) -> None:
    """Whatever the bytes are, the layers are as long as the body."""
    assert sum(size for _, size in body_layers("application/json", body)) == len(body)
