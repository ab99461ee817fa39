"""Names of the lab's hosts to addresses: containers know each other by name, rules need addresses.

A host that was killed may come back under another address, so names are looked up again before every look at the
captures; one that does not answer just then keeps the address it had.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass, field

PATIENCE_S = 30.0  # a container's name appears when it has started


@dataclass(slots=True)
class Book:
    """Addresses of some `names`. An address or a network stands for itself; `bob=10.0.0.5` is known already."""

    names: tuple[str, ...]
    known: dict[str, str] = field(default_factory=dict)

    def look_up(self, patience_s: float = 0.0) -> dict[str, str]:
        """Name -> address, of those that are known by now; waits up to `patience_s` for the others to appear."""
        until = time.monotonic() + patience_s
        while True:
            for word in self.names:
                name, _, given = word.partition("=")
                found = address(given or name)
                if found is not None:
                    self.known[name] = found
            if len(self.known) == len(set(self.names)) or time.monotonic() >= until:
                return dict(self.known)
            time.sleep(0.5)


def address(name: str) -> str | None:
    """The IPv4 address of a name; addresses and networks as they are in canonical form; None if it has none now."""
    try:
        return str(ipaddress.ip_network(name, strict=False)) if "/" in name else str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(name)
    except (OSError, UnicodeError):
        return None
