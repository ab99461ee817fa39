"""How much, how fast, how long, and which names: the numbers every core obeys, and the small machines that hold them.

Limits, Rates and Timeouts are sections of the configuration file; the unit and the reason stand beside each number and
are printed into it. Bucket is the token bucket; the name rules refuse what could pass for somebody else. This file
knows no clock (`now` is an argument), no connection and no frame.
"""

import unicodedata
from dataclasses import dataclass, field
from typing import Any, Final

from chat.errors import Refusal


def key(default: Any, unit: str, why: str) -> Any:
    """A configuration key: its default, unit and reason."""
    return field(default=default, metadata={"unit": unit, "why": why})


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and counts."""

    text_bytes: int = key(16 << 10, "bytes", "a page of text; IRC has 512, Mumble 5000, Mattermost about 16000")
    history_page: int = key(200, "messages", "a screen or four; Ergo answers 1000")
    history_page_bytes: int = key(
        256 << 10, "bytes", "of JSON in one HISTORY answer; a client takes frames up to 1 MiB"
    )
    replay_messages: int = key(
        2000, "messages", "sent by themselves after RESUME or JOIN; older ones are asked with HISTORY"
    )
    rooms: int = key(4096, "rooms", "on the server; room numbers on the wire end at 65535")
    rooms_per_session: int = key(100, "rooms", "joined by one connection")
    rooms_per_user: int = key(20, "rooms", "made by one user since the start")
    room_members: int = key(5000, "names", "1000 are gated by test; Ergo names 2000 comfortable")
    names_listed: int = key(
        200, "names", "above it MEMBERS and PRESENCE carry the count alone: presence grows with n squared"
    )
    connections: int = key(10_000, "connections", "in all; checked against the process's open-files limit at start")
    connections_before_login: int = key(
        512, "connections", "a pool of their own, so half-open ones take no user's place"
    )
    connections_per_address: int = key(16, "connections", "IPv6 by /64, as Ergo; exempt networks are not counted")
    sessions_per_account: int = key(10, "connections", "ejabberd's number: laptop, phone, desk, bots")
    unacked: int = key(
        256, "messages", "sent by one connection and not on disk yet; beyond it the server stops reading"
    )
    unstored: int = key(16_384, "messages", "of all connections waiting for the disk; beyond it SEND is refused")
    write_high_bytes: int = key(256 << 10, "bytes", "waiting for one client; beyond it the client leaves the live set")
    write_low_bytes: int = key(64 << 10, "bytes", "down to here the client must read to come back")
    send_buffer_bytes: int = key(128 << 10, "bytes", "SO_SNDBUF: what the kernel holds besides")
    ring_bytes: int = key(1 << 20, "bytes", "latest messages of a room in memory, for clients that come back")
    topic_bytes: int = key(512, "bytes", "a line")


@dataclass(frozen=True, slots=True)
class Rates:
    """Token buckets. A rate of 0 switches a bucket off. Over it: first a delay (the server stops reading), then ERROR
    flood, then the door."""

    messages_per_s: float = key(50.0, "messages/s", "per connection; a fast typist needs 1, a build bot 20")
    message_burst: int = key(100, "messages", "at once, and as many again in debt before ERROR")
    account_messages_per_s: float = key(100.0, "messages/s", "all connections of one name")
    address_messages_per_s: float = key(
        500.0, "messages/s", "all names of one address; exempt networks are not counted"
    )
    room_messages_per_s: float = key(1000.0, "messages/s", "all senders of a room")
    requests_per_s: float = key(20.0, "requests/s", "JOIN, PART, MEMBERS, OFFER, FETCH, ADMIN of one connection")
    request_burst: int = key(150, "requests", "a client that resumes asks for all its rooms at once")
    searches_per_s: float = key(4.0, "requests/s", "HISTORY of one connection")
    search_burst: int = key(30, "requests", "scrolling back fast")
    strikes: int = key(50, "errors", "ERROR flood answers within a minute before the connection is closed")
    logins_per_minute: float = key(3.0, "tries/min", "failed ones, per address and per account; Ergo's number")
    login_burst: int = key(5, "tries", "at once")
    connects_per_10min: float = key(320.0, "connections", "per address; exempt networks are not counted")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Every phase of a connection ends by itself."""

    tls_s: float = key(10.0, "s", "for the TLS handshake")
    login_s: float = key(15.0, "s", "from the first byte possible to AUTH_OK")
    frame_s: float = key(30.0, "s", "for a frame once begun")
    ping_s: float = key(30.0, "s", "of silence, then PING")
    dead_s: float = key(75.0, "s", "of silence, then the connection is closed")
    stall_s: float = key(10.0, "s", "that a client may not read while data wait; it must take 192 KiB in this time")
    file_s: float = key(60.0, "s", "without progress on a file connection")
    close_s: float = key(5.0, "s", "to flush a closing connection, then it is aborted")
    presence_hold_s: float = key(30.0, "s", "a lost user stays in the room's list: a short cut does not flap")
    session_s: float = key(600.0, "s", "in which a session token lets its owner back in")
    search_s: float = key(2.0, "s", "for one search")
    drain_s: float = key(5.0, "s", "for clients to take their GOAWAY at shutdown")
    token_s: float = key(30.0, "s", "to use a file connection's token")


class Bucket:
    """A token bucket that may run into debt, so that a sender is delayed before it is refused."""

    __slots__ = ("at", "burst", "level", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = float(burst)
        self.at = now

    def take(self, now: float, cost: float = 1.0, debt: float = 0.0) -> float:
        """Seconds to wait before the next one: 0 when there are tokens left, positive when taken in debt. Negative:
        not taken, the debt is full; the amount is the wait. A rate of 0 takes all."""
        if self.rate <= 0:
            return 0.0
        level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if level - cost < -debt:
            self.level = level
            return -(cost - level - debt) / self.rate
        self.level = level - cost
        return 0.0 if self.level >= 0 else -self.level / self.rate


class Buckets:
    """One bucket a key (address, account), made when needed and forgotten when full again."""

    __slots__ = ("_all", "_burst", "_rate", "_swept")

    MOST: Final = 65_536  # keys kept: beyond it the full ones are swept out at once

    def __init__(self, rate: float, burst: float) -> None:
        self._all: dict[str, Bucket] = {}
        self._rate = rate
        self._burst = burst
        self._swept = 0.0

    def take(self, name: str, now: float, cost: float = 1.0, debt: float = 0.0) -> float:
        """As Bucket.take, for the key `name`."""
        if self._rate <= 0:
            return 0.0
        bucket = self._all.get(name)
        if bucket is None:
            if len(self._all) >= self.MOST or now - self._swept > 60:
                self._sweep(now)
            bucket = self._all[name] = Bucket(self._rate, self._burst, now)
        return bucket.take(now, cost, debt)

    def adjust(self, rate: float, burst: float) -> None:
        """Another rate and burst, for those that are there as well."""
        self._rate, self._burst = rate, burst
        for bucket in self._all.values():
            bucket.rate, bucket.burst = rate, burst

    def give_back(self, name: str) -> None:
        """A token that was taken for `name` was not needed."""
        bucket = self._all.get(name)
        if bucket is not None:
            bucket.level = min(bucket.burst, bucket.level + 1.0)

    def _sweep(self, now: float) -> None:
        self._swept = now
        full = [k for k, b in self._all.items() if b.level + (now - b.at) * b.rate >= b.burst]
        for name in full:
            del self._all[name]
        if len(self._all) >= self.MOST:  # all of them busy: an attack from very many addresses; start afresh
            self._all.clear()


# --- names -----------------------------------------------------------------------------------------------------------

NAME_MIN: Final = 2
NAME_MAX: Final = 32
ROOM_MAX: Final = 64
RESERVED: Final = ("admin", "administrator", "system", "root", "server", "tapwall", "moderator", "operator", "owner")
_NAME_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_ROOM_CHARS: Final = _NAME_CHARS | {"."}

# What looks like a Latin letter in common fonts (from Unicode's confusables, UTS #39: the lower-case letters of the
# scripts people are spoofed with). Applied after NFKD, so full-width and mathematical letters are Latin already.
_LOOKALIKES: Final = str.maketrans(
    {
        **dict(zip("аеорсухіјѕһԁԛԝӏвнкмтгпѵѡүғ", "aeopcyxijshdqwlbhkmtrnvwyf", strict=True)),  # Cyrillic
        **dict(zip("αγεηικνορτυχωϲϳ", "ayenikvoptuxwcj", strict=True)),  # Greek
        **dict(zip("աոսօցհյզլ", "wnuoghjql", strict=True)),  # Armenian
        **dict(zip("ıɑɡɩʀʏꞵƅɪ", "iagirybbi", strict=True)),  # Latin beyond ASCII
        "0": "o",
        "1": "l",
        "ⅼ": "l",
        "ո": "n",
    }
)


def skeleton(name: str) -> str:
    """What a name looks like: equal skeletons are names that a person would confuse."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    plain = plain.translate(_LOOKALIKES)
    return plain.replace("rn", "m").replace("vv", "w").replace("_", "-")


_RESERVED_SKELETONS: Final = frozenset(skeleton(name) for name in RESERVED)


def check_name(raw: str, unicode: bool = False) -> str:
    """The folded user name. Raises Refusal bad-name with what is wrong."""
    name = unicodedata.normalize("NFKC", raw).lower() if unicode else raw.lower()
    if not NAME_MIN <= len(name) <= NAME_MAX or len(name.encode("utf-8", "replace")) > 3 * NAME_MAX:
        raise Refusal("bad-name", f"a name has {NAME_MIN} to {NAME_MAX} characters")
    if not unicode and not _NAME_CHARS.issuperset(name):
        raise Refusal("bad-name", "a name is made of a-z, 0-9, _ and -")
    if unicode and not _NAME_CHARS.issuperset(name):
        _check_letters(name)
    if skeleton(name) in _RESERVED_SKELETONS:
        raise Refusal("bad-name", "this name is reserved")
    return name


def _check_letters(name: str) -> None:
    """Letters, marks and digits of a single script: no invisible ones, no mixture that imitates."""
    scripts = set()
    for char in name:
        if char in "_-" or unicodedata.category(char) in {"Nd", "Mn", "Mc"}:
            continue
        if unicodedata.category(char) not in {"Ll", "Lo", "Lm"}:
            raise Refusal("bad-name", "a name is made of letters, digits, _ and -")
        scripts.add(unicodedata.name(char, "?").split()[0])
    if len(scripts - {"HIRAGANA", "KATAKANA", "CJK"}) > 1 or (
        len(scripts) > 1 and scripts & {"LATIN", "GREEK", "CYRILLIC"}
    ):
        raise Refusal("bad-name", "letters of one script only")


def check_room(raw: str) -> str:
    """The folded room name, a leading `#` dropped. Raises Refusal bad-room."""
    name = raw.removeprefix("#").lower()
    if not name or len(name) > ROOM_MAX or not _ROOM_CHARS.issuperset(name) or name[0] in "_-.":
        raise Refusal("bad-room", f"a room is made of a-z, 0-9, . _ - and has at most {ROOM_MAX} characters")
    return name


def direct_room(one: str, other: str) -> str:
    """The canonical name of the conversation of two users."""
    return "@" + "+".join(sorted((one, other)))


def has_controls(text: str, newlines: bool = False) -> bool:
    """True if a C0 or C1 control, a bidi override or a lone surrogate is in the text (newline and tab may be allowed)."""
    if text.isascii() and text.isprintable():
        return False
    for char in text:
        if newlines and char in "\n\t":
            continue
        if (
            unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
            or char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        ):
            return True
    return False


_WINDOWS: Final = frozenset({"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10))})


def check_file_name(raw: str) -> str:
    """The display name of a file. It names nothing on the server; this spares receivers. Raises Refusal bad-file."""
    name = unicodedata.normalize("NFC", raw)
    if not name or len(name.encode("utf-8", "replace")) > 255:
        raise Refusal("bad-file", "a file name has 1 to 255 bytes")
    if has_controls(name) or any(unicodedata.category(c) == "Cf" for c in name) or set(name) & set('/\\:<>"|?*'):
        raise Refusal("bad-file", 'a file name has no control characters, slashes or any of : < > " | ? *')
    if name.startswith((".", " ")) or name.endswith((".", " ")) or name.split(".")[0].lower() in _WINDOWS:
        raise Refusal("bad-file", "a file name does not start or end with a dot or blank, and is no device")
    return name
