"""Addresses that many parties share: blocking one of them for one finding cuts off thousands of others.

In: an address. Out: who shares it, or None. The ranges are those that the operators publish for their edges (content
networks, front ends of large clouds) and the public resolvers; they change slowly, and a missing one is caught by the
second sign, several unrelated names for one address in the capture. Must not know findings or rules.

Sources, as published by the operators in 2025: cloudflare.com/ips, api.fastly.com/public-ip-list, ip-ranges.amazonaws.com
(service CLOUDFRONT), gstatic.com/ipranges/goog.json (front ends), Akamai and Microsoft front doors by their RIR entries.
"""

from __future__ import annotations

from functools import cache

from firewall.sets import AddrSet

OPERATORS: dict[str, tuple[str, ...]] = {
    "Cloudflare": (
        "173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18",
        "190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13",
        "104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22", "2400:cb00::/32", "2606:4700::/32", "2803:f800::/32",
        "2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32",
    ),
    "Fastly": (
        "23.235.32.0/20", "43.249.72.0/22", "103.244.50.0/24", "103.245.222.0/23", "103.245.224.0/24", "104.156.80.0/20",
        "140.248.64.0/18", "140.248.128.0/17", "146.75.0.0/17", "151.101.0.0/16", "157.52.64.0/18", "167.82.0.0/17",
        "167.82.128.0/20", "167.82.160.0/20", "167.82.224.0/20", "172.111.64.0/18", "185.31.16.0/22", "199.27.72.0/21",
        "199.232.0.0/16", "2a04:4e40::/32", "2a04:4e42::/32",
    ),
    "Amazon CloudFront": (
        "13.32.0.0/15", "13.35.0.0/16", "13.224.0.0/14", "13.249.0.0/16", "18.64.0.0/14", "18.154.0.0/15", "18.160.0.0/15",
        "18.164.0.0/15", "18.172.0.0/15", "52.84.0.0/15", "54.182.0.0/16", "54.192.0.0/16", "54.230.0.0/16",
        "54.239.128.0/18", "99.84.0.0/16", "108.138.0.0/15", "108.156.0.0/14", "143.204.0.0/16", "205.251.192.0/19",
        "2600:9000::/28",
    ),
    "Google": (
        "64.233.160.0/19", "66.102.0.0/20", "72.14.192.0/18", "74.125.0.0/16", "108.177.0.0/17", "142.250.0.0/15",
        "172.217.0.0/16", "172.253.0.0/16", "173.194.0.0/16", "209.85.128.0/17", "216.58.192.0/19", "216.239.32.0/19",
        "2607:f8b0::/32", "2a00:1450::/32", "2404:6800::/32",
    ),
    "Akamai": (
        "2.16.0.0/13", "23.0.0.0/12", "23.32.0.0/11", "23.64.0.0/14", "23.72.0.0/13", "23.192.0.0/11", "88.221.0.0/16",
        "92.122.0.0/15", "95.100.0.0/15", "96.6.0.0/15", "96.16.0.0/15", "104.64.0.0/10", "184.24.0.0/13", "184.50.0.0/15",
        "184.84.0.0/14", "2600:1400::/24", "2a02:26f0::/29",
    ),
    "Microsoft front doors": ("13.107.0.0/16", "204.79.197.0/24", "150.171.0.0/16", "2620:1ec::/36"),
    "public DNS resolvers": (
        "1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "149.112.112.112", "208.67.222.222", "208.67.220.220",
        "94.140.14.14", "94.140.15.15", "2606:4700:4700::1111", "2606:4700:4700::1001", "2001:4860:4860::8888",
        "2001:4860:4860::8844", "2620:fe::fe", "2620:fe::9",
    ),
}  # fmt: skip
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
GROUP = ("224.0.0.0/4", "255.255.255.255", "ff00::/8")
NAMES_SHARED = 3  # names of different owners on one address: a shared host


@cache
def _sets() -> dict[str, AddrSet]:
    return {name: AddrSet.parse(*nets) for name, nets in OPERATORS.items()}


@cache
def private() -> AddrSet:
    """Addresses of local networks (RFC 1918, 3927, 6598, 4193, 4291 2.5.6)."""
    return AddrSet.parse(*PRIVATE)


@cache
def group() -> AddrSet:
    """Multicast and limited broadcast: nobody's address."""
    return AddrSet.parse(*GROUP)


@cache
def everybody() -> AddrSet:
    """All shared edges together."""
    return AddrSet.parse(*(net for nets in OPERATORS.values() for net in nets))


def operator(address: str) -> str | None:
    """Whose shared edge this address is, None where none is known."""
    return next((name for name, nets in _sets().items() if address in nets), None)


def owners(names: list[str]) -> int:
    """How many different owners a list of host names has, by their last two labels."""
    return len({".".join(name.rstrip(".").lower().split(".")[-2:]) for name in names})
