"""The live page of the lab: story, report, rules and counters, served read-only on one port.

In: the report folder that analyst and wall write. Out: `/` (the page), `/state.json` (what it polls every two
seconds), the files of the report folder by exact name, `/healthz`. GET and HEAD only; nothing outside the folder is
reachable, no directory is listed, every answer forbids sniffing and foreign framing. It computes nothing itself.
"""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tapwall.lab.people import before_and_after, read_deliveries
from tapwall.lab.story import read_story

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".v4": "text/plain; charset=utf-8",
    ".v6": "text/plain; charset=utf-8",
    ".nft": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".sh": "text/plain; charset=utf-8",
}
MAX_FILE = 64_000_000  # bytes of one served file
PAGE = Path(__file__).parent / "templates" / "live.html"


def state(folder: Path) -> dict[str, Any]:
    """What the page shows: the story, what the people noticed, the wall's counters, whether a report is there."""
    story = read_story(folder)
    moment = next((event["time"] for event in story if event.get("mark")), None)
    return {
        "story": story[-400:],
        "people": before_and_after(read_deliveries(folder / "people"), moment),
        "rules_since": moment,
        "counters": _json(folder / "counters.json"),
        "report": (folder / "report.html").exists(),
        "verdict": _json(folder / "verdict.json"),
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()[:MAX_FILE])
    except (OSError, ValueError):
        return None


class Page(BaseHTTPRequestHandler):
    """One request. `folder` is the report folder."""

    server_version, sys_version = "tapwall", ""
    timeout = 15  # seconds a peer may take for a request

    def __init__(self, *args: Any, folder: Path) -> None:
        self.folder = folder
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer one of the known paths."""
        path = self.path.split("?", 1)[0]
        if path == "/":
            self._send(PAGE.read_bytes(), TYPES[".html"])
        elif path == "/healthz":
            self._send(b"ok\n", TYPES[".md"])
        elif path == "/state.json":
            self._send(json.dumps(state(self.folder)).encode(), TYPES[".json"])
        else:
            self._file(path.lstrip("/"))

    do_HEAD = do_GET

    def _file(self, name: str) -> None:
        """A file of the report folder or its rules folder, named exactly; anything else does not exist."""
        for folder in (self.folder, self.folder / "rules"):
            prefix = "" if folder == self.folder else "rules/"
            for path in folder.iterdir() if folder.is_dir() else ():
                known = path.suffix in TYPES and not path.name.startswith(".")
                if known and prefix + path.name == name and path.is_file() and path.stat().st_size <= MAX_FILE:
                    return self._send(path.read_bytes(), TYPES[path.suffix])
        self.send_error(HTTPStatus.NOT_FOUND)
        return None

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no part of the story."""


def make_server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server for `folder` on host:port (0 picks a port: `server_address`). Raises OSError where it cannot listen."""
    server = ThreadingHTTPServer((host, port), partial(Page, folder=folder))
    server.daemon_threads = True
    return server
