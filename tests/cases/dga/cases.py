"""Scenes of generated names, and of names that merely do not exist."""

from cases import fires, silent
from payloads import NXDOMAIN, A, dns_answer, dns_query
from traffic import Wire

ME, RESOLVER = "10.0.0.9", "10.0.0.1"


def _missing(wire: Wire, name: str, at: float) -> None:
    wire.asked(ME, RESOLVER, 53, dns_query(name), dns_answer(name, A, (), rcode=NXDOMAIN), at=at)


@fires(title="look computed")
def letters(wire: Wire) -> None:
    """Names of 12 to 18 random letters under four endings, as Conficker and its heirs make them."""
    for number in range(40):
        name = wire.word(wire.random.randint(12, 18), "abcdefghijklmnopqrstuvwxyz")
        _missing(wire, f"{name}.{('com', 'net', 'org', 'info')[number % 4]}", 2.0 * number)


@fires(title="look computed")
def hexadecimal(wire: Wire) -> None:
    """Names of hexadecimal digits (Bamital, Foudre)."""
    for number in range(20):
        _missing(wire, f"{wire.noise(8).hex()}.space", 3.0 * number)


@fires(title="do not exist")
def syllables(wire: Wire) -> None:
    """Pronounceable names: consonant, vowel, consonant … (Kraken, Simda): 60 within minutes, all missing."""
    for number in range(60):
        name = "".join(wire.word(1, "bcdfghklmnprstvz") + wire.word(1, "aeiou") for _ in range(5))
        _missing(wire, f"{name}.{('com', 'net')[number % 2]}", 1.0 * number)


@silent()
def browser_test(wire: Wire) -> None:
    """A browser asks three random single labels to see whether answers are forged."""
    for number in range(3):
        _missing(wire, wire.word(10, "abcdefghijklmnopqrstuvwxyz"), 0.1 * number)


@silent()
def search_suffix(wire: Wire) -> None:
    """Names get the company's suffix appended and do not exist there: 40 names, one domain."""
    for number in range(40):
        _missing(wire, f"www.site{number}.org.corp.example.com", 0.5 * number)


@silent()
def typing_errors(wire: Wire) -> None:
    """A user mistypes nine words."""
    for number, name in enumerate(("exampel", "newspapr", "wether", "libary", "goverment", "adress", "recieve", "calender", "seperate")):  # fmt: skip
        _missing(wire, f"{name}.com", 20.0 * number)


@silent()
def dead_blogs(wire: Wire) -> None:
    """A feed reader asks for 25 dead sites with names of words."""
    words = ("green", "garden", "travel", "kitchen", "music", "photo", "paper", "river", "stone", "cloud")
    for number in range(25):
        _missing(wire, f"{words[number % 10]}{words[number * 3 % 7]}.org", 1.0 * number)
