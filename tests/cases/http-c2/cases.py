"""Scenes of malware's web requests, and of odd but harmless ones."""

from itertools import pairwise

from cases import fires, silent
from payloads import dns_answer, dns_query, request, response
from traffic import Wire

ME, MASTER = "10.0.0.9", "203.0.113.66"


@fires(title="as malware does")
def posts_to_an_address(wire: Wire) -> None:
    """A loader posts to a script on a bare address and odd port without naming itself, again and again."""
    for number in range(6):
        ask = request("/gate.php?hwid=A1B2C3&os=win10", host=f"{MASTER}:8118", method="POST", agent="", body=wire.noise(90))  # fmt: skip
        wire.talk(ME, MASTER, 8118, [("c", ask), ("s", response(200, b"ok"))], at=30.0 * number + 7 * wire.random.random())  # fmt: skip


@fires(title="as malware does")
def dynamic_name(wire: Wire) -> None:
    """A stealer posts details of the machine to a dynamic DNS name with a random program name."""
    for number in range(3):
        ask = request(f"/panel/tasks.php?hwid=12AB&pcname=LAB{number}", host="qxzkvwtrp.duckdns.org", method="POST", agent="qWkZpXrtB", body=b"data=" + b"A" * 60)  # fmt: skip
        wire.talk(ME, MASTER, 80, [("c", ask), ("s", response(200, b"1"))], at=20.0 * number)


@fires(title="domains in a row")
def redirections(wire: Wire) -> None:
    """A traffic seller hands the browser through five domains within seconds."""
    names = ("news.example.org", "trk.clickone.top", "go.adtwo.xyz", "r.thirdhop.club", "land.lastone.icu")
    for number, (here, there) in enumerate(pairwise(names)):
        said = [("c", request("/", host=here)), ("s", response(302, b"", headers=f"Location: http://{there}/\r\n"))]
        wire.talk(ME, f"203.0.113.{70 + number}", 80, said, at=0.4 * number)
    wire.talk(ME, "203.0.113.79", 80, [("c", request("/", host=names[-1])), ("s", response())], at=2)


@silent()
def device_in_the_house(wire: Wire) -> None:
    """A doorbell posts to a hub by address, without user agent, to an inside server."""
    for number in range(8):
        ask = request("/event.php?host=door", host="10.0.0.2:8123", method="POST", agent="", body=b"state=on")
        wire.talk(ME, "10.0.0.2", 8123, [("c", ask), ("s", response())], at=11.0 * number + 4 * wire.random.random())


@silent()
def sign_on(wire: Wire) -> None:
    """A sign-on: application, identity provider, and back."""
    for number, (here, there) in enumerate((("app.example.org", "login.example.net"), ("login.example.net", "app.example.org"))):  # fmt: skip
        wire.talk(ME, f"198.51.100.{9 + number}", 80, [("c", request("/", host=here)), ("s", response(302, b"", headers=f"Location: http://{there}/\r\n"))])  # fmt: skip


@silent()
def package_manager(wire: Wire) -> None:
    """A package manager asks its mirror by name, with its own user agent."""
    wire.asked(
        ME, "10.0.0.1", 53, dns_query("mirror.example.org"), dns_answer("mirror.example.org", 1, ("198.51.100.9",))
    )
    for number in range(20):
        wire.talk(ME, "198.51.100.9", 80, [("c", request(f"/debian/pool/{number}.deb", host="mirror.example.org", agent="Debian APT-HTTP/1.3 (2.6.1)")), ("s", response(200, bytes(900)))], at=0.3 * number)  # fmt: skip


@silent()
def form_of_a_small_shop(wire: Wire) -> None:
    """A user sends a contact form of a small site, from a page, with a browser."""
    ask = request("/contact.php", host="shop.example.org", method="POST", headers="Referer: http://shop.example.org/\r\n", body=b"name=Ann&text=hello")  # fmt: skip
    wire.talk(ME, "198.51.100.9", 80, [("c", ask), ("s", response())])


@fires(title="as malware does")
def script_from_an_address(wire: Wire) -> None:
    """PowerShell fetches a script from a bare address."""
    agent = "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041"
    wire.talk(ME, MASTER, 80, [("c", request("/a.ps1", host=MASTER, agent=agent)), ("s", response(200, b"iex"))])


@fires(title="as malware does")
def stage(wire: Wire) -> None:
    """A stager asks a bare address on an odd port for four characters whose sum is 92 (Cobalt Strike, Metasploit)."""
    wire.talk(ME, MASTER, 8080, [("c", request("/aaa9", host=f"{MASTER}:8080")), ("s", response(200, wire.noise(900), "application/octet-stream"))])  # fmt: skip


@silent()
def film_by_address(wire: Wire) -> None:
    """A player fetches a film from a content network's bare address; the query holds a number for the viewer."""
    for number in range(2):
        ask = request(
            f"/v/u0020.p1203.{number}.mp4?guid=5f2c80c1a9d24e77&level=3", "198.51.100.45", agent="QY-Player/2.0"
        )
        wire.talk(ME, "198.51.100.45", 80, [("c", ask), ("s", response(200, wire.noise(4000), "video/mp4"))], at=number)


@silent()
def updater_in_capitals(wire: Wire) -> None:
    """A virus scanner's updater, MCUPDATE, posts the same small form to its publisher again and again."""
    for number in range(6):
        ask = request("/stats/report", "us.example.org", "POST", "MCUPDATE", body=b"v=7&result=ok")
        wire.talk(ME, "198.51.100.46", 80, [("c", ask), ("s", response())], at=60.0 * number)
