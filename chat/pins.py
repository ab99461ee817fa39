"""Trust on first use: the certificate a server showed the first time is the one it must show from then on.

In: host, port and the certificate as it came in the handshake. Out: nothing, or TrustError. The pin file has one line a
server, `host:port FINGERPRINT`; it is only ever added to, by hand or here. It knows nothing of the chat's frames.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chat.errors import ChatError


class TrustError(ChatError):
    """The server is not the one that was trusted before, or the person did not trust it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to trust a server: by a CA file, or by pins (created when needed). `confirm` is asked about a new server with its
    name and fingerprint; the default trusts it, as ssh's accept-new does."""

    pins: Path
    ca: Path | None = None
    confirm: Callable[[str, str], bool] = lambda server, fingerprint: True


def default_pins() -> Path:
    """`tapwall/known_servers` in the user's configuration folder (XDG)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tapwall" / "known_servers"


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a DER certificate as `tapwall chat cert`, browsers and OpenSSL show it: capital digits in pairs."""
    return hashlib.sha256(certificate).digest().hex(":").upper()


def check_pin(host: str, port: int, certificate: bytes, tls: Tls) -> None:
    """Accept the pinned certificate, pin a new one if it is confirmed. TrustError otherwise; nothing was sent by then."""
    server, shown = f"{host}:{port}", fingerprint_of(certificate)
    pinned = _pinned(tls.pins).get(server)
    if pinned == shown:
        return
    if pinned is not None:
        raise TrustError(
            f"{server} shows the certificate {shown}, pinned is {pinned}. Somebody may be in between. "
            f"If its certificate was renewed, remove the line from {tls.pins}"
        )
    if not tls.confirm(server, shown):
        raise TrustError(f"{server} with the certificate {shown} is not trusted")
    _add(tls.pins, f"{server} {shown}\n")


def _pinned(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TrustError(f"{path}: {error.strerror}") from error
    words = (line.split() for line in lines if not line.startswith("#"))
    return {pair[0]: pair[1] for pair in words if len(pair) == 2}


def _add(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(line)
    except OSError as error:
        raise TrustError(f"{path}: {error.strerror}") from error
