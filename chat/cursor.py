"""Exactly once, in order: what one room has handed to the caller, and what it still owes.

In: live messages as they come (duplicates after a resend, holes after a slow spell), pages of history. Out: the
messages to hand over now, each seq once and in order, and whether history must be asked. Memory is bounded: what does not fit is
forgotten here and fetched again, because the server's history has it. No socket, no clock, no text.
"""

from dataclasses import dataclass
from typing import Final

from chat.wire import Msg

HELD: Final = 1000  # messages kept beyond a hole: five pages of history, about 16 MiB of the longest texts


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages first..last that history no longer has."""

    first: int
    last: int


class Cursor:
    """One room. `last` is the seq handed over last, `known` the highest seq that exists as far as we know."""

    def __init__(self, last: int) -> None:
        """Begin after `last`: older messages are history, not news."""
        self.last = last
        self.known = last
        self._held: dict[int, Msg] = {}

    @property
    def behind(self) -> bool:
        """Something exists that was not handed over: ask HISTORY after `last`, and give the answer to `page`."""
        return self.known > self.last

    def live(self, message: Msg) -> list[Msg]:
        """A message from the server; what can be handed over now."""
        if message.seq <= self.last:
            return []
        self.known = max(self.known, message.seq)
        if message.seq == self.last + 1 and not self._held:
            self.last = message.seq
            return [message]
        if len(self._held) < HELD or message.seq == self.last + 1:
            self._held[message.seq] = message
        return self._ready()

    def note(self, seq: int) -> None:
        """A message exists that is not taken now: the caller is slow, or the server said GAP."""
        self.known = max(self.known, seq)

    def page(self, messages: list[Msg], more: bool, asked: int) -> list[Msg | Lost]:
        """The history after `last`, oldest first; `asked` is what `known` was when it was asked for. Holes in the page are
        lost for good. If it is the end (not `more`), so is what is missing up to `asked`: that existed then, later ones may
        be on their way."""
        out: list[Msg | Lost] = []
        for message in messages:
            if message.seq <= self.last:
                continue
            if message.seq > self.last + 1:
                out.append(Lost(self.last + 1, message.seq - 1))
            out.append(message)
            self.last = message.seq
            self.known = max(self.known, message.seq)
        self._held = {seq: held for seq, held in self._held.items() if seq > self.last}
        out.extend(self._ready())
        if not more and self.last < asked:
            end = min([asked, *(seq - 1 for seq in self._held)])
            out.append(Lost(self.last + 1, end))
            self.last = end
            out.extend(self._ready())
        return out

    def restart(self, last: int) -> None:
        """The server's history is shorter than what we have (restored from a backup): begin again after `last`."""
        self.last = self.known = last
        self._held.clear()

    def _ready(self) -> list[Msg]:
        out: list[Msg] = []
        while (message := self._held.pop(self.last + 1, None)) is not None:
            out.append(message)
            self.last = message.seq
        return out
