"""Names that the capture itself gives to addresses: DNS answers, host names of DHCP, server names of TLS.

In: (address, name, source, frame number). Out: `Facts.name`, each pair of address and name once, first source first.
A name is a claim of whoever sent the packet; the table says where it is from. Nothing is looked up.
"""

from __future__ import annotations

from analysis.facts import Facts, Name

MAX_PAIRS = 200_000  # distinct (address, name) pairs remembered, as many as Facts keeps
MAX_CHARACTERS = 255


class Names:
    """The collector; one per analysis and stage."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._seen: set[tuple[str, str]] = set()

    def add(self, address: str, name: str, source: str, number: int) -> None:
        """Keep the pair once; empty names and addresses are left out, a closing dot is cut."""
        name = name.rstrip(".")[:MAX_CHARACTERS]
        pair = (address, name)
        if not name or not address or pair in self._seen:
            return
        if len(self._seen) < MAX_PAIRS:
            self._seen.add(pair)
            self._facts.add("name", Name(address, name, source, number))
        else:
            self._facts.dropped["name"] += 1
