"""Names of the lab's hosts to addresses: containers know each other by name, rules need addresses."""

from __future__ import annotations

import ipaddress
import socket
import time

PATIENCE_S = 30.0  # a container's name appears when it has started


def addresses(names: tuple[str, ...]) -> list[str]:
    """Each name's IPv4 address; networks and addresses stay as they are. Names that never appear are left out."""
    found = []
    until = time.monotonic() + PATIENCE_S
    for name in names:
        try:
            found.append(
                str(ipaddress.ip_network(name, strict=False)) if "/" in name else str(ipaddress.ip_address(name))
            )
            continue
        except ValueError:
            pass
        while True:
            try:
                found.append(socket.gethostbyname(name))
                break
            except OSError:
                if time.monotonic() > until:
                    break
                time.sleep(0.5)
    return found
