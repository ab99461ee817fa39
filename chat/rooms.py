"""The nouns of the hub: users, their connections (seats), rooms, ranks, bans; and what follows from them.

Data with small questions answered about them: who outranks whom, who is banned, muted, allowed to read. No frame is
made here and nothing is sent; `wall` is the time of day in seconds since 1970, because bans outlive the process.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from chat.limits import Bucket

RANK: Final = {"member": 0, "moderator": 1, "owner": 2, "operator": 3}  # nobody acts on an equal or higher rank
LOBBY: Final = "lobby"


@dataclass(frozen=True, slots=True)
class Ban:
    """target: a user name, an address or a network. until: wall time, 0 for good."""

    target: str
    until: float
    by: str
    text: str = ""

    def holds(self, name: str, address: str, wall: float) -> bool:
        """True if it keeps this user at this address out now."""
        if self.until and wall >= self.until:
            return False
        return self.target == name or covers(self.target, address)


def network(target: str) -> str | None:
    """The canonical form of an address or network, None if it is neither."""
    try:
        return str(ipaddress.ip_network(target, strict=False))
    except ValueError:
        return None


def covers(net: str, address: str) -> bool:
    """True if `net` is a network that holds the address."""
    if "/" not in net or not address:
        return False
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(net, strict=False)
    except ValueError:
        return False


def address_key(address: str) -> str:
    """What counts as one address: IPv4 itself, IPv6 by its /64, because a host owns all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


@dataclass(slots=True, eq=False)
class User:
    """A name that is logged in, or was a moment ago. `floors`: a guest reads a direct room only from its own time on."""

    name: str
    guest: bool
    operator: bool
    address: str
    seats: set[int] = field(default_factory=set)
    floors: dict[str, int] | None = None
    made: int = 0  # rooms, since the login
    held_until: float = 0.0  # without a seat: when the name is given up


@dataclass(slots=True, eq=False)
class Room:
    """A room, a private room or a direct conversation (name starts with @)."""

    name: str
    number: int
    topic: str = ""
    private: bool = False
    read_only: bool = False
    seq: int = 0
    oldest: int = 1
    history_days: int = 0
    history_messages: int = 0
    seats: dict[str, int] = field(default_factory=dict)  # name -> connections of that user in the room, 0 while held
    roles: dict[str, str] = field(default_factory=dict)
    invited: set[str] = field(default_factory=set)
    bans: list[Ban] = field(default_factory=list)
    mutes: dict[str, float] = field(default_factory=dict)  # name -> wall time of the end, 0 for good
    came: set[str] = field(default_factory=set)  # since the last PRESENCE
    went: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    told: float = 0.0  # when the last PRESENCE was sent
    bucket: Bucket | None = None

    @property
    def direct(self) -> bool:
        """True for a conversation of two."""
        return self.name.startswith("@")

    def partners(self) -> list[str]:
        """The two names of a direct conversation."""
        return self.name[1:].split("+") if self.direct else []

    def role(self, user: User) -> str:
        """The user's role in this room."""
        if user.operator and not self.direct:
            return "operator"
        return self.roles.get(user.name, "member")

    def rank(self, user: User) -> int:
        """The number behind the role."""
        return RANK[self.role(user)]

    def muted(self, name: str, wall: float) -> bool:
        """True while the name may not speak here."""
        until = self.mutes.get(name)
        return until is not None and (until == 0 or wall < until)

    def banned(self, user: User, wall: float) -> Ban | None:
        """The ban that keeps the user out."""
        return next((ban for ban in self.bans if ban.holds(user.name, user.address, wall)), None)

    def welcomes(self, user: User) -> bool:
        """True if a private room lets the user in: a direct one its two, a private one the invited and the ranked."""
        if self.direct:
            return user.name in self.partners()
        return not self.private or user.operator or user.name in self.invited or user.name in self.roles


@dataclass(slots=True, eq=False)
class Seat:
    """A connection that is logged in."""

    conn: int
    user: User
    rooms: dict[str, Room]
    messages: Bucket
    requests: Bucket | None = None
    searches: Bucket | None = None
    strikes: int = 0
    struck: float = 0.0  # start of the minute in which strikes are counted
    reading: int = 0  # HISTORY answers under way
