"""TLS sessions whose secrets are known: OpenSSL's own sessions are opened, and named and judged by what is inside."""

from __future__ import annotations

import os
import shutil
import ssl
import struct
from pathlib import Path

import pytest
from capture_files import Packet, block, enhanced, interface, option, pcapng, section
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tls_talk import CLIENT, NO_ENCRYPT_THEN_MAC, SERVER, TlsTalk
from traffic import Wire

from analysis import run
from analysis.capture import open_captures
from analysis.cli import cli
from analysis.errors import CaptureError
from analysis.facts import Facts
from analysis.key_log import KeyLog, read_key_log
from analysis.pipeline import Pipeline
from analysis.protocols.tls_session import SUITES, Session
from analysis.run import Analysis, Settings, analyse
from analysis.stream_process import StreamProcess
from analysis.verify import verify_capture
from chat.wire import Auth, encode

REQUEST = b"GET /inside?q=1 HTTP/1.1\r\nHost: inside.example\r\nUser-Agent: sealed\r\n\r\n"
PAGE = b"<html>" + b"x" * 40_000 + b"</html>"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def http_talk(
    folder: Path, version: ssl.TLSVersion = V13, ciphers: str = "", alpn: str = "", options: int = 0
) -> TlsTalk:
    """A session that carries two requests and their answers."""
    talk = TlsTalk(folder, version, ciphers, alpn, options)
    for _ in range(2):
        talk.say(CLIENT, REQUEST)
        talk.say(SERVER, RESPONSE)
    return talk


def wire(*talks: TlsTalk, port: int = 443) -> Wire:
    """The sessions, each on a connection of its own."""
    made = Wire()
    for talk in talks:
        made.talk("10.0.0.5", "198.51.100.7", port, [("cs"[side], data) for side, data in talk.written])
    return made


def paths(analysis: Analysis) -> set[str]:
    """The rows of the protocol hierarchy."""
    return {row.path for row in analysis.hierarchy.rows()}


@pytest.mark.parametrize(
    ("version", "ciphers", "options", "cipher"),
    [
        (V13, "", 0, "TLS_AES_256_GCM_SHA384"),
        (V12, "ECDHE-RSA-AES128-GCM-SHA256", 0, "ECDHE-RSA-AES128-GCM-SHA256"),
        (V12, "AES256-GCM-SHA384", 0, "AES256-GCM-SHA384"),
        (V12, "ECDHE-RSA-CHACHA20-POLY1305", 0, "ECDHE-RSA-CHACHA20-POLY1305"),
        (V12, "AES128-CCM", 0, "AES128-CCM"),
        (V12, "AES256-CCM8", 0, "AES256-CCM8"),
        (V12, "AES128-SHA", 0, "AES128-SHA"),
        (V12, "AES256-SHA256", NO_ENCRYPT_THEN_MAC, "AES256-SHA256"),
        (V12, "ECDHE-RSA-AES256-SHA384", 0, "ECDHE-RSA-AES256-SHA384"),
    ],
)
def test_what_openssl_seals_is_opened(
    tmp_path: Path, version: ssl.TLSVersion, ciphers: str, options: int, cipher: str
) -> None:
    """Requests and bodies of an HTTP session, with every kind of cipher; nothing of it without the key log."""
    talk = http_talk(tmp_path, version, ciphers, options=options)
    assert talk.cipher() == cipher
    capture = wire(talk).write(tmp_path / "c.pcap")

    closed, opened = analyse([capture]), analyse([capture], settings=Settings(keylog=str(talk.key_log)))
    assert (len(closed.facts.http), "eth/ip/tcp/tls/http" in paths(closed)) == (0, False)
    assert [(row.method, row.uri) for row in opened.facts.http if row.method] == [("GET", "/inside?q=1")] * 2
    assert [row.status for row in opened.facts.http if row.status] == [200, 200]
    assert {row.host for row in opened.facts.http if row.method} == {"inside.example"}
    rows = {row.path: row for row in opened.hierarchy.rows()}
    assert rows["eth/ip/tcp/tls/http"].packets == 4
    assert rows["eth/ip/tcp/tls/http/data-text-lines"].packets == 2
    assert len(opened.facts.tls) == len(closed.facts.tls) == 1
    assert ("tls" in closed.capture, opened.capture["tls"]) == (False, {"sessions": 1, "keyed": 1})


def test_traffic_secrets_alone_are_enough(tmp_path: Path) -> None:
    """Of TLS 1.3 some programs write down no secret of the handshake."""
    talk = http_talk(tmp_path)
    lines = [line for line in talk.key_log.read_text().splitlines() if "HANDSHAKE" not in line]
    talk.key_log.write_text("\n".join(lines))
    found = analyse([wire(talk).write(tmp_path / "c.pcap")], settings=Settings(keylog=str(talk.key_log)))
    assert [row.status for row in found.facts.http if row.status] == [200, 200]


@pytest.mark.parametrize("version", [V12, V13])
def test_the_agreed_protocol_names_what_is_inside(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """ALPN goes before the port; in TLS 1.3 it is sealed itself."""
    talk = TlsTalk(tmp_path, version, alpn="h2")
    talk.say(CLIENT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
    capture = wire(talk, port=9_999).write(tmp_path / "c.pcap")
    assert "eth/ip/tcp/tls/http2" in paths(analyse([capture], settings=Settings(keylog=str(talk.key_log))))


def test_clear_logins_inside_are_seen(tmp_path: Path) -> None:
    """By port, with what the connection still waits for when the capture ends."""
    talk = TlsTalk(tmp_path, V13)
    talk.say(SERVER, b"+OK ready\r\n")
    talk.say(CLIENT, b"USER eve\r\n")
    talk.say(SERVER, b"+OK\r\n")
    talk.say(CLIENT, b"PASS geheim\r\n")
    capture = wire(talk, port=995).write(tmp_path / "c.pcap")
    found = analyse([capture], settings=Settings(keylog=str(talk.key_log)))
    assert "eth/ip/tcp/tls/pop" in paths(found)
    assert [(row.protocol, row.user, row.cleartext) for row in found.facts.login] == [("pop", "eve", False)]
    assert not {finding.detector for finding in found.findings} & {"clear-text-credentials"}


def test_the_chat_inside_is_not_told_as_clear(tmp_path: Path) -> None:
    """Its frames are named; who was careful enough to seal them is not told to do so."""
    talk = TlsTalk(tmp_path, V13)
    talk.say(CLIENT, encode(Auth("guest", user="eve")))
    capture = wire(talk, port=1234).write(tmp_path / "c.pcap")
    found = analyse([capture], settings=Settings(keylog=str(talk.key_log)))
    assert "eth/ip/tcp/tls/tapwall" in paths(found)
    assert (len(found.facts.chat), [f.detector for f in found.findings if f.detector == "lab-chat"]) == (1, [])


def test_what_nobody_knows_inside_is_data(tmp_path: Path) -> None:
    """As Wireshark shows it; the first bytes that are told of a conversation are never sealed ones."""
    talk = TlsTalk(tmp_path, V13)
    talk.say(CLIENT, b"\x01\x02 nobody speaks like this")
    found = analyse([wire(talk, port=9_999).write(tmp_path / "c.pcap")], settings=Settings(keylog=str(talk.key_log)))
    assert "eth/ip/tcp/tls/data" in paths(found)
    # but for a ClientHello that lies in two segments, as those of OpenSSL 3.5 do
    assert not [row for row in found.facts.opening if not row.data.startswith(b"\x16\x03\x01")]


def test_an_update_over_tls_is_no_program_in_clear(tmp_path: Path) -> None:
    """Who opens sessions sees programs in them; what speaks against one is said, and TLS is no sign."""
    program = b"MZ" + bytes(76) + b"This program cannot be run in DOS mode.\r\r\n$" + bytes(400)
    response = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % len(program)
    got = {}
    for name in ("update.example.com", "203.0.113.9"):
        folder = tmp_path / name
        folder.mkdir()
        talk = TlsTalk(folder, V13)
        talk.say(
            CLIENT,
            REQUEST.replace(b"/inside?q=1", b"/files/setup.exe")
            .replace(b"inside.example", name.encode())
            .replace(b"sealed", b"Mozilla/5.0 (X11)"),
        )
        talk.say(SERVER, response + program)
        found = analyse([wire(talk).write(folder / "c.pcap")], settings=Settings(keylog=str(talk.key_log)))
        assert [row.shape for row in found.facts.payload] == ["program-windows"]
        got[name] = [finding for finding in found.findings if finding.detector == "program-transfer"]
    assert got["update.example.com"] == []
    assert [list(finding.numbers)[1] for finding in got["203.0.113.9"]] == ["signs"]
    assert "in clear" not in got["203.0.113.9"][0].explanation


def with_secrets(capture: Wire, texts: list[bytes], kind: int = 0x544C534B, order: str = "<") -> bytes:
    """The packets as pcapng behind secrets blocks."""
    blocks = b"".join(block(10, struct.pack(order + "II", kind, len(text)) + text, order) for text in texts)
    head = section(order=order) + interface(1, 0, option(9, bytes([9]), order), order) + blocks
    return head + b"".join(
        enhanced(round(at * 1e9), data, wire=size, order=order) for at, data, size in capture.packets
    )


def report_of(path: Path, folder: Path) -> str:
    """The page that -o writes."""
    assert CliRunner().invoke(cli, ["analyze", str(path), "-o", str(folder / "page")]).exit_code == 0
    return (folder / "page" / "report.html").read_text()


@pytest.mark.parametrize("order", ["<", ">"])
def test_secrets_in_the_capture(tmp_path: Path, order: str) -> None:
    """A secrets block opens what follows it; packets, filters and rules see the same."""
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    talks = http_talk(folders[0], V12), http_talk(folders[1], V13)
    texts = [talk.key_log.read_bytes() for talk in talks]
    path = tmp_path / "c.pcapng"
    path.write_bytes(with_secrets(wire(*talks), texts, order=order))
    assert [row.host for row in analyse([str(path)]).facts.http if row.method] == ["inside.example"] * 4
    runner = CliRunner()
    shown = runner.invoke(cli, ["packets", str(path), "http.request.method == GET", "--fields", "path"])
    assert shown.output.splitlines()[1:] == ["eth/ip/tcp/tls/http"] * 4
    for line in (runner.invoke(cli, ["analyze", str(path)]).output, report_of(path, tmp_path)):
        assert "secrets of 2 of 2 TLS sessions" in line or "keys\t2\t2" in line
    counted = runner.invoke(cli, ["analyze", str(path), "--filter", "http", "--json", "--only", "hierarchy"])
    assert counted.exit_code == 0

    path.write_bytes(with_secrets(wire(*talks), texts, kind=0x57474B4C, order=order))  # those of WireGuard
    assert not len(analyse([str(path)]).facts.http)


def test_one_chunk_or_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets stay known: a session may go on in later chunks, and begin there."""
    talk = http_talk(tmp_path)
    path = tmp_path / "c.pcapng"
    path.write_bytes(with_secrets(wire(talk), [talk.key_log.read_bytes()]))
    whole = analyse([str(path)])
    monkeypatch.setattr(run, "open_captures", lambda paths, **named: open_captures(paths, chunk_packets=3, **named))
    parts = analyse([str(path)])
    assert parts.hierarchy.rows() == whole.hierarchy.rows()
    assert len(parts.facts.http) == len(whole.facts.http) == 4


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_another_process_gets_the_secrets(tmp_path: Path) -> None:
    """Where streams are named in a process of their own, secrets go with the batch that they came before."""
    talk = http_talk(tmp_path)
    path = tmp_path / "c.pcapng"
    path.write_bytes(with_secrets(wire(talk), [talk.key_log.read_bytes()]))
    apart = StreamProcess(Facts())
    try:
        pipeline = Pipeline(apart=apart)
        with open_captures([str(path)], chunk_packets=20) as capture:
            assert sum(len(batch.packets.number) for batch in pipeline.batches(capture)) > 40
    finally:
        apart.close()
    assert [row.host for row in apart.facts.http if row.method] == ["inside.example"] * 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("options", [0, NO_ENCRYPT_THEN_MAC])
@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
def test_old_versions_are_opened(tmp_path: Path, version: ssl.TLSVersion, options: int) -> None:
    """TLS 1.0 chains its blocks over records, 1.1 does not; both derive keys by MD5 and SHA-1."""
    try:
        talk = http_talk(tmp_path, version, "AES128-SHA", options=options)
    except (ssl.SSLError, ValueError) as error:
        pytest.skip(f"this OpenSSL speaks it no more: {error}")
    capture = wire(talk).write(tmp_path / "c.pcap")
    found = analyse([capture], settings=Settings(keylog=str(talk.key_log)))
    assert [row.status for row in found.facts.http if row.status] == [200, 200]


@pytest.mark.tshark
@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
@pytest.mark.parametrize(("version", "ciphers"), [(V13, ""), (V12, "AES128-SHA"), (V12, "AES256-CCM8")])
def test_tshark_sees_the_same_inside(tmp_path: Path, version: ssl.TLSVersion, ciphers: str) -> None:
    """Every frame's layers and the protocol hierarchy, with the same key log."""
    talk = http_talk(tmp_path, version, ciphers)
    report = verify_capture(wire(talk).write(tmp_path / "c.pcap"), keylog=str(talk.key_log))
    assert (report.equal, report.paths_equal, report.differences) == (True, report.frames, ())


def test_a_wrong_secret_opens_nothing(tmp_path: Path) -> None:
    """A key log whose secrets are of another session with the same random."""
    talk = http_talk(tmp_path)
    lines = talk.key_log.read_text().splitlines()
    false = [f"{line[:-4]}{'0000' if line[-4:] != '0000' else '1111'}" for line in lines]
    talk.key_log.write_text("\n".join(false))
    found = analyse([wire(talk).write(tmp_path / "c.pcap")], settings=Settings(keylog=str(talk.key_log)))
    assert not len(found.facts.http)
    assert "eth/ip/tcp/tls" in paths(found)


@pytest.mark.parametrize(
    "text", [b"", b"\x00\xff" * 100, b"CLIENT_RANDOM 00 00\n", b"a b\nc d e f\n", b"X " + b"zz" * 32 + b" 00"]
)
def test_a_file_without_secrets_is_refused(tmp_path: Path, text: bytes) -> None:
    """What was expected, in one line."""
    path = tmp_path / "keys"
    path.write_bytes(text)
    with pytest.raises(CaptureError, match="expected lines `LABEL CLIENT-RANDOM SECRET`"):
        read_key_log(str(path))


@pytest.mark.parametrize("command", ["analyze", "packets", "verify"])
def test_a_key_log_that_cannot_be_read_is_one_line(tmp_path: Path, command: str) -> None:
    """Exit 2, no traceback."""
    capture = tmp_path / "c.pcapng"
    capture.write_bytes(pcapng([Packet(0, b"\0" * 60)]))
    said = CliRunner().invoke(cli, [command, str(capture), "--keylog", str(tmp_path / "none")])
    assert said.exit_code == 2, said.output
    assert "none: no such file" in said.output


@given(st.binary(max_size=300))
def test_any_text_is_a_key_log(text: bytes) -> None:
    """Nothing raises; what is kept is bounded."""
    log = KeyLog()
    log.add(text)
    log.add(b"CLIENT_RANDOM " + b"ab" * 32 + b" " + text.hex().encode() + b"\n" + b"L " + b"cd" * 32 + b" 01\n")
    assert log.secrets(b"\xcd" * 32) == {"L": b"\x01"}
    assert set(log.secrets(b"\xab" * 32) or {}) <= {"CLIENT_RANDOM"}


@given(
    st.sampled_from(sorted(SUITES)),
    st.sampled_from([0x0301, 0x0302, 0x0303, 0x0304]),
    st.binary(max_size=64),
    st.lists(st.tuples(st.integers(0, 1), st.integers(20, 24), st.binary(max_size=120)), max_size=8),
)
def test_any_record_is_opened_or_not(
    cipher: int, version: int, secret: bytes, records: list[tuple[int, int, bytes]]
) -> None:
    """Keys of any length and records of any content: None, never an exception."""
    labels = (
        "CLIENT_RANDOM",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_TRAFFIC_SECRET_0",
    )
    session = Session(dict.fromkeys(labels, secret), bytes(32), 0)
    session.hello(bytes(32), version, cipher, "")
    for direction in (0, 1):
        session.change(direction)
    for direction, kind, body in records:
        header = bytes((kind, 3, 3)) + len(body).to_bytes(2, "big")
        assert session.open(direction, header, body) is None
