"""Scenes of guesses spread thin, and of many hosts that log in."""

from cases import fires, silent
from payloads import request, response
from traffic import Said, Wire

ME, SERVER = "203.0.113.66", "10.0.0.5"
BANNERS: list[Said] = [("s", b"SSH-2.0-OpenSSH_9.6\r\n"), ("c", b"SSH-2.0-libssh_0.9.6\r\n")]
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def _ftp(user: str, good: bool = False) -> list[Said]:
    answer = b"230 welcome\r\n" if good else b"530 Login incorrect.\r\n"
    return [("s", b"220 ready\r\n"), ("c", f"USER {user}\r\n".encode()), ("s", b"331 password?\r\n"), ("c", b"PASS secret\r\n"), ("s", answer)]  # fmt: skip


def _ssh(wire: Wire, up: int, down: int) -> list[Said]:
    return [*BANNERS, ("c", wire.noise(up)), ("s", wire.noise(down))]


def _form(user: str) -> list[Said]:
    body = f"username={user}&password=Winter2026".encode()
    return [("c", request("/login.php", method="POST", headers=FORM, body=body)), ("s", response(200, b"<html>no</html>"))]  # fmt: skip


@fires(title="hosts guess passwords")
def botnet(wire: Wire) -> None:
    """Thirty hosts outside try two passwords each: none of them would be noticed alone."""
    for number in range(60):
        wire.talk(f"198.51.100.{number % 30 + 1}", SERVER, 21, _ftp("admin"), at=20.0 * number)


@fires(title="hosts guess passwords")
def infected_office(wire: Wire) -> None:
    """The same from inside: thirty infected machines try the administrator's account twice each."""
    for number in range(60):
        wire.talk(f"10.0.1.{number % 30 + 1}", SERVER, 21, _ftp("admin"), at=10.0 * number)


@fires(title="(http)")
def botnet_by_basic_authentication(wire: Wire) -> None:
    """Forty hosts try two passwords each by HTTP Basic; every answer is 401."""
    for number in range(80):
        head = "Authorization: Basic YWRtaW46c2VjcmV0\r\n"
        wire.talk(f"198.51.100.{number % 40 + 1}", SERVER, 80, [("c", request("/admin", headers=head)), ("s", response(401))], at=3.0 * number)  # fmt: skip


@fires(title="short equal ssh sessions")
def botnet_by_ssh(wire: Wire) -> None:
    """Sixty hosts outside with two SSH sessions each, all alike: what is said is encrypted."""
    for number in range(120):
        wire.talk(f"198.51.100.{number % 60 + 1}", SERVER, 22, _ssh(wire, 1100 + number % 3, 1500), at=5.0 * number, rtt=0.3)  # fmt: skip


@fires(title="login form")
def botnet_by_form(wire: Wire) -> None:
    """Sixty hosts send a login form for one account, twice each."""
    for number in range(120):
        wire.talk(f"198.51.100.{number % 60 + 1}", SERVER, 80, _form("admin"), at=3.0 * number)


@fires(title="tried ftp logins at 30 hosts")
def one_password_everywhere(wire: Wire) -> None:
    """One host tries two passwords at each of thirty servers."""
    for number in range(60):
        wire.talk(ME, f"10.0.2.{number % 30 + 1}", 21, _ftp("admin"), at=3.0 * number)


@fires(title="to 30 hosts, port 22")
def one_password_everywhere_by_ssh(wire: Wire) -> None:
    """The same by SSH: three short equal sessions to each of thirty servers."""
    for number in range(90):
        wire.talk(ME, f"10.0.2.{number % 30 + 1}", 22, _ssh(wire, 1100 + number % 3, 1500), at=2.0 * number, rtt=0.3)


@fires(title="tried 40 names")
def slow_spraying(wire: Wire) -> None:
    """One password for forty accounts, one every five minutes or so: below every counter of tries a minute."""
    at = 0.0
    for number in range(40):
        wire.talk(ME, SERVER, 21, _ftp(f"user{number}"), at=at)
        at += 300 * (0.5 + wire.random.random())


@fires("high", title="was accepted")
def spraying_that_succeeds(wire: Wire) -> None:
    """The same; the password is right for one of the accounts."""
    at = 0.0
    for number in range(40):
        wire.talk(ME, SERVER, 21, _ftp(f"user{number}", good=number == 31), at=at)
        at += 300 * (0.5 + wire.random.random())


@silent()
def office_in_the_morning(wire: Wire) -> None:
    """Sixty people outside log in, one in four mistypes the password first."""
    for number in range(60):
        client = f"198.51.100.{number + 1}"
        for good in (False, True) if number % 4 == 0 else (True,):
            wire.talk(client, SERVER, 21, _ftp(f"user{number}", good), at=10.0 * number + 5 * good)


@silent("low")
def password_store_down(wire: Wire) -> None:
    """The directory behind a server fails: forty people are refused twice, each under a name of their own."""
    for number in range(80):
        wire.talk(f"198.51.100.{number % 40 + 1}", SERVER, 21, _ftp(f"user{number % 40}"), at=7.0 * number)


@silent()
def terminal_server(wire: Wire) -> None:
    """Forty people work on one machine and log in to another; one in four mistypes the password first."""
    for number in range(40):
        for good in (False, True) if number % 4 == 0 else (True,):
            wire.talk("10.0.0.9", SERVER, 21, _ftp(f"user{number}", good), at=60.0 * number + 5 * good)


@silent("low")
def administration_by_ssh(wire: Wire) -> None:
    """A monitoring server inside logs in to thirty machines and asks each for its load, every ten minutes."""
    for number in range(90):
        wire.talk("10.0.0.9", f"10.0.2.{number % 30 + 1}", 22, _ssh(wire, 2600 + number % 3, 3000), at=600.0 * (number // 30) + number % 30)  # fmt: skip


@silent()
def public_repositories(wire: Wire) -> None:
    """Eighty people fetch from a git server by SSH, each as much as is new."""
    for number in range(80):
        size = round(3000 * 40 ** wire.random.random())
        wire.talk(f"198.51.100.{number + 1}", SERVER, 22, _ssh(wire, 2600, size), at=11.0 * number)


@silent()
def members_log_in(wire: Wire) -> None:
    """Eighty members of a site log in by its form, each once under a name of their own."""
    for number in range(80):
        wire.talk(f"198.51.100.{number + 1}", SERVER, 80, _form(f"member{number}"), at=4.0 * number)


@silent()
def mail_arrives(wire: Wire) -> None:
    """Forty servers deliver a mail each to the house's mail server: short sessions, much alike, without login."""
    for number in range(40):
        said: list[Said] = [("s", b"220 mx ESMTP\r\n"), ("c", f"EHLO mail{number}.example\r\n".encode()), ("s", b"250-mx\r\n250 STARTTLS\r\n"), ("c", b"STARTTLS\r\n"), ("s", b"220 go\r\n"), ("c", wire.noise(1400)), ("s", wire.noise(1200))]  # fmt: skip
        wire.talk(f"198.51.100.{number + 1}", SERVER, 25, said, at=20.0 * number)
