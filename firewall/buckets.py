"""Token buckets as xt_limit, xt_hashlimit and nft's limit keep them: integer credits, full at the start.

In: a `Rate`, a key and a time in ns. Out: whether this packet fits. A bucket holds `burst` tokens, a packet costs one,
the refill is the rate; a key that nobody used for ten seconds starts full again (hashlimit's default expiry).
Must not know packets or chains; memory is bounded by forgetting the buckets that are full again.
"""

from __future__ import annotations

from firewall.rules import Rate

SECOND = 1_000_000_000
KEYS_MAX = 200_000  # buckets kept per rule; beyond, those that are full again are forgotten


class Buckets:
    """All buckets of one rule."""

    def __init__(self, rate: Rate) -> None:
        self._cost = rate.per_s * SECOND // rate.packets  # one token, in nanoseconds of refill
        self._full = self._cost * rate.burst
        self._above = rate.above
        self._credit: dict[tuple[int, ...], tuple[int, int]] = {}

    def match(self, key: tuple[int, ...], now_ns: int) -> bool:
        """True where the rule matches this packet: it fits (up to) or it does not (above)."""
        credit, last = self._credit.get(key, (self._full, now_ns))
        credit = min(self._full, credit + max(0, now_ns - last))
        fits = credit >= self._cost
        if fits:
            credit -= self._cost
        if len(self._credit) >= KEYS_MAX and key not in self._credit:
            self._forget(now_ns)
        self._credit[key] = (credit, now_ns)
        return fits != self._above

    def _forget(self, now_ns: int) -> None:
        kept = {k: (c, t) for k, (c, t) in self._credit.items() if c + now_ns - t < self._full}
        self._credit = kept if len(kept) < KEYS_MAX else {}
