"""Domain names: the registered part of a name, by a short list of two-level public suffixes.

In: a host name. Out: what somebody registered: `a.b.example.co.uk` -> `example.co.uk`. The list holds the registries
that sell below a second level and are common; an unknown one gives a part that is too short, never an error.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

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


@lru_cache(4096)
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


# Endings under which names are cheap or free and abuse reports are frequent (Spamhaus, Interisle; a hint, never more).
CHEAP = frozenset(
    ("top", "xyz", "tk", "ml", "ga", "cf", "gq", "pw", "cc", "icu", "club", "work", "ru", "su", "buzz", "rest", "cyou")
)
DYNAMIC = frozenset(
    (
        "ydns.eu", "duckdns.org", "ddns.net", "no-ip.org", "no-ip.biz", "hopto.org", "zapto.org", "sytes.net", "dyndns.org",
        "myftp.org", "servehttp.com", "dynu.net", "chickenkiller.com", "mooo.com", "ngrok.io", "trycloudflare.com",
        "portmap.io", "serveo.net", "myvnc.com", "redirectme.net", "3322.org", "ibiz.cc", "hpc.tw",
    )
)  # fmt: skip
VOWELS = frozenset("aeiouy")
LONGEST_RUN = 5  # consonants or digits in a row that words do not have


def suspicious_name(host: str) -> bool:
    """Whether a host name is of a kind that malware prefers: dynamic DNS, cheap endings, generated labels."""
    name = host.rstrip(".").lower()
    if "." not in name:
        return False
    return name.rpartition(".")[2] in CHEAP or dynamic(name) or generated(label(name))


def dynamic(host: str) -> bool:
    """Whether a host lies under a dynamic DNS provider."""
    return lies_under(host, DYNAMIC)


def lies_under(host: str, domains: frozenset[str]) -> bool:
    """Whether a name is one of some domains, none of which has more than four labels, or lies under one."""
    labels = host.rsplit(".", 4)[-4:]
    return any(".".join(labels[at:]) in domains for at in range(len(labels)))


# Pairs of letters that make up nine tenths of the text of English words (counted over the documentation of Python's
# standard library); a word or a name made of words consists of them mostly, random letters by chance (share SHARE).
COMMON_PAIRS = frozenset(
    PAIRS[at : at + 2]
    for PAIRS in (
        "abacadagaialamanaparasatbabebiblbobucacechcickclcocrctcudadedidodsdueaecedeeefegelemeneperesetevexfa",
        "fefffifofrgegigngrhahehihoiaibicidieifigiliminioipirisitivizkekslaldlelilllolsltlymambmemimmmompmuna",
        "ncndnengninnnonsntnunvocodolomonoooporosotouovowpapepiplpoppprptpuqurarcrdrerirmrnrorrrsrtrysascsesh",
        "sisospssstsutatctethtitltotrtstttutyuaubueuiulumunupurusutvaveviwawixtze",
    )
    for at in range(0, len(PAIRS), 2)
)
FOREIGN = 0.5  # share of common pairs below which letters are no words


def common_share(word: str) -> float:
    """Share of the pairs of letters of a label that words are made of; 1 where it has no two letters."""
    pairs = [a + b for a, b in pairwise(word) if a.isalpha() and b.isalpha()]
    return sum(pair in COMMON_PAIRS for pair in pairs) / len(pairs) if pairs else 1.0


def random_letters(word: str) -> bool:
    """Whether a label of at least ten characters consists of pairs of letters that words rarely have."""
    letters = word.replace("-", "").lower()
    return len(letters) >= 10 and common_share(letters) < FOREIGN


def generated(word: str) -> bool:
    """Whether a label looks computed: long, with runs of consonants or digits that no word has, or of rare pairs."""
    letters = word.replace("-", "")
    if len(letters) < 7:
        return False
    digits = sum(c.isdigit() for c in letters)
    run = longest = 0
    for c in letters:
        run = 0 if c in VOWELS else run + 1
        longest = max(longest, run)
    vowels = sum(c in VOWELS for c in letters) / len(letters)
    mixed = digits >= 3 and len(letters) - digits >= 2 and digits / len(letters) < 0.9
    return longest > LONGEST_RUN or (mixed and longest >= 4) or vowels < 0.15 or random_letters(word)
