"""The chat as traffic: who sent how much, in clear text and under TLS, and what a listener reads of it. Pure.

In: the analysis as JSON, the server's address, names of the people's addresses. Out: rows and totals for the page.
"""

from __future__ import annotations

from typing import Any

PORTS = {1234: "clear text", 1235: "TLS"}


def talk(data: dict[str, Any], server: str, names: dict[str, str]) -> dict[str, Any]:
    """{"rows": one a host and port, most bytes sent first, "layers": bytes of chat and TLS, "warning": finding or None}.

    A row: who, address, carried ("clear text", "TLS"), connections, packets_sent, bytes_sent, bytes_received. Bytes are
    whole frames on the wire.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for one in data.get("conversations", {}).get("tcp", []):
        for near, far, sent, got in (("a", "b", "ab", "ba"), ("b", "a", "ba", "ab")):
            port = one[f"{far}_port"]
            if one[far] != server or port not in PORTS:
                continue
            row = rows.setdefault(
                (one[near], port),
                {
                    "who": names.get(one[near], one[near]),
                    "address": one[near],
                    "carried": PORTS[port],
                    "connections": 0,
                    "packets_sent": 0,
                    "bytes_sent": 0,
                    "bytes_received": 0,
                },
            )
            row["connections"] += 1
            row["packets_sent"] += one[f"packets_{sent}"]
            row["bytes_sent"] += one[f"bytes_{sent}"]
            row["bytes_received"] += one[f"bytes_{got}"]
    warning = next((finding for finding in data.get("findings", []) if finding["detector"] == "lab-chat"), None)
    return {
        "rows": sorted(rows.values(), key=lambda row: (-row["bytes_sent"], row["address"], row["carried"])),
        "layers": {name: _layer(data, name) for name in ("tapwall", "tls")},
        "warning": warning and {"title": warning["title"], "explanation": warning["explanation"]},
    }


def _layer(data: dict[str, Any], name: str) -> dict[str, int]:
    """Packets and bytes of a layer, over all paths that end in it."""
    found = [row for row in data.get("hierarchy", []) if row["path"].rsplit("/", 1)[-1] == name]
    return {key: sum(int(row[key]) for row in found) for key in ("packets", "bytes")}
