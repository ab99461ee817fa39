"""Domain names: the registered part of a name, by a short list of two-level public suffixes.

In: a host name. Out: what somebody registered: `a.b.example.co.uk` -> `example.co.uk`. The list holds the registries
that sell below a second level and are common; an unknown one gives a part that is too short, never an error.
"""

from __future__ import annotations

# Second-level registries under country codes, as in the public suffix list (publicsuffix.org), common ones.
SECOND = frozenset(
    ("co", "com", "net", "org", "gov", "gob", "edu", "ac", "or", "ne", "go", "mil", "nom", "ltd", "plc", "me")
)
# Names under which anybody gets a subdomain: dynamic DNS and hosting. Whoever has one registered that.
HOSTING = frozenset(
    (
        "dyndns.org", "no-ip.org", "no-ip.biz", "ddns.net", "duckdns.org", "hopto.org", "zapto.org", "sytes.net",
        "github.io", "herokuapp.com", "azurewebsites.net", "cloudfront.net", "amazonaws.com", "appspot.com",
        "blogspot.com", "workers.dev", "pages.dev", "netlify.app", "ngrok.io", "trycloudflare.com",
    )
)  # fmt: skip


def registered(name: str) -> str:
    """The registered domain of a name in lower case; a name of one or two labels is its own."""
    labels = name.rstrip(".").lower().split(".")
    if len(labels) <= 2:
        return ".".join(labels)
    two = ".".join(labels[-2:])
    if two in HOSTING or (len(labels[-1]) == 2 and labels[-2] in SECOND):
        return ".".join(labels[-3:])
    return two


def label(name: str) -> str:
    """The part of the registered domain that its owner chose: `example` of `www.example.co.uk`."""
    return registered(name).partition(".")[0]
