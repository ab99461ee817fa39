"""Scenes of logins that everybody on the path can read, and of logins that nobody can."""

from cases import fires, silent
from payloads import request, response, tls
from traffic import Wire

ME, SERVER = "10.0.0.9", "10.0.0.5"


@fires("low", title="FTP login of bob")
def ftp(wire: Wire) -> None:
    """One FTP login with a password."""
    said = [("s", b"220 ready\r\n"), ("c", b"USER bob\r\n"), ("s", b"331 password?\r\n"), ("c", b"PASS sesame\r\n"), ("s", b"230 in\r\n")]  # fmt: skip
    wire.talk(ME, SERVER, 21, said)


@fires("low", title="HTTP login of admin")
def basic(wire: Wire) -> None:
    """HTTP Basic without TLS."""
    ask = request("/status", headers="Authorization: Basic YWRtaW46c2VzYW1l\r\n")
    wire.talk(ME, SERVER, 80, [("c", ask), ("s", response())])


@fires("low", title="IMAP login of carol")
def imap(wire: Wire) -> None:
    """An IMAP login on port 143."""
    wire.talk(
        ME, SERVER, 143, [("s", b"* OK ready\r\n"), ("c", b"a1 LOGIN carol sesame\r\n"), ("s", b"a1 OK done\r\n")]
    )


@silent()
def encrypted_mail(wire: Wire) -> None:
    """IMAP inside TLS."""
    wire.talk(ME, SERVER, 993, tls("mail.example.org"))


@silent(at_most="info")
def anonymous(wire: Wire) -> None:
    """Anonymous FTP has no secret to lose."""
    said = [("s", b"220 ready\r\n"), ("c", b"USER anonymous\r\n"), ("s", b"331 any\r\n"), ("c", b"PASS me@example.org\r\n"), ("s", b"230 in\r\n")]  # fmt: skip
    wire.talk(ME, SERVER, 21, said)


@silent()
def page_without_login(wire: Wire) -> None:
    """Pages by HTTP, one of them about passwords."""
    wire.talk(
        ME, SERVER, 80, [("c", request("/help?topic=password")), ("s", response(200, b"Choose a long password."))]
    )
