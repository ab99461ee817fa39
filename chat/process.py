"""A server as a process: its event loop, its signals, its open files.

`serve()` runs until SIGTERM or SIGINT; SIGHUP reads the configuration again. What the server does is in chat/server.py.
"""

import asyncio
import logging
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass

from chat import log
from chat.config import Config
from chat.errors import ConfigError
from chat.server import Server


@dataclass(frozen=True, slots=True)
class Address:
    """Where a started server listens. metrics_port: -1 when off. fingerprint: '' without TLS."""

    host: str
    port: int
    metrics_port: int = -1
    fingerprint: str = ""


def serve(config: Config, ready: Callable[[Address], None], reload: Callable[[], Config] | None = None) -> None:
    """Run a server until SIGTERM or SIGINT. `ready` is called when it listens; `reload` gives the configuration again at
    SIGHUP. Raises ConfigError, StoreError, OSError when it cannot start."""
    log.set_up(config.server.log)
    with asyncio.Runner(loop_factory=loop_factory(config.server.loop)) as runner:
        runner.run(_run(config, ready, reload))


async def _run(config: Config, ready: Callable[[Address], None], reload: Callable[[], Config] | None) -> None:
    _check_open_files(config.limits.connections)
    server = Server(config, reload)
    await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        server.loop.add_signal_handler(number, stop.set)
    server.loop.add_signal_handler(signal.SIGHUP, server.reload)
    if not config.loopback and not config.tls_on:
        log.event(
            "plaintext",
            logging.WARNING,
            host=config.server.host,
            note="tls.insecure_lab: everybody on the way reads along",
        )
    ready(Address(config.server.host, server.port, server.metrics_port, server.fingerprint))
    try:
        await stop.wait()
    finally:
        await server.stop()


def loop_factory(wanted: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed and wanted, else asyncio's."""
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if wanted == "uvloop":
            raise ConfigError("server.loop = 'uvloop', but uvloop is not installed") from None
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _check_open_files(connections: int) -> None:
    """Raise the soft limit on open files as far as it goes; a lower one is said at start, not met at midnight."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard > soft):
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        log.event(
            "open-files",
            logging.WARNING,
            limit=soft,
            needed=wanted,
            note="fewer connections fit than limits.connections says",
        )
