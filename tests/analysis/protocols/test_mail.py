"""SMTP, POP3 and IMAP: layers, messages, logins, STARTTLS."""

from __future__ import annotations

from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers

RECORD = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"


def _smtp(*client_lines: bytes) -> Talk:
    talk = Talk(25)
    talk.server(b"220 mail ESMTP\r\n")
    for line in client_lines:
        talk.client(line + b"\r\n")
    return talk


def test_a_message_is_imf_where_it_ends() -> None:
    """Segments of the message are smtp; the one with the dot carries the whole of it."""
    talk = _smtp(b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA")
    talk.server(b"354 go\r\n")
    first, second = b"Subject: x\r\n\r\nline\r\n", b"more\r\n.\r\n"
    assert talk.client(first) == "smtp"
    # "more" ends before CRLF.CRLF: 5 bytes of the second segment do not count
    assert talk.sized(CLIENT, second) == [(layers.SMTP, 9), (layers.IMF, len(first) + 9 - 5)]
    assert talk.server(b"250 ok\r\n") == "smtp"


def test_a_line_without_its_end_waits() -> None:
    """Half a command is bare TCP."""
    talk = _smtp()
    assert [talk.client(b"EHLO exa"), talk.client(b"mple\r\n")] == ["", "smtp"]


def test_logins_of_all_three() -> None:
    """User names stay, secrets do not; the server's word is the result."""
    smtp = _smtp(b"AUTH PLAIN AGFsaWNlAHNlc2FtZQ==")
    smtp.server(b"235 ok\r\n")
    login = _smtp(b"AUTH LOGIN", b"YWxpY2U=", b"c2VzYW1l")
    login.server(b"535 no\r\n")
    pop = Talk(110)
    pop.client(b"USER alice\r\n")
    pop.server(b"+OK\r\n")
    pop.client(b"PASS sesame\r\n")
    pop.server(b"-ERR no\r\n")
    imap = Talk(143)
    imap.client(b'a1 LOGIN "alice" sesame\r\n')
    imap.server(b"a1 OK done\r\n")
    found = [(row.protocol, row.user, row.result) for talk in (smtp, login, pop, imap) for row in talk.facts.login]
    assert found == [("smtp", "alice", 1), ("smtp", "alice", 0), ("pop", "alice", 0), ("imap", "alice", 1)]
    assert not any("sesame" in repr(talk.facts) for talk in (smtp, login, pop, imap))


def test_starttls_hands_the_stream_to_tls() -> None:
    """After the server's go-ahead every segment is TLS."""
    smtp = _smtp(b"STARTTLS")
    smtp.server(b"220 ready\r\n")
    pop = Talk(110)
    pop.client(b"STLS\r\n")
    pop.server(b"+OK begin\r\n")
    imap = Talk(143)
    imap.client(b"a1 STARTTLS\r\n")
    imap.server(b"a1 OK begin\r\n")
    assert [talk.client(RECORD) for talk in (smtp, pop, imap)] == ["tls"] * 3


def test_what_a_pop_server_sends_without_status_is_a_message() -> None:
    """Its segments are imf each, as Wireshark shows them."""
    talk = Talk(110)
    talk.client(b"RETR 1\r\n")
    assert talk.server(b"+OK 900 octets\r\n") == "pop"
    assert talk.sized(SERVER, b"From: a\r\n\r\nx\r\n.\r\n") == [(layers.POP, 17), (layers.IMF, 17)]
