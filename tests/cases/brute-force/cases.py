"""Scenes of guessed logins, and of programs that log in often."""

from cases import fires, silent
from payloads import request, response, sip, sip_answer, smb2, snmp
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


@fires()
def telnet_on_another_port(wire: Wire) -> None:
    """Mirai's heirs guess at port 2323 as well: 20 short sessions, alike."""
    for number in range(20):
        said: list[Said] = [("s", b"\xff\xfd\x18login: "), ("c", b"root\r\n"), ("s", b"Password: "), ("c", b"xc3511\r\n"), ("s", b"\r\nLogin incorrect\r\n")]  # fmt: skip
        wire.talk(ME, SERVER, 2323, said, at=2.0 * number)


@fires()
def desktop_passwords(wire: Wire) -> None:
    """VNC: 20 answers of 16 bytes to the challenge, each refused."""
    for number in range(20):
        said: list[Said] = [("s", b"RFB 003.008\n"), ("c", b"RFB 003.008\n"), ("s", b"\x01\x02"), ("c", b"\x02"), ("s", wire.noise(16)), ("c", wire.noise(16)), ("s", b"\0\0\0\x01\0\0\0\x16Authentication failure")]  # fmt: skip
        wire.talk(ME, SERVER, 5900, said, at=1.0 * number)


@fires(title="/xmlrpc.php")
def wordpress_by_call(wire: Wire) -> None:
    """Passwords guessed through WordPress's XML-RPC, where each call brings a name and a password."""
    for number in range(40):
        body = f"<methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value>admin</value></param><param><value>p{number:03d}</value></param></params></methodCall>"
        wire.talk(ME, SERVER, 80, [("c", request("/xmlrpc.php", method="POST", body=body.encode())), ("s", response(200, b"<fault>403</fault>"))], at=0.4 * number)  # fmt: skip


@silent()
def proxy_that_asks(wire: Wire) -> None:
    """A proxy with NTLM: every connection is refused twice (407) before it is let through; a web server with Negotiate once (401)."""
    for number in range(60):
        for code, port in ((407, 3128), (401, 80)):
            said: list[Said] = [("c", request(f"/{number}")), ("s", response(code)), ("c", request(f"/{number}", headers="Authorization: NTLM TlRMTVNTUAAB\r\n")), ("s", response(200))]  # fmt: skip
            wire.talk("10.0.0.9", SERVER, port, said, at=7.0 * number * wire.random.random())


@fires(title="(smb, port 445)")
def share_passwords(wire: Wire) -> None:
    """Passwords for a file server's account: 15 session setups on one connection, each answered by STATUS_LOGON_FAILURE."""
    said: list[Said] = []
    for number in range(15):
        said += [("c", smb2(1, wire.noise(200), message=number)), ("s", smb2(1, bytes(8), reply=True, status=0xC000006D, message=number))]  # fmt: skip
    wire.talk(ME, SERVER, 445, said)


@silent()
def share_opened(wire: Wire) -> None:
    """Clients open a share: each session setup takes a second round (STATUS_MORE_PROCESSING_REQUIRED) and succeeds."""
    for number in range(15):
        rounds = ((0xC0000016, 1), (0, 2))
        said: list[Said] = []
        for status, message in rounds:
            said += [("c", smb2(1, wire.noise(200), message=message)), ("s", smb2(1, bytes(8), reply=True, status=status, message=message))]  # fmt: skip
        wire.talk("10.0.0.9", SERVER, 445, said, at=9.0 * number * wire.random.random())


@fires("medium", title="never answered")
def communities(wire: Wire) -> None:
    """onesixtyone: forty communities from one port to a switch, which answers none."""
    for number in range(40):
        wire.asked(ME, SERVER, 161, snmp(wire.word(7), number), None, at=0.1 * number, sport=40_001)


@fires("high", title="answers: 1")
def community_found(wire: Wire) -> None:
    """hydra snmp: thirty communities, each from a port of its own; the twentieth is right."""
    for number in range(30):
        word = wire.word(7)
        wire.asked(ME, SERVER, 161, snmp(word, number), snmp(word, number, reply=True) if number == 19 else None, at=0.5 * number)  # fmt: skip


@silent()
def communities_of_networks(wire: Wire) -> None:
    """A manager reads a switch's table of each VLAN by `community@vlan`: forty communities, all answered but some lost."""
    for number in range(200):
        word = f"monitor@{number % 40 + 1}"
        wire.asked("10.0.0.9", SERVER, 161, snmp(word, number), snmp(word, number, reply=True) if number % 9 else None, at=0.7 * number)  # fmt: skip


@silent()
def agent_down(wire: Wire) -> None:
    """A manager polls a switch that is switched off, with one community from a new port each time."""
    for number in range(60):
        wire.asked("10.0.0.9", SERVER, 161, snmp("monitor", number), None, at=5.0 * number * wire.random.random())


@fires(title="50 refused")
def slow_guesses(wire: Wire) -> None:
    """Two names in turn at an FTP server, a password every two minutes or so: below every counter of tries a minute."""
    at = 0.0
    for number in range(50):
        wire.talk(ME, SERVER, 21, _ftp(("admin", "root")[number % 2]), at=at)
        at += 120 * (0.5 + wire.random.random())


@fires(title="short equal ssh sessions")
def slow_ssh(wire: Wire) -> None:
    """Fifty SSH sessions of one size from outside, one every two minutes or so."""
    at = 0.0
    for number in range(50):
        wire.talk(ME, SERVER, 22, _ssh(wire, 1100 + number % 3, 1500), at=at, rtt=0.4)
        at += 120 * (0.5 + wire.random.random())


@silent("low", also=("beacon",))
def old_password_all_day(wire: Wire) -> None:
    """A mail client tries its one old password every two minutes, for three hours."""
    for number in range(90):
        said: list[Said] = [("s", b"+OK ready\r\n"), ("c", b"USER alice\r\n"), ("s", b"+OK\r\n"), ("c", b"PASS old\r\n"), ("s", b"-ERR no\r\n")]  # fmt: skip
        wire.talk("10.0.0.9", SERVER, 110, said, at=120.0 * number)


@silent("low", also=("beacon",))
def partner_polls_by_ssh(wire: Wire) -> None:
    """A partner's program outside looks for new files by SFTP every two minutes, and there are none."""
    for number in range(60):
        wire.talk("198.51.100.9", SERVER, 22, _ssh(wire, 2600 + number % 3, 3000), at=120.0 * number)
