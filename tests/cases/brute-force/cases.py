"""Scenes of guessed logins, and of programs that log in often."""

from cases import fires, silent
from payloads import request, response, sip, sip_answer
from traffic import Said, Wire

ME, SERVER = "203.0.113.66", "10.0.0.5"
BANNERS: list[Said] = [("s", b"SSH-2.0-OpenSSH_9.6\r\n"), ("c", b"SSH-2.0-libssh_0.9.6\r\n")]


def _ftp(user: str, good: bool = False) -> list[Said]:
    answer = b"230 welcome\r\n" if good else b"530 Login incorrect.\r\n"
    return [("s", b"220 ready\r\n"), ("c", f"USER {user}\r\n".encode()), ("s", b"331 password?\r\n"), ("c", b"PASS secret\r\n"), ("s", answer)]  # fmt: skip


def _ssh(wire: Wire, up: int = 1100, down: int = 1500) -> list[Said]:
    return [*BANNERS, ("c", wire.noise(up)), ("s", wire.noise(down))]


@fires(title="guessed passwords")
def ftp(wire: Wire) -> None:
    """hydra against FTP: 30 refused logins of one name within 20 s."""
    for number in range(30):
        wire.talk(ME, SERVER, 21, _ftp("admin"), at=0.7 * number)


@fires("high", title="was accepted")
def ftp_success(wire: Wire) -> None:
    """The same, and the 31st password is right."""
    for number in range(30):
        wire.talk(ME, SERVER, 21, _ftp("admin"), at=0.7 * number)
    wire.talk(ME, SERVER, 21, _ftp("admin", good=True), at=22)


@fires(title="guessed names")
def spraying(wire: Wire) -> None:
    """One password for 20 names at a POP server."""
    for number in range(20):
        said: list[Said] = [("s", b"+OK ready\r\n"), ("c", f"USER user{number}\r\n".encode()), ("s", b"+OK\r\n"), ("c", b"PASS Autumn2026\r\n"), ("s", b"-ERR authentication failed\r\n")]  # fmt: skip
        wire.talk(ME, SERVER, 110, said, at=1.5 * number)


@fires(title="short equal")
def ssh(wire: Wire) -> None:
    """hydra against SSH: 40 encrypted sessions of the same size, 2 s each."""
    for number in range(40):
        wire.talk(ME, SERVER, 22, _ssh(wire, 1100 + number % 3, 1500), at=0.8 * number, rtt=0.4)


@fires(title="guessed passwords")
def http(wire: Wire) -> None:
    """Basic authentication tried 40 times, each answered 401."""
    for number in range(40):
        head = "Authorization: Basic YWRtaW46c2VjcmV0\r\n"
        wire.talk(ME, SERVER, 80, [("c", request("/admin", headers=head)), ("s", response(401))], at=0.3 * number)


@fires(title="login form")
def login_form(wire: Wire) -> None:
    """A form of a web application is posted 40 times with other passwords; the answer is the same page with 200."""
    for number in range(40):
        body = f"username=admin&password=pass{number:03d}".encode()
        head = "Content-Type: application/x-www-form-urlencoded\r\n"
        wire.talk(ME, SERVER, 80, [("c", request("/login.php", method="POST", headers=head, body=body)), ("s", response(200, b"<html>wrong password</html>"))], at=0.4 * number)  # fmt: skip


@fires(title="(sip, port 5060)")
def sip_registrations(wire: Wire) -> None:
    """svcrack: REGISTER with guessed passwords, 40 times, each answered 403."""
    for number in range(40):
        head = 'Authorization: Digest username="100", realm="pbx", nonce="1", uri="sip:pbx", response="00"\r\n'
        wire.asked(ME, SERVER, 5060, sip("REGISTER", "pbx", "friendly-scanner", "100", f"c{number}", head), sip_answer(403, "Forbidden", call=f"c{number}"), at=0.1 * number, sport=5060)  # fmt: skip


@silent()
def git_over_ssh(wire: Wire) -> None:
    """git over SSH: 15 sessions within some minutes, of very different sizes."""
    for number in range(15):
        wire.talk(
            "10.0.0.9",
            SERVER,
            22,
            _ssh(wire, 900 + 700 * number, 2000 + 9000 * (number % 5)),
            at=10.0 * number + 9 * wire.random.random(),
        )


@silent()
def backup_over_ssh(wire: Wire) -> None:
    """A nightly backup: three long sessions with much data."""
    for number in range(3):
        wire.talk("10.0.0.9", SERVER, 22, _ssh(wire, 200_000, 9000), at=30.0 * number)


@silent()
def mail_client_with_an_old_password(wire: Wire) -> None:
    """A mail client tries its one old password every two minutes: 8 times in a quarter of an hour."""
    for number in range(8):
        said: list[Said] = [("s", b"+OK ready\r\n"), ("c", b"USER alice\r\n"), ("s", b"+OK\r\n"), ("c", b"PASS old\r\n"), ("s", b"-ERR no\r\n")]  # fmt: skip
        wire.talk("10.0.0.9", SERVER, 110, said, at=120.0 * number)


@silent()
def connection_pool(wire: Wire) -> None:
    """A web application opens 12 database connections and keeps them."""
    for number in range(12):
        said: list[Said] = [("s", b"\x4a\0\0\0\x0a8.0.36\0" + bytes(60)), ("c", wire.noise(400)), ("s", b"\x07\0\0\x02\0\0\0\x02\0\0\0")]  # fmt: skip
        said += [("c", wire.noise(200 + 150 * number)), ("s", wire.noise(900 * (1 + number % 4)))] * 3
        wire.talk("10.0.0.9", SERVER, 3306, said, at=0.2 * number, close="", rtt=3)


@silent()
def page_with_many_forms(wire: Wire) -> None:
    """A web application posts the same form path 30 times with other contents (a user who types and saves)."""
    for number in range(30):
        body = f"title=Note&text={'word ' * (number + 1)}".encode()
        wire.talk("10.0.0.9", SERVER, 80, [("c", request("/save", method="POST", body=body)), ("s", response())], at=2.0 * number)  # fmt: skip


@silent()
def phones_register(wire: Wire) -> None:
    """Ten phones register every minute: 401 with a challenge, then 200."""
    for number in range(40):
        phone = f"10.0.3.{number % 10 + 1}"
        call = f"p{number}"
        wire.asked(phone, SERVER, 5060, sip("REGISTER", "pbx", user=f"10{number % 10}", call=call), sip_answer(401, "Unauthorized", call=call), at=6.0 * number, sport=5060)  # fmt: skip
        wire.asked(phone, SERVER, 5060, sip("REGISTER", "pbx", user=f"10{number % 10}", call=call, extra="Authorization: Digest username=\"x\"\r\n"), sip_answer(200, "OK", call=call), at=6.0 * number + 0.1, sport=5060)  # fmt: skip
