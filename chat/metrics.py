"""/metrics, /healthz and /readyz over HTTP on a port of their own; the numbers themselves.

Counters are plain attributes that the server adds to; gauges are asked when somebody scrapes. The answers are in
Prometheus' text format 0.0.4. The HTTP here is the least that a scraper needs: one GET, one answer, close.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final

HEAD_MAX: Final = 8 << 10  # bytes of a request's head
HEAD_S: Final = 5.0  # seconds for it to arrive
TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Counters:
    """What only grows. Names become tapwall_chat_<name>_total."""

    connections: int = 0
    refused: int = 0
    logins: int = 0
    login_failures: int = 0
    messages: int = 0
    deliveries: int = 0
    writes: int = 0
    commits: int = 0
    bytes_in: int = 0
    errors: int = 0
    floods: int = 0
    slow_pauses: int = 0
    slow_gaps: int = 0
    stalled: int = 0
    timeouts: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    downloads: int = 0
    download_bytes: int = 0


HELP: Final = {
    "connections": "accepted connections",
    "refused": "connections refused at the door",
    "logins": "logins",
    "login_failures": "logins refused",
    "messages": "messages acknowledged",
    "deliveries": "message frames handed to members",
    "writes": "writes to members",
    "commits": "database transactions",
    "bytes_in": "bytes received",
    "errors": "ERROR frames sent",
    "floods": "requests refused as flood",
    "slow_pauses": "times a slow member left the live set",
    "slow_gaps": "gaps told to slow members",
    "stalled": "connections cut because they did not read",
    "timeouts": "connections closed by a time-out",
    "uploads": "files completed",
    "upload_bytes": "file bytes received",
    "downloads": "downloads completed",
    "download_bytes": "file bytes sent",
}


def exposition(counters: Counters, gauges: dict[str, float]) -> str:
    """Everything in Prometheus' text format."""

    def lines() -> Iterator[str]:
        for each in fields(counters):
            name = f"tapwall_chat_{each.name}_total"
            yield f"# HELP {name} {HELP[each.name]}"
            yield f"# TYPE {name} counter"
            yield f"{name} {getattr(counters, each.name)}"
        for gauge, value in gauges.items():
            yield f"# TYPE tapwall_chat_{gauge} gauge"
            yield f"tapwall_chat_{gauge} {value:g}"

    return "\n".join(lines()) + "\n"


class Page:
    """The HTTP side. `metrics` gives the text, `ready` says whether new users are taken."""

    def __init__(self, metrics: Callable[[], str], ready: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._ready = ready
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_MAX)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
            status, body = self.answer(head)
            kind = TYPE if status.startswith("200") else "text/plain; charset=utf-8"
            content = body.encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
                "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n".encode()
                + content
            )
            await asyncio.wait_for(writer.drain(), HEAD_S)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, head: bytes) -> tuple[str, str]:
        """Status and body for a request's head."""
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[0] not in {b"GET", b"HEAD"}:
            return "400 Bad Request", "GET /metrics, /healthz or /readyz\n"
        path = words[1].split(b"?")[0]
        if path == b"/metrics":
            return "200 OK", self._metrics()
        if path == b"/healthz":
            return "200 OK", "ok\n"
        if path == b"/readyz":
            return ("200 OK", "ready\n") if self._ready() else ("503 Service Unavailable", "not ready\n")
        return "404 Not Found", "no such page\n"
