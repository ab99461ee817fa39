"""The threat-intelligence list: addresses, networks, names and TLS fingerprints, shipped with a date and extendable by a file.

In: lines `value what`, `#` comments, a line `# list: NAME DATE` for the list's name. A value is an address, a network
(`203.0.113.0/24`), a JA3 (32 hexadecimal digits), a JA4 (three parts with `_`) or a domain name, which matches its
subdomains too. Out: `Watchlist`.
Nothing here asks the network.
"""

from __future__ import annotations

import ipaddress
from dataclasses import field

import analysis
from analysis.errors import AnalysisError
from analysis.named_tuples import NamedTuple
from analysis.patterns import pattern
from analysis.records import Record

SHIPPED = "intel.txt"  # beside this module
LONGEST = 1_000_000  # lines of one file
JA3 = pattern(r"^[0-9a-f]{32}$")
JA4 = pattern(r"^[tqd][0-9a-z]{9}_[0-9a-f]{12}_[0-9a-f]{12}$")
DOMAIN = pattern(r"^(?:[a-z0-9_-]{1,63}\.)+[a-z0-9-]{2,63}$")


class Entry(NamedTuple):
    """What a value stands for, and the list that says so."""

    what: str
    list: str


# (IP version, prefix length) -> first address -> entry: a look-up costs one step a length, however many networks there are
Networks = dict[tuple[int, int], dict[int, Entry]]


class Watchlist(Record):
    """Values by kind."""

    addresses: dict[str, Entry] = field(default_factory=dict)
    names: dict[str, Entry] = field(default_factory=dict)
    fingerprints: dict[str, Entry] = field(default_factory=dict)
    networks: Networks = field(default_factory=dict)

    def address(self, text: str) -> str | None:
        """The listed address or, of the listed networks, the smallest that holds `text`; None for others and for MACs."""
        if text in self.addresses:
            return text
        if not self.networks:
            return None
        try:
            parsed = ipaddress.ip_address(text)
        except ValueError:
            return None
        number, bits = int(parsed), parsed.max_prefixlen
        for version, length in sorted(self.networks, reverse=True):
            if version == parsed.version:
                first = number >> (bits - length) << (bits - length)
                if first in self.networks[version, length]:
                    return f"{type(parsed)(first)}/{length}"
        return None

    def entry(self, value: str) -> Entry:
        """What a listed address or network, as `address` returns it, stands for."""
        if value in self.addresses:
            return self.addresses[value]
        network = ipaddress.ip_network(value)
        return self.networks[network.version, network.prefixlen][int(network.network_address)]

    def name(self, host: str) -> str | None:
        """The listed name that `host` is or lies under."""
        if not self.names or not host:
            return None
        labels = host.rstrip(".").lower().split(".")
        for at in range(len(labels) - 1):
            one = ".".join(labels[at:])
            if one in self.names:
                return one
        return None


def shipped() -> Watchlist:
    """The list that comes with the package."""
    with open(f"{analysis.__path__[0]}/{SHIPPED}", encoding="utf-8") as file:
        return parse(file.read(), SHIPPED)


def load(path: str | None) -> Watchlist:
    """The shipped list with the entries of a file. Raises AnalysisError for a file that cannot be read."""
    found = shipped()
    if path is None:
        return found
    try:
        with open(path, encoding="utf-8") as file:
            own = parse(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise AnalysisError(f"intel {path}: {error}, expected a text file with one value a line") from error
    networks = dict(found.networks)
    for kind, listed in own.networks.items():
        networks[kind] = networks.get(kind, {}) | listed
    return Watchlist(
        found.addresses | own.addresses, found.names | own.names, found.fingerprints | own.fingerprints, networks
    )


def parse(text: str, where: str) -> Watchlist:
    """Entries of a list. Raises AnalysisError with the line for a value of no known kind."""
    addresses: dict[str, Entry] = {}
    names: dict[str, Entry] = {}
    fingerprints: dict[str, Entry] = {}
    networks: Networks = {}
    title = where
    for number, line in enumerate(text.splitlines()[:LONGEST], 1):
        if line.startswith("# list:"):
            title = line[7:].strip()
        value, _, what = line.partition("#")[0].strip().partition(" ")
        if not value:
            continue
        entry, value = Entry(what.strip() or "a listed threat", title), value.lower()
        if JA3.match(value) or JA4.match(value):
            fingerprints[value] = entry
        elif (address := _address(value)) is not None:
            addresses[address] = entry
        elif (network := _network(value)) is not None:
            kind = network.version, network.prefixlen
            networks.setdefault(kind, {})[int(network.network_address)] = entry
        elif DOMAIN.match(value):
            names[value] = entry
        else:
            raise AnalysisError(
                f"{where}: line {number}: got {value[:80]!r}, expected an address, network, name, JA3 or JA4"
            )
    return Watchlist(addresses, names, fingerprints, networks)


def _address(value: str) -> str | None:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return None


def _network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(value, strict=False) if "/" in value else None
    except ValueError:
        return None
