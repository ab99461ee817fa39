"""Scenes of programs on the move."""

from cases import fires, silent
from payloads import PROGRAM, request, response
from traffic import Wire

ME, SERVER = "10.0.0.9", "203.0.113.66"


@fires(title="Windows program")
def from_an_address(wire: Wire) -> None:
    """A dropper fetches an executable from a bare address under a picture's name."""
    said = [("c", request("/a/logo.png", host=SERVER, agent="")), ("s", response(200, PROGRAM, "image/png"))]
    wire.talk(ME, SERVER, 80, said)


@fires(title="over a bare connection")
def without_protocol(wire: Wire) -> None:
    """An executable over a connection without protocol, as a stager loads its payload."""
    wire.talk(ME, SERVER, 4444, [("s", len(PROGRAM).to_bytes(4, "little") + PROGRAM + bytes(3000))])


@fires("high", title="Windows program")
def after_an_exploit_document(wire: Wire) -> None:
    """An exploit kit: a page, a Flash file, and seconds later a program from the same server."""
    wire.talk(ME, SERVER, 80, [("c", request("/land.html", host="kit.example.top")), ("s", response())], at=0)
    wire.talk(ME, SERVER, 80, [("c", request("/x.swf", host="kit.example.top")), ("s", response(200, b"CWS" + bytes(900), "application/x-shockwave-flash"))], at=2)  # fmt: skip
    wire.talk(ME, SERVER, 80, [("c", request("/load.php?id=7", host="kit.example.top")), ("s", response(200, PROGRAM, "application/octet-stream"))], at=5)  # fmt: skip


@silent(at_most="low")
def windows_update(wire: Wire) -> None:
    """An update by HTTP from its publisher's name, with an honest type."""
    said = [("c", request("/c/msdownload/update/x.exe", host="download.windowsupdate.com", agent="Microsoft-Delivery-Optimization/10.0")), ("s", response(200, PROGRAM, "application/octet-stream"))]  # fmt: skip
    wire.talk(ME, "198.51.100.9", 80, said)


@silent(at_most="low")
def installer(wire: Wire) -> None:
    """A user downloads an installer by name with a browser."""
    said = [("c", request("/setup-2.1.exe", host="downloads.example.org", headers="Referer: http://www.example.org/\r\n")), ("s", response(200, PROGRAM, "application/x-msdownload"))]  # fmt: skip
    wire.talk(ME, "198.51.100.9", 80, said)


@silent()
def picture(wire: Wire) -> None:
    """A picture and an archive: no executable's header."""
    for kind, body in (("image/png", b"\x89PNG\r\n" + bytes(900)), ("application/zip", b"PK\x03\x04" + bytes(900))):
        wire.talk(ME, "198.51.100.9", 80, [("c", request("/a")), ("s", response(200, body, kind))])
