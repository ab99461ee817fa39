"""One door: the form of a rules file is recognised by its text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.errors import ReadError
from firewall.foreign import load


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", "iptables"), ("# x\n-P INPUT ACCEPT\n", "iptables"), ("[0:0] -A INPUT -j DROP\n", "iptables"),
        ('{"nftables": []}', "nft"), ('version = 1\n[[rule]]\naction = "DROP"\nsource = ["10.0.0.1"]\n', "policy"),
    ],
)  # fmt: skip
def test_forms(text: str, form: str) -> None:
    """iptables-save, iptables -S, nft -j, policy.toml."""
    assert load(text).form == form


@pytest.mark.parametrize("text", ["", " \n", "hello", "\x00\x01", "table inet x { }"])
def test_anything_else_is_one_line(text: str) -> None:
    """Empty, prose, bytes, and nft's own syntax, which only `nft -j` makes readable."""
    with pytest.raises(ReadError) as caught:
        load(text, "rules.txt")
    assert str(caught.value).startswith("rules.txt: ") and "\n" not in str(caught.value)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: b.decode("utf-8", "replace")))
def test_any_text(text: str) -> None:
    """A program or one error."""
    try:
        load(text, "x")
    except ReadError as error:
        assert "\n" not in str(error)
