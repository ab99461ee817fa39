"""FTP, telnet, SSH, IRC, XMPP, SIP, RTSP: lines and segments, logins, banners."""

from __future__ import annotations

import pytest
from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers


def test_ftp_logins_carry_the_servers_word() -> None:
    """530 refuses, 230 accepts; the password is masked at once."""
    for answer, result in ((b"530 Login incorrect.\r\n", 0), (b"230 Welcome\r\n", 1)):
        talk = Talk(21)
        talk.client(b"USER admin\r\n")
        talk.server(b"331 Password required\r\n")
        talk.client(b"PASS sesame\r\n")
        assert talk.server(answer) == "ftp"
        assert [(row.user, row.secret_masked, row.result) for row in talk.facts.login] == [("admin", "***", result)]
        assert "sesame" not in repr(talk.facts)


@pytest.mark.parametrize(
    ("direction", "line", "port"),
    [
        (SERVER, b"227 Entering Passive Mode (10,0,0,1,19,137).\r\n", 5001),
        (SERVER, b"229 Entering Extended Passive Mode (|||5002|)\r\n", 5002),
        (CLIENT, b"PORT 10,0,0,2,19,139\r\n", 5003),
        (CLIENT, b"EPRT |2|::1|5004|\r\n", 5004),
    ],
)
def test_ftp_announces_its_data_connections(direction: int, line: bytes, port: int) -> None:
    """PASV, EPSV, PORT and EPRT (RFC 959, RFC 2428)."""
    talk = Talk(21)
    talk.say(direction, line)
    assert talk.shared.expected(40_000, port) is not None
    assert talk.shared.expected(40_000, port + 10) is None


def test_telnet_logins_typed_key_by_key() -> None:
    """The prompts tell what is being typed; echoes do not matter."""
    talk = Talk(23)
    assert talk.server(b"\xff\xfd\x18login: ") == "telnet"
    for key in (b"r", b"o", b"o", b"t", b"\r\n"):
        talk.client(key)
        talk.server(key)
    talk.server(b"Password: ")
    talk.client(b"sesame\r\n")
    talk.server(b"\r\nLast login: today\r\n$ ")
    assert [(row.protocol, row.user, row.result) for row in talk.facts.login] == [("telnet", "root", 1)]
    assert "sesame" not in repr(talk.facts)


def test_ssh_banners_and_packets() -> None:
    """Banners become facts; a plain packet over two segments is shown in the second; then all is sealed."""
    talk = Talk(22)
    assert talk.server(b"SSH-2.0-OpenSSH_9.6\r\n") == "ssh"
    assert talk.client(b"SSH-2.0-lib_0.9\r\n") == "ssh"
    packet = (300).to_bytes(4, "big") + b"\x04\x14" + bytes(298)
    assert talk.sized(CLIENT, packet[:200]) == []
    assert talk.sized(CLIENT, packet[200:]) == [(layers.SSH, 304)]
    assert talk.client((12).to_bytes(4, "big") + b"\x0a\x15" + bytes(10) + b"\xf3" * 90) == "ssh"
    assert talk.client(b"\xff" * 64) == "ssh"
    assert [(row.banner, row.from_a) for row in talk.facts.ssh] == [
        ("SSH-2.0-OpenSSH_9.6", False),
        ("SSH-2.0-lib_0.9", True),
    ]


def test_irc_xmpp_sip_rtsp() -> None:
    """One layer each; bodies with a session description have it below."""
    irc = Talk(6667)
    irc.client(b"PASS x\r\nNICK bot\r\nUSER bot 0 * :bot\r\n")
    irc.server(b":srv 001 bot :Welcome\r\n")
    assert [(row.protocol, row.user, row.result) for row in irc.facts.login] == [("irc", "bot", 1)]
    assert Talk(5222).client(b"<?xml version='1.0'?><stream:stream>") == "xmpp"
    invite = b"INVITE sip:a@b SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n"
    talk = Talk(5060)
    assert [talk.client(invite[:-2]), talk.client(invite[-2:])] == ["", "sip"]
    assert talk.shared.media == [b"v=0\n"]
    talk = Talk(5060)
    assert [talk.client(b"rest of one\r\n"), talk.client(b"\x00\r\n"), talk.client(b"no end")] == ["sip", "", ""]
    assert Talk(4222).server(b'INFO {"server_id":"A"}\r\n') == "data"  # NATS, no version of SIP in the line
    assert Talk(4223).client(b"INVITE sip:a@b SIP/2.0\r\n\r\n") == "sip"
    assert Talk(554).client(b"DESCRIBE rtsp://a RTSP/1.0\r\nCSeq: 1\r\n\r\n") == "rtsp"
