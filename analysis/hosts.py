"""What is known of addresses: which are groups rather than hosts, which are inside, trusted, routers or resolvers.

In: the address table of an analysis, its facts and the trusted networks. Out: boolean arrays by address id, and the
names a reader would use. It judges addresses, never traffic.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.addresses import AddressTexts
from analysis.columns import Addresses, Array
from analysis.domains import lies_under
from analysis.errors import AnalysisError
from analysis.records import Record

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 1918, RFC 6598, RFC 3927, loopback: (address, prefix length)
INSIDE_V4 = ((0x0A000000, 8), (0xAC100000, 12), (0xC0A80000, 16), (0x64400000, 10), (0xA9FE0000, 16), (0x7F000000, 8))
MULTICAST_MAC_BIT = 1 << 40
# Names of update, push and connectivity services: known reasons for regular traffic, named beside a beacon (6.5).
WELL_KNOWN = frozenset((
    "windowsupdate.com", "update.microsoft.com", "delivery.mp.microsoft.com", "msftconnecttest.com", "msftncsi.com",
    "push.apple.com", "captive.apple.com", "swcdn.apple.com", "mtalk.google.com", "connectivitycheck.gstatic.com",
    "update.googleapis.com", "clients2.google.com", "detectportal.firefox.com", "push.services.mozilla.com",
    "archive.ubuntu.com", "connectivity-check.ubuntu.com", "debian.org", "pool.ntp.org", "time.windows.com",
    "telemetry.mozilla.org", "events.data.microsoft.com", "settings-win.data.microsoft.com", "ocsp.digicert.com",
))  # fmt: skip


class Hosts(Record):
    """Arrays by address id: bool[addresses]. `texts` are the addresses as text, `names` what the capture calls them."""

    texts: AddressTexts
    names: Mapping[str, Sequence[str]]
    family: Array
    group: Array  # multicast, broadcast, unspecified: never a host
    inside: Array  # private, link-local, loopback
    trusted: Array

    def name(self, address: str) -> str:
        """The address with the first name the capture gives it: `93.184.216.34 (example.org)`."""
        known = self.names.get(address)
        return f"{address} ({known[0]})" if known else address


def trusted_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse `--trust` values. Raises AnalysisError for what is no network."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise AnalysisError(f"trust: got {text!r}, expected a network like 192.168.0.0/24") from error
    return tuple(found)


def is_trusted(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address in text form lies in one of the networks; names and MACs never do."""
    if not networks:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)


def well_known(name: str) -> bool:
    """Whether a name belongs to an update, push or connectivity service that is regular by design."""
    return lies_under(name, WELL_KNOWN)


def judge_hosts(
    addresses: Addresses, texts: AddressTexts, names: Mapping[str, Sequence[str]], networks: Sequence[Network]
) -> Hosts:
    """Judge every address of the table at once."""
    family = np.asarray(addresses.family)
    low = np.asarray(addresses.lo)
    high = np.asarray(addresses.hi)
    four, six, mac = family == 4, family == 6, family == 0
    v4 = np.where(four, low, 0) & 0xFFFFFFFF
    first = (high >> 56) & 0xFF
    group = four & ((v4 >> 28 == 0xE) | (v4 >> 28 == 0xF) | (v4 == 0))
    group |= six & ((first == 0xFF) | ((high == 0) & (low == 0)))
    group |= mac & (low & MULTICAST_MAC_BIT != 0)
    inside = six & ((first & 0xFE == 0xFC) | ((high >> 54) & 0x3FF == 0x3FA) | ((high == 0) & (low == 1)))
    for base, length in INSIDE_V4:
        inside |= four & (v4 >> (32 - length) == base >> (32 - length))
    group |= inside & four & (v4 & 0xFF == 0xFF)  # directed broadcast of the usual /24
    trusted = np.zeros(len(family), bool)
    for network in networks:
        trusted |= _within(network, four, six, v4, high, low)
    return Hosts(texts, names, family, group, inside, trusted)


def _within(network: Network, four: Array, six: Array, v4: Array, high: Array, low: Array) -> Array:
    """bool[addresses]: those in one network."""
    base, length = int(network.network_address), network.prefixlen
    if network.version == 4:
        return np.asarray(four & (v4 >> (32 - length) == base >> (32 - length)))
    return np.asarray(six & _same_bits(high, base >> 64, min(64, length)) & _same_bits(low, base, max(0, length - 64)))


def _same_bits(words: Array, wanted: int, count: int) -> Array:
    """Whether the first `count` bits of 64-bit words equal those of `wanted`."""
    if count == 0:
        return np.ones(len(words), bool)
    shift = np.uint64(64 - count)
    return np.asarray(words.astype(np.uint64) >> shift == np.uint64(wanted & 0xFFFFFFFFFFFFFFFF) >> shift)
