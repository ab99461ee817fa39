"""The threat-intelligence list: what a line may hold, what it matches, and how a wrong line is told."""

from pathlib import Path

import pytest
from payloads import dns_answer, dns_query, tls
from traffic import Wire

from analysis.errors import AnalysisError
from analysis.run import Settings, analyse
from analysis.watchlist import load, parse

LIST = """# list: our list 2026-01-01
203.0.113.66 a command server
198.51.100.0/24 a bullet-proof hoster
198.51.100.128/25 the worse half of it
2001:db8:bad::/48 the same over IPv6
bad.example a phishing domain
51C64C77E60F3980EEA90869B68C58A8 Emotet  # JA3
t13d1516h2_8daaf6152771_02713d6af862 a browser  # JA4
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("203.0.113.66", "203.0.113.66"),
        ("203.0.113.67", None),
        ("198.51.100.9", "198.51.100.0/24"),
        ("198.51.100.200", "198.51.100.128/25"),
        ("198.51.101.0", None),
        ("2001:db8:bad:7::1", "2001:db8:bad::/48"),
        ("2001:db8:bae::1", None),
        ("02:00:00:00:00:01", None),
    ],
)
def test_an_address_matches_itself_or_the_smallest_network(text: str, value: str | None) -> None:
    """Exact addresses first, then the longest prefix, each family for itself."""
    listed = parse(LIST, "list")

    assert value == listed.address(text)
    if value is not None:
        assert listed.entry(value).list == "our list 2026-01-01"


def test_names_match_their_subdomains_and_fingerprints_any_case() -> None:
    """A domain stands for what lies under it, never for what only ends alike."""
    listed = parse(LIST, "list")

    assert listed.name("www.Bad.example.") == "bad.example"
    assert listed.name("notbad.example") is None
    assert {"51c64c77e60f3980eea90869b68c58a8", "t13d1516h2_8daaf6152771_02713d6af862"} == set(listed.fingerprints)


@pytest.mark.parametrize("line", ["203.0.113.0/40 x", "nodomain", "1.2.3.4.5/8"])
def test_a_line_of_no_kind_is_named(line: str) -> None:
    """The message says where, what was there, and what is expected."""
    with pytest.raises(AnalysisError, match=r"^mine: line 2: got .*, expected an address, network, name, JA3 or JA4$"):
        parse(f"# x\n{line}\n", "mine")


def test_each_kind_of_entry_is_found_in_a_capture(tmp_path: Path) -> None:
    """Address, network (several hosts of it in one finding) and name each make one finding; a stranger makes none."""
    own = tmp_path / "own.txt"
    own.write_text(LIST)
    wire = Wire("intel")
    for server in ("203.0.113.66", "198.51.100.9", "198.51.100.10", "192.0.2.9"):
        wire.talk("10.0.0.9", server, 443, tls(""))
    wire.asked("10.0.0.9", "10.0.0.1", 53, dns_query("a.bad.example"), dns_answer("a.bad.example", 1, ("192.0.2.9",)))
    path = wire.write(tmp_path / "x.pcap")

    found = [f for f in analyse([path], settings=Settings(intel=str(own))).findings if f.detector == "intel"]

    assert sorted((f.subject, f.accountable.address if f.accountable else "") for f in found) == [
        ("address 203.0.113.66 10.0.0.9", "203.0.113.66"),
        ("name bad.example 10.0.0.9", "10.0.0.9"),
        ("network 198.51.100.0/24 10.0.0.9", ""),
    ]
    assert {f.severity.word for f in found} == {"medium"}


def test_the_shipped_list_stays_when_a_file_is_added(tmp_path: Path) -> None:
    """A file adds to the list; it replaces only entries of the same value."""
    own = tmp_path / "own.txt"
    own.write_text("198.51.100.0/24 x\n")

    assert set(load(str(own)).fingerprints) == set(load(None).fingerprints)
    assert list(load(str(own)).networks) == [(4, 24)]
