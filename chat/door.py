"""Who may connect and try to log in: counts and rates per address, server-wide bans.

Asked before a byte is read (admit) and before a password is looked at (try_secret). Pure: `now` runs steadily, `wall` is
the time of day.
"""

from typing import Final

from chat.errors import Refusal
from chat.limits import Buckets, Limits, Rates
from chat.rooms import Ban, address_key, covers

MINUTE: Final = 60.0


class Door:
    """Counts connections. `exempt`: networks whose addresses are not counted (loopback, the lab's subnet)."""

    def __init__(self, limits: Limits, rates: Rates, exempt: tuple[str, ...], bans: list[Ban]) -> None:
        self.bans = bans
        self.total = 0
        self.waiting = 0  # connections before login
        self._limits = limits
        self._exempt = exempt
        self._known: dict[str, bool] = {}
        self._counts: dict[str, int] = {}
        self._handshakes: dict[str, int] = {}  # under way, by address
        self._connects = Buckets(rates.connects_per_10min / 600, rates.connects_per_10min)
        self._tries = Buckets(rates.logins_per_minute / MINUTE, rates.login_burst)

    def adjust(self, limits: Limits, rates: Rates, exempt: tuple[str, ...]) -> None:
        """Another configuration. Who is in stays in."""
        self._limits, self._exempt = limits, exempt
        self._known.clear()
        self._connects.adjust(rates.connects_per_10min / 600, rates.connects_per_10min)
        self._tries.adjust(rates.logins_per_minute / MINUTE, rates.login_burst)

    def exempt(self, address: str) -> bool:
        """True if the address belongs to a network that is not counted."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) > 4096:
                self._known.clear()
            plain = address_key(address).split("/")[0]
            known = self._known[address] = any(covers(net, plain) for net in self._exempt)
        return known

    def begin_handshake(self, address: str) -> bool:
        """Count a TLS handshake under way. False: there are too many, of all or of this address; then nothing was counted."""
        name = address_key(address)
        mine = self._handshakes.get(name, 0)
        if sum(self._handshakes.values()) >= self._limits.connections_before_login or (
            mine >= self._limits.connections_per_address and not self.exempt(address)
        ):
            return False
        self._handshakes[name] = mine + 1
        return True

    def end_handshake(self, address: str) -> None:
        """It is done, or over."""
        name = address_key(address)
        self._handshakes[name] -= 1
        if not self._handshakes[name]:
            del self._handshakes[name]

    def admit(self, address: str, now: float, wall: float) -> None:
        """Count a new connection. Raises Refusal: banned, full, too-many; then nothing was counted."""
        if any(ban.holds("", address, wall) for ban in self.bans):
            raise Refusal("banned", "this address is banned")
        if self.total >= self._limits.connections or self.waiting >= self._limits.connections_before_login:
            raise Refusal("full", "no place, come back later", 5000)
        if not self.exempt(address):
            name = address_key(address)
            if self._counts.get(name, 0) >= self._limits.connections_per_address:
                raise Refusal(
                    "too-many", f"{self._limits.connections_per_address} connections from this address already"
                )
            wait = self._connects.take(name, now)
            if wait:
                raise Refusal("too-many", "too many new connections from this address", int(abs(wait) * 1000))
            self._counts[name] = self._counts.get(name, 0) + 1
        self.total += 1
        self.waiting += 1

    def logged_in(self) -> None:
        """A connection leaves the pool of those before login."""
        self.waiting -= 1

    def release(self, address: str, logged_in: bool) -> None:
        """A connection that was admitted is gone."""
        self.total -= 1
        if not logged_in:
            self.waiting -= 1
        name = address_key(address)
        left = self._counts.get(name, 0) - 1
        if left > 0:
            self._counts[name] = left
        else:
            self._counts.pop(name, None)

    def try_secret(self, address: str, account: str, now: float) -> None:
        """A secret is about to be checked: takes a token of the address and of the account ('': of no account), before
        the check, so that many guesses at once are as many as one after the other. Raises Refusal flood while there is
        none. Give it back with secret_was_right()."""
        taken: list[str] = []
        for name in _payers(address, account):
            wait = self._tries.take(name, now)
            if wait < 0:
                for other in taken:
                    self._tries.give_back(other)
                raise Refusal("flood", "too many wrong secrets, wait", int(-wait * 1000) + 1)
            taken.append(name)

    def secret_was_right(self, address: str, account: str) -> None:
        """The check that try_secret() let pass cost nothing: the secret was right, or was not looked at."""
        for name in _payers(address, account):
            self._tries.give_back(name)


def _payers(address: str, account: str) -> list[str]:
    return ["a " + address_key(address), *(["n " + account] if account else [])]
