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

from tapwall.lab.people import read_deliveries, spans
from tapwall.lab.story import ATTACK, RULES, moment, read_story

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


# what a page of ours needs, and nothing that a name in a capture could smuggle in
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; frame-ancestors 'self'"
POLICY_HTML = POLICY + "; script-src 'unsafe-inline'; connect-src 'self'; frame-src 'self'"


def state(folder: Path) -> dict[str, Any]:
    """What the page shows: the story, what people noticed, findings, rules and their counters, the chat as traffic."""
    story = read_story(folder)
    deliveries = read_deliveries(folder / "people")
    attack, rules = moment(story, ATTACK), moment(story, RULES)
    return {
        "story": story[-400:],
        "people": spans(deliveries, attack, rules),
        "intruder_since": attack,
        "rules_since": rules,
        "counters": _table(folder / "counters.json"),
        "report": (folder / "report.html").exists(),
        "graph": (folder / "io_graph.svg").exists(),
        "verdict": _json(folder / "verdict.json"),
        "talk": _table(folder / "talk.json"),
        "seen": _table(folder / "seen.json"),
        "tallies": [event["facts"] for event in story if event["facts"] and "phase" in event["facts"]],
        "proofs": [event["facts"] for event in story if event["facts"] and "available" in event["facts"]],
    }


def _table(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none."""
    data = _json(path)
    return data if isinstance(data, dict) else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()[:MAX_FILE])
    except (OSError, ValueError, RecursionError):
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
            ("Content-Security-Policy", POLICY_HTML if kind == TYPES[".html"] else POLICY),
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
