"""What the full-screen client knows of each room, apart from the messages on the screen.

In: events, and which room is being looked at. Out: counts and names to draw. Pure: no widget, no clock.
"""

import re
from dataclasses import dataclass, field, replace

from chat.events import Members, Message, Person, Presence
from chat.lines import room_title

ROLE_ORDER = {"owner": 0, "moderator": 1, "member": 2}
SIGNS = {"owner": "♛", "moderator": "★"}


@dataclass(slots=True)
class RoomState:
    """One room: counts since it was last looked at, where reading stopped, who is there."""

    name: str
    topic: str = ""
    unread: int = 0
    mentions: int = 0
    read_seq: int = 0  # the last message that was on the screen; the read marker stands behind it
    oldest_seq: int | None = None  # the oldest loaded; None: nothing yet
    more: bool = True  # there is older history
    count: int = 0
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def direct(self) -> bool:
        """A conversation of two."""
        return self.name.startswith("@")

    def title(self, me: str) -> str:
        """The room as listed."""
        return room_title(self.name, me)

    def received(self, message: Message, me: str, looking: bool) -> bool:
        """Count a live message. True if the person should be called: mentioned, or spoken to directly, and looking elsewhere."""
        if message.edits or message.deletes:
            return False
        if looking or message.sender == me:
            if looking:
                self.read_seq = message.seq
            return False
        self.unread += 1
        called = self.direct or mentions(message.text, me)
        self.mentions += called
        return called

    def looked_at(self, last_seq: int) -> None:
        """The person sees the room now, up to `last_seq`."""
        self.unread = self.mentions = 0
        self.read_seq = max(self.read_seq, last_seq)

    def listed(self, members: Members) -> None:
        """The whole member list."""
        self.count = members.count
        self.people = {one.name: one for one in members.people}

    def changed(self, presence: Presence) -> Presence:
        """Who came, changed, left; the news in it: who was in the first list already did not come just now."""
        came = tuple(one for one in presence.joined if one.name not in self.people)
        self.count = presence.count
        for one in (*presence.joined, *presence.changed):
            self.people[one.name] = one
        for name in presence.left:
            self.people.pop(name, None)
        return replace(presence, joined=came)

    def sorted_people(self) -> list[Person]:
        """Owners first, then moderators, then the rest, each by name."""
        return sorted(self.people.values(), key=lambda one: (ROLE_ORDER.get(one.role, 3), one.name))


def mentions(text: str, name: str) -> bool:
    """Whether a text calls somebody: the name as a word of its own, in any case."""
    return bool(name) and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None
